"""Seconds from the command to the first step of training, and what is imported before it.

`startup` measures; this file, run as a script, is the child process that it measures. So jax and
handjax are imported only where they are used: the child times their import.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

if __package__ in (None, ""):  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.peak import resident
from benchmarks.tables import log, print_table

ROOT = Path(__file__).resolve().parent.parent

NAMES = ("v2v", "cpm", "posenet2d", "body", "spherehand")
STARTUP = (*(f"configs/{name}.py:quick" for name in NAMES), "configs/v2v.py")
STAGES = {  # end of the stage → its column in the table
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


class Reached(Exception):
    """The first training step is done."""


def first_step(began: float, spec: str, workdir: str) -> dict:
    """Run handjax.train up to its first step and time each stage.

    For a fresh process, started at `began`. The evaluation before the first step sees one batch.
    """
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
        train.Recorder.record,
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

    def timed_record(recorder, pending, state):
        asked = record(recorder, pending, state)
        if pending is not None:  # its metrics are on the host
            mark("step")
            raise Reached
        return asked

    run.create_state, train.feed.train_batches, train.Recorder.record = (
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
        peak = resident("VmHWM")  # unlike ru_maxrss, not that of the process that started this one
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
    raise RuntimeError(f"{spec}: training ended before its first step")


def startup(options: argparse.Namespace) -> dict:
    """Measure with an empty and with a filled compile cache, each in a fresh process."""
    runs, heavy, imports = [], set(), {}
    for spec in STARTUP[:1] if options.tiny else STARTUP:
        with tempfile.TemporaryDirectory(prefix="handjax-cost-") as folder:
            env = {"XDG_CACHE_HOME": folder, "JAX_COMPILATION_CACHE_DIR": "", "XLA_FLAGS": ""}
            for cache in ("empty", "filled"):
                log(f"startup: {spec}, {cache} cache")
                found, _ = child(time.time(), spec, f"{folder}/{cache}", env=env)
                heavy |= set(found["heavy"])
                runs.append({"config": spec, "cache": cache, **found})
            if not imports:
                log(f"startup: what {spec} imports")
                imports = packages(
                    child(
                        time.time(), spec, f"{folder}/imports", env=env, flags=("-X", "importtime")
                    )[1]
                )
    columns = ["config", "cache", *STAGES.values(), "all", "compiling", "GB of the process"]
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
        f"Imports of {STARTUP[0]}, of {sum(imports.values()):.2f} s",
        ["package", "ms"],
        rows,
    )
    print(
        f"\nOf {', '.join(HEAVY)}, these were imported: {', '.join(sorted(heavy)) or 'none'}.",
        flush=True,
    )
    return {"runs": runs, "imports_seconds": imports, "heavy": sorted(heavy)}


def packages(report: str) -> dict[str, float]:
    """`python -X importtime` → seconds in each top-level package's own modules, largest first."""
    spent = Counter()
    for line in report.splitlines():
        if line.startswith("import time:") and "self [us]" not in line:
            own, _, name = line.removeprefix("import time:").split("|")
            spent[name.strip().split(".")[0]] += int(own) / 1e6
    return dict(spent.most_common())


def child(*arguments, env: dict[str, str], flags: Sequence[str] = ()) -> tuple[dict, str]:
    """Run `first_step` in a fresh process; returns its result and its stderr."""
    command = [sys.executable, *flags, __file__, json.dumps(arguments)]
    done = subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{arguments[1]}: {(done.stderr.strip() or 'failed').splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


if __name__ == "__main__":
    print(json.dumps(first_step(*json.loads(sys.argv[1]))))
