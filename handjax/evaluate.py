"""python -m handjax.evaluate: measures predicted joints and writes metrics.json and a self-contained report.html.

    python -m handjax.evaluate --workdir DIR [--checkpoint best] [--output OUT] [--config.KEY=VALUE …]

restores a trained run onto whatever devices there are and measures it on its held-out samples. Several checkpoints, as in
--checkpoint 800,900,1000 or --checkpoint all, are averaged (the epoch ensemble of V2V-PoseNet).

    python -m handjax.evaluate --predictions FILE --groundtruth FILE --dataset nyu|icvl|msra --workdir DIR

measures a file of (u, v, d) predictions, the form in which awesome-hand-pose-estimation collects published results.

    python -m handjax.evaluate --predictions FILE.npz|FILE.json|FOLDER [--groundtruth …] [--dataset rhd|stb|handdb] --workdir DIR

measures image joints: predictions.npz of a 2D run, which holds its own truth; predictions.json of handjax.predict; and json files
of {"img_name", "hand_pts"}, one a picture, as hand_pose and HandDB have them, in the joint order of --dataset. Hands are matched
by the names of their pictures.

    python -m handjax.evaluate --predictions predictions.npz --workdir DIR

measures those of a run on bodies again. With --submission FOLDER what a run predicts of the Human3.6M challenge of ECCV 2018 is
written there too, one 00001.csv a frame, as the challenge takes it:

    python -m handjax.evaluate --workdir DIR --submission FOLDER --config.data.eval_sets="('human36m_challenge',)" \
        --config.data.eval_split=test
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from handjax.data.formats.hand_labels import ORDERS_2D, read_hands, skeleton_of
from handjax.data.formats.predictions_npz import read_arrays, read_predictions2d
from handjax.data.formats.uvd_text import UVD_FORMATS, read_pair
from handjax.engine import cli
from handjax.metrics.published.keypoints2d import TEST_HANDS
from handjax.pose.skeleton import Skeleton
from handjax.reports import base as results
from handjax.reports.body import Bodies
from handjax.reports.joints3d import Joints3d
from handjax.reports.keypoints2d import Joints2d
from handjax.reports.submission import check_new, frame_numbers, write_submission

# A row of a task → what holds its joints against the truth; the first that is there counts.
KINDS = {kind.row: kind for kind in (Bodies, Joints3d, Joints2d)}


def parser() -> cli.Parser:
    flags = cli.Parser(prog="python -m handjax.evaluate", description=__doc__)
    flags.add_argument(
        "--workdir",
        metavar="DIR",
        required=True,
        help="of the run; with --predictions, for the results",
    )
    flags.add_argument(
        "--checkpoint",
        metavar="WHICH",
        help="last, best, all, or steps joined by commas; several are averaged (default: last)",
    )
    flags.add_argument(
        "--ensemble",
        choices=("mean", "max"),
        help="of several: mean joint (default), or that of highest confidence",
    )
    flags.add_argument(
        "--output", metavar="OUT", help="where the results go (default: DIR/evaluation)"
    )
    flags.add_argument(
        "--predictions",
        metavar="FILE",
        help="predicted joints: text, u v d of a frame a line; .npz; or json",
    )
    flags.add_argument("--groundtruth", metavar="FILE", help="true joints of the same frames")
    flags.add_argument(
        "--submission",
        metavar="FOLDER",
        help="a new folder for files of the Human3.6M challenge of ECCV 2018",
    )
    flags.add_argument(
        "--dataset", choices=(*sorted(UVD_FORMATS), *ORDERS_2D), help="fixes joints, order and camera"
    )
    return flags


def main(argv: Sequence[str]) -> None:
    argv, overrides = cli.split_overrides(argv)
    flags = parser().parse_args(argv)
    files = {name: getattr(flags, name) for name in ("predictions", "groundtruth", "dataset")}
    if flags.submission:
        check_new(flags.submission)  # before the work is done
    if not any(files.values()):
        which, ensemble = flags.checkpoint or "last", flags.ensemble or "mean"
        evaluate_run(
            Path(flags.workdir), which, ensemble, overrides, flags.output, flags.submission
        )
        return
    path = Path(files["predictions"] or "")
    hands = (
        files["dataset"] in ORDERS_2D
        or path.suffix in (".npz", ".json")
        or (files["predictions"] and path.is_dir())
    )
    needed = ("predictions",) if hands else tuple(files)
    if missing := [f"--{name}" for name in needed if not files[name]]:
        raise ValueError(
            f"{' and '.join(missing)} missing: prediction files need {'them' if hands else 'all three'}"
        )
    if overrides or flags.output or flags.checkpoint or flags.ensemble:
        raise ValueError(
            "--checkpoint, --ensemble, --output and --config.KEY belong to a trained run, not to --predictions"
        )
    if path.suffix == ".npz" and "has_xyz" in read_arrays(path, ("ids",), ("has_xyz",)):
        evaluate_bodies(flags.workdir, flags.submission, **files)
        return
    if flags.submission:
        raise ValueError(f"--submission is for bodies; {path} holds none")
    (evaluate_hands if hands else evaluate_files)(workdir=flags.workdir, **files)


def evaluate_files(predictions: str, groundtruth: str, dataset: str, workdir: str) -> None:
    """Measures one text file of predictions against another of truth."""
    form = UVD_FORMATS[dataset]
    pred, true = read_pair(predictions, groundtruth, dataset)
    lines = [f"line {n + 1}" for n in range(len(pred))]
    evaluated = Joints3d(Path(predictions).stem, lines, pred, true, form.skeleton)
    metrics = evaluated.metrics() | {
        "dataset": dataset,
        "predictions": predictions,
        "groundtruth": groundtruth,
    }
    _write(
        workdir, evaluated, metrics, f"{evaluated.name} on {form.title}", dataset, True, apart=30
    )


def evaluate_hands(
    predictions: str, groundtruth: str | None, dataset: str | None, workdir: str
) -> None:
    """Measures image joints of an .npz or of json files, against the truth that lies with them or in other files."""
    if dataset in UVD_FORMATS:
        raise ValueError(
            f"--dataset {dataset} is for text files of u v d; {predictions} needs {', '.join(ORDERS_2D)} or none"
        )
    evaluated = _hands(predictions, groundtruth, dataset or "")
    metrics = evaluated.metrics() | {
        "dataset": dataset,
        "predictions": predictions,
        "groundtruth": groundtruth,
    }
    compare, comparable = evaluated.benchmark(dataset if dataset in TEST_HANDS else "")
    _write(
        workdir,
        evaluated,
        metrics,
        f"{evaluated.name}, {len(evaluated.ids)} hands",
        compare,
        comparable,
    )


def evaluate_bodies(
    workdir: str,
    submission: str | None,
    predictions: str,
    groundtruth: str | None,
    dataset: str | None,
) -> None:
    """Measures the predictions.npz of a run on bodies, which holds its own truth."""
    if groundtruth or dataset:
        raise ValueError(
            f"{predictions} holds its own truth: --groundtruth and --dataset do not go with it"
        )
    evaluated = Bodies.read(predictions)
    metrics = evaluated.metrics() | {"predictions": predictions, "groundtruth": None}
    if submission:
        submit(submission, evaluated)
    _write(
        workdir,
        evaluated,
        metrics,
        f"{evaluated.name}, {len(evaluated.ids)} people",
        *evaluated.benchmark(""),
    )


def submit(folder: str, evaluated: Bodies) -> None:
    """Writes the challenge's files."""
    poses = dict(zip(frame_numbers(evaluated.ids), evaluated.pred, strict=True))
    write_submission(folder, poses)


def _hands(predictions: str, groundtruth: str | None, order: str) -> Joints2d:
    name = Path(predictions).stem
    if groundtruth is None:
        if not predictions.endswith(".npz"):
            raise ValueError(
                f"--groundtruth missing: {predictions} holds no truth; only the predictions.npz of a run does"
            )
        given = read_predictions2d(predictions)
        if given.truth is None:
            raise ValueError(
                f"{predictions}: holds no truth; name the true joints by --groundtruth"
            )
        more = {
            field: getattr(given, field)
            for field in ("visible", "confidence", "box_px", "image_px")
        }
        skeleton = skeleton_of(given.joints, predictions)
        return Joints2d(
            name, given.ids, given.joints_uv, given.truth, skeleton, given.labelled, **more
        )
    skeleton, pred = _named(predictions, order)
    other, true = _named(groundtruth, order)
    if skeleton != other:
        raise ValueError(
            f"{predictions} has joints of {skeleton.name}, {groundtruth} of {other.name}: expected the same"
        )
    if lost := sorted(true.keys() ^ pred.keys()):
        where, there = (groundtruth, predictions) if lost[0] in true else (predictions, groundtruth)
        raise ValueError(
            f"{where} has {lost[0]}, {there} has not ({len(lost)} such pictures); both must list the same pictures"
        )
    ids = sorted(true)
    pred, true = (np.stack([hands[i] for i in ids]) for hands in (pred, true))
    visible, uv = true[..., 2] > 0, true[..., :2]
    labelled = visible | (uv != 0).any(-1)
    low, high = (
        pick(np.where(labelled[..., None], uv, edge), axis=1)
        for pick, edge in ((np.min, np.inf), (np.max, -np.inf))
    )
    box_px = np.where(labelled.any(-1), (high - low).max(-1), 1.0)
    return Joints2d(
        name, ids, pred[..., :2], uv, skeleton, labelled, visible=visible, box_px=box_px
    )


def _named(path: str, order: str) -> tuple[Skeleton, dict[str, np.ndarray]]:
    """x y and visibility (or confidence) of the hand in each picture, by the picture's name without its ending."""
    if not path.endswith(".npz"):
        skeleton, hands = read_hands(path, order)
    else:
        given = read_predictions2d(path)
        skeleton = skeleton_of(given.joints, path)
        seen = np.ones(given.joints_uv.shape[:2]) if given.confidence is None else given.confidence
        hands = dict(
            zip(given.ids, np.concatenate([given.joints_uv, seen[..., None]], axis=-1), strict=True)
        )
    plain = {
        re.sub(r"\.(png|jpe?g)$", "", name, flags=re.IGNORECASE): points
        for name, points in hands.items()
    }
    if len(plain) < len(hands):
        raise ValueError(f"{path}: pictures that differ by their endings alone; rename them")
    return skeleton, plain


def _write(workdir, evaluated, metrics, title, compare, comparable, apart=1) -> None:
    print(results.as_text(evaluated.figures(metrics)))
    results.write_results(
        workdir,
        metrics,
        evaluated.sections(metrics, compare=compare, comparable=comparable, apart=apart),
        title=title,
        subtitle=f"{metrics['predictions']} against {metrics['groundtruth'] or 'the truth in it'}",
    )


def evaluate_run(
    workdir: Path,
    which: str,
    ensemble: str,
    overrides: Sequence[str],
    output: str | None,
    submission: str | None = None,
) -> None:
    """Restores checkpoints of a run and measures what they predict, together."""
    # JAX is imported here and not above: prediction files are evaluated without it.
    from handjax import run

    opened = run.open_run(workdir, overrides)
    source, task = opened.source, opened.task
    if submission and source.skeleton.name != "body18":
        raise ValueError(
            f"--submission is for bodies; this run finds joints of {source.skeleton.name}"
        )
    if submission:
        frame_numbers(source.names(np.arange(source.eval_size)))  # before the work is done
    steps, runs = [], []
    for step, state in opened.restore(which):
        print(f"checkpoint of step {step}, {source.description}", flush=True)
        steps.append(step)
        runs.append(opened.predict(state)[0])
    name = f"step {steps[0]}" if len(steps) == 1 else f"{ensemble} of {len(steps)} checkpoints"
    rows = run.combine(runs, ensemble)
    evaluated = report_run(
        Path(output or workdir / "evaluation"),
        task,
        source,
        rows,
        name,
        history=workdir / "metrics.jsonl",
    )
    if submission:
        submit(submission, evaluated)


def kind_of(rows: dict) -> type[results.Evaluated]:
    """What the finished rows of a task are measured as."""
    return next(kind for row, kind in KINDS.items() if row in rows)


def report_run(
    folder: Path, task, source, rows: dict, name: str, history: Path
) -> results.Evaluated:
    """Scores a run's finished rows and writes what `write_results` does into `folder`; returns what was scored."""
    metrics = task.score(rows) | {"evaluated": source.description, "checkpoint": name}
    evaluated = kind_of(rows).of_rows(
        f"handjax, {name}", source.names(rows["index"]), rows, source.skeleton
    )
    print(results.as_text(evaluated.figures(metrics)))
    compare, comparable = evaluated.benchmark(source.benchmark)
    pictures = _pictures(task, source, rows["index"])
    overview, *pages = evaluated.sections(
        metrics, compare=compare, comparable=comparable, pictures=pictures
    )
    results.write_results(
        folder,
        metrics,
        [overview, *results.learning(history, task.monitor), *pages],
        title=f"{task.title}, {name}",
        subtitle=source.description,
        predictions=evaluated.predictions(),
    )
    return evaluated


def _pictures(task, source, indices) -> results.Pictures:
    """What the network sees of the n-th row: the task's `views`, and the cube where it is one."""
    import jax

    @jax.jit
    def look(batch):
        inputs = task.prepare(
            jax.random.split(jax.random.key(0), 1), source.materialize(batch, None), False
        )
        return task.visualize(inputs), {
            name: inputs[name] for name in ("center_xyz", "cube_mm") if name in inputs
        }

    def pictures(n):
        return jax.tree.map(
            lambda x: x[0], jax.device_get(look(source.eval_rows(indices[n : n + 1])))
        )

    return pictures


if __name__ == "__main__":
    cli.run(main)
