"""Losses of V2V-PoseNet."""

import operator
from functools import reduce

import jax.numpy as jnp
from jaxtyping import Array, Float

from handjax.engine.contracts import Inputs
from handjax.pose import losses
from handjax.targets import offset, voxel


def loss(
    outputs: Float[Array, "n m m m c"],
    inputs: Inputs,
    *,
    grid: voxel.VoxelGrid,
    targets: str,
    sigma: float,
    radius: float,
    weights: tuple[float, float],
    beta: float,
    global_joints: bool,
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """Maps → the weighted sum of two terms, and the terms; each is computed only if it has a
    weight. Joints without a label count as right; of a map of all joints, samples with all labels
    alone teach. Of a test sample that is seen several times, the first view counts.

    heatmap  mean squared error to Gaussians (Moon et al. 2018, eq. 2, as a mean); with targets of
             offsets, mean absolute error of closeness and offsets (targets/offset.py)
    joints   mean absolute error of the soft-argmax, in cells of the heat map (Sun et al. 2018), or
             of what the offsets decode to
    """
    outputs = outputs.reshape(inputs["mask"].shape[0], -1, *outputs.shape[1:])[:, 0]
    heatmap_weight, joints_weight = weights
    mask, labelled = inputs["mask"], inputs.get("labelled")
    terms: dict[str, Array] = {}
    if heatmap_weight and targets == "offset":
        error = losses.absolute_error(outputs, offset.encode(inputs["joints"], grid, radius))
        if labelled is not None:
            error = jnp.where(jnp.tile(labelled, 4)[:, None, None, None], error, 0.0)
        terms["heatmap"] = losses.masked_mean(error, mask)
    elif heatmap_weight:
        target = voxel.encode(inputs["joints"], grid, sigma)
        target = target.max(-1, keepdims=True) if global_joints else target
        error = losses.squared_error(outputs, target)
        if labelled is not None and global_joints:
            mask = mask & labelled.all(-1)
        elif labelled is not None:
            error = jnp.where(labelled[:, None, None, None], error, 0.0)
        terms["heatmap"] = losses.masked_mean(error, mask)
    if joints_weight:
        ratio = grid.heatmap_size / grid.size
        if targets == "offset":
            cells = offset.decode(outputs, grid, radius)
        else:
            cells = voxel.decode(outputs, grid, "soft_argmax", beta)
        error = losses.absolute_error(cells * ratio, inputs["joints"] * ratio)
        if labelled is not None:
            error = jnp.where(labelled[..., None], error, 0.0)
        terms["joints"] = losses.masked_mean(error, mask)
    pairs = zip(("heatmap", "joints"), weights, strict=True)
    weighted = (weight * terms[name] for name, weight in pairs if weight)
    return reduce(operator.add, weighted), terms
