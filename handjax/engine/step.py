"""The training state, and the two steps as pure functions."""

from collections.abc import Callable
from typing import Any

import flax
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Key

from handjax.engine import sharding
from handjax.engine.contracts import Batch, Rows, Task

Materialize = Callable[[Batch, Key[Array, " b"] | None], Batch]  # `Source.materialize`

AVERAGE = "average"  # in `model_state`: the moving average of the network's variables, if kept


class TrainState(flax.struct.PyTreeNode):
    """Everything a run needs to resume. `step` counts steps, also those without an update."""

    step: Any  # int32 scalar; no array type, since shapes and shardings take its place at times
    params: Any
    model_state: Any  # the network's other collections: running statistics; and AVERAGE
    opt_state: Any


def variables_of(params: Any, model_state: Any) -> dict[str, Any]:
    """What the network is evaluated with: the moving average, or without one the newest weights."""
    if AVERAGE in model_state:
        return dict(model_state[AVERAGE])
    return {"params": params, **model_state}


def init_state(
    key: Key[Array, ""], task: Task, optimizer: optax.GradientTransformation, average: bool = False
) -> TrainState:
    """A fresh state, a function of the key; with `average`, one that keeps the moving average."""
    variables = task.model.init(key, task.dummy_inputs(1)["x"], train=False)
    params = variables["params"]
    model_state = {name: value for name, value in variables.items() if name != "params"}
    if average:
        model_state[AVERAGE] = jax.tree.map(jnp.copy, dict(variables))
    return TrainState(jnp.zeros((), jnp.int32), params, model_state, optimizer.init(params))


def state_target(
    task: Task,
    optimizer: optax.GradientTransformation,
    mesh: jax.sharding.Mesh,
    average: bool = False,
) -> TrainState:
    """Shapes, dtypes and shardings of a state, to create or restore one."""
    shapes = jax.eval_shape(lambda: init_state(jax.random.key(0), task, optimizer, average))
    place = sharding.replicated(mesh)
    return jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=place), shapes)


def create_state(
    key: Key[Array, ""],
    task: Task,
    optimizer: optax.GradientTransformation,
    target: TrainState,
) -> TrainState:
    """A fresh state created with the shardings of `target`: no array ever exists elsewhere."""

    def init(key):
        return init_state(key, task, optimizer, AVERAGE in target.model_state)

    # It runs once and briefly. On CPU, compiling it with optimizations would be most of the
    # startup time.
    options = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else {}
    shardings = jax.tree.map(lambda t: t.sharding, target)
    return jax.jit(init, out_shardings=shardings, compiler_options=options)(key)


def train_step(
    state: TrainState,
    batch: Batch,
    *,
    key: Key[Array, ""],
    task: Task,
    optimizer: optax.GradientTransformation,
    materialize: Materialize,
    accumulate: int = 1,
    average: float = 0.0,
) -> tuple[TrainState, dict[str, Array]]:
    """One update → (state, terms). `terms` has `loss`, its terms, `grad_norm` and `finite`.

    All randomness comes from fold_in(key, step). If the loss or the gradient is not finite, the
    update is withheld: the returned state is the one passed in, at the next step.

    With `accumulate` > 1 the batch is processed in that many slices and their gradients are
    averaged. Batch normalization then sees one slice at a time. `average`: its decay, if kept.
    """
    before = {name: value for name, value in state.model_state.items() if name != AVERAGE}
    keys = jax.random.split(jax.random.fold_in(key, state.step), batch["mask"].shape[0])

    def loss_of(params, model_state, keys, batch):
        inputs = task.prepare(keys, materialize(batch, keys), True)
        variables = {"params": params, **model_state}
        outputs, updated = task.model.apply(
            variables, inputs["x"], train=True, mutable=list(model_state)
        )
        loss, terms = task.loss(outputs, inputs)
        return loss, (updated, {"loss": loss, **terms})

    gradient_of = jax.grad(loss_of, has_aux=True)
    if accumulate == 1:
        gradient, (model_state, terms) = gradient_of(state.params, before, keys, batch)
    else:
        # Row r goes to slice r % accumulate: each device keeps its own rows.
        slices = jax.tree.map(
            lambda x: jnp.moveaxis(x.reshape(-1, accumulate, *x.shape[1:]), 1, 0), (keys, batch)
        )

        def add(carry, one):
            model_state, total = carry
            gradient, (model_state, terms) = gradient_of(state.params, model_state, *one)
            return (model_state, jax.tree.map(jnp.add, total, gradient)), terms

        zeros = jax.tree.map(jnp.zeros_like, state.params)
        (model_state, total), terms = jax.lax.scan(add, (before, zeros), slices)
        gradient = jax.tree.map(lambda g: g / accumulate, total)
        terms = jax.tree.map(lambda p: p.mean(0), terms)

    updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
    terms["grad_norm"] = optax.tree.norm(gradient)
    terms["finite"] = jnp.isfinite(terms["loss"]) & jnp.isfinite(terms["grad_norm"])
    params = optax.apply_updates(state.params, updates)
    if AVERAGE in state.model_state:
        newest, old = {"params": params, **model_state}, state.model_state[AVERAGE]
        model_state = {**model_state, AVERAGE: _moved(old, newest, average, state.step)}
    new = TrainState(state.step + 1, params, model_state, opt_state)
    kept = jax.tree.map(lambda new, old: jnp.where(terms["finite"], new, old), new, state)
    return kept.replace(step=new.step), terms


def _moved(average, variables, decay, step):
    """The moving average after a step. Its first steps forget faster, (1 + t) / (10 + t), so that
    the initial weights do not stay in it."""
    count = jnp.asarray(step, jnp.float32)
    kept = jnp.minimum(decay, (1.0 + count) / (10.0 + count))
    return jax.tree.map(lambda old, new: kept * old + (1.0 - kept) * new, average, variables)


def eval_step(
    state: TrainState, batch: Batch, *, task: Task, materialize: Materialize
) -> tuple[Rows, Float[Array, ""]]:
    """Per-sample rows and the mean loss.

    Rows are predictions, the ground truth under the prefix `true_`, `mask`, `index`, and `finite`:
    whether the network's output and the prediction are. Nothing is random: the keys are constant
    and `prepare` runs without augmentation.
    """
    keys = jax.random.split(jax.random.key(0), batch["mask"].shape[0])
    batch = materialize(batch, None)
    inputs = task.prepare(keys, batch, False)
    variables = variables_of(state.params, state.model_state)
    outputs = task.model.apply(variables, inputs["x"], train=False)
    loss, _ = task.loss(outputs, inputs)
    true = {f"true_{name}": value for name, value in task.ground_truth(batch).items()}
    predicted = task.predict(outputs, inputs)
    finite = finite_rows((outputs, predicted), batch["mask"].shape[0])
    rows = {**predicted, **true, "finite": finite}
    return {**rows, "mask": batch["mask"], "index": batch["index"]}, loss


def finite_rows(values: Any, rows: int) -> Bool[Array, " rows"]:
    """Whether each sample's values in all arrays of a tree are finite.

    A sample may have several rows in a row, such as its two views under `flip_test`. An array whose
    first axis is no such number counts for all samples.
    """
    finite = jnp.ones(rows, bool)
    for value in jax.tree.leaves(values):
        if jnp.issubdtype(value.dtype, jnp.inexact):
            one = jnp.isfinite(value)
            per_sample = value.ndim > 0 and value.shape[0] % rows == 0
            finite &= one.reshape(rows, -1).all(1) if per_sample else one.all()
    return finite
