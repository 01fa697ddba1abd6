"""Files of predicted joints: the text form that published results come in, and our own `predictions.npz`.

The text form is that of awesome-hand-pose-estimation: one frame a line, (u, v, d) of every joint, spaces between, u
and v in pixels and d in mm. It says nothing about its data set, so the data set's name fixes the number of joints,
their order and the intrinsics. In memory joints have the skeleton's order; `xyz` is camera-space mm, x right, y down,
z forward.
"""

import math
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from handjax.pose.skeleton import SKELETONS, Skeleton

MAX_FRAMES = 1_000_000  # far beyond any test set; stops an endless file
MAX_NUMBER = 64  # characters a number may take


@dataclass(frozen=True)
class UvdFormat:
    """One data set's text form. Joint i of the skeleton stands at place `order[i]` of a line; fx, fy, cx, cy in pixels.

    awesome-hand-pose-estimation gives NYU a negative fy, which turns y up. Errors do not change with it; here y points
    down, as everywhere in handjax, so fy is positive.
    """

    title: str
    skeleton: Skeleton
    order: tuple[int, ...]
    intrinsics: tuple[float, float, float, float]

    @property
    def numbers(self) -> int:
        return 3 * len(self.order)


FORMATS: dict[str, UvdFormat] = {
    "nyu": UvdFormat("NYU", SKELETONS["nyu14"], tuple(range(14)), (588.03, 587.07, 320.0, 240.0)),
    "icvl": UvdFormat(
        "ICVL", SKELETONS["icvl16"], tuple(range(16)), (240.99, 240.96, 160.0, 120.0)
    ),
    # MSRA's lines go wrist, index, middle, ring, little, thumb.
    "msra": UvdFormat(
        "MSRA",
        SKELETONS["hand21"],
        (0, *range(17, 21), *range(1, 17)),
        (241.42, 241.42, 160.0, 120.0),
    ),
}


def uvd_to_xyz(uvd: Float[np.ndarray, "*b 3"], dataset: str) -> Float[np.ndarray, "*b 3"]:
    """Pinhole back-projection with the data set's intrinsics; px, px, mm → mm."""
    fx, fy, cx, cy = FORMATS[dataset].intrinsics
    u, v, d = np.moveaxis(uvd, -1, 0)
    return np.stack([(u - cx) * d / fx, (v - cy) * d / fy, d], axis=-1)


def xyz_to_uvd(xyz: Float[np.ndarray, "*b 3"], dataset: str) -> Float[np.ndarray, "*b 3"]:
    """Pinhole projection with the data set's intrinsics; mm → px, px, mm. The depth must be positive."""
    if not (xyz[..., 2] > 0).all():
        raise ValueError(
            f"a joint lies at depth {np.min(xyz[..., 2]):g} mm; only joints in front of the camera have a (u, v)"
        )
    fx, fy, cx, cy = FORMATS[dataset].intrinsics
    x, y, z = np.moveaxis(xyz, -1, 0)
    return np.stack([x * fx / z + cx, y * fy / z + cy, z], axis=-1)


def read_uvd(path: str | Path, dataset: str) -> Float[np.ndarray, "n j 3"]:
    """The frames of a text file as (u, v, d), joints in the skeleton's order. Float64: the text's own precision."""
    path, form = Path(path), FORMATS[dataset]
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: {'is a folder, not a' if path.is_dir() else 'no such'} file of joint positions"
        )
    rows: list[list[float]] = []
    longest = form.numbers * MAX_NUMBER * 2
    with path.open("rb") as file:
        for number in range(1, MAX_FRAMES + 2):
            line = file.readline(longest + 1)
            if not line:
                break
            if len(line) > longest:
                raise ValueError(
                    f"{path}: line {number} is longer than {longest} characters; not a text file of joint positions"
                )
            if number > MAX_FRAMES:
                raise ValueError(
                    f"{path}: more than {MAX_FRAMES} lines; not a text file of joint positions"
                )
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")  # some editors' byte order mark
            rows.append(_numbers(line, f"{path}: line {number}"))
    while rows and not rows[-1]:  # blank lines at the end
        rows.pop()
    if not rows:
        raise ValueError(f"{path}: the file is empty; expected one frame a line")
    for number, row in enumerate(rows, 1):
        if len(row) != form.numbers:
            raise ValueError(_wrong_length(path, number, len(row), len(rows[0]), dataset))
    return np.array(rows).reshape(len(rows), -1, 3)[:, form.order]


def read_pair(
    predictions: str | Path, groundtruth: str | Path, dataset: str
) -> tuple[Float[np.ndarray, "n j 3"], Float[np.ndarray, "n j 3"]]:
    """Predicted and true joints of the same frames, in camera-space mm."""
    pred, true = read_uvd(predictions, dataset), read_uvd(groundtruth, dataset)
    if len(pred) != len(true):
        hint = ""
        if dataset == "icvl" and 702 in (len(pred), len(true)):
            hint = " (702 frames are the first of ICVL's two test sequences alone)"
        raise ValueError(
            f"{predictions} has {len(pred)} frames, {groundtruth} has {len(true)}{hint}; both must list the same frames"
        )
    return uvd_to_xyz(pred, dataset), uvd_to_xyz(true, dataset)


def write_uvd(path: str | Path, xyz: Float[np.ndarray, "n j 3"], dataset: str) -> Path:
    """Write camera-space joints (mm, the skeleton's order) as a text file that `read_uvd` and others' tools read.

    Three decimals, as the published files have. An existing file is not touched: FileExistsError.
    """
    path, form = Path(path), FORMATS[dataset]
    if xyz.shape[1] != len(form.order):
        raise ValueError(
            f"{xyz.shape[1]} joints a frame; {form.title} files have {len(form.order)}"
        )
    _finite(path, xyz)
    uvd = xyz_to_uvd(xyz, dataset)[:, np.argsort(form.order)]
    with _new(path, "x") as file:
        np.savetxt(file, uvd.reshape(len(uvd), -1), fmt="%.3f")
    return path


@dataclass(frozen=True)
class Predictions:
    """What `predictions.npz` holds: camera-space mm; `truth` only where the frames were labelled."""

    ids: tuple[str, ...]
    joints_xyz: np.ndarray  # [n, j, 3]
    truth: np.ndarray | None = None  # of the same shape

    def arrays(self) -> dict[str, np.ndarray]:
        joints = np.asarray(self.joints_xyz, dtype=np.float32)
        arrays = {"ids": np.array(self.ids, dtype=np.str_), "joints_xyz": joints}
        if self.truth is not None:
            arrays["truth"] = np.asarray(self.truth, dtype=np.float32)
        return arrays


def write_predictions(path: str | Path, predictions) -> Path:
    """Write a compressed `.npz` of plain arrays: ids (text), the predicted joints (float32) and, if there, truth and what goes with
    it. `predictions` is a Predictions or whatever else has `ids` and `arrays()` with the joints at second place.

    An existing file is not touched: FileExistsError.
    """
    path, arrays = Path(path), predictions.arrays()
    joints = list(arrays.values())[1]
    if len(predictions.ids) != len(joints):
        raise ValueError(
            f"{len(predictions.ids)} ids for {len(joints)} frames; each frame needs one"
        )
    _finite(path, joints)
    if "truth" in arrays and arrays["truth"].shape != joints.shape:
        raise ValueError(f"truth has shape {arrays['truth'].shape}, the predictions {joints.shape}")
    with _new(path, "xb") as file:
        np.savez_compressed(file, **arrays)
    return path


def read_arrays(
    path: str | Path, needed: tuple[str, ...], more: tuple[str, ...] = ()
) -> dict[str, np.ndarray]:
    """The named arrays of an `.npz`: all that are `needed`, and those of `more` that are there."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of predictions")
    try:
        # Opened here, because np.load leaves a broken archive open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {
                name: archive[name]
                for name in (*needed, *(name for name in more if name in archive))
            }
    except (
        ValueError,
        KeyError,
        OSError,
        TypeError,
        EOFError,
        AttributeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise ValueError(f"{path}: not a predictions.npz with {' and '.join(needed)}") from error


def read_predictions(path: str | Path) -> Predictions:
    """Read back what `write_predictions` wrote."""
    arrays = read_arrays(path, ("ids", "joints_xyz"), ("truth",))
    ids, joints, truth = arrays["ids"], arrays["joints_xyz"], arrays.get("truth")
    if (
        joints.ndim != 3
        or joints.shape[2] != 3
        or len(ids) != len(joints)
        or (truth is not None and truth.shape != joints.shape)
    ):
        raise ValueError(
            f"{path}: expected ids [n], joints_xyz [n, j, 3] and truth of its shape; found {ids.shape}, {joints.shape}"
        )
    return Predictions(tuple(map(str, ids)), joints, truth)


def _numbers(line: bytes, where: str) -> list[float]:
    """The finite numbers of one line."""
    values = []
    for word in line.split():
        try:
            if b"_" in word:  # Python would read 1_0 as ten
                raise ValueError
            values.append(float(word))
        except ValueError:
            raise ValueError(
                f"{where}: {_shown(word)} is not a number; expected u v d of every joint"
            ) from None
        if not math.isfinite(values[-1]):
            raise ValueError(
                f"{where}: {_shown(word)} is no position; every u, v and d must be finite"
            )
    return values


def _shown(word: bytes) -> str:
    text = ascii(word.decode("latin-1"))
    return text if len(text) <= 30 else f"{text[:27]}..."


def _wrong_length(path: Path, number: int, found: int, first: int, dataset: str) -> str:
    form = FORMATS[dataset]
    needs = f"{form.title} has {len(form.order)} joints, {form.numbers} numbers a line"
    if number == 1:
        fits = [other for other, f in FORMATS.items() if f.numbers == found]
        way_out = f"; it fits --dataset {fits[0]}" if fits else ""
        return f"{path}: line {number} has {found} numbers; {needs}{way_out}"
    return f"{path}: line {number} has {found} numbers, the lines before it {first}; {needs}"


def _finite(path: Path, xyz: np.ndarray) -> None:
    if not np.isfinite(xyz).all():
        frame = int(np.argwhere(~np.isfinite(xyz))[0][0])
        raise ValueError(f"{path}: frame {frame} of the predictions is not finite; nothing written")


def _new(path: Path, mode: str):
    """A file that did not exist before."""
    try:
        return path.open(mode)
    except FileExistsError:
        raise FileExistsError(
            f"{path}: exists already; move it away or choose another name"
        ) from None
