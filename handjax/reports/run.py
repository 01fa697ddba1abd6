"""The report of a run: scores its predictions and writes metrics.json, predictions.npz and
report.html."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from handjax.engine.contracts import Batch, Rows, Source, Task
from handjax.engine.files import read_jsonl
from handjax.metrics import protocols
from handjax.pose.skeleton import Skeleton
from handjax.reports import KINDS, charts, page
from handjax.reports.base import InputView, InputViews, Report
from handjax.reports.results import as_text, write_results


def report_run(
    folder: Path, task: Task, source: Source, rows: Rows, name: str, history: Path
) -> Report:
    """Scores postprocessed rows, prints the metrics and writes the results into `folder`.

    `name` is the checkpoint's, `history` the run's metrics.jsonl, for the learning curves.
    """
    skeleton = source.skeleton
    metrics = task.score(rows) | _own_rules(task.kind, source, rows)
    assert isinstance(skeleton, Skeleton)  # of the sources in handjax; drawings need its bones
    ids = source.names(rows["index"])
    report = KINDS[task.kind].of_rows(f"handjax, {name}", ids, rows, skeleton, metrics)
    print(as_text(report.summary_rows()))
    views = input_views(task, source, rows["index"])
    overview, *sections = report.sections(report.benchmark(source.benchmark), views)
    write_results(
        folder,
        {**metrics, "evaluated": source.description, "checkpoint": name},
        [overview, *learning_curves(history, task.monitor), *sections],
        title=f"{task.title}, {name}",
        subtitle=source.description,
        predictions=report.predictions(),
    )
    return report


def _own_rules(kind: str, source: Source, rows: Rows) -> dict[str, Any]:
    """The metrics of the evaluated data set's own protocol; none of frames with unknown joints."""
    if kind == "keypoints2d" or "true_labelled" in rows and kind == "joints3d":
        return {}
    pred, true, joints = rows["joints_xyz"], rows["true_joints_xyz"], source.skeleton.joints
    if kind == "body":
        posed = rows["true_has_xyz"]
        if source.dataset != "mpi_inf_3dhp" or not posed.any():
            return {}
        pred, true = pred[posed], true[posed]
    return protocols.of_set(source.dataset, pred, true, joints)


def input_views(task: Task, source: Source, indices: np.ndarray) -> InputViews:
    """What the network sees of the n-th of the samples `indices`, without augmentation."""

    @jax.jit
    def look(batch: Batch) -> tuple[Any, Any]:
        keys = jax.random.split(jax.random.key(0), 1)
        inputs = task.prepare(keys, source.materialize(batch, None), False)
        crop = {name: inputs[name] for name in ("center_xyz", "cube_mm") if name in inputs}
        return task.visualize(inputs), crop

    def view(n: int) -> InputView:
        batch = source.eval_rows(indices[n : n + 1])
        return jax.tree.map(lambda x: x[0], jax.device_get(look(batch)))

    return view


def learning_curves(history: Path, metric: str) -> list[page.Section]:
    """The section of a run's learning curves from its metrics.jsonl, if that has any evaluation.

    `metric` is the metric of the evaluations; its name ends in its unit.
    """
    lines = read_jsonl(history) if history.is_file() else []
    evaluations = [(line["step"], line[key]) for line in lines if (key := f"eval_{metric}") in line]
    losses = [(line["step"], line["loss"]) for line in lines if "loss" in line]
    if not evaluations:
        return []
    unit = metric.rsplit("_", 1)[-1]
    (first, start), (last, end) = evaluations[0], evaluations[-1]
    spoken = (
        f"Error on the evaluation split: {start:.2f} {unit} at step {first}, "
        f"{end:.2f} {unit} at step {last}."
    )
    steps, errors = zip(*evaluations, strict=True)
    line = charts.Curve("evaluation split", steps, errors, emphasis=True, markers=True)
    drawn = [charts.curves([line], "step", f"mean error ({unit})", spoken, spoken)]
    if len(losses) > 1:
        steps, values = zip(*losses, strict=True)
        line = charts.Curve("training loss", steps, values)
        spoken = f"Loss on training batches, from {values[0]:.3g} to {values[-1]:.3g}."
        drawn.append(charts.curves([line], "step", "loss", spoken, spoken, logy=True))
    return [page.section("Learning", *drawn)]
