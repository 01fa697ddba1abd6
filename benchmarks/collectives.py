"""What the devices of a training exchange in a step, from the compiled program, and what it costs.

    python benchmarks/collectives.py                      # the systems, on 1, 2, 4, 8 devices
    python benchmarks/collectives.py v2v --devices 8 --config.shard_optimizer=true

The devices are simulated; the partitioner exchanges the same between any. Efficiency is expected,
not measured: `benchmarks/scaling.py` says by what rule, and --links, --latency_us and --tflops are
its assumptions.
"""

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")

import jax  # noqa: E402
import numpy as np  # noqa: E402

from benchmarks import scaling  # noqa: E402
from benchmarks.tables import log, print_table  # noqa: E402
from handjax import run as runs  # noqa: E402
from handjax.engine import cli, sharding  # noqa: E402
from handjax.engine import config as configs  # noqa: E402
from handjax.ops import library  # noqa: E402

SYSTEMS = ("v2v", "cpm", "posenet2d", "body", "spherehand", "handnet", "handfinder")
KINDS = "all-reduce|all-gather|all-to-all|collective-permute|collective-broadcast|reduce-scatter"
SIZES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4, "f64": 8}


class Exchanged(NamedTuple):
    """A kind of collective in a step: how many there are, and the bytes of their results."""

    count: int
    bytes: int


class Step(NamedTuple):
    """A training step on some devices: what it exchanges, and what one device computes."""

    exchanged: dict[str, Exchanged]
    parameter_bytes: int
    optimizer_bytes: int  # on one device
    batch: int  # samples of one device
    sample_bytes: int  # of one sample, from host to device
    flops: float  # of one device


def main(argv: Sequence[str]) -> None:
    argv, overrides = cli.split_overrides(argv)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("configs", nargs="*", default=SYSTEMS, metavar="CONFIG")
    parser.add_argument("--devices", type=int, nargs="+", default=(1, 2, 4, 8))
    scaling.add_options(parser)
    flags = parser.parse_args(argv)
    rows, steps = [], {}
    for devices in flags.devices:
        for spec in flags.configs:
            steps[spec] = measured(spec, devices, overrides)
            rows.append(row(spec, devices, steps[spec]))
            log(" | ".join(rows[-1]))
    rows.sort(key=lambda one: (list(flags.configs).index(one[0]), int(one[1])))
    head = ["config", "devices", "collectives", "MB a step", "MB of parameters", "ratio"]
    print_table("Collectives of a training step", [*head, "MB of optimizer"], rows)
    scaling.print_tables(steps, flags)


def row(spec: str, devices: int, step: Step) -> list[str]:
    """A row of the table."""
    parts = [
        f"{one.count} {kind} {one.bytes / 1e6:.2f} MB"
        for kind, one in sorted(step.exchanged.items())
    ]
    total = sum(one.bytes for one in step.exchanged.values())
    return [
        spec,
        str(devices),
        ", ".join(parts) or "none",
        f"{total / 1e6:.2f}",
        f"{step.parameter_bytes / 1e6:.2f}",
        f"{total / step.parameter_bytes:.3f}",
        f"{step.optimizer_bytes / 1e6:.2f}",
    ]


def measured(spec: str, devices: int, overrides: Sequence[str] = ()) -> Step:
    """The training step of a config, compiled for that many devices. Each has at least a sample: a
    smaller batch is enlarged."""
    fixed = [f"config.devices={devices}", "config.compile_cache=false"]
    config = configs.load(spec, [*overrides, *fixed])
    if config.batch_size % (devices * config.accumulate):
        unit = devices * config.accumulate
        size = -(-config.batch_size // unit) * unit
        config = configs.load(spec, [*overrides, *fixed, f"config.batch_size={size}"])
    eval_size = -(-config.eval_batch_size // devices) * devices
    sizes = [f"config.batch_size={config.batch_size}", f"config.eval_batch_size={eval_size}"]
    run, lowered = lower(configs.load(spec, [*overrides, *fixed, *sizes]))
    options = {"xla_backend_optimization_level": 0}  # collectives are chosen earlier
    text = lowered.compile(compiler_options=options).as_text()
    sample = run.source.train_rows(np.array([0]))
    with library.reference_implementations():  # XLA counts nothing inside our kernels
        _, alone = lower(configs.load(spec, [*overrides, *fixed, *sizes, "config.devices=1"]))
    return Step(
        exchanged(text),
        sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(run.target.params)),
        sum(map(bytes_on_one, jax.tree.leaves(run.target.opt_state))),
        config.batch_size // devices,
        sum(x.nbytes for x in sample.values()),
        (alone.cost_analysis() or {}).get("flops", 0.0) / devices,
    )


def lower(config: Any) -> tuple[runs.Run, jax.stages.Lowered]:
    """The run of a config, and its training step before it is compiled."""
    run = runs.build(config)
    place = sharding.batch_sharded(run.mesh)
    batch = {
        name: jax.ShapeDtypeStruct((config.batch_size, *x.shape[1:]), x.dtype, sharding=place)
        for name, x in run.source.train_rows(np.array([0])).items()
    }
    return run, run.train_step.lower(run.target, batch)


def bytes_on_one(leaf: jax.ShapeDtypeStruct) -> int:
    """Bytes of an array on one of its devices."""
    shape = leaf.sharding.shard_shape(leaf.shape)
    return int(np.prod(shape)) * leaf.dtype.itemsize


def exchanged(text: str) -> dict[str, Exchanged]:
    """Kind of collective → how many a compiled program has, and the bytes of their results."""
    found: dict[str, Exchanged] = {}
    text = re.sub(r"/\*.*?\*/", "", text)  # the numbers of a long tuple's elements
    for result, kind in re.findall(rf"= (\(?[^=]*?) ({KINDS})(?:-start)?\(", text):
        size = sum(
            SIZES[dtype] * int(np.prod([int(n) for n in shape.split(",") if n]))
            for dtype, shape in re.findall(r"(\w+)\[([\d,]*)\]", result)
        )
        before = found.get(kind, Exchanged(0, 0))
        found[kind] = Exchanged(before.count + 1, before.bytes + size)
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
