"""Whether labels lie on what the depth images measured, and if not, in which frame they may be.

A joint is 5 to 15 mm below the skin, so labels in the camera's frame, in mm, are about 10 mm from
the nearest measured point (9.7 mm in a real frame of NYU). In another unit or frame they are not,
and the usual ones are tried: that in which they are is the likely cause.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from handjax.pose.pinhole import depth_to_points, uvd_to_xyz

LIMIT_MM = 40.0  # median distance of joints; no joint is as deep
USUAL_MM = 12.0  # above it, a frame in which the labels fit three times better is the right one
FRAMES = 12  # that are looked at, spread over all
_BETTER = 1 / 3
_UNITS = {"m": 1e3, "cm": 10.0, "inches": 25.4, "tenths of a mm": 0.1, "micrometres": 1e-3}
_HAND_MM = (40.0, 450.0)  # diagonal of a hand's joints
_NEAREST_MM = 50.0  # from the camera; what is nearer is in another unit


class LabelledDepth(NamedTuple):
    """What one depth frame measured, and the labels of it; camera mm."""

    points: Float[np.ndarray, "p 3"]
    joints: Float[np.ndarray, "j 3"]
    k: Float[np.ndarray, "3 3"] | None = None  # px; without it no image coordinates are tried
    center: Float[np.ndarray, "3"] | None = None  # of the crop

    @classmethod
    def of_image(
        cls,
        depth: Float[np.ndarray, "h w"],
        k: Float[np.ndarray, "3 3"],
        joints: Float[np.ndarray, "j 3"],
        center: Float[np.ndarray, "3"] | None = None,
    ) -> "LabelledDepth":
        """Of a depth image as a pinhole sees it, mm along z, 0 = missing."""
        points, measured = depth_to_points(depth, k)
        return cls(points[measured], joints, k, center)

    def within(self, edge_mm: float) -> "LabelledDepth":
        """With the points of the crop alone: a cube of this edge around `center`."""
        assert self.center is not None
        inside = (np.abs(self.points - self.center) <= edge_mm / 2).all(-1)
        return self._replace(points=self.points[inside])


class SurfaceCheck(NamedTuple):
    """The median distance of the joints to the nearest measured point, and the likely cause if it
    is too far; `refused` says that the labels cannot be right."""

    median_mm: float
    frames: int  # with a measured point
    cause: str = ""
    refused: bool = False
    what: str = "joints"

    def __str__(self) -> str:
        if not self.frames:
            return f"no measured point near the {self.what}"
        where = f"median, {self.frames} frame{'s' * (self.frames > 1)}"
        away = f"{self.median_mm:.{0 if self.median_mm >= 100 else 1}f} mm"
        text = f"{self.what} {away} from the nearest measured point ({where})"
        if self.refused and self.median_mm > LIMIT_MM:
            text += f"; expected at most {LIMIT_MM:g} mm, about 10 when labels and depth agree"
        return text + (f"; {self.cause}" if self.cause else "")


def spread(count: int) -> list[int]:
    """Numbers of at most FRAMES frames of `count`, spread over all."""
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, FRAMES))})


def check(
    frames: Sequence[LabelledDepth], what: str = "joints", span_mm: float | None = None
) -> SurfaceCheck:
    """Looks at these frames; those without a measured point or a finite joint do not count.

    `span_mm` is the diagonal of the joints of what is seen, if `joints` are its centers, `what`, or
    need not lie near the surface: they are then refused only where another reading fits.
    """
    found = [
        frame._replace(joints=frame.joints[np.isfinite(frame.joints).all(-1)]) for frame in frames
    ]
    found = [frame for frame in found if len(frame.points) and len(frame.joints)]
    if not found:
        return SurfaceCheck(float("nan"), 0, what=what)
    from scipy.spatial import cKDTree  # half a second; only labelled depth needs it

    trees = [cKDTree(frame.points, balanced_tree=False, compact_nodes=False) for frame in found]

    def median(change: Callable[[LabelledDepth], np.ndarray], scale: float = 1.0) -> float:
        """Of the changed joints, and of depth times `scale`."""
        away = [
            np.minimum(tree.query(change(frame) / scale)[0] * scale, 1e9)
            for tree, frame in zip(trees, found, strict=True)
        ]
        return float(np.median(np.concatenate(away)))

    given = median(lambda frame: frame.joints)
    # A crop's center may lie between fingers: other frames are tried only if it lies far off.
    if given <= (USUAL_MM if span_mm is None else LIMIT_MM):
        return SurfaceCheck(given, len(found), what=what)
    best, cause = given, ""
    for name, change, scale in _candidates(found, what, span_mm or hand_span(found)):
        distance = median(change, scale)
        # The first of its kind: later ones are less usual, and must be much better.
        if distance < (_BETTER * given if best == given else _BETTER * best):
            best, cause = distance, name
        if best <= USUAL_MM / 2 and given > LIMIT_MM:
            break
    refused = bool(cause) and best <= (USUAL_MM if span_mm is None else 2 * USUAL_MM)
    refused |= given > LIMIT_MM and span_mm is None
    if cause:
        cause = f"{cause}? then it would be {best:.1f} mm"
    return SurfaceCheck(given, len(found), cause, refused, what)


def hand_span(frames: Sequence[LabelledDepth]) -> float:
    """Median diagonal of the joints of a frame."""
    return float(np.median([np.linalg.norm(np.ptp(frame.joints, axis=0)) for frame in frames]))


def _candidates(
    frames: Sequence[LabelledDepth], what: str, span_mm: float
) -> Iterator[tuple[str, Callable[[LabelledDepth], np.ndarray], float]]:
    """Likely mistakes, the simplest first: what it is, joints as they would be, and the factor by
    which depth would be wrong."""
    far_mm = float(np.median([np.linalg.norm(frame.joints, axis=-1).mean() for frame in frames]))
    hand = _HAND_MM[0] <= span_mm <= _HAND_MM[1] and far_mm > _NEAREST_MM
    if not hand:
        for unit, scale in _UNITS.items():
            yield f"{what} in {unit}", _scaled(scale), 1.0
    signs: dict[str, tuple[float, ...]] = {
        "x mirrored": (-1.0, 1.0, 1.0),
        "y up": (1.0, -1.0, 1.0),
        "z backward": (1.0, 1.0, -1.0),
        "y up and z backward, as in OpenGL": (1.0, -1.0, -1.0),
        "x and y mirrored": (-1.0, -1.0, 1.0),
        "x mirrored and z backward": (-1.0, 1.0, -1.0),
    }
    for name, sign in signs.items():
        yield name, _signed(sign), 1.0
    if all(frame.k is not None for frame in frames):
        yield "(u, v, d) for (x, y, z)", _from_uvd(1.0), 1.0
        yield "(u, v, d) with d in m", _from_uvd(1e3), 1.0
        yield "(u, v, d) with d in cm", _from_uvd(10.0), 1.0
        yield "(u, v) flipped and d: v counted from below", _from_uvd(1.0, flip=True), 1.0
    if all(frame.center is not None for frame in frames):
        yield f"{what} relative to the crop's center", _from_center(1.0), 1.0
        for unit in ("m", "cm"):
            yield (
                f"{what} relative to the crop's center, in {unit}",
                _from_center(_UNITS[unit]),
                1.0,
            )
    for order in itertools.permutations(range(3)):
        if order != (0, 1, 2):
            name = ", ".join("xyz"[order.index(i)] for i in range(3))
            yield f"axes in the order {name}", _ordered(order), 1.0
    # Joints of another size are themselves in another unit, and in a scene scaled down to them all
    # is near everything.
    scales = (1e3, 100.0, 10.0, 8.0, 4.0, 2.0, 0.5, 0.25, 0.2, 0.125, 0.1, 0.01, 1e-3)
    for scale in scales if hand else ():
        yield (
            f"depth {1 / scale:g} times too large"
            if scale < 1
            else (f"depth {scale:g} times too small"),
            _scaled(1.0),
            scale,
        )
    if not hand:
        for (unit, scale), (name, sign) in itertools.product(_UNITS.items(), signs.items()):
            yield f"{what} in {unit}, {name}", _signed(tuple(scale * s for s in sign)), 1.0


def _scaled(scale: float) -> Callable[[LabelledDepth], np.ndarray]:
    return lambda frame: frame.joints * scale


def _signed(signs: tuple[float, ...]) -> Callable[[LabelledDepth], np.ndarray]:
    return lambda frame: frame.joints * np.asarray(signs, np.float64)


def _ordered(order: tuple[int, ...]) -> Callable[[LabelledDepth], np.ndarray]:
    return lambda frame: frame.joints[:, list(order)]


def _from_center(scale: float) -> Callable[[LabelledDepth], np.ndarray]:
    def change(frame: LabelledDepth) -> np.ndarray:
        assert frame.center is not None
        return frame.joints * scale + frame.center

    return change


def _from_uvd(scale: float, flip: bool = False) -> Callable[[LabelledDepth], np.ndarray]:
    def change(frame: LabelledDepth) -> np.ndarray:
        assert frame.k is not None
        uvd = frame.joints.astype(np.float64) * [1, 1, scale]
        if flip:
            uvd[:, 1] = 2 * frame.k[1, 2] - uvd[:, 1]
        return uvd_to_xyz(uvd, frame.k.astype(np.float64))

    return change
