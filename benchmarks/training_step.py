"""The compiled training step of a config, as `handjax.train` runs it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from benchmarks.harness import ROOT
from handjax import run
from handjax.engine import config as configs
from handjax.engine import sharding
from handjax.sources import SOURCES, Source


def training_step(
    spec: str, settings: dict[str, object], runs: bool = True
) -> tuple[jax.stages.Compiled, Callable[[], Any], Any]:
    """The compiled step of handjax.train, a function that makes its state, and its first batch.

    With `runs=False` it is compiled without LLVM's optimizations, which take a third of the time
    and do not affect memory.
    """
    settings = {"devices": 1} | settings
    joints = settings.pop("joints", 0)
    config = configs.load(
        str(ROOT / spec), [f"config.{key}={value}" for key, value in settings.items()]
    )
    source = configs.lookup(SOURCES, config, "data.name")(config)
    if joints:
        source = with_joints(source, joints)
    built = run.build(config, source=source)
    batch = sharding.put_batch(source.train_rows(np.arange(config.batch_size)), built.mesh)
    compiled = built.train_step.lower(built.target, batch).compile(
        compiler_options=None if runs else {"xla_backend_optimization_level": 0}
    )
    return compiled, built.init_state, batch


def with_joints(source: Source, count: int) -> Source:
    """The source with `count` joints: its own, repeated as often as needed."""
    old, which = source.skeleton, tuple(i % len(source.skeleton.joints) for i in range(count))
    names = tuple(f"{old.joints[i]}.{n}" for n, i in enumerate(which))
    skeleton = replace(
        old,
        joints=names,
        parents=(-1,) + (0,) * (count - 1),
        groups=tuple(old.groups[i] for i in which),
    )

    def materialize(batch, keys=None):
        made = source.materialize(batch, keys)
        return {**made, "joints_xyz": made["joints_xyz"][:, which]}

    return replace(source, skeleton=skeleton, materialize=materialize)


def gigabytes(compiled: jax.stages.Compiled) -> float:
    """Memory of a compiled program on one device, by XLA's own account."""
    found = compiled.memory_analysis()
    parts = ("argument_size_in_bytes", "output_size_in_bytes", "temp_size_in_bytes")
    return (sum(getattr(found, part) for part in parts) - found.alias_size_in_bytes) / 1e9
