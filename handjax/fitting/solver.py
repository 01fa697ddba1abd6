"""Batched minimization from several starting points, yielding every `chunk` steps."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from handjax.engine.promotion import any_promotion

METHODS = ("adam", "lbfgs")


class Solution(NamedTuple):
    """The best parameters so far of each starting point (first axis), and their values."""

    step: int
    params: Any
    values: Float[Array, " starts"]


@runtime_checkable
@runtime_checkable
class Solver(Protocol):
    """`run(starts, steps, *data)` → the solution of the starts, and after every `chunk` steps."""

    def __call__(self, starts: Any, steps: int, *data: Any) -> Iterator[Solution]: ...


def minimizer(
    objective: Callable[..., Float[Array, ""]],
    *,
    method: str = "adam",
    rate: float = 0.05,
    chunk: int = 10,
) -> Solver:
    """A solver that minimizes `objective(params, *data)`.

    `starts` are params with a leading axis; they are minimized independently, with the same data.
    The solver keeps its compiled code for starts and data of the same shapes; `steps` may vary.

    adam: Kingma and Ba 2015, with a rate that falls along half a cosine to a tenth. lbfgs: with a
    backtracking line search, whose evaluations do not count as steps. Values that are not finite
    are never the best. Raises ValueError for an unknown method.
    """
    init, step = _stepper(objective, method, rate)

    @jax.jit
    def advance(state: tuple, done: Array, todo: Array, steps: Array, *data: Any) -> tuple:
        """`todo` evaluations, each followed by its step; the next call evaluates the last step."""

        def one(state: tuple) -> tuple:
            def body(i: Array, state: tuple) -> tuple:
                return step((done + i) / jnp.maximum(steps, 1), state, data)

            return jax.lax.fori_loop(0, todo, body, state)

        return jax.vmap(one)(state)

    @jax.jit
    def begin(starts: Any) -> tuple:
        return (
            starts,
            jax.vmap(init)(starts),
            starts,
            jnp.full(len(jax.tree.leaves(starts)[0]), jnp.inf),
        )

    def run(starts: Any, steps: int, *data: Any) -> Iterator[Solution]:
        state = begin(starts)
        for done in (0, *range(chunk, steps, chunk), *[steps] * (steps > 0)):
            before = max(0, (done - 1) // chunk * chunk + 1) if done else 0
            state = advance(state, before, done + 1 - before, steps, *data)
            yield Solution(done, state[2], state[3])

    return run


def _stepper(
    objective: Callable[..., Float[Array, ""]], method: str, rate: float
) -> tuple[Callable, Callable]:
    """The optimizer's `init(params)`, and one step of (params, its state, best, their value)."""
    if method not in METHODS:
        raise ValueError(f"method {method!r} is unknown: use {' or '.join(METHODS)}")
    if method == "adam":
        transform = optax.scale_by_adam()
    else:
        transform = optax.lbfgs(
            linesearch=optax.scale_by_backtracking_linesearch(max_backtracking_steps=15)
        )

    def step(done: Array, state: tuple, data: tuple) -> tuple:
        """One step; `done` is the fraction of all steps that were taken before."""
        params, inner, best, least = state
        value, grad = jax.value_and_grad(objective)(params, *data)
        best = jax.tree.map(lambda new, old: jnp.where(value < least, new, old), params, best)
        if method == "adam":
            updates, inner = any_promotion(transform.update)(grad, inner, params)
            now = rate * (0.55 + 0.45 * jnp.cos(jnp.pi * done.astype(jnp.float32)))
            updates = jax.tree.map(lambda u: -now * u, updates)
        else:
            updates, inner = transform.update(
                grad,
                inner,
                params,
                value=value,
                grad=grad,
                value_fn=lambda params: objective(params, *data),
            )
        return (
            optax.apply_updates(params, updates),
            inner,
            best,
            jnp.where(value < least, value, least),
        )

    return transform.init, step
