"""The same model in every runtime that can run it, as functions of NumPy arrays."""

import importlib.util
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from handjax.exporter.contents import Arrays, Contents
from handjax.exporter.stablehlo import stablehlo_function, to_stablehlo

Runner = Callable[[Arrays], Mapping[str, np.ndarray]]
# Runtime → the package it needs, and the extra that brings it.
RUNTIMES = {
    "handjax": ("jax", ""),
    "stablehlo": ("flatbuffers", ""),
    "onnxruntime": ("onnxruntime", "export"),
    "openvino": ("openvino", "bench"),
}


def missing(runtime: str) -> str | None:
    """What has to be installed for a runtime, as a command; None if nothing has."""
    package, extra = RUNTIMES[runtime]
    needed = (package, "onnx") if extra else (package,)
    if all(importlib.util.find_spec(one) for one in needed):
        return None
    return f"pip install 'handjax[{extra}]'"


def runners(
    names: tuple[str, ...], contents: Contents, metadata: Mapping[str, Any], threads: int
) -> dict[str, Callable[[int], Runner]]:
    """Runtime → batch size → the model in it. Programs are made now, before anything is traced
    with kernels; `threads` is for those that do not keep to the process's cores."""
    made: dict[str, Callable[[int], Runner]] = {}
    if "stablehlo" in names:
        program = stablehlo_function(to_stablehlo(contents))
        made["stablehlo"] = lambda batch: program
    if {"onnxruntime", "openvino"} & set(names):
        from handjax.exporter.onnx_file import onnx_function, to_onnx  # optional packages

        model = to_onnx(contents, metadata, False)
        if "onnxruntime" in names:
            session = onnx_function(model, threads)
            made["onnxruntime"] = lambda batch: session
        if "openvino" in names:
            data = model.SerializeToString()
            made["openvino"] = lambda batch: openvino_function(data, contents, batch, threads)
    made["handjax"] = lambda batch: lambda arrays: jax.device_get(contents.ours(arrays))
    return {name: made[name] for name in names}


def openvino_function(model: bytes, contents: Contents, batch: int, threads: int) -> Runner:
    """An ONNX model in OpenVINO for one size of the batch, in float32: by itself it takes bfloat16
    where the CPU has it."""
    import openvino

    core = openvino.Core()
    network = core.read_model(model)
    network.reshape({name: [batch, *port.shape] for name, port in contents.inputs.items()})
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
    }
    compiled = core.compile_model(network, "CPU", settings)

    def function(arrays: Arrays) -> dict[str, np.ndarray]:
        found = compiled(dict(arrays))
        return {name: found[i] for i, name in enumerate(contents.outputs)}  # in the file's order

    return function
