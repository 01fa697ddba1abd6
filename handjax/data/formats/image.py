"""Pictures: PNG, JPEG, WebP, BMP, TIFF and PPM files, checked to be complete before they decode."""

import os

import cv2
import numpy as np
from etils import epath
from jaxtyping import UInt8

from handjax.data.formats import exif
from handjax.data.formats.depth import pnm_pixels
from handjax.data.formats.headers import Header, read_header

# Endings of pictures in a folder. `read_image` looks at a file's content, not at its name.
ENDINGS = tuple(".png .jpg .jpeg .jpe .jfif .webp .bmp .tif .tiff .ppm".split())
EXPECTED = "a picture (PNG, JPEG, WebP, BMP or TIFF)"
_STORED = ("PNG", "JPEG")  # which TensorFlow decodes


def read_image(path: str | os.PathLike) -> tuple[bytes, UInt8[np.ndarray, "h w *c"]]:
    """A PNG or JPEG file of the picture, and its pixels: [h, w], or [h, w, c] in the order R, G, B.

    Both are upright: turned as the file's EXIF data say. The bytes are those of the file up to the
    image's end (phones append a video), or those of a PNG made of it for WebP, BMP, TIFF, PPM and
    pictures that had to be turned.

    FileNotFoundError or ValueError, one line, for a file that is missing, damaged, too large or not
    an image of 8 bits per channel. It is checked before OpenCV reads it, which accepts a truncated
    JPEG and trusts any size a header claims.
    """
    try:
        data = epath.Path(path).read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file; expected {EXPECTED}") from None
    try:
        header = read_header(data, EXPECTED)
        _check(header)
        turn = exif.orientation(data, header.kind)
        pixels = pnm_pixels(data, header) if header.kind == "PNM" else _decode(data, header, turn)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if header.kind in _STORED and turn == 1:
        return data[: header.end], pixels
    return cv2.imencode(".png", _swapped(pixels))[1].tobytes(), pixels


def _check(header: Header) -> None:
    if header.bits > 8:
        raise ValueError(
            f"a {header.kind} of {header.bits} bits per channel; expected 8 bits: convert it, or "
            "if it is depth, handjax predict depth reads it"
        )
    if header.pages > 1:
        raise ValueError(
            f"a {header.kind} of {'several' if header.kind == 'WebP' else header.pages} images; "
            "expected one per file: write each as PNG"
        )


def _decode(data: bytes, header: Header, turn: int) -> UInt8[np.ndarray, "h w *c"]:
    """The pixels, turned as EXIF's orientation `turn` says."""
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        pixels = None
    size = header.height, header.width
    if header.kind == "TIFF":  # OpenCV has turned it
        size, turn = (size if turn < 5 else size[::-1]), 1
    if pixels is None or pixels.shape[:2] != size or pixels.dtype != np.uint8:
        raise ValueError(
            f"a {header.kind} that does not decode to 8 bits per channel; copy it again"
        )
    return _swapped(exif.upright(pixels, turn))


def _swapped(pixels: UInt8[np.ndarray, "h w *c"]) -> UInt8[np.ndarray, "h w *c"]:
    """B, G, R → R, G, B and back. Other numbers of channels stay as they are."""
    return pixels[..., ::-1] if pixels.shape[2:] == (3,) else pixels


def rgb_pixels(pixels: UInt8[np.ndarray, "h w *c"]) -> UInt8[np.ndarray, "h w 3"]:
    """What `read_image` returns as RGB: grey images are repeated, an alpha channel is dropped."""
    if pixels.ndim == 2:
        return np.repeat(pixels[..., None], 3, axis=-1)
    return np.ascontiguousarray(pixels if pixels.shape[2] == 3 else pixels[..., 2::-1])


def below(root: epath.Path, name: str, where: str) -> epath.Path:
    """root / name, for a name read from a file at `where`. ValueError if it leads out of root."""
    parts = name.replace("\\", "/").split("/")
    if not name or name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0] or "\0" in name:
        raise ValueError(f"{where}: names the file {name!r}; expected a path below {root}")
    return root / name
