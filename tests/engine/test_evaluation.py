from functools import partial

import jax
import numpy as np
import optax
import pytest

from handjax.engine import sharding
from handjax.engine.evaluation import predict_split
from handjax.engine.step import create_state, eval_step, state_target

SIZE = 11


@pytest.fixture(scope="module")
def evaluated(tiny_task, tiny_source):
    """evaluated(batch size, devices) → rows, loss, and the sample numbers that were read."""

    def run(batch_size, devices=1):
        mesh = sharding.make_mesh(devices)
        task, optimizer, seen = tiny_task(True), optax.sgd(0.1), []
        source = tiny_source(SIZE, seen)
        state = create_state(
            jax.random.key(0), task, optimizer, state_target(task, optimizer, mesh)
        )
        step = jax.jit(
            partial(eval_step, task=task, materialize=source.materialize),
            out_shardings=sharding.replicated(mesh),
        )
        return *predict_split(step, state, source, batch_size, mesh), seen

    return run


@pytest.fixture(scope="module")
def one_by_one(evaluated):
    return evaluated(1)


@pytest.mark.slow
@pytest.mark.parametrize(("batch_size", "devices"), [(4, 1), (11, 1), (8, 8), (16, 8), (32, 4)])
def test_each_sample_is_evaluated_once(evaluated, one_by_one, batch_size, devices):
    rows, loss, seen = evaluated(batch_size, devices)
    expected, expected_loss, _ = one_by_one
    np.testing.assert_array_equal(rows["index"], np.arange(SIZE))
    assert set(rows) == {"joints_xyz", "confidence", "true_joints_xyz", "index"}
    for name, value in rows.items():
        assert value.shape == expected[name].shape
        np.testing.assert_allclose(value, expected[name], rtol=0, atol=1e-6)
    assert loss == pytest.approx(expected_loss, rel=1e-6)
    assert all(len(read) == batch_size for read in seen)  # one shape, one compilation


def test_the_loss_is_the_mean_over_samples(one_by_one):
    rows, loss, _ = one_by_one
    assert loss == pytest.approx(
        float(np.mean((rows["joints_xyz"] - rows["true_joints_xyz"]) ** 2)), rel=1e-6
    )


def test_what_is_not_finite_is_not_scored(tiny_source):
    """The sample is named; the padding of the last batch does not count."""

    def step(state, batch):
        keys = {key: np.asarray(batch[key]) for key in ("index", "mask")}
        return {**keys, "finite": keys["mask"] & (keys["index"] != 9)}, 0.0

    with pytest.raises(ValueError, match="not finite for 1 of 11 samples, first for 9: no result"):
        predict_split(step, None, tiny_source(SIZE), 4, sharding.make_mesh(1))


def test_an_evaluation_can_be_left(tiny_source):
    def leave():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_split(
            lambda *_: ({}, 0), None, tiny_source(SIZE), 4, sharding.make_mesh(1), between=leave
        )


def test_no_progress_bar_by_default(evaluated, capsys, tiny_task, tiny_source):
    evaluated(4)
    assert capsys.readouterr().err == ""
