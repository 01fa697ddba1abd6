"""NumPy's .npy and .npz files from elsewhere: their claims are checked before memory is taken."""

import io
import math
import zipfile

import numpy as np


def read_npy(data: bytes) -> np.ndarray:
    """The array of a .npy file of numbers, booleans or text. ValueError, without the file's name,
    for objects, and for one that is cut short."""
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran, dtype = header(stream)
    except Exception as error:  # the header's parser raises many kinds
        reason = " ".join(str(error).split())[:80]
        raise ValueError(f"not a .npy array ({reason}); write it again") from None
    if dtype.hasobject or dtype.kind not in "biufcSU":
        raise ValueError(f"an array of {dtype}; expected numbers")
    start, count = stream.tell(), math.prod(shape)
    if len(data) - start < count * dtype.itemsize or min(shape, default=0) < 0:
        raise ValueError(
            f"{len(data) - start} bytes; expected {dtype} of shape {list(shape)}: "
            "cut short or damaged, write it again"
        )
    array = np.frombuffer(data, dtype, count, start)
    return array.reshape(shape, order="F" if fortran else "C")


def check_archive(archive: zipfile.ZipFile, limit: int) -> None:
    """ValueError, without the file's name, if a .npz unpacks to more than `limit` bytes, or is
    packed in another way than NumPy packs: zipfile's readers of those are unbounded."""
    claimed = sum(member.file_size for member in archive.infolist())
    if claimed > limit:
        raise ValueError(f"unpacks to {claimed} bytes; expected at most {limit}")
    for member in archive.infolist():
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(
                f"{member.filename} is compressed by method {member.compress_type}; "
                "expected deflate (numpy.savez_compressed)"
            )


def read_npz(data: bytes, name: str, limit: int) -> np.ndarray:
    """The array `name` of a .npz, or its only array. Errors as `read_npy`; `limit`, in bytes."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            check_archive(archive, limit)
            names = [member.removesuffix(".npy") for member in archive.namelist()]
            chosen = name if name in names else names[0] if len(names) == 1 else None
            content = archive.read(f"{chosen}.npy") if chosen else b""
    except ValueError:
        raise
    except Exception as error:  # zipfile raises a dozen kinds on invalid bytes; all mean the same
        raise ValueError(
            f"not a readable .npz ({' '.join(str(error).split())[:80]}); write it again"
        ) from None
    if chosen is None:
        raise ValueError(
            f"a .npz of {len(names)} arrays ({', '.join(names[:5])}); "
            f"expected one array, or one called {name!r}"
        )
    return read_npy(content)
