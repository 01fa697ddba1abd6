"""Losses: elementwise values, divergences, and the means and sums that know the mask."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from handjax.pose.geometry import safe_sqrt


def squared_error(prediction: Float[Array, "*s"], target: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """(prediction - target)², no broadcasting."""
    _same_shape(prediction, target)
    return (prediction - target) ** 2


def absolute_error(
    prediction: Float[Array, "*s"], target: Float[Array, "*s"]
) -> Float[Array, "*s"]:
    """|prediction - target|, no broadcasting."""
    _same_shape(prediction, target)
    return jnp.abs(prediction - target)


def masked_mean(values: Float[Array, "b ..."], mask: Bool[Array, " b"]) -> Float[Array, ""]:
    """Mean over every element of the samples whose mask is true; zero where there is none."""
    per_sample = values.reshape(values.shape[0], -1).mean(axis=1)
    return jnp.where(mask, per_sample, 0.0).sum() / jnp.maximum(mask.sum(), 1)


def smooth_l1(prediction: Float[Array, "*s"], target: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """d² / 2 up to a distance d of 1, d - 1/2 beyond (PyTorch's SmoothL1Loss), no broadcasting."""
    distance = absolute_error(prediction, target)
    return jnp.where(distance < 1.0, 0.5 * distance**2, distance - 0.5)


def masked_total(values: Float[Array, "b ..."], mask: Bool[Array, " b"]) -> Float[Array, ""]:
    """Sum over each sample's elements, mean over the samples whose mask is true; zero where there is none."""
    per_sample = values.reshape(values.shape[0], -1).sum(axis=1)
    return jnp.where(mask, per_sample, 0.0).sum() / jnp.maximum(mask.sum(), 1)


def visible_mean(
    values: Float[Array, "b j"], mask: Bool[Array, " b"], visible: Bool[Array, "b j"] | None
) -> Float[Array, ""]:
    """Mean over every joint of the samples whose mask is true; with `visible` over the visible ones: their sum over their number
    plus 1e-4 (jiangxubin/hand_pose, `train_vis=False`)."""
    if visible is None:
        return masked_mean(values, mask)
    counts = mask[:, None] & visible
    return jnp.where(counts, values, 0.0).sum() / (counts.sum() + 1e-4)


def stage_totals(
    maps: Float[Array, "b s h w c"],
    target: Float[Array, "b h w c"],
    mask: Bool[Array, " b"],
    weight: Float[Array, "b c"] | None = None,
) -> Float[Array, " s"]:
    """Squared error of each stage's maps, summed over a sample's cells and channels, times the channel's `weight`: the terms of
    CPM's loss, which is their sum (Wei et al. 2016, section 3.3).

    namedBen/Convolutional-Pose-Machines-Pytorch multiplies a mean by 46 · 46 · 15, which is this sum for its 14 joints and
    background on 46² cells; here it is the sum for any number of them.
    """
    error = squared_error(maps, jnp.broadcast_to(target[:, None], maps.shape)).sum(
        (2, 3)
    )  # [b, s, c]
    per_stage = (error if weight is None else error * weight[:, None]).sum(-1)
    return jnp.where(mask[:, None], per_stage, 0.0).sum(0) / jnp.maximum(mask.sum(), 1)


def map_rms(
    maps: Float[Array, "*b h w j"], target: Float[Array, "*b h w j"]
) -> Float[Array, "*b j"]:
    """Root of the mean squared error over a map's cells (jiangxubin/hand_pose); where it is zero so is its gradient."""
    return safe_sqrt(squared_error(maps, target).mean((-3, -2)))


def jensen_shannon(
    p: Float[Array, "*b h w j"], q: Float[Array, "*b h w j"]
) -> Float[Array, "*b j"]:
    """Jensen–Shannon divergence of maps that each sum to 1, in nats (Nibali et al. 2018, arXiv 1801.07372)."""
    tiny = 1e-24  # of the original: logarithms stay finite where a map is zero
    log_m = jnp.log(0.5 * (p + q) + tiny)
    return 0.5 * (p * (jnp.log(p + tiny) - log_m) + q * (jnp.log(q + tiny) - log_m)).sum((-3, -2))


def _same_shape(prediction, target):
    if prediction.shape != target.shape:
        raise ValueError(f"prediction {prediction.shape} and target {target.shape} differ in shape")
