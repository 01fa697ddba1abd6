"""config.reduce_dtype: gradients that travel between devices in another dtype."""

import dataclasses
import re
from functools import partial

import flax.linen as nn
import jax
import numpy as np
import optax
import pytest

from handjax import run as runs
from handjax.engine import config as configs
from handjax.engine import feed, sharding
from handjax.engine.step import create_state, state_target, train_step
from handjax.models.layers import BatchNorm

KEY = jax.random.key(3)


class Net(nn.Module):
    """With our own batch normalization, after a layer's bias."""

    @nn.compact
    def __call__(self, x, train: bool = False):
        bias = self.param("bias", nn.initializers.normal(1.0), (8,))
        x = BatchNorm()(nn.Dense(8)(x), train, bias)
        return nn.Dense(3)(nn.tanh(x))


@pytest.fixture
def machine(tiny_task, tiny_source):
    """machine(dtype, accumulate, model) → fresh state, lowered step, batches; of four devices."""

    def make(dtype, accumulate=1, model=None):
        mesh, source, optimizer = sharding.make_mesh(4), tiny_source(40), optax.sgd(0.1)
        task = dataclasses.replace(tiny_task(False), model=model or Net())
        target = state_target(task, optimizer, mesh)
        step = partial(
            train_step,
            key=KEY,
            task=task,
            optimizer=optimizer,
            materialize=source.materialize,
            accumulate=accumulate,
            reduced=dtype and (mesh, dtype),
        )
        places = jax.tree.map(lambda t: t.sharding, target)
        jitted = jax.jit(step, out_shardings=(places, sharding.replicated(mesh)))
        batches = list(feed.train_batches(source, mesh, 16, 0, 0, 3))
        # Of a mask, whose sum over devices is that of all.
        mask = sharding.put_batch({"mask": np.arange(16) % 5 > 0}, mesh)
        batches = [{**batch, **mask} for batch in batches]
        state = create_state(KEY, task, optimizer, target)
        return state, jitted.lower(target, batches[0]), batches

    return make


def trained(state, lowered, batches):
    step, losses = lowered.compile(), []
    for batch in batches:
        state, terms = step(state, batch)
        losses.append(float(terms["loss"]))
    return jax.device_get(state), losses


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_same_step_by_another_way(machine, accumulate):
    """In float32, which is their own, nothing differs; in bfloat16 little does."""
    plain, losses = trained(*machine(None, accumulate))
    for dtype, limit in (("float32", 1e-6), ("bfloat16", 2e-2)):
        state, others = trained(*machine(dtype, accumulate))
        np.testing.assert_allclose(losses, others, rtol=limit)
        jax.tree.map(partial(np.testing.assert_allclose, rtol=0, atol=limit), plain, state)
    differ = jax.tree.map(lambda a, b: np.abs(a - b).max() > 0, plain.params, state.params)
    assert any(jax.tree.leaves(differ))


def test_gradients_travel_in_that_dtype(machine):
    """Statistics and losses in their own."""
    found = {}
    for dtype in ("float32", "bfloat16"):
        _, lowered, _ = machine(dtype)
        text = lowered.as_text()
        found[dtype] = re.findall(
            r'"stablehlo.all_reduce".*?\}\) : \([^)]*\) -> (?:\()?tensor<[\dx]*(\w+)>', text, re.S
        )
    leaves = 7  # of the parameters
    assert found["bfloat16"].count("bf16") == leaves
    assert found["float32"].count("bf16") == 0
    assert len(found["bfloat16"]) == len(found["float32"]) > leaves


def test_what_does_not_add_up_over_devices_is_refused(machine):
    """flax's own batch normalization would be that of each device."""

    class PerDevice(nn.Module):
        @nn.compact
        def __call__(self, x, train: bool = False):
            return nn.Dense(3)(nn.BatchNorm(use_running_average=not train)(x))

    with pytest.raises(
        ValueError, match="config.reduce_dtype=bfloat16: a loss or a network .*; use float32"
    ):
        machine("bfloat16", model=PerDevice())


@pytest.mark.slow
@pytest.mark.parametrize(
    "spec", ["v2v", "cpm", "posenet2d", "body", "spherehand", "handnet", "handfinder"]
)
def test_the_systems_can(spec):
    """By shapes alone: JAX sees whether a loss is the same on all devices."""
    given = ["devices=2", "reduce_dtype=bfloat16", "compile_cache=false"]
    config = configs.load(f"{spec}:quick", [f"config.{one}" for one in given])
    run = runs.build(config)
    row = run.source.train_rows(np.array([0]))
    batch = {
        name: jax.ShapeDtypeStruct((config.batch_size, *x.shape[1:]), x.dtype)
        for name, x in row.items()
    }
    _, terms = jax.eval_shape(run.train_step, run.target, batch)
    assert terms["loss"].shape == ()
