"""Time and memory of a training step against its sizes."""

import argparse
import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from benchmarks.tables import cell, log, print_table
from benchmarks.training_step import gigabytes, training_step


@dataclass(frozen=True)
class Series:
    """A training step against a size: `vary` gives the config's values at each size.

    `joints` is not a key of the config: see `with_joints`.
    """

    system: str
    against: str
    sizes: tuple[int, ...]
    tiny: tuple[int, ...]
    vary: Callable[[int], dict[str, int]]
    expected: str  # exponents of time and memory, and the reason


def cube(n: int) -> dict[str, int]:
    """The config's values for a grid of n³ voxels."""
    return {"task.grid": n, "task.heatmap_grid": n // 2, "data.image_size": 2 * n}


WARM = 3  # steps of each size that are not timed
# The sizes that are kept fixed, and their values in tiny runs.
BASE = {
    "v2v": {"batch_size": 1, "devices": 1, "joints": 21, **cube(88)},
    "posenet2d": {"batch_size": 1, "crop.size": 256},
}
TINY = {
    "v2v": {"batch_size": 2, "devices": 1, "joints": 21, **cube(16)},
    "posenet2d": {"batch_size": 2, "crop.size": 32},
}
GROWTH = (
    Series("v2v", "batch", (1, 2, 4), (1, 2), lambda n: {"batch_size": n}, "1, 1"),
    Series("v2v", "grid", (48, 64, 88, 112), (16, 24), cube, "3, 3: volume; the state stays"),
    Series(
        "v2v",
        "joints",
        (14, 21, 42),
        (14, 21),
        lambda n: {"joints": n},
        "below 1: only the last layer and the maps",
    ),
    Series(
        "posenet2d",
        "image side",
        (128, 192, 256, 368),
        (32, 48),
        lambda n: {"crop.size": n},
        "2, 2: area; the state stays",
    ),
    Series(
        "v2v",
        "devices",
        (1, 2),
        (1, 2),
        lambda n: {"devices": n, "batch_size": 2},
        "0, −1: the same cores; GB per device",
    ),
)


def growth(options: argparse.Namespace) -> list[dict]:
    """Measure all series and fit their exponents."""
    found = []
    for series in GROWTH:
        spec = f"configs/{series.system}.py" + (":quick" if options.tiny else "")
        sizes, base, turns = (
            (series.tiny, TINY, 1) if options.tiny else (series.sizes, BASE, options.turns)
        )
        steps = []
        for n in sizes:
            log(f"growth: {spec}, {series.against} {n}")
            steps.append(
                built_step(spec, tuple(sorted({**base[series.system], **series.vary(n)}.items())))
            )
        seconds, gb = step_seconds(steps, turns), [gigabytes(compiled) for compiled, _, _ in steps]
        row = {
            "system": series.system,
            "against": series.against,
            "sizes": sizes,
            "seconds": seconds,
            "gigabytes": gb,
        }
        row |= {"time_exponent": exponent(sizes, seconds), "memory_exponent": exponent(sizes, gb)}
        found.append(row | {"expected": series.expected})
    columns = [
        "",
        "against",
        "sizes",
        "seconds per step",
        "GB",
        "exponent of time",
        "of memory",
        "expected",
    ]
    rows = [[cell(value) for value in row.values()] for row in found]
    print_table(
        "Growth of a training step; exponents are slopes of lines fitted to the logarithms",
        columns,
        rows,
    )
    return found


@functools.cache
def built_step(spec: str, settings: tuple[tuple[str, int], ...]) -> Any:
    """`training_step`, cached: some series share a size."""
    return training_step(spec, dict(settings))


def step_seconds(steps: Sequence, turns: int) -> list[float]:
    """Median seconds of each training step, interleaved because the machine's speed drifts.

    The first WARM steps are not timed: until the heap has grown, every step touches new memory, and
    the more of it the larger the step.
    """
    states, times = [make_state() for _, make_state, _ in steps], []
    for _ in range(WARM + turns):
        times.append([])
        for i, (compiled, _, batch) in enumerate(steps):
            start = time.perf_counter()
            states[i], _ = jax.block_until_ready(compiled(states[i], batch))
            times[-1].append(time.perf_counter() - start)
    return np.median(times[WARM:], axis=0).tolist()


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """p of the least-squares line log value = p log size + c."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])
