"""Primitives that move elements: reshape, broadcast, transpose, slice, pad, join."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from handjax.exporter.elementwise import cast
from handjax.exporter.graph import Axes, Graph, Shape, Value, constant, repeated_constant

# Primitives of constants that are not computed at once: their result is smaller as it is.
LAZY = ("broadcast_in_dim", "reshape")

_COORDINATES = 4  # at most, of a point


def coordinates_first(shape: Shape) -> tuple[int, ...]:
    """The order of axes in which coordinates of points, along a short last axis, come first:
    runtimes are slow along axes of two or three."""
    last = len(shape) - 1
    short = last > 0 and isinstance(shape[last], int) and shape[last] <= _COORDINATES
    return (last, *range(last)) if short else tuple(range(last + 1))


def reshaped(graph: Graph, value: Value, shape: Shape) -> Value:
    """The value in another shape of as many elements."""
    if value.shape == tuple(shape):
        return value
    if value.array is not None:
        if value.array.size == 1:
            return repeated_constant(value.array.reshape((1,) * len(shape)), shape)
        if not value.repeated:
            return constant(value.array.reshape(tuple(int(dim) for dim in shape)))
    origin = value.rows_of
    if origin is not None and origin.shape == tuple(shape):
        return origin
    name = graph.node("Reshape", graph.full(value), graph.target(shape))
    result = graph.made(name, shape, value.dtype)
    whole = value.array is None and not value.repeated and value.rank > len(shape)
    if whole and shape and shape[-1] == value.shape[-1]:
        return replace(result, rows_of=value)
    return result


def flattened(graph: Graph, value: Value, shape: Shape) -> Value:
    """The value in a shape without its axes but the last, from which it may be taken back."""
    if value.shape == tuple(shape):
        return value
    name = graph.node("Reshape", graph.full(value), graph.target(shape))
    return replace(graph.made(name, shape, value.dtype), rows_of=value)


def row(graph: Graph, value: Value, index: int) -> Value:
    """value[index]."""
    shape = value.shape[1:]
    if value.array is not None and 0 not in value.repeated:
        return repeated_constant(value.array[index], shape)
    if value.array is not None:
        return repeated_constant(value.array[0], shape)
    one = graph.node("Gather", graph.full(value), graph.weight(np.array(index)), axis=0)
    return graph.made(one, shape, value.dtype)


def stacked(graph: Graph, values: Sequence[Value], axis: int = 0) -> Value:
    """Values of one shape along a new axis."""
    first = values[0]
    shape = (*first.shape[:axis], 1, *first.shape[axis:])
    parts = [broadcast(graph, value, shape, _without(len(shape), axis)) for value in values]
    return joined(graph, parts, axis)


def _without(rank: int, axis: int) -> tuple[int, ...]:
    return tuple(a for a in range(rank) if a != axis)


def _empty(value: Value) -> bool:
    return any(isinstance(dim, int) and dim == 0 for dim in value.shape)


def joined(graph: Graph, values: Sequence[Value], axis: int) -> Value:
    """Values along an axis that they all have."""
    values = [value for value in values if not _empty(value)] or values
    total = sum(value.shape[axis] for value in values)
    shape = tuple(total if a == axis else dim for a, dim in enumerate(values[0].shape))
    tensors = [value for value in values if value.array is None]
    layout = tensors[0].layout if tensors else tuple(range(len(shape)))
    if axis == len(shape) - 1 and layout == tuple(range(len(shape))):
        layout = coordinates_first(shape)
    names = [graph.full(value, layout) for value in values]
    name = graph.node("Concat", *names, axis=layout.index(axis))
    return graph.made(name, shape, values[0].dtype, layout)


def broadcast(graph: Graph, value: Value, shape: Shape, places: Axes) -> Value:
    """The value with axis i at places[i] of `shape`, repeated along all others."""
    own = dict(zip(places, range(value.rank), strict=True))
    if value.array is not None:
        sizes = [value.array.shape[own[a]] if a in own else 1 for a in range(len(shape))]
        return repeated_constant(value.array.reshape(sizes), shape)
    sizes = [value.shape[own[a]] if a in own else 1 for a in range(len(shape))]
    kept = frozenset(places[axis] for axis in value.repeated)
    repeated = kept | frozenset(
        a
        for a, (size, dim) in enumerate(zip(sizes, shape, strict=True))
        if isinstance(size, int) and size == 1 and not (isinstance(dim, int) and dim == 1)
    )
    added = [a for a in range(len(shape)) if a not in own]
    name = graph.tensor(value)
    if added:
        name = graph.node("Unsqueeze", name, graph.integers(added))
    return graph.made(name, shape, value.dtype, repeated=repeated)


def _broadcast(graph: Graph, equation: Any, inputs: Sequence[Value]) -> Value:
    params = equation.params
    return broadcast(graph, inputs[0], params["shape"], params["broadcast_dimensions"])


def _reshape(graph: Graph, equation: Any, inputs: Sequence[Value]) -> Value:
    if equation.params.get("dimensions") is not None:
        raise ValueError("a reshape in another order of axes")
    return reshaped(graph, inputs[0], equation.outvars[0].aval.shape)


def _squeeze(graph: Graph, equation: Any, inputs: Sequence[Value]) -> Value:
    (value,), shape = inputs, equation.outvars[0].aval.shape
    gone = equation.params["dimensions"]
    kept = [axis for axis in range(value.rank) if axis not in gone]
    if value.array is not None:
        return repeated_constant(value.array.reshape([value.array.shape[a] for a in kept]), shape)
    places = [value.layout.index(axis) for axis in gone]
    name = graph.node("Squeeze", value.name, graph.integers(sorted(places)))
    number = {axis: i for i, axis in enumerate(kept)}
    layout = [number[axis] for axis in value.layout if axis in number]
    repeated = frozenset(number[axis] for axis in value.repeated if axis in number)
    return graph.made(name, shape, value.dtype, layout, repeated)


def _transpose(graph: Graph, equation: Any, inputs: Sequence[Value]) -> Value:
    return graph.moved(inputs[0], equation.params["permutation"])


def _concatenate(graph: Graph, equation: Any, inputs: Sequence[Value]) -> Value:
    return joined(graph, inputs, equation.params["dimension"])


def _stack(graph: Graph, equation: Any, inputs: Sequence[Value]) -> Value:
    return stacked(graph, inputs, equation.params["axis"])


def sliced(
    graph: Graph, value: Value, starts: Sequence[Any], ends: Sequence[Any], steps: Sequence[Any]
) -> Value:
    """value[starts:ends:steps] along all axes; an end of None, or one that is not a number, is the
    end of the axis."""
    shape, chosen = list(value.shape), []
    for axis, (start, end, step) in enumerate(zip(starts, ends, steps, strict=True)):
        if (start == 0 and end == value.shape[axis] and step == 1) or end is None:
            continue
        if not isinstance(value.shape[axis], int):
            raise ValueError(f"a part, {start} to {end}, of an axis of {value.shape[axis]}")
        shape[axis] = len(range(value.shape[axis])[start:end:step])
        if axis not in value.repeated:
            chosen.append((axis, start, end, step))
    if value.array is not None:
        whole = [slice(None)] * value.rank
        for axis, start, end, step in chosen:
            whole[axis] = slice(start, end, step)
        return repeated_constant(value.array[tuple(whole)], tuple(shape))
    name = value.name
    if chosen:
        axes, start_, end_, step_ = zip(*chosen, strict=True)
        places = [value.layout.index(axis) for axis in axes]
        limits = [graph.integers(part) for part in (start_, end_, places, step_)]
        name = graph.node("Slice", name, *limits)
    return graph.made(name, tuple(shape), value.dtype, value.layout, value.repeated)


def _slice(graph: Graph, equation: Any, inputs: Sequence[Value]) -> Value:
    params, (value,) = equation.params, inputs
    steps = params["strides"] or (1,) * value.rank
    return sliced(graph, value, params["start_indices"], params["limit_indices"], steps)


def _split(graph: Graph, equation: Any, inputs: Sequence[Value]) -> list[Value]:
    (value,), axis = inputs, equation.params["axis"]
    parts, start = [], 0
    for size in equation.params["sizes"]:
        starts = [start if a == axis else 0 for a in range(value.rank)]
        ends = [start + size if a == axis else dim for a, dim in enumerate(value.shape)]
        parts.append(sliced(graph, value, starts, ends, (1,) * value.rank))
        start += size
    return parts


def _reverse(graph: Graph, equation: Any, inputs: Sequence[Value]) -> Value:
    (value,) = inputs
    axes = [axis for axis in equation.params["dimensions"] if axis not in value.repeated]
    name, places = graph.tensor(value, value.layout), [value.layout.index(axis) for axis in axes]
    count = len(places)
    if count:
        limits = ([-1] * count, [np.iinfo(np.int64).min] * count, places, [-1] * count)
        name = graph.node("Slice", name, *map(graph.integers, limits))
    return graph.made(name, value.shape, value.dtype, value.layout, value.repeated)


def _pad(graph: Graph, equation: Any, inputs: Sequence[Value]) -> Value:
    value, fill = inputs
    config = [tuple(int(n) for n in each) for each in equation.params["padding_config"]]
    if any(interior for _, _, interior in config):
        raise ValueError("padding between elements")
    if not any(low or high for low, high, _ in config):
        return value
    value = value if value.array is None else graph.expanded(value)
    order = [config[axis] for axis in value.layout]
    pads = [low for low, _, _ in order] + [high for _, high, _ in order]
    name = graph.full(value, value.layout)
    name = graph.node("Pad", name, graph.integers(pads), graph.tensor(fill), mode="constant")
    return graph.made(name, equation.outvars[0].aval.shape, value.dtype, value.layout)


def _tile(graph: Graph, equation: Any, inputs: Sequence[Value]) -> Value:
    name = graph.node("Tile", graph.full(inputs[0]), graph.integers(equation.params["reps"]))
    return graph.made(name, equation.outvars[0].aval.shape, inputs[0].dtype)


def numbered(graph: Graph, size: Any) -> Value:
    """0, 1, … of int64, as many as a symbolic size."""
    zero, one = (graph.weight(np.array(n, np.int64)) for n in (0, 1))
    end = graph.node("Squeeze", graph.size(size), graph.integers([0]))
    return graph.made(graph.node("Range", zero, end, one), (size,), np.dtype(np.int64))


def _iota(graph: Graph, equation: Any, inputs: Sequence[Value]) -> Value:
    params = equation.params
    shape, axis, dtype = params["shape"], params["dimension"], np.dtype(params["dtype"])
    sizes = [dim if a == axis else 1 for a, dim in enumerate(shape)]
    if isinstance(shape[axis], int):
        return repeated_constant(np.arange(shape[axis], dtype=dtype).reshape(sizes), shape)
    return broadcast(graph, cast(graph, numbered(graph, shape[axis]), dtype), shape, [axis])


PRIMITIVES: dict[str, Callable[..., Value | list[Value]]] = {
    "broadcast_in_dim": _broadcast,
    "reshape": _reshape,
    "squeeze": _squeeze,
    "transpose": _transpose,
    "concatenate": _concatenate,
    "stack": _stack,
    "slice": _slice,
    "split": _split,
    "rev": _reverse,
    "pad": _pad,
    "tile": _tile,
    "iota": _iota,
}
