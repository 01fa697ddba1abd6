"""A gather of rows whose gradient is summed in a fixed order on every platform."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int


@jax.custom_vjp
def take_rows(values: Float[Array, "v c"], index: Int[Array, " n"]) -> Float[Array, "n c"]:
    """values[index], with a gradient that is summed in a fixed order."""
    return values[index]


def _backward(saved, gradient):
    index, count = saved
    sums = lax.platform_dependent(
        index, gradient, cpu=_add_one_by_one(count), default=_add_sorted(count)
    )
    return sums, None


take_rows.defvjp(lambda values, index: (values[index], (index, values.shape[0])), _backward)


def _add_one_by_one(count: int) -> Callable:
    return lambda index, rows: jnp.zeros((count, rows.shape[-1]), rows.dtype).at[index].add(rows)


def _add_sorted(count: int) -> Callable:
    """Sum rows of equal index in a tree over the sorted rows.

    On a GPU, adding one by one would be atomic, hence in random order.
    """

    def add(index, rows):
        order = jnp.argsort(index)
        index, rows = index[order], rows[order]

        def merge(left, right):
            same = left[0] == right[0]
            return right[0], jnp.where(same[:, None], left[1] + right[1], right[1])

        if not len(index):
            return jnp.zeros((count, rows.shape[-1]), rows.dtype)
        _, running = lax.associative_scan(merge, (index, rows))
        wanted = jnp.arange(count, dtype=index.dtype)
        last = jnp.searchsorted(index, wanted, side="right") - 1
        there = (last >= 0) & (index[jnp.maximum(last, 0)] == wanted)
        return jnp.where(there[:, None], running[jnp.maximum(last, 0)], 0.0)

    return add
