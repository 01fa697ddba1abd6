"""Files of 3D joints → their report: text of (u, v, d), and predictions.npz."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from handjax.data import plausible
from handjax.data.formats.predictions_npz import (
    Predictions3d,
    read_arrays,
    read_predictions3d,
)
from handjax.data.formats.uvd_text import UVD_FORMATS, read_uvd_pair, uvd_to_camera
from handjax.metrics import joints3d, protocols
from handjax.pose.skeleton import SKELETONS, Skeleton, unnamed
from handjax.reports.joints3d import Joints3dReport
from handjax.reports.prediction_forms import as_uvd, check_same, check_uvd, check_xyz

# Data set → its joints.
ORDERS_3D = {name: form.skeleton for name, form in UVD_FORMATS.items()}
ORDERS_3D |= {
    name: SKELETONS[joints] for name, joints in protocols.SKELETON_OF.items() if joints != "body18"
}
_LEAST_JOINTS = 5  # whose span says whether they are mm of a hand


def text_report(
    predictions: str, groundtruth: str, dataset: str, form: str | None = None
) -> Joints3dReport:
    """Text files of (u, v, d), projected to camera mm; predictions in another `form` if named."""
    skeleton = UVD_FORMATS[dataset].skeleton
    pred_uvd, true_uvd = read_uvd_pair(predictions, groundtruth, dataset)
    if form:
        pred_uvd = as_uvd(predictions, pred_uvd, form, UVD_FORMATS[dataset])
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
    extras = _extras(predictions, found, groundtruth)
    if true is None:
        raise ValueError(
            f"{predictions}: contains no ground truth; name a file of true joints by --groundtruth"
        )
    where = groundtruth or f"the ground truth of {predictions}"
    _check_span(where, true, skeleton.name)
    name = groundtruth or "its ground truth"
    check_xyz(predictions, name, found.joints_xyz, true, skeleton.joints)
    return _report(predictions, found.ids, found.joints_xyz, true, skeleton, dataset, extras)


def _extras(path: str, found: Predictions3d, groundtruth: str | None) -> dict[str, np.ndarray]:
    """`seen`, and `vertices` with `true_vertices`, of the frames of `found`, where files have them:
    the first and the last from the ground truth."""
    count, arrays = len(found.ids), {}
    for file, renamed in ((path, {}), (groundtruth, {"vertices": "true_vertices"})):
        if file is None:
            continue
        own = read_arrays(file, ("ids",), ("seen", "vertices", "true_vertices"))
        rows = {str(name): row for row, name in enumerate(own.pop("ids"))}
        order = [rows[name] for name in found.ids]
        for name, value in own.items():
            right = (count,) if name == "seen" else (count, *value.shape[1:2], 3)
            if value.shape[:1] != (len(rows),) or value[order].shape != right:
                raise ValueError(
                    f"{file}: {name} is {list(value.shape)}; expected "
                    f"{'[n]' if name == 'seen' else '[n, v, 3]'} for its {len(rows)} ids"
                )
            arrays[renamed.get(name, name)] = value[order]
    if "seen" in arrays:
        arrays["seen"] = arrays["seen"].astype(bool)
    shapes = [arrays[name].shape for name in ("vertices", "true_vertices") if name in arrays]
    if len(shapes) == 2 and shapes[0] != shapes[1]:
        raise ValueError(f"{path}: vertices {list(shapes[0])}, true ones {list(shapes[1])}")
    return arrays


def _report(
    path: str,
    ids: Sequence[str],
    pred: Float[np.ndarray, "n j 3"],
    true: Float[np.ndarray, "n j 3"],
    skeleton: Skeleton,
    dataset: str | None = None,
    extras: Mapping[str, np.ndarray] | None = None,
) -> Joints3dReport:
    extras = extras or {}
    metrics = joints3d.summarize(pred, true, skeleton.joints, root=skeleton.root)
    own = protocols.of_set(dataset or "", pred, true, skeleton.joints, extras.get("seen"))
    if "freihand" in own and {"vertices", "true_vertices"} <= extras.keys():
        own["freihand"] |= protocols.f_scores(extras["vertices"], extras["true_vertices"])
    return Joints3dReport(Path(path).stem, list(ids), pred, true, skeleton, metrics | own)


def _skeleton(path: str, found: Predictions3d, dataset: str | None) -> Skeleton:
    """The skeleton of the names in the file, of the data set, or one without an order."""
    count = found.joints_xyz.shape[1]
    known = next((s for s in SKELETONS.values() if s.joints == found.joints), None)
    if dataset is not None:
        if dataset not in ORDERS_3D:
            raise ValueError(
                f"--dataset {dataset} is for image joints; {path} has joints in space: expected "
                f"{', '.join(ORDERS_3D)} or none"
            )
        own = ORDERS_3D[dataset]
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
