"""An ONNX graph with fewer nodes: factors and offsets of each channel become part of the
convolution before them, and nodes that no output needs are dropped."""

from collections import Counter
from collections.abc import Iterable

import numpy as np
from jaxtyping import Float, Shaped
from onnx import NodeProto

from handjax.exporter.graph import Graph

_CONVOLUTIONS = ("Conv", "ConvTranspose")


def simplify(graph: Graph) -> None:
    """Simplify in place."""
    _drop_unused(graph)
    while _fold(graph):
        _drop_unused(graph)


def _drop_unused(graph: Graph) -> None:
    needed = {info.name for info in graph.outputs}
    kept = []
    for node in reversed(graph.nodes):
        if needed & set(node.output):
            kept.append(node)
            needed |= set(node.input)
    graph.nodes = kept[::-1]
    graph.initializers = {n: a for n, a in graph.initializers.items() if n in needed}


def _fold(graph: Graph) -> bool:
    """Fold the factor or offset after each convolution; whether there was one."""
    uses = Counter(name for node in graph.nodes for name in node.input)
    made = {node.output[0]: node for node in graph.nodes if node.op_type in _CONVOLUTIONS}
    replaced: dict[str, str] = {}
    for node in graph.nodes:
        if node.op_type not in ("Mul", "Add", "Sub"):
            continue
        for source, other in (node.input, reversed(node.input)):
            conv, number = made.get(source), graph.initializers.get(other)
            first = source == node.input[0]
            if conv is None or number is None or uses[source] != 1 or source in replaced:
                continue
            if node.op_type == "Sub" and not first:
                continue
            channel = _of_channels(number, _outputs(graph, conv))
            if channel is not None:
                _fold_into(graph, conv, node.op_type, channel)
                replaced[node.output[0]] = source
                made.pop(source)  # once per pass: its weights are new
                break
    for node in graph.nodes:
        for i, name in enumerate(node.input):
            node.input[i] = _last(replaced, name)
    graph.nodes = [node for node in graph.nodes if node.output[0] not in replaced]
    return bool(replaced)


def _last(replaced: dict[str, str], name: str) -> str:
    while name in replaced:
        name = replaced[name]
    return name


def _outputs(graph: Graph, conv: NodeProto) -> int:
    """Number of channels that a convolution makes, -1 if its weights are no constant."""
    kernel = graph.initializers.get(conv.input[1])
    if kernel is None or any(a.name == "group" and a.i != 1 for a in conv.attribute):
        return -1
    return kernel.shape[0 if conv.op_type == "Conv" else 1]


def _of_channels(
    number: Shaped[np.ndarray, "..."], channels: int
) -> Float[np.ndarray, " c"] | None:
    """One value per channel of [1, c, 1, …], or of a single number; None for anything else."""
    if channels < 0 or not np.issubdtype(number.dtype, np.floating):
        return None
    if number.size == 1:
        return np.full(channels, number.item(), number.dtype)
    shape = number.shape
    alone = len(shape) > 1 and shape[1] == channels == number.size
    return number.reshape(channels) if alone else None


def _fold_into(graph: Graph, conv: NodeProto, op: str, channel: Float[np.ndarray, " c"]) -> None:
    kernel = graph.initializers[conv.input[1]]
    bias = graph.initializers[conv.input[2]] if len(conv.input) > 2 else np.zeros_like(channel)
    if op == "Mul":
        axis = 0 if conv.op_type == "Conv" else 1
        shape = [len(channel) if a == axis else 1 for a in range(kernel.ndim)]
        kernel, bias = kernel * channel.reshape(shape), bias * channel
    else:
        bias = bias + channel if op == "Add" else bias - channel
    names: Iterable[str] = (conv.input[0], graph.weight(kernel), graph.weight(bias))
    del conv.input[:]
    conv.input.extend(names)
