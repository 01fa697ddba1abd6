"""Shared by all benchmarks: cases, interleaved measurements, tables, and the machine's speed."""

import argparse
import contextlib
import functools
import json
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from handjax.ops import library

ROOT = Path(__file__).resolve().parent.parent
TURN_SECONDS = 0.02  # quicker candidates are called several times per turn
# Calls before the first turn: retained memory grows in the first calls, and each new page of it
# costs microseconds.
WARM_UP = 3


@dataclass(frozen=True)
class Effort:
    """How much to measure: seconds per case and the minimum number of turns.

    `tiny` scenes only show that everything runs. With `strongest` networks meet the fastest peers
    as well, one of which compiles for minutes.
    """

    seconds: float
    turns: int
    tiny: bool
    strongest: bool = False
    samples: int = 0  # per batch; 0: each network's own number

    def batch(self, n: int) -> int:
        return min(n, 2) if self.tiny else n

    def size(self, pixels: int) -> int:
        return pixels // 8 if self.tiny else pixels


@dataclass
class Case:
    """Candidates that do the same work, of `pieces` pieces called `unit`.

    A string instead of a function says why a candidate was not measured. `notes` makes lines for
    the table from the medians.
    """

    title: str
    pieces: int
    unit: str
    runs: dict[str, Callable[[], object] | str]
    notes: Callable[[dict[str, float]], list[str]] = lambda seconds: []


@dataclass
class Row:
    """Measurements of one candidate: median and quartiles in seconds, or why they are missing."""

    name: str
    missing: str | None = None
    seconds: float | None = None
    low: float | None = None
    high: float | None = None
    turns: int = 0
    ratio: float | None = None


@dataclass
class Result:
    """Measurements of one case."""

    system: str
    title: str
    pieces: int
    unit: str
    rows: list[Row]
    notes: list[str] = field(default_factory=list)


@contextlib.contextmanager
def idle_threads_rest() -> Iterator[None]:
    """Processes that are started within the block have idle OpenMP threads that do not spin: they
    would slow down whoever comes next."""
    kept = dict(os.environ)
    os.environ.update(OMP_WAIT_POLICY="passive", KMP_BLOCKTIME="0")
    try:
        yield
    finally:
        for name in ("OMP_WAIT_POLICY", "KMP_BLOCKTIME"):
            os.environ.pop(name)
            if name in kept:
                os.environ[name] = kept[name]


def seconds_of(run: Callable[[], object], calls: int = 1) -> float:
    """Seconds per call of `run`, until its results are ready."""
    start = time.perf_counter()
    for _ in range(calls):
        jax.block_until_ready(run())
    return (time.perf_counter() - start) / calls


def measure(system: str, case: Case, effort: Effort) -> Result:
    """Measure all candidates of a case in turns, A B C A B C …, after warming up."""
    runs = {name: run for name, run in case.runs.items() if callable(run)}
    for run in runs.values():
        for _ in range(1 if effort.tiny else WARM_UP):
            seconds_of(run)
    warm = {name: seconds_of(run) for name, run in runs.items()}
    calls = {name: 1 if effort.tiny else max(1, int(TURN_SECONDS / warm[name])) for name in runs}
    turns = int(effort.seconds / sum(warm[name] * calls[name] for name in runs))
    times = {name: [] for name in runs}
    for _ in range(max(effort.turns, min(turns, 100))):
        for name, run in runs.items():
            times[name].append(seconds_of(run, calls[name]))
    rows = []
    for name in case.runs:
        if name not in runs:
            rows.append(Row(name, missing=case.runs[name]))
            continue
        low, middle, high = np.quantile(times[name], [0.25, 0.5, 0.75])
        ratio = statistics.median(np.divide(times[name], next(iter(times.values()))))
        rows.append(
            Row(name, None, float(middle), float(low), float(high), len(times[name]), float(ratio))
        )
    return Result(
        system,
        case.title,
        case.pieces,
        case.unit,
        rows,
        case.notes({r.name: r.seconds for r in rows if r.seconds}),
    )


def table(result: Result) -> str:
    """The result as text: milliseconds, quartiles, µs per piece, and the ratio to the first row."""
    lines = [f"{result.system}: {result.title}"]
    width = max(len(row.name) for row in result.rows)
    lines.append(
        f"  {'':{width}}  {'ms':>10}  {'middle half':>19}  {'µs per ' + result.unit:>14}"
        f"  {'times':>7}"
    )
    for row in result.rows:
        if row.missing:
            lines.append(f"  {row.name:{width}}  {row.missing}")
            continue
        spread = f"{1e3 * row.low:.3f} – {1e3 * row.high:.3f}"
        each = 1e6 * row.seconds / result.pieces
        lines.append(
            f"  {row.name:{width}}  {1e3 * row.seconds:10.3f}  {spread:>19}  {each:14.1f}"
            f"  {row.ratio:7.2f}"
        )
    return "\n".join(lines + [f"  {note}" for note in result.notes])


# ---- the machine ---------------------------------------------------------------------------------


def describe_machine() -> dict[str, str | int]:
    """Processor, number of cores, versions and devices."""
    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.+)", info.read_text()) if info.is_file() else []
    return {
        "cpu": (names or [platform.processor() or platform.machine()])[0],
        "cores": cores(),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "devices": ", ".join(sorted({d.device_kind for d in jax.devices()})),
    }


@functools.cache
def machine(effort: Effort) -> dict[str, str | int | float]:
    """`describe_machine`, the platforms with kernels, and the CPU's rates of matmul and copy."""
    with jax.default_device(jax.devices("cpu")[0]):
        n = 64 if effort.tiny else 2048
        a = jnp.ones((n, n), jnp.float32)
        product = jax.jit(jnp.matmul)
        seconds_of(lambda: product(a, a))
        best = min(seconds_of(lambda: product(a, a)) for _ in range(1 if effort.tiny else 50))
    return describe_machine() | {
        "kernels": ", ".join(library.platforms()) or "none",
        "matmul_gflops": float(f"{2 * n**3 / best / 1e9:.4g}"),
        "copy_gbytes": float(f"{copy_rate(effort.tiny) / 1e9:.3g}"),
    }


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def copy_rate(tiny: bool) -> float:
    """Bytes per second, read and written, of copying large arrays on all cores."""
    n = 2**12 if tiny else 2**25
    source, target = np.ones((cores(), n), np.float32), np.zeros((cores(), n), np.float32)
    with ThreadPoolExecutor(cores()) as pool:
        best = min(seconds_of(lambda: list(pool.map(np.copyto, target, source))) for _ in range(5))
    return 2 * source.nbytes / best


@functools.cache
def device_copy_rate(device: jax.Device) -> float:
    """Bytes per second, read and written, of copying a large array on a device."""
    x = jax.device_put(jnp.ones(2**28, jnp.float32), device)
    copy = jax.jit(lambda x: x + 1)
    seconds_of(lambda: copy(x))
    return 2 * x.nbytes / min(seconds_of(lambda: copy(x), 10) for _ in range(5))


def gpu() -> jax.Device | None:
    """The first GPU, if any."""
    try:
        return jax.devices("gpu")[0]
    except RuntimeError:
        return None


# ---- the command line ----------------------------------------------------------------------------


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """Options of both commands: --json, --force and --tiny."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results to FILE")
    parser.add_argument("--force", action="store_true", help="overwrite FILE")
    parser.add_argument(
        "--tiny",
        action="store_true",
        help="small sizes and one turn: only to see that everything runs",
    )


def check_arguments(
    parser: argparse.ArgumentParser,
    args: argparse.Namespace,
    names: list[str],
    known: Iterable[str],
) -> None:
    """Reject unknown names and a FILE that exists or cannot be written."""
    if unknown := [name for name in names if name not in known]:
        parser.error(f"{unknown[0]}: expected one of {', '.join(known)}")
    if args.json and args.json.exists() and not args.force:
        parser.error(f"--json {args.json} exists; choose another file, or --force to overwrite it")
    if args.json and not args.json.parent.is_dir():
        parser.error(f"--json {args.json}: there is no folder {args.json.parent}")


def write_json(path: Path | None, results: dict) -> None:
    """Write the results to the file of --json, if given."""
    if path:
        path.write_text(json.dumps(results, indent=1) + "\n")
