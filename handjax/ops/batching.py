"""Batching and sharding rules for kernels, under vmap and over devices.

A sharded `ffi_call` gathers the whole batch on every device. The batching that JAX offers for it
passes arrays whose ranks are ambiguous if an operand is shared by all samples. Both rules are
therefore defined here.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxtyping import Array


def per_sample(function: Callable, ranks: tuple[int, ...], *operands: Array) -> Any:
    """function(*operands) for a function of independent samples, with rules for vmap and sharding.

    The first axis of all operands and results is the batch; `ranks` are the operands' ranks with
    it. An operand of one rank less is shared by all samples, and stays shared under vmap over the
    others. Sharded over the batch, each device processes its own samples without a collective; any
    other axis is gathered first.

    `function` must be the same object in all calls, since the rules are cached by it.
    """
    shared = tuple(operand.ndim < rank for operand, rank in zip(operands, ranks, strict=True))
    return _with_rules(function, ranks, shared)(*operands)


def as_one_batch(function: Callable[[Any, Array], Any], shared: Any, x: Array) -> Any:
    """function(shared, x) for a function of independent samples along the first axis of x, which
    under vmap sees one long batch. `shared`, as a network's variables, is the same for all."""

    @custom_vmap
    def batched(shared, x):
        return function(shared, x)

    @batched.def_vmap
    def over_new_axis(size, has_axis, shared, x):
        if any(jax.tree.leaves(has_axis[0])):
            raise ValueError("as_one_batch: `shared` differs between samples")
        folded = as_one_batch(function, shared, x.reshape(size * x.shape[1], *x.shape[2:]))
        results = jax.tree.map(lambda y: y.reshape(size, -1, *y.shape[1:]), folded)
        return results, jax.tree.map(lambda _: True, results)

    return batched(shared, x)


def reduce_over_batch(function: Callable, *operands: Array, sets: bool = False) -> Array:
    """function(*operands) for a function that sums over samples, with rules for vmap and sharding.

    The first axis of all operands is the batch, which the result does not have. With `sets`, an
    axis of sets of samples precedes it and is kept in the result. vmap adds such an axis, so
    `function` must recognize it by the ranks. Sharded over the samples, each device sums its own,
    and one all-reduce adds the sums; there is no other collective.
    """
    return _with_summing_rules(function, sets)(*operands)


def pvary(x: Array, like: Array) -> Array:
    """Give constants x the type of a value that varies over the devices of `like` in shard_map.

    `like` has the same rank. Implemented as a selection between x and x, which is compiled away.
    """
    return jnp.where(jnp.isnan(like), x, x)


def manual_axes() -> tuple[str, ...]:
    """The axes of the mesh over which the code being traced sees one device's part: those of
    shard_map."""
    mesh = jax.sharding.get_abstract_mesh()
    each = zip(mesh.axis_names, mesh.axis_types, strict=True)
    return tuple(name for name, kind in each if kind == AxisType.Manual)


def over_devices(x: Array) -> Array:
    """Inside shard_map, the sum over devices of what each has; elsewhere x, which is all there
    is."""
    axes = manual_axes()
    return jax.lax.psum(x, axes) if axes else x


def number_of_devices() -> int:
    """Inside shard_map, how many devices have a part of the batch; elsewhere 1."""
    mesh = jax.sharding.get_abstract_mesh()
    return math.prod(mesh.shape[name] for name in manual_axes())


@functools.cache
def _with_rules(function: Callable, ranks: tuple[int, ...], shared: tuple[bool, ...]) -> Callable:
    partitioned = _partitioned(function, shared)

    @custom_vmap
    def batched(*operands):
        if AxisType.Explicit in jax.sharding.get_abstract_mesh().axis_types:
            return _mapped(function, shared, operands)
        return partitioned(*operands)

    @batched.def_vmap
    def over_new_axis(size, has_axis, *operands):
        of_batch = [
            x.shape[1 if has else 0]
            for x, has, one in zip(operands, has_axis, shared, strict=True)
            if not one
        ]
        samples = of_batch[0]

        def fold(x, has, one):
            """The new axis and the batch as one batch axis."""
            if one and not has:
                return x
            if one:
                x = jnp.broadcast_to(x[:, None], (size, samples, *x.shape[1:]))
            elif not has:
                x = jnp.broadcast_to(x[None], (size, *x.shape))
            return x.reshape(size * samples, *x.shape[2:])

        folded = [fold(*each) for each in zip(operands, has_axis, shared, strict=True)]
        results = per_sample(function, ranks, *folded)
        results = jax.tree.map(lambda x: x.reshape(size, samples, *x.shape[1:]), results)
        return results, jax.tree.map(lambda _: True, results)

    return batched


def _mapped(function: Callable, shared: tuple[bool, ...], operands: tuple[Array, ...]):
    """The function under shard_map: explicit shardings are known while tracing."""
    specs = [
        jax.typeof(x).sharding.spec for x, one in zip(operands, shared, strict=True) if not one
    ]
    split = PartitionSpec(next((spec[0] for spec in specs if len(spec) and spec[0]), None))
    placed = tuple(PartitionSpec() if one else split for one in shared)
    operands = tuple(
        jax.sharding.reshard(x, spec) for x, spec in zip(operands, placed, strict=True)
    )
    return jax.shard_map(function, in_specs=placed, out_specs=split)(*operands)


def _partitioned(function: Callable, shared: tuple[bool, ...]) -> Callable:
    partitioned = custom_partitioning(lambda *operands: function(*operands))

    def partition(mesh, operands, results):
        of_batch = [
            x for x, one in zip(operands, shared, strict=True) if not one
        ] + jax.tree.leaves(results)
        axis = next(
            (x.sharding.spec[0] for x in of_batch if len(x.sharding.spec) and x.sharding.spec[0]),
            None,
        )

        def sharding(x, one=False):
            return NamedSharding(mesh, PartitionSpec(*([] if one else [axis])))

        return (
            mesh,
            function,
            jax.tree.map(sharding, results),
            tuple(map(sharding, operands, shared)),
        )

    def rule(mesh, operands, results):
        """In Shardy's notation, with `b` for the batch and a distinct name for every other axis."""
        names = (f"i{n}" for n in range(1000))

        def axes(x, one=False):
            return " ".join(next(names) if axis or one else "b" for axis in range(len(x.shape)))

        return ", ".join(map(axes, operands, shared)) + " -> " + ", ".join(map(axes, results))

    partitioned.def_partition(partition=partition, sharding_rule=rule)
    return partitioned


@functools.cache
def _with_summing_rules(function: Callable, sets: bool) -> Callable:
    partitioned = custom_partitioning(lambda *operands: function(*operands))
    batch = int(sets)  # its axis

    def partition(mesh, operands, result):
        specs = [(*x.sharding.spec, None, None) for x in operands]
        lead = [
            next((spec[axis] for spec in specs if spec[axis]), None) for axis in range(batch + 1)
        ]

        def local(*operands):
            total = function(*operands)
            return jax.lax.psum(total, lead[batch]) if lead[batch] else total

        placed = tuple(NamedSharding(mesh, PartitionSpec(*lead)) for _ in operands)
        return (
            mesh,
            local,
            jax.tree.map(lambda _: NamedSharding(mesh, PartitionSpec(*lead[:batch])), result),
            placed,
        )

    def rule(mesh, operands, results):
        names, lead = (f"i{n}" for n in range(1000)), ["n"] * sets
        each = [
            " ".join([*lead, "b", *(next(names) for _ in x.shape[batch + 1 :])]) for x in operands
        ]
        return (
            ", ".join(each)
            + " -> "
            + " ".join([*lead, *(next(names) for _ in results[0].shape[batch:])])
        )

    partitioned.def_partition(partition=partition, sharding_rule=rule)

    @custom_vmap
    def summed(*operands):
        return partitioned(*operands)

    @summed.def_vmap
    def over_new_axis(size, has_axis, *operands):
        wide = [
            x if has else jnp.broadcast_to(x[None], (size, *x.shape))
            for x, has in zip(operands, has_axis, strict=True)
        ]
        if not sets:
            return reduce_over_batch(function, *wide, sets=True), True
        total = reduce_over_batch(
            function, *(x.reshape(size * x.shape[1], *x.shape[2:]) for x in wide), sets=True
        )
        return total.reshape(size, -1, *total.shape[1:]), True

    return summed
