"""Losses of CPM ("cpm", "kwai") and PoseNet2D ("heatmap", "dsnt").

Each takes score maps [b, stages, m, m, c], the inputs of `tasks.keypoints2d.prepare` and the
options, and returns its terms by name; their sum is the loss. Joints without a label do not count.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from handjax.engine.contracts import Inputs
from handjax.pose import losses
from handjax.targets import keypoints2d as targets
from handjax.tasks.keypoints2d_options import MapOptions

_FAR_PX = -1e4  # position of joints without a label, whose map stays empty

Maps = Float[Array, "b s m m c"]
Terms = dict[str, Array]


def cpm(outputs: Maps, inputs: Inputs, options: MapOptions) -> Terms:
    """Squared error of each stage, summed over maps and cells (Wei et al. 2016, eq. 5 and 6).

    namedBen multiplies the mean by 46 · 46 · 15, which is the same for its 14 joints and the
    background.
    """
    target, weight = _cpm_target(outputs, inputs, options)
    totals = losses.stage_totals(outputs, target, inputs["mask"], weight)
    return {f"stage{i + 1}": totals[i] for i in range(outputs.shape[1])}


def kwai(outputs: Maps, inputs: Inputs, options: MapOptions) -> Terms:
    """Smooth L1 of each stage, summed over maps and cells (chrisliu54/Hand-Keypoint-Estimation,
    which has one stage)."""
    target, weight = _cpm_target(outputs, inputs, options)
    errors = (
        losses.smooth_l1(outputs[:, i], target) * weight[:, None, None]
        for i in range(outputs.shape[1])
    )
    return {
        f"stage{i + 1}": losses.masked_total(error, inputs["mask"])
        for i, error in enumerate(errors)
    }


def _cpm_target(outputs, inputs, options):
    """Heat maps [b, m, m, c] and their weights [b, c], 0 for joints without a label."""
    counts = _counts(inputs, options)
    uv = jnp.where(counts[..., None], inputs["joints"], _FAR_PX)
    target = targets.cpm_heatmaps(
        uv,
        outputs.shape[-2],
        options.stride,
        options.sigma,
        options.cut,
        options.background,
        whole_pixels=options.whole_pixels,
    )
    first = jnp.ones((len(uv), int(options.background)))
    return target, jnp.concatenate([first, counts.astype(jnp.float32)], axis=-1)


def heatmap(outputs: Maps, inputs: Inputs, options: MapOptions) -> Terms:
    """Root mean square error of each map at the image's size, mean over joints
    (jiangxubin/hand_pose)."""
    counts = _counts(inputs, options)
    target = targets.posenet_heatmaps(inputs["joints"], counts, options.size, options.sigma)
    resized = (targets.resize(outputs[:, i], options.size) for i in range(outputs.shape[1]))
    terms = (
        losses.visible_mean(losses.map_rms(heat, target), inputs["mask"], counts)
        for heat in resized
    )
    return {f"stage{i + 1}": term for i, term in enumerate(terms)}


def dsnt(outputs: Maps, inputs: Inputs, options: MapOptions) -> Terms:
    """Squared error of the expectation, in sides of the crop, and Jensen-Shannon divergence from a
    Gaussian, of the last stage (Nibali et al. 2018, eq. 8 and 12; in jiangxubin/hand_pose's units).
    """
    counts, uv = _counts(inputs, options), inputs["joints"] / options.size
    probability, expected = targets.dsnt(outputs[:, -1])
    target = targets.dsnt_gaussians(uv, outputs.shape[-2], options.fwhm)
    return {
        "coordinates": losses.visible_mean(
            losses.squared_error(expected, uv).mean(-1), inputs["mask"], counts
        ),
        "divergence": losses.visible_mean(
            losses.jensen_shannon(probability, target), inputs["mask"], counts
        ),
    }


def _counts(inputs: Inputs, options: MapOptions) -> Bool[Array, "b j"]:
    return inputs["visible" if options.visible_only else "labelled"]


LOSSES = {"cpm": cpm, "kwai": kwai, "heatmap": heatmap, "dsnt": dsnt}
