"""Errors of predicted joints. Where definitions in the literature differ, an argument selects one.

Host NumPy, summed in double precision, for predictions that have been collected. Lengths have the
unit of the input: mm for camera-space joints, pixels for image joints. `visible` selects the joints
that count; without it all count. Frames without a visible joint are ignored. The result of a joint
that is never visible is NaN.

    e[n, j] = |pred[n, j] - true[n, j]|      Euclidean, per frame n and joint j

Success rates and PCK count e <= t, as hand3d (Zimmermann and Brox 2017) and the evaluation scripts
of awesome-hand-pose-estimation do; `strict=True` counts e < t, as mmpose does.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float

from handjax.pose.align import kabsch

SUCCESS_MM = (10, 20, 30, 40, 50)
CURVE_MM = tuple(range(81))
PCK_MM = tuple(range(51))


def joint_errors(
    pred: Float[np.ndarray, "*b j d"], true: Float[np.ndarray, "*b j d"], root: int | None = None
) -> Float[np.ndarray, "*b j"]:
    """Euclidean distance of each joint.

    With `root`, both poses are first translated so that this joint is at the origin.
    """
    difference = pred.astype(np.float64) - true
    if root is not None:
        difference = difference - difference[..., root : root + 1, :]
    return np.linalg.norm(difference, axis=-1)


def mpjpe(
    errors: Float[np.ndarray, "*b j"], visible: Bool[np.ndarray, "*b j"] | None = None
) -> float:
    """Mean per-joint position error: the mean of e over all visible joints of all frames.

    hand3d averages the per-joint means instead (`np.nanmean(per_joint(...))`); the two agree if all
    joints are visible.
    """
    return float(errors[_counted(errors, visible)].mean())


def median(
    errors: Float[np.ndarray, "*b j"], visible: Bool[np.ndarray, "*b j"] | None = None
) -> float:
    """Median of e over all visible joints of all frames.

    hand3d averages the per-joint medians instead: `np.nanmean(per_joint(..., of="median"))`.
    """
    return float(np.median(errors[_counted(errors, visible)]))


def per_joint(
    errors: Float[np.ndarray, "*b j"],
    visible: Bool[np.ndarray, "*b j"] | None = None,
    of: Literal["mean", "median"] = "mean",
) -> Float[np.ndarray, " j"]:
    """Mean (or median) of e over the frames, for each joint."""
    joints = errors.shape[-1]
    rows, counted = errors.reshape(-1, joints), _counted(errors, visible).reshape(-1, joints)

    def figure(errors_of_joint: np.ndarray) -> float:
        if not len(errors_of_joint):
            return math.nan
        return (np.mean if of == "mean" else np.median)(errors_of_joint)

    return np.array([figure(rows[counted[:, j], j]) for j in range(joints)])


def frame_errors(
    errors: Float[np.ndarray, "*b j"],
    visible: Bool[np.ndarray, "*b j"] | None = None,
    of: Literal["max", "mean"] = "max",
) -> Float[np.ndarray, "*b"]:
    """Largest (or mean) e among the visible joints of each frame; NaN where none is visible."""
    counted = _counted(errors, visible)
    if of == "max":
        value = np.where(counted, errors, -np.inf).max(axis=-1)
    else:
        value = np.where(counted, errors, 0.0).sum(axis=-1) / np.maximum(counted.sum(axis=-1), 1)
    return np.where(counted.any(axis=-1), value, np.nan)


def success(
    errors: Float[np.ndarray, "*b j"],
    thresholds: Sequence[int | float],
    visible: Bool[np.ndarray, "*b j"] | None = None,
    of: Literal["max", "mean"] = "max",
    strict: bool = False,
) -> Float[np.ndarray, " t"]:
    """Percent of frames whose largest (or mean) joint error is at most t, for each threshold.

    With the largest error this is the success rate of Taylor et al. 2012, the usual curve of
    depth-based hand pose estimation.
    """
    frames = frame_errors(errors, visible, of).reshape(-1)
    return 100.0 * _fraction_within(frames[~np.isnan(frames)], thresholds, strict)


def pck(
    errors: Float[np.ndarray, "*b j"],
    thresholds: Sequence[int | float],
    visible: Bool[np.ndarray, "*b j"] | None = None,
    strict: bool = False,
) -> Float[np.ndarray, "j t"]:
    """Fraction of correct keypoints: for each joint, the fraction of frames with e at most t.

    `np.nanmean(..., axis=0)` over the joints is the curve of hand3d and of PoseNet2D.
    """
    joints = errors.shape[-1]
    rows, counted = errors.reshape(-1, joints), _counted(errors, visible).reshape(-1, joints)
    curves = [
        _fraction_within(rows[m, j], thresholds, strict)
        if (m := counted[:, j]).any()
        else [math.nan] * len(thresholds)
        for j in range(joints)
    ]
    return np.array(curves, dtype=np.float64)


def auc(
    thresholds: Sequence[int | float],
    curve: Float[np.ndarray, "*b t"],
    rule: Literal["trapezoid", "mean"] = "trapezoid",
) -> Float[np.ndarray, "*b"]:
    """Area under a PCK curve, divided by the range of the thresholds: 1 for a perfect curve.

    `trapezoid` is hand3d's rule (2D: 20 thresholds from 0 to 30 px; 3D: 0 or 20 to 50 mm); `mean`
    averages the curve's values, as mmpose does. With few thresholds the two differ noticeably.
    """
    t = np.asarray(thresholds, dtype=np.float64)
    if rule == "mean":
        return np.asarray(np.mean(curve, axis=-1))
    return np.asarray(np.trapezoid(curve, t, axis=-1) / (t[-1] - t[0]))


def procrustes(
    pred: Float[np.ndarray, "*b j d"],
    true: Float[np.ndarray, "*b j d"],
    visible: Bool[np.ndarray, "*b j"] | None = None,
    scale: bool = True,
) -> Float[np.ndarray, "*b j d"]:
    """`pred` aligned to `true` by the similarity transform (rigid motion without `scale`) of least
    squared error over the visible joints.

    Umeyama 1991, eq. 40-42; mirror images are excluded. With scale it is the alignment of
    Human3.6M's protocol 2 in mmpose; without, that of 3DMPPE. A prediction whose joints coincide
    keeps its scale.
    """
    w = _counted(pred[..., 0], visible).astype(np.float64)[..., None]
    total = np.maximum(w.sum(axis=-2, keepdims=True), 1.0)
    pred_mean = (w * pred).sum(axis=-2, keepdims=True) / total
    true_mean = (w * true).sum(axis=-2, keepdims=True) / total
    p, q = pred - pred_mean, true - true_mean
    rotation, singular = kabsch(w * p, q)
    factor = np.ones(singular.shape[:-1])
    if scale:
        spread = (w * p * p).sum(axis=(-1, -2))
        factor = np.divide(singular.sum(axis=-1), spread, out=factor, where=spread > 0)
    return factor[..., None, None] * (p @ np.swapaxes(rotation, -1, -2)) + true_mean


def pa_mpjpe(
    pred: Float[np.ndarray, "*b j d"],
    true: Float[np.ndarray, "*b j d"],
    visible: Bool[np.ndarray, "*b j"] | None = None,
    scale: bool = True,
) -> float:
    """MPJPE after `procrustes` alignment of each frame."""
    return mpjpe(joint_errors(procrustes(pred, true, visible, scale), true), visible)


def summarize(
    pred: Float[np.ndarray, "n j 3"],
    true: Float[np.ndarray, "n j 3"],
    joints: Sequence[str],
    visible: Bool[np.ndarray, "n j"] | None = None,
    root: int | None = None,
) -> dict[str, Any]:
    """All metrics of one test set in mm, as plain JSON values for `metrics.json`.

    `root` is the joint that `root_relative_mpjpe_mm` is relative to. Undefined metrics are None.
    Raises ValueError if a coordinate of a visible joint is not finite.
    """
    bad = ~(np.isfinite(pred) & np.isfinite(true)).all(axis=-1)
    if visible is not None:
        bad &= visible
    if bad.any():
        n, j = np.argwhere(bad)[0]
        raise ValueError(
            f"frame {n}, joint {joints[j]}: a coordinate is not finite; errors cannot be computed"
        )
    if visible is not None:  # joints that do not count may hold any value, NaN included
        pred, true = (np.where(visible[..., None], x, 0.0) for x in (pred, true))
    errors = joint_errors(pred, true)
    counted = _counted(errors, visible)
    success_max = success(errors, SUCCESS_MM, visible, "max")
    success_mean = success(errors, SUCCESS_MM, visible, "mean")
    curve = np.nanmean(pck(errors, PCK_MM, visible), axis=0)
    relative = None
    if root is not None and (with_root := counted & counted[:, root : root + 1]).any():
        relative = mpjpe(joint_errors(pred, true, root), with_root)
    return {
        "frames": int(counted.any(axis=-1).sum()),
        "joints": len(joints),
        "mpjpe_mm": mpjpe(errors, visible),
        "median_mm": median(errors, visible),
        "root_relative_mpjpe_mm": relative,
        "pa_mpjpe_mm": pa_mpjpe(pred, true, visible),
        "pa_mpjpe_rigid_mm": pa_mpjpe(pred, true, visible, scale=False),
        "per_joint_mm": by_joint(joints, per_joint(errors, visible)),
        "thresholds_mm": list(SUCCESS_MM),
        "success_max_percent": _by_threshold(success_max),
        "success_mean_percent": _by_threshold(success_mean),
        "success_max_curve": {
            "thresholds_mm": list(CURVE_MM),
            "percent": success(errors, CURVE_MM, visible).tolist(),
        },
        "pck": {"thresholds_mm": list(PCK_MM), "fraction": curve.tolist()},
        "auc": float(auc(PCK_MM, curve)),
    }


def by_joint(joints: Sequence[str], values: Float[np.ndarray, " j"]) -> dict[str, float | None]:
    """Values by the names of their joints, None for NaN."""
    return {
        name: None if math.isnan(value) else float(value)
        for name, value in zip(joints, values, strict=True)
    }


def _by_threshold(percent: np.ndarray) -> dict[str, float]:
    return {str(t): float(p) for t, p in zip(SUCCESS_MM, percent, strict=True)}


def _counted(errors: np.ndarray, visible: np.ndarray | None) -> np.ndarray:
    """`visible`, or all joints; raises ValueError if no joint counts."""
    counted = np.ones(errors.shape, dtype=bool) if visible is None else visible
    if not counted.any():
        raise ValueError("nothing to evaluate: no visible joint in any frame")
    return counted


def _fraction_within(
    values: np.ndarray, thresholds: Sequence[int | float], strict: bool
) -> np.ndarray:
    """Fraction of `values` below each threshold, by one sort."""
    side: Literal["left", "right"] = "left" if strict else "right"
    return np.searchsorted(np.sort(values), thresholds, side=side) / len(values)
