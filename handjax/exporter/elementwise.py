"""Primitives that compute each element by itself."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from handjax.exporter.graph import Graph, Shape, Value, onnx_type, repeated_constant


def apply(
    graph: Graph, op: str, inputs: Sequence[Value], dtype: np.dtype | None = None, **attributes: Any
) -> Value:
    """A node of values of one shape, in whichever order of axes their tensors have. As in JAX, an
    axis of size 1 is repeated, and so is a single number."""
    shape = _common_shape(inputs)
    inputs = [_spread(graph, value, shape) for value in inputs]
    layout = common_layout(inputs)
    repeated = frozenset.intersection(*(value.repeated for value in inputs))
    names = [graph.tensor(value, layout) for value in inputs]
    if all(value.array is not None and value.array.size == 1 for value in inputs):
        # Tensors of one number have lost their axes.
        names[0] = graph.full(inputs[0], layout)
        repeated = frozenset()
    result = graph.node(op, *names, **attributes)
    return graph.made(result, shape, np.dtype(dtype or inputs[0].dtype), layout, repeated)


def _common_shape(inputs: Sequence[Value]) -> Shape:
    rank = max(value.rank for value in inputs)
    whole = [value.shape for value in inputs if value.rank == rank]
    return tuple(
        next((dim for dim in dims if not isinstance(dim, int) or dim != 1), 1)
        for dims in zip(*whole, strict=True)
    )


def _spread(graph: Graph, value: Value, shape: Shape) -> Value:
    """The value repeated to this shape."""
    if value.shape == shape:
        return value
    if not value.rank and value.array is None:
        added = graph.integers(range(len(shape)))
        name = graph.node("Unsqueeze", value.name, added)
        return graph.made(name, shape, value.dtype, repeated=frozenset(range(len(shape))))
    if value.array is not None:
        array = value.array if value.rank else value.array.reshape((1,) * len(shape))
        return repeated_constant(array, shape)
    more = {a for a, dim in enumerate(value.shape) if dim is not shape[a] and dim != shape[a]}
    return replace(value, shape=shape, repeated=value.repeated | more, rows_of=None)


def common_layout(inputs: Sequence[Value]) -> tuple[int, ...]:
    """The order of axes that most of the work has: that of the first tensor that has another than
    JAX's and is not repeated along most of its axes."""
    whole = [value for value in inputs if value.array is None and not value.repeated]
    for value in whole or inputs:
        if value.array is None and not value.plain:
            return value.layout
    return tuple(range(inputs[0].rank))


def like(value: Value, number: float | int | bool) -> Value:
    """A number of the value's dtype, repeated over its shape."""
    array = np.full((1,) * value.rank, number, value.dtype)
    layout, every = tuple(range(value.rank)), frozenset(range(value.rank))
    return Value(value.shape, value.dtype, layout, every, array=array)


def cast(graph: Graph, value: Value, dtype: Any) -> Value:
    """The value in another dtype."""
    wanted = np.dtype(dtype)
    if value.dtype == wanted:
        return value
    return apply(graph, "Cast", [value], wanted, to=onnx_type(wanted))


def _same(op: str, **attributes: Any) -> Callable[..., Value]:
    """A primitive that ONNX has as `op`."""
    return lambda graph, equation, inputs: apply(
        graph, op, inputs, equation.outvars[0].aval.dtype, **attributes
    )


def _logical(op: str, bits: str) -> Callable[..., Value]:
    """A primitive that is `op` of booleans and `bits` of integers."""

    def translation(graph: Graph, equation: Any, inputs: Sequence[Value]) -> Value:
        return apply(graph, op if inputs[0].dtype == bool else bits, inputs)

    return translation


def _chain(*ops: str) -> Callable[..., Value]:
    """A primitive of one input that is several nodes, first to last."""

    def translation(graph: Graph, equation: Any, inputs: Sequence[Value]) -> Value:
        (value,) = inputs
        for op in ops:
            value = apply(graph, op, [value])
        return value

    return translation


def _extreme(op: str) -> Callable[..., Value]:
    """The larger or smaller of two."""

    def translation(graph: Graph, equation: Any, inputs: Sequence[Value]) -> Value:
        a, b = inputs
        zero = b.array is not None and b.array.size == 1 and not b.array.any()
        if op == "Max" and zero and np.issubdtype(a.dtype, np.floating):
            return apply(graph, "Relu", [a])
        if a.dtype == bool:
            return apply(graph, {"Max": "Or", "Min": "And"}[op], inputs)
        return apply(graph, op, inputs)

    return translation


def _convert(graph: Graph, equation: Any, inputs: Sequence[Value]) -> Value:
    return cast(graph, inputs[0], equation.params["new_dtype"])


def _identity(graph: Graph, equation: Any, inputs: Sequence[Value]) -> Sequence[Value]:
    return inputs  # a barrier has as many as it is given


def _remainder(graph: Graph, equation: Any, inputs: Sequence[Value]) -> Value:
    return apply(graph, "Mod", inputs, fmod=1)  # of the dividend's sign, as in C


def _not_equal(graph: Graph, equation: Any, inputs: Sequence[Value]) -> Value:
    return apply(graph, "Not", [apply(graph, "Equal", inputs, np.dtype(bool))])


def _select(graph: Graph, equation: Any, inputs: Sequence[Value]) -> Value:
    which, *cases = inputs
    if which.dtype == bool:
        return apply(graph, "Where", [which, cases[1], cases[0]], cases[0].dtype)
    chosen = cases[0]
    for number, case in enumerate(cases[1:], 1):
        here = apply(graph, "Equal", [which, like(which, number)], np.dtype(bool))
        chosen = apply(graph, "Where", [here, case, chosen], case.dtype)
    return chosen


def _clamp(graph: Graph, equation: Any, inputs: Sequence[Value]) -> Value:
    low, value, high = inputs
    low, high = (
        limit
        if limit.rank == value.rank or limit.array is None
        else like(value, limit.array.item())
        for limit in (low, high)
    )
    return apply(graph, "Min", [apply(graph, "Max", [value, low]), high])


def _round(graph: Graph, equation: Any, inputs: Sequence[Value]) -> Value:
    (value,) = inputs
    if equation.params["rounding_method"]:  # to even
        return apply(graph, "Round", [value])
    away = apply(graph, "Floor", [_plus(graph, apply(graph, "Abs", [value]), 0.5)])
    return apply(graph, "Mul", [away, apply(graph, "Sign", [value])])


def _plus(graph: Graph, value: Value, number: float) -> Value:
    return apply(graph, "Add", [value, like(value, number)])


def _integer_pow(graph: Graph, equation: Any, inputs: Sequence[Value]) -> Value:
    (value,), power = inputs, equation.params["y"]
    if power == 2:
        return apply(graph, "Mul", [value, value])
    return apply(graph, "Pow", [value, like(value, power)])


def _square(graph: Graph, equation: Any, inputs: Sequence[Value]) -> Value:
    return apply(graph, "Mul", [inputs[0], inputs[0]])


def _exp2(graph: Graph, equation: Any, inputs: Sequence[Value]) -> Value:
    (value,) = inputs
    return apply(graph, "Pow", [like(value, 2), value])


def _log1p(graph: Graph, equation: Any, inputs: Sequence[Value]) -> Value:
    return apply(graph, "Log", [_plus(graph, inputs[0], 1.0)])


def _expm1(graph: Graph, equation: Any, inputs: Sequence[Value]) -> Value:
    return _plus(graph, apply(graph, "Exp", list(inputs)), -1.0)


def _is_finite(graph: Graph, equation: Any, inputs: Sequence[Value]) -> Value:
    truth = np.dtype(bool)
    bad = [apply(graph, op, inputs, truth) for op in ("IsNaN", "IsInf")]
    return apply(graph, "Not", [apply(graph, "Or", bad)])


def _atan2(graph: Graph, equation: Any, inputs: Sequence[Value]) -> Value:
    """From Atan, which ONNX has, in the right half of the plane; 0 at the origin."""
    y, x = inputs
    truth, zero = np.dtype(bool), like(x, 0)
    at_zero = apply(graph, "Equal", [x, zero], truth)
    safe = apply(graph, "Where", [at_zero, like(x, 1), x], x.dtype)
    angle = apply(graph, "Atan", [apply(graph, "Div", [y, safe])])
    below = apply(graph, "Less", [y, zero], truth)
    turn = apply(graph, "Where", [below, like(x, -np.pi), like(x, np.pi)], x.dtype)
    behind = apply(graph, "Less", [x, zero], truth)
    turned = apply(graph, "Where", [behind, apply(graph, "Add", [angle, turn]), angle], x.dtype)
    up = apply(graph, "Mul", [apply(graph, "Sign", [y]), like(x, np.pi / 2)])
    return apply(graph, "Where", [at_zero, up, turned], x.dtype)


PRIMITIVES: dict[str, Callable[..., Value | Sequence[Value]]] = {
    **{name: _same(op) for name, op in (("add", "Add"), ("sub", "Sub"), ("mul", "Mul"))},
    "add_any": _same("Add"),
    "div": _same("Div"),
    "pow": _same("Pow"),
    "max": _extreme("Max"),
    "min": _extreme("Min"),
    "rem": _remainder,
    **{name: _same(op) for name, op in (("eq", "Equal"), ("lt", "Less"), ("gt", "Greater"))},
    "le": _same("LessOrEqual"),
    "ge": _same("GreaterOrEqual"),
    "ne": _not_equal,
    "and": _logical("And", "BitwiseAnd"),
    "or": _logical("Or", "BitwiseOr"),
    "xor": _logical("Xor", "BitwiseXor"),
    "not": _logical("Not", "BitwiseNot"),
    "select_n": _select,
    "clamp": _clamp,
    "convert_element_type": _convert,
    **dict.fromkeys(("stop_gradient", "copy", "copy_p", "optimization_barrier"), _identity),
    **{name: _same(name.capitalize()) for name in ("abs", "exp", "log", "sqrt", "floor", "ceil")},
    **{name: _same(name.capitalize()) for name in ("sign", "neg", "sin", "cos", "tan", "atan")},
    **{name: _same(name.capitalize()) for name in ("tanh", "erf")},
    "logistic": _same("Sigmoid"),
    "rsqrt": _chain("Sqrt", "Reciprocal"),
    "round": _round,
    "integer_pow": _integer_pow,
    "square": _square,
    "exp2": _exp2,
    "log1p": _log1p,
    "expm1": _expm1,
    "is_finite": _is_finite,
    "atan2": _atan2,
}
