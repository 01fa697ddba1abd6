"""Less memory in training: parts of a network that are computed again in the backward pass.

    def part(net, x):
        x = keep(Conv(64, 3, 1, name="conv")(x))
        return nn.relu(BatchNorm(name="norm")(x, True))

    y = recomputed(part, self, x)

As with `jax.checkpoint`, only the inputs of a part and what it keeps are stored. On a CPU
`jax.checkpoint` has no effect: XLA drops its barriers, sees the same computation twice, and does it
once, early. Here the second one starts from weights that depend on the gradient, so it can neither
be merged with the first nor begin before the gradient is there. Its inputs are arrays of their own
(ops/stored.py): XLA would compute them from what they were computed from, which it would store.

The operations are those without it, on the same numbers. XLA may fuse them differently, and then
rounds differently.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from handjax.ops.stored import stored


@dataclass(frozen=True)
class _Record:
    """Keeps what comes out of `value`, or with `stores` off nothing."""

    value: Callable[[Array], Array]
    stores: bool
    kept: list[Array] = field(default_factory=list)

    def __call__(self, x: Array) -> Array:
        x = self.value(x)
        if self.stores:
            self.kept.append(x)
        return x


def _not_kept(x: Array) -> Array:
    return x


_keep: ContextVar[Callable[[Array], Array]] = ContextVar("keep", default=_not_kept)


def keep(x: Array) -> Array:
    """x, which a surrounding `recomputed` stores instead of computing it again."""
    return _keep.get()(x)


def recomputed(part: Callable, net: nn.Module, *inputs: Array, keeps: bool = True) -> Any:
    """part(net, *inputs), computed again for the gradient, with `keeps` except for what it `keep`s.

    `part` may create submodules of `net` and update statistics. It is deterministic and has
    floating-point inputs.
    """
    outer = _keep.get()
    if isinstance(outer, _Record):  # the surrounding part computes this one again
        return part(net, *inputs)

    def forward(net, *inputs):
        record = _Record(outer, keeps)
        with _keeping(record):
            output = part(net, *inputs)
        return output, (net.variables, inputs, record.kept)

    def backward(saved, gradient):
        variables, inputs, kept = saved
        rest = {name: tree for name, tree in variables.items() if name != "params"}

        def again(params, *inputs):
            """The output; statistics have been updated the first time."""
            return _Part(part).apply({"params": params, **rest}, *inputs, mutable=list(rest))[0]

        params = jax.tree.map(lambda p: after(jax.tree.leaves(gradient)[0], p), variables["params"])
        rest_of_kept = iter(kept)
        with _keeping((lambda x: _instead_of(x, next(rest_of_kept))) if keeps else _not_kept):
            to_inputs = jax.vjp(again, params, *inputs)[1]
        of_params, *of_inputs = to_inputs(gradient)
        return {"params": of_params, **jax.tree.map(jnp.zeros_like, rest)}, *of_inputs

    inputs = tuple(map(stored, inputs))
    # Statistics count as inputs with a gradient of 0: other values of the trace must not be used.
    with_gradient = nn.custom_vjp(part, forward_fn=forward, backward_fn=backward, grad_vars=True)
    return with_gradient(net, *inputs)


class _Part(nn.Module):
    """A part as a network of its own, with the same names of variables."""

    part: Callable[..., Array]

    @nn.compact
    def __call__(self, *inputs: Array) -> Array:
        return self.part(self, *inputs)


def after(first: Array, x: Array) -> Array:
    """x, which is not available before `first`.

    On a CPU, x becomes NaN if the first number of any sample of `first` is NaN.
    """

    def cpu(first, x):  # `lax.optimization_barrier` is dropped there
        wait = jnp.isnan(first[(slice(None), *(0,) * (first.ndim - 1))]).any()
        return jnp.where(wait, jnp.full_like(x, jnp.nan), x)

    def barrier(first, x):
        return lax.optimization_barrier((first, x))[1]

    return lax.platform_dependent(first, x, cpu=cpu, default=barrier)


@contextmanager
def _keeping(function: Callable[[Array], Any]) -> Iterator[None]:
    token = _keep.set(function)
    try:
        yield
    finally:
        _keep.reset(token)


@jax.custom_vjp
def _instead_of(x, kept):
    """`kept`, with the gradient to x."""
    return kept


_instead_of.defvjp(lambda x, kept: (kept, None), lambda _, gradient: (gradient, None))
