"""MATLAB's files, for scipy, which inflates whatever a file claims."""

import io
import zlib

_COMPRESSED = 15  # an element that holds another, deflated


def bounded(data: bytes, limit: int) -> io.BytesIO:
    """The bytes of a MAT file of version 5, or of none such, which is scipy's to say. ValueError if one of its variables has more
    than `limit` bytes once it is unpacked."""
    order = {b"IM": "little", b"MI": "big"}.get(data[126:128])
    at = 128
    while order and at + 8 <= len(data):
        kind, size = (int.from_bytes(data[i : i + 4], order) for i in (at, at + 4))
        at += 8 + size
        if kind == _COMPRESSED and _unpacked(memoryview(data)[at - size : at], limit) > limit:
            raise ValueError(f"a variable of it unpacks to more than {limit} bytes")
    return io.BytesIO(data)


def _unpacked(packed: memoryview, limit: int) -> int:
    """Bytes, counted to a little beyond the limit."""
    inflate, size = zlib.decompressobj(), 0
    while size <= limit and not inflate.eof:
        part = inflate.decompress(packed, 1 << 20)
        packed, size = inflate.unconsumed_tail, size + len(part)
        if not part:
            break
    return size
