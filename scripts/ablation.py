#!/usr/bin/env python3
"""What each part of the camera world, and of the hand network's training, is worth.

    python scripts/ablation.py --out runs/ablation [--real FOLDER …] [--steps 1250]

trains the hand network small, once with all parts and once without each, and evaluates all of them
on the same held-out hands of the whole world, in all directions and through all sensors, and, with
the side given, on your own labelled FOLDERs (docs/real_frames.md). Trainings are runs of `handjax
train` below DIR: the same command goes on after a stop. table.md is written after each of them.
Half an hour to an hour on two CPU cores.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from handjax.engine import cli
from handjax.engine.files import write_atomic

SMALL = ("config.batch_size=32", "config.save_every=100000", "config.export=False")
SMALL += ("config.optimizer.warmup=100", "config.data.hands.frontal=0.35")
# Of a training, by name; the evaluation is the same for all.
PARTS: dict[str, tuple[str, ...]] = {
    "everything": (),
    "everything, another seed": ("config.seed=1",),
    "without forearm and sleeve": (
        "config.data.shares.forearm=0.0",
        "config.data.shares.sleeve=0.0",
    ),
    "without a person behind": ("config.data.shares.body=0.0",),
    "without things": ("config.data.shares.things=0.0", "config.data.shares.held=0.0"),
    "without a second hand": ("config.data.shares.second=0.0",),
    "without walls and tables": ("config.data.shares.wall=0.0", "config.data.shares.table=0.0"),
    "the hand alone": tuple(
        f"config.data.shares.{name}=0.0"
        for name in ("forearm", "sleeve", "body", "things", "held", "wall", "table", "second")
    ),
    "without a sensor's faults": ("config.data.sensors=()",),
    "held out to the camera only": ("config.data.hands.frontal=1.0",),
    "never turned to point up": ("config.data.hands.upright=0.0",),
    "half the channels": ("config.model.widths=(32,64,96)",),
    "a quarter of the hands": ("steps=0.25",),
    "twice the hands": ("steps=2",),
}
SYNTHETIC = "held-out synthetic hands"  # the first column


def main(argv: Sequence[str]) -> None:
    parser = cli.Parser(prog="python scripts/ablation.py", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="for the results")
    parser.add_argument("--steps", type=int, default=1250, help="of 32 hands each (default: 1250)")
    parser.add_argument("--hands", type=int, default=512, help="held out (default: 512)")
    parser.add_argument("--real", type=Path, nargs="*", default=(), help="folders of real frames")
    flags = parser.parse_args(argv)
    if min(flags.steps, flags.hands) < 1:
        raise ValueError("--steps and --hands: expected 1 or more")
    for folder in flags.real:
        if not folder.exists():
            raise FileNotFoundError(f"--real {folder}: no such folder of labelled frames")
    flags.out.mkdir(parents=True, exist_ok=True)
    path, sizes = flags.out / "results.json", [flags.steps, flags.hands]
    kept = json.loads(path.read_text()) if path.exists() else {"sizes": sizes, "mm": {}}
    if kept["sizes"] != sizes:
        raise ValueError(f"{path}: of --steps and --hands {kept['sizes']}; use another --out")
    for name, options in PARTS.items():
        found = kept["mm"].setdefault(name, {})
        workdir = flags.out / name.replace(" ", "_").replace("'", "").replace(",", "")
        if SYNTHETIC not in found:
            _train(workdir, flags.steps, flags.hands, options)
            found[SYNTHETIC] = _held_out(workdir, flags.hands)
        for folder in flags.real:
            if str(folder) not in found:
                found[str(folder)] = _real(workdir, folder)
        write_atomic(path, json.dumps(kept, indent=1) + "\n")
        write_atomic(flags.out / "table.md", table(kept["mm"]))
        print(name, found, flush=True)


def _train(workdir: Path, steps: int, hands: int, options: Sequence[str]) -> None:
    times = next((float(one.partition("=")[2]) for one in options if one.startswith("steps=")), 1)
    steps = int(times * steps)
    own = [f"--{one}" for one in (*SMALL, *options) if not one.startswith("steps=")]
    counts = [f"--config.steps={steps}", f"--config.eval_every={steps}"]
    counts += [f"--config.data.eval_size={min(hands, 64)}"]
    _run("train", "--config", "handnet", "--workdir", str(workdir), *own, *counts)


def _held_out(workdir: Path, hands: int) -> float:
    """Mean error on the whole world, mm, whatever the run was trained on."""
    from handjax.engine import config as configs

    out = workdir / "whole"
    world = configs.load("handnet", [one for one in SMALL if ".data." in one]).data
    whole = [f"--config.data.shares.{name}={value}" for name, value in world.shares.items()]
    whole += [f"--config.data.sensors={tuple(world.sensors)}"]
    whole += [f"--config.data.hands.frontal={world.hands.frontal}"]
    whole += [f"--config.data.hands.upright={world.hands.upright}"]
    whole += [f"--config.data.eval_size={hands}"]
    _run("evaluate", "--workdir", str(workdir), "--output", str(out), *whole)
    return float(json.loads((out / "metrics.json").read_text())["mpjpe_mm"])


def _real(workdir: Path, folder: Path) -> float:
    """Mean error of the labelled joints, mm."""
    out = workdir / f"real_{folder.resolve().name}"
    more = ("--model", str(workdir), "--output", str(out), "--overwrite")
    _run("bench", "real", str(folder), *more)
    ((_, figures),) = json.loads((out / "metrics.json").read_text())["sets"].items()
    return float(figures["stages"]["network"]["mean_mm"])


def _run(*command: str) -> None:
    done = subprocess.run([sys.executable, "-m", "handjax", *command], check=False)
    if done.returncode:
        raise SystemExit(done.returncode)


def table(found: Mapping[str, Mapping[str, float]]) -> str:
    """A row per part: errors, and the difference from everything."""
    names = list(dict.fromkeys(name for errors in found.values() for name in errors))
    titles = [Path(name).name if name != SYNTHETIC else name for name in names]
    plain = found.get("everything", {})
    lines = [f"| trained | {' | '.join(f'{one}, mm' for one in titles)} |"]
    lines.append("|---" * (len(names) + 1) + "|")
    for part, errors in found.items():
        cells = []
        for name in names:
            value = f"{errors[name]:.1f}" if name in errors else ""
            beside = part != "everything" and name in errors and name in plain
            cells.append(value + (f" ({errors[name] - plain[name]:+.1f})" if beside else ""))
        lines.append(f"| {part} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    cli.run(main)
