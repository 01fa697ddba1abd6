"""How data sets score joints where their own rules differ from `joints3d.summarize`, by the name of
the set.

Errors of vertices need a mesh, MANO's for FreiHAND and HO-3D, which no network here predicts:
FreiHAND's F-scores are computed from files that have vertices (`f_scores`), and never from joints.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from handjax.metrics import joints3d as metrics
from handjax.metrics.body import AUC3D_MM, PCK3D_MM
from handjax.pose.skeleton import SKELETONS

ITOP_MM = 100.0
FREIHAND_MM = tuple(np.linspace(0, 50, 100).tolist())
F_MM = (5.0, 15.0)
_BODY = SKELETONS["body18"]
# MPI-INF-3DHP scores these 14 of its 17 joints, relative to the pelvis (its mpii_compute_3d_pck.m).
_SCORED_3DHP = tuple(
    i for i, name in enumerate(_BODY.joints) if name not in ("pelvis", "torso", "nose", "thorax")
)
# Data set → the joints it has.
SKELETON_OF = {
    **dict.fromkeys(("freihand", "dexycb", "ho3d", "hands2017"), "hand21"),
    "itop": "itop15",
    "mpi_inf_3dhp": "body18",
}


def freihand(
    pred: Float[np.ndarray, "n j 3"], true: Float[np.ndarray, "n j 3"], root: int = 0
) -> dict[str, Any]:
    """FreiHAND's evaluation (eval.py of lmb-freiburg/freihand), which DexYCB's toolkit calls too.

    Mean errors, and areas under the curve of correct joints at 100 thresholds from 0 to 50 mm: as
    predicted, relative to the root joint (DexYCB only), and after a similarity transform. The last
    may be a mirror image, as SciPy's `orthogonal_procrustes` allows; `pa_mpjpe_mm` of `summarize`
    excludes them, and is larger where a nearly flat hand fits better mirrored.
    """
    pred, true = pred.astype(np.float64), true.astype(np.float64)
    found = {}
    for name, errors in {
        "": metrics.joint_errors(pred, true),
        "root_relative_": metrics.joint_errors(pred, true, root),
        "pa_": metrics.joint_errors(_aligned(pred, true), true),
    }.items():
        curve = metrics.pck(errors, FREIHAND_MM).mean(axis=0)
        found[f"{name}mpjpe_mm"] = metrics.mpjpe(errors)
        found[f"{name}auc"] = float(metrics.auc(FREIHAND_MM, curve))
    return found


def dexycb(pred: Float[np.ndarray, "n j 3"], true: Float[np.ndarray, "n j 3"]) -> dict[str, Any]:
    """DexYCB's three errors of hands (hpe_eval.py of NVlabs/dex-ycb-toolkit): absolute, relative to
    the wrist, and after Procrustes, each with its area from 0 to 50 mm."""
    found = freihand(pred, true)
    names = {"": "absolute", "root_relative_": "root_relative", "pa_": "procrustes"}
    kinds = {"mpjpe_mm": "mm", "auc": "auc"}
    return {f"{b}_{y}": found[f"{a}{x}"] for a, b in names.items() for x, y in kinds.items()}


def hands2017(
    pred: Float[np.ndarray, "n j 3"],
    true: Float[np.ndarray, "n j 3"],
    seen: Bool[np.ndarray, " n"] | None = None,
) -> dict[str, Any]:
    """The mean error of the HANDS 2017 challenge, and those of people who are `seen` in training
    and of the others. Which are is known to those who have the test labels alone."""
    errors = metrics.joint_errors(pred, true)
    found = {"mpjpe_mm": metrics.mpjpe(errors)}
    if seen is not None:
        for name, those in (("seen", seen), ("unseen", ~seen)):
            found[f"{name}_frames"] = int(those.sum())
            if those.any():
                found[f"{name}_mpjpe_mm"] = metrics.mpjpe(errors[those])
    return found


def itop(
    pred: Float[np.ndarray, "n j 3"], true: Float[np.ndarray, "n j 3"], joints: Sequence[str]
) -> dict[str, Any]:
    """Percent of frames in which a joint is within 10 cm, and its mean over the joints, which ITOP
    (Haque et al. 2016) calls the mean average precision, mAP."""
    percent = 100.0 * metrics.pck(metrics.joint_errors(pred, true), (ITOP_MM,))[:, 0]
    return {
        "map_10cm_percent": float(percent.mean()),
        "per_joint_10cm_percent": metrics.by_joint(joints, percent),
    }


def mpi_inf_3dhp(
    pred: Float[np.ndarray, "n 18 3"], true: Float[np.ndarray, "n 18 3"]
) -> dict[str, Any]:
    """MPI-INF-3DHP's percentage of joints within 150 mm and its area, the mean over 0, 5, …, 150 mm
    (Mehta et al. 2017), of 14 joints relative to the pelvis; and their mean error."""
    errors = metrics.joint_errors(pred, true, _BODY.root)[:, list(_SCORED_3DHP)]
    curve = metrics.pck(errors, AUC3D_MM, strict=True).mean(axis=0)
    within = metrics.pck(errors, (PCK3D_MM,), strict=True).mean()
    return {
        "pck_150mm_percent": 100.0 * float(within),
        "auc": float(metrics.auc(AUC3D_MM, curve, rule="mean")),
        "mpjpe_mm": metrics.mpjpe(errors),
    }


def f_scores(
    pred: Float[np.ndarray, "n v 3"], true: Float[np.ndarray, "n v 3"]
) -> dict[str, float]:
    """FreiHAND's F-scores of vertices at 5 and 15 mm, as predicted and after Procrustes: the
    harmonic mean of the share of predicted vertices near a true one and of true ones near a
    predicted one (Knapitsch et al. 2017), averaged over the frames."""
    pred, true = pred.astype(np.float64), true.astype(np.float64)
    found = {}
    for name, moved in {"": pred, "pa_": _aligned(pred, true)}.items():
        scores = np.array([_f_score(p, t) for p, t in zip(moved, true, strict=True)])
        for mm, mean in zip(F_MM, scores.mean(0).tolist(), strict=True):
            found[f"{name}f{mm:g}"] = mean
    return found


def _f_score(pred: np.ndarray, true: np.ndarray) -> list[float]:
    square = (pred**2).sum(-1)[:, None] + (true**2).sum(-1) - 2 * pred @ true.T
    distance = np.sqrt(np.maximum(square, 0))
    scores = []
    for mm in F_MM:
        precision, recall = ((distance.min(axis) < mm).mean() for axis in (1, 0))
        both = precision + recall
        scores.append(2 * precision * recall / both if both else 0.0)
    return scores


def _aligned(pred: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Procrustes, with a mirror image where that fits better."""
    moved = metrics.procrustes(pred, true)
    mirrored = metrics.procrustes(pred * (-1, 1, 1), true)
    closer = ((mirrored - true) ** 2).sum((-1, -2)) < ((moved - true) ** 2).sum((-1, -2))
    return np.where(closer[:, None, None], mirrored, moved)


_OF_SET: dict[str, Callable[..., dict[str, Any]]] = {
    "freihand": freihand,
    "ho3d": freihand,  # its evaluation is FreiHAND's code
    "dexycb": dexycb,
    "mpi_inf_3dhp": mpi_inf_3dhp,
}


def of_set(
    dataset: str,
    pred: Float[np.ndarray, "n j 3"],
    true: Float[np.ndarray, "n j 3"],
    joints: Sequence[str],
    seen: Bool[np.ndarray, " n"] | None = None,
) -> dict[str, dict[str, Any]]:
    """{dataset: its own metrics}; {} for a set without any. Without the name of a set, those that
    fit the names of the joints: {"freihand": …} for "hand21", {"itop": …} for "itop15"."""
    known = tuple(joints)
    if dataset == "itop" or (not dataset and known == SKELETONS["itop15"].joints):
        return {"itop": itop(pred, true, joints)}
    if not dataset and known == SKELETONS["hand21"].joints:
        return {"freihand": freihand(pred, true)}
    if dataset == "hands2017":
        return {dataset: hands2017(pred, true, seen)}
    return {dataset: _OF_SET[dataset](pred, true)} if dataset in _OF_SET else {}
