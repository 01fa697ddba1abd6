"""SavedModel and LiteRT files, by way of TensorFlow: jax2tf puts the StableHLO program into a
TensorFlow function, and its converter makes LiteRT's layers of that."""

import json
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tensorflow as tf
from jax import export
from jax.experimental import jax2tf

from handjax.engine.files import atomic_path, write_atomic
from handjax.exporter.contents import Arrays, Contents, beside
from handjax.ops import library

ABOUT = "assets.extra/handjax.json"  # the metadata in a SavedModel's folder; TensorFlow leaves it
_SIGNATURE = "serving_default"
_LACKING = re.compile(r"error: (?:failed to legalize operation )?'([\w.]+)'")
_UNREADY = re.compile(r"\((\w+)\) failed to prepare")


def write_savedmodel(contents: Contents, metadata: Mapping[str, Any], folder: Path) -> Any:
    """Writes the folder, completely or not at all, for a batch of any size. → the model as a
    function of NumPy arrays."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
        made = Path(temporary) / "model"
        _save(contents, made, None)
        (made / ABOUT).parent.mkdir()
        (made / ABOUT).write_text(json.dumps(dict(metadata), indent=2) + "\n")
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(made, folder)
    signature = tf.saved_model.load(str(folder)).signatures[_SIGNATURE]

    def function(arrays: Arrays) -> dict[str, np.ndarray]:
        found = signature(**{name: tf.constant(value) for name, value in arrays.items()})
        return {name: value.numpy() for name, value in found.items()}

    return function


def write_litert(contents: Contents, metadata: Mapping[str, Any], path: Path, weights: str) -> Any:
    """Writes the file, for one sample at a time, and beside it its metadata. → the model as a
    function of NumPy arrays.

    `weights`: float32; float16: that is how they are stored; int8: layers with large weights
    compute in 8 bits, with scales of weights per output channel and scales of activations found
    anew for each input, so that nothing is calibrated. What is between the layers, crop and
    decoding among it, stays in float32: a coordinate in 8 bits would be off by pixels.

    ValueError, which names the operation, for what LiteRT cannot express.
    """
    with tempfile.TemporaryDirectory() as folder:
        _save(contents, Path(folder), 1)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        if weights != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]  # int8, if there is nothing else
        if weights == "float16":
            converter.target_spec.supported_types = [tf.float16]
        data = _converted(converter)
    _check_runs(data)
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
    write_atomic(beside(path), json.dumps(dict(metadata), indent=2) + "\n")
    return litert_function(data)


def _converted(converter: Any) -> bytes:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return bytes(converter.convert())
    except Exception as error:  # the converter has no class of its own for it
        found = sorted(set(_LACKING.findall(str(error))))
        what = ", ".join(found) or " ".join(str(error).split())[:200]
        raise ValueError(f"LiteRT has no counterpart of {what}: use --to onnx") from error


def _check_runs(data: bytes) -> None:
    """ValueError for what was converted and yet is beyond LiteRT's runtime."""
    from ai_edge_litert.interpreter import Interpreter  # an optional package

    try:
        Interpreter(model_content=data).allocate_tensors()
    except RuntimeError as error:
        found = sorted(set(_UNREADY.findall(str(error))))
        what = ", ".join(found) or " ".join(str(error).split())[:200]
        raise ValueError(f"LiteRT cannot run {what} of this model: use --to onnx") from error


def litert_function(data: bytes) -> Any:
    """A LiteRT file as a function of NumPy arrays, sample by sample."""
    from ai_edge_litert.interpreter import Interpreter  # an optional package

    run = Interpreter(model_content=data).get_signature_runner()

    def function(arrays: Arrays) -> dict[str, np.ndarray]:
        count = len(next(iter(arrays.values())))
        rows = [run(**{name: v[i : i + 1] for name, v in arrays.items()}) for i in range(count)]
        return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}

    return function


def _save(contents: Contents, folder: Path, batch: int | None) -> None:
    """Saves the program as a SavedModel; `batch` None: of any size."""
    names = list(contents.outputs)

    def program(arrays: dict[str, jax.Array]) -> dict[str, jax.Array]:
        found = contents.function(**arrays)
        return {name: found[name] for name in names}

    tf.config.set_visible_devices([], "GPU")  # they are JAX's
    ports = contents.inputs.items()
    with library.reference_implementations():
        exported = export.export(jax.jit(program), platforms=("cpu",))(contents.specs(batch))
    shapes = None if batch else [dict.fromkeys(contents.inputs, "batch, ...")]
    converted = jax2tf.convert(
        exported.call,
        polymorphic_shapes=shapes,
        with_gradient=False,
        native_serialization_platforms=("cpu",),
    )
    given = {name: tf.TensorSpec((batch, *one.shape), one.dtype, name) for name, one in ports}
    function = tf.function(converted, input_signature=[given], autograph=False, jit_compile=False)
    module = tf.Module()
    module.function = function
    signatures = {_SIGNATURE: function.get_concrete_function()}
    tf.saved_model.save(module, str(folder), signatures=signatures)
