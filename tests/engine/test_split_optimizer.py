"""config.shard_optimizer: the optimizer's state split over the devices, and the same steps."""

import dataclasses
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from benchmarks.collectives import exchanged
from handjax.engine import feed, sharding
from handjax.engine.checkpoint import Checkpoints
from handjax.engine.optimizer import make_optimizer
from handjax.engine.step import create_state, state_target, train_step
from handjax.models.layers import conv2d

KEY = jax.random.key(3)


def optimizer(**changes):
    config = dict(name="adam", lr=1e-2, schedule="constant", weight_decay=0.0, clip_norm=0.0)
    return make_optimizer(ConfigDict(config | changes), 10)


@pytest.fixture
def machine(tiny_task, tiny_source):
    """machine(update, split, devices) → target, fresh state, compiled step, batches."""

    def make(update, split, devices=8, model=None):
        mesh, task, source = sharding.make_mesh(devices), tiny_task(True), tiny_source(40)
        task = dataclasses.replace(task, model=model or task.model)
        target = state_target(task, update, mesh, split)
        step = partial(
            train_step,
            key=KEY,
            task=task,
            optimizer=update,
            materialize=source.materialize,
            shards=mesh if split else None,
        )
        places = jax.tree.map(lambda t: t.sharding, target)
        jitted = jax.jit(step, donate_argnums=0, out_shardings=(places, sharding.replicated(mesh)))
        batches = list(feed.train_batches(source, mesh, 16, 0, 0, 4))
        compiled = jitted.lower(target, batches[0]).compile()
        return target, create_state(KEY, task, update, target), compiled, batches

    return make


def trained(state, step, batches):
    every = []
    for batch in batches:
        state, terms = step(state, batch)
        every.append(jax.device_get(terms))
    return state, every


def largest_parts(tree):
    """Bytes of the first device's part of each array."""
    leaves = jax.tree.leaves(tree)
    return sum(leaf.addressable_shards[0].data.nbytes for leaf in leaves if leaf.ndim)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"name": "rmsprop"}, {"weight_decay": 0.01, "clip_norm": 0.5}])
def test_the_steps_are_the_same(machine, options):
    _, whole, step, batches = machine(optimizer(**options), False)
    whole, terms = trained(whole, step, batches)
    _, parts, step, _ = machine(optimizer(**options), True)
    parts, others = trained(parts, step, batches)
    jax.tree.map(
        partial(np.testing.assert_allclose, rtol=0, atol=1e-6), *map(jax.device_get, (whole, parts))
    )
    for name in terms[0]:
        np.testing.assert_allclose(
            [one[name] for one in terms], [one[name] for one in others], rtol=1e-6
        )
    assert terms[0]["loss"] != terms[-1]["loss"]


def test_each_device_has_its_part(machine):
    """All but the arrays whose axes the devices do not divide: here, the last bias."""
    target, state, step, batches = machine(optimizer(), True)
    state, _ = step(state, batches[0])
    for array, wanted in zip(*map(jax.tree.leaves, (state, target)), strict=True):
        assert array.sharding.is_equivalent_to(wanted.sharding, array.ndim)
    mine = largest_parts(state.opt_state)
    total = sum(leaf.nbytes for leaf in jax.tree.leaves(state.opt_state) if leaf.ndim)
    rest = 2 * 4 * 3  # two moments of the bias of 3 outputs
    assert mine - rest == (total - rest) / 8
    assert all(leaf.is_fully_replicated for leaf in jax.tree.leaves(state.params))


class Convolutions(nn.Module):
    """With weights that are larger than what they are applied to."""

    @nn.compact
    def __call__(self, x, train: bool = False):
        x = x.reshape(x.shape[0], 2, 3, 1)
        for name in ("a", "b"):
            x = conv2d(16, 3, jnp.float32, nn.initializers.normal(), nn.initializers.zeros, name)(x)
        return nn.Dense(3)(x.mean((1, 2)))


def test_only_parameters_are_gathered(machine):
    """Nothing that a gradient is computed from: the split must not reach it."""
    target, _, step, _ = machine(optimizer(), True, model=Convolutions())
    found = exchanged(step.as_text())
    size = sum(leaf.size * 4 for leaf in jax.tree.leaves(target.params))
    assert set(found) <= {"all-reduce", "all-gather", "reduce-scatter"}
    assert size / 2 < found["all-gather"].bytes <= size
    assert found["all-reduce"].bytes <= size + 100


def test_the_largest_axis_that_divides_is_split():
    mesh = sharding.make_mesh(4)
    shapes = {"a": (3, 3, 8, 16), "b": (16,), "c": (6, 3), "d": (), "e": (0, 4), "f": (8, 8)}
    tree = {name: jax.ShapeDtypeStruct(shape, np.float32) for name, shape in shapes.items()}
    found = {name: tuple(place.spec) for name, place in sharding.split(mesh, tree).items()}
    last = (None, None, None, "data")
    expected = {"a": last, "b": ("data",), "c": (), "d": (), "e": (None, "data"), "f": ("data",)}
    assert found == expected


@pytest.mark.parametrize("split", [True, False])
def test_a_checkpoint_comes_back_either_way(tmp_path, machine, split):
    _, state, step, batches = machine(optimizer(), split)
    state, _ = trained(state, step, batches)
    expected = jax.tree.map(np.copy, jax.device_get(state))
    checkpoints = Checkpoints(tmp_path / "c")
    checkpoints.save(state)
    checkpoints.close()
    target, _, _, _ = machine(optimizer(), not split, 2)
    restored = Checkpoints(tmp_path / "c").restore_latest(target)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(restored), expected)
    for array, wanted in zip(*map(jax.tree.leaves, (restored, target)), strict=True):
        assert array.sharding.is_equivalent_to(wanted.sharding, array.ndim)
