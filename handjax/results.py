"""Predictions held against the truth, as people read them: metrics.json, predictions.npz and a self-contained report.html."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from handjax.data.predictions import FORMATS, Predictions, write_predictions
from handjax.engine import report
from handjax.engine.files import read_jsonl, set_aside
from handjax.pose import metrics as measure
from handjax.pose.draw import Frame, Picture, draw_frames
from handjax.pose.published import SOURCE, THRESHOLDS_MM, published
from handjax.pose.skeleton import COLOURS, Skeleton

SHOWN_FRAMES = 4  # best ones, and as many worst ones
NAMED_METHODS = ("V2V-PoseNet", "Pose-REN", "HandPointNet", "DeepPrior++")  # and the best; the rest are faint


@dataclass(frozen=True)
class Evaluated:
    """Predictions held against the truth: camera-space mm in the skeleton's order. `name` labels them in charts."""

    name: str
    ids: Sequence[str]
    pred: np.ndarray  # [n, j, 3]
    true: np.ndarray  # [n, j, 3]
    skeleton: Skeleton
    visible: np.ndarray | None = None  # bool [n, j]

    def metrics(self) -> dict:
        return measure.summarize(self.pred, self.true, self.skeleton.joints, self.visible, self.skeleton.root)


def write_results(
    workdir: str | Path,
    metrics: dict,
    pages: Sequence[report.Section],
    title: str,
    subtitle: str,
    predictions: Predictions | None = None,
) -> Path:
    """Writes metrics.json, report.html and, if given, predictions.npz, and prints where; earlier ones keep their content under a
    numbered name."""
    workdir = Path(workdir)
    text = json.dumps(metrics, indent=2, allow_nan=False) + "\n"
    if workdir.exists() and not workdir.is_dir():
        raise NotADirectoryError(f"{workdir}: a file, not a folder; results need a folder")
    workdir.mkdir(parents=True, exist_ok=True)
    numbers, joints, page = (workdir / name for name in ("metrics.json", "predictions.npz", "report.html"))
    written = (numbers, page) if predictions is None else (numbers, joints, page)
    kept = {path.name: moved.name for path in written if (moved := set_aside(path))}
    if kept:
        print("kept the earlier " + " and ".join(f"{old} as {new}" for old, new in kept.items()))
    numbers.write_text(text, encoding="utf-8")
    if predictions is not None:
        write_predictions(joints, predictions)
    report.write_report(page, title, subtitle, pages, footer="handjax")
    print(f"report: {page.resolve()}")
    return page


def as_text(metrics: dict) -> str:
    """The figures as one plain table for a terminal."""
    rows = [
        ("frames x joints", f"{metrics['frames']:,} x {metrics['joints']}"),
        ("mean error", f"{metrics['mpjpe_mm']:.3f} mm"),
        ("median error", f"{metrics['median_mm']:.3f} mm"),
        ("mean after Procrustes", f"{metrics['pa_mpjpe_mm']:.3f} mm"),
        ("PCK area, 0 to 50 mm", f"{metrics['auc']:.3f}"),
    ]
    rows += [(f"worst joint within {t} mm", f"{p:.2f} %") for t, p in metrics["success_max_percent"].items()]
    rows += [(joint.replace("_", " "), "-" if mm is None else f"{mm:.2f} mm") for joint, mm in metrics["per_joint_mm"].items()]
    left, right = (max(len(row[i]) for row in rows) for i in (0, 1))
    return "\n".join(f"{name:<{left}}  {value:>{right}}" for name, value in rows)


def sections(
    evaluated: Evaluated,
    metrics: dict,
    compare: str | None = None,
    comparable: bool = True,
    pictures: Callable[[int], tuple[Picture | None, Picture | None]] | None = None,
    apart: int = 1,
) -> list[report.Section]:
    """The report's sections. `compare` names the data set of published results to show beside ours, `comparable` says
    whether ours were measured on it too; `pictures(frame index)` gives backgrounds for the front and the side view;
    frames of a video that are drawn lie `apart` frames from each other, or they would all look the same."""
    others = published(compare, aligned=True) if compare else ()
    pages = [_overview(metrics), _success(evaluated, metrics, others, comparable)]
    if others:
        pages.append(_beside_published(evaluated, metrics, others, comparable))
    return [*pages, _joints(evaluated, metrics), _frames(evaluated, pictures, apart), _definitions()]


def learning(history: Path) -> list[report.Section]:
    """The section of a run's learning curves, from its metrics.jsonl; none where there is none."""
    lines = read_jsonl(history) if history.is_file() else []
    held, loss = ([(x["step"], x[key]) for x in lines if key in x] for key in ("eval_mpjpe_mm", "loss"))
    if not held:
        return []
    charts = []
    first, last = held[0], held[-1]
    spoken = f"{first[1]:.2f} mm at step {first[0]}, {last[1]:.2f} mm at step {last[0]}"
    steps, errors = zip(*held, strict=True)
    line = report.Curve("held out", steps, errors, emphasis=True, markers=True)
    charts.append(report.curves([line], "step", "mean error (mm)", f"Held-out error: {spoken}.", f"Held-out error: {spoken}."))
    if len(loss) > 1:
        line = report.Curve("training loss", *zip(*loss, strict=True))
        spoken = f"Loss on training batches, from {loss[0][1]:.3g} to {loss[-1][1]:.3g}."
        charts.append(report.curves([line], "step", "loss", spoken, spoken, logy=True))
    return [report.section("Learning", *charts)]


def _overview(metrics: dict) -> report.Section:
    return report.section(
        "Summary",
        report.keys(
            report.Key("Mean error", metrics["mpjpe_mm"], "mm", "over all joints and frames", 3, "mpjpe_mm"),
            report.Key("Median error", metrics["median_mm"], "mm", "over all joints and frames", 3, "median_mm"),
            report.Key("After Procrustes", metrics["pa_mpjpe_mm"], "mm", "pose alone, mean error", 3, "pa_mpjpe_mm"),
            report.Key(
                "Good frames",
                metrics["success_max_percent"]["20"],
                "%",
                "no joint worse than 20 mm",
                2,
                "success_max_percent.20",
            ),
            report.Key("PCK area", metrics["auc"], "", "0 to 50 mm, 1 is perfect", 3, "auc"),
            report.Key("Frames", metrics["frames"], "", f"of {metrics['joints']} joints each", 0, "frames"),
        ),
    )


def _success(evaluated: Evaluated, metrics: dict, others: Sequence, comparable: bool) -> report.Section:
    curve = metrics["success_max_curve"]
    lines = [report.Curve(evaluated.name, curve["thresholds_mm"], curve["percent"], emphasis=True)]
    rivals = [row for row in others if not row.aligned]
    for rank, row in enumerate(rivals):
        named = rank == 0 or row.method in NAMED_METHODS
        lines.append(report.Curve(row.method, THRESHOLDS_MM, row.success_max, faint=not named, markers=True))
    percent = ", ".join(f"{p:.2f} % at {t} mm" for t, p in metrics["success_max_percent"].items())
    caption = "A frame counts when its worst joint is within the distance."
    if rivals:
        caption += f" Dots: published methods on {FORMATS[rivals[0].dataset].title}; the faint ones are in the table below."
        if not comparable:
            caption += " They were measured on that data set, ours were not: a guide to the eye, no comparison."
    return report.section(
        "Frames with every joint within a distance",
        report.curves(
            lines,
            "distance to the truth (mm)",
            "frames (%)",
            f"Success curve of {evaluated.name}: {percent}.",
            caption,
            ylim=(0, 101),
        ),
        report.table(
            ("frames (%) with", *(f"≤ {t} mm" for t in metrics["thresholds_mm"])),
            [
                ("worst joint", *metrics["success_max_percent"].values()),
                ("mean over the joints", *metrics["success_mean_percent"].values()),
            ],
        ),
    )


def _beside_published(evaluated: Evaluated, metrics: dict, others: Sequence, comparable: bool) -> report.Section:
    title = FORMATS[others[0].dataset].title
    ours = (evaluated.name, "", metrics["mpjpe_mm"], metrics["median_mm"], *metrics["success_max_percent"].values())
    theirs = [(row.method + " *" * row.aligned, row.venue, row.mean_mm, row.median_mm, *row.success_max) for row in others]
    rows = sorted([ours, *theirs], key=lambda row: row[2])
    notes = [f"Recomputed from the prediction files collected in {SOURCE}; percent of frames by their worst joint."]
    if any(row.aligned for row in others):
        notes.append("* uses, or was aligned to, the true root joint: not comparable with the others.")
    if not comparable:
        notes.append(f"{evaluated.name} was not measured on {title}: its row only shows the scale.")
    return report.section(
        f"Beside published methods on {title}",
        report.table(
            ("method", "venue", "mean mm", "median mm", *(f"≤ {t} mm" for t in THRESHOLDS_MM)),
            rows,
            digits=(0, 0, 3, 3, 2, 2, 2, 2, 2),
            emphasis=[rows.index(ours)],
        ),
        *notes,
    )


def _joints(evaluated: Evaluated, metrics: dict) -> report.Section:
    errors = measure.joint_errors(evaluated.pred, evaluated.true)
    medians = measure.per_joint(errors, evaluated.visible, of="median")
    within = 100 * measure.pck(errors, (10, 20, 30), evaluated.visible)
    names, means = list(metrics["per_joint_mm"]), list(metrics["per_joint_mm"].values())
    rows = [
        (name.replace("_", " "), mean, *((None,) * 4 if mean is None else map(float, (middle, *shares))))
        for name, mean, middle, shares in zip(names, means, medians, within, strict=True)
    ]
    spoken = ", ".join(f"{row[0]} {'–' if row[1] is None else format(row[1], '.2f')}" for row in rows)
    return report.section(
        "Error of each joint",
        report.bars(
            names,
            means,
            "mean error (mm)",
            f"Mean error of each joint in mm: {spoken}.",
            colours=[COLOURS[group] for group in evaluated.skeleton.groups],
            mean=metrics["mpjpe_mm"],
        ),
        report.table(("joint", "mean mm", "median mm", "% ≤ 10 mm", "% ≤ 20 mm", "% ≤ 30 mm"), rows),
    )


def _frames(evaluated: Evaluated, pictures: Callable | None, apart: int) -> report.Section:
    errors = measure.joint_errors(evaluated.pred, evaluated.true)
    worst, mean = (measure.frame_errors(errors, evaluated.visible, of) for of in ("max", "mean"))
    order = np.argsort(worst)
    order = order[~np.isnan(worst[order])]
    note = f", at least {apart} frames apart" if apart > 1 else ""

    def drawn(chosen: Sequence[int], which: str) -> report.Figure:
        frames = []
        for n in chosen:
            front, side = pictures(int(n)) if pictures else (None, None)
            title = f"{evaluated.ids[n]}\nmean {mean[n]:.1f}, worst {worst[n]:.1f} mm"
            visible = None if evaluated.visible is None else evaluated.visible[n]
            frames.append(Frame(title, evaluated.pred[n], evaluated.true[n], visible, front, side))
        spoken = "; ".join(frame.title.replace("\n", ": ") for frame in frames)
        return report.figure(
            draw_frames(frames, evaluated.skeleton),
            f"Predicted and true skeletons of the {which} frames, from the front and from the side. {spoken}.",
            f"The {which} frames by their worst joint{note}.",
        )

    return report.section(
        "Best and worst frames",
        "Coloured: the prediction, a colour for each finger. Dashed with open circles: the truth.",
        drawn(_pick(order, apart), "best"),
        drawn(_pick(order[::-1], apart), "worst"),
    )


def _pick(order: np.ndarray, apart: int) -> list[int]:
    """The first few of `order`, none closer than `apart` to one taken before."""
    taken: list[int] = []
    for n in order:
        if all(abs(n - other) >= apart for other in taken):
            taken.append(int(n))
        if len(taken) == SHOWN_FRAMES:
            break
    return taken


def _definitions() -> report.Section:
    return report.section(
        "How the numbers are made",
        "Error: Euclidean distance between predicted and true joint in camera space, in mm, without any alignment. "
        "Mean and median run over all joints of all frames.",
        "Frames within a distance: a frame counts when the largest (or the mean) error of its joints is at most the distance.",
        "After Procrustes: the mean error once every predicted pose has been rotated, shifted and scaled onto the true "
        "one, mirror images excluded. What remains is the error of the pose itself.",
        "PCK area: the share of frames in which a joint is within t, averaged over the joints, integrated over t from "
        "0 to 50 mm in steps of 1 mm by the trapezoid rule, and divided by 50 mm.",
    )
