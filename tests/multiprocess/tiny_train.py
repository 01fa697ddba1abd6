"""handjax train of a network so small that a step takes a millisecond and a start some seconds.

    python scripts/launch.py local -n 2 --module tests.multiprocess.tiny_train -- --config …

The config is `tiny_config.py` beside this file. The report is the metrics alone.
"""

import functools
import json
import os
import time

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from handjax import run as runs
from handjax import train
from handjax.engine import cli
from handjax.engine.files import write_atomic
from handjax.pose import losses
from handjax.pose.skeleton import Skeleton
from handjax.sources import SOURCES, Source
from handjax.tasks import TASKS
from handjax.tasks.base import Task

FEATURES, SAMPLES = 6, 40
SKELETON = Skeleton("one", ("joint",), (-1,), ("palm",))


class Net(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x, train: bool = False):
        x = nn.Dense(self.width)(x)
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)
        return nn.Dense(3)(nn.tanh(x))


def source(config, train=True):
    data = config.data

    def rows(indices, bad, bad_label=-1):
        time.sleep(data.pause)
        x = np.stack([np.random.default_rng(int(i)).normal(size=FEATURES) for i in indices])
        x = np.where((indices == bad)[:, None], np.nan, x).astype(np.float32)
        y = np.where((indices == bad_label)[:, None], np.float32(np.nan), x[:, :3] * x[:, 3:])
        return {
            "center_xyz": x[:, :3],
            "cube_mm": x[:, 3:],
            "joints_xyz": y[:, None],
            "mask": np.ones(len(indices), bool),
            "index": indices.astype(np.int32),
        }

    return Source(
        skeleton=SKELETON,
        train_size=SAMPLES,
        eval_size=11,
        train_rows=lambda indices: rows(indices, data.bad, data.bad_label),
        eval_rows=lambda indices: rows(indices, data.bad_eval),
        materialize=lambda batch, keys=None: batch,
        names=lambda indices: [f"frame_{i}" for i in indices],
        description="tiny",
    )


def prepare(keys, batch, train):
    noise = jax.vmap(lambda key: jax.random.normal(key, (FEATURES,)))(keys)
    x = jnp.concatenate([batch["center_xyz"], batch["cube_mm"]], 1)
    return {
        "x": x + 0.1 * train * noise,
        "y": batch["joints_xyz"],
        "mask": batch["mask"],
    }


def loss(outputs, inputs):
    value = losses.masked_mean(losses.squared_error(outputs[:, None], inputs["y"]), inputs["mask"])
    return value, {"square": value}


def score(rows):
    error = np.linalg.norm(rows["joints_xyz"] - rows["true_joints_xyz"], axis=-1)
    return {"mpjpe_mm": float(error.mean())}


def task(config, skeleton):
    return Task(
        title="tiny",
        kind="joints3d",
        model=Net(config.model.width),
        prepare=prepare,
        loss=loss,
        predict=lambda outputs, inputs: {"joints_xyz": outputs[:, None]},
        ground_truth=lambda batch: {"joints_xyz": batch["joints_xyz"]},
        postprocess=lambda rows: rows,
        score=score,
        visualize=lambda inputs: (inputs["x"], inputs["x"]),
        dummy_inputs=lambda samples: {"x": jnp.zeros((samples, FEATURES))},
    )


def report(workdir, task, source, rows, *_):
    write_atomic(workdir / "metrics.json", json.dumps(task.score(rows)))


_train_step = runs.Run.train_step.func


class BadRun(runs.Run):
    """A run whose weights are not finite from the beginning of a step."""

    @functools.cached_property
    def train_step(self):
        step, bad = _train_step(self), self.config.data.bad_weights

        def spoilt(state, batch):
            factor = jnp.where(state.step + 1 == bad, jnp.nan, 1.0).astype(jnp.float32)
            params = jax.tree.map(lambda p: p * factor, state.params)
            return step(state.replace(params=params), batch)

        return step if bad < 0 else jax.jit(spoilt, donate_argnums=0)


def main(argv):
    runs.Run = BadRun
    SOURCES["tiny"], TASKS["tiny"], train.report_run = source, task, report
    print("pid", os.getpid(), flush=True)
    train.main(argv)


if __name__ == "__main__":
    cli.run(main)
