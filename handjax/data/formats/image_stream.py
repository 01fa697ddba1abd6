"""Images one after another in a stream of bytes, as `ffmpeg -f image2pipe` writes them."""

import struct
from collections.abc import Iterator
from typing import Protocol, runtime_checkable

_PNG = b"\x89PNG\r\n\x1a\n"
_LARGEST = 1 << 28  # bytes of an image


@runtime_checkable
class ByteStream(Protocol):
    """What can be read from: a file, a pipe."""

    def read(self, size: int = -1, /) -> bytes: ...


def images_of(stream: ByteStream) -> Iterator[bytes]:
    """The bytes of each PNG or JPEG of a stream, as soon as they have arrived.

    ValueError, one line, for other bytes and for an image that is cut short.
    """
    number = 0
    while start := stream.read(2):
        number += 1
        if start == _PNG[:2]:
            yield b"".join(_png(_Parts(stream, start, number)))
        elif start == b"\xff\xd8":
            yield b"".join(_jpeg(_Parts(stream, start, number)))
        else:
            raise ValueError(
                f"stdin: image {number} begins with {start!r}; expected PNG or JPEG images one "
                "after another, as ffmpeg -i FILE -f image2pipe -c:v png - writes them"
            )


class _Parts:
    """Exact reads from a stream."""

    def __init__(self, stream: ByteStream, start: bytes, number: int):
        self.stream, self.start, self.number, self.size = stream, start, number, 0

    def take(self, count: int) -> bytes:
        self.size += count
        if self.size > _LARGEST:
            raise ValueError(f"stdin: image {self.number} is larger than {_LARGEST >> 20} MB")
        found = self.stream.read(count)
        if len(found) < count:
            raise ValueError(f"stdin: it ended within image {self.number}")
        return found


def _png(parts: _Parts) -> Iterator[bytes]:
    """Chunks until IEND."""
    yield parts.start
    yield parts.take(len(_PNG) - 2)
    while True:
        head = parts.take(8)
        yield head
        yield parts.take(struct.unpack(">I", head[:4])[0] + 4)
        if head[4:] == b"IEND":
            return


def _jpeg(parts: _Parts) -> Iterator[bytes]:
    """Segments until the end of the image. In the coded pixels 0xff is followed by 0, or by the
    number of a restart."""
    yield parts.start
    marker = parts.take(2)
    while True:
        yield marker
        if marker == b"\xff\xd9":
            return
        length = parts.take(2)
        yield length
        yield parts.take(max(struct.unpack(">H", length)[0] - 2, 0))
        if marker != b"\xff\xda":
            marker = parts.take(2)
            continue
        coded = bytearray()
        while True:
            byte = parts.take(1)
            if byte != b"\xff":
                coded += byte
                continue
            marker = byte + parts.take(1)
            if marker[1] != 0 and not 0xD0 <= marker[1] <= 0xD7:
                break
            coded += marker
        yield bytes(coded)
