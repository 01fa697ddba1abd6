"""Errors of a person's joints under named protocols: papers call several of them MPJPE or PA-MPJPE.

Host NumPy, camera mm, joints of the skeleton "body18". A protocol is a set of joints and an
alignment; its error is the mean distance per joint. Definitions shared with hands are in
metrics/joints3d.py.

joints     h36m17  Human3.6M's 17 joints, without our thorax: `17j` of
                   JimmySuen/integral-human-pose, and mks0601's PoseNet
           h36m16  with the thorax, without torso and nose       (`16j` of the first)
           h36m14  h36m16 without pelvis and thorax              (`14j`)
           h36m13  h36m14 without the neck                       (`13j`)
align      none        camera mm, unchanged
           root        pelvis at the origin in both poses        "MPJPE", today's protocol 1
           rigid       least-squares rotation and translation over all joints of the skeleton, then
                       the pelvis at the origin again: `17j_align` of JimmySuen's
           similarity  with scale too, over the scored joints    "PA-MPJPE", today's protocol 2
           mirror      similarity, or with a reflection if that fits better, as the `procrustes` of
                       MATLAB and SciPy; it forgives swapped left and right, and so detects it

Which subjects and frames are evaluated is up to the split of the data set: subjects 9 and 11 of
Human3.6M in papers whose protocol 1 is root alignment. Protocol 1 of Sun et al. 2017 and of
mks0601's PoseNet differs: subject 11 alone, every 64th frame, aligned.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from handjax.metrics import joints3d as metrics
from handjax.pose.skeleton import SKELETONS

_NAMES = SKELETONS["body18"].joints
_ROOT = SKELETONS["body18"].root


def _without(*names: str) -> tuple[int, ...]:
    return tuple(i for i, name in enumerate(_NAMES) if name not in names)


JOINT_SETS: dict[str, tuple[int, ...]] = {
    "h36m17": _without("thorax"),
    "h36m16": _without("torso", "nose"),
    "h36m14": _without("pelvis", "torso", "nose", "thorax"),
    "h36m13": _without("pelvis", "torso", "nose", "thorax", "neck"),
}
ALIGNMENTS = ("none", "root", "rigid", "similarity", "mirror")
# mm; PCK and its area as in MPI-INF-3DHP (Mehta et al. 2017, arXiv 1611.09813).
PCK3D_MM, AUC3D_MM = 150.0, tuple(float(t) for t in range(0, 151, 5))
# MPII: a joint counts as found within this fraction of the head's size; without pelvis and thorax.
PCKH_FRACTION = 0.5
PCKH_FRACTIONS = tuple(i / 20 for i in range(21))  # of the curve
_PCKH_GROUPS = ("head", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
# Human3.6M's actions, by the number that prepared frames carry.
ACTIONS = (
    "directions",
    "discussion",
    "eating",
    "greeting",
    "phoning",
    "posing",
    "purchases",
    "sitting",
    "sitting_down",
    "smoking",
    "taking_photo",
    "waiting",
    "walking",
    "walking_dog",
    "walking_together",
)


def aligned(
    pred: Float[np.ndarray, "*b 18 3"],
    true: Float[np.ndarray, "*b 18 3"],
    align: str,
    joints: Sequence[int],
) -> tuple[Float[np.ndarray, "*b j 3"], Float[np.ndarray, "*b j 3"]]:
    """The scored `joints` of both poses after one of ALIGNMENTS; ValueError for another name."""
    if align not in ALIGNMENTS:
        raise ValueError(f"alignment {align!r} is unknown: use {', '.join(ALIGNMENTS)}")
    pred, true, chosen = pred.astype(np.float64), true.astype(np.float64), list(joints)
    if align == "rigid":
        pred = metrics.procrustes(pred, true, scale=False)
    if align in ("root", "rigid"):
        pred, true = (x - x[..., _ROOT : _ROOT + 1, :] for x in (pred, true))
    pred, true = pred[..., chosen, :], true[..., chosen, :]
    if align in ("similarity", "mirror"):
        moved = metrics.procrustes(pred, true)
        if align == "mirror":
            other = metrics.procrustes(pred * (-1, 1, 1), true)
            closer = ((other - true) ** 2).sum((-1, -2)) < ((moved - true) ** 2).sum((-1, -2))
            moved = np.where(closer[..., None, None], other, moved)
        pred = moved
    return pred, true


def errors(
    pred: Float[np.ndarray, "*b 18 3"],
    true: Float[np.ndarray, "*b 18 3"],
    align: str = "root",
    joints: str = "h36m17",
) -> Float[np.ndarray, "*b j"]:
    """Distance of each joint of a JOINT_SETS under a protocol, mm."""
    return metrics.joint_errors(*aligned(pred, true, align, JOINT_SETS[joints]))


def summarize(rows: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """All metrics of a run's postprocessed rows, as plain JSON values for `metrics.json`.

    Frames with a 3D pose give the metrics of `summarize_3d`, frames with image joints those of
    `summarize_2d`; metrics without any frame are left out. Ground truth has the prefix `true_`.
    """
    has_3d, has_2d = rows["true_has_xyz"], rows["true_has_uv"]
    found: dict[str, Any] = {
        "frames": len(has_3d),
        "joints": len(_NAMES),
        "frames_3d": int(has_3d.sum()),
        "frames_2d": int(has_2d.sum()),
    }
    if has_3d.any():
        numbers = rows.get("true_action", np.full(len(has_3d), -1))[has_3d]
        actions = None
        if (numbers >= 0).any():
            actions = [ACTIONS[number] if number >= 0 else "other" for number in numbers]
        found |= summarize_3d(rows["joints_xyz"][has_3d], rows["true_joints_xyz"][has_3d], actions)
    if has_2d.any():
        found |= summarize_2d(
            rows["joints_uv"][has_2d],
            rows["true_joints_uv"][has_2d],
            rows["true_labelled"][has_2d],
            rows["true_head_px"][has_2d] if "true_head_px" in rows else None,
        )
    return found


def summarize_3d(
    pred: Float[np.ndarray, "n 18 3"],
    true: Float[np.ndarray, "n 18 3"],
    actions: Sequence[str] | None = None,
) -> dict[str, Any]:
    """All metrics of 3D poses, as plain JSON values.

    mpjpe_mm, pa_mpjpe_mm     h36m17_root and h36m17_similarity; the metrics below use these 17
                              joints and root alignment too
    protocols_mm              each pair of a joint set and an alignment, as "<joints>_<align>"
    per_joint_mm, per_axis_mm per joint; mean of |x|, |y| and |z|
    pck3d, pck3d_150mm_percent, auc3d     the curve, its value at 150 mm, and its mean
    root_mm, root_depth_mm    distance of the pelvis and its component along z, before alignment
    per_action_mm             with `actions`, one name per frame: the means per action
    mean_over_actions_mm      the mean of these means, as papers print it, not the mean over frames

    If a true pose is relative to its pelvis (which then is not in front of the camera), root_mm,
    root_depth_mm and the alignment "none" are left out. Raises ValueError for a coordinate that is
    not finite, or for a wrong number of actions.
    """
    _check_finite(pred, true)
    if actions is not None and len(actions) != len(pred):
        raise ValueError(f"{len(actions)} actions for {len(pred)} frames: expected one per frame")
    in_camera = bool((true[:, _ROOT, 2] > 0).all())
    joints = JOINT_SETS["h36m17"]
    root_pred, root_true = aligned(pred, true, "root", joints)
    by_root, similar = metrics.joint_errors(root_pred, root_true), errors(pred, true, "similarity")
    curve = pck3d(by_root, AUC3D_MM)
    per_axis = np.abs(root_pred - root_true).mean((0, 1)).tolist()
    found: dict[str, Any] = {
        "mpjpe_mm": metrics.mpjpe(by_root),
        "pa_mpjpe_mm": metrics.mpjpe(similar),
        "protocols_mm": {
            f"{name}_{align}": metrics.mpjpe(errors(pred, true, align, name))
            for name in JOINT_SETS
            for align in ALIGNMENTS
            if in_camera or align != "none"
        },
        "per_joint_mm": metrics.by_joint([_NAMES[j] for j in joints], metrics.per_joint(by_root)),
        "per_axis_mm": dict(zip("xyz", per_axis, strict=True)),
        "pck3d": {"thresholds_mm": list(AUC3D_MM), "fraction": curve.tolist()},
        "pck3d_150mm_percent": 100 * float(pck3d(by_root, (PCK3D_MM,))[0]),
        "auc3d": float(metrics.auc(AUC3D_MM, curve, rule="mean")),
    }
    if in_camera:
        offset = pred[:, _ROOT].astype(np.float64) - true[:, _ROOT]
        found["root_mm"] = float(np.linalg.norm(offset, axis=-1).mean())
        found["root_depth_mm"] = float(np.abs(offset[:, 2]).mean())
    if actions is None:
        return found
    action_of, columns = np.asarray(actions), {"mpjpe_mm": by_root, "pa_mpjpe_mm": similar}
    per_action = {
        action: {name: metrics.mpjpe(e[action_of == action]) for name, e in columns.items()}
        for action in sorted(set(actions))
    }
    over = {name: float(np.mean([row[name] for row in per_action.values()])) for name in columns}
    return found | {"per_action_mm": per_action, "mean_over_actions_mm": over}


def summarize_2d(
    pred_uv: Float[np.ndarray, "n 18 2"],
    true_uv: Float[np.ndarray, "n 18 2"],
    labelled: Bool[np.ndarray, "n 18"],
    head_px: Float[np.ndarray, " n"] | None = None,
) -> dict[str, Any]:
    """All metrics of image joints, in px of the source file, as plain JSON values.

    `epe_px` and `median_px` are the mean and median error of all labelled joints, `per_joint_px`
    the mean per joint, None without a label. `pckh_percent` and `pckh`, the curve of its mean over
    PCKH_FRACTIONS, are of the frames whose head has a known size (not 0), if there are any.
    """
    _check_finite(pred_uv, np.where(labelled[..., None], true_uv, 0))
    distances = metrics.joint_errors(pred_uv, true_uv)
    found: dict[str, Any] = {
        "epe_px": metrics.mpjpe(distances, labelled),
        "median_px": metrics.median(distances, labelled),
        "per_joint_px": metrics.by_joint(_NAMES, metrics.per_joint(distances, labelled)),
    }
    if head_px is None or not (sized := (head_px > 0) & labelled.any(-1)).any():
        return found
    people = pred_uv[sized], true_uv[sized], labelled[sized], head_px[sized]
    curve = [pckh(*people, fraction=fraction)["mean"] for fraction in PCKH_FRACTIONS]
    return found | {
        "frames_pckh": int(sized.sum()),
        "pckh_percent": pckh(*people),
        "pckh": {"parts": list(PCKH_FRACTIONS), "percent": curve},
    }


def _check_finite(*joints: np.ndarray) -> None:
    bad = ~np.all([np.isfinite(x).all(axis=-1) for x in joints], axis=0)
    if bad.any():
        n, j = np.argwhere(bad)[0]
        raise ValueError(
            f"frame {n}, joint {_NAMES[j]}: a coordinate is not finite; errors cannot be computed"
        )


def pck3d(
    errors: Float[np.ndarray, "*b j"], thresholds: Sequence[float]
) -> Float[np.ndarray, " t"]:
    """Fraction of all joints of all frames with an error of at most t, mm.

    Its mean over AUC3D_MM is MPI-INF-3DHP's AUC.
    """
    return np.searchsorted(np.sort(errors.ravel()), thresholds, side="right") / errors.size


def pckh(
    pred_uv: Float[np.ndarray, "n 18 2"],
    true_uv: Float[np.ndarray, "n 18 2"],
    visible: Bool[np.ndarray, "n 18"],
    head_px: Float[np.ndarray, " n"],
    fraction: float = PCKH_FRACTION,
) -> dict[str, float | None]:
    """MPII's PCKh in percent: `visible` joints within `fraction` of the head's size.

    `head_px` is 0.6 of the diagonal of the head's box, px. A group is the mean of its left and
    right joint, None without a label. "mean" weights each joint by the number of its labels,
    including the neck and without pelvis and thorax, as Microsoft's human-pose-estimation does.

    Raises ValueError if no joint is visible or a head has no size.
    """
    distances = np.linalg.norm(pred_uv.astype(np.float64) - true_uv, axis=-1)
    within = (distances <= fraction * head_px[:, None]) & visible
    counted = np.array([name not in ("pelvis", "thorax") for name in _NAMES]) & visible.any(0)
    if not counted.any() or (head_px <= 0).any():
        raise ValueError(
            "PCKh needs a labelled joint and a head's size of more than 0 px in every frame"
        )
    percent = 100 * within.sum(0) / np.maximum(visible.sum(0), 1)
    found: dict[str, float | None] = {}
    for group in _PCKH_GROUPS:
        members = [
            j for j, name in enumerate(_NAMES) if name.split("_")[-1] == group and counted[j]
        ]
        found[group] = float(percent[members].mean()) if members else None
    found["mean"] = float(100 * within[:, counted].sum() / visible[:, counted].sum())
    return found
