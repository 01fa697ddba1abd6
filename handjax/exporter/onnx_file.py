"""ONNX files: the graph, its weights, and what a reader must know as metadata."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper

from handjax.engine.files import atomic_path
from handjax.exporter.contents import Contents
from handjax.exporter.graph import IR_VERSION, OPSET, Graph, tensor_proto
from handjax.exporter.simplify import simplify
from handjax.exporter.translate import translate
from handjax.ops import library

SMALL = 1024  # numbers; smaller weights stay in float32
LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")  # whose second input is their weights


def to_onnx(contents: Contents, metadata: Mapping[str, Any], half: bool) -> onnx.ModelProto:
    """The contents as a checked model. With `half` large weights are stored in float16 and become
    float32 when the file is loaded, which runtimes do once. Layers have names, see `layers_of`.

    Raises Untranslated, which names the primitive, for what ONNX cannot express.
    """
    graph = Graph()
    with library.reference_implementations():
        values = translate(graph, contents.function, contents.specs())
    for name in contents.outputs:
        graph.output(name, values[name])
    simplify(graph)
    nodes = list(graph.nodes)
    for number, node in enumerate(nodes):
        if node.op_type in LAYERS and _is_large(graph.initializers.get(node.input[1])):
            node.name = f"layer_{number}"
    initializers = []
    # Of layers alone: other tables, as the pixels of an image, are not exact in float16.
    halved = {node.input[1] for node in nodes if node.op_type in LAYERS} if half else set()
    for name, array in graph.initializers.items():
        if name in halved and _is_large(array):
            short = f"{name}_half"
            initializers.append(tensor_proto(short, _half(array)))
            nodes.insert(0, helper.make_node("Cast", [short], [name], to=onnx.TensorProto.FLOAT))
        else:
            initializers.append(tensor_proto(name, array))
    body = helper.make_graph(
        nodes, contents.system, graph.inputs, graph.outputs, initializers, contents.model
    )
    model = helper.make_model(
        body,
        producer_name="handjax",
        producer_version=str(metadata["handjax"]),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    helper.set_model_props(model, {key: _text(value) for key, value in metadata.items()})
    onnx.checker.check_model(model, full_check=True)
    return model


def layers_of(model: onnx.ModelProto) -> list[str]:
    """The names of the convolutions with large weights: not of products of the geometry, and not of
    transposed ones, which onnxruntime has no 8-bit kernels for."""
    return [node.name for node in model.graph.node if node.name and node.op_type == "Conv"]


def _is_large(array: np.ndarray | None) -> bool:
    return array is not None and array.dtype == np.float32 and array.size >= SMALL


def _half(array: np.ndarray) -> np.ndarray:
    short = array.astype(np.float16)
    if not np.isfinite(short).all():
        raise ValueError(
            f"a weight of {np.abs(array).max():g} is beyond float16, which ends at 65504: export "
            "with --weights float32"
        )
    return short


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def write_onnx(model: onnx.ModelProto, path: Path) -> None:
    """Write the file, completely or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(model.SerializeToString())


def onnx_function(model: onnx.ModelProto, threads: int = 0) -> Any:
    """The model as a function of NumPy arrays, run by onnxruntime; None if that is not
    installed."""
    try:
        import onnxruntime
    except ImportError:
        return None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # Idle threads would spin, and slow down whatever runs next.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    return lambda arrays: dict(zip(names, session.run(None, dict(arrays)), strict=True))
