"""In which other form predictions may be, where they are far from the ground truth.

Files of predictions do not name their units and axes. If they are wrong in a way that no method is,
the usual other forms are tried; the one in which they fit is named, and nothing is evaluated.
"""

import itertools
import warnings
from collections.abc import Callable, Collection, Iterator

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment

from handjax.data.formats.uvd_text import UvdFormat
from handjax.pose.pinhole import project, uvd_to_xyz, xyz_to_uvd

_FRAMES = 400  # that are looked at, spread over all
_BETTER = 1 / 3  # of the error as given
_TRIED_MM, _RIGHT_MM, _NO_METHOD_MM = 20.0, 60.0, 150.0
_DISTANCE_MM, _SPAN_MM = (100.0, 3000.0), (40.0, 450.0)  # of hands, and of the joints of one
_LEAST_PX = 3.0  # of a hand in the image
_TRIED, _NO_METHOD = 0.15, 1.0  # of the size of a hand in the image
_UNITS = {"mm": 1.0, "m": 1e3, "cm": 10.0, "tenths of a mm": 0.1}
_SIGNS = {
    "": (1.0, 1.0, 1.0),
    ", y up": (1.0, -1.0, 1.0),
    ", x mirrored": (-1.0, 1.0, 1.0),
    ", y up and z backward": (1.0, -1.0, -1.0),
    ", z backward": (1.0, 1.0, -1.0),
}


class PredictionWarning(UserWarning):
    """Predictions farther from the ground truth than those of any method."""


def check_same(
    predictions: str, ids: Collection[str], groundtruth: str, true_ids: Collection[str], what: str
) -> None:
    """ValueError if two files do not list the same frames or images, `what`."""
    if missing := sorted({*ids} ^ {*true_ids}):
        files = (groundtruth, predictions)
        has, lacks = files if missing[0] in true_ids else files[::-1]
        raise ValueError(
            f"{has} has {missing[0]}, {lacks} has not ({len(missing)} such {what}); "
            f"both must list the same {what}"
        )


def check_uvd(
    predictions: str,
    groundtruth: str,
    pred: Float[np.ndarray, "n j 3"],
    true: Float[np.ndarray, "n j 3"],
    form: UvdFormat,
) -> None:
    """`pred` and `true` as two files have them. ValueError if one of them is in another form than
    (u, v, d), px and mm; PredictionWarning if they do not fit and no other form does."""
    rows = _looked_at(len(pred))
    every = uvd_to_xyz(pred, form.k)
    pred, true = pred[rows], true[rows]
    xyz, true_xyz = uvd_to_xyz(pred, form.k), uvd_to_xyz(true, form.k)
    error = _mean(xyz - true_xyz)
    doubt = not _plausible(true_xyz, form)
    if error <= _TRIED_MM and not doubt:
        return
    limit = min(_BETTER * error, _RIGHT_MM)
    files = [(predictions, pred, true_xyz), (groundtruth, true, xyz)]
    if doubt and not _plausible(xyz, form):
        _check_both(predictions, groundtruth, pred, true, form)
    # A ground truth that can be right is taken to be.
    for path, own, other in files[::-1] if doubt else files[:1]:
        fits = [(_mean(change(own) - other), name) for name, change in _forms3d(form)]
        centered = (points - points.mean(1, keepdims=True) for points in (own, other))
        fits.append((_mean(np.subtract(*centered)), "x y z in mm relative to the hand"))
        found = _likeliest(fits, limit)
        if found:
            known = path == predictions and found[1] in dict(_forms3d(form))
            raise ValueError(
                f"{path}: {error:.0f} mm from {_other(path, predictions, groundtruth)} as u v d in "
                f"px and mm, {found[0]:.1f} mm as {found[1]}; expected u v d of {form.title}"
                + f", or --form '{found[1]}'"
                * known
            )
    _check_order(predictions, xyz, true_xyz, error, form.skeleton.joints, "mm")
    forms = dict(_forms3d(form))
    spatial = {name: forms[name](pred) for name in ("x y z in mm", "x y z in mm, y up")}
    name = min(spatial, key=lambda name: _reordered(spatial[name], true_xyz)[0])
    joints, unit = form.skeleton.joints, f"mm as {name}"
    _check_order(predictions, spatial[name], true_xyz, error, joints, unit)
    for shift in (1, -1):
        inner = (rows + shift >= 0) & (rows + shift < len(every))
        moved = _mean(every[rows[inner] + shift] - true_xyz[inner]) if inner.any() else np.inf
        if moved < limit:
            raise ValueError(
                f"{predictions}: {error:.0f} mm from {groundtruth}, {moved:.1f} mm if its lines "
                f"move by {-shift}; both must list the same frames"
            )
    if error > _NO_METHOD_MM or doubt:
        _unusual(f"{predictions}: {error:.0f} mm from {groundtruth}")


def as_uvd(
    path: str, numbers: Float[np.ndarray, "n j 3"], name: str, form: UvdFormat
) -> Float[np.ndarray, "n j 3"]:
    """(u, v, d), px and mm, of the numbers of a file in another form, by the name that the messages
    of `check_uvd` give it. ValueError for an unknown name, and for joints behind the camera."""
    forms = dict(_forms3d(form))
    if name not in forms:
        raise ValueError(f"--form {name!r}: expected a form as x y z in mm, or u v d with d in m")
    xyz = forms[name](numbers)
    if not (xyz[..., 2] > 0).all():
        frame = int(np.argwhere(xyz[..., 2] <= 0)[0][0]) + 1
        raise ValueError(f"{path}: frame {frame} as {name}: a joint is not before the camera")
    return xyz_to_uvd(xyz, form.k)


def check_xyz(
    predictions: str,
    groundtruth: str,
    pred: Float[np.ndarray, "n j 3"],
    true: Float[np.ndarray, "n j 3"],
    joints: tuple[str, ...],
) -> None:
    """Joints in camera mm, of a ground truth that can be right. As `check_uvd`."""
    rows = _looked_at(len(pred))
    pred, true = pred[rows].astype(np.float64), true[rows].astype(np.float64)
    error = _mean(pred - true)
    if error <= _TRIED_MM:
        return
    fits = [
        (_mean(pred * np.multiply(sign, scale) - true), f"in {unit}{signs}")
        for (signs, sign), (unit, scale) in itertools.product(_SIGNS.items(), _UNITS.items())
    ]
    for name, root in {"their mean": pred.mean(1, keepdims=True), joints[0]: pred[:, :1]}.items():
        if np.abs(root).max() < 1:
            at = true[:, :1] if name == joints[0] else true.mean(1, keepdims=True)
            fits.append((_mean(pred + at - true), f"relative to {name.replace('_', ' ')}"))
    found = _likeliest(fits, min(_BETTER * error, _RIGHT_MM))
    if found:
        raise ValueError(
            f"{predictions}: {error:.0f} mm from {groundtruth}, {found[0]:.1f} mm as joints "
            f"{found[1]}; expected camera mm: x right, y down, z forward"
        )
    _check_order(predictions, pred, true, error, joints, "mm")
    if error > _NO_METHOD_MM:
        _unusual(f"{predictions}: {error:.0f} mm from {groundtruth}")


def check_uv(
    predictions: str,
    groundtruth: str,
    pred: Float[np.ndarray, "n j 2"],
    true: Float[np.ndarray, "n j 2"],
    labelled: Bool[np.ndarray, "n j"],
    sizes: Float[np.ndarray, " n"],
    joints: tuple[str, ...],
) -> None:
    """Image joints, px. `sizes`: of the hands, px. As `check_uvd`."""

    def share(points: np.ndarray) -> float:
        """Median distance from the truth, as a share of the hand's size."""
        away = np.linalg.norm(points - true, axis=-1) / sizes[:, None]
        return float(np.median(away[labelled]))

    if not labelled.any():
        return
    error = share(pred)
    if error <= _TRIED:
        return
    for path, own, other in ((predictions, pred, true), (groundtruth, true, pred)):
        if np.abs(own[labelled]).max() <= 2 < np.abs(other[labelled]).max():
            raise ValueError(
                f"{path}: all numbers lie within 2 px: fractions of the picture? expected px of it"
            )
    fits = [(share(points), name) for name, points in _forms2d(pred, true, labelled)]
    found = _likeliest(fits, _BETTER * error)
    if found:
        raise ValueError(
            f"{predictions}: {error:.0%} of a hand's size from {groundtruth}, {found[0]:.1%} "
            f"{found[1]}; expected px of the picture"
        )
    if labelled.all():
        _check_order(predictions, pred, true, error, joints, "of a hand's size", sizes)
    if error > _NO_METHOD:
        _unusual(f"{predictions}: {error:.1f} times a hand's size from {groundtruth}")


# ---------------------------------------------------------------- other forms


def _looked_at(count: int) -> Int[np.ndarray, " m"]:
    """Numbers of at most _FRAMES frames of `count`, spread over all."""
    return np.unique(np.linspace(0, count - 1, min(count, _FRAMES)).astype(int))


def _plausible(xyz: np.ndarray, form: UvdFormat) -> bool:
    """Whether these can be the joints of hands in the images of a data set, camera mm."""
    _, _, cx, cy = form.intrinsics
    if not (xyz[..., 2] > 1).all():
        return False
    uv = project(xyz, form.k)
    share = uv / [2 * cx, 2 * cy]
    inside = ((share > -0.05) & (share < 1.05)).all(-1)
    span = float(np.median(np.linalg.norm(np.ptp(xyz, axis=1), axis=-1)))
    near, far = _DISTANCE_MM
    return bool(
        np.median(np.ptp(uv, axis=1)) > _LEAST_PX
        and inside.mean() > 0.95
        and near < np.median(xyz[..., 2]) < far
        and _SPAN_MM[0] < span < _SPAN_MM[1]
    )


def _check_both(
    predictions: str, groundtruth: str, pred: np.ndarray, true: np.ndarray, form: UvdFormat
) -> None:
    """ValueError if both files are in one other form, which no error shows."""
    for name, change in _forms3d(form):
        if _plausible(change(true), form) and _mean(change(pred) - change(true)) < _NO_METHOD_MM:
            raise ValueError(
                f"{groundtruth}: as u v d in px and mm no hands of {form.title}, but as {name}, "
                f"and {predictions} too; expected u v d"
            )


def _forms3d(form: UvdFormat) -> Iterator[tuple[str, Callable[[np.ndarray], np.ndarray]]]:
    """Form of a file → what turns its numbers into camera mm, the most usual first."""
    fx, fy, cx, cy = form.intrinsics
    size = np.array([2 * cx, 2 * cy, 1.0])

    def uvd(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
        return lambda numbers: uvd_to_xyz(change(numbers), form.k)

    def scaled(factors: object) -> Callable[[np.ndarray], np.ndarray]:
        return lambda numbers: numbers * np.asarray(factors, np.float64)

    for (signs, sign), (unit, scale) in itertools.product(_SIGNS.items(), _UNITS.items()):
        yield f"x y z in {unit}{signs}", scaled(np.multiply(sign, scale))
        if not signs and scale != 1:
            yield f"u v d with d in {unit}", uvd(scaled((1, 1, scale)))
    for name, flips in {"v": (0, 1, 0), "u": (1, 0, 0), "u and v": (1, 1, 0)}.items():
        for unit, scale in _UNITS.items():
            # Mirrored at the camera's axis; at the image's middle it is half a pixel less.
            offset, turned = np.multiply(flips, size), 1 - 2 * np.array(flips)
            yield (
                f"u v d with {name} counted from the other side" + _depth_in(unit),
                uvd(_mirrored(offset, turned, scale)),
            )
    yield "v u d", uvd(lambda numbers: numbers[..., [1, 0, 2]])
    yield "d u v", uvd(lambda numbers: numbers[..., [1, 2, 0]])
    for unit, scale in _UNITS.items():
        yield "u v d with u and v as fractions" + _depth_in(unit), uvd(scaled((*size[:2], scale)))
    for factor in (0.5, 2.0, 0.25, 4.0):
        yield (
            f"u v d of an image {factor:g} times as large",
            uvd(scaled((1 / factor, 1 / factor, 1))),
        )
    yield "u v d with u and v from the image's middle", uvd(lambda n: n + [cx, cy, 0])


def _mirrored(
    offset: np.ndarray, sign: np.ndarray, scale: float
) -> Callable[[np.ndarray], np.ndarray]:
    return lambda numbers: (offset + sign * numbers) * [1, 1, scale]


def _depth_in(unit: str) -> str:
    return "" if unit == "mm" else f" and d in {unit}"


def _forms2d(
    pred: np.ndarray, true: np.ndarray, labelled: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    """What was done to image joints, and the joints without it. Sizes of images are not known, so
    offsets and factors are fitted, one for all images or one per image."""
    yield "as v u", pred[..., ::-1]
    flips = {"u": (1, 0), "v": (0, 1)}
    for name, flip in flips.items():
        sign = 1 - 2 * np.array(flip)
        width = np.median((pred + true)[labelled], axis=0) * flip
        yield f"with {name} counted from the other side", sign * pred + width
    for name, flip in flips.items():
        mirrored = (1 - 2 * np.array(flip)) * pred
        shift = _mean_per_image(true - mirrored, labelled) * flip
        yield f"with {name} counted from the other side of each image", mirrored + shift
    factor = np.nanmedian(true[labelled] / np.where(pred[labelled] == 0, np.nan, pred[labelled]))
    if np.isfinite(factor) and abs(factor - 1) > 0.05:
        yield f"times {factor:.3g}: px of images of another size?", pred * factor
    centered = [points - _mean_per_image(points, labelled) for points in (pred, true)]
    spread = [
        np.sqrt(_mean_per_image(points**2, labelled).sum(-1, keepdims=True)) for points in centered
    ]
    grown = centered[0] * spread[1] / np.maximum(spread[0], 1e-9)
    yield (
        "if each hand is moved and scaled: px of a crop?",
        grown + _mean_per_image(true, labelled),
    )


def _mean_per_image(points: np.ndarray, labelled: np.ndarray) -> np.ndarray:
    """Over the labelled joints of each image, [n, 1, 2]."""
    weights = labelled[..., None].astype(np.float64)
    return (points * weights).sum(1, keepdims=True) / np.maximum(weights.sum(1, keepdims=True), 1)


def _check_order(
    path: str,
    pred: np.ndarray,
    true: np.ndarray,
    error: float,
    joints: tuple[str, ...],
    unit: str,
    sizes: np.ndarray | None = None,
) -> None:
    """ValueError if another order of the joints fits."""
    rest, columns = _reordered(pred, true, sizes)
    if rest < _BETTER * error:
        order = ", ".join(joints[i] for i in columns[:4])
        raise ValueError(
            f"{path}: {error:.3g} {unit.partition(' as')[0]} from the ground truth, {rest:.3g} "
            f"{unit} in another order of the joints, {order}, ...; expected "
            f"{', '.join(joints[:4])}, ..."
        )


def _reordered(
    pred: np.ndarray, true: np.ndarray, sizes: np.ndarray | None = None
) -> tuple[float, np.ndarray]:
    """The mean error in the order of the joints that fits best, and that order."""
    away = np.linalg.norm(pred[:, :, None] - true[:, None], axis=-1)
    if sizes is not None:
        away = away / sizes[:, None, None]
    distance = away.mean(0)
    rows, columns = linear_sum_assignment(distance)
    return float(distance[rows, columns].mean()), columns


def _likeliest(fits: list[tuple[float, str]], limit: float) -> tuple[float, str] | None:
    """The first form that fits about as well as the best one: later ones are less usual."""
    best = min(rest for rest, _ in fits)
    return next(((rest, name) for rest, name in fits if rest < limit and rest <= 1.3 * best), None)


def _unusual(what: str) -> None:
    text = f"{what}: in another form, or of other frames?"
    warnings.warn(text, PredictionWarning, stacklevel=3)


def _other(path: str, predictions: str, groundtruth: str) -> str:
    return groundtruth if path == predictions else predictions


def _mean(away: np.ndarray) -> float:
    return float(np.linalg.norm(away, axis=-1).mean())
