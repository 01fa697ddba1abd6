"""Depth images as PNG files."""

import os

import cv2
import numpy as np
from etils import epath
from jaxtyping import Float32, UInt16

MAX_PIXELS = 1 << 26  # per frame; a small PNG can claim to be huge
PNG_START, PNG_END = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", b"IEND\xaeB`\x82"
# Depth format → (bits per channel, PNG color type, description).
DEPTH_FORMATS = {
    "png16": (16, 0, "a 16-bit single-channel PNG"),
    "nyu": (8, 2, "an 8-bit RGB PNG with depth = G * 256 + B"),
}


def read_depth(
    path: str | os.PathLike, *, form: str, scale: float = 1.0
) -> Float32[np.ndarray, "h w"]:
    """Depth in mm along z, 0 = missing. `form` is a key of DEPTH_FORMATS, `scale` is mm per unit of
    the file. Errors as `read_depth_png`."""
    units, _ = read_depth_png(path, form=form)
    return units.astype(np.float32) * np.float32(scale)


def read_depth_png(
    path: str | os.PathLike, *, form: str
) -> tuple[UInt16[np.ndarray, "h w"], bytes]:
    """Depth in the file's own units, 0 = missing, and the bytes of the file. `form` is a key of
    DEPTH_FORMATS.

    FileNotFoundError or ValueError, one line, for a file that is missing, damaged, too large or of
    another format.
    """
    if form not in DEPTH_FORMATS:
        raise ValueError(f"depth format {form!r}; expected one of {', '.join(DEPTH_FORMATS)}")
    bits, color, description = DEPTH_FORMATS[form]
    file = epath.Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected a depth frame")
    data = file.read_bytes()
    # Checked here, because OpenCV prints its own warnings and trusts any size a header claims.
    if not data.startswith(PNG_START) or not data.endswith(PNG_END):
        raise ValueError(f"{path}: not a PNG, or one cut short; expected {description}")
    width, height = (int.from_bytes(data[i : i + 4], "big") for i in (16, 20))
    if width * height > MAX_PIXELS:
        raise ValueError(
            f"{path}: claims {width} x {height} pixels; expected at most {MAX_PIXELS} in all"
        )
    if (data[24], data[25]) != (bits, color):
        raise ValueError(
            f"{path}: PNG of {data[24]} bits and color type {data[25]}; "
            f"depth format {form!r} is {description}"
        )
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or image.shape[:2] != (height, width):
        raise ValueError(f"{path}: PNG that does not decode; copy it again")
    if form == "nyu":  # OpenCV's channel order is B, G, R
        return image[..., 1].astype(np.uint16) << 8 | image[..., 0].astype(np.uint16), data
    return image.astype(np.uint16, copy=False), data
