#!/usr/bin/env python3
"""Installs a wheel into a fresh environment of each Python, and uses it there from another folder.

    python scripts/wheels.py --workdir runs/wheels --frame FRAME --camera FX,FY,CX,CY \\
        python3.11 python3.12 python3.13

builds the wheel of this clone, or takes that of --wheel. For each Python it installs the wheel with
pip and the packages that it needs, loads the kernels, runs the three lines of docs/index.md, trains
v2v:quick for 20 steps, and predicts the hand of FRAME, a depth image in units of --unit mm. It
prints a table in Markdown, and fails if anything fails; the commands' words are in WORKDIR/*.log.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSIONS = """
import importlib.metadata as m, platform
from handjax.ops import library
print(platform.python_version(), *map(m.version, ("jax", "numpy")), sep="|")
print(", ".join(library.platforms()) or "none")
"""
THREE_LINES = """
import sys, numpy as np
from handjax.data.cameras import read_camera
from handjax.data.formats.depth import read_depth
depth = read_depth(sys.argv[1], form="png16", scale=float(sys.argv[3]))
camera = sys.argv[2] if sys.argv[2].isalnum() else tuple(map(float, sys.argv[2].split(",")))

import handjax
predictor = handjax.load("hand-depth")
print(predictor(depth, camera=camera))
"""


def main(argv: Sequence[str]) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pythons", metavar="PYTHON", nargs="+")
    parser.add_argument("--workdir", required=True, type=Path, help="of wheel, environments, logs")
    parser.add_argument("--wheel", type=Path, help="instead of building one")
    parser.add_argument("--frame", required=True, type=Path, help="depth image with a hand")
    parser.add_argument("--camera", required=True, help="that took it, as of predict depth")
    parser.add_argument("--unit", default="1", help="mm per unit of the image (1)")
    flags = parser.parse_args(argv)
    workdir, frame = flags.workdir.absolute(), flags.frame.absolute()
    workdir.mkdir(parents=True, exist_ok=True)
    wheel = flags.wheel.absolute() if flags.wheel else build(workdir)
    print(f"{wheel.name}, {wheel.stat().st_size / 1e6:.1f} MB\n", flush=True)
    columns = "Python|JAX|NumPy|kernels|installed in|MB|three lines|20 steps|predict|predict again"
    print(f"| {columns.replace('|', ' | ')} |\n|{'---|' * len(columns.split('|'))}", flush=True)
    for number, python in enumerate(flags.pythons):
        cells = tried(workdir / f"env{number}", python, wheel, frame, flags.camera, flags.unit)
        print(f"| {' | '.join(cells)} |", flush=True)


def build(workdir: Path) -> Path:
    """The wheel of this clone."""
    folder = workdir / "dist"
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, ROOT]
    run(command, workdir, workdir / "wheel.log")
    return max(folder.glob("*.whl"), key=lambda file: file.stat().st_mtime)


def tried(folder: Path, python: str, wheel: Path, frame: Path, camera: str, unit: str) -> list[str]:
    """A row of the table."""

    def timed(name: str, *command: object) -> tuple[str, str]:
        began = time.monotonic()
        said = run(command, folder, folder.with_name(f"{folder.name}.{name}.log"))
        return f"{time.monotonic() - began:.0f} s", said

    run([python, "-m", "venv", "--clear", folder], folder.parent, folder.with_suffix(".venv.log"))
    own, program = folder / "bin" / "python", folder / "bin" / "handjax"
    before = size(folder)
    installed, _ = timed("install", own, "-m", "pip", "install", "--no-compile", "-q", wheel)
    megabytes = (size(folder) - before) / 1e6
    _, said = timed("versions", own, "-W", "error", "-c", VERSIONS)
    versions, kernels = said.strip().splitlines()
    lines, _ = timed("lines", own, "-c", THREE_LINES, frame, camera, unit)
    train = ["train", "--config", "v2v:quick", "--config.steps=20", "--workdir", "run"]
    trained, _ = timed("train", program, *train)
    predict = ["predict", "depth", frame, "--camera", camera, "--unit", unit, "--overwrite"]
    each = [timed("predict", program, *predict, "--output", "found")[0] for _ in range(2)]
    return [*versions.split("|"), kernels, installed, f"{megabytes:.0f}", lines, trained, *each]


def size(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(file.lstat().st_size for file in folder.rglob("*") if not file.is_dir())


def run(command: Sequence[object], cwd: Path, log: Path) -> str:
    """What a command prints, which is kept in `log`; ends this program if the command fails."""
    drop = {"PYTHONPATH", "VIRTUAL_ENV", "JAX_COMPILATION_CACHE_DIR"}
    env = {key: value for key, value in os.environ.items() if key not in drop}
    env["XDG_CACHE_HOME"] = str(log.parent / f"{cwd.name}.cache")  # an empty compile cache
    words = [*map(str, command)]
    done = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True)
    log.write_text(done.stdout + done.stderr)
    if done.returncode:
        sys.exit(f"error: {' '.join(words[:2])} … ended with {done.returncode}: {log}")
    return done.stdout


if __name__ == "__main__":
    main(sys.argv[1:])
