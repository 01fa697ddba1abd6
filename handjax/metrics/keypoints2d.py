"""Errors of predicted image joints, each defined once; the originals' variants stand side by side under their own keys.

Host numpy. Lengths are px of the source picture, so that a crop's size changes no figure.

    e[n, j] = |pred[n, j] - true[n, j]|         Euclidean, per hand n and joint j

    epe_px, median_px                           mean and median of e over everything that counts
    joint_mean_px, joint_median_px              the same of each joint by itself, then averaged over the joints: the figures of
                                                hand3d (Zimmermann and Brox 2017, class EvalUtil), and so of jiangxubin/hand_pose
    pck(t)                                      share of hands with e <= t, of each joint by itself, averaged over the joints;
                                                t = 0 to 30 px in 20 values (EvalUtil)
    auc                                         area under pck by the trapezoid rule, divided by 30 px (EvalUtil)
    auc_mmpose                                  mean of the shares with e < t at t = 0, 1.5, ..., 28.5 px (mmpose, keypoint_auc)
    pck_image(a)                                share with e < a * side of the square that the network sees; a = 0 to 0.2 in 21
                                                values, quoted at 0.05 and 0.2 (chrisliu54/Hand-Keypoint-Estimation)
    pck_box(s)                                  share with e < s * side of the hand's box, the larger side of the rectangle about
                                                its joints; s = 0.04 to 0.12 (HowieMa/NSRMhand, where the box is the crop / 2.2) and
                                                0.2 (mmpose, whose box is the annotation's)

The two shares of a side are averaged over the joints too, as mmpose does; NSRMhand and Kwai's code count all joints at once. The
two agree where every joint is labelled in every hand.

What counts: "all" joints that have a label, seen or hidden, or the "visible" ones among them (jiangxubin's `eval_vis` all and
part; hand3d scores visible ones).
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from handjax.metrics import joints3d as metrics

CURVE_PX = tuple(30 * i / 19 for i in range(20))
MMPOSE_PX = tuple(1.5 * i for i in range(20))
IMAGE_SHARES = tuple(i / 100 for i in range(21))
BOX_SHARES = (0.04, 0.06, 0.08, 0.1, 0.12, 0.2)
QUOTED_IMAGE_SHARES = (0.05, 0.2)


def pck_curve(
    errors: Float[np.ndarray, "n j"],
    thresholds: Sequence[float],
    counted: Bool[np.ndarray, "n j"] | None = None,
    strict: bool = False,
) -> Float[np.ndarray, " t"]:
    """Share of hands whose joint is within each threshold, averaged over the joints that count anywhere."""
    return np.nanmean(metrics.pck(errors, thresholds, counted, strict), axis=0)


def pck_of_side(
    errors: Float[np.ndarray, "n j"],
    side: Float[np.ndarray, " n"],
    shares: Sequence[float],
    counted: Bool[np.ndarray, "n j"] | None = None,
) -> Float[np.ndarray, " t"]:
    """`pck_curve` of e < share * side, a side a hand."""
    return pck_curve(errors / side[:, None], shares, counted, strict=True)


def summarize2d(
    pred: Float[np.ndarray, "n j 2"],
    true: Float[np.ndarray, "n j 2"],
    joints: Sequence[str],
    visible: Bool[np.ndarray, "n j"] | None = None,
    box_px: Float[np.ndarray, " n"] | None = None,
    image_px: Float[np.ndarray, " n"] | None = None,
    labelled: Bool[np.ndarray, "n j"] | None = None,
) -> dict:
    """All figures of one test set, as plain JSON values: those of all labelled joints, and under "visible" those of the visible
    ones, null where none is. Without `visible` every joint is; without `labelled` every joint has a label.

    `box_px` is the side of the hand's box and `image_px` that of the square that the network saw, both px of the source picture.
    """
    labelled = np.ones(true.shape[:2], bool) if labelled is None else labelled
    visible = labelled if visible is None else labelled & visible
    _check(pred, true, joints, labelled, {"box_px": box_px, "image_px": image_px})
    errors = metrics.joint_errors(
        np.where(labelled[..., None], pred, 0.0), np.where(labelled[..., None], true, 0.0)
    )
    sides = {
        "pck_image": (image_px, IMAGE_SHARES, QUOTED_IMAGE_SHARES),
        "pck_box": (box_px, BOX_SHARES, BOX_SHARES),
    }
    sides = {name: entry for name, entry in sides.items() if entry[0] is not None}
    return {
        "frames": int(labelled.any(axis=-1).sum()),
        "joints": len(joints),
        **_figures(errors, labelled, joints, sides),
        "visible": _figures(errors, visible, joints, sides) if visible.any() else None,
    }


def _figures(errors, counted, joints, sides) -> dict:
    means, medians = (metrics.per_joint(errors, counted, of) for of in ("mean", "median"))
    curve = pck_curve(errors, CURVE_PX, counted)
    figures = {
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
        sized = side > 0  # a box of one labelled joint has no size to measure by
        found = pck_of_side(
            errors, np.where(sized, side, 1.0), shares, counted & sized[:, None]
        ).tolist()
        at = dict(zip(shares, found, strict=True))
        figures[name] = {str(share): at[share] for share in quoted}
        figures[name + "_curve"] = {"shares": list(shares), "fraction": found}
    return figures | {
        "per_joint_px": {
            name: None if np.isnan(e) else float(e) for name, e in zip(joints, means, strict=True)
        },
        "per_joint_median_px": {
            name: None if np.isnan(e) else float(e) for name, e in zip(joints, medians, strict=True)
        },
    }


def _check(pred, true, joints, labelled, sides) -> None:
    """What cannot be measured, by its first case."""
    if pred.shape != true.shape or pred.shape[1:] != (len(joints), 2):
        raise ValueError(
            f"predictions {list(pred.shape)} against truth {list(true.shape)}: expected [n, {len(joints)}, 2] of both"
        )
    if not labelled.any():
        raise ValueError("nothing to measure: no labelled joint in any frame")
    for what, values in (("predicted", pred), ("true", true)):
        bad = labelled & ~np.isfinite(values).all(axis=-1)
        if bad.any():
            n, j = np.argwhere(bad)[0]
            raise ValueError(
                f"frame {n}, joint {joints[j]}: the {what} place is not finite; errors cannot be measured"
            )
    for name, side in sides.items():
        if (
            side is not None
            and (bad := labelled.any(axis=-1) & ~((side >= 0) & np.isfinite(side))).any()
        ):
            n = int(np.argmax(bad))
            raise ValueError(f"frame {n}: {name} is {side[n]}; expected the side of a square in px")
