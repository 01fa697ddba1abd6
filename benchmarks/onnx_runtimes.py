"""The networks' ONNX files in onnxruntime and OpenVINO, each in a process of its own."""

import functools
import importlib.util
import multiprocessing
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from benchmarks import harness
from benchmarks.harness import Effort, idle_threads_rest
from handjax import __version__
from handjax.engine.runtime import keep_memory
from handjax.exporter.contents import Contents, Port
from handjax.pose.skeleton import SKELETONS

RUNTIMES = ("onnxruntime", "openvino")


def onnx_runs(infer: Callable, x: np.ndarray, effort: Effort) -> dict[str, Callable | str]:
    """Runtime → the inference `infer(x)` in it, or why there is none."""
    found: dict[str, Callable | str] = {}
    for runtime in RUNTIMES:
        if not all(importlib.util.find_spec(one) for one in ("onnx", runtime)):
            found[runtime] = "not installed: pip install 'handjax[bench]'"
            continue
        pipe = _process(runtime)
        pipe.send((file_of(infer, x), x, 1 if effort.tiny else harness.cores()))
        found[runtime] = functools.partial(_ask, pipe)
    return found


def file_of(infer: Callable, x: np.ndarray) -> bytes:
    """The ONNX file of `infer`, by our export."""
    from handjax.exporter.onnx_file import to_onnx  # an optional package

    contents = _contents(lambda x: {"y": infer(x)}, x)
    return to_onnx(contents, {"handjax": __version__}, False).SerializeToString()


def _contents(function: Callable, x: np.ndarray) -> Contents:
    about = SKELETONS["hand21"], {"x": Port(x.shape[1:], x.dtype, "input")}, {"y": "output"}
    return Contents("benchmark", "benchmark", *about, function, lambda arrays: {})


def runner(runtime: str, file: bytes, x: np.ndarray, threads: int) -> Callable[[], np.ndarray]:
    """The file in a runtime, in float32, as a function of nothing."""
    import onnx

    from handjax.exporter.onnx_file import onnx_function
    from handjax.exporter.runtimes import openvino_function

    if runtime == "onnxruntime":
        function = onnx_function(onnx.load_from_string(file), threads)
    else:
        function = openvino_function(file, _contents(lambda x: {}, x), len(x), threads)
    return lambda: function({"x": x})["y"]


def _ask(pipe: Any) -> float:
    pipe.send(None)
    return pipe.recv()


@functools.cache
def _process(runtime: str) -> Any:
    spawn = multiprocessing.get_context("spawn")
    pipe, other = spawn.Pipe()
    with idle_threads_rest():
        spawn.Process(target=_serve, args=(other, runtime), daemon=True).start()
    return pipe


def _serve(pipe: Any, runtime: str) -> None:
    keep_memory()
    jax.config.update("jax_platforms", "cpu")
    run: Callable[[], np.ndarray] | None = None
    while True:
        message = pipe.recv()
        if message is None:
            assert run is not None  # the first message is a file
            pipe.send(float(run().sum()))
        else:
            run = runner(runtime, *message)
