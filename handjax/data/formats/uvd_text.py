"""Text files of 3D joints as published results use them (awesome-hand-pose-estimation).

A file has one frame per line: (u, v, d) of every joint, u and v in pixels, d in mm, separated by
spaces, tabs, commas or semicolons. The name of the frame may stand before them, and a header above
the first frame. It does not name its data set, so the data set's name fixes the number of joints,
their order and the intrinsics. In memory, joints are in the skeleton's order and xyz is in camera
mm.
"""

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from handjax.data.formats.words import to_number
from handjax.pose.joint_orders import ORDERS
from handjax.pose.pinhole import uvd_to_xyz, xyz_to_uvd
from handjax.pose.skeleton import SKELETONS, Skeleton

MAX_FRAMES = 1_000_000  # far beyond any test set; stops an endless file
MAX_NUMBER = 64  # characters per number
HEADER_LINES = 10  # that may stand above the first frame


@dataclass(frozen=True)
class UvdFormat:
    """Text format of one data set. Joint i of the skeleton is at place `order[i]` of a line, or at
    place `wide[i]` of a line of `wide_joints`; `intrinsics` are fx, fy, cx, cy in pixels.

    awesome-hand-pose-estimation gives NYU a negative fy, which turns y up. Errors do not depend on
    it; in handjax y points down everywhere, so fy is positive.
    """

    title: str
    skeleton: Skeleton
    order: tuple[int, ...]
    intrinsics: tuple[float, float, float, float]
    wide: tuple[int, ...] = ()
    wide_joints: int = 0

    @property
    def numbers(self) -> int:
        """Numbers per line."""
        return 3 * len(self.order)

    @property
    def k(self) -> Float[np.ndarray, "3 3"]:
        """Intrinsic matrix, px."""
        fx, fy, cx, cy = self.intrinsics
        return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])


UVD_FORMATS: dict[str, UvdFormat] = {
    "nyu": UvdFormat(
        "NYU",
        SKELETONS["nyu14"],
        tuple(range(14)),
        (588.03, 587.07, 320.0, 240.0),
        wide=ORDERS["nyu36"].to_common,  # of all joints, 14 are evaluated
        wide_joints=36,
    ),
    "icvl": UvdFormat(
        "ICVL", SKELETONS["icvl16"], tuple(range(16)), (240.99, 240.96, 160.0, 120.0)
    ),
    # MSRA's lines are in the order wrist, index, middle, ring, little, thumb.
    "msra": UvdFormat(
        "MSRA",
        SKELETONS["hand21"],
        (0, *range(17, 21), *range(1, 17)),
        (241.42, 241.42, 160.0, 120.0),
    ),
}


def uvd_to_camera(uvd: Float[np.ndarray, "n j 3"], dataset: str) -> Float[np.ndarray, "n j 3"]:
    """(px, px, mm) → camera mm with the data set's intrinsics."""
    return uvd_to_xyz(uvd, UVD_FORMATS[dataset].k)


def camera_to_uvd(xyz: Float[np.ndarray, "n j 3"], dataset: str) -> Float[np.ndarray, "n j 3"]:
    """Camera mm → (px, px, mm) with the data set's intrinsics. ValueError unless all z > 0."""
    if not (xyz[..., 2] > 0).all():
        raise ValueError(
            f"a joint is at depth {np.min(xyz[..., 2]):g} mm; "
            "only joints in front of the camera have a (u, v)"
        )
    return xyz_to_uvd(xyz, UVD_FORMATS[dataset].k)


def read_uvd(path: str | Path, dataset: str) -> Float[np.ndarray, "n j 3"]:
    """Frames of a text file as (u, v, d), joints in the skeleton's order. Float64, to keep the
    text's precision. The file may be compressed by gzip. ValueError or FileNotFoundError, one line,
    for an invalid file."""
    path, form = Path(path), UVD_FORMATS[dataset]
    if not path.is_file():
        kind = "is a folder, not a" if path.is_dir() else "no such"
        raise FileNotFoundError(f"{path}: {kind} file of joint positions")
    rows: list[tuple[int, list[float]]] = []  # with the number of the line
    longest = max(form.numbers, 3 * form.wide_joints) * MAX_NUMBER * 2
    with _open(path) as file:
        for number in range(1, MAX_FRAMES + 2):
            try:
                line = file.readline(longest + 1)
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                raise ValueError(f"{path}: damaged gzip ({error}); copy it again") from None
            if not line:
                break
            if len(line) > longest:
                raise ValueError(
                    f"{path}: line {number} is longer than {longest} characters; "
                    "not a text file of joint positions"
                )
            if number > MAX_FRAMES:
                raise ValueError(
                    f"{path}: more than {MAX_FRAMES} lines; not a text file of joint positions"
                )
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")  # some editors' byte order mark
            words = line.replace(b",", b" ").replace(b";", b" ").decode("latin-1").split()
            if rows or number > HEADER_LINES or not _is_header(words):
                rows.append((number, _numbers(words, f"{path}: line {number}")))
    while rows and not rows[-1][1]:  # blank lines at the end
        rows.pop()
    if not rows:
        raise ValueError(f"{path}: the file is empty; expected one frame per line")
    first = rows[0][1]
    wide = len(first) == 3 * form.wide_joints > 0
    for number, row in rows:
        if len(row) != (3 * form.wide_joints if wide else form.numbers):
            before = None if row is first else len(first)
            raise ValueError(_wrong_length(path, number, len(row), before, dataset))
    joints = np.array([row for _, row in rows]).reshape(len(rows), -1, 3)
    return joints[:, form.wide if wide else form.order]


def _open(path: Path) -> Any:
    """The file, or what is in it if it is compressed by gzip, whatever its name."""
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path) if compressed else path.open("rb")


def read_pair(
    predictions: str | Path, groundtruth: str | Path, dataset: str
) -> tuple[Float[np.ndarray, "n j 3"], Float[np.ndarray, "n j 3"]]:
    """Predicted and true joints of the same frames, in camera mm."""
    pred, true = read_uvd_pair(predictions, groundtruth, dataset)
    return uvd_to_camera(pred, dataset), uvd_to_camera(true, dataset)


def read_uvd_pair(
    predictions: str | Path, groundtruth: str | Path, dataset: str
) -> tuple[Float[np.ndarray, "n j 3"], Float[np.ndarray, "n j 3"]]:
    """Predicted and true joints of the same frames, (u, v, d) in px and mm."""
    pred, true = read_uvd(predictions, dataset), read_uvd(groundtruth, dataset)
    if len(pred) != len(true):
        hint = ""
        if dataset == "icvl" and 702 in (len(pred), len(true)):
            hint = " (702 frames are the first of ICVL's two test sequences alone)"
        raise ValueError(
            f"{predictions} has {len(pred)} frames, {groundtruth} has {len(true)}{hint}; "
            "both must list the same frames"
        )
    return pred, true


def write_uvd(path: str | Path, xyz: Float[np.ndarray, "n j 3"], dataset: str) -> Path:
    """Writes joints (camera mm, the skeleton's order) as a text file that `read_uvd` and other
    tools read. Three decimals, as in the published files. FileExistsError if the file exists."""
    path, form = Path(path), UVD_FORMATS[dataset]
    if xyz.shape[1] != len(form.order):
        raise ValueError(
            f"{xyz.shape[1]} joints per frame; {form.title} files have {len(form.order)}"
        )
    if not np.isfinite(xyz).all():
        frame = int(np.argwhere(~np.isfinite(xyz))[0][0])
        raise ValueError(f"{path}: frame {frame} of the predictions is not finite; nothing written")
    uvd = camera_to_uvd(xyz, dataset)[:, np.argsort(form.order)]
    try:
        with path.open("x") as file:
            np.savetxt(file, uvd.reshape(len(uvd), -1), fmt="%.3f")
    except FileExistsError:
        raise FileExistsError(
            f"{path}: exists already; move it away or choose another name"
        ) from None
    return path


def _is_header(words: list[str]) -> bool:
    """Whether a line of text has words and no number among them, or is a comment."""
    if not words or not all(word.isascii() and word.isprintable() for word in words):
        return False
    return words[0][0] in "#%" or not any(map(_is_number, words))


def _is_number(word: str) -> bool:
    try:
        to_number(word)
    except ValueError:
        return False
    return True


def _numbers(words: list[str], where: str) -> list[float]:
    """The finite numbers of one line, after the name of its frame if it has one."""
    if len(words) > 1 and len(words) % 3 == 1 and not _is_number(words[0]):
        words = words[1:]
    try:
        return [to_number(word) for word in words]
    except ValueError as error:
        raise ValueError(f"{where}: {error}; expected u v d of every joint, finite") from None


def _wrong_length(path: Path, number: int, count: int, first: int | None, dataset: str) -> str:
    form = UVD_FORMATS[dataset]
    needs = f"{form.title} has {len(form.order)} joints, {form.numbers} numbers per line"
    if first is None:
        matches = [other for other, f in UVD_FORMATS.items() if f.numbers == count]
        hint = f"; it fits --dataset {matches[0]}" if matches else ""
        return f"{path}: line {number} has {count} numbers; {needs}{hint}"
    return f"{path}: line {number} has {count} numbers, the lines before it {first}; {needs}"
