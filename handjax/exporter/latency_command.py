"""handjax bench export: how long a frame takes in handjax and in other runtimes.

    handjax bench export MODEL [--runtimes handjax,onnxruntime,openvino] [--threads 1,2]
        [--batch 1,8] [--rounds 10] [--size WIDTHxHEIGHT] [--output FILE.json]

MODEL is a name that `handjax models` lists, or the folder of a run. A frame is a PNG in memory: it
is read, goes through crop, network and decoding, and its joints are drawn. The runtimes take turns,
each with the same frames, on the same cores. Times are medians, ms per frame; CPU is the time of
all cores together. The last column is the time for the joints relative to the first runtime.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from handjax import __version__
from handjax.engine import cli, runtime
from handjax.engine.files import write_atomic
from handjax.exporter import latency
from handjax.exporter.depth_contents import CENTERS
from handjax.exporter.model import contents_of, describe, image_size
from handjax.exporter.runtimes import RUNTIMES, missing, runners
from handjax.exporter.samples import samples
from handjax.prediction.predictor import load
from handjax.run import read_config

_COLUMNS = ("read", "joints", "draw", "whole", "cpu")
# Bound to its cores, the last argument, before JAX starts its threads.
_WORKER = (
    "import os, sys; os.sched_setaffinity(0, map(int, sys.argv.pop().split(','))); "
    "from handjax.engine import cli; from handjax.exporter.latency_command import work; "
    "cli.run(work)"
)


def parser() -> cli.Parser:
    """The flags of `handjax bench export`."""
    flags = cli.Parser(prog="handjax bench export", description=__doc__)
    add = flags.add_argument
    add("model", metavar="MODEL", help="a name that `handjax models` lists, or a run's folder")
    add("--checkpoint", metavar="WHICH", default="last", help="of a run: last, best or a step")
    add(
        "--runtimes",
        metavar="LIST",
        help=f"some of {','.join(RUNTIMES)} (default: all that are installed, without stablehlo, "
        "which runs V2V-PoseNet on a CPU in many seconds)",
    )
    add("--threads", default="1,2", metavar="LIST", help="numbers of cores (default: 1,2)")
    add("--batch", default="1,8", metavar="LIST", help="frames at a time (default: 1,8)")
    add("--rounds", type=int, default=10, help="turns of each runtime (default: 10)")
    add("--size", metavar="WIDTHxHEIGHT", help="of the images, as in `handjax export`")
    add("--center", choices=CENTERS, help="depth: as in `handjax export`")
    add("--side", choices=("right", "left"), help="depth: as in `handjax export`")
    add("--check", metavar="PATH", help="the frames, as in `handjax export`")
    add("--output", metavar="FILE", help="also write the figures to this JSON file")
    add("--overwrite", action="store_true", help="replace FILE")
    return flags


def main(argv: Sequence[str]) -> None:
    """Run the command; ValueError and OSError are invalid input."""
    flags = parser().parse_args(argv)
    options: dict[str, Any] = vars(flags)
    options["runtimes"] = _runtimes(flags.runtimes)
    threads = _cores(_numbers("--threads", flags.threads))
    options["batch"] = _numbers("--batch", flags.batch)
    if flags.rounds < 1:
        raise ValueError(f"--rounds {flags.rounds}: expected 1 or more")
    output = Path(flags.output) if flags.output else None
    if output is not None and output.exists() and not flags.overwrite:
        raise FileExistsError(f"{output} is there already: use --overwrite or another --output")
    image_size(flags.size)
    rows: list[dict[str, Any]] = []
    for count in threads:
        rows += _in_a_process(options, count)
        print("\n".join(_lines(rows, first=count == threads[0], threads=count)), flush=True)
    if output is not None:
        write_atomic(output, json.dumps({"model": flags.model, "times": rows}, indent=2) + "\n")


def _runtimes(text: str | None) -> list[str]:
    if text is None:
        lacking = {name: how for name in RUNTIMES if (how := missing(name))}
        for name, how in lacking.items():
            print(f"without {name}: {how}", file=sys.stderr)
        return [name for name in RUNTIMES if name not in (*lacking, "stablehlo")]
    names = text.split(",")
    for name in names:
        if name not in RUNTIMES:
            raise ValueError(f"--runtimes {text}: expected some of {','.join(RUNTIMES)}")
        if how := missing(name):
            raise ValueError(f"--runtimes {text}: {name} is not installed: {how}")
    return list(dict.fromkeys(names))


def _numbers(flag: str, text: str) -> list[int]:
    words = text.split(",")
    if not all(word.isdecimal() and int(word) for word in words):
        raise ValueError(f"{flag} {text}: expected numbers of 1 or more, as 1,2")
    return [int(word) for word in words]


def _cores(threads: list[int]) -> list[int]:
    """The numbers of threads; ValueError where they cannot be had."""
    if not hasattr(os, "sched_setaffinity"):
        raise ValueError("--threads: only Linux can bind a process to some of its cores")
    there = len(os.sched_getaffinity(0))
    if max(threads) > there:
        raise ValueError(f"--threads {max(threads)}: this process may use {there} cores")
    return threads


def _in_a_process(options: dict[str, Any], threads: int) -> list[dict[str, Any]]:
    """The times with so many cores: of a process of its own, since the size of thread pools is that
    of the cores at its start."""
    cores = sorted(os.sched_getaffinity(0))[:threads]
    with tempfile.TemporaryDirectory() as folder:
        asked, answer = Path(folder, "asked.json"), Path(folder, "answer.json")
        asked.write_text(json.dumps(options))
        done = subprocess.run(
            [sys.executable, "-c", _WORKER, str(asked), str(answer), ",".join(map(str, cores))],
            stdout=sys.stderr,
        )
        if done.returncode:
            sys.exit(done.returncode)  # it has said why
        return [{"threads": threads, **row} for row in json.loads(answer.read_text())]


def work(argv: Sequence[str]) -> None:
    """What the process of `_in_a_process` does: reads the file `argv[0]`, writes `argv[1]`."""
    asked, answer = map(Path, argv)
    answer.write_text(json.dumps(_measured(json.loads(asked.read_text()))))


def _measured(options: dict[str, Any]) -> list[dict[str, Any]]:
    runtime.use_compile_cache()
    folder = Path(options["model"])
    predictor = load(options["model"], options["checkpoint"])
    config = read_config(folder) if (folder / "config.json").is_file() else None
    size = image_size(options["size"])
    contents = contents_of(predictor, config, size, options["center"], options["side"])
    metadata = describe(contents, __version__, "handjax bench export", "float32")
    threads = len(os.sched_getaffinity(0))
    made = runners(tuple(options["runtimes"]), contents, metadata, threads)
    given = samples(contents, Path(options["check"]) if options["check"] else None, config).arrays
    rows = []
    for batch in options["batch"]:
        frames = {
            name: np.resize(value, (batch, *value.shape[1:])) for name, value in given.items()
        }
        running = {name: make(batch) for name, make in made.items()}
        times = latency.measure(running, contents, frames, options["rounds"])
        rows += [{"batch": batch, "runtime": name, **row} for name, row in times.items()]
    return rows


def _lines(rows: list[dict[str, Any]], first: bool, threads: int) -> list[str]:
    """The table's rows for a number of threads, below its head if they are the first."""
    titles = "".join(f"{title:>9}" for title in ("read", "joints", "draw", "whole", "CPU"))
    base = rows[0]["runtime"]
    lines = [f"threads  batch  runtime      {titles}  joints / {base}"] if first else []
    for row in rows:
        if row["threads"] == threads:
            times = "".join(f"{row[f'{name}_ms']:9.1f}" for name in _COLUMNS)
            start = f"{threads:7}  {row['batch']:5}  {row['runtime']:13}"
            lines.append(f"{start}{times}  {row['joints_ratio']:.2f}")
    return lines
