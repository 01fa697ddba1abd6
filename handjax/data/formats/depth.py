"""Depth images: PNG, TIFF, PGM, PFM, and NumPy's .npy and .npz."""

import os

import cv2
import numpy as np
from etils import epath
from jaxtyping import Float, Float32, UInt16

from handjax.data.formats import exif
from handjax.data.formats.arrays import read_npy, read_npz
from handjax.data.formats.headers import MAX_PIXELS, Header, read_header
from handjax.data.formats.kinds import kind_of

# Depth format → (bits per channel, PNG color type, description). It concerns PNG files alone.
DEPTH_FORMATS = {
    "png16": (16, 0, "a 16-bit single-channel PNG"),
    "nyu": (8, 2, "an 8-bit RGB PNG with depth = G * 256 + B"),
}
# Endings of the files that `read_depth` reads; it looks at their content, not at their names.
ENDINGS = (".png", ".npy", ".npz", ".tif", ".tiff", ".pgm", ".pfm")
_OTHERS = "16-bit or float TIFF, 16-bit PGM, PFM, .npy or .npz"


# Bits and color type of a PNG → the format that it has.
_OTHER_PNG = {
    (16, 0): "; use 'png16'",
    (8, 2): ": a color picture, or depth of NYU's form: use 'nyu'",
    (8, 6): ": a color picture",
    (8, 0): ": a grey picture",
}


def read_depth(
    path: str | os.PathLike, *, form: str, scale: float = 1.0
) -> Float32[np.ndarray, "h w"]:
    """Depth in mm along z, 0 = missing. `form`, a key of DEPTH_FORMATS, is that of PNG files, and
    `scale` is mm per unit of the file.

    Other files are one image each of whole numbers or floating point, where what is not finite or
    not above 0 is missing. A .npz has one array, or one called "depth". Errors as `read_depth_png`.
    """
    data = _content(path, form)
    kind = kind_of(data).name
    if kind == "a PNG image":
        units = _png_units(path, data, form)
        return units.astype(np.float32) * np.float32(scale)
    try:
        if kind.startswith("a NumPy array"):
            values = read_npy(data)
        elif kind.startswith("NumPy arrays"):
            values = read_npz(data, "depth", 16 * MAX_PIXELS)
        else:
            values = _pixels(data, f"{DEPTH_FORMATS[form][2]}, {_OTHERS}")
        return _checked(values, scale)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def read_depth_png(
    path: str | os.PathLike, *, form: str
) -> tuple[UInt16[np.ndarray, "h w"], bytes]:
    """Depth in the file's own units, 0 = missing, and the bytes of the file, a PNG. `form` is a key
    of DEPTH_FORMATS.

    FileNotFoundError or ValueError, one line, for a file that is missing, damaged, too large or of
    another format.
    """
    data = _content(path, form)
    return _png_units(path, data, form), data


def _content(path: str | os.PathLike, form: str) -> bytes:
    if form not in DEPTH_FORMATS:
        raise ValueError(f"depth format {form!r}; expected one of {', '.join(DEPTH_FORMATS)}")
    file = epath.Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected a depth frame")
    return file.read_bytes()


def _png_units(path: str | os.PathLike, data: bytes, form: str) -> UInt16[np.ndarray, "h w"]:
    bits, color, description = DEPTH_FORMATS[form]
    try:
        header = read_header(data, description)
        if header.kind != "PNG":
            raise ValueError(f"a {header.kind} image; expected {description}")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if (data[24], data[25]) != (bits, color):
        raise ValueError(
            f"{path}: PNG of {data[24]} bits and color type {data[25]}; "
            f"depth format {form!r} is {description}" + _OTHER_PNG.get((data[24], data[25]), "")
        )
    image = _decode(data)
    if problem := _turned(data, "PNG"):
        raise ValueError(f"{path}: {problem}")
    if image is None or image.shape[:2] != (header.height, header.width):
        raise ValueError(f"{path}: PNG that does not decode; copy it again")
    if form == "nyu":  # OpenCV's channel order is B, G, R
        return image[..., 1].astype(np.uint16) << 8 | image[..., 0].astype(np.uint16)
    return image.astype(np.uint16, copy=False)


def _pixels(data: bytes, expected: str) -> np.ndarray:
    """The pixels of a TIFF, PGM or PFM of one channel and more than 8 bits."""
    header = read_header(data, expected)
    if header.pages > 1:
        raise ValueError(f"a TIFF of {header.pages} images; expected one depth image per file")
    if header.kind not in ("TIFF", "PNM", "PFM") or header.channels != 1 or header.bits < 16:
        raise ValueError(
            f"a {header.kind} of {header.channels} channels of {header.bits} bits; "
            f"expected {expected}"
        )
    if header.kind != "TIFF":
        return pnm_pixels(data, header)
    if problem := _turned(data, "TIFF"):
        raise ValueError(problem)
    image = _decode(data)
    size, floats = (header.height, header.width), header.number == "float"
    if image is None or image.shape != size or (image.dtype.kind == "f") != floats:
        raise ValueError(
            f"a TIFF of {header.bits} bits per pixel ({header.number}) that does not decode; "
            "copy it again, or save it as 16-bit or float TIFF without compression"
        )
    return image


def pnm_pixels(data: bytes, header: Header) -> np.ndarray:
    """The pixels of PGM, PPM (R, G, B) or PFM. ValueError if it is cut short or damaged."""
    shape = (header.height, header.width, header.channels)[: 2 if header.channels == 1 else 3]
    count = header.height * header.width * header.channels
    if header.kind == "PFM":  # from the bottom row up; a scale below 0 means little endian
        scale = data[: header.start].split()[-1]
        kind = "<f4" if scale.startswith(b"-") else ">f4"
        return np.frombuffer(data, kind, count, header.start).reshape(shape)[::-1]
    if data[1:2] in b"56":
        kind = "u1" if header.bits == 8 else ">u2"
        return np.frombuffer(data, kind, count, header.start).reshape(shape)
    words = data[header.start :].split()
    try:
        values = np.array([int(word) for word in words])
    except ValueError:
        values = np.zeros(0, int)
    if len(values) != count or not ((values >= 0) & (values < 1 << header.bits)).all():
        raise ValueError(f"{len(words)} numbers follow; expected {count}: copy it again")
    return values.reshape(shape).astype(np.uint8 if header.bits == 8 else np.uint16)


def _checked(depth: np.ndarray, scale: float) -> Float[np.ndarray, "h w"]:
    if depth.ndim != 2 or depth.dtype.kind not in "fiu" or not 0 < depth.size <= MAX_PIXELS:
        raise ValueError(
            f"{depth.dtype} of shape {list(depth.shape)}; expected one depth image, [height, width]"
        )
    measured = np.isfinite(depth) & (depth > 0)
    with np.errstate(over="ignore"):  # beyond float32 becomes inf, which is no measurement
        units = np.where(measured, depth, 0).astype(np.float32) * np.float32(scale)
    return np.where(np.isfinite(units), units, np.float32(0))


def _turned(data: bytes, kind: str) -> str:
    """What is wrong with an image that viewers show turned; "" for others."""
    turn = exif.orientation(data, kind)
    if turn == 1:
        return ""
    return (
        f"a depth image with an EXIF orientation of {turn}: turned, it would not fit its camera; "
        "save it upright, without that tag"
    )


def _decode(data: bytes) -> np.ndarray | None:
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
