"""python -m handjax.evaluate: measures predicted joints and writes metrics.json and a self-contained report.html.

    python -m handjax.evaluate --workdir DIR [--checkpoint best] [--output OUT] [--config.KEY=VALUE …]

restores a trained run onto whatever devices there are and measures it on its held-out samples. Several checkpoints, as in
--checkpoint 800,900,1000 or --checkpoint all, are averaged (the epoch ensemble of V2V-PoseNet).

    python -m handjax.evaluate --predictions FILE --groundtruth FILE --dataset nyu|icvl|msra --workdir DIR

measures a file of (u, v, d) predictions, the form in which awesome-hand-pose-estimation collects published results.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from handjax import results
from handjax.data.predictions import FORMATS, Predictions, read_pair
from handjax.engine import cli
from handjax.pose.published import TEST_FRAMES


def parser() -> cli.Parser:
    flags = cli.Parser(prog="python -m handjax.evaluate", description=__doc__)
    flags.add_argument("--workdir", metavar="DIR", required=True, help="of the run; with --predictions, for the results")
    flags.add_argument(
        "--checkpoint",
        metavar="WHICH",
        help="last, best, all, or steps joined by commas; several are averaged (default: last)",
    )
    flags.add_argument(
        "--ensemble", choices=("mean", "max"), help="of several: mean joint (default), or that of highest confidence"
    )
    flags.add_argument("--output", metavar="OUT", help="where the results go (default: DIR/evaluation)")
    flags.add_argument("--predictions", metavar="FILE", help="predicted joints: one frame a line, u v d of every joint")
    flags.add_argument("--groundtruth", metavar="FILE", help="true joints of the same frames, in the same form")
    flags.add_argument("--dataset", choices=sorted(FORMATS), help="fixes the number and order of joints and the camera")
    return flags


def main(argv: Sequence[str]) -> None:
    argv, overrides = cli.split_overrides(argv)
    flags = parser().parse_args(argv)
    files = {name: getattr(flags, name) for name in ("predictions", "groundtruth", "dataset")}
    if not any(files.values()):
        evaluate_run(Path(flags.workdir), flags.checkpoint or "last", flags.ensemble or "mean", overrides, flags.output)
        return
    if missing := [f"--{name}" for name, value in files.items() if not value]:
        raise ValueError(f"{' and '.join(missing)} missing: prediction files need all three")
    if overrides or flags.output or flags.checkpoint or flags.ensemble:
        raise ValueError("--checkpoint, --ensemble, --output and --config.KEY belong to a trained run, not to --predictions")
    evaluate_files(workdir=flags.workdir, **files)


def evaluate_files(predictions: str, groundtruth: str, dataset: str, workdir: str) -> None:
    """Measures one text file of predictions against another of truth."""
    form = FORMATS[dataset]
    pred, true = read_pair(predictions, groundtruth, dataset)
    lines = [f"line {n + 1}" for n in range(len(pred))]
    evaluated = results.Evaluated(Path(predictions).stem, lines, pred, true, form.skeleton)
    metrics = evaluated.metrics() | {"dataset": dataset, "predictions": predictions, "groundtruth": groundtruth}
    print(results.as_text(metrics))
    results.write_results(
        workdir,
        metrics,
        results.sections(evaluated, metrics, compare=dataset, apart=30),
        title=f"{evaluated.name} on {form.title}",
        subtitle=f"{predictions} against {groundtruth}",
    )


def evaluate_run(workdir: Path, which: str, ensemble: str, overrides: Sequence[str], output: str | None) -> None:
    """Restores checkpoints of a run and measures what they predict, together."""
    # A network is needed here and not above: prediction files are measured without waiting for JAX.
    from functools import partial

    import jax

    from handjax.engine import config as configs
    from handjax.engine import sharding
    from handjax.engine.checkpoint import Checkpoints
    from handjax.engine.evaluation import predict_split
    from handjax.engine.optimizer import make_optimizer
    from handjax.engine.step import eval_step, state_target
    from handjax.sources import SOURCES
    from handjax.tasks import TASKS

    path = workdir / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; --workdir names the folder of a trained run")
    try:
        config = configs.from_json(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path}: not a config ({error})") from error
    config = configs.override(config, overrides)
    if config.compile_cache:
        cli.use_compile_cache()
    mesh = sharding.make_mesh(config.devices if config.devices <= len(jax.devices()) else 0)
    batch_size = -(-config.eval_batch_size // mesh.size) * mesh.size  # as many more as the devices need; padding is masked
    source = configs.choose(SOURCES, config, "data.name")(config, train=False)
    task = configs.choose(TASKS, config, "task.name")(config, source.skeleton)
    checkpoints = Checkpoints(workdir / "checkpoints", read_only=True)
    steps = chosen_steps(checkpoints, which)

    target = state_target(task, make_optimizer(config.optimizer, config.steps), mesh)
    rows_of = jax.jit(partial(eval_step, task=task, expand=source.expand), out_shardings=sharding.whole(mesh))
    runs = []
    for step in steps:
        print(f"checkpoint of step {step}, {source.about}", flush=True)
        state = checkpoints.restore(step, target)
        rows, _ = predict_split(rows_of, state, source, batch_size, mesh, show=True)
        runs.append(task.finish(rows))
    checkpoints.close()
    name = f"step {steps[0]}" if len(steps) == 1 else f"{ensemble} of {len(steps)} checkpoints"
    rows = combine(runs, ensemble)
    report_run(Path(output or workdir / "evaluation"), task, source, rows, name, history=workdir / "metrics.jsonl")


def chosen_steps(checkpoints, which: str) -> list[int]:
    """`last`, `best`, `all` or `100,200` → steps that have a checkpoint."""
    steps = checkpoints.steps()
    if not steps:
        raise FileNotFoundError(f"{checkpoints.folder}: no checkpoint there")
    if which in ("last", "all"):
        return steps if which == "all" else steps[-1:]
    if which == "best":
        best = checkpoints.best()
        if best is None:
            raise ValueError(f"{checkpoints.folder}: no checkpoint was saved at an evaluation; use --checkpoint last")
        return [best]
    try:
        wanted = [int(step) for step in which.split(",")]
    except ValueError:
        raise ValueError(f"--checkpoint {which}: expected last, best, all, or steps such as 100,200") from None
    if lost := [step for step in wanted if step not in steps]:
        raise ValueError(f"--checkpoint {which}: there is none of step {lost[0]}; there are {', '.join(map(str, steps))}")
    return wanted


def combine(runs: Sequence[dict], ensemble: str) -> dict:
    """Finished rows of several checkpoints → one: joints averaged in mm (Moon et al. 2018), or each joint from the
    checkpoint whose heat map is highest."""
    if len(runs) == 1:
        return runs[0]
    joints, confidence = (np.stack([rows[name] for rows in runs]) for name in ("joints_xyz", "confidence"))
    if ensemble == "mean":
        merged = joints.mean(0)
    else:
        merged = np.take_along_axis(joints, confidence.argmax(0)[None, ..., None], axis=0)[0]
    return {**runs[0], "joints_xyz": merged, "confidence": confidence.max(0)}


def report_run(folder: Path, task, source, rows: dict, name: str, history: Path) -> None:
    """Scores a run's finished rows and writes metrics.json, predictions.npz and report.html into `folder`."""
    predicted, true = rows["joints_xyz"], rows["true_joints_xyz"]
    metrics = task.score(rows) | {"evaluated": source.about, "checkpoint": name}
    ids = source.names(rows["index"])
    evaluated = results.Evaluated(f"handjax, {name}", ids, predicted, true, source.skeleton)
    print(results.as_text(metrics))
    data = "icvl" if source.skeleton.name == "icvl16" else "nyu"
    overview, *pages = results.sections(
        evaluated,
        metrics,
        compare=data,
        comparable=source.skeleton.name.startswith(data) and len(ids) == TEST_FRAMES[data],
        pictures=_pictures(task, source, rows["index"]),
    )
    results.write_results(
        folder,
        metrics,
        [overview, *results.learning(history), *pages],
        title=f"{task.title}, {name}",
        subtitle=source.about,
        predictions=Predictions(tuple(ids), predicted, true),
    )


def _pictures(task, source, indices) -> Callable[[int], tuple]:
    """What the network sees of the n-th row, from the front and from the side, where it is in camera mm."""
    import jax

    @jax.jit
    def look(batch):
        inputs = task.prepare(jax.random.split(jax.random.key(0), 1), source.expand(batch), False)
        return *task.views(inputs), inputs["center_xyz"], inputs["cube_mm"]

    def pictures(n):
        looked = jax.device_get(look(source.eval_rows(indices[n : n + 1])))
        front, side, center, cube = (value[0] for value in looked)
        front, side = (np.where(view > 0, 1.0 - view, np.nan) for view in (front, side))
        low, high = (center - cube / 2).tolist(), (center + cube / 2).tolist()
        return (
            results.Picture(front, (low[0], high[0], low[1], high[1])),
            results.Picture(side, (low[2], high[2], low[1], high[1])),
        )

    return pictures


if __name__ == "__main__":
    cli.run(main)
