"""handjax evaluate: evaluates predicted joints; writes metrics.json and report.html.

    handjax evaluate --workdir DIR [--checkpoint best] [--output OUT] [--config.KEY=…]

restores a trained run on the devices there are and evaluates it on its evaluation split. Several
checkpoints, as in --checkpoint 800,900,1000 or --checkpoint all, are averaged (the epoch ensemble
of V2V-PoseNet).

    handjax evaluate --predictions FILE --groundtruth FILE --dataset nyu|icvl|msra \\
        --output OUT

evaluates a text file of (u, v, d), the format of the published results that
awesome-hand-pose-estimation collects. Predictions in another form are refused and the form is
named; --form "x y z in mm, y up", say, takes them as that.

    handjax evaluate --predictions FILE.npz|FILE.json|FOLDER [--groundtruth …] \\
        [--dataset rhd|stb|handdb] --output OUT

evaluates image joints: predictions.npz of a 2D run, which contains its ground truth;
predictions.json of handjax predict; and json files of {"img_name", "hand_pts"}, one per image, as
in hand_pose and HandDB, in the joint order of --dataset. Hands are matched by image name.

    handjax evaluate --predictions predictions.npz [--groundtruth TRUE.npz] --output OUT

evaluates the predictions.npz of any run again. Those of 3D joints may also have their ground truth
in another .npz: ids, and joints_xyz [n, j, 3] in camera mm. --dataset adds the metrics of a data
set's own rules: freihand (with F-scores if both files have vertices [n, v, 3]), dexycb, ho3d,
hands2017 (by seen and unseen people if the ground truth has seen [n]), itop, and mpi_inf_3dhp of
people. With --submission FOLDER, predictions for the Human3.6M challenge of ECCV 2018 are written
there in its format, one 00001.csv per frame:

    handjax evaluate --workdir DIR --submission FOLDER \\
        --config.data.eval_sets="('human36m_challenge',)" --config.data.eval_split=test
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from handjax.data.formats.hand_labels import ORDERS_2D
from handjax.data.formats.uvd_text import UVD_FORMATS
from handjax.engine import cli, runtime
from handjax.metrics.protocols import SKELETON_OF
from handjax.reports import prediction_files
from handjax.reports.submission import check_new, frame_numbers, submit


def parser() -> cli.Parser:
    flags = cli.Parser(prog="handjax evaluate", description=__doc__)
    flags.add_argument(
        "--workdir",
        metavar="DIR",
        help="folder of the run; with --predictions, the same as --output",
    )
    flags.add_argument(
        "--checkpoint",
        metavar="WHICH",
        help="last, best, all, or steps separated by commas; several are averaged (default: last)",
    )
    flags.add_argument(
        "--ensemble",
        choices=("mean", "max"),
        help="of several checkpoints: mean joint (default), or the one of highest confidence",
    )
    flags.add_argument(
        "--output", metavar="OUT", help="folder for the results (default: DIR/evaluation of a run)"
    )
    flags.add_argument(
        "--predictions",
        metavar="FILE",
        help="predicted joints: text, u v d of one frame per line; .npz; or json",
    )
    flags.add_argument("--groundtruth", metavar="FILE", help="true joints of the same frames")
    flags.add_argument(
        "--form", metavar="NAME", help="of text predictions that are not u v d, as errors name it"
    )
    flags.add_argument(
        "--submission",
        metavar="FOLDER",
        help="new folder for the files of the Human3.6M challenge of ECCV 2018",
    )
    flags.add_argument(
        "--dataset",
        choices=tuple(dict.fromkeys((*sorted(UVD_FORMATS), *ORDERS_2D, *SKELETON_OF))),
        help="defines the joints, their order and the camera",
    )
    return flags


def main(argv: Sequence[str]) -> None:
    argv, overrides = cli.split_overrides(argv)
    flags = parser().parse_args(argv)
    files = (flags.predictions, flags.groundtruth, flags.dataset)
    if flags.submission:
        check_new(flags.submission)  # fails before the work is done
    if not any((*files, flags.form)):
        if not flags.workdir:
            raise ValueError(
                "--workdir missing: name the folder of a run, or files by --predictions"
            )
        which, ensemble = flags.checkpoint or "last", flags.ensemble or "mean"
        evaluate_run(
            Path(flags.workdir), which, ensemble, overrides, flags.output, flags.submission
        )
        return
    prediction_files.require(*files)
    if overrides or flags.checkpoint or flags.ensemble:
        raise ValueError(
            "--checkpoint, --ensemble and --config.KEY are for a trained run, not for --predictions"
        )
    if bool(flags.output) == bool(flags.workdir):
        raise ValueError("--predictions needs one folder for the results: give --output OUT")
    prediction_files.evaluate(*files, flags.output or flags.workdir, flags.submission, flags.form)


def evaluate_run(
    workdir: Path,
    which: str,
    ensemble: str,
    overrides: Sequence[str],
    output: str | None,
    submission: str | None = None,
) -> None:
    """Restores checkpoints of a run and evaluates their combined predictions."""
    # Imported here, not above: prediction files are evaluated without JAX.
    print(f"evaluating {workdir}", flush=True)
    from handjax import run as runs
    from handjax.reports.run import report_run

    runtime.tell_compiling()
    run = runs.open_run(workdir, overrides)
    source = run.source
    if submission and source.skeleton.name != "body18":
        raise ValueError(
            f"--submission needs people; this run predicts joints of {source.skeleton.name}"
        )
    if submission:
        frame_numbers(source.names(np.arange(source.eval_size)))  # fails before the work is done
    steps, results = [], []
    for step, state in run.restore(which):
        print(f"checkpoint of step {step}, {source.description}", flush=True)
        steps.append(step)
        results.append(run.predict(state)[0])
    name = f"step {steps[0]}" if len(steps) == 1 else f"{ensemble} of {len(steps)} checkpoints"
    rows = runs.combine(results, ensemble)
    folder = Path(output or workdir / "evaluation")
    report = report_run(folder, run.task, source, rows, name, workdir / "metrics.jsonl")
    if submission:
        submit(submission, report.ids, report.pred)


if __name__ == "__main__":
    cli.run(main)
