"""The hand finder: a whole depth image → the middles of hands, mm, with side, size and score.

A batch has `depth` [b, 80, 96], `k`, `hands` [b, 2, 3], `sides`, `sizes` and `present` [b, 2].
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key
from ml_collections import ConfigDict

from handjax.engine import config as configs
from handjax.engine.contracts import Batch, Inputs, Rows
from handjax.metrics import joints3d as metrics
from handjax.models.handfinder import CHANNELS, HandFinder
from handjax.pose import losses
from handjax.pose.look_at import FRAME_SIZE
from handjax.pose.skeleton import Skeleton
from handjax.targets import handfinder as target
from handjax.tasks.base import Task
from handjax.tasks.rules import DTYPE, at_least
from handjax.tasks.views import from_the_side

CANDIDATES = 3
NEAR_MM = 60.0  # a candidate this near is of the hand
SURE = 0.3  # score of what counts as found


def handfinder_task(config: ConfigDict, skeleton: Skeleton) -> Task:
    """The task of `config.task` and `config.model`."""
    configs.check(config, {"model.dtype": DTYPE, "task.weights.place": at_least(0, "0 or more")})
    model = HandFinder(
        tuple(config.model.widths), tuple(config.model.blocks), jnp.dtype(config.model.dtype)
    )
    return Task(
        title="hand finder",
        kind="joints3d",
        model=model,
        prepare=prepare,
        loss=partial(loss, weights=dict(config.task.weights)),
        predict=predict,
        ground_truth=ground_truth,
        postprocess=postprocess,
        score=partial(score, skeleton=skeleton),
        visualize=visualize,
        dummy_inputs=dummy_inputs,
    )


def prepare(keys: Key[Array, " b"], batch: Batch, train: bool) -> Inputs:
    """→ `x` [b, 80, 96, 3], and the camera and labels as they are."""
    kept = ("mask", "depth", "k", "hands", "sides", "sizes", "present")
    given = {name: batch[name] for name in kept if name in batch}
    return {**given, "x": target.network_input(batch["depth"])}


def loss(
    maps: Float[Array, "b r c 6"], inputs: Inputs, *, weights: dict[str, float]
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """heat + weights.place · place.

    heat   the focal loss of Zhou et al. 2019 (powers 2 and 4), per image
    place  mean absolute error in the cell of each hand: cells, m, log of the size
    """
    heat, offset, cells = target.encode(
        inputs["hands"], inputs["present"], inputs["sides"], inputs["k"]
    )
    logits = maps[..., :2]
    p = jax.nn.sigmoid(logits)
    hit = -((1 - p) ** 2) * jax.nn.log_sigmoid(logits)
    miss = -((1 - heat) ** 4) * p**2 * jax.nn.log_sigmoid(-logits)
    focal = jnp.where(heat > 0.999, hit, miss).sum((1, 2, 3))
    rows = jnp.arange(maps.shape[0])[:, None]
    there = maps[rows, cells[..., 0], cells[..., 1], 2:]
    true = target.true_values(inputs["hands"], offset, inputs["sizes"])
    wrong = jnp.where(inputs["present"], jnp.abs(there - true).sum(-1), 0.0)
    terms = {
        "heat": losses.masked_mean(focal, inputs["mask"]),
        "place": losses.masked_mean(wrong, inputs["mask"]),
    }
    return terms["heat"] + weights["place"] * terms["place"], terms


def predict(maps: Float[Array, "b r c 6"], inputs: Inputs) -> Rows:
    """The three surest places: `found_xyz` [b, 3, 3], `found_score`, `found_side` [b, 3]."""
    found = jax.vmap(partial(target.decode, count=CANDIDATES))(maps, inputs["k"])
    return {
        "found_xyz": found.xyz,
        "found_score": found.score,
        "found_side": found.side,
        "joints_xyz": found.xyz[:, :1],
    }


def ground_truth(batch: Batch) -> Rows:
    """The first hand as the one joint, and all hands."""
    given: Rows = {name: batch[name] for name in ("hands", "sides", "present") if name in batch}
    if "hands" in given:
        given["joints_xyz"] = given["hands"][:, :1]
    return given


def postprocess(rows: Rows) -> Rows:
    """For the report, the candidate nearest to the first hand; images without it are left out."""
    if "true_hands" not in rows:
        return rows
    apart = np.linalg.norm(rows["found_xyz"] - rows["true_hands"][:, :1], axis=-1)
    nearest = rows["found_xyz"][np.arange(len(apart)), apart.argmin(-1)]
    rows = {**rows, "joints_xyz": nearest[:, None]}
    return {name: values[rows["true_present"][:, 0]] for name, values in rows.items()}


def score(rows: Rows, *, skeleton: Skeleton) -> dict[str, Any]:
    """`metrics.summarize` of the nearest of three candidates. `recall`: hands with a candidate of a
    score above 0.3 within 60 mm; `side`: of those, with the right side; `false`: candidates above
    0.3 an image that are near no hand."""
    result = metrics.summarize(
        rows["joints_xyz"], rows["true_joints_xyz"], skeleton.joints, root=skeleton.root
    )
    apart = np.linalg.norm(rows["found_xyz"][:, :, None] - rows["true_hands"][:, None], axis=-1)
    near = (apart < NEAR_MM) & rows["true_present"][:, None]
    sure = rows["found_score"] > SURE
    hits = (near & sure[..., None]).any(1)
    same = near & sure[..., None] & (rows["found_side"][..., None] == rows["true_sides"][:, None])
    present = rows["true_present"]
    result["recall"] = float(hits[present].mean())
    result["side"] = float(same.any(1)[present & hits].mean()) if (present & hits).any() else 0.0
    result["false"] = float((sure & ~near.any(-1)).sum() / len(sure))
    return result


def visualize(inputs: Inputs) -> tuple[Float[Array, "b h w"], Float[Array, "b h w"]]:
    """The image, nearer is brighter, and from the side: rows y, columns z up to 2 m."""
    metres, measured = inputs["x"][..., 0], inputs["x"][..., 2] > 0
    front = jnp.where(measured, jnp.clip(1.1 - metres / 1.5, 0.05, 1.0), 0.0)
    return front, from_the_side(metres / 2, measured)


def dummy_inputs(samples: int) -> Inputs:
    """Images of zeros."""
    return {"x": jnp.zeros((samples, *FRAME_SIZE, CHANNELS))}
