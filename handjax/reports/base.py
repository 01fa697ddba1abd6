"""Predictions held against the truth, as people read them: metrics.json, predictions.npz and a self-contained report.html.

What every report shares: those files, learning curves, a section of joints, and the best and worst frames. What is measured and
shown of one kind of joints is in results3d.py, results2d.py and results_body.py.
"""

import abc
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from handjax.data.formats.predictions import write_predictions
from handjax.engine.files import read_jsonl, back_up
from handjax.metrics import joints3d as measure
from handjax.pose.skeleton import COLOURS, Skeleton
from handjax.reports import page as report
from handjax.reports.drawing import Frame, View, draw_frames

SHOWN_FRAMES = 4  # best ones, and as many worst ones

Pictures = Callable[[int], Any]  # row → what a kind's `views` draws behind its joints


@dataclass(frozen=True)
class Evaluated(abc.ABC):
    """Predictions held against the truth, joints in the skeleton's order. `name` labels them in charts; what does not count is
    neither measured nor drawn. A kind of joints says its unit and its distances, by which `row` of a task it is known, and
    shows its own sections."""

    row: ClassVar[str]
    unit: ClassVar[str]
    within: ClassVar[tuple[int, ...]]  # distances for the table of joints

    name: str
    ids: Sequence[str]
    pred: np.ndarray  # [n, j, d]
    true: np.ndarray  # [n, j, d]
    skeleton: Skeleton
    counted: np.ndarray | None = None  # bool [n, j]

    def errors(self) -> np.ndarray:
        """[n, j]; whatever stands where nothing counts."""
        return measure.joint_errors(self.pred, self.true)

    def drawn(self, n: int) -> np.ndarray | None:
        """Which joints of frame n are drawn, bool [j]; None: all."""
        return None if self.counted is None else self.counted[n]

    @abc.abstractmethod
    def views(self, n: int, behind: Any) -> tuple[View, ...]:
        """How frame n is drawn."""


def write_results(
    workdir: str | Path,
    metrics: dict,
    pages: Sequence[report.Section],
    title: str,
    subtitle: str,
    predictions: Any = None,
) -> Path:
    """Writes metrics.json, report.html and, if given, predictions.npz (`write_predictions`), and prints where; earlier ones keep
    their content under a numbered name."""
    workdir = Path(workdir)
    text = json.dumps(metrics, indent=2, allow_nan=False) + "\n"
    if workdir.exists() and not workdir.is_dir():
        raise NotADirectoryError(f"{workdir}: a file, not a folder; results need a folder")
    workdir.mkdir(parents=True, exist_ok=True)
    numbers, joints, page = (
        workdir / name for name in ("metrics.json", "predictions.npz", "report.html")
    )
    written = (numbers, page) if predictions is None else (numbers, joints, page)
    kept = {path.name: moved.name for path in written if (moved := back_up(path))}
    if kept:
        print("kept the earlier " + " and ".join(f"{old} as {new}" for old, new in kept.items()))
    numbers.write_text(text, encoding="utf-8")
    if predictions is not None:
        write_predictions(joints, predictions)
    report.write_report(page, title, subtitle, pages, footer="handjax")
    print(f"report: {page.resolve()}")
    return page


def as_text(rows: Sequence[tuple[str, str]]) -> str:
    """Names and figures as one plain table for a terminal."""
    left, right = (max(len(row[i]) for row in rows) for i in (0, 1))
    return "\n".join(f"{name:<{left}}  {value:>{right}}" for name, value in rows)


def learning(history: Path, error: str) -> list[report.Section]:
    """The section of a run's learning curves, from its metrics.jsonl; none where there is none. `error` is the figure of a score,
    with its unit at the end of its name, that was measured along the way."""
    lines = read_jsonl(history) if history.is_file() else []
    held, loss = (
        [(x["step"], x[key]) for x in lines if key in x] for key in (f"eval_{error}", "loss")
    )
    if not held:
        return []
    charts = []
    unit = error.rsplit("_", 1)[-1]
    first, last = held[0], held[-1]
    spoken = f"{first[1]:.2f} {unit} at step {first[0]}, {last[1]:.2f} {unit} at step {last[0]}"
    steps, errors = zip(*held, strict=True)
    line = report.Curve("held out", steps, errors, emphasis=True, markers=True)
    spoken = f"Held-out error: {spoken}."
    charts.append(report.curves([line], "step", f"mean error ({unit})", spoken, spoken))
    if len(loss) > 1:
        line = report.Curve("training loss", *zip(*loss, strict=True))
        spoken = f"Loss on training batches, from {loss[0][1]:.3g} to {loss[-1][1]:.3g}."
        charts.append(report.curves([line], "step", "loss", spoken, spoken, logy=True))
    return [report.section("Learning", *charts)]


def joints_section(evaluated: Evaluated, mean: float) -> report.Section:
    """The mean error of each joint, and how often it is near; `mean` is that over all joints."""
    unit = evaluated.unit
    errors = evaluated.errors()
    means, medians = (
        measure.per_joint(errors, evaluated.counted, of=of) for of in ("mean", "median")
    )
    within = 100 * measure.pck(errors, evaluated.within, evaluated.counted)
    names = evaluated.skeleton.joints
    figures = np.column_stack([means, medians, within]).tolist()
    rows = [
        (name.replace("_", " "), *((None,) * len(row) if np.isnan(row[0]) else row))
        for name, row in zip(names, figures, strict=True)
    ]
    spoken = ", ".join(
        f"{row[0]} {'–' if row[1] is None else format(row[1], '.2f')}" for row in rows
    )
    return report.section(
        "Error of each joint",
        report.bars(
            names,
            [row[1] for row in rows],
            f"mean error ({unit})",
            f"Mean error of each joint in {unit}: {spoken}.",
            colours=[COLOURS[group] for group in evaluated.skeleton.groups],
            mean=mean,
        ),
        report.table(
            (
                "joint",
                f"mean {unit}",
                f"median {unit}",
                *(f"% ≤ {t} {unit}" for t in evaluated.within),
            ),
            rows,
        ),
    )


def frames_section(
    evaluated: Evaluated, pictures: Pictures | None, apart: int, seen_from: str = ""
) -> report.Section:
    """The best and the worst frames, drawn. They lie `apart` frames from each other: those of a video would all look the same."""
    errors = evaluated.errors()
    worst, mean = (measure.frame_errors(errors, evaluated.counted, of) for of in ("max", "mean"))
    order = np.argsort(worst)
    order = order[~np.isnan(worst[order])]
    note = f", at least {apart} frames apart" if apart > 1 else ""

    def drawn(chosen: Sequence[int], which: str) -> report.Figure:
        frames = []
        for n in chosen:
            title = f"{evaluated.ids[n]}\nmean {mean[n]:.1f}, worst {worst[n]:.1f} {evaluated.unit}"
            frames.append(
                Frame(
                    title, evaluated.views(n, pictures(n) if pictures else None), evaluated.drawn(n)
                )
            )
        spoken = "; ".join(frame.title.replace("\n", ": ") for frame in frames)
        return report.figure(
            draw_frames(frames, evaluated.skeleton),
            f"Predicted and true skeletons of the {which} frames{seen_from}. {spoken}.",
            f"The {which} frames by their worst joint{note}.",
        )

    return report.section(
        "Best and worst frames",
        "Coloured: the prediction, a colour for each finger or limb. Dashed with open circles: the truth.",
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
