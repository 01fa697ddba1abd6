"""How a picture is to be turned before it is shown: the orientation in its EXIF data.

Cameras store pixels as the sensor has them and note how the camera was held. Viewers and labelling
tools turn the picture first, and so does handjax, everywhere: pixels and labels are upright.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Shaped

_TAG, _SHORT = 0x0112, 3
_UPRIGHT = 1


def orientation(data: bytes, kind: str) -> int:
    """1 to 8, as EXIF numbers them; 1 where a PNG, JPEG, WebP or TIFF file does not say."""
    for block in _BLOCKS[kind](data) if kind in _BLOCKS else ():
        if 1 <= (found := _read(block)) <= 8:
            return found
    return _UPRIGHT


def upright(pixels: Shaped[np.ndarray, "h w *c"], orientation: int) -> Shaped[np.ndarray, "a b *c"]:
    """Pixels as they are stored → as they are shown. 5 to 8 exchange height and width."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _read(block: bytes) -> int:
    """The orientation in a TIFF structure, which EXIF data are; 0 if there is none."""
    order = {b"II": "little", b"MM": "big"}.get(block[:2])
    if order is None:
        return 0

    def number(at: int, size: int) -> int:
        return int.from_bytes(block[at : at + size], order)  # type: ignore[arg-type]

    big = number(2, 2) == 43  # BigTIFF
    wide, head, entry = (8, 8, 20) if big else (4, 2, 12)
    first = number(8 if big else 4, wide)
    for i in range(min(number(first, head), 1 << 12)):
        at = first + head + i * entry
        if at + entry > len(block):
            break
        if number(at, 2) == _TAG:
            return number(at + 4 + wide, 2) if number(at + 2, 2) == _SHORT else 0
    return 0


def _jpeg(data: bytes) -> Iterator[bytes]:
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        if data[at + 1] == 0xFF:  # a fill byte
            at += 1
            continue
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at + 1] == 0xE1 and data[at + 4 : at + 10] == b"Exif\0\0":
            yield data[at + 10 : end]
        at = end


def _png(data: bytes) -> Iterator[bytes]:
    at = 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] == b"eXIf":
            yield data[at + 8 : end]
        at = end + 4


def _webp(data: bytes) -> Iterator[bytes]:
    at = 12
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if data[at : at + 4] == b"EXIF":
            yield data[at + 8 : at + 8 + size].removeprefix(b"Exif\0\0")
        at += 8 + size + size % 2


_BLOCKS = {"JPEG": _jpeg, "PNG": _png, "WebP": _webp, "TIFF": lambda data: iter((data,))}
