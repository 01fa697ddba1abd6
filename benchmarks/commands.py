"""Seconds from each command to its first line, its first answer and its end.

Every command runs in a fresh process, first with an empty compile cache and then with the cache
that it filled. Its own time on the processors (user and system) is given as well, since wall time
grows where others use the machine.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.tables import log, print_table

ROOT = Path(__file__).resolve().parent.parent
# Small enough that start-up is what is measured.
QUICK = ("--config.steps=2", "--config.data.eval_size=8", "--config.eval_batch_size=8")


class Command(NamedTuple):
    """A command line, and the pattern of the line that is its first answer."""

    name: str
    words: tuple[str, ...]
    answer: str
    ends: bool = True  # by itself


def commands(folder: Path) -> list[Command]:
    """The commands in the order in which they run; the later ones use the runs of the first."""
    import cv2

    rng = np.random.default_rng(0)
    ball = (np.indices((240, 320)) - [[[120]], [[160]]]) ** 2
    depth = np.where(ball.sum(0) < 40**2, 500, 0) + rng.integers(0, 3, (240, 320))
    depth = np.where(depth < 400, 0, depth).astype(np.uint16)
    frames = folder / "frames"
    frames.mkdir()
    cv2.imwrite(str(frames / "depth.png"), depth)
    labels = {"k": [475, 475, 160, 120], "order": ["index_tip"], "kind": "surface"}
    labels["frames"] = {"depth.png": {"uv": [[160, 120]]}}
    (frames / "frames.json").write_text(json.dumps(labels))
    (folder / "labels.txt").write_text("depth.png\t" + "\t".join(["0", "0", "500"] * 14) + "\n")
    (folder / "centers.txt").write_text("0 0 500\n")
    cv2.imwrite(str(folder / "hand.png"), rng.integers(0, 255, (128, 128, 3), dtype=np.uint8))

    def train(name: str) -> tuple[str, ...]:
        return ("train", "--config", f"{name}:quick", "--workdir", name, *QUICK)

    camera = "--camera=475,475,160,120"
    found = ("--output", "found", "--overwrite")
    depth_frame = ("depth", "frames/depth.png", camera, *found)
    labelled = ("--labels", "labels.txt", "--centers", "centers.txt", camera)
    voxels = ("voxel_h5", "--depth_dir", "frames", "--depth_format", "png16", *labelled)
    written = ("--output", "v.h5", "--overwrite")
    to_file = ("--to", "stablehlo", "--output", "cpm.stablehlo", "--overwrite")
    images = ("images", "hand.png", "--workdir", "cpm", "--overwrite")
    return [
        Command("models", ("models",), r"^models"),
        Command("train v2v:quick", train("v2v"), r"^step 0:"),
        Command("train cpm:quick", train("cpm"), r"^step 0:"),
        Command("evaluate a run", ("evaluate", "--workdir", "v2v"), r"^(mean|report|\S*mean)"),
        Command("report, one run twice", ("report", "one=v2v", "two=v2v", *found), r"^report:"),
        Command("export a run", ("export", "cpm", *to_file), r"cpm\.stablehlo"),
        Command("predict images", ("predict", *images), r"^report:"),
        Command("predict depth", ("predict", *depth_frame), r"^depth\.png:"),
        Command("predict depth, fitted", ("predict", *depth_frame, "--refine=12"), r"^depth\.png:"),
        Command("predict video", ("predict", "video", "frames", camera, *found), r"^report:"),
        Command("bench real", ("bench", "real", "frames", *found), r"^report:"),
        Command("view", ("view", "--port", "0"), r"^the hand is at", ends=False),
        Command("prepare voxel_h5", ("prepare", *voxels, *written), r"v\.h5"),
        Command("prepare --help", ("prepare", "--help"), r"^usage"),
    ]


def timed(command: Command, python: Sequence[str], env: dict[str, str], cwd: Path) -> dict:
    """Runs one command; seconds to the first line, the answer and the end, and CPU seconds."""
    before, began = os.times(), time.time()
    marks: dict[str, float] = {}
    lines = []
    with subprocess.Popen(
        [*python, *command.words],
        env=env,
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            marks.setdefault("line", time.time() - began)
            if "answer" not in marks and re.search(command.answer, line.rpartition("\r")[2]):
                marks["answer"] = time.time() - began
                if not command.ends:
                    process.terminate()
    after = os.times()
    if "answer" not in marks or (command.ends and process.returncode):
        raise RuntimeError(f"{command.name}: {''.join(lines)[-800:]}")
    cpu = after.children_user + after.children_system
    cpu -= before.children_user + before.children_system
    return {**marks, "end": time.time() - began, "cpu": cpu}


def measure(options: argparse.Namespace) -> dict:
    """Runs every command twice, with an empty and with a filled compile cache of its own."""
    runs, failed = [], []
    with tempfile.TemporaryDirectory(prefix="handjax-commands-") as temporary:
        folder = Path(temporary)
        every = commands(folder)[-1:] if options.tiny else commands(folder)
        for number, command in enumerate(every):
            env = {
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "XDG_CACHE_HOME": str(folder / f"cache{number}"),
            }
            for name in ("JAX_COMPILATION_CACHE_DIR", "PYTHONDONTWRITEBYTECODE"):
                env.pop(name, None)
            for cache in ("empty", "filled"):
                log(f"commands: {command.name}, {cache} cache")
                if command.words[0] == "train":  # a finished run would not train again
                    workdir = command.words[command.words.index("--workdir") + 1]
                    shutil.rmtree(folder / workdir, ignore_errors=True)
                try:
                    result = timed(command, (sys.executable, "-m", "handjax"), env, folder)
                except RuntimeError as error:  # the others are measured, and then it is said
                    log(f"commands: {error}")
                    failed.append(command.name)
                    break
                log("  " + ", ".join(f"{name} {value:.1f} s" for name, value in result.items()))
                runs.append({"command": command.name, "cache": cache, **result})
    columns = ["command", "cache", "first line", "first answer", "end", "CPU seconds"]
    rows = [
        [r["command"], r["cache"], *(f"{r[key]:.1f}" for key in ("line", "answer", "end", "cpu"))]
        for r in runs
    ]
    print_table("From the command to its first answer, seconds", columns, rows)
    if failed:
        raise RuntimeError(f"not measured: {', '.join(failed)}")
    return {"runs": runs}
