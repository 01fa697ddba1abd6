"""A model's contents as a file of any format, and what each format needs."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from handjax.exporter.contents import Arrays, Contents

# Format → the ending of its files, the package it needs, and the extra that brings that.
FORMATS = {
    "onnx": (".onnx", "onnx", "export"),
    "stablehlo": (".stablehlo", "flatbuffers", "export"),
    "litert": (".tflite", "ai_edge_litert", "litert"),
    "savedmodel": ("", "tensorflow", "litert"),
}
# What large weights can be stored as → the formats that can.
WEIGHTS = {"float32": tuple(FORMATS), "float16": ("onnx", "litert"), "int8": ("onnx", "litert")}


def calibrated(form: str, weights: str) -> bool:
    """Whether `write` needs inputs to take scales from."""
    return (form, weights) == ("onnx", "int8")


def check(form: str, weights: str) -> None:
    """ValueError if the format has no such weights, or a package is not installed."""
    if form not in WEIGHTS[weights]:
        able = " and ".join(WEIGHTS[weights])
        raise ValueError(f"--weights {weights} is for --to {able}")
    _, package, extra = FORMATS[form]
    if calibrated(form, weights) and importlib.util.find_spec("onnxruntime") is None:
        raise ValueError("--weights int8 needs onnxruntime: pip install 'handjax[export]'")
    if importlib.util.find_spec(package) is None:
        raise ValueError(f"--to {form} needs {package}: pip install 'handjax[{extra}]'")


def write(
    contents: Contents,
    metadata: Mapping[str, Any],
    path: Path,
    form: str,
    weights: str,
    calibration: Arrays | None = None,
) -> Any:
    """Writes the file; it as a function of NumPy arrays, None if nothing here can run it.

    `calibration`: inputs, for what is `calibrated`. ValueError, which says why, for what the format
    cannot express.
    """
    # Optional packages.
    if form == "onnx":
        from handjax.exporter.onnx_file import layers_of, onnx_function, to_onnx, write_onnx

        model = to_onnx(contents, metadata, weights == "float16")
        if calibrated(form, weights):
            from handjax.exporter.int8 import to_int8

            assert calibration is not None
            model = to_int8(model, layers_of(model), calibration)
        write_onnx(model, path)
        return onnx_function(model)
    if form in ("litert", "savedmodel"):
        from handjax.exporter.tensorflow_files import write_litert, write_savedmodel

        if form == "litert":
            return write_litert(contents, metadata, path, weights)
        return write_savedmodel(contents, metadata, path)
    from handjax.exporter.stablehlo import stablehlo_function, to_stablehlo, write_stablehlo

    program = to_stablehlo(contents)
    write_stablehlo(program, metadata, path)
    return stablehlo_function(program)


def megabytes(path: Path) -> float:
    """The size of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files) / 1e6
