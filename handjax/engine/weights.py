"""Weights as one .npz: the arrays of a network's variables by path, as in params/stem/kernel."""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

LARGEST_BYTES = 1 << 33  # of all arrays; a small file can claim to be huge
# What NumPy and zipfile raise for damaged bytes; MemoryError for a size that no memory has.
_DAMAGES = (
    *(ValueError, OSError, EOFError, AttributeError, MemoryError, NotImplementedError),
    *(zipfile.BadZipFile, zlib.error),
)


def save(path: str | Path, variables: dict[str, Any], half: bool = False) -> None:
    """Writes `variables`; `half`: float32 as float16, half the size, three decimal digits."""
    leaves = {name: np.asarray(leaf) for name, leaf in flatten_dict(variables, sep="/").items()}
    if half:
        leaves = {
            name: leaf.astype(np.float16) if leaf.dtype == np.float32 else leaf
            for name, leaf in leaves.items()
        }
    np.savez_compressed(path, **leaves)  # type: ignore[arg-type]  # taken for allow_pickle


def load(path: str | Path) -> dict[str, Any]:
    """The variables that `save` wrote, float16 as float32.

    Raises FileNotFoundError, or ValueError if the file holds no weights.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file of weights")
    try:
        with np.load(path, allow_pickle=False) as file:
            _check_archive(file.zip)
            leaves = {name: file[name] for name in file.files}
    except _DAMAGES as error:
        raise ValueError(
            f"{path}: no weights can be read ({error}); "
            "expected an .npz as scripts/convert_torch.py writes it"
        ) from None
    return unflatten_dict(
        {n: a.astype(np.float32) if a.dtype == np.float16 else a for n, a in leaves.items()},
        sep="/",
    )


def _check_archive(archive: zipfile.ZipFile) -> None:
    """ValueError for one that unpacks to more than any network, or is not packed as NumPy packs:
    zipfile's readers of those are unbounded."""
    members = archive.infolist()
    if (claimed := sum(member.file_size for member in members)) > LARGEST_BYTES:
        raise ValueError(f"it unpacks to {claimed} bytes; expected at most {LARGEST_BYTES}")
    if {member.compress_type for member in members} - {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise ValueError("it is not compressed by deflate")
