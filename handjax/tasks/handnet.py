"""The hand network: the depth crop around a hand → 21 joints in mm with a standard deviation each,
and whether a right hand is there.

Left hands are mirrored before and after: the network knows right hands only. A batch has `depth`
[b, n, n], the crop of a camera that looks at its middle, `k`, `center_xyz` (0, 0, distance),
`joints_xyz` [b, 21, 3], `labelled` [b, 21] and `right` [b].
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key
from ml_collections import ConfigDict

from handjax.engine import config as configs
from handjax.engine.config import Rule
from handjax.engine.contracts import Batch, Inputs, Rows
from handjax.metrics import joints3d as metrics
from handjax.models.handnet import CHANNELS, HandNet
from handjax.pose import geometry, losses
from handjax.pose.skeleton import Skeleton
from handjax.targets import handnet as target
from handjax.tasks.base import Task
from handjax.tasks.labels import labelled_rows
from handjax.tasks.rules import DTYPE, at_least
from handjax.tasks.views import from_the_side

Outputs = tuple[Array, Array]  # maps and presence, as HandNet returns them
WEIGHTS = ("heat", "deviation", "presence")  # of the loss's terms besides `joints`
_UNIT_MM = 100.0  # of the loss
_FARTHEST_MM = 100.0  # larger errors say nothing more about the deviation


def handnet_task(config: ConfigDict, skeleton: Skeleton) -> Task:
    """The task of `config.task` and `config.model`, on crops of `config.data.image_size`."""
    configs.check(
        config,
        {
            "data.image_size": Rule(lambda n: n > 0 and n % 16 == 0, "a multiple of 16 px"),
            "model.widths": Rule(
                lambda w: len(w) == 3 and min(w) > 0 and all(c % 2 == 0 for c in w),
                "three even numbers of channels",
            ),
            "model.blocks": Rule(lambda b: len(b) == 3 and min(b) >= 0, "three counts"),
            "model.dtype": DTYPE,
            **{f"task.weights.{w}": at_least(0, "0 or more") for w in WEIGHTS},
        },
    )
    model = HandNet(
        len(skeleton.joints),
        tuple(config.model.widths),
        tuple(config.model.blocks),
        jnp.dtype(config.model.dtype),
    )
    return Task(
        title="hand network",
        kind="joints3d",
        model=model,
        prepare=prepare,
        loss=partial(loss, weights=dict(config.task.weights)),
        predict=predict,
        ground_truth=ground_truth,
        postprocess=labelled_rows,
        score=partial(score, skeleton=skeleton),
        visualize=visualize,
        dummy_inputs=partial(dummy_inputs, size=config.data.image_size),
    )


def prepare(keys: Key[Array, " b"], batch: Batch, train: bool) -> Inputs:
    """→ `x` [b, n, n, 2], and the crop's camera and labels as they are."""
    distance = batch["center_xyz"][..., 2]
    kept = ("mask", "depth", "k", "center_xyz", "cube_mm", "joints_xyz", "labelled", "right")
    given = {name: batch[name] for name in kept if name in batch}
    return {**given, "x": target.network_input(batch["depth"], distance)}


def loss(
    outputs: Outputs, inputs: Inputs, *, weights: dict[str, float]
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """joints + weights · (heat, deviation, presence), each a mean over the samples in `mask`.

    joints     mean distance of the labelled joints, in 100 mm, of crop coordinates
    heat       cross-entropy of the heat with a Gaussian at each joint, and in it the mean absolute
               error of the depth map, in 100 mm: a network learns sooner where to look
    deviation  negative log-likelihood of the error under a Gaussian of that deviation on each axis,
               per joint; it moves the deviation, not the joints (Seitzer et al. 2022 on why)
    presence   binary cross-entropy of "a right hand is here"
    """
    maps, presence = outputs
    size, distance = inputs["depth"].shape[-1], inputs["center_xyz"][..., 2]
    joints, std = target.decode(maps)
    true = target.crop_coordinates(inputs["joints_xyz"], inputs["k"], distance, size)
    there = inputs["labelled"] & inputs["mask"][:, None]
    true = jnp.where(there[..., None], true, 0.0)  # rows that only fill up may hold anything
    error = geometry.safe_norm(jnp.where(there[..., None], joints - true, 0.0) / _UNIT_MM)
    total = losses.over_devices
    count = jnp.maximum(total(there.sum()), 1).astype(error.dtype)
    known = jnp.minimum(jax.lax.stop_gradient(error) * _UNIT_MM, _FARTHEST_MM)
    likely = jnp.where(there, known**2 / (2 * std**2) + 3 * jnp.log(std), 0.0)
    right = inputs["right"].astype(presence.dtype)
    terms = {
        "joints": total(error.sum()) / count,
        "heat": total(jnp.where(there, _heat(maps, true), 0.0).sum()) / count,
        "deviation": total(likely.sum()) / count,
        "presence": losses.masked_mean(
            jax.nn.softplus(presence) - right * presence, inputs["mask"]
        ),
    }
    weighted = sum(weights[name] * terms[name] for name in WEIGHTS)
    return terms["joints"] + weighted, terms


def _heat(maps: Float[Array, "b m m c"], true: Float[Array, "b j 3"]) -> Float[Array, "b j"]:
    """The term `heat` of every joint."""
    heat, depth, _ = jnp.split(maps, 3, axis=-1)
    rows, columns = target.heat_target(true, maps.shape[1])
    where = rows[:, :, None] * columns[:, None]
    flat = heat.reshape(heat.shape[0], -1, heat.shape[-1])
    log_share = jax.nn.log_softmax(flat, axis=1).reshape(heat.shape)
    off = jnp.abs(depth * target.HALF_MM - true[:, None, None, :, 2]) / _UNIT_MM
    return (where * (off - log_share)).sum((1, 2))


def predict(outputs: Outputs, inputs: Inputs) -> Rows:
    """`joints_xyz` [b, 21, 3] mm of the crop's camera, `std` [b, 21] mm along an axis, `presence`
    [b], the probability of a right hand."""
    maps, presence = outputs
    joints, std = target.decode(maps)
    distance = inputs["center_xyz"][..., 2]
    size = inputs["x"].shape[1]
    xyz = target.camera_coordinates(joints, inputs["k"], distance, size)
    return {"joints_xyz": xyz, "std": std, "presence": jax.nn.sigmoid(presence)}


def ground_truth(batch: Batch) -> Rows:
    """Joints as `predict` returns them, and which samples have them."""
    return {name: batch[name] for name in ("joints_xyz", "labelled") if name in batch}


def score(rows: Rows, *, skeleton: Skeleton) -> dict[str, Any]:
    """`metrics.summarize`, the share of hands with a presence above a half, and the deviations'
    root mean square beside that of the errors along an axis."""
    predicted, true = rows["joints_xyz"], rows["true_joints_xyz"]
    labelled = rows.get("true_labelled", np.ones(predicted.shape[:2], bool))
    result = metrics.summarize(predicted, true, skeleton.joints, labelled, root=skeleton.root)
    errors = metrics.joint_errors(predicted, true)[labelled]
    result["present"] = float((rows["presence"] > 0.5).mean())
    result["rms_std_mm"] = float(np.sqrt((rows["std"][labelled].astype(np.float64) ** 2).mean()))
    result["rms_error_axis_mm"] = float(np.sqrt((errors**2).mean() / 3))
    return result


def visualize(inputs: Inputs) -> tuple[Float[Array, "b n n"], Float[Array, "b n n"]]:
    """The crop from the front, nearer is brighter, and from the side: rows y, columns z."""
    depth, inside = inputs["x"][..., 0], inputs["x"][..., 1] > 0
    return jnp.where(inside, 0.6 - 0.4 * depth, 0.0), from_the_side((depth + 1) / 2, inside)


def dummy_inputs(samples: int, *, size: int) -> Inputs:
    """Crops of zeros."""
    return {"x": jnp.zeros((samples, size, size, CHANNELS))}
