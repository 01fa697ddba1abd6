"""Convolutions, pools and normalizations as ONNX has them.

Networks here have their channels last, ONNX first: results say in which order their axes are, and
are transposed only where something else needs them.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from handjax.exporter import reductions, shapes
from handjax.exporter.elementwise import apply, like
from handjax.exporter.graph import Graph, Value

# Named scopes of models/layers.py: max_pool_SIZE_PADDING, group_norm_GROUPS.
_SCOPE = re.compile(r"(max_pool|group_norm)_(\d+)(?:_(\d+))?\)*$")
_EPSILON = 1e-5  # of group normalization
Region = Callable[[Graph, Any, Sequence[Value]], Value]


def region(equation: Any) -> Region | None:
    """The translation of an equation that is a whole layer, if it is one that ONNX has."""
    if equation.primitive.name == "jit" and equation.params["name"] == "leaky_relu":
        return _leaky_relu
    if not (scope := _SCOPE.search(str(equation.source_info.name_stack))):
        return None
    kind, number, padding = scope[1], int(scope[2]), int(scope[3] or 0)
    if kind == "max_pool" and equation.primitive.name == "jit":
        return lambda graph, _, inputs: _max_pool(graph, inputs[0], number, padding)
    if kind == "group_norm" and equation.primitive.name == "custom_vjp_call":
        return lambda graph, _, inputs: _group_norm(graph, inputs, number)
    return None


def _channels_first(value: Value) -> tuple[int, ...]:
    """The order batch, channels, space of a value whose channels are last."""
    return (0, value.rank - 1, *range(1, value.rank - 1))


def _leaky_relu(graph: Graph, equation: Any, inputs: Sequence[Value]) -> Value:
    value, slope = inputs
    if slope.array is None or value.array is not None:
        raise ValueError("a leaky ReLU whose slope is no constant")
    return apply(graph, "LeakyRelu", [value], alpha=float(slope.array))


def _max_pool(graph: Graph, value: Value, size: int, padding: int) -> Value:
    """The largest of windows at every second place."""
    layout, space = _channels_first(value), value.rank - 2
    name = graph.node(
        "MaxPool",
        graph.full(value, layout),
        kernel_shape=[size] * space,
        strides=[2] * space,
        pads=[padding] * 2 * space,
    )
    moved = ((n + 2 * padding - size) // 2 + 1 for n in value.shape[1:-1])
    return graph.made(name, (value.shape[0], *moved, value.shape[-1]), value.dtype, layout)


def _group_norm(graph: Graph, inputs: Sequence[Value], groups: int) -> Value:
    value, scale, bias = inputs
    layout = _channels_first(value)
    names = [graph.full(value, layout), graph.full(scale), graph.full(bias)]
    name = graph.node("GroupNormalization", *names, num_groups=groups, epsilon=_EPSILON)
    return graph.made(name, value.shape, value.dtype, layout)


# ---------------------------------------------------------------- convolutions


def _conv(graph: Graph, equation: Any, inputs: Sequence[Value]) -> Value:
    params, (x, kernel) = equation.params, inputs
    numbers = params["dimension_numbers"]
    if params["batch_group_count"] != 1:
        raise ValueError("groups of samples")
    if set(params["lhs_dilation"]) != {1}:
        return _transposed_conv(graph, equation, x, kernel)
    low, high = zip(*params["padding"], strict=True)
    name = graph.node(
        "Conv",
        graph.full(x, numbers.lhs_spec),
        graph.full(kernel, numbers.rhs_spec),
        strides=list(params["window_strides"]),
        dilations=list(params["rhs_dilation"]),
        pads=[*map(int, low), *map(int, high)],
        group=params["feature_group_count"],
    )
    out = equation.outvars[0].aval
    return graph.made(name, out.shape, out.dtype, numbers.out_spec)


def _transposed_conv(graph: Graph, equation: Any, x: Value, kernel: Value) -> Value:
    """A convolution of an input with zeros between its elements."""
    params = equation.params
    numbers, steps = params["dimension_numbers"], params["lhs_dilation"]
    simple = set(params["window_strides"]) == {1} == set(params["rhs_dilation"])
    if not simple or params["feature_group_count"] != 1 or kernel.array is None:
        raise ValueError("zeros between the input's elements along with strides, holes or groups")
    taps = [kernel.shape[axis] for axis in numbers.rhs_spec[2:]]
    pairs = zip(taps, params["padding"], strict=True)
    cut = [(k - 1 - int(low), k - 1 - int(high)) for k, (low, high) in pairs]
    if min(min(pair) for pair in cut) < 0:
        raise ValueError("a transposed convolution with a border of zeros")
    whole = np.broadcast_to(kernel.array, kernel.shape).transpose(numbers.rhs_spec)
    flipped = np.flip(whole, tuple(range(2, whole.ndim))).swapaxes(0, 1)  # input channels first
    name = graph.node(
        "ConvTranspose",
        graph.full(x, numbers.lhs_spec),
        graph.weight(flipped),
        strides=list(steps),
        pads=[first for first, _ in cut] + [last for _, last in cut],
    )
    out = equation.outvars[0].aval
    return graph.made(name, out.shape, out.dtype, numbers.out_spec)


def dense(graph: Graph, equation: Any, inputs: Sequence[Value]) -> Value | None:
    """A product of a constant matrix and the pixels of an image, as a convolution; None if this
    equation is none."""
    (of_a, of_b), (with_a, _) = equation.params["dimension_numbers"]
    x, matrix = inputs
    image = x.rows_of if x.rank == 2 and x.rows_of is not None else x
    fits = not with_a and list(of_a) == [x.rank - 1] and list(of_b) == [0]
    if not fits or matrix.rank != 2 or matrix.array is None or image.rank != 4:
        return None
    layout = _channels_first(image)
    taps = np.broadcast_to(matrix.array, matrix.shape).T[:, :, None, None]
    name = graph.node("Conv", graph.full(image, layout), graph.weight(taps))
    shape = (*image.shape[:-1], matrix.shape[1])
    return graph.made(name, shape, equation.outvars[0].aval.dtype, layout)


# ---------------------------------------------------------------- windows


def _window_of(equation: Any) -> tuple[list[int], list[int], list[tuple[int, int]]]:
    """Sizes, strides and padding of a window over [batch, space…, channels]."""
    params = equation.params
    size, stride = list(params["window_dimensions"]), list(params["window_strides"])
    padding = [(int(low), int(high)) for low, high in params["padding"]]
    spread = {*params["base_dilation"], *params["window_dilation"]} != {1}
    if spread or size[0] != 1 or size[-1] != 1 or any((*padding[0], *padding[-1])):
        raise ValueError("a window over samples or channels, or one with holes")
    return size[1:-1], stride[1:-1], padding[1:-1]


def _pool(op: str, **attributes: Any) -> Callable[..., Value]:
    def translation(graph: Graph, equation: Any, inputs: Sequence[Value]) -> Value:
        size, stride, padding = _window_of(equation)
        (value,), layout = inputs, _channels_first(inputs[0])
        name = graph.node(
            op,
            graph.full(value, layout),
            kernel_shape=size,
            strides=stride,
            pads=[low for low, _ in padding] + [high for _, high in padding],
            **attributes,
        )
        result = graph.made(name, equation.outvars[0].aval.shape, value.dtype, layout)
        if op == "MaxPool":
            return result
        return apply(graph, "Mul", [result, like(result, float(np.prod(size)))])

    return translation


def _product(graph: Graph, equation: Any, inputs: Sequence[Value]) -> Value:
    if (image := dense(graph, equation, inputs)) is None:
        return reductions.product(graph, equation, inputs)
    return shapes.flattened(graph, image, equation.outvars[0].aval.shape)


PRIMITIVES: dict[str, Callable[..., Value]] = {
    "conv_general_dilated": _conv,
    "dot_general": _product,
    "reduce_window_max": _pool("MaxPool"),
    "reduce_window_sum": _pool("AveragePool", count_include_pad=1),
}
