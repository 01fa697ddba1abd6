"""Text files of joints and crop centers, as several data sets have them.

`joint_data_train.txt` has one line per frame, `name` and j * 3 mm, separated by tabs.
`center_train_refined.txt` (github.com/mks0601/V2V-PoseNet_RELEASE) has one line per frame, `x y z`
in mm or `invalid`.

Both are in the frame of the data set. With `y_up` (NYU) the readers negate y, so the result is in
the camera frame: x right, y down, z forward.
"""

import codecs
import os

import numpy as np
from etils import epath
from jaxtyping import Bool, Float32

from handjax.data.formats.words import to_number


def read_joints(
    path: str | os.PathLike, *, y_up: bool
) -> tuple[list[str], Float32[np.ndarray, "n j 3"]]:
    """Frame names and joints, camera mm. ValueError, one line, names the line that is invalid."""
    names: list[str] = []
    rows: list[np.ndarray] = []
    for number, line in read_lines(path):
        name, *words = line.split("\t") if "\t" in line else line.split()
        if not words or len(words) % 3 or (rows and len(words) != rows[0].size):
            expected = f"{rows[0].size}" if rows else "a multiple of 3"
            raise ValueError(
                f"{path}, line {number}: {len(words)} numbers after the name; "
                f"expected {expected} (x y z per joint)"
            )
        names.append(name)
        rows.append(parse_numbers(path, number, words))
    return names, _to_camera(np.stack(rows).reshape(len(rows), -1, 3), y_up)


def read_centers(
    path: str | os.PathLike, *, y_up: bool
) -> tuple[Float32[np.ndarray, "n 3"], Bool[np.ndarray, " n"]]:
    """Crop centers, camera mm, and whether each is valid.

    'invalid' and, as in hpoes_pytorch, '0 0 0' are not valid and returned as 0. ValueError, one
    line, names the line that is malformed.
    """
    centers, valid = [], []
    for number, line in read_lines(path):
        words = line.split()
        given = words[0] != "invalid"
        if given and len(words) != 3:
            raise ValueError(
                f"{path}, line {number}: {len(words)} values; expected 'x y z' in mm, or 'invalid'"
            )
        center = parse_numbers(path, number, words) if given else np.zeros(3, np.float32)
        if center[2] < 0 or (center[2] == 0 and center.any()):
            raise ValueError(
                f"{path}, line {number}: z is {center[2]:g} mm; "
                "expected a center in front of the camera, z > 0"
            )
        centers.append(center)
        valid.append(bool(center.any()))
    return _to_camera(np.stack(centers), y_up), np.asarray(valid)


def read_optional_centers(
    path: str | os.PathLike, count: int, *, y_up: bool
) -> tuple[Float32[np.ndarray, "{count} 3"], Bool[np.ndarray, " {count}"]]:
    """`read_centers` for the `count` frames of a data set. No center is valid if the file does not
    exist."""
    if not epath.Path(path).exists():
        return np.zeros((count, 3), np.float32), np.zeros(count, bool)
    centers, valid = read_centers(path, y_up=y_up)
    if len(valid) != count:
        raise ValueError(
            f"{path}: {len(valid)} lines for {count} frames; "
            "use the centers of this release, or move the file away"
        )
    return centers, valid


def read_lines(path: str | os.PathLike) -> list[tuple[int, str]]:
    """(number, text) of every line. ValueError for blank lines, except at the end, because lines of
    two files correspond by number.

    A line ends with a line feed and any number of carriage returns before it (copies of ICVL's
    labels have two), or with a single carriage return. A byte order mark is no part of the text.
    """
    file = epath.Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected a text file, one line per frame")
    try:
        text = decode_text(file.read_bytes()).rstrip()
        lines = text.split("\n") if "\n" in text else text.split("\r")
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not UTF-8 text; expected one line per frame") from None
    if lines == [""]:
        raise ValueError(f"{path}: empty; expected one line per frame")
    blank = next((i for i, line in enumerate(lines, 1) if not line.strip()), None)
    if blank:
        raise ValueError(f"{path}, line {blank}: blank; expected one line per frame")
    return [(i, line.strip()) for i, line in enumerate(lines, 1)]


def decode_text(data: bytes) -> str:
    """UTF-8, or UTF-16 that starts with a byte order mark, as Windows writes it. UnicodeDecodeError
    for other bytes."""
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if wide else "utf-8-sig")


def parse_numbers(
    path: str | os.PathLike, number: int, words: list[str]
) -> Float32[np.ndarray, " n"]:
    """The words of line `number` as numbers, in mm or px. ValueError unless all are finite."""
    try:
        return np.asarray([to_number(word) for word in words], np.float32)
    except ValueError as error:
        raise ValueError(f"{path}, line {number}: {error}; expected numbers in mm") from None


def _to_camera(points: np.ndarray, y_up: bool) -> np.ndarray:
    return points * np.asarray([1, -1 if y_up else 1, 1], np.float32)
