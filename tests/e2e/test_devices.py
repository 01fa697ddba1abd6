"""V2V-PoseNet on one device and on eight: the same losses, and no collective but all-reduce."""

import re
from functools import partial

import jax
import numpy as np
import pytest

from handjax.engine import cli, feed, sharding
from handjax.engine import config as configs
from handjax.engine.optimizer import make_optimizer
from handjax.engine.step import create_state, state_target, train_step
from handjax.sources import SOURCES
from handjax.tasks import TASKS

pytestmark = pytest.mark.slow

COLLECTIVES = "all-reduce|all-gather|all-to-all|collective-permute|collective-broadcast"
COLLECTIVES += "|reduce-scatter|ragged-all-to-all"
STEPS = 3


@pytest.fixture
def machine(tiny):
    """machine(source, devices, accumulate) → a fresh state, the compiled step, batches.

    Source "skin": synthetic hands drawn by the rasterizer.
    """
    fresh = {}

    def make(source, devices, accumulate):
        # SGD: RMSprop and Adam amplify the rounding of gradients that are zero, such as that of a
        # bias before batch normalization.
        more = (
            f"--config.accumulate={accumulate}",
            "--config.batch_size=16",
            "--config.optimizer.name=sgd",
        )
        if source == "skin":
            more += (
                "--config.data.surface=skin",
                "--config.data.pose.left=0.5",
                "--config.data.pose.fingers=(0.9,1.1)",
            )
        argv, overrides = cli.split_overrides(
            tiny("unused", *more, source="h5" if source == "h5" else "world")
        )
        config = configs.load(argv[1], overrides)
        mesh = sharding.make_mesh(devices)
        data = SOURCES[config.data.name](config)
        task = TASKS[config.task.name](config, data.skeleton)
        optimizer = make_optimizer(config.optimizer, config.steps)
        key = jax.random.key(config.seed)
        target = state_target(task, optimizer, mesh)
        step = partial(
            train_step,
            key=key,
            task=task,
            optimizer=optimizer,
            materialize=data.materialize,
            accumulate=accumulate,
        )
        places = jax.tree.map(lambda t: t.sharding, target), sharding.replicated(mesh)
        batches = list(feed.train_batches(data, mesh, config.batch_size, config.seed, 0, STEPS))
        lowered = jax.jit(step, donate_argnums=0, out_shardings=places).lower(target, batches[0])
        # Compiles in half the time; collectives are chosen earlier.
        compiled = lowered.compile(compiler_options={"xla_backend_optimization_level": 0})
        if source not in fresh:
            fresh[source] = jax.device_get(create_state(key, task, optimizer, target))
        return jax.device_put(fresh[source], places[0]), compiled, batches

    return make


@pytest.mark.parametrize(("source", "accumulate"), [("h5", 1), ("skin", 2)])
def test_one_and_eight_devices_agree_by_all_reduce_alone(machine, source, accumulate):
    """For gradients and batch normalization; neither samples nor keys are exchanged."""
    ends, curves = [], []
    for devices in (1, 8):
        state, step, batches = machine(source, devices, accumulate)
        losses = []
        for batch in batches:
            state, parts = step(state, batch)
            losses.append(float(parts["loss"]))
        ends.append(jax.device_get((state.params, state.model_state)))
        curves.append(losses)
    # `step` is that of eight devices.
    assert set(re.findall(rf"= \S.*? ({COLLECTIVES})(?:-start)?\(", step.as_text())) == {
        "all-reduce"
    }
    np.testing.assert_allclose(*curves, rtol=0, atol=1e-5)
    assert abs(curves[0][-1] - curves[0][0]) > 1e-3
    jax.tree.map(partial(np.testing.assert_allclose, rtol=0, atol=1e-5), *ends)
