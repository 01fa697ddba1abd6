"""Headers of image files, read before OpenCV sees them: it trusts any size that a header claims,
and accepts images that are cut short."""

import re
import zlib
from collections.abc import Callable
from typing import Literal, NamedTuple

from handjax.data.formats.kinds import described, kind_of

MAX_PIXELS = 1 << 26  # per image; a small file can claim to be huge

# JPEG frame headers that hold the size: SOF0 to SOF15 without DHT, JPG and DAC.
_JPEG_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_END, _JPEG_SCAN = 0xD9, 0xDA
# In a JPEG's scan, 0xFF begins a marker unless 0 (a byte 0xFF) or a restart number follows.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by color type; 3 is a palette
# TIFF: tag → name, type → bytes per value and whether it is a whole number.
_TIFF_TAGS = {
    254: "subfile",
    256: "width",
    257: "height",
    258: "bits",
    277: "channels",
    339: "format",
    **{273: "offsets", 279: "sizes", 324: "offsets", 325: "sizes"},
}
_TIFF_BYTES = {1: 1, 3: 2, 4: 4, 13: 4, 16: 8, 18: 8}
_MAX_PAGES, _MAX_VALUES = 64, 1 << 20
_WORD = re.compile(rb"(?:\s|#[^\n]*\n)*(\S{1,20})")


class Header(NamedTuple):
    """An image file: `number` and `bits` describe a channel, `end` is where the image ends in the
    file, and `start` where the pixels begin in PNM. `pages` counts images of full size."""

    kind: Literal["PNG", "JPEG", "WebP", "BMP", "TIFF", "PNM", "PFM"]
    height: int
    width: int
    channels: int
    bits: int = 8
    number: Literal["uint", "int", "float"] = "uint"
    pages: int = 1
    start: int = 0
    end: int = 0


def read_header(data: bytes, expected: str) -> Header:
    """The header of a complete image file.

    ValueError for one that is cut short or damaged, for one that claims more than MAX_PIXELS, and
    for a file of another kind than PNG, JPEG, WebP, BMP, TIFF, PGM, PPM and PFM: what it is, what
    is `expected` and what to do.
    """
    parse = _PARSERS.get(kind_of(data).name)
    if parse is None:
        raise ValueError(described(data, expected))
    try:
        header = parse(data)
    except (IndexError, KeyError, ValueError, OverflowError):
        header = None
    if header is None or min(header.height, header.width) < 1:
        raise ValueError(f"{described(data, expected)}; it is cut short or damaged: copy it again")
    if header.height * header.width > MAX_PIXELS:
        raise ValueError(
            f"claims {header.width} x {header.height} pixels; expected at most {MAX_PIXELS} in all"
        )
    return header


def _png(data: bytes) -> Header | None:
    """All chunks must be complete and match their checksums."""
    at = 8 if data[8:16] == b"\0\0\0\rIHDR" else len(data)
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if zlib.crc32(data[at + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            return None
        if data[at + 4 : at + 8] == b"IEND":
            width, height = (int.from_bytes(data[i : i + 4], "big") for i in (16, 20))
            channels = _PNG_CHANNELS.get(data[25], 0)
            return Header("PNG", height, width, channels, data[24], end=end + 4)
        at = end + 4
    return None


def _jpeg(data: bytes) -> Header | None:
    """The markers up to the end of the image. What follows it is no part of it: phones put a video
    there, other cameras zeros or a second image."""
    frame, at = None, 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker, size = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker in _JPEG_FRAMES and at + 10 <= len(data):
            height, width = (int.from_bytes(data[i : i + 2], "big") for i in (at + 5, at + 7))
            frame = Header("JPEG", height, width, data[at + 9], data[at + 4])
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        at += 2 + size
        if marker != _JPEG_SCAN:
            continue
        found = _JPEG_MARKER.search(data, at)
        if frame is None or found is None:
            return None
        at = found.start()
        if data[at + 1] == _JPEG_END:
            return frame._replace(end=at + 2)
    # Unusual markers in a scan: complete if it ends as an image does.
    ended = b"\xff\xd9" in data[-1024:]
    return frame._replace(end=len(data)) if frame and ended else None


def _webp(data: bytes) -> Header | None:
    end = 8 + int.from_bytes(data[4:8], "little")
    if data[8:12] != b"WEBP" or len(data) < end or end < 30:
        return None
    chunk, pages = data[12:16], 1
    if chunk == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = (int.from_bytes(data[i : i + 2], "little") & 0x3FFF for i in (26, 28))
    elif chunk == b"VP8L" and data[20] == 0x2F:
        both = int.from_bytes(data[21:25], "little")
        width, height = (both & 0x3FFF) + 1, (both >> 14 & 0x3FFF) + 1
    elif chunk == b"VP8X":
        width, height = (int.from_bytes(data[i : i + 3], "little") + 1 for i in (24, 27))
        pages += bool(data[20] & 2)  # an animation
    else:
        return None
    return Header("WebP", height, width, 3, pages=pages, end=end)


def _bmp(data: bytes) -> Header | None:
    first, size = (int.from_bytes(data[i : i + 4], "little") for i in (10, 14))
    if size == 12:
        width, height, bits = (int.from_bytes(data[i : i + 2], "little") for i in (18, 20, 24))
        packed = 0
    else:
        width, height = (int.from_bytes(data[i : i + 4], "little", signed=True) for i in (18, 22))
        bits, packed = data[28], int.from_bytes(data[30:34], "little")
    height = abs(height)  # negative: the first row is the top one
    end = first + (width * bits + 31) // 32 * 4 * height
    if width < 1 or (packed in (0, 3) and len(data) < end):
        return None
    return Header("BMP", height, width, 3, end=min(end, len(data)))


def _tiff(data: bytes) -> Header | None:
    """The first page; its strips or tiles must lie in the file."""
    order: Literal["little", "big"] = "little" if data[:2] == b"II" else "big"
    big = 43 in data[2:4]
    wide, head, entry = (8, 8, 20) if big else (4, 2, 12)

    def number(at: int, size: int) -> int:
        if not 0 <= at <= len(data) - size:
            raise ValueError
        return int.from_bytes(data[at : at + size], order)

    def values(at: int) -> list[int]:
        size, count = _TIFF_BYTES[number(at + 2, 2)], number(at + 4, wide)
        if count > _MAX_VALUES:
            raise ValueError
        place = at + 4 + wide
        at = place if size * count <= wide else number(place, wide)
        return [number(at + i * size, size) for i in range(count)]

    page, pages, first = number(8 if big else 4, wide), 0, None
    for _ in range(_MAX_PAGES):
        if not page:
            break
        count = number(page, head)
        tags: dict[str, list[int]] = {}
        for i in range(count):
            at = page + head + i * entry
            if (name := _TIFF_TAGS.get(number(at, 2))) and number(at + 2, 2) in _TIFF_BYTES:
                tags[name] = values(at)
        page = number(page + head + count * entry, wide)
        if tags.get("subfile", [0])[0] & 1:  # a small copy, for a preview
            continue
        pages += 1
        first = first or tags
    if not first:
        return None
    places = list(zip(first.get("offsets", []), first.get("sizes", []), strict=True))
    if not places or any(not size or at + size > len(data) for at, size in places):
        return None
    kinds: dict[int, Literal["uint", "int", "float"]] = {1: "uint", 2: "int", 3: "float"}
    return Header(
        "TIFF",
        first["height"][0],
        first["width"][0],
        first.get("channels", [1])[0],
        first.get("bits", [1])[0],
        kinds.get(first.get("format", [1])[0], "uint"),
        pages,
        end=len(data),
    )


def _pnm(data: bytes) -> Header | None:
    """PGM and PPM, binary or text; PFM of one channel. The text form is checked as it is read."""
    floats = data[:2] == b"Pf"
    words, at = [], 2
    for _ in range(3):
        found = _WORD.match(data, at)
        if not found:
            return None
        words.append(found[1])
        at = found.end()
    width, height, start = int(words[0]), int(words[1]), at + 1
    channels = 3 if data[1] in b"36" else 1
    if floats:
        end = start + 4 * width * height
        return (
            Header("PFM", height, width, 1, 32, "float", start=start, end=end)
            if (len(data) >= end)
            else None
        )
    largest = int(words[2])
    bits = 8 if largest < 256 else 16
    end = start + width * height * channels * bits // 8
    if not 0 < largest < 1 << 16 or (data[1] in b"56" and len(data) < end):
        return None
    return Header("PNM", height, width, channels, bits, start=start, end=min(end, len(data)))


# By the name of the kind of file.
_PARSERS: dict[str, Callable[[bytes], Header | None]] = {
    "a PNG image": _png,
    "a JPEG image": _jpeg,
    "a WebP image": _webp,
    "a BMP image": _bmp,
    "a TIFF image": _tiff,
    "a BigTIFF image": _tiff,
    "a PGM image": _pnm,
    "a PPM image": _pnm,
    "a PFM image": _pnm,
}
