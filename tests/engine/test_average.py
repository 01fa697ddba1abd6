"""The moving average of the weights: what it is, and who uses it."""

from functools import partial

import jax
import numpy as np
import optax
import pytest

from handjax.engine import feed, sharding
from handjax.engine.checkpoint import Checkpoints
from handjax.engine.step import AVERAGE, create_state, eval_step, state_target, train_step
from handjax.engine.warm_start import warm_start

KEY = jax.random.key(3)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def close(a, b):
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), a, b)


def plain(state):
    others = {name: value for name, value in state.model_state.items() if name != AVERAGE}
    return {"params": state.params, **others}


@pytest.fixture(scope="module")
def trained(tiny_task, tiny_source):
    """trained(average) → the states of four steps, from the first."""
    task, optimizer, source = tiny_task(True), optax.sgd(0.3), tiny_source(40)
    mesh = sharding.make_mesh(2)

    def train(average):
        target = state_target(task, optimizer, mesh, average=bool(average))
        state = create_state(KEY, task, optimizer, target)
        options = dict(key=KEY, task=task, optimizer=optimizer, materialize=source.materialize)
        step = jax.jit(partial(train_step, **options, average=average), donate_argnums=0)
        states = [jax.device_get(state)]
        for batch in feed.train_batches(source, mesh, 16, 0, 0, 4):
            state, _ = step(state, batch)
            states.append(jax.device_get(state))
        return states, target

    return train


def test_it_follows_the_weights_and_does_not_change_them(trained, tmp_path):
    """Its first steps forget faster: (1 + t) / (10 + t). A checkpoint's weights are the average."""
    states, target = trained(0.2)
    average = plain(states[0])
    close(states[0].model_state[AVERAGE], average)
    for count, state in enumerate(states[1:]):
        kept = min(0.2, (1 + count) / (10 + count))
        average = jax.tree.map(
            lambda old, new, kept=kept: kept * old + (1 - kept) * new, average, plain(state)
        )
        close(state.model_state[AVERAGE], average)
    without, _ = trained(0.0)
    close(plain(states[-1]), plain(without[-1]))
    assert AVERAGE not in without[-1].model_state

    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(states[-1])
    checkpoints.close()
    reader = Checkpoints(tmp_path / "checkpoints", read_only=True)
    close(reader.weights(4), average)
    jax.tree.map(
        np.testing.assert_array_equal, jax.device_get(reader.restore(4, target)), states[-1]
    )
    fresh = jax.tree.map(lambda x: x, states[0])
    fresh = jax.device_put(fresh, jax.tree.map(lambda t: t.sharding, target))
    warm, _ = warm_start(fresh, tmp_path)
    close(jax.device_get(plain(warm)), average)
    close(jax.device_get(warm.model_state[AVERAGE]), average)


def test_evaluations_use_it(trained, tiny_task, tiny_source):
    states, _ = trained(0.2)
    task, source = tiny_task(True), tiny_source(40)
    state, batch = states[-1], source.eval_rows(np.arange(8))
    evaluate = jax.jit(partial(eval_step, task=task, materialize=source.materialize))
    average = state.model_state[AVERAGE]
    others = {name: value for name, value in average.items() if name != "params"}
    rows, loss = evaluate(state, batch)
    expected, expected_loss = evaluate(
        state.replace(params=average["params"], model_state=others), batch
    )
    np.testing.assert_array_equal(rows["joints_xyz"], expected["joints_xyz"])
    newest = {name: value for name, value in plain(state).items() if name != "params"}
    raw, _ = evaluate(state.replace(model_state=newest), batch)
    assert loss == expected_loss and np.abs(raw["joints_xyz"] - rows["joints_xyz"]).max() > 1e-4
