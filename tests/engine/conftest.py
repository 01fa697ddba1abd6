"""A task and a source so small that a step compiles in a second."""

import resource

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.pose import losses
from handjax.pose.skeleton import Skeleton
from handjax.sources import Source
from handjax.tasks.base import Task

FEATURES = 6


class Net(nn.Module):
    norm: bool

    @nn.compact
    def __call__(self, x, train: bool = False):
        x = nn.Dense(8)(x)
        if self.norm:
            x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)
        return nn.Dense(3)(nn.tanh(x))


def _prepare(keys, batch, train):
    x = batch["x"]
    if train:
        x = x + 0.1 * jax.vmap(lambda key: jax.random.normal(key, (FEATURES,)))(keys)
    return {"x": x, "y": batch["joints_xyz"], "mask": batch["mask"]}


def _loss(outputs, inputs):
    value = losses.masked_mean(losses.squared_error(outputs[:, None], inputs["y"]), inputs["mask"])
    return value, {"square": value}


def _never(*_):
    raise AssertionError("not used by the steps")


@pytest.fixture(scope="session")
def tiny_task():
    """tiny_task(norm) → a Task of one joint."""

    def make(norm: bool = False) -> Task:
        return Task(
            title="tiny",
            kind="joints3d",
            model=Net(norm),
            prepare=_prepare,
            loss=_loss,
            predict=lambda outputs, inputs: {
                "joints_xyz": outputs[:, None],
                "confidence": outputs[:, :1],
            },
            ground_truth=lambda batch: {"joints_xyz": batch["joints_xyz"]},
            postprocess=lambda rows: rows,
            score=_never,
            visualize=_never,
            dummy_inputs=lambda samples: {"x": jnp.zeros((samples, FEATURES))},
        )

    return make


@pytest.fixture(scope="session")
def tiny_source():
    """tiny_source(size, seen) → a Source of `size` samples; numbers that are read go to `seen`."""

    def make(size: int, seen: list | None = None) -> Source:
        def rows(indices):
            if seen is not None:
                seen.append(indices.copy())
            x = np.stack([np.random.default_rng(i).normal(size=FEATURES) for i in indices]).astype(
                np.float32
            )
            return {
                "x": x,
                "joints_xyz": np.stack([x[:, :3] * x[:, 3:]], 1),
                "mask": np.ones(len(indices), bool),
                "index": indices.astype(np.int32),
            }

        return Source(
            skeleton=Skeleton("one", ("joint",), (-1,), ("palm",)),
            train_size=size,
            eval_size=size,
            train_rows=rows,
            eval_rows=rows,
            materialize=lambda batch, keys=None: batch,
            names=lambda indices: [str(i) for i in indices],
            description="tiny",
        )

    return make


@pytest.fixture
def full_disk():
    """full_disk(size): from now on no file can have more than `size` bytes. What libraries meet is
    what they meet on a full disk: a write that fails, in whatever thread."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
