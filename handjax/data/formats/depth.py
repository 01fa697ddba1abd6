"""Text files and depth frames, as several data sets have them and as voxel files are made from.

Text: `joint_data_train.txt`, a line a frame, `name` and j * 3 mm separated by tabs; `center_train_refined.txt`
(github.com/mks0601/V2V-PoseNet_RELEASE), a line a frame, `x y z` in mm or `invalid`. Both are in the frame of the data
set; with `y_up` (NYU) y is negated on the way in, so what comes out is the camera frame: x right, y down, z forward.
"""

import os

import cv2
import numpy as np
from etils import epath
from jaxtyping import Bool, Float32, UInt16

MAX_PIXELS = 1 << 26  # of a frame; a small PNG can claim to be huge
PNG_START, PNG_END = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", b"IEND\xaeB`\x82"
# depth format -> (bits a channel, PNG color type, in words)
DEPTH_FORMATS = {
    "png16": (16, 0, "a 16-bit single-channel PNG"),
    "nyu": (8, 2, "an 8-bit RGB PNG with depth = G * 256 + B"),
}


def read_joints(
    path: str | os.PathLike, *, y_up: bool
) -> tuple[list[str], Float32[np.ndarray, "n j 3"]]:
    """Frame names and joints, camera mm."""
    names, rows = [], []
    for number, line in read_lines(path):
        name, *words = line.split("\t") if "\t" in line else line.split()
        if not words or len(words) % 3 or (rows and len(words) != rows[0].size):
            expected = f"{rows[0].size}" if rows else "a multiple of 3"
            raise ValueError(
                f"{path}, line {number}: {len(words)} numbers after the name; expected {expected} (x y z a joint)"
            )
        names.append(name)
        rows.append(parse_numbers(path, number, words))
    return names, _to_camera(np.stack(rows).reshape(len(rows), -1, 3), y_up)


def read_centers(
    path: str | os.PathLike, *, y_up: bool
) -> tuple[Float32[np.ndarray, "n 3"], Bool[np.ndarray, " n"]]:
    """Crop centers, camera mm, and which are valid; 'invalid' and (as in hpoes_pytorch) '0 0 0' are not, given as 0."""
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
                f"{path}, line {number}: z is {center[2]:g} mm; expected a center in front of the camera, z > 0"
            )
        centers.append(center)
        valid.append(bool(center.any()))
    return _to_camera(np.stack(centers), y_up), np.asarray(valid)


def read_centers_beside(
    path: str | os.PathLike, count: int, *, y_up: bool
) -> tuple[Float32[np.ndarray, "{count} 3"], Bool[np.ndarray, " {count}"]]:
    """`read_centers` for the `count` frames of a data set; where there is no such file, no center is valid."""
    if not epath.Path(path).exists():
        return np.zeros((count, 3), np.float32), np.zeros(count, bool)
    centers, valid = read_centers(path, y_up=y_up)
    if len(valid) != count:
        raise ValueError(
            f"{path}: {len(valid)} lines for {count} frames; take the centers of this release, or move the file away"
        )
    return centers, valid


def read_depth(
    path: str | os.PathLike, *, form: str, scale: float = 1.0
) -> Float32[np.ndarray, "h w"]:
    """Depth in mm along z, 0 = missing; `form` is a key of DEPTH_FORMATS, `scale` the mm of one unit in the file."""
    units, _ = read_depth_png(path, form=form)
    return units.astype(np.float32) * np.float32(scale)


def read_depth_png(
    path: str | os.PathLike, *, form: str
) -> tuple[UInt16[np.ndarray, "h w"], bytes]:
    """Depth in the file's own units, 0 = missing, and the file as it is; `form` is a key of DEPTH_FORMATS."""
    path = epath.Path(path)
    if form not in DEPTH_FORMATS:
        raise ValueError(f"depth format {form!r}; expected one of {', '.join(DEPTH_FORMATS)}")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected a depth frame")
    data = path.read_bytes()
    # Looked at here, not by OpenCV: it prints warnings of its own, and believes any size a header claims.
    if not data.startswith(PNG_START) or not data.endswith(PNG_END):
        raise ValueError(f"{path}: no PNG, or one cut short; expected {DEPTH_FORMATS[form][2]}")
    width, height = (int.from_bytes(data[i : i + 4], "big") for i in (16, 20))
    if width * height > MAX_PIXELS:
        raise ValueError(
            f"{path}: claims {width} x {height} pixels; expected at most {MAX_PIXELS} in all"
        )
    bits, color, words = DEPTH_FORMATS[form]
    if (data[24], data[25]) != (bits, color):
        raise ValueError(
            f"{path}: PNG of {data[24]} bits and color type {data[25]}; depth format {form!r} is {words}"
        )
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or image.shape[:2] != (height, width):
        raise ValueError(f"{path}: PNG that does not decode; copy it anew")
    if form == "nyu":  # OpenCV's channel order is B, G, R
        image = image[..., 1].astype(np.uint16) << 8 | image[..., 0]
    return image, data


def read_lines(path: str | os.PathLike) -> list[tuple[int, str]]:
    """(number, text) of every line; blank ones only at the end, for lines of two files belong together by number.

    A line ends with a line feed and any number of carriage returns before it: copies of ICVL's labels have two.
    """
    path = epath.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected a text file, one line a frame")
    try:
        lines = path.read_bytes().decode("utf-8").rstrip().split("\n")
    except UnicodeDecodeError:
        raise ValueError(f"{path}: no UTF-8 text; expected one line a frame") from None
    if lines == [""]:
        raise ValueError(f"{path}: empty; expected one line a frame")
    blank = next((i for i, line in enumerate(lines, 1) if not line.strip()), None)
    if blank:
        raise ValueError(f"{path}, line {blank}: blank; expected one line a frame")
    return [(i, line.strip()) for i, line in enumerate(lines, 1)]


def parse_numbers(
    path: str | os.PathLike, number: int, words: list[str]
) -> Float32[np.ndarray, " n"]:
    """The words of line `number`, in mm or px."""
    try:
        values = np.asarray([float(word) for word in words], np.float32)
    except ValueError as error:
        raise ValueError(f"{path}, line {number}: {error}; expected numbers in mm") from None
    if not np.isfinite(values).all():
        raise ValueError(f"{path}, line {number}: has NaN or Inf; expected finite mm")
    return values


def _to_camera(points: np.ndarray, y_up: bool) -> np.ndarray:
    return points * np.asarray([1, -1 if y_up else 1, 1], np.float32)
