"""Files of 3D joints → their report: text of (u, v, d), and predictions.npz."""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from handjax.data import plausible
from handjax.data.formats.predictions_npz import Predictions3d, read_predictions3d
from handjax.data.formats.uvd_text import UVD_FORMATS, read_uvd_pair, uvd_to_camera
from handjax.metrics import joints3d, protocols
from handjax.pose.skeleton import SKELETONS, Skeleton, unnamed
from handjax.reports.joints3d import Joints3dReport
from handjax.reports.prediction_forms import check_same, check_uvd, check_xyz

_LEAST_JOINTS = 5  # whose span says whether they are mm of a hand


def text_report(predictions: str, groundtruth: str, dataset: str) -> Joints3dReport:
    """Text files of (u, v, d), projected to camera mm."""
    skeleton = UVD_FORMATS[dataset].skeleton
    pred_uvd, true_uvd = read_uvd_pair(predictions, groundtruth, dataset)
    check_uvd(predictions, groundtruth, pred_uvd, true_uvd, UVD_FORMATS[dataset])
    pred, true = (uvd_to_camera(uvd, dataset) for uvd in (pred_uvd, true_uvd))
    ids = [f"line {n + 1}" for n in range(len(pred))]
    return _report(predictions, ids, pred, true, skeleton)


def npz_report(predictions: str, groundtruth: str | None, dataset: str | None) -> Joints3dReport:
    """predictions.npz, with the ground truth in it or in another such file, matched by ids.

    `dataset` names the joints of files that do not. ValueError or FileNotFoundError, one line, for
    files that do not belong together and for numbers that are not camera mm.
    """
    found = read_predictions3d(predictions)
    skeleton = _skeleton(predictions, found, dataset)
    true = found.truth if groundtruth is None else _matched(predictions, found, groundtruth)
    if true is None:
        raise ValueError(
            f"{predictions}: contains no ground truth; name a file of true joints by --groundtruth"
        )
    where = groundtruth or f"the ground truth of {predictions}"
    _check_span(where, true, skeleton.name)
    name = groundtruth or "its ground truth"
    check_xyz(predictions, name, found.joints_xyz, true, skeleton.joints)
    return _report(predictions, list(found.ids), found.joints_xyz, true, skeleton)


def _report(
    path: str,
    ids: list[str],
    pred: Float[np.ndarray, "n j 3"],
    true: Float[np.ndarray, "n j 3"],
    skeleton: Skeleton,
) -> Joints3dReport:
    metrics = joints3d.summarize(pred, true, skeleton.joints, root=skeleton.root)
    metrics |= protocols.by_name(pred, true, skeleton.joints)
    return Joints3dReport(Path(path).stem, ids, pred, true, skeleton, metrics)


def _skeleton(path: str, found: Predictions3d, dataset: str | None) -> Skeleton:
    """The skeleton of the names in the file, of the data set, or one without an order."""
    count = found.joints_xyz.shape[1]
    known = next((s for s in SKELETONS.values() if s.joints == found.joints), None)
    if dataset is not None:
        if dataset not in UVD_FORMATS:
            raise ValueError(
                f"--dataset {dataset} is for image joints; {path} has joints in space: expected "
                f"{', '.join(UVD_FORMATS)} or none"
            )
        own = UVD_FORMATS[dataset].skeleton
        if len(own.joints) != count or (known is not None and known != own):
            raise ValueError(
                f"{path}: {count} joints{f' of {known.name}' if known else ''}; --dataset "
                f"{dataset} has the {len(own.joints)} of {own.name}"
            )
        return own
    return known or unnamed(found.joints or tuple(f"joint_{i}" for i in range(count)))


def _matched(predictions: str, found: Predictions3d, groundtruth: str) -> np.ndarray:
    """The true joints of the frames of `found`: those that the file calls its truth, else its
    joints."""
    if Path(groundtruth).suffix != ".npz":
        raise ValueError(
            f"{groundtruth}: expected an .npz with ids and joints_xyz in camera mm, as "
            f"{predictions} is one"
        )
    other = read_predictions3d(groundtruth)
    joints = other.joints_xyz if other.truth is None else other.truth
    if joints.shape[1] != found.joints_xyz.shape[1]:
        raise ValueError(
            f"{groundtruth}: {joints.shape[1]} joints, {predictions} has "
            f"{found.joints_xyz.shape[1]}; expected the same"
        )
    if found.joints and other.joints and found.joints != other.joints:
        raise ValueError(f"{groundtruth}: other joints than {predictions}, or in another order")
    rows = {name: row for row, name in enumerate(other.ids)}
    for path, ids in ((groundtruth, other.ids), (predictions, found.ids)):
        if len(set(ids)) < len(ids):
            raise ValueError(f"{path}: an id stands twice; expected one per frame")
    check_same(predictions, found.ids, groundtruth, other.ids, "frames")
    return joints[[rows[name] for name in found.ids]]


def _check_span(where: str, true: Float[np.ndarray, "n j 3"], order: str) -> None:
    if true.shape[1] < _LEAST_JOINTS:
        return
    faults = [fault for fault in plausible.span_faults(true, plausible.figure(order)) if fault]
    if 2 * len(faults) > len(true):
        raise ValueError(f"{where}: {len(faults)} of {len(true)} frames: {faults[0]}")
