"""Expected efficiency of a training on many GPUs, and what its hosts have to read.

Every GPU has the whole batch of the config, so that n of them train n times as many samples a
step; what the collectives move does not depend on it. The time of a step is its FLOPs at --tflops,
which is what a GPU reaches and not its peak, plus all transfers and a latency for each collective,
with nothing overlapped. Hosts have eight GPUs. Within a host a ring moves 2 (n - 1) / n times the
bytes of an all-reduce at the first speed of --links; over h hosts each GPU moves its eighth
2 (h - 1) / h times at the second, GB/s and GPU. A gather or a scatter is half of an all-reduce.
"""

import argparse
from collections.abc import Mapping
from typing import Any

from benchmarks.tables import print_table

PER_HOST = 8
MANY = (8, 16, 32, 64, 128, 256)
# NVLink 4 within a host; between hosts an InfiniBand port of 400 Gb/s for each GPU, or Ethernet of
# 25 Gb/s for the host.
LINKS = ((450.0, 50.0, 20.0), (450.0, 25 / 8 / PER_HOST, 50.0))
# Milliseconds of a core to read a sample of the slowest of a system's sets: benchmarks/reading.py.
READ_MS = {"v2v": 4.1, "cpm": 3.9, "posenet2d": 4.5, "body": 5.3}


def add_options(parser: argparse.ArgumentParser) -> None:
    """The assumptions, as flags."""
    parser.add_argument(
        "--links",
        type=float,
        nargs=3,
        action="append",
        metavar=("WITHIN", "BETWEEN", "LATENCY"),
        help="GB/s per GPU in each direction within a host and between hosts, and µs per "
        f"collective; may be repeated (default: {LINKS})",
    )
    parser.add_argument("--tflops", type=float, default=50.0, help="that a GPU reaches")


def transfer_seconds(
    size: float, gpus: int, within: float, between: float, per_host: int = PER_HOST
) -> float:
    """Seconds in which `gpus` all-reduce `size` bytes over links of these GB/s."""
    local = min(gpus, per_host)
    hosts = -(-gpus // per_host)
    inside = 2 * (local - 1) / local * size / (1e9 * within)
    return inside + 2 * (hosts - 1) / hosts * size / local / (1e9 * between)


def step_seconds(step: Any, gpus: int, links: tuple[float, float, float], tflops: float) -> float:
    """Seconds of a step on `gpus` devices, nothing overlapped."""
    within, between, latency_us = links
    total = step.flops / (1e12 * tflops)
    for kind, one in step.exchanged.items() if gpus > 1 else ():
        size = one.bytes if kind == "all-reduce" else one.bytes / 2
        total += one.count * latency_us * 1e-6
        total += transfer_seconds(size, gpus, within, between)
    return total


def print_tables(steps: Mapping[str, Any], flags: argparse.Namespace) -> None:
    """Efficiency by number of GPUs, and the input that a host of eight GPUs needs.

    `steps` are those of several devices: one exchanges nothing.
    """
    all_links = tuple(map(tuple, flags.links or LINKS))
    for links in all_links:
        rows = []
        for spec, step in steps.items():
            alone = step_seconds(step, 1, links, flags.tflops)
            shares = [alone / step_seconds(step, n, links, flags.tflops) for n in MANY]
            percent = (f"{100 * share:.0f} %" for share in shares)
            rows.append([spec, f"{step.batch}", f"{1e3 * alone:.1f}", *percent])
        title = (
            f"Expected efficiency at {flags.tflops:g} TFLOP/s, {links[0]:g} GB/s within and "
            f"{links[1]:.2g} GB/s between hosts of {PER_HOST}, {links[2]:g} µs a collective"
        )
        head = ["config", "samples per GPU", "ms alone", *(f"on {n}" for n in MANY)]
        print_table(title, head, rows)
    rows = []
    for spec, step in steps.items():
        seconds = step_seconds(step, PER_HOST, all_links[0], flags.tflops)
        rate = PER_HOST * step.batch / seconds
        milliseconds = READ_MS.get(spec.partition(":")[0])
        cores = "–" if milliseconds is None else f"{rate * milliseconds / 1e3:.1f}"
        rows.append([spec, f"{rate:,.0f}", cores])
    head = ["config", "samples/s per host", "cores that read them"]
    print_table(f"What a host of {PER_HOST} has to read", head, rows)
