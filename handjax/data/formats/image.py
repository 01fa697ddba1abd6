"""PNG and JPEG files that are stored unchanged, after a check that they are complete and decode."""

import os
import zlib

import cv2
import numpy as np
from etils import epath
from jaxtyping import UInt8

from handjax.data.formats.depth import MAX_PIXELS, PNG_START

# JPEG frame headers that hold the size: SOF0 to SOF15 without DHT, JPG and DAC.
_JPEG_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def read_image(path: str | os.PathLike) -> tuple[bytes, UInt8[np.ndarray, "h w *c"]]:
    """The file's bytes and its pixels as stored: [h, w], or [h, w, c] in the order R, G, B.

    FileNotFoundError or ValueError, one line, for a file that is missing, damaged, too large or not
    an image of 8 bits per channel. It is checked before OpenCV reads it, which accepts a truncated
    JPEG and trusts any size a header claims.
    """
    try:
        data = epath.Path(path).read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file; expected a PNG or JPEG image") from None
    size = _png_size(data) or _jpeg_size(data)
    if size is None:
        raise ValueError(f"{path}: not a PNG or JPEG, or cut short or damaged; copy it again")
    if size[0] * size[1] > MAX_PIXELS:
        raise ValueError(
            f"{path}: claims {size[1]} x {size[0]} pixels; expected at most {MAX_PIXELS} in all"
        )
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        pixels = None
    if pixels is None or pixels.shape[:2] != size or pixels.dtype != np.uint8:
        raise ValueError(f"{path}: does not decode to 8 bits per channel; copy it again")
    return data, pixels[..., ::-1] if pixels.shape[2:] == (3,) else pixels


def below(root: epath.Path, name: str, where: str) -> epath.Path:
    """root / name, for a name read from a file at `where`. ValueError if it leads out of root."""
    parts = name.replace("\\", "/").split("/")
    if not name or name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0] or "\0" in name:
        raise ValueError(f"{where}: names the file {name!r}; expected a path below {root}")
    return root / name


def _png_size(data: bytes) -> tuple[int, int] | None:
    """(height, width) of a PNG whose chunks are all complete and match their checksums."""
    if not data.startswith(PNG_START):
        return None
    at = 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if zlib.crc32(data[at + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            return None
        if data[at + 4 : at + 8] == b"IEND":
            return int.from_bytes(data[20:24], "big"), int.from_bytes(data[16:20], "big")
        at = end + 4
    return None


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """(height, width) of a JPEG with an end marker; some cameras append a few bytes to it."""
    if not data.startswith(b"\xff\xd8") or b"\xff\xd9" not in data[-1024:]:
        return None
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        if data[at + 1] in _JPEG_FRAMES:
            height, width = data[at + 5 : at + 7], data[at + 7 : at + 9]
            return int.from_bytes(height, "big"), int.from_bytes(width, "big")
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big") if data[at + 1] != 0xFF else 1
    return None
