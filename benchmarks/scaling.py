"""Expected efficiency of a training on many GPUs, and what its hosts have to read.

Every GPU has the batch of the measured device, so that n of them train n times as many samples a
step. The time of a step is its FLOPs at --tflops, which is what a GPU reaches and not its peak,
plus all transfers and --latency_us for each collective, with nothing overlapped. Hosts have eight
GPUs. Within a host a ring moves 2 (n - 1) / n times the bytes of an all-reduce at the first of
--links; over h hosts each GPU moves its eighth 2 (h - 1) / h times at the second, GB/s and GPU.
A gather or a scatter is half of an all-reduce.
"""

import argparse
from collections.abc import Mapping
from typing import Any

from benchmarks.tables import print_table

PER_HOST = 8
MANY = (8, 16, 32, 64, 128, 256)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The assumptions, as flags."""
    parser.add_argument(
        "--links",
        type=float,
        nargs=2,
        default=(450.0, 50.0),
        metavar=("WITHIN", "BETWEEN"),
        help="GB/s per GPU in each direction, within a host and between hosts: NVLink 4 and an "
        "InfiniBand port of 400 Gb/s per GPU (default: %(default)s)",
    )
    parser.add_argument("--latency_us", type=float, default=20.0, help="per collective")
    parser.add_argument("--tflops", type=float, default=50.0, help="that a GPU reaches")


def transfer_seconds(
    size: float, gpus: int, links: tuple[float, float], per_host: int = PER_HOST
) -> float:
    """Seconds in which `gpus` all-reduce `size` bytes."""
    within, between = (1e9 * link for link in links)
    local = min(gpus, per_host)
    hosts = -(-gpus // per_host)
    inside = 2 * (local - 1) / local * size / within
    return inside + 2 * (hosts - 1) / hosts * size / local / between


def step_seconds(step: Any, gpus: int, flags: argparse.Namespace) -> float:
    """Seconds of a step on `gpus` devices, nothing overlapped."""
    total = step.flops / (1e12 * flags.tflops)
    for kind, one in step.exchanged.items() if gpus > 1 else ():
        size = one.bytes if kind == "all-reduce" else one.bytes / 2
        total += one.count * flags.latency_us * 1e-6
        total += transfer_seconds(size, gpus, tuple(flags.links))
    return total


def print_tables(steps: Mapping[str, Any], flags: argparse.Namespace) -> None:
    """Efficiency by number of GPUs, and the input that a host of eight GPUs needs."""
    rows, inputs = [], []
    for spec, step in steps.items():
        alone = step_seconds(step, 1, flags)
        shares = [alone / step_seconds(step, n, flags) for n in MANY]
        rows.append(
            [spec, f"{step.batch}", f"{1e3 * alone:.1f}", *(f"{100 * s:.0f} %" for s in shares)]
        )
        samples = PER_HOST * step.batch / step_seconds(step, PER_HOST, flags)
        rate = samples * step.sample_bytes / 1e6
        inputs.append([spec, f"{samples:,.0f}", f"{step.sample_bytes / 1e3:.1f}", f"{rate:,.1f}"])
    title = (
        f"Expected efficiency at {flags.tflops:g} TFLOP/s, {flags.links[0]:g} GB/s within and "
        f"{flags.links[1]:g} GB/s between hosts of {PER_HOST}, {flags.latency_us:g} µs a collective"
    )
    head = ["config", "samples per GPU", "ms alone", *(f"on {n}" for n in MANY)]
    print_table(title, head, rows)
    head = ["config", "samples/s per host", "kB per sample", "MB/s per host"]
    print_table("What a host of 8 has to read", head, inputs)
