"""What the devices of a training exchange in a step, from the compiled program, and what it costs.

    python benchmarks/collectives.py                      # every config, on 1, 2, 4, 8 devices
    python benchmarks/collectives.py v2v --devices 8 --config.shard_optimizer=true
    python benchmarks/collectives.py --devices 8 --config.reduce_dtype=bfloat16

The devices are simulated; the partitioner exchanges the same between any. XLA's compiler for CPUs
widens bfloat16, so with it the program is read before it is compiled, where the sums already are.

Efficiency is expected, not measured: `benchmarks/scaling.py` says by what rule, and --links
and --tflops are its assumptions.
"""

import argparse
import os
import re
import sys
from collections.abc import Iterable, Sequence
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

SYSTEMS = (
    *("v2v", "cpm", "posenet2d"),
    *(f"body:{head}" for head in ("direct", "integral", "kinematic")),
    *("spherehand", "spherehand:selfsup", "handnet", "handfinder"),
)
KINDS = "all-reduce|all-gather|all-to-all|collective-permute|collective-broadcast|reduce-scatter"
SIZES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4, "f64": 8}
SIZES |= {"i1": 1, "i32": 4, "ui32": 4}  # as they are called before compiling


class Exchanged(NamedTuple):
    """A kind of collective in a step: how many there are, and the bytes of their results."""

    count: int
    bytes: int


class Step(NamedTuple):
    """A training step on some devices: what it exchanges, and what it computes."""

    exchanged: dict[str, Exchanged]
    parameter_bytes: int
    optimizer_bytes: int  # on one device
    batch: int  # samples that the config has in a step
    flops: float  # of that batch


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
    for devices in sorted(flags.devices):
        for spec in flags.configs:
            try:
                steps[spec] = measured(spec, devices, overrides)
            except ValueError as error:
                log(f"{spec}: {error}")
                continue
            rows.append(row(spec, devices, steps[spec]))
            log(" | ".join(rows[-1]))
    rows.sort(key=lambda one: (list(flags.configs).index(one[0]), int(one[1])))
    head = ["config", "devices", "collectives", "MB a step", "MB of parameters", "ratio"]
    print_table("Collectives of a training step", [*head, "MB of optimizer"], rows)
    if not any("reduce_dtype" in override for override in overrides):  # sums are not yet joined
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
    """The training step of a config, for that many devices. Each has at least a sample: a smaller
    batch is enlarged. ValueError where a config refuses an override."""
    config, batch = sized(spec, devices, overrides), configs.load(spec, overrides).batch_size
    with library.reference_implementations():  # XLA sees nothing inside our kernels
        run, lowered = lower(config)
    if config.reduce_dtype == "float32":
        options = {"xla_backend_optimization_level": 0}  # collectives are chosen earlier
        sums = exchanged(lowered.compile(compiler_options=options).as_text())
    else:
        sums = summed(lowered.as_text())
    flops = (lowered.cost_analysis() or {}).get("flops", 0.0)
    return Step(
        sums,
        sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(run.target.params)),
        sum(map(bytes_on_one, jax.tree.leaves(run.target.opt_state))),
        batch,
        flops / config.batch_size * batch,
    )


def sized(spec: str, devices: int, overrides: Sequence[str] = ()) -> Any:
    """A config for that many devices, whose batches they divide."""
    fixed = [*overrides, f"config.devices={devices}", "config.compile_cache=false"]
    config = configs.load(spec, fixed)
    unit = devices * config.accumulate
    sizes = -(-config.batch_size // unit) * unit, -(-config.eval_batch_size // devices) * devices
    fixed += [f"config.batch_size={sizes[0]}", f"config.eval_batch_size={sizes[1]}"]
    return configs.load(spec, fixed)


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
    text = re.sub(r"/\*.*?\*/", "", text)  # the numbers of a long tuple's elements
    found = re.findall(rf"= (\(?[^=]*?) ({KINDS})(?:-start)?\(", text)
    return added((kind, re.findall(r"(\w+)\[([\d,]*)\]", result)) for result, kind in found)


def summed(text: str) -> dict[str, Exchanged]:
    """The same of the sums in a program before it is compiled."""
    found = []
    for part in text.split('"stablehlo.all_reduce"(')[1:]:
        result = re.search(r"\}\) : \(.*?\) -> (.*)", part)[1]
        arrays = re.findall(r"tensor<((?:\d+x)*)(\w+)>", result)
        found.append(("all-reduce", [(name, shape.replace("x", ",")) for shape, name in arrays]))
    return added(found)


def added(found: Iterable[tuple[str, list[tuple[str, str]]]]) -> dict[str, Exchanged]:
    """(kind, the dtype and shape of each result) of all collectives → what each kind moves."""
    total: dict[str, Exchanged] = {}
    for kind, results in found:
        size = sum(
            SIZES[dtype] * int(np.prod([int(n) for n in shape.split(",") if n]))
            for dtype, shape in results
        )
        before = total.get(kind, Exchanged(0, 0))
        total[kind] = Exchanged(before.count + 1, before.bytes + size)
    return total


if __name__ == "__main__":
    main(sys.argv[1:])
