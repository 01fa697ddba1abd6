#!/usr/bin/env python3
"""Restores what one JAX, Flax and Orbax saved by another, both ways.

    python scripts/versions.py --workdir runs/versions --oldest python3.11 --newest python3.13 \\
        -- --config v2v:quick --config.steps=20

makes an environment with the oldest versions that pyproject.toml admits, and one with the newest
that its Python has; --oldest and --newest may also name the Python of an environment in which
everything is installed. Each trains the config. Then each reads the other's checkpoint, compares
every array bit for bit, and continues the run for as many steps. It fails if anything differs.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Their lowest admitted versions are those of the oldest environment.
PINNED = ("jax", "flax", "optax", "orbax-checkpoint")
VERSIONS = """
import importlib.metadata as m, sys
print("Python", sys.version.split()[0], *(f"{n} {m.version(n)}" for n in sys.argv[1:]), sep=", ")
"""
# Step and checksums of the newest checkpoint, with everything that orbax read.
SUMS = """
import json, sys
from pathlib import Path
from handjax.engine import checksums
from handjax.engine.checkpoint import Checkpoints
checkpoints = Checkpoints(Path(sys.argv[1]) / "checkpoints", read_only=True)
step, tree = checkpoints.newest(checkpoints.tree)
checkpoints.close()
print(json.dumps([step, checksums.take(tree)]))
"""


def main(argv: Sequence[str]) -> int:
    cut = argv.index("--") if "--" in argv else len(argv)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workdir", required=True, type=Path, help="of environments and runs")
    parser.add_argument("--oldest", required=True, metavar="PYTHON")
    parser.add_argument("--newest", required=True, metavar="PYTHON")
    parser.add_argument("--module", default="handjax.train", help="what trains (%(default)s)")
    flags = parser.parse_args(argv[:cut])
    workdir, training = flags.workdir.absolute(), list(argv[cut + 1 :])
    if not training:
        parser.error("name what to train: -- --config v2v:quick --config.steps=20")
    pythons = {}
    for name in ("oldest", "newest"):
        pythons[name] = environment(workdir, name, getattr(flags, name))
        said = run([pythons[name], "-c", VERSIONS, *PINNED], workdir / f"{name}.versions.log")
        print(f"{name}: {said.strip()}", flush=True)

    train = ["-u", "-m", flags.module, *training]
    saved = {}
    for name, python in pythons.items():
        folder = workdir / "runs" / name
        shutil.rmtree(folder, ignore_errors=True)
        run([python, *train, "--workdir", str(folder)], workdir / f"{name}.log")
        saved[name] = sums(python, folder, workdir / f"{name}.sums.log")
    wrong = 0
    for name, other in (("oldest", "newest"), ("newest", "oldest")):
        wrong += crossed(workdir, name, other, pythons[other], train, saved[name])
    return 1 if wrong else 0


def crossed(
    workdir: Path, name: str, other: str, python: str, train: list[str], saved: list
) -> int:
    """What `name` saved, read and continued by the Python of `other` → the number of faults."""
    step, expected = saved
    folder = workdir / "runs" / f"{name}-to-{other}"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(workdir / "runs" / name, folder)
    found = sums(python, folder, workdir / f"{folder.name}.sums.log")
    differ = sorted(a for a in {*expected, *found[1]} if expected.get(a) != found[1].get(a))
    more = ["--workdir", str(folder), f"--config.steps={2 * step}"]
    text = run([python, *train, *more], workdir / f"{folder.name}.log")
    resumed = re.search(r"resume at step (\d+) of (\d+)", text)
    went_on = bool(resumed) and [int(n) for n in resumed.groups()] == [step, 2 * step]
    print(
        f"saved on the {name}, restored on the {other}: {len(expected)} arrays, {len(differ)} "
        f"differ; {'continued' if went_on else 'NOT CONTINUED'} from step {step} to {2 * step}"
    )
    for array in differ[:4]:
        print(f"  {array}: {expected.get(array)} became {found[1].get(array)}")
    return len(differ) + (not went_on) + (found[0] != step)


def sums(python: str, folder: Path, log: Path) -> list:
    """[step, checksums by array] of the run's newest checkpoint, as this Python reads it."""
    return json.loads(run([python, "-c", SUMS, str(folder)], log).splitlines()[-1])


def environment(workdir: Path, name: str, python: str) -> str:
    """The Python of an environment with the dependencies; `python` itself if it has them."""
    if subprocess.run([python, "-c", "import jax, orbax"], capture_output=True).returncode == 0:
        return python
    folder = workdir / name
    own = str(folder / "bin" / "python")
    if not (folder / "whole").exists():
        run([python, "-m", "venv", "--clear", str(folder)], workdir / f"{name}.install.log")
        wanted = dependencies(oldest=name == "oldest")
        run([own, "-m", "pip", "install", "-q", *wanted], workdir / f"{name}.install.log")
        (folder / "whole").touch()
    return own


def dependencies(oldest: bool) -> list[str]:
    """Those of pyproject.toml; with `oldest`, the lowest admitted versions of PINNED."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    if not oldest:
        return project["dependencies"]
    pin = rf"^({'|'.join(PINNED)})>=([^,]+).*"
    return [re.sub(pin, r"\1==\2", line) for line in project["dependencies"]]


def run(command: list[str], log: Path) -> str:
    """What a command prints, which is kept in `log`; ends this program if the command fails."""
    log.parent.mkdir(parents=True, exist_ok=True)
    # The tree's own package, in whatever environment.
    own = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        command, cwd=ROOT, env=own, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    log.write_text(done.stdout)
    if done.returncode:
        sys.exit(f"error: {' '.join(command[:4])} … ended with {done.returncode}: {log}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
