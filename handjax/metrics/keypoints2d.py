"""Errors of predicted image joints. Variants of other projects appear under keys of their own.

Host NumPy. Lengths are px of the source image, so they do not depend on the size of the crop.

    e[n, j] = |pred[n, j] - true[n, j]|     Euclidean, per hand n and joint j

    epe_px, median_px               mean and median of e over all counted joints
    joint_mean_px, joint_median_px  mean and median per joint, then averaged over the joints: hand3d
                                    (Zimmermann and Brox 2017, EvalUtil) and jiangxubin/hand_pose
    pck(t)                          fraction of hands with e <= t, per joint, averaged over the
                                    joints; 20 values of t from 0 to 30 px (EvalUtil)
    auc                             area under pck by the trapezoid rule / 30 px (EvalUtil)
    auc_mmpose                      mean of the fractions with e < t at t = 0, 1.5, ..., 28.5 px
                                    (mmpose, keypoint_auc)
    pck_image(a)                    fraction with e < a * side of the network's input square; 21
                                    values of a from 0 to 0.2, reported at 0.05 and 0.2
                                    (chrisliu54/Hand-Keypoint-Estimation)
    pck_box(s)                      fraction with e < s * side of the hand's box, the longer side
                                    of the bounding box of its joints; s = 0.04 to 0.12
                                    (HowieMa/NSRMhand, where the box is the crop / 2.2) and 0.2
                                    (mmpose, whose box is the annotation's)

    oks                             COCO's similarity of keypoints (cocodataset.org/
                                    #keypoints-eval), with sigmas of the joints alone: mean over
                                    the labelled joints of exp(-e² / (8 sigma² area)); its mean over
                                    the objects, and the fraction of at least 0.5 and 0.75

pck_image and pck_box are averaged over the joints too, as in mmpose; NSRMhand and Kwai's code pool
all joints. The two agree if every joint is labelled in every hand.

Counted are all joints with a label, visible or hidden, or only the visible ones among them
(jiangxubin's `eval_vis`: all or part; hand3d counts visible joints).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from handjax.metrics import joints3d as metrics

CURVE_PX = tuple(30 * i / 19 for i in range(20))
MMPOSE_PX = tuple(1.5 * i for i in range(20))
IMAGE_SHARES = tuple(i / 100 for i in range(21))
BOX_SHARES = (0.04, 0.06, 0.08, 0.1, 0.12, 0.2)
QUOTED_IMAGE_SHARES = (0.05, 0.2)
QUOTED_OKS = (0.5, 0.75)

# Side of a square per hand (px), the fractions of it to evaluate, and those to report.
_Side = tuple[np.ndarray, Sequence[float], Sequence[float]]


def pck_curve(
    errors: Float[np.ndarray, "n j"],
    thresholds: Sequence[float],
    counted: Bool[np.ndarray, "n j"] | None = None,
    strict: bool = False,
) -> Float[np.ndarray, " t"]:
    """Fraction of hands whose joint is within each threshold, averaged over all counted joints."""
    return np.nanmean(metrics.pck(errors, thresholds, counted, strict), axis=0)


def pck_of_side(
    errors: Float[np.ndarray, "n j"],
    side: Float[np.ndarray, " n"],
    shares: Sequence[float],
    counted: Bool[np.ndarray, "n j"] | None = None,
) -> Float[np.ndarray, " t"]:
    """`pck_curve` of e < share * side, with one side per hand."""
    return pck_curve(errors / side[:, None], shares, counted, strict=True)


def similarity(
    errors: Float[np.ndarray, "n j"],
    area_px: Float[np.ndarray, " n"],
    sigmas: Sequence[float],
    labelled: Bool[np.ndarray, "n j"],
) -> Float[np.ndarray, " n"]:
    """COCO's similarity of keypoints, 0 to 1; NaN for objects without a label or an area.

    errors, px, and area_px, px², in one image; sigmas relative to the root of the area.
    """
    scale = 8 * np.square(np.asarray(sigmas, np.float64))[None] * area_px[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        each = np.where(labelled, np.exp(-np.square(errors) / scale), 0.0)
        found = each.sum(1) / labelled.sum(1)
    return np.where(area_px > 0, found, np.nan)


def summarize(
    pred: Float[np.ndarray, "n j 2"],
    true: Float[np.ndarray, "n j 2"],
    joints: Sequence[str],
    visible: Bool[np.ndarray, "n j"] | None = None,
    box_px: Float[np.ndarray, " n"] | None = None,
    image_px: Float[np.ndarray, " n"] | None = None,
    labelled: Bool[np.ndarray, "n j"] | None = None,
    area_px: Float[np.ndarray, " n"] | None = None,
    sigmas: Sequence[float] = (),
) -> dict[str, Any]:
    """All metrics of one test set, as plain JSON values for `metrics.json`.

    Metrics of all labelled joints are at the top level, those of the visible ones under "visible",
    None if no joint is visible. By default all joints are labelled, and all labelled ones visible.

    `box_px` is the side of the hand's box and `image_px` that of the network's input square, both
    in px of the source image. With `area_px`, px², and the `sigmas` of the joints there is "oks".
    Raises ValueError for inputs that cannot be evaluated.
    """
    labelled = np.ones(true.shape[:2], bool) if labelled is None else labelled
    visible = labelled if visible is None else labelled & visible
    _check(pred, true, joints, labelled, {"box_px": box_px, "image_px": image_px})
    errors = metrics.joint_errors(
        np.where(labelled[..., None], pred, 0.0), np.where(labelled[..., None], true, 0.0)
    )
    sides: dict[str, _Side] = {}
    if image_px is not None:
        sides["pck_image"] = (image_px, IMAGE_SHARES, QUOTED_IMAGE_SHARES)
    if box_px is not None:
        sides["pck_box"] = (box_px, BOX_SHARES, BOX_SHARES)
    return {
        "frames": int(labelled.any(axis=-1).sum()),
        "joints": len(joints),
        **_metrics_of(errors, labelled, joints, sides),
        "visible": _metrics_of(errors, visible, joints, sides) if visible.any() else None,
        **({} if area_px is None or not sigmas else _oks(errors, area_px, sigmas, labelled)),
    }


def _oks(
    errors: np.ndarray, area_px: np.ndarray, sigmas: Sequence[float], labelled: np.ndarray
) -> dict[str, Any]:
    of_object = similarity(errors, area_px, sigmas, labelled)
    of_object = of_object[np.isfinite(of_object)]
    if not of_object.size:
        return {}
    above = {str(least): float((of_object >= least).mean()) for least in QUOTED_OKS}
    return {"oks": {"mean": float(of_object.mean()), "above": above}}


def _metrics_of(
    errors: np.ndarray, counted: np.ndarray, joints: Sequence[str], sides: Mapping[str, _Side]
) -> dict[str, Any]:
    """Metrics over the `counted` joints alone."""
    means = metrics.per_joint(errors, counted, "mean")
    medians = metrics.per_joint(errors, counted, "median")
    curve = pck_curve(errors, CURVE_PX, counted)
    found: dict[str, Any] = {
        "counted": int(counted.sum()),
        "epe_px": metrics.mpjpe(errors, counted),
        "median_px": metrics.median(errors, counted),
        "joint_mean_px": float(np.nanmean(means)),
        "joint_median_px": float(np.nanmean(medians)),
        "auc": float(metrics.auc(CURVE_PX, curve)),
        "auc_mmpose": float(pck_curve(errors, MMPOSE_PX, counted, strict=True).mean()),
        "pck": {"thresholds_px": list(CURVE_PX), "fraction": curve.tolist()},
    }
    for name, (side, shares, quoted) in sides.items():
        sized = side > 0  # the box of a single labelled joint has no size
        with_size = counted & sized[:, None]
        fractions = pck_of_side(errors, np.where(sized, side, 1.0), shares, with_size).tolist()
        at = dict(zip(shares, fractions, strict=True))
        found[name] = {str(share): at[share] for share in quoted}
        found[name + "_curve"] = {"shares": list(shares), "fraction": fractions}
    return found | {
        "per_joint_px": metrics.by_joint(joints, means),
        "per_joint_median_px": metrics.by_joint(joints, medians),
    }


def _check(
    pred: np.ndarray,
    true: np.ndarray,
    joints: Sequence[str],
    labelled: np.ndarray,
    sides: Mapping[str, np.ndarray | None],
) -> None:
    """Raises ValueError for the first input that cannot be evaluated."""
    if pred.shape != true.shape or pred.shape[1:] != (len(joints), 2):
        raise ValueError(
            f"predictions are {list(pred.shape)}, the ground truth is {list(true.shape)}: "
            f"expected [n, {len(joints)}, 2] for both"
        )
    if not labelled.any():
        raise ValueError("nothing to evaluate: no labelled joint in any frame")
    for which, values in (("predicted", pred), ("true", true)):
        bad = labelled & ~np.isfinite(values).all(axis=-1)
        if bad.any():
            n, j = np.argwhere(bad)[0]
            raise ValueError(
                f"frame {n}, joint {joints[j]}: the {which} position is not finite; "
                "errors cannot be computed"
            )
    for name, side in sides.items():
        if side is None:
            continue
        bad = labelled.any(axis=-1) & ~((side >= 0) & np.isfinite(side))
        if bad.any():
            n = int(np.argmax(bad))
            raise ValueError(f"frame {n}: {name} is {side[n]}; expected the side of a square in px")
