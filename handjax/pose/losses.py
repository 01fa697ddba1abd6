"""Losses: elementwise errors, divergences, and masked means and sums.

Means and sums over samples are over those of all devices, inside shard_map as well.
"""

import jax
import jax.numpy as jnp
from jax.sharding import AxisType
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
    """Mean over all elements of the samples whose mask is true; zero if there are none."""
    per_sample = values.reshape(values.shape[0], -1).mean(axis=1)
    return over_devices(jnp.where(mask, per_sample, 0.0).sum()) / _count(mask, per_sample)


def over_devices(x: Array) -> Array:
    """Inside shard_map, the sum over devices of what each has; elsewhere x, which is all there
    is."""
    mesh = jax.sharding.get_abstract_mesh()
    each = zip(mesh.axis_names, mesh.axis_types, strict=True)
    axes = tuple(name for name, kind in each if kind == AxisType.Manual)
    return jax.lax.psum(x, axes) if axes else x


def smooth_l1(prediction: Float[Array, "*s"], target: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """d² / 2 up to a distance d of 1, d - 1/2 beyond (PyTorch's SmoothL1Loss), no broadcasting."""
    distance = absolute_error(prediction, target)
    return jnp.where(distance < 1.0, 0.5 * distance**2, distance - 0.5)


def masked_total(values: Float[Array, "b ..."], mask: Bool[Array, " b"]) -> Float[Array, ""]:
    """Sum over elements, mean over the samples whose mask is true; zero if there are none."""
    per_sample = values.reshape(values.shape[0], -1).sum(axis=1)
    return over_devices(jnp.where(mask, per_sample, 0.0).sum()) / _count(mask, per_sample)


def visible_mean(
    values: Float[Array, "b j"], mask: Bool[Array, " b"], visible: Bool[Array, "b j"] | None
) -> Float[Array, ""]:
    """Mean over the joints of the samples whose mask is true; with `visible`, over visible joints.

    The latter is the sum divided by the number plus 1e-4 (jiangxubin/hand_pose, `train_vis=False`).
    """
    if visible is None:
        return masked_mean(values, mask)
    counts = mask[:, None] & visible
    total, count = (over_devices(x.sum()) for x in (jnp.where(counts, values, 0.0), counts))
    return total / (count.astype(values.dtype) + 1e-4)


def stage_totals(
    maps: Float[Array, "b s h w c"],
    target: Float[Array, "b h w c"],
    mask: Bool[Array, " b"],
    weight: Float[Array, "b c"] | None = None,
) -> Float[Array, " s"]:
    """The terms of CPM's loss, one per stage (Wei et al. 2016, section 3.3); the loss is their sum.

    A term is the squared error summed over cells and channels, with `weight` per channel, averaged
    over the samples whose mask is true.

    namedBen/Convolutional-Pose-Machines-Pytorch multiplies a mean by 46 · 46 · 15, which equals
    this sum for its 14 joints and background on 46² cells; here it is a sum for any sizes.
    """
    targets = jnp.broadcast_to(target[:, None], maps.shape)
    error = squared_error(maps, targets).sum((2, 3))  # [b, s, c]
    per_stage = (error if weight is None else error * weight[:, None]).sum(-1)
    total = over_devices(jnp.where(mask[:, None], per_stage, 0.0).sum(0))
    return total / _count(mask, per_stage)


def map_rms(
    maps: Float[Array, "*b h w j"], target: Float[Array, "*b h w j"]
) -> Float[Array, "*b j"]:
    """Root mean squared error over the cells of each map (jiangxubin/hand_pose); at zero, so is the
    gradient."""
    return safe_sqrt(squared_error(maps, target).mean((-3, -2)))


def jensen_shannon(
    p: Float[Array, "*b h w j"], q: Float[Array, "*b h w j"]
) -> Float[Array, "*b j"]:
    """Jensen–Shannon divergence, in nats, of maps that each sum to 1.

    Nibali et al. 2018, arXiv 1801.07372.
    """
    tiny = 1e-24  # as in the original; keeps logarithms finite where a map is zero
    log_m = jnp.log(0.5 * (p + q) + tiny)
    return 0.5 * (p * (jnp.log(p + tiny) - log_m) + q * (jnp.log(q + tiny) - log_m)).sum((-3, -2))


def _same_shape(prediction, target):
    if prediction.shape != target.shape:
        raise ValueError(f"prediction {prediction.shape} and target {target.shape} differ in shape")


def _count(mask: Bool[Array, " b"], like: Array) -> Float[Array, ""]:
    """The number of samples whose mask is true, at least 1, in the dtype of `like`."""
    return jnp.maximum(over_devices(mask.sum()), 1).astype(like.dtype)
