#!/usr/bin/env python3
"""What a run costs, as Markdown tables: python scripts/cost.py [startup] [memory] [growth] [--json FILE]

startup  seconds from the command to the first step done, with an empty and a filled compile cache, each in a fresh process of
         the real door (handjax.train), and what it imported on the way
memory   what the compiled training step of each default config takes, and the least config.accumulate with which it fits
growth   time and memory of a training step against batch, grid, joints, image side and devices, with exponents

Memory is XLA's own figure for the program compiled for this machine: arguments, results and temporaries, what is donated
counted once. The process around it and our kernels' scratch (rows in the cache) are not in it.
"""

import argparse
import functools
import json
import os
import platform
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# jax and handjax are imported where they are used: a child of this program times their import.

NAMES = ("v2v", "cpm", "posenet2d", "body", "spherehand")
STARTUP = (*(f"configs/{name}.py:quick" for name in NAMES), "configs/v2v.py")
STAGES = {  # where a stage ends → what the table calls it
    "imported": "imports",
    "built": "data, task, shapes",
    "state": "initial state",
    "evaluated": "one batch evaluated",
    "batch": "first batch",
    "step": "first step",
}
HEAVY = (
    "tensorflow",
    "torch",
    "matplotlib",
    "orbax",
    "scipy",
    "h5py",
    "cv2",
    "PIL",
    "tensorboard",
    "apache_beam",
    "sklearn",
)
PEOPLE = tuple(f"configs/body.py:{head}" for head in ("direct", "integral", "kinematic"))
MEMORY = (
    *(f"configs/{name}.py" for name in NAMES if name != "body"),
    "configs/spherehand.py:selfsup",
    *PEOPLE,
)


@dataclass(frozen=True)
class Series:
    """A training step against a size: key of the config → what it is at that size. `joints` is no key: see `with_joints`."""

    system: str
    against: str
    sizes: tuple[int, ...]
    tiny: tuple[int, ...]
    vary: Callable[[int], dict[str, int]]
    expected: str  # exponents of time and memory, and why


def cube(n: int) -> dict[str, int]:
    return {"task.grid": n, "task.heatmap_grid": n // 2, "data.image_size": 2 * n}


WARM = 3  # steps of each size that do not count
# What does not vary, and the same small.
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
        "below 1: the last layer and the maps alone",
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
        "0, −1: the same cores; GB of each",
    ),
)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# ---- the training step ---------------------------------------------------------------------------------------------


def training_step(spec: str, settings: dict[str, object], runs: bool = True):
    """What handjax.train compiles, compiled: the step, a call that makes its state, and its first batch. What never `runs` is
    compiled without LLVM's optimizations, which move no buffer and take a third of the time."""
    import numpy as np

    from handjax import run
    from handjax.engine import config as configs
    from handjax.engine import sharding
    from handjax.sources import SOURCES

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


def with_joints(source, count: int):
    """The source with the first `count` of its joints, again and again."""
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


def gigabytes(compiled) -> float:
    """Of one device."""
    found = compiled.memory_analysis()
    parts = ("argument_size_in_bytes", "output_size_in_bytes", "temp_size_in_bytes")
    return (sum(getattr(found, part) for part in parts) - found.alias_size_in_bytes) / 1e9


# ---- startup -------------------------------------------------------------------------------------------------------


class Reached(Exception):
    """The first step is done."""


def first_step(began: float, spec: str, workdir: str) -> dict:
    """In a fresh process: the real door up to the first step. The evaluation before it sees one batch."""
    marks, compiling = {}, []

    def mark(name: str) -> None:
        marks.setdefault(name, time.time() - began)

    from handjax import run, train

    mark("imported")
    import jax

    train.runtime.keep_memory()
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, seconds, **_: compiling.append(
            seconds if name.endswith("/backend_compile_duration") else 0.0
        )
    )
    create_state, train_batches, record = (
        run.create_state,
        train.feed.train_batches,
        train._record,
    )

    def timed_state(*arguments):
        mark("built")
        state = jax.block_until_ready(create_state(*arguments))
        mark("state")
        return state

    def timed_batches(*arguments):
        mark("evaluated")
        for batch in train_batches(*arguments):
            mark("batch")
            yield batch

    def timed_record(writer, waiting, *rest):
        record(writer, waiting, *rest)
        if waiting is not None:  # its numbers are on the host
            mark("step")
            raise Reached

    run.create_state, train.feed.train_batches, train._record = (
        timed_state,
        timed_batches,
        timed_record,
    )
    config = train.configs.load(str(ROOT / spec), ["config.eval_every=1"])
    with config.unlocked():
        config.data.eval_size = config.eval_batch_size
    try:
        train.train(config, Path(workdir))
    except Reached:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
        ends = [0.0, *(marks[name] for name in STAGES)]
        stages = {
            name: end - start for name, start, end in zip(STAGES, ends, ends[1:], strict=False)
        }
        heavy = [name for name in HEAVY if name in sys.modules]
        return {
            **stages,
            "seconds": ends[-1],
            "compiling": sum(compiling),
            "peak_gigabytes": peak,
            "heavy": heavy,
        }
    raise RuntimeError(f"{spec}: there was no first step")


def startup(options: argparse.Namespace) -> dict:
    runs, heavy, imports = [], set(), {}
    for spec in STARTUP[:1] if options.tiny else STARTUP:
        with tempfile.TemporaryDirectory(prefix="handjax-cost-") as folder:
            env = {"XDG_CACHE_HOME": folder, "JAX_COMPILATION_CACHE_DIR": "", "XLA_FLAGS": ""}
            for cache in ("empty", "filled"):
                say(f"startup: {spec}, {cache} cache")
                found, _ = child(time.time(), spec, f"{folder}/{cache}", env=env)
                heavy |= set(found["heavy"])
                runs.append({"config": spec, "cache": cache, **found})
            if not imports:
                say(f"startup: what {spec} imports")
                imports = packages(
                    child(
                        time.time(), spec, f"{folder}/imports", env=env, flags=("-X", "importtime")
                    )[1]
                )
    columns = ["config", "cache", *STAGES.values(), "all", "of it compiling", "GB of the process"]
    rows = [
        [
            r["config"],
            r["cache"],
            *(f"{r[key]:.1f}" for key in (*STAGES, "seconds", "compiling", "peak_gigabytes")),
        ]
        for r in runs
    ]
    print_table("From the command to the first step, seconds", columns, rows)
    rows = [[name, f"{1e3 * seconds:.0f}"] for name, seconds in list(imports.items())[:10]]
    print_table(
        f"Imports of {STARTUP[0]} on the way, of {sum(imports.values()):.2f} s",
        ["package", "ms"],
        rows,
    )
    print(
        f"\nOf {', '.join(HEAVY)} were imported: {', '.join(sorted(heavy)) or 'none'}.", flush=True
    )
    return {"runs": runs, "imports_seconds": imports, "heavy": sorted(heavy)}


def packages(log: str) -> dict[str, float]:
    """`python -X importtime` → seconds a top package's own modules took, largest first."""
    spent = Counter()
    for line in log.splitlines():
        if line.startswith("import time:") and "self [us]" not in line:
            own, _, name = line.removeprefix("import time:").split("|")
            spent[name.strip().split(".")[0]] += int(own) / 1e6
    return dict(spent.most_common())


# ---- memory --------------------------------------------------------------------------------------------------------


def memory(options: argparse.Namespace) -> list[dict]:
    from handjax.engine import config as configs

    found = []
    for spec in STARTUP[:1] if options.tiny else MEMORY:
        config = configs.load(str(ROOT / spec))
        for remat in (False, True) if "remat" in config.model else (None,):

            def measure(accumulate: int, spec=spec, remat=remat) -> float:
                say(f"memory: {spec}, accumulate {accumulate}" + (", remat" if remat else ""))
                settings = {"accumulate": accumulate} | (
                    {} if remat is None else {"model.remat": remat}
                )
                return gigabytes(training_step(spec, settings, runs=False)[0])

            whole, (accumulate, then) = fit_into(options.gigabytes, config.batch_size, measure)
            row = {
                "config": spec,
                "remat": remat,
                "batch_size": config.batch_size,
                "gigabytes": whole,
            }
            found.append({**row, "accumulate": accumulate, "gigabytes_then": then})
    columns = [
        "config",
        "remat",
        "batch",
        "GB",
        f"accumulate to fit {options.gigabytes:g} GB",
        "GB then",
    ]
    rows = [[shown(value) for value in row.values()] for row in found]
    print_table("Memory of the training step, one device, compiled for this machine", columns, rows)
    return found


def shown(value) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(shown, value))
    return (
        "–"
        if value is None
        else f"{value:.2f}".replace("-", "−")
        if isinstance(value, float)
        else str(value)
    )


def fit_into(
    limit: float, batch: int, measure: Callable[[int], float]
) -> tuple[float, tuple[int | None, float | None]]:
    """What the whole batch takes, and the least divisor of it as `accumulate` that stays below the limit, with what it takes.
    A slice takes no less than its share of the whole, so smaller divisors are not tried."""
    whole = measure(1)
    for slices in (n for n in range(1, batch + 1) if batch % n == 0 and n * limit >= whole):
        taken = whole if slices == 1 else measure(slices)
        if taken <= limit:
            return whole, (slices, taken)
    return whole, (None, None)


# ---- growth --------------------------------------------------------------------------------------------------------


def growth(options: argparse.Namespace) -> list[dict]:
    found = []
    for series in GROWTH:
        spec = f"configs/{series.system}.py" + (":quick" if options.tiny else "")
        sizes, base, turns = (
            (series.tiny, TINY, 1) if options.tiny else (series.sizes, BASE, options.turns)
        )
        steps = []
        for n in sizes:
            say(f"growth: {spec}, {series.against} {n}")
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
        "seconds a step",
        "GB",
        "exponent of time",
        "of memory",
        "expected",
    ]
    rows = [[shown(value) for value in row.values()] for row in found]
    print_table(
        "Growth of a training step; exponents of the least-squares line through the logarithms",
        columns,
        rows,
    )
    return found


@functools.cache
def built_step(spec: str, settings: tuple[tuple[str, int], ...]):
    return training_step(spec, dict(settings))


def step_seconds(steps: Sequence, turns: int) -> list[float]:
    """Median seconds of each training step, in turns (the machine's speed drifts), after some that do not count: until the heap
    has grown every step touches memory for the first time, the more of it the larger the step."""
    import jax
    import numpy as np

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
    import numpy as np

    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


# ---- the command ---------------------------------------------------------------------------------------------------

CHILD = "--first-step-of"
SECTIONS = {"startup": startup, "memory": memory, "growth": growth}


def child(*arguments, env: dict[str, str], flags: Sequence[str] = ()) -> tuple[dict, str]:
    """`first_step` in a fresh process: what it returned, and its stderr."""
    command = [sys.executable, *flags, __file__, CHILD, json.dumps(arguments)]
    done = subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(
            f"{arguments[1]}: {(done.stderr.strip() or 'it failed').splitlines()[-1]}"
        )
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    print(f"\n{title}:\n")
    for line in (columns, ["---"] * len(columns), *rows):
        print(f"| {' | '.join(line)} |", flush=True)


def machine() -> dict:
    import jax

    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.+)", info.read_text()) if info.is_file() else []
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    about = {
        "cpu": (names or [platform.machine()])[0],
        "cores": cores,
        "python": platform.python_version(),
    }
    return about | {
        "jax": jax.__version__,
        "devices": ", ".join(sorted({d.device_kind for d in jax.devices()})),
    }


def main(argv: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)} (default: all)"
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="also write what was measured here"
    )
    parser.add_argument("--force", action="store_true", help="write over an earlier FILE")
    parser.add_argument(
        "--turns",
        type=int,
        default=5,
        help="steps that are timed, of growth (default: %(default)s)",
    )
    parser.add_argument(
        "--gigabytes",
        type=float,
        default=8.0,
        help="that memory is to fit into (default: %(default)s)",
    )
    parser.add_argument(
        "--tiny",
        action="store_true",
        help="small networks and one turn: shows that all runs, measures nothing",
    )
    args = parser.parse_args(argv)
    if unknown := [name for name in args.sections if name not in SECTIONS]:
        parser.error(f"{unknown[0]}: expected one of {', '.join(SECTIONS)}")
    for name in ("turns", "gigabytes"):
        if not getattr(args, name) > 0:
            parser.error(f"--{name} {getattr(args, name):g}: expected more than 0")
    if args.json and args.json.exists() and not args.force:
        parser.error(f"--json {args.json} exists; give another, or --force to write over it")
    if args.json and not args.json.parent.is_dir():
        parser.error(f"--json {args.json}: there is no folder {args.json.parent}")

    about = machine()
    print(", ".join(f"{key} {value}" for key, value in about.items()), flush=True)
    # In their own order: a child's peak of memory counts from its parent's, which is small as long as nothing else has run.
    results = {
        name: section(args)
        for name, section in SECTIONS.items()
        if name in (args.sections or SECTIONS)
    }
    if args.json:
        args.json.write_text(json.dumps({"machine": about, **results}, indent=1) + "\n")


def run() -> None:
    if sys.argv[1:2] == [CHILD]:
        print(json.dumps(first_step(*json.loads(sys.argv[2]))))
        return
    from handjax.engine.runtime import keep_memory

    keep_memory()
    os.environ["XLA_FLAGS"] = (
        os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
    )  # most use one
    try:
        main(sys.argv[1:])
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"error: {' '.join(str(error).split())}")


if __name__ == "__main__":
    run()
