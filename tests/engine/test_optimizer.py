import math
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from handjax.engine.optimizer import make_optimizer, make_schedule

BASE = dict(name="sgd", lr=0.1, schedule="constant", warmup=10, boundaries=(), factor=0.5, weight_decay=0.0, clip_norm=0.0)


def options(**changed):
    return SimpleNamespace(**BASE | changed)


def test_constant():
    schedule = make_schedule(options(), 100)
    assert float(schedule(0)) == float(schedule(99)) == pytest.approx(0.1)


def test_cosine_rises_then_falls_to_zero_at_the_end():
    schedule = make_schedule(options(schedule="cosine"), 110)
    assert [float(schedule(s)) for s in (0, 5, 10, 60, 110)] == pytest.approx([0, 0.05, 0.1, 0.05, 0], abs=1e-7)
    values = [float(schedule(s)) for s in range(10, 111)]
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_cosine_of_a_run_shorter_than_its_warm_up(steps):
    schedule = make_schedule(options(schedule="cosine"), steps)
    assert all(math.isfinite(float(schedule(s))) and 0 <= float(schedule(s)) <= 0.1 + 1e-7 for s in range(steps + 1))
    assert steps == 1 or float(schedule(steps - 1)) > 0


def test_steps_fall_at_their_boundaries():
    schedule = make_schedule(options(schedule="step", boundaries=(5, 8)), 10)
    assert [float(schedule(s)) for s in (0, 4, 6, 9)] == pytest.approx([0.1, 0.1, 0.05, 0.025])


def test_unknown_names():
    with pytest.raises(ValueError, match="schedule 'linear' is unknown: use constant, cosine or step"):
        make_schedule(options(schedule="linear"), 10)
    with pytest.raises(ValueError, match="name 'lamb' is unknown: use rmsprop, adam or sgd"):
        make_optimizer(options(name="lamb"), 10)


def update(config, gradient, params):
    optimizer = make_optimizer(config, 10)
    moved, _ = optimizer.update(jnp.array(gradient), optimizer.init(jnp.array(params)), jnp.array(params))
    return np.asarray(moved)


def test_weight_decay_joins_the_gradient_after_the_clip():
    np.testing.assert_allclose(update(options(), [3.0, 4.0], [1.0, 1.0]), [-0.3, -0.4], rtol=1e-6)
    np.testing.assert_allclose(update(options(clip_norm=1.0), [3.0, 4.0], [1.0, 1.0]), [-0.06, -0.08], rtol=1e-6)
    decayed = update(options(clip_norm=1.0, weight_decay=0.5), [3.0, 4.0], [2.0, 4.0])
    np.testing.assert_allclose(decayed, [-0.16, -0.28], rtol=1e-6)


@pytest.mark.parametrize("name", ["rmsprop", "adam", "sgd"])
def test_every_optimizer_goes_downhill(name):
    assert (update(options(name=name), [3.0, -4.0], [0.0, 0.0]) * [1, -1] < 0).all()
