"""MATLAB files, checked before scipy reads them, which inflates whatever a file claims."""

import io
import zlib
from typing import Literal

_COMPRESSED = 15  # element type: another element, deflated
_BYTE_ORDERS: dict[bytes, Literal["little", "big"]] = {b"IM": "little", b"MI": "big"}


def bounded(data: bytes, limit: int) -> io.BytesIO:
    """The bytes of a MAT file of version 5 as a stream. ValueError if one of its variables unpacks
    to more than `limit` bytes. Files of other kinds are left for scipy to reject."""
    order = _BYTE_ORDERS.get(data[126:128])
    at = 128
    while order and at + 8 <= len(data):
        kind, size = (int.from_bytes(data[i : i + 4], order) for i in (at, at + 4))
        at += 8 + size
        if kind == _COMPRESSED and _unpacked_size(data[at - size : at], limit) > limit:
            raise ValueError(f"one of its variables unpacks to more than {limit} bytes")
    return io.BytesIO(data)


def _unpacked_size(packed: bytes, limit: int) -> int:
    """Bytes; counting stops a little beyond the limit."""
    inflate, size = zlib.decompressobj(), 0
    while size <= limit and not inflate.eof:
        part = inflate.decompress(packed, 1 << 20)
        packed, size = inflate.unconsumed_tail, size + len(part)
        if not part:
            break
    return size
