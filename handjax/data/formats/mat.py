"""Variables of MATLAB files of version 5, checked before scipy reads them, which inflates whatever
a file claims; and of version 7.3, which is HDF5 behind a header of 512 bytes."""

import io
import zlib
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import scipy.io

_COMPRESSED = 15  # element type: another element, deflated
_BYTE_ORDERS: dict[bytes, Literal["little", "big"]] = {b"IM": "little", b"MI": "big"}


_HDF5, _HDF5_AT = b"\x89HDF\r\n\x1a\n", (0, 512)


def variables(data: bytes, limit: int) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and MATLAB class of each variable, by name. Any exception for a damaged file, and
    ValueError if a variable takes more than `limit` bytes."""
    if not _is_hdf5(data):
        listed = scipy.io.whosmat(bounded(data, limit))
        return {name: (tuple(shape), kind) for name, shape, kind in listed}
    with _open_hdf5(data) as file:
        return {name: _described(file[name]) for name in file if not name.startswith("#")}


def arrays(data: bytes, names: Sequence[str], limit: int) -> dict[str, np.ndarray]:
    """The arrays of numbers with these names. KeyError for one that is missing, else as
    `variables`."""
    if not _is_hdf5(data):
        content = scipy.io.loadmat(bounded(data, limit), variable_names=list(names))
        return {name: np.asarray(content[name]) for name in names}
    with _open_hdf5(data) as file:
        return {name: _array(file[name], limit) for name in names}


def _is_hdf5(data: bytes) -> bool:
    return any(data[at : at + len(_HDF5)] == _HDF5 for at in _HDF5_AT)


def _open_hdf5(data: bytes) -> Any:
    import h5py  # only files of version 7.3 need it

    return h5py.File(io.BytesIO(data), "r")


def _described(value: Any) -> tuple[tuple[int, ...], str]:
    kind = value.attrs.get("MATLAB_class", b"")
    kind = kind.decode("ascii", "replace") if isinstance(kind, bytes) else str(kind)
    return tuple(getattr(value, "shape", ()))[::-1], kind or "unknown"


def _array(value: Any, limit: int) -> np.ndarray:
    """A dataset, whose axes HDF5 has in the reverse order."""
    import h5py

    if not isinstance(value, h5py.Dataset) or value.dtype.kind not in "fiub":
        raise ValueError(f"{value.name.lstrip('/')} is no array of numbers")
    sizes = [np.prod(shape, dtype=object) for shape in (value.shape, value.chunks or ())]
    if max(sizes) * value.dtype.itemsize > limit:
        raise ValueError(f"{value.name.lstrip('/')} unpacks to more than {limit} bytes")
    if value.external or value.is_virtual:
        raise ValueError(f"{value.name.lstrip('/')} lies in another file")
    return np.asarray(value[()]).T


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
