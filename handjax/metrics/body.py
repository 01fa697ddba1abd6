"""How a person's 3D joints are scored, each protocol under a name of its own: papers say "MPJPE" and "PA-MPJPE" and mean several.

Host numpy, camera mm, joints of the skeleton "body18"; what is defined in metrics/joints3d.py is defined there. A protocol is a set
of joints, an alignment, and what is held against each other is then the distance of each joint:

joints     h36m17  the data set's 17, without our thorax: JimmySuen/integral-human-pose's `17j`, mks0601's PoseNet
           h36m16  with the thorax, without torso and nose          (`16j` of the first)
           h36m14  of these without pelvis and thorax               (`14j`)
           h36m13  and without the neck                             (`13j`)
align      none        camera mm as they are
           root        the pelvis at the origin in both             "MPJPE", Human3.6M's protocol 1 of today
           rigid       least squares by rotation and translation, over all joints that the skeleton has, and the pelvis
                       to the origin again: `17j_align` of JimmySuen's
           similarity  and by scale, over the scored joints         "PA-MPJPE", protocol 2 of today
           mirror      as similarity, and by a reflection where that is nearer, as MATLAB's and scipy's `procrustes`; it
                       forgives confusing left and right and is here to recognize that

Which subjects and frames are scored is the data set's split: subjects 9 and 11 of Human3.6M in the papers that call root alignment
protocol 1. In Sun et al. 2017 and mks0601's PoseNet protocol 1 is another thing: subject 11 alone, every 64th frame, and aligned.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

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
# mm: PCK and its area as in MPI-INF-3DHP (Mehta et al. 2017, arXiv 1611.09813).
PCK3D_MM, AUC3D_MM = 150.0, tuple(float(t) for t in range(0, 151, 5))
# MPII: a joint is found within this part of the head's size; pelvis and thorax do not count.
PCKH_PART = 0.5
PCKH_PARTS = tuple(i / 20 for i in range(21))  # of its curve
_PCKH_GROUPS = ("head", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
_CHALLENGE_JOINTS = 17
# Human3.6M's, by the number that prepared frames carry.
ACTIONS = (
    *(
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
    ),
    *("taking_photo", "waiting", "walking", "walking_dog", "walking_together"),
)


def aligned(
    pred: Float[np.ndarray, "*b 18 3"],
    true: Float[np.ndarray, "*b 18 3"],
    align: str,
    joints: Sequence[int],
) -> tuple[Float[np.ndarray, "*b j 3"], Float[np.ndarray, "*b j 3"]]:
    """The scored `joints` of both poses after one of ALIGNMENTS."""
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
            nearer = ((other - true) ** 2).sum((-1, -2)) < ((moved - true) ** 2).sum((-1, -2))
            moved = np.where(nearer[..., None, None], other, moved)
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


def score(rows: Mapping[str, np.ndarray]) -> dict:
    """A run's finished rows, predicted and `true_`, → all figures as plain JSON values: those of `summarize` over the frames that
    have a pose in space, and of `summarize_picture` over those with places in the picture. What no frame has is left out."""
    space, picture = rows["true_has_xyz"], rows["true_has_uv"]
    found = {
        "frames": len(space),
        "joints": len(_NAMES),
        "frames_3d": int(space.sum()),
        "frames_2d": int(picture.sum()),
    }
    if space.any():
        acted = rows.get("true_action", np.full(len(space), -1))[space]
        actions = (
            [ACTIONS[action] if action >= 0 else "other" for action in acted]
            if (acted >= 0).any()
            else None
        )
        found |= summarize(rows["joints_xyz"][space], rows["true_joints_xyz"][space], actions)
    if picture.any():
        of_picture = (
            rows[name][picture] for name in ("joints_uv", "true_joints_uv", "true_labelled")
        )
        found |= summarize_picture(
            *of_picture, rows["true_head_px"][picture] if "true_head_px" in rows else None
        )
    return found


def summarize(
    pred: Float[np.ndarray, "n 18 3"],
    true: Float[np.ndarray, "n 18 3"],
    actions: Sequence[str] | None = None,
) -> dict:
    """All figures of poses in space as plain JSON values.

    mpjpe_mm, pa_mpjpe_mm     h36m17_root and h36m17_similarity; of these 17 joints and root alignment is the rest, too
    protocols_mm              every pair of a joint set and an alignment under "<joints>_<align>"
    per_joint_mm, per_axis_mm the latter the mean of |x|, |y| and |z|
    pck3d, pck3d_150mm_percent, auc3d     the curve, its value at 150 mm, and its mean
    root_mm, root_depth_mm    distance of the pelvis and its part along the depth, before alignment
    per_action_mm             with `actions`, one name a frame: the means of each
    mean_over_actions_mm      and of these means, which papers print and which is not the mean over frames

    Poses from the pelvis, which is not before the camera then, have no place: root_mm, root_depth_mm and the alignment "none" are
    left out if there is one.
    """
    _finite(pred, true)
    if actions is not None and len(actions) != len(pred):
        raise ValueError(f"{len(actions)} actions for {len(pred)} frames: expected one a frame")
    placed = bool((true[:, _ROOT, 2] > 0).all())
    joints = JOINT_SETS["h36m17"]
    root_pred, root_true = aligned(pred, true, "root", joints)
    by_root, similar = metrics.joint_errors(root_pred, root_true), errors(pred, true, "similarity")
    curve = pck3d(by_root, AUC3D_MM)
    found = {
        "mpjpe_mm": metrics.mpjpe(by_root),
        "pa_mpjpe_mm": metrics.mpjpe(similar),
        "protocols_mm": {
            f"{name}_{align}": metrics.mpjpe(errors(pred, true, align, name))
            for name in JOINT_SETS
            for align in ALIGNMENTS
            if placed or align != "none"
        },
        "per_joint_mm": dict(
            zip((_NAMES[j] for j in joints), metrics.per_joint(by_root).tolist(), strict=True)
        ),
        "per_axis_mm": dict(
            zip("xyz", np.abs(root_pred - root_true).mean((0, 1)).tolist(), strict=True)
        ),
        "pck3d": {"thresholds_mm": list(AUC3D_MM), "fraction": curve.tolist()},
        "pck3d_150mm_percent": 100 * float(pck3d(by_root, (PCK3D_MM,))[0]),
        "auc3d": float(metrics.auc(AUC3D_MM, curve, rule="mean")),
    }
    if placed:
        off = pred[:, _ROOT].astype(np.float64) - true[:, _ROOT]
        found |= {
            "root_mm": float(np.linalg.norm(off, axis=-1).mean()),
            "root_depth_mm": float(np.abs(off[:, 2]).mean()),
        }
    if actions is None:
        return found
    of, figures = np.asarray(actions), {"mpjpe_mm": by_root, "pa_mpjpe_mm": similar}
    rows = {
        action: {name: metrics.mpjpe(e[of == action]) for name, e in figures.items()}
        for action in sorted(set(actions))
    }
    over = {name: float(np.mean([row[name] for row in rows.values()])) for name in figures}
    return found | {"per_action_mm": rows, "mean_over_actions_mm": over}


def summarize_picture(
    pred_uv: Float[np.ndarray, "n 18 2"],
    true_uv: Float[np.ndarray, "n 18 2"],
    labelled: Bool[np.ndarray, "n 18"],
    head_px: Float[np.ndarray, " n"] | None = None,
) -> dict:
    """All figures of places in the picture, px of the source file, as plain JSON values: mean and median error of all labelled
    joints, `epe_px` and `median_px`, the mean of each joint, None of one without a label; and where a head's size is known (not
    0), `pckh_percent` and the curve of its mean over PCKH_PARTS."""
    _finite(pred_uv, np.where(labelled[..., None], true_uv, 0))
    distances = metrics.joint_errors(pred_uv, true_uv)
    means = metrics.per_joint(distances, labelled).tolist()
    found = {
        "epe_px": metrics.mpjpe(distances, labelled),
        "median_px": metrics.median(distances, labelled),
        "per_joint_px": {
            name: None if np.isnan(mean) else mean for name, mean in zip(_NAMES, means, strict=True)
        },
    }
    sized = np.zeros(len(pred_uv), bool) if head_px is None else (head_px > 0) & labelled.any(-1)
    if not sized.any():
        return found
    people = pred_uv[sized], true_uv[sized], labelled[sized], head_px[sized]
    curve = [pckh(*people, part=part)["mean"] for part in PCKH_PARTS]
    return found | {
        "frames_pckh": int(sized.sum()),
        "pckh_percent": pckh(*people),
        "pckh": {"parts": list(PCKH_PARTS), "percent": curve},
    }


def _finite(*joints: np.ndarray) -> None:
    bad = ~np.all([np.isfinite(x).all(axis=-1) for x in joints], axis=0)
    if bad.any():
        n, j = np.argwhere(bad)[0]
        raise ValueError(
            f"frame {n}, joint {_NAMES[j]}: a coordinate is not finite; errors cannot be measured"
        )


def pck3d(
    errors: Float[np.ndarray, "*b j"], thresholds: Sequence[float]
) -> Float[np.ndarray, " t"]:
    """Fraction of all joints of all frames with an error of at most t, mm. Its mean over AUC3D_MM is MPI-INF-3DHP's AUC."""
    return np.searchsorted(np.sort(errors.ravel()), thresholds, side="right") / errors.size


def pckh(
    pred_uv: Float[np.ndarray, "n 18 2"],
    true_uv: Float[np.ndarray, "n 18 2"],
    visible: Bool[np.ndarray, "n 18"],
    head_px: Float[np.ndarray, " n"],
    part: float = PCKH_PART,
) -> dict[str, float | None]:
    """MPII's PCKh in percent: the labelled joints no further off than `part` of the head's size, px.

    `head_px` is 0.6 of the diagonal of the head's box. A group is the mean of its left and right; "mean" weighs each joint by how
    often it is labelled, neck included, pelvis and thorax left out, as the evaluation of Microsoft's human-pose-estimation does.
    """
    within = (
        np.linalg.norm(pred_uv.astype(np.float64) - true_uv, axis=-1) <= part * head_px[:, None]
    ) & visible
    counted = np.array([name not in ("pelvis", "thorax") for name in _NAMES]) & visible.any(0)
    if not counted.any() or (head_px <= 0).any():
        raise ValueError(
            "PCKh needs a labelled joint and a head's size of more than 0 px in every frame"
        )
    share = 100 * within.sum(0) / np.maximum(visible.sum(0), 1)
    found: dict[str, float | None] = {}
    for group in _PCKH_GROUPS:
        members = [
            j for j, name in enumerate(_NAMES) if name.split("_")[-1] == group and counted[j]
        ]
        found[group] = float(share[members].mean()) if members else None
    found["mean"] = float(100 * within[:, counted].sum() / visible[:, counted].sum())
    return found


def challenge_text(joints: Float[np.ndarray, "18 3"]) -> str:
    """One frame as the ECCV 2018 Human3.6M challenge takes it: 17 rows of x,y,z, mm about the pelvis, two digits."""
    about = joints.astype(np.float64) - joints[_ROOT]
    return "".join(
        "{:.2f},{:.2f},{:.2f}\n".format(*(row + 0.0)) for row in about.round(2)[:_CHALLENGE_JOINTS]
    )


def check_new(folder: str | os.PathLike) -> None:
    """Refuses a folder with something in it: nothing is written over."""
    if Path(folder).exists() and not Path(folder).is_dir():
        raise NotADirectoryError(f"{folder}: a file; name a new folder for the submission")
    if there := next(Path(folder).glob("*"), None):
        raise FileExistsError(
            f"{folder}: not empty, has {there.name}; name a new folder for the submission"
        )


def write_challenge(
    folder: str | os.PathLike, poses: Mapping[int, Float[np.ndarray, "18 3"]]
) -> None:
    """Frame number → `folder`/00001.csv and so on. The folder is made and must be empty."""
    check_new(folder)
    texts = {}
    for frame, joints in poses.items():
        if not np.isfinite(joints).all():
            raise ValueError(
                f"frame {frame}: a coordinate is not finite; the challenge wants numbers"
            )
        texts[f"{frame:05d}.csv"] = challenge_text(joints)
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        Path(folder, name).write_text(text)
