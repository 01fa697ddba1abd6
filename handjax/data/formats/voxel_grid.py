"""One occupancy grid as hpoes_pytorch stores it: a `numpy.savez_compressed` archive."""

import io
import zipfile

import numpy as np
from jaxtyping import Bool

MAX_SIZE = 256  # voxels per side; with SLACK it bounds the memory that a file can claim
SLACK = 1 << 16  # bytes an archive may exceed its voxels by: headers, and deflate on noise


def encode_grid(voxels: Bool[np.ndarray, "s s s"]) -> bytes:
    """The archive; inverse of `decode_grid`."""
    archive = io.BytesIO()
    np.savez_compressed(archive, voxels)
    return archive.getvalue()


def decode_grid(blob: bytes, size: int | None = None) -> Bool[np.ndarray, "s s s"]:
    """Voxels of one archive, [size]^3 or any cube up to MAX_SIZE. ValueError names the defect.

    The archive is not trusted. Its declared size is bounded before unpacking and unpacking stops at
    the bound; only deflate is accepted, as zipfile's readers of bzip2 and lzma are unbounded; and
    the array's header is checked before its data.
    """
    raw = _unpack(blob, (size or MAX_SIZE) ** 3 + SLACK)
    stream = io.BytesIO(raw)
    try:
        version = np.lib.format.read_magic(stream)
        if version != (1, 0):
            raise ValueError(f".npy version {version}")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    except Exception as error:  # the header's parser raises many kinds
        reason = str(error).splitlines()[0]
        raise ValueError(f"has an arr_0 that is not a .npy array ({reason})") from None
    if dtype not in (np.dtype(bool), np.dtype(np.uint8)):
        raise ValueError(f"holds {dtype}; expected bool or uint8 voxels")
    side = size or (shape[0] if shape else 0)
    if shape != (side,) * 3 or side % 8 or not 0 < side <= MAX_SIZE:
        expected = [size] * 3 if size else f"[s, s, s] with s a multiple of 8 up to {MAX_SIZE}"
        raise ValueError(f"has shape {list(shape)}; expected {expected}")
    voxels = np.frombuffer(raw, np.uint8, offset=stream.tell())
    if voxels.size != side**3:
        raise ValueError(f"has {voxels.size} bytes of voxels; expected {side**3}")
    if voxels.max() > 1:
        raise ValueError(f"has values up to {voxels.max()}; expected 0 and 1")
    if not voxels.any():
        raise ValueError("has no occupied voxel; leave the frame out")
    return voxels.view(bool).reshape(shape, order="F" if fortran else "C")


def _unpack(blob: bytes, limit: int) -> bytes:
    """The archive's arr_0.npy, of at most `limit` bytes."""
    raw = b""
    try:
        with zipfile.ZipFile(io.BytesIO(blob)) as archive:
            members = {info.filename: info for info in archive.infolist()}
            info = members.get("arr_0.npy")
            if info and info.file_size <= limit and _is_bounded(info):
                with archive.open(info) as member:
                    raw = member.read(limit + 1)
    except Exception as error:  # zipfile raises a dozen kinds on invalid bytes; all mean the same
        reason = error or type(error).__name__
        raise ValueError(f"is not a readable zip archive ({reason}); write it again") from None
    if info is None:
        raise ValueError(
            f"has members {sorted(members)[:5]}; "
            "expected arr_0.npy, as numpy.savez_compressed(file, voxels) writes"
        )
    if info.file_size > limit:
        raise ValueError(
            f"unpacks to {info.file_size} bytes; expected at most {limit}: "
            "a zip bomb, or not a voxel grid"
        )
    if not _is_bounded(info):
        raise ValueError(
            f"is compressed by method {info.compress_type}; "
            "expected deflate (numpy.savez_compressed)"
        )
    return raw


def _is_bounded(info: zipfile.ZipInfo) -> bool:
    return info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
