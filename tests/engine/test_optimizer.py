import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from handjax.engine.optimizer import make_optimizer

BASE = dict(
    name="sgd",
    lr=0.1,
    schedule="constant",
    warmup=10,
    boundaries=(),
    factor=0.5,
    weight_decay=0.0,
    clip_norm=0.0,
)


def options(**changed):
    return ConfigDict(BASE | changed)


def test_unknown_names():
    with pytest.raises(ValueError, match="name 'lamb' is unknown: use rmsprop, adam or sgd"):
        make_optimizer(options(name="lamb"), 10)


@pytest.mark.parametrize(
    "wrong",
    [
        dict(lr=-0.1),
        dict(lr=0.0),
        dict(lr=float("nan")),
        dict(weight_decay=-1e-4),
        dict(clip_norm=-1.0),
        dict(warmup=-1),
        dict(factor=0.0),
        dict(momentum=1.0),
        dict(schedule="piecewise", rates=(0.1, -0.1), boundaries=(5,)),
        dict(schedule="multistep", boundaries=(-5, 5)),
    ],
)
def test_numbers_with_which_no_run_learns(wrong):
    key = [name for name in wrong if name != "schedule"][0]
    with pytest.raises(ValueError, match=f"config.optimizer.{key}=.*: expected ") as caught:
        make_optimizer(options(**wrong), 10)
    assert "\n" not in str(caught.value)


def update(config, gradient, params):
    optimizer = make_optimizer(config, 10)
    moved, _ = optimizer.update(
        jnp.array(gradient), optimizer.init(jnp.array(params)), jnp.array(params)
    )
    return np.asarray(moved)


def test_weight_decay_is_added_after_clipping():
    np.testing.assert_allclose(update(options(), [3.0, 4.0], [1.0, 1.0]), [-0.3, -0.4], rtol=1e-6)
    np.testing.assert_allclose(
        update(options(clip_norm=1.0), [3.0, 4.0], [1.0, 1.0]), [-0.06, -0.08], rtol=1e-6
    )
    decayed = update(options(clip_norm=1.0, weight_decay=0.5), [3.0, 4.0], [2.0, 4.0])
    np.testing.assert_allclose(decayed, [-0.16, -0.28], rtol=1e-6)


@pytest.mark.parametrize("name", ["rmsprop", "adam", "sgd"])
def test_every_optimizer_descends(name):
    assert (update(options(name=name), [3.0, -4.0], [0.0, 0.0]) * [1, -1] < 0).all()


def test_invalid_multipliers_are_named():
    params = {"one": {"kernel": jnp.ones(2), "bias": jnp.ones(2)}}

    def first_step(multipliers):
        optimizer = make_optimizer(options(multipliers=multipliers), 10)
        return optimizer.update(params, optimizer.init(params), params)[0]["one"]

    moved = first_step(((".*/kernel", 2.0), ("one/.*", 3.0)))
    np.testing.assert_allclose(moved["kernel"], -0.2, rtol=1e-6)
    np.testing.assert_allclose(moved["bias"], -0.3, rtol=1e-6)
    for multipliers, complaint in (
        (((".*kernel", 2.0),), "no pattern matches the parameter one/bias"),
        (((".*", 2.0), ("one/bias", 3.0)), "'one/bias' is the first match of no parameter"),
        (
            (("one/(", 2.0),),
            r"'one/\(' is no regular expression: missing \), unterminated subpattern",
        ),
    ):
        with pytest.raises(ValueError, match=f"config.optimizer.multipliers: {complaint}"):
            first_step(multipliers)
