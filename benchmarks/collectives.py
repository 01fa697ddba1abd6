"""Bytes that the devices of a training exchange in a step, from the compiled program.

    python benchmarks/collectives.py                      # the systems, on 1, 2, 4, 8 devices
    python benchmarks/collectives.py v2v:quick --devices 8

The devices are simulated; what the partitioner exchanges is the same for any. The last columns are
the part of a step that is not spent waiting, if nothing overlaps, on n devices at --gb_per_s
between them and --step_ms of computing: a ring moves 2 (n - 1) / n times the bytes.
"""

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")

import jax  # noqa: E402
import numpy as np  # noqa: E402

from benchmarks.tables import print_table  # noqa: E402
from handjax import run as runs  # noqa: E402
from handjax.engine import config as configs  # noqa: E402
from handjax.engine import sharding  # noqa: E402

SYSTEMS = ("v2v:quick", "cpm:quick", "posenet2d:quick", "body:quick", "spherehand:quick")
KINDS = "all-reduce|all-gather|all-to-all|collective-permute|collective-broadcast|reduce-scatter"
SIZES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4, "f64": 8}
MANY = (8, 32, 256)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("configs", nargs="*", default=SYSTEMS, metavar="CONFIG")
    parser.add_argument("--devices", type=int, nargs="+", default=(1, 2, 4, 8))
    parser.add_argument("--gb_per_s", type=float, default=25.0, help="of a device's link")
    parser.add_argument("--step_ms", type=float, default=100.0, help="of computing")
    flags = parser.parse_args(argv)
    rows = []
    for spec in flags.configs:
        for devices in flags.devices:
            rows.append(row(spec, devices, flags.gb_per_s, flags.step_ms))
            print(f"{spec} on {devices}", file=sys.stderr, flush=True)
    head = ["config", "devices", "collectives", "MB a step", "MB of parameters", "ratio"]
    title = "Bytes of collectives in a training step"
    print_table(title, [*head, *(f"on {n}" for n in MANY)], rows)


def row(spec: str, devices: int, gb_per_s: float, step_ms: float) -> list[str]:
    """A row of the table."""
    text, parameters = program(spec, devices)
    found = exchanged(text)
    total = sum(found.values())
    parts = ", ".join(f"{kind} {size / 1e6:.2f} MB" for kind, size in sorted(found.items()))
    shares = [efficiency(total, n, gb_per_s, step_ms) for n in MANY] if total else [1.0] * len(MANY)
    return [
        spec,
        str(devices),
        parts or "none",
        f"{total / 1e6:.2f}",
        f"{parameters / 1e6:.2f}",
        f"{total / parameters:.3f}",
        *(f"{100 * share:.1f} %" for share in shares),
    ]


def program(spec: str, devices: int) -> tuple[str, int]:
    """The compiled text of a config's training step, and the bytes of its parameters."""
    config = configs.load(spec, [f"config.devices={devices}", "config.compile_cache=false"])
    run = runs.build(config)
    place = sharding.batch_sharded(run.mesh)
    batch = {
        name: jax.ShapeDtypeStruct((config.batch_size, *x.shape[1:]), x.dtype, sharding=place)
        for name, x in run.source.train_rows(np.array([0])).items()
    }
    options = {"xla_backend_optimization_level": 0}  # collectives are chosen earlier
    compiled = run.train_step.lower(run.target, batch).compile(compiler_options=options)
    leaves = jax.tree.leaves(run.target.params)
    return compiled.as_text(), sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)


def exchanged(text: str) -> dict[str, int]:
    """Kind of collective → bytes of its results, of a compiled program."""
    found: dict[str, int] = {}
    for result, kind in re.findall(rf"= (\(?[^=]*?) ({KINDS})(?:-start)?\(", text):
        found[kind] = found.get(kind, 0) + sum(
            SIZES[dtype] * int(np.prod([int(n) for n in shape.split(",") if n]))
            for dtype, shape in re.findall(r"(\w+)\[([\d,]*)\]", result)
        )
    return found


def efficiency(exchanged: int, devices: int, gb_per_s: float, step_ms: float) -> float:
    """Share of a step that computes, if nothing overlaps with a ring's transfers."""
    moved = 2 * (devices - 1) / devices * exchanged
    return step_ms / (step_ms + 1e3 * moved / (gb_per_s * 1e9))


if __name__ == "__main__":
    main()
