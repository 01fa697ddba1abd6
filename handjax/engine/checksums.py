"""Checksums of a checkpoint: of its arrays, taken when it is saved, and of its files.

Neither Orbax nor its storage notices a flipped bit: it comes back as another number. The arrays'
checksums are part of the checkpoint; the list of files is written after it, and names the file.
"""

import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from handjax.engine.files import AnyPath, write_atomic

_BLOCK = 1 << 20  # bytes read at once
FINITE = ("params", "model_state")  # parts of a state whose numbers all have to be finite


# --- Arrays.


def take(state: Any) -> dict[str, str]:
    """Name of each array of `state` → its type, shape and CRC-32, as "float32[3, 8] 1f0c22a4"."""
    return {name: _checksum(array) for name, array in _arrays(state)}


def compare(state: Any, saved: Mapping[str, str]) -> None:
    """ValueError, which names it, for the first array that is not what was `saved`."""
    found = take(state)
    if lost := [name for name in (*saved, *found) if name not in found or name not in saved]:
        raise ValueError(f"it was saved with other arrays ({lost[0]})")
    for name, checksum in found.items():
        kind, was = (text.rpartition(" ")[0] for text in (checksum, saved[name]))
        if kind != was:
            raise ValueError(f"{name} was saved as {was}, expected {kind}")
        if checksum != saved[name]:
            raise ValueError(f"{name} is damaged: its checksum is not that of what was saved")


def check_finite(state: Any) -> None:
    """ValueError, which names it, for the first array of a network with a NaN or an infinity, and
    for one of an optimizer with a NaN."""
    for name, array in _arrays(state):
        if not np.issubdtype(array.dtype, np.inexact):
            continue
        strict = name.partition("/")[0] in FINITE
        bad = ~np.isfinite(array) if strict else np.isnan(array)
        if bad.any():
            raise ValueError(
                f"{name} is not finite ({bad.sum()} of {array.size} numbers): no network that works"
            )


def _arrays(state: Any) -> Iterator[tuple[str, np.ndarray]]:
    """(name, array on the host); the name is the same for a state and for a saved tree. All
    processes have to ask for all arrays, since they may have a part of one each."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        yield jax.tree_util.keystr(path, simple=True, separator="/"), _on_host(leaf)


def _on_host(leaf: Any) -> np.ndarray:
    """The whole array, also if other processes have parts of it."""
    whole = not isinstance(leaf, jax.Array) or leaf.is_fully_addressable or leaf.is_fully_replicated
    if whole:
        return np.asarray(jax.device_get(leaf))
    from jax.experimental.multihost_utils import process_allgather

    return np.asarray(process_allgather(leaf, tiled=True))


def _checksum(array: np.ndarray) -> str:
    content = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    crc = zlib.crc32(content)  # type: ignore[arg-type]  # NumPy's arrays are buffers
    return f"{array.dtype}{[*array.shape]} {crc:08x}"


# --- Files.

_LIST = "files.json"


def list_files(folder: Path, exclude: str) -> None:
    """Writes the CRC-32 of each file below `folder`, but those that match `exclude`, into a list
    there. OSError if it cannot."""
    files = {name: _of_file(folder / name) for name in _names(folder, exclude)}
    content = {"files": files, "checksum": _of_list(files)}
    write_atomic(folder / _LIST, json.dumps(content, indent=1) + "\n")


def check_files(folder: AnyPath) -> None:
    """ValueError, which names it, for the first file below `folder` that is not as it was listed.

    Without a list, or with one that is damaged itself, nothing is checked: the arrays are.
    """
    try:
        content = json.loads((folder / _LIST).read_bytes())
        files = content["files"]
        if content["checksum"] != _of_list(files):
            return
    except (OSError, ValueError, KeyError, TypeError):
        return
    for name, listed in files.items():
        try:
            found = _of_file(folder / name)
        except OSError as error:
            raise ValueError(f"{name}: {error.strerror}") from error
        if found != listed:
            raise ValueError(f"{name} is damaged: its checksum is not that of what was written")


def _names(folder: Path, exclude: str) -> list[str]:
    files = (path for path in folder.rglob("*") if path.is_file() and not path.match(exclude))
    return sorted(str(path.relative_to(folder)) for path in files if path.name != _LIST)


def _of_file(path: AnyPath) -> str:
    crc, size = 0, 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            crc, size = zlib.crc32(block, crc), size + len(block)
    return f"{size} {crc:08x}"


def _of_list(files: Mapping[str, str]) -> str:
    return f"{zlib.crc32(json.dumps(files, sort_keys=True).encode()):08x}"
