#!/usr/bin/env python3
"""A paper's number from a data set's raw files, by one command.

    python scripts/reproduce.py v2v nyu --raw FOLDER --workdir runs/nyu

prepares the files into runs/nyu/data, trains in runs/nyu/train, evaluates into runs/nyu/report and
prints our number beside the published one. What is done is not done again, so the same command goes
on after a stop. Settings for trainings follow after `--`:

    python scripts/reproduce.py v2v nyu --raw FOLDER --workdir runs/nyu -- --config.batch_size=64

FOLDER holds the files as `handjax prepare NAME --help` lists them. `--list` prints what there is.
"""

import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from handjax.engine import cli


class Training(NamedTuple):
    """A run in the folder `name`. {data} and {workdir} stand for folders."""

    config: str
    name: str = "train"
    overrides: tuple[str, ...] = ()


class Recipe(NamedTuple):
    """From raw files to a number. The last `runs` trainings are evaluated, and their mean counts.

    prepared   data sets with their configuration, "" for the only one
    metric     in metrics.json, with dots; `published` is its value, from `source`
    data       the folder of the prepared sets, {data}, or one of them
    note       what differs from the publication
    petaflop   operations of all trainings, and `gigabytes` of memory for the largest step, as
               docs/reproduce.md estimates them
    """

    prepared: tuple[tuple[str, str], ...]
    trainings: tuple[Training, ...]
    metric: str
    published: float | None
    source: str
    data: str = "{data}"
    runs: int = 1
    checkpoint: str = "last"
    note: str = ""
    petaflop: float = 0.0
    gigabytes: float = 0.0


TERAFLOPS = 10.0  # of a GPU in float32, sustained; hours are given for it
V2V = "Moon et al. 2018, ten epochs averaged"
REFINED = "config.data.center=refined"
RECIPES = {
    ("v2v", "nyu"): Recipe(
        (("nyu_hand", "single"),),
        (Training("v2v:nyu", overrides=(REFINED,)),),
        *("mpjpe_mm", 8.42, V2V),
        data="{data}/nyu_hand/single",
        checkpoint="all",
        petaflop=144,
        gigabytes=3.6,
    ),
    ("v2v", "icvl"): Recipe(
        (("icvl", ""),),
        (Training("v2v:icvl", overrides=(REFINED,)),),
        *("mpjpe_mm", 6.28, V2V),
        data="{data}/icvl",
        checkpoint="all",
        petaflop=656,
        gigabytes=3.6,
    ),
    ("v2v", "msra"): Recipe(
        (("msra_hand", ""),),
        tuple(
            Training("v2v:msra", f"person{p}", (REFINED, f"config.data.subject={p}"))
            for p in range(9)
        ),
        *("mpjpe_mm", 7.59, V2V),
        data="{data}/msra_hand",
        runs=9,
        checkpoint="all",
        note="each of nine people left out in turn",
        petaflop=1224,
        gigabytes=3.6,
    ),
    ("v2v", "hands2017"): Recipe(
        (("hands2017", "hands2017"),),
        (Training("v2v:hands2017", overrides=(REFINED,)),),
        *("mpjpe_mm", 9.95, "Moon et al. 2018, of the challenge's test frames"),
        data="{data}/hands2017/hands2017",
        checkpoint="all",
        note="ours is of a tenth of the training frames: labels of the test frames are not public",
        petaflop=1720,
        gigabytes=3.6,
    ),
    ("v2v", "itop"): Recipe(
        (("itop", "side"),),
        (Training("v2v:itop"),),
        *("itop.map_10cm_percent", 88.74, V2V),
        data="{data}/itop/side",
        checkpoint="all",
        petaflop=36,
        gigabytes=3.6,
    ),
    ("integral", "human36m"): Recipe(
        (("human36m", "train"), ("human36m", "validmin"), ("mpii", "")),
        (Training("body:integral,h36m_mpii"),),
        *("mpjpe_mm", 49.6, "Sun et al. 2018, with MPII"),
        note="from random weights; the paper starts from ImageNet's (config.init)",
        petaflop=652,
        gigabytes=28.1,
    ),
    ("posenet2d", "rhd"): Recipe(
        (("rhd", ""),),
        (Training("posenet2d:rhd,dsnt"),),
        *("auc", 0.846, "jiangxubin/hand_pose, DSNT, 30,000 steps"),
        note="from random weights; the original starts from weights of hand3d",
        petaflop=42,
        gigabytes=1.6,
    ),
    ("posenet2d", "stb"): Recipe(
        (("stb", "bb"),),
        (Training("posenet2d:stb,dsnt"),),
        *("auc", 0.938, "jiangxubin/hand_pose, DSNT, 60,000 steps"),
        note="its test frames were drawn at random and are not known; ours are B1 of the authors",
        petaflop=42,
        gigabytes=1.6,
    ),
    ("cpm", "handdb"): Recipe(
        (("panoptic_hand", "manual"),),
        (Training("cpm:handdb"),),
        *("auc", None, ""),
        note="no paper has this network's figure on HandDB's own test images",
        petaflop=990,
        gigabytes=7.2,
    ),
    ("spherehand", "nyu"): Recipe(
        (("nyu_hand", "multiview"),),
        (
            Training("spherehand", "labelled"),
            Training("spherehand:nyu", overrides=("config.init={workdir}/labelled", REFINED)),
        ),
        *("mpjpe_mm", 13.0, "the author's log (melonwan/sphereHand, issue 7), epoch 19"),
        data="{data}/nyu_hand/multiview",
        petaflop=74,
        gigabytes=1.4,
    ),
}


def main(argv: Sequence[str]) -> None:
    cut = argv.index("--") if "--" in argv else len(argv)
    more = list(argv[cut + 1 :])
    flags = _parser().parse_args(argv[:cut])
    if flags.list:
        for (system, dataset), recipe in RECIPES.items():
            print(f"{system:10} {dataset:10} {_cost(recipe)}; {_told(recipe)}")
        return
    if not (flags.system and flags.dataset and flags.raw and flags.workdir):
        raise ValueError("expected SYSTEM DATASET --raw FOLDER --workdir DIR, or --list")
    recipe = RECIPES.get((flags.system, flags.dataset))
    if recipe is None:
        known = ", ".join(f"{system} {dataset}" for system, dataset in RECIPES)
        raise ValueError(f"{flags.system} {flags.dataset}: no such pair; expected one of {known}")
    if not flags.raw.is_dir():
        raise FileNotFoundError(f"--raw {flags.raw}: no such folder; expected the raw files")
    several = len({name for name, _ in recipe.prepared}) > 1
    for name, config in recipe.prepared:
        _prepare(name, config, flags.raw / name if several else flags.raw, flags.workdir / "data")
    for training in recipe.trainings:
        _train(training, recipe, flags.workdir, more)
    found = []
    for training in recipe.trainings[-recipe.runs :]:
        found.append(_evaluate(training, recipe, flags.workdir))
    ours = statistics.fmean(found)
    print(f"{recipe.metric}: {ours:.3f} here; published: {_told(recipe)}", flush=True)


def _parser() -> cli.Parser:
    parser = cli.Parser(prog="python scripts/reproduce.py", description=__doc__)
    parser.add_argument("system", nargs="?", metavar="SYSTEM")
    parser.add_argument("dataset", nargs="?", metavar="DATASET")
    parser.add_argument(
        "--raw",
        type=Path,
        metavar="FOLDER",
        help="the raw files; where several sets are needed, in a folder each: FOLDER/human36m, ...",
    )
    parser.add_argument("--workdir", type=Path, metavar="DIR", help="for all that is made")
    parser.add_argument("--list", action="store_true", help="print the pairs and their figures")
    return parser


def _told(recipe: Recipe) -> str:
    value = "unknown" if recipe.published is None else f"{recipe.published:g}"
    told = f"{recipe.metric} {value}" + (f" ({recipe.source})" if recipe.source else "")
    return told + (f"; {recipe.note}" if recipe.note else "")


def _cost(recipe: Recipe) -> str:
    """An estimate for a GPU of TERAFLOPS; nobody has measured one."""
    hours = recipe.petaflop / TERAFLOPS / 3.6
    return f"about {hours:3.0f} h at {TERAFLOPS:g} TFLOP/s, {recipe.gigabytes:g} GB"


def _prepare(name: str, config: str, raw: Path, data: Path) -> None:
    if any(data.joinpath(name, config).glob("**/dataset_info.json")):
        return
    options = ["--config", config] if config else []
    _run("handjax.prepare", name, "--manual_dir", raw, "--data_dir", data, *options)


def _train(training: Training, recipe: Recipe, workdir: Path, more: Sequence[str]) -> None:
    folder = workdir / training.name
    own = [f"--{each.format(workdir=workdir)}" for each in training.overrides]
    if training.config != "spherehand":  # synthetic hands
        own.append(f"--config.data.path={_data(recipe, workdir)}")
    _run("handjax.train", "--config", training.config, "--workdir", folder, *own, *more)


def _data(recipe: Recipe, workdir: Path) -> Path:
    """The folder of the prepared sets, or that of the only version of one of them."""
    folder = Path(recipe.data.format(data=workdir / "data"))
    if recipe.data == "{data}":
        return folder
    return max(folder.glob("**/dataset_info.json")).parent


def _evaluate(training: Training, recipe: Recipe, workdir: Path) -> float:
    report = workdir / f"report_{training.name}" if recipe.runs > 1 else workdir / "report"
    if not (report / "metrics.json").exists():
        options = ["--checkpoint", recipe.checkpoint, "--output", report]
        _run("handjax.evaluate", "--workdir", workdir / training.name, *options)
    value = json.loads((report / "metrics.json").read_text())
    for key in recipe.metric.split("."):
        value = value[key]
    return float(value)


def _run(module: str, *arguments: str | Path) -> None:
    """A command of handjax; what it prints says why it fails, and its exit code is ours."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    print("$", *command[1:], flush=True)
    if code := subprocess.run(command, check=False).returncode:
        sys.exit(code)


if __name__ == "__main__":
    cli.run(main)
