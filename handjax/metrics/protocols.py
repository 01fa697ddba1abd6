"""How data sets score joints where their own rules differ from `joints3d.summarize`.

The rules are the data sets' own programs', on joints alone: errors and F-scores of vertices need
MANO's mesh and are left out.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from handjax.metrics import joints3d as metrics
from handjax.pose.skeleton import SKELETONS

ITOP_MM = 100.0
FREIHAND_MM = tuple(np.linspace(0, 50, 100).tolist())


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
    moved = metrics.procrustes(pred, true)
    mirrored = metrics.procrustes(pred * (-1, 1, 1), true)
    closer = ((mirrored - true) ** 2).sum((-1, -2)) < ((moved - true) ** 2).sum((-1, -2))
    aligned = np.where(closer[:, None, None], mirrored, moved)
    found = {}
    for name, errors in {
        "": metrics.joint_errors(pred, true),
        "root_relative_": metrics.joint_errors(pred, true, root),
        "pa_": metrics.joint_errors(aligned, true),
    }.items():
        curve = metrics.pck(errors, FREIHAND_MM).mean(axis=0)
        found[f"{name}mpjpe_mm"] = metrics.mpjpe(errors)
        found[f"{name}auc"] = float(metrics.auc(FREIHAND_MM, curve))
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


def by_name(
    pred: Float[np.ndarray, "n j 3"], true: Float[np.ndarray, "n j 3"], joints: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """The protocols that apply to joints of these names: {"freihand": …} for "hand21", {"itop": …}
    for "itop15", else {}."""
    if tuple(joints) == SKELETONS["hand21"].joints:
        return {"freihand": freihand(pred, true)}
    if tuple(joints) == SKELETONS["itop15"].joints:
        return {"itop": itop(pred, true, joints)}
    return {}
