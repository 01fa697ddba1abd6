"""Evaluation of prediction files, without JAX: text of (u, v, d), image joints, and people.

The kind of result decides which files belong together:

joints3d     two text files of the data set `dataset`, predictions and ground truth; or
             predictions.npz of a 3D run, alone or with the ground truth in another such file
keypoints2d  predictions.npz of a 2D run, which contains its ground truth; or .npz, .json, .txt or a
             folder of .json, and the ground truth in another such file or folder. `dataset` is the
             joint order of files that do not name their joints
body         predictions.npz of a run on people, which contains its ground truth
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from handjax.data.formats.hand_labels import ORDERS_2D, named_joints, read_hands
from handjax.data.formats.predictions_npz import (
    read_arrays,
    read_body_predictions,
    read_predictions2d,
)
from handjax.data.formats.uvd_text import UVD_FORMATS
from handjax.metrics import body, keypoints2d, protocols
from handjax.metrics.published.keypoints2d import TEST_HANDS
from handjax.pose.skeleton import SKELETONS, Skeleton
from handjax.reports import joints3d_files
from handjax.reports.base import Comparison, Report
from handjax.reports.body import BodyReport
from handjax.reports.keypoints2d import Keypoints2dReport
from handjax.reports.prediction_forms import check_same, check_uv
from handjax.reports.results import as_text, write_results
from handjax.reports.submission import submit

VIDEO_APART = 30  # frames between those that are drawn; text files are of videos


def require(predictions: str | None, groundtruth: str | None, dataset: str | None) -> None:
    """Raises ValueError for missing flags, without reading a file."""
    flags = {"predictions": predictions, "groundtruth": groundtruth, "dataset": dataset}
    text = _is_uvd_text(predictions, dataset)
    required = tuple(flags) if text else ("predictions",)
    if missing := [f"--{name}" for name in required if not flags[name]]:
        needs = "all three" if text else "them"
        raise ValueError(f"{' and '.join(missing)} missing: prediction files need {needs}")


def evaluate(
    predictions: str,
    groundtruth: str | None,
    dataset: str | None,
    workdir: str,
    submission: str | None = None,
    form: str | None = None,
) -> None:
    """Evaluates files and writes the results into `workdir`; prints the metrics.

    `submission` names a new folder for the files of the Human3.6M challenge; `form`, that of text
    predictions if not u v d. Raises ValueError for files that do not belong together,
    FileNotFoundError for missing ones.
    """
    require(predictions, groundtruth, dataset)
    if form and not _is_uvd_text(predictions, dataset):
        raise ValueError(f"--form is for text of {', '.join(UVD_FORMATS)}, not for {predictions}")
    kind = kind_of(predictions, dataset)
    if submission and kind != "body":
        raise ValueError(f"--submission needs people; {predictions} contains none")
    files = {"predictions": predictions, "groundtruth": groundtruth}
    if kind == "body":
        people = body_report(predictions, groundtruth, dataset)
        if submission:
            submit(submission, people.ids, people.pred)
        title = f"{people.name}, {len(people.ids)} people"
        _write(workdir, people, files, title, people.benchmark(""))
    elif kind == "joints3d" and _is_npz(predictions):
        joints = joints3d_files.npz_report(predictions, groundtruth, dataset)
        title = f"{joints.name}, {len(joints.ids):,} frames"
        _write(workdir, joints, {"dataset": dataset, **files}, title, joints.benchmark(""))
    elif kind == "joints3d" and groundtruth and dataset in UVD_FORMATS:
        joints = joints3d_files.text_report(predictions, groundtruth, dataset, form)
        title = f"{joints.name} on {UVD_FORMATS[dataset].title}"
        same = Comparison(dataset, comparable=True)
        _write(workdir, joints, {"dataset": dataset, **files}, title, same, VIDEO_APART)
    else:
        hands = keypoints2d_report(predictions, groundtruth, dataset)
        comparison = hands.benchmark(dataset if dataset and dataset in TEST_HANDS else "")
        title = f"{hands.name}, {len(hands.ids)} {hands.thing}s"
        _write(workdir, hands, {"dataset": dataset, **files}, title, comparison)


def kind_of(predictions: str, dataset: str | None = None) -> str:
    """The kind of result in a file, a key of `reports.KINDS`."""
    if _is_uvd_text(predictions, dataset):
        return "joints3d"
    if _is_npz(predictions):
        arrays = read_arrays(predictions, ("ids",), ("kind", "has_xyz", "joints_xyz"))
        if "kind" in arrays:
            return str(arrays["kind"])
        if "has_xyz" in arrays:  # files of before `kind`, and of others
            return "body"
        if "joints_xyz" in arrays:
            return "joints3d"
    return "keypoints2d"


def keypoints2d_report(
    predictions: str, groundtruth: str | None, dataset: str | None
) -> Keypoints2dReport:
    """Image joints, with ground truth from the same file or from another one."""
    if dataset in UVD_FORMATS:
        raise ValueError(
            f"--dataset {dataset} is for text files of u v d; "
            f"{predictions} needs {', '.join(ORDERS_2D)} or none"
        )
    if groundtruth is None:
        return _with_own_truth(predictions)
    skeleton, hands = _read_named(predictions, dataset or "")
    other, labels = _read_named(groundtruth, dataset or "")
    if skeleton.joints != other.joints:
        raise ValueError(
            f"{predictions} has joints of {skeleton.name}, {groundtruth} of {other.name}: "
            "expected the same, in the same order"
        )
    check_same(predictions, hands, groundtruth, labels, "images")
    ids = sorted(labels)
    pred = np.stack([hands[name] for name in ids])[..., :2]
    points = np.stack([labels[name] for name in ids])
    visible, true = points[..., 2] > 0, points[..., :2]
    labelled = visible | (true != 0).any(-1)
    low = np.where(labelled[..., None], true, np.inf).min(1)
    high = np.where(labelled[..., None], true, -np.inf).max(1)
    box_px = np.where(labelled.any(-1), (high - low).max(-1), 1.0)
    sizes = np.maximum(box_px, 1.0)
    check_uv(predictions, groundtruth, pred, true, labelled, sizes, skeleton.joints)
    metrics = keypoints2d.summarize(pred, true, skeleton.joints, visible, box_px, labelled=labelled)
    return Keypoints2dReport(
        Path(predictions).stem,
        ids,
        pred,
        true,
        skeleton,
        metrics,
        labelled,
        visible=visible,
        box_px=box_px,
    )


def body_report(predictions: str, groundtruth: str | None, dataset: str | None) -> Report:
    """predictions.npz of a run on people."""
    if groundtruth or dataset not in (None, "mpi_inf_3dhp"):
        raise ValueError(
            f"{predictions} contains its ground truth: leave out --groundtruth and --dataset, but "
            "for mpi_inf_3dhp"
        )
    found = read_body_predictions(predictions)
    metrics, posed = body.summarize(found.rows), found.rows["true_has_xyz"].astype(bool)
    if dataset and posed.any():
        pred, true = (found.rows[name][posed] for name in ("joints_xyz", "true_joints_xyz"))
        metrics |= protocols.of_set(dataset, pred, true, SKELETONS["body18"].joints)
    return BodyReport.of_rows(
        Path(predictions).stem,
        found.ids,
        found.rows,
        SKELETONS["body18"],
        metrics,
    )


def _is_npz(path: str) -> bool:
    return Path(path).suffix == ".npz"


def _is_uvd_text(predictions: str | None, dataset: str | None) -> bool:
    path = Path(predictions or "")
    return (
        dataset not in ORDERS_2D
        and path.suffix not in (".npz", ".json")
        and not (bool(predictions) and path.is_dir())
    )


def _with_own_truth(predictions: str) -> Keypoints2dReport:
    if not predictions.endswith(".npz"):
        raise ValueError(
            f"--groundtruth missing: {predictions} contains no ground truth; "
            "only the predictions.npz of a run does"
        )
    found = read_predictions2d(predictions)
    if found.truth is None:
        raise ValueError(
            f"{predictions}: contains no ground truth; name the true joints by --groundtruth"
        )
    skeleton = named_joints(found.joints, predictions)
    metrics = keypoints2d.summarize(
        found.joints_uv,
        found.truth,
        skeleton.joints,
        found.visible,
        found.box_px,
        found.image_px,
        found.labelled,
    )
    return Keypoints2dReport(
        Path(predictions).stem,
        found.ids,
        found.joints_uv,
        found.truth,
        skeleton,
        metrics,
        found.labelled,
        found.visible,
        found.confidence,
        found.box_px,
        found.image_px,
    )


def _read_named(path: str, order: str) -> tuple[Skeleton, dict[str, np.ndarray]]:
    """x, y and visibility (or confidence) of the hand in each image, [j, 3], by the image's name
    without its suffix."""
    if path.endswith(".npz"):
        found = read_predictions2d(path)
        skeleton = named_joints(found.joints, path)
        confidence = found.confidence
        if confidence is None:
            confidence = np.ones(found.joints_uv.shape[:2])
        points = np.concatenate([found.joints_uv, confidence[..., None]], axis=-1)
        hands = dict(zip(found.ids, points, strict=True))
    else:
        skeleton, hands = read_hands(path, order)
    by_stem = {
        re.sub(r"\.(png|jpe?g)$", "", name, flags=re.IGNORECASE): hand
        for name, hand in hands.items()
    }
    if len(by_stem) < len(hands):
        raise ValueError(f"{path}: images whose names differ by their suffixes alone; rename them")
    return skeleton, by_stem


def _write(
    workdir: str,
    report: Report,
    source: Mapping[str, Any],
    title: str,
    comparison: Comparison | None,
    apart: int = 1,
) -> None:
    print(as_text(report.summary_rows()))
    truth = source["groundtruth"] or "their own ground truth"
    write_results(
        workdir,
        {**report.metrics, **source},
        report.sections(comparison, apart=apart),
        title=title,
        subtitle=f"{source['predictions']} compared with {truth}",
    )
