"""Primitives that read and write at computed places: gather and scatter."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from handjax.exporter.elementwise import apply, cast, like
from handjax.exporter.graph import Axes, Graph, Value, repeated_constant
from handjax.exporter.shapes import broadcast, joined, numbered, reshaped

_INT64 = np.dtype(np.int64)
_REDUCTIONS = {
    "scatter": "none",
    "scatter-add": "add",
    "scatter-mul": "mul",
    "scatter-min": "min",
    "scatter-max": "max",
}


class _Places(NamedTuple):
    """Where in an array: axes of it in the order shared with the indices, indexed, and the rest."""

    shared: tuple[int, ...]  # a sample's axis in both
    indexed: tuple[int, ...]  # by the components of an index
    rest: tuple[int, ...]  # taken entirely

    @property
    def order(self) -> tuple[int, ...]:
        return (*self.shared, *self.indexed, *self.rest)


def _gather(graph: Graph, equation: Any, inputs: Sequence[Value]) -> Value:
    (data, indices), params = inputs, equation.params
    numbers, sizes = params["dimension_numbers"], params["slice_sizes"]
    places = _places(data, sizes, numbers.operand_batching_dims, numbers.start_index_map)
    windows = [a for a in places.indexed if a not in numbers.collapsed_slice_dims]
    index, inside = _index(
        graph, data, indices, places, sizes, windows, numbers.start_indices_batching_dims
    )
    ordered = graph.moved(data, places.order)
    name = graph.node(
        "GatherND", graph.full(ordered), graph.full(index), batch_dims=len(places.shared)
    )
    made = (*index.shape[:-1], *(data.shape[axis] for axis in places.rest))
    found = graph.made(name, made, data.dtype)
    if "fill" in str(params["mode"]).lower():
        fill = params["fill_value"]
        if fill is None:
            fill = np.nan if np.issubdtype(data.dtype, np.inexact) else np.iinfo(data.dtype).min
        truth = broadcast(graph, inside, made, range(inside.rank))
        found = apply(graph, "Where", [truth, found, like(found, fill)], data.dtype)
    return graph.moved(found, _gathered(numbers, places, windows, indices, found))


def _gathered(numbers, places, windows, indices, found) -> list[int]:
    """Where each axis of the result is in what was gathered: [shared, others, windows, rest]."""
    shared = list(numbers.start_indices_batching_dims)
    others = [axis for axis in range(indices.rank - 1) if axis not in shared]
    lead = {axis: i for i, axis in enumerate([*shared, *others])}
    tail = {axis: len(lead) + i for i, axis in enumerate([*windows, *places.rest])}
    batch = iter([lead[axis] for axis in range(indices.rank - 1)])
    offset = iter([tail[axis] for axis in sorted(tail)])
    return [int(next(offset if i in numbers.offset_dims else batch)) for i in range(found.rank)]


def _places(data: Value, sizes: Sequence[Any], shared: Axes, indexed: Axes) -> _Places:
    rest = tuple(a for a in range(data.rank) if a not in (*shared, *indexed))
    if any(sizes[axis] != data.shape[axis] for axis in rest):
        raise ValueError("a part of an axis that is not indexed")
    return _Places(tuple(map(int, shared)), tuple(map(int, indexed)), rest)


def _index(
    graph: Graph,
    data: Value,
    indices: Value,
    places: _Places,
    sizes: Sequence[Any],
    windows: Axes,
    shared: Axes,
) -> tuple[Value, Value]:
    """Indices [*shared, *others, *windows, components] within the array, and whether they were
    inside it before: [*shared, *others]."""
    others = [axis for axis in range(indices.rank - 1) if axis not in shared]
    indices = graph.moved(indices, [*shared, *others, indices.rank - 1])
    columns, inside = [], None
    lead = indices.shape[:-1]
    full = (*lead, *(sizes[axis] for axis in windows))
    wide = cast(graph, indices, _INT64)
    for number, axis in enumerate(places.indexed):
        column = _component(graph, wide, number)
        last = like(column, data.shape[axis] - sizes[axis])
        here = apply(
            graph,
            "And",
            [
                apply(graph, "GreaterOrEqual", [column, like(column, 0)], np.dtype(bool)),
                apply(graph, "LessOrEqual", [column, last], np.dtype(bool)),
            ],
        )
        inside = here if inside is None else apply(graph, "And", [inside, here])
        column = apply(graph, "Min", [apply(graph, "Max", [column, like(column, 0)]), last])
        column = broadcast(graph, column, full, range(len(lead)))
        if axis in windows:
            steps = [1] * len(full)
            steps[len(lead) + windows.index(axis)] = sizes[axis]
            offsets = np.arange(sizes[axis], dtype=np.int64).reshape(steps)
            column = apply(graph, "Add", [column, repeated_constant(offsets, full)])
        columns.append(broadcast(graph, column, (*full, 1), range(len(full))))
    assert inside is not None
    return joined(graph, columns, len(full)), inside


def _component(graph: Graph, indices: Value, number: int) -> Value:
    """One component of all indices."""
    shape = indices.shape[:-1]
    if indices.array is not None:
        last = indices.array.shape[-1]
        return repeated_constant(indices.array[..., number if last > 1 else 0], shape)
    if indices.shape[-1] == 1:
        return reshaped(graph, indices, shape)
    where = graph.weight(np.array(number))
    name = graph.node("Gather", graph.full(indices), where, axis=indices.rank - 1)
    return graph.made(name, shape, indices.dtype)


# ---------------------------------------------------------------- scatter


def _scatter(graph: Graph, equation: Any, inputs: Sequence[Value]) -> Value:
    (data, indices, updates), params = inputs, equation.params
    numbers, reduction = params["dimension_numbers"], _REDUCTIONS[equation.primitive.name]
    gone = (*numbers.inserted_window_dims, *numbers.operand_batching_dims)
    window_axes = [axis for axis in range(data.rank) if axis not in gone]
    window = zip(window_axes, numbers.update_window_dims, strict=True)
    sizes: list[Any] = [1] * data.rank
    for axis, place in window:
        sizes[axis] = updates.shape[place]
    places = _places(
        data, sizes, numbers.operand_batching_dims, numbers.scatter_dims_to_operand_dims
    )
    windows = [axis for axis in places.indexed if axis in window_axes]
    index, inside = _index(
        graph, data, indices, places, sizes, windows, numbers.scatter_indices_batching_dims
    )
    updates = graph.moved(updates, _ordered(numbers, places, windows, indices, updates))
    drops = "clip" not in str(params["mode"]).lower() and not _surely(inside)
    ordered = graph.moved(data, places.order)
    first, length = len(places.shared), data.shape[places.indexed[0]]
    if drops:  # what lies outside goes to one more row, which is cut off
        ordered = _longer(graph, ordered, first)
        index = _redirected(graph, index, inside, length)
    written = _written(graph, ordered, index, updates, first, reduction)
    if drops:
        ends = graph.integers([length])
        axes = graph.integers([first])
        name = graph.node("Slice", graph.full(written), graph.integers([0]), ends, axes)
        shape = [data.shape[axis] for axis in places.order]
        written = graph.made(name, tuple(shape), data.dtype)
    back = [places.order.index(axis) for axis in range(data.rank)]
    return graph.moved(written, back)


def _surely(inside: Value) -> bool:
    return inside.array is not None and bool(inside.array.all())


def _ordered(numbers, places, windows, indices, updates) -> list[int]:
    """Axes of the updates as [shared, others, windows, rest]."""
    batch = [axis for axis in range(updates.rank) if axis not in numbers.update_window_dims]
    shared = list(numbers.scatter_indices_batching_dims)
    others = [axis for axis in range(indices.rank - 1) if axis not in shared]
    lead = [batch[axis] for axis in [*shared, *others]]
    of_axis = dict(zip(sorted([*windows, *places.rest]), numbers.update_window_dims, strict=True))
    return [int(axis) for axis in [*lead, *(of_axis[axis] for axis in [*windows, *places.rest])]]


def _longer(graph: Graph, value: Value, axis: int) -> Value:
    """The array with one more row along an axis."""
    pads = [0] * (2 * value.rank)
    pads[value.rank + axis] = 1
    zero = graph.weight(np.zeros((), value.dtype))
    name = graph.node("Pad", graph.full(value), graph.integers(pads), zero, mode="constant")
    shape = tuple(d + 1 if a == axis else d for a, d in enumerate(value.shape))
    return graph.made(name, shape, value.dtype)


def _redirected(graph: Graph, index: Value, inside: Value, length: int) -> Value:
    """Indices outside the array → the row after its last."""
    count = index.shape[-1]
    away = np.zeros((1,) * (index.rank - 1) + (count,), np.int64)
    away[..., 0] = length
    truth = broadcast(graph, inside, index.shape, range(inside.rank))
    return apply(graph, "Where", [truth, index, repeated_constant(away, index.shape)], _INT64)


def _written(
    graph: Graph, data: Value, index: Value, updates: Value, shared: int, reduction: str
) -> Value:
    """The array [shared, indexed, rest] with the updates at the indices."""
    how: dict[str, Any] = {} if reduction == "none" else {"reduction": reduction}
    if index.shape[-1] == 1 and data.rank == shared + 1 and index.rank > shared + 1:
        # One by one: onnxruntime adds up in ScatterND from several threads at once.
        lead = data.shape[:shared]
        flat = (*lead, _product(index.shape[shared:-1]))
        names = [graph.full(reshaped(graph, value, flat)) for value in (index, updates)]
        name = graph.node("ScatterElements", graph.full(data), *names, axis=shared, **how)
    else:
        for axis in range(shared)[::-1]:
            index = _numbered(graph, index, axis)
        name = graph.node("ScatterND", *map(graph.full, (data, index, updates)), **how)
    return graph.made(name, data.shape, data.dtype)


def _numbered(graph: Graph, index: Value, axis: int) -> Value:
    """Indices with the number along one of their own axes as first component."""
    shape, size = (*index.shape[:-1], 1), index.shape[axis]
    if isinstance(size, int):
        numbers = np.arange(size).reshape([size if a == axis else 1 for a in range(len(shape))])
        return joined(graph, [repeated_constant(numbers, shape), index], index.rank - 1)
    own = broadcast(graph, numbered(graph, size), shape, [axis])
    return joined(graph, [own, index], index.rank - 1)


def _product(sizes: Sequence[Any]) -> Any:
    total = 1
    for size in sizes:
        total = total * size
    return total


PRIMITIVES: dict[str, Callable[..., Value]] = {
    "gather": _gather,
    **dict.fromkeys(_REDUCTIONS, _scatter),
}
