"""Self-supervised training of the sphere hand: what depth images without labels add.

    python scripts/selfsup.py --workdir DIR [--runs all] [--config.KEY=VALUE …]

Trains the sphere hand on labelled synthetic hands (`configs/spherehand.py:quick`) and then, from
those weights, on unlabelled views of a second population: hands of another build in front of
another sensor (`:selfsup,quick`). Evaluates unseen hands of the second population with random
weights, after the first training and after the second.

`--runs all` adds an ablation: runs of `--ablation_steps` that leave out one term of the loss, and
more. DIR gets a folder per run, and table.md and table.json of the finished runs; rerun the command
to resume. `--config.KEY=VALUE` applies to all runs.
"""

import json
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # for configs/

from handjax import run as runs  # noqa: E402
from handjax import train  # noqa: E402
from handjax.engine import cli  # noqa: E402
from handjax.engine import config as configs  # noqa: E402
from handjax.engine.files import read_jsonl  # noqa: E402

CONFIG = ROOT / "configs" / "spherehand.py"
TERMS = ("mv_projection", "mv_consistency", "uv_hm_mean", "pose_prior", "collision", "bone_length")
WEIGHT = "config.task.weights."
# Run → its overrides of `:selfsup,quick`; all have the same number of steps.
RUNS = {
    "all terms": (),
    **{f"without {term}": (f"{WEIGHT}{term}=0",) for term in TERMS},
    "each view by itself": ("config.task.across=False",),
    "without labelled hands": ("config.data.synthetic.count=0",),
    # The heat maps' own term stays: without any term an evaluation has no loss.
    "labelled hands alone": tuple(f"{WEIGHT}{term}=0" for term in TERMS if term != "uv_hm_mean"),
    "from random weights": ("config.init=",),
}


def main(argv: list[str]) -> None:
    argv, overrides = cli.split_overrides(argv)
    parser = cli.Parser(prog="scripts/selfsup.py", description=__doc__)
    parser.add_argument("--workdir", required=True, type=Path, metavar="DIR")
    parser.add_argument(
        "--runs", default="none", help=f"none, all, or names joined by commas: {', '.join(RUNS)}"
    )
    parser.add_argument("--ablation_steps", type=int, default=200, metavar="N")
    flags = parser.parse_args(argv)
    names = {"none": [], "all": list(RUNS)}.get(flags.runs, flags.runs.split(","))
    if unknown := [name for name in names if name not in RUNS]:
        raise ValueError(f"--runs {','.join(unknown)}: expected none, all, or of {', '.join(RUNS)}")

    first = flags.workdir / "synthetic"
    flags.workdir.mkdir(parents=True, exist_ok=True)
    if not (flags.workdir / "random.json").exists():
        (flags.workdir / "random.json").write_text(
            json.dumps({"mpjpe_mm": random_error(overrides)}) + "\n"
        )
    run(first, "quick", overrides)
    start = [*overrides, f"config.init={first}"]
    run(flags.workdir / "selfsup", "selfsup,quick", start)
    write(flags.workdir)
    for name in names:
        steps = [
            f"config.{key}={flags.ablation_steps}" for key in ("steps", "eval_every", "save_every")
        ]
        run(flags.workdir / name.replace(" ", "_"), "selfsup,quick", [*start, *steps, *RUNS[name]])
        write(flags.workdir)
    print((flags.workdir / "table.md").read_text())


def run(workdir: Path, variant: str, overrides: list[str]) -> None:
    """Trains or resumes a run and writes its time to spent.json."""
    print(f"\n{workdir.name}: configs/spherehand.py:{variant} {' '.join(overrides)}", flush=True)
    done, begun, worked = workdir / "done.json", time.monotonic(), time.process_time()
    finished = done.exists()
    train.train(configs.load(f"{CONFIG}:{variant}", overrides), workdir)
    if not finished:
        spent = {"seconds": time.monotonic() - begun, "cpu_seconds": time.process_time() - worked}
        (workdir / "spent.json").write_text(json.dumps(spent) + "\n")


def random_error(overrides: list[str]) -> float:
    """Mean error on the second population with the initial weights of this seed, mm."""
    config = configs.load(f"{CONFIG}:selfsup,quick", overrides)
    start = runs.build(config, train=False)
    rows, _ = start.predict(start.init_state())
    return start.task.score(rows)[start.task.monitor]


def write(workdir: Path) -> None:
    """Writes the tables of finished runs: errors on the second population, for the first training
    on its own."""
    rows = []
    for name in ("synthetic", "selfsup", *RUNS):
        folder = workdir / name.replace(" ", "_")
        if not (folder / "spent.json").exists():
            continue
        errors = [
            (line["step"], line["eval_mpjpe_mm"])
            for line in read_jsonl(folder / "metrics.jsonl")
            if "eval_mpjpe_mm" in line
        ]
        (_, before), (steps, after) = errors[0], errors[-1]
        spent = json.loads((folder / "spent.json").read_text())
        rows.append({"run": name, "steps": steps, "before_mm": before, "after_mm": after, **spent})
    (workdir / "table.json").write_text(json.dumps(rows, indent=2) + "\n")

    finished = {row["run"]: row for row in rows}
    lines = ["| weights | mean error on the second population, mm |", "|---|--:|"]
    if (workdir / "random.json").exists():
        lines.append(
            f"| random | {json.loads((workdir / 'random.json').read_text())['mpjpe_mm']:.1f} |"
        )
    if trained := finished.get("selfsup"):
        lines += [f"| after labelled synthetic hands | {trained['before_mm']:.1f} |"]
        lines += [f"| after {trained['steps']} steps without labels | {trained['after_mm']:.1f} |"]
    lines += [
        "",
        "| run | steps | before, mm | after, mm | compared with all terms, mm | CPU, s |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for name, row in finished.items():
        difference = (
            f"{row['after_mm'] - finished['all terms']['after_mm']:+.1f}"
            if name in RUNS and "all terms" in finished
            else ""
        )
        named = "synthetic, on its own population" if name == "synthetic" else name
        errors = f"{row['before_mm']:.1f} | {row['after_mm']:.1f} | {difference}"
        lines.append(f"| {named} | {row['steps']} | {errors} | {row['cpu_seconds']:.0f} |")
    (workdir / "table.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    cli.run(main)
