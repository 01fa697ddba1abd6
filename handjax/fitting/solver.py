"""A function's least value, from several starts at once, some steps at a time."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

METHODS = ("adam", "lbfgs")


class Found(NamedTuple):
    """After `step` steps, of each start (first axis): the best params so far, and their values."""

    step: int
    params: Any
    values: jax.Array


def minimizer(
    objective: Callable, *, method: str = "adam", rate: float = 0.05, chunk: int = 10
) -> Callable[..., Iterator[Found]]:
    """→ `run(starts, steps, *data)`: an iterator of `Found`, of the starts themselves and then after every `chunk` steps.

    `objective(params, *data)` → a scalar. `starts` are params with one more axis, the first; each goes its own way over the same
    data. `run` keeps what it compiled, for starts and data of the same shapes; `steps` may differ.

    adam: Kingma and Ba 2015; its rate falls along half a cosine to a tenth. lbfgs: with a line search that goes back until the
    value falls; its trials are not counted as steps. A value that is not finite is never the best."""
    if method not in METHODS:
        raise ValueError(f"method {method!r} is unknown: use {' or '.join(METHODS)}")
    if method == "adam":
        transform = optax.scale_by_adam()
    else:
        transform = optax.lbfgs(
            linesearch=optax.scale_by_backtracking_linesearch(max_backtracking_steps=15)
        )

    def step(part, state, data):
        params, inner, best, least = state
        value, grad = jax.value_and_grad(objective)(params, *data)
        best = jax.tree.map(lambda new, old: jnp.where(value < least, new, old), params, best)
        if method == "adam":
            updates, inner = transform.update(grad, inner, params)
            now = rate * (0.55 + 0.45 * jnp.cos(jnp.pi * part))
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

    @jax.jit
    def advance(state, done, todo, steps, *data):
        """`todo` evaluations, each with the step that follows from it: what the last of them leads to is looked at by the next."""

        def one(state):
            def body(i, state):
                return step((done + i) / jnp.maximum(steps, 1), state, data)

            return jax.lax.fori_loop(0, todo, body, state)

        return jax.vmap(one)(state)

    @jax.jit
    def begin(starts):
        return (
            starts,
            jax.vmap(transform.init)(starts),
            starts,
            jnp.full(len(jax.tree.leaves(starts)[0]), jnp.inf),
        )

    def run(starts, steps: int, *data) -> Iterator[Found]:
        state = begin(starts)
        for done in (0, *range(chunk, steps, chunk), *[steps] * (steps > 0)):
            before = max(0, (done - 1) // chunk * chunk + 1) if done else 0
            state = advance(state, before, done + 1 - before, steps, *data)
            yield Found(done, state[2], state[3])

    return run
