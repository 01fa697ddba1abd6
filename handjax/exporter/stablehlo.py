"""StableHLO files, which JAX alone can read: jax.export.deserialize(bytes).call({name: array})."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import export

from handjax.engine.files import atomic_path, write_atomic
from handjax.engine.programs import without_places
from handjax.exporter.contents import Arrays, Contents, beside
from handjax.ops import library

FILE = "model.stablehlo"  # in the folder of a run
PLATFORMS = ("cpu", "cuda", "tpu")


def to_stablehlo(contents: Contents) -> bytes:
    """The contents as a serialized program with its weights, for CPUs, GPUs and TPUs."""
    names = list(contents.outputs)

    def program(arrays: dict[str, jax.Array]) -> dict[str, jax.Array]:
        found = contents.function(**arrays)
        return {name: found[name] for name in names}

    with library.reference_implementations(), without_places():
        exported = export.export(jax.jit(program), platforms=PLATFORMS)(contents.specs())
    return bytes(exported.serialize())


def write_stablehlo(program: bytes, metadata: Mapping[str, Any], path: Path) -> None:
    """Write the program, and beside it its metadata as JSON: the format has no place for them."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(program)
    write_atomic(beside(path), json.dumps(dict(metadata), indent=2) + "\n")


def stablehlo_function(program: bytes) -> Any:
    """The program as a function of NumPy arrays."""
    call = export.deserialize(bytearray(program)).call

    def function(arrays: Arrays) -> dict[str, np.ndarray]:
        return jax.device_get(call(dict(arrays)))

    return function
