"""Primitives that reduce axes, order elements, or multiply matrices."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from handjax.exporter.elementwise import cast
from handjax.exporter.graph import Axes, Graph, Value
from handjax.exporter.shapes import coordinates_first


def reduced(graph: Graph, op: str, value: Value, axes: Axes) -> Value:
    """Reduce axes, which the result does not have."""
    value = _whole(graph, value, axes)
    places = sorted(value.layout.index(axis) for axis in axes)
    name = graph.tensor(value, value.layout)
    name = graph.node(op, name, graph.integers(places), keepdims=0)
    return _left(graph, name, value, axes, value.dtype)


def _whole(graph: Graph, value: Value, axes: Axes) -> Value:
    """The value with none of these axes repeated, as a tensor."""
    if value.array is None and not value.repeated & set(axes):
        return value
    name = graph.full(value, value.layout)
    return graph.made(name, value.shape, value.dtype, value.layout)


def _left(graph: Graph, name: str, value: Value, axes: Axes, dtype: Any) -> Value:
    """What is left of `value` without these axes."""
    kept = [axis for axis in range(value.rank) if axis not in axes]
    number = {axis: i for i, axis in enumerate(kept)}
    layout = [number[axis] for axis in value.layout if axis in number]
    repeated = frozenset(number[axis] for axis in value.repeated)
    shape = tuple(value.shape[axis] for axis in kept)
    return graph.made(name, shape, dtype, layout, repeated)


def _reduction(op: str) -> Callable[..., Value]:
    def translation(graph: Graph, equation: Any, inputs: Sequence[Value]) -> Value:
        return reduced(graph, op, inputs[0], equation.params["axes"])

    return translation


def _of_truth(op: str) -> Callable[..., Value]:
    """Any and all, by way of numbers: ONNX reduces no booleans."""

    def translation(graph: Graph, equation: Any, inputs: Sequence[Value]) -> Value:
        numbers = cast(graph, inputs[0], np.int32)
        return cast(graph, reduced(graph, op, numbers, equation.params["axes"]), bool)

    return translation


def _arg(op: str) -> Callable[..., Value]:
    def translation(graph: Graph, equation: Any, inputs: Sequence[Value]) -> Value:
        (axis,) = equation.params["axes"]
        (value,) = inputs
        value = cast(graph, value, np.int32) if value.dtype == bool else value
        value = _whole(graph, value, [axis])
        place = value.layout.index(axis)
        name = graph.node(op, graph.tensor(value, value.layout), axis=place, keepdims=0)
        found = _left(graph, name, value, [axis], np.dtype(np.int64))
        return cast(graph, found, equation.params["index_dtype"])

    return translation


def _top_k(graph: Graph, equation: Any, inputs: Sequence[Value]) -> list[Value]:
    count, (value,) = equation.params["k"], inputs
    axis = equation.params.get("axis", value.rank - 1) % value.rank
    return _first(graph, value, count, axis, largest=True)


def _first(graph: Graph, value: Value, count: int, axis: int, largest: bool) -> list[Value]:
    """The first `count` of the elements in order, and where they were."""
    name = graph.full(value)
    values, places = graph.node_outputs(
        "TopK", name, graph.integers([count]), outputs=2, axis=axis, largest=int(largest), sorted=1
    )
    shape = tuple(count if a == axis else dim for a, dim in enumerate(value.shape))
    found = graph.made(values, shape, value.dtype)
    return [found, cast(graph, graph.made(places, shape, np.dtype(np.int64)), np.int32)]


def _sort(graph: Graph, equation: Any, inputs: Sequence[Value]) -> list[Value]:
    axis, (value, *others) = equation.params["dimension"], inputs
    if others or not isinstance(value.shape[axis], int):
        raise ValueError("sorting several arrays at once, or along the batch")
    return _first(graph, value, value.shape[axis], axis, largest=False)[:1]


def product(graph: Graph, equation: Any, inputs: Sequence[Value]) -> Value:
    """A product of matrices, or of any two arrays over some of their axes."""
    (of_a, of_b), (with_a, with_b) = equation.params["dimension_numbers"]
    a, b = inputs
    shape, dtype = equation.outvars[0].aval.shape, equation.outvars[0].aval.dtype
    if not with_a and list(of_a) == [a.rank - 1] and list(of_b) == [0] and b.rank == 2:
        return graph.made(graph.node("MatMul", graph.full(a), graph.full(b)), shape, dtype)
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    left = [next(letters) for _ in range(a.rank)]
    right = [""] * b.rank
    for i, j in [*zip(of_a, of_b, strict=True), *zip(with_a, with_b, strict=True)]:
        right[j] = left[i]
    right = [letter or next(letters) for letter in right]
    free_a = [left[i] for i in range(a.rank) if i not in (*of_a, *with_a)]
    free_b = [right[j] for j in range(b.rank) if j not in (*of_b, *with_b)]
    result = [*(left[i] for i in with_a), *free_a, *free_b]
    layout = coordinates_first(shape)
    operands = ([left[i] for i in a.layout], [right[i] for i in b.layout])
    ordered = [result[i] for i in layout]
    rule = f"{''.join(operands[0])},{''.join(operands[1])}->{''.join(ordered)}"
    names = [graph.full(value, value.layout) for value in (a, b)]
    return graph.made(graph.node("Einsum", *names, equation=rule), shape, dtype, layout)


PRIMITIVES: dict[str, Callable[..., Value | list[Value]]] = {
    "reduce_sum": _reduction("ReduceSum"),
    "reduce_max": _reduction("ReduceMax"),
    "reduce_min": _reduction("ReduceMin"),
    "reduce_prod": _reduction("ReduceProd"),
    "reduce_or": _of_truth("ReduceMax"),
    "reduce_and": _of_truth("ReduceMin"),
    "argmax": _arg("ArgMax"),
    "argmin": _arg("ArgMin"),
    "top_k": _top_k,
    "sort": _sort,
    "dot_general": product,
}
