import re
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from handjax.engine import feed, sharding
from handjax.engine.step import (
    create_state,
    eval_step,
    finite_rows,
    init_state,
    state_target,
    train_step,
)

KEY = jax.random.key(3)


@pytest.fixture(scope="module")
def machine(tiny_task, tiny_source):
    """machine(devices, norm, accumulate) → a fresh state, the compiled step, batches."""

    @cache
    def built(devices, norm, accumulate):
        mesh = sharding.make_mesh(devices)
        task, optimizer, source = tiny_task(norm), optax.sgd(0.3), tiny_source(40)
        target = state_target(task, optimizer, mesh)
        state = jax.device_get(create_state(KEY, task, optimizer, target))
        step = partial(
            train_step,
            key=KEY,
            task=task,
            optimizer=optimizer,
            materialize=source.materialize,
            accumulate=accumulate,
        )
        places = jax.tree.map(lambda t: t.sharding, target)
        step = jax.jit(step, donate_argnums=0, out_shardings=(places, sharding.replicated(mesh)))
        batches = list(feed.train_batches(source, mesh, 16, 0, 0, 4))
        return state, places, step.lower(target, batches[0]).compile(), batches

    def make(devices, norm=True, accumulate=1):
        state, places, step, batches = built(devices, norm, accumulate)
        return jax.device_put(state, places), step, batches

    return make


def trained(state, step, batches):
    losses = []
    for batch in batches:
        state, terms = step(state, batch)
        losses.append(float(terms["loss"]))
    return jax.device_get(state), losses


def close(a, b, atol=1e-5):
    jax.tree.map(partial(np.testing.assert_allclose, rtol=0, atol=atol), a, b)


def collectives(compiled) -> list[str]:
    names = "all-reduce|all-gather|all-to-all|collective-permute|collective-broadcast"
    names += "|reduce-scatter|ragged-all-to-all"
    return re.findall(rf"= \S+ ({names})(?:-start)?\(", compiled.as_text())


@pytest.mark.slow
def test_a_fresh_state_is_replicated_and_depends_on_the_key(tiny_task):
    task, optimizer = tiny_task(True), optax.adam(1e-3)
    states = []
    for devices in (1, 8):
        mesh = sharding.make_mesh(devices)
        target = state_target(task, optimizer, mesh)
        state = create_state(KEY, task, optimizer, target)
        for array, wanted in zip(*map(jax.tree.leaves, (state, target)), strict=True):
            assert (array.shape, array.dtype, array.sharding) == (
                wanted.shape,
                wanted.dtype,
                wanted.sharding,
            )
            assert len(array.addressable_shards) == devices and array.is_fully_replicated
        states.append(jax.device_get(state))
    states.append(jax.device_get(init_state(KEY, task, optimizer)))
    for other in states[1:]:
        close(states[0], other, 1e-6)
    assert states[0].step == 0 and states[0].step.dtype == np.int32


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 2])
def test_one_and_eight_devices_agree(machine, accumulate):
    one, losses = trained(*machine(1, accumulate=accumulate))
    eight, others = trained(*machine(8, accumulate=accumulate))
    close(one, eight)
    np.testing.assert_allclose(losses, others, rtol=0, atol=1e-5)
    assert losses[0] != losses[-1] and one.step == 4


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 2])
def test_devices_exchange_all_reduces_only(machine, accumulate):
    found = collectives(machine(8, accumulate=accumulate)[1])
    assert set(found) == {"all-reduce"}
    assert collectives(machine(1, accumulate=accumulate)[1]) == []


@pytest.mark.slow
def test_accumulated_gradients_equal_those_of_the_batch(machine):
    plain, losses = trained(*machine(1, norm=False))
    state, others = trained(*machine(4, norm=False, accumulate=4))
    close(plain, state)
    np.testing.assert_allclose(losses, others, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_accumulation_normalizes_each_slice(machine, tiny_task, tiny_source):
    """Slice s has the rows r with r % accumulate == s; running statistics are updated per slice."""
    state, step, batches = machine(1, accumulate=2)
    first = jax.device_get(state)
    new, _ = step(state, batches[0])
    keys = jax.random.split(jax.random.fold_in(KEY, 0), 16)
    task, materialize = tiny_task(True), tiny_source(1).materialize
    gradients, model_state = [], first.model_state
    for s in (0, 1):

        def loss(params, s=s, model_state=model_state):
            inputs = task.prepare(
                keys[s::2],
                materialize({name: value[s::2] for name, value in batches[0].items()}, None),
                True,
            )
            variables = {"params": params, **model_state}
            outputs, updated = task.model.apply(
                variables, inputs["x"], train=True, mutable=["batch_stats"]
            )
            return task.loss(outputs, inputs)[0], updated

        gradient, model_state = jax.jit(jax.grad(loss, has_aux=True))(first.params)
        gradients.append(gradient)
    close(new.model_state, model_state)
    close(new.params, jax.tree.map(lambda p, a, b: p - 0.3 * (a + b) / 2, first.params, *gradients))
    state, step, _ = machine(1)
    whole, _ = step(state, batches[0])
    assert np.abs(whole.params["Dense_1"]["kernel"] - new.params["Dense_1"]["kernel"]).max() > 1e-4


def test_a_steps_randomness_depends_on_its_number(machine):
    state, step, batches = machine(1)
    state, _ = step(state, batches[0])
    halfway = jax.device_get(state)
    straight, terms = step(state, batches[1])
    again, same = step(
        jax.device_put(halfway, sharding.replicated(sharding.make_mesh(1))), batches[1]
    )
    jax.tree.map(
        np.testing.assert_array_equal,
        jax.device_get((straight, terms)),
        jax.device_get((again, same)),
    )
    earlier = halfway.replace(step=np.int32(0))
    _, other = step(jax.device_put(earlier, sharding.replicated(sharding.make_mesh(1))), batches[1])
    assert float(other["loss"]) != float(terms["loss"])


def test_the_old_state_is_donated(machine):
    state, step, batches = machine(8)
    new, _ = step(state, batches[0])
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(new))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(batches[0]))


@pytest.mark.parametrize(("bad", "accumulate"), [(np.nan, 1), (np.inf, 2), (1e30, 1)])
def test_a_non_finite_update_is_withheld(machine, bad, accumulate):
    state, step, batches = machine(8, accumulate=accumulate)
    before = jax.device_get(state)
    x = np.array(batches[0]["x"])
    x[3, 2] = bad
    y = np.array(batches[0]["joints_xyz"]) + (bad if bad == 1e30 else 0)
    broken = sharding.put_batch({"x": x, "joints_xyz": y.astype(np.float32)}, sharding.make_mesh(8))
    state, terms = step(state, batches[0] | broken)
    assert not terms["finite"] and not np.isfinite(terms["loss"])
    assert state.step == 1
    kept = jax.device_get(state).replace(step=before.step)
    jax.tree.map(np.testing.assert_array_equal, kept, before)
    state, terms = step(state, batches[1])
    assert terms["finite"] and state.step == 2


def test_terms(machine):
    state, step, batches = machine(1)
    before = jax.device_get(state.params)
    state, terms = step(state, batches[0])
    assert set(terms) == {"loss", "square", "grad_norm", "finite"} and terms["finite"]
    moved = jax.tree.map(lambda a, b: a - b, before, jax.device_get(state.params))
    assert float(terms["grad_norm"]) * 0.3 == pytest.approx(float(optax.tree.norm(moved)), rel=1e-4)


def test_evaluation_is_deterministic_and_read_only(machine, tiny_task, tiny_source):
    state, _, batches = machine(8)
    before = jax.device_get(state)
    step = jax.jit(partial(eval_step, task=tiny_task(True), materialize=tiny_source(1).materialize))
    (rows, loss), (again, _) = step(state, batches[0]), step(state, batches[0])
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(rows), jax.device_get(again))
    names = {"joints_xyz", "confidence", "true_joints_xyz", "mask", "index", "finite"}
    assert set(rows) == names and rows["finite"].all()
    np.testing.assert_allclose(
        loss, np.mean((rows["joints_xyz"] - rows["true_joints_xyz"]) ** 2), rtol=1e-5
    )
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(state), before)


def test_rows_that_are_not_finite():
    maps = jnp.ones((3, 2, 4)).at[1, 0, 2].set(jnp.nan)
    counts = jnp.ones(3, int)
    assert finite_rows((maps, counts), 3).tolist() == [True, False, True]
    assert finite_rows([maps, jnp.float32(jnp.inf)], 3).tolist() == [False] * 3
    assert finite_rows({"joints": jnp.ones((3, 2))}, 3).all()
    views = jnp.ones((6, 2)).at[3].set(jnp.inf)  # two of each sample, one after the other
    assert finite_rows(views, 3).tolist() == [True, False, True]
