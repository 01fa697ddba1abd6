"""State and the two steps, as free pure functions."""

from typing import Any

import flax
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Key

from handjax.engine import sharding


class TrainState(flax.struct.PyTreeNode):
    """Everything a run needs to go on. `step` counts applied updates."""

    step: Any  # int32 scalar; not annotated as an array, since shapes and shardings take its place at times
    params: Any
    model_state: Any  # the network's other collections: running statistics
    opt_state: Any


def init_state(key: Key[Array, ""], task, optimizer: optax.GradientTransformation) -> TrainState:
    """A fresh state; a function of the key."""
    variables = task.model.init(key, task.dummy_inputs(1)["x"], train=False)
    params = variables["params"]
    model_state = {name: value for name, value in variables.items() if name != "params"}
    return TrainState(jnp.zeros((), jnp.int32), params, model_state, optimizer.init(params))


def state_target(task, optimizer: optax.GradientTransformation, mesh) -> TrainState:
    """Shapes and shardings of a state, for one that is restored or made."""
    shapes = jax.eval_shape(lambda: init_state(jax.random.key(0), task, optimizer))
    place = sharding.whole(mesh)
    return jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=place), shapes)


def create_state(
    key: Key[Array, ""], task, optimizer: optax.GradientTransformation, target: TrainState
) -> TrainState:
    """A fresh state made where `target` says it will live: no array ever exists elsewhere."""

    def init(key):
        return init_state(key, task, optimizer)

    # It runs once, for a moment: what counts is how long it compiles, and on a CPU that is most of a run's start.
    quickly = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else {}
    return jax.jit(
        init, out_shardings=jax.tree.map(lambda t: t.sharding, target), compiler_options=quickly
    )(key)


def train_step(state: TrainState, batch, *, key, task, optimizer, materialize, accumulate: int = 1):
    """One update → (state, parts). `parts` has `loss`, its terms, `grad_norm` and `finite`.

    All randomness comes from fold_in(key, step). Where loss or gradient is not finite the update is withheld: the state that
    comes back is the one that went in. With `accumulate` > 1 the batch is worked off in that many slices, whose gradients are
    averaged; batch normalization sees one slice at a time.
    """
    keys = jax.random.split(jax.random.fold_in(key, state.step), batch["mask"].shape[0])

    def loss_of(params, model_state, keys, batch):
        inputs = task.prepare(keys, materialize(batch), True)
        variables = {"params": params, **model_state}
        outputs, updated = task.model.apply(
            variables, inputs["x"], train=True, mutable=list(model_state)
        )
        loss, parts = task.loss(outputs, inputs)
        return loss, (updated, {"loss": loss, **parts})

    gradient_of = jax.grad(loss_of, has_aux=True)
    if accumulate == 1:
        gradient, (model_state, parts) = gradient_of(state.params, state.model_state, keys, batch)
    else:
        # Row r goes to slice r % accumulate: each device keeps its own rows.
        slices = jax.tree.map(
            lambda x: jnp.moveaxis(x.reshape(-1, accumulate, *x.shape[1:]), 1, 0), (keys, batch)
        )

        def add(carry, one):
            model_state, total = carry
            gradient, (model_state, parts) = gradient_of(state.params, model_state, *one)
            return (model_state, jax.tree.map(jnp.add, total, gradient)), parts

        zeros = jax.tree.map(jnp.zeros_like, state.params)
        (model_state, total), parts = jax.lax.scan(add, (state.model_state, zeros), slices)
        gradient = jax.tree.map(lambda g: g / accumulate, total)
        parts = jax.tree.map(lambda p: p.mean(0), parts)

    updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
    parts["grad_norm"] = optax.tree.norm(gradient)
    parts["finite"] = jnp.isfinite(parts["loss"]) & jnp.isfinite(parts["grad_norm"])
    new = TrainState(
        state.step + 1, optax.apply_updates(state.params, updates), model_state, opt_state
    )
    return jax.tree.map(lambda new, old: jnp.where(parts["finite"], new, old), new, state), parts


def eval_step(state: TrainState, batch, *, task, materialize):
    """Per-sample rows: predictions, what they are held against (prefix `true_`), `mask` and `index`, and the mean loss.

    Nothing random: the keys are constant and `prepare` runs without augmentation.
    """
    keys = jax.random.split(jax.random.key(0), batch["mask"].shape[0])
    batch = materialize(batch)
    inputs = task.prepare(keys, batch, False)
    outputs = task.model.apply(
        {"params": state.params, **state.model_state}, inputs["x"], train=False
    )
    loss, _ = task.loss(outputs, inputs)
    rows = {
        **task.predict(outputs, inputs),
        **{f"true_{name}": value for name, value in task.ground_truth(batch).items()},
    }
    return {**rows, "mask": batch["mask"], "index": batch["index"]}, loss
