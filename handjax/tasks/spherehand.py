"""The sphere hand: depth of a cube → centers of 41 spheres. Learnt from labelled synthetic hands,
and from unlabelled real depth that the spheres have to explain (Wan et al. 2019,
github.com/melonwan/sphereHand).

A batch has `cube_depth` [b, v, n, n]: v views of a hand, in the frames of targets/spherehand.py.
Its other keys select what is learnt from it:

    centers [b, v, 41, 3]          labels: the spheres of a synthetic hand
    cameras [b, v, 4, 4]           each view's mm → those of the first; learnt without labels
    synthetic_depth [b, m, n, n]   with `cameras`: m labelled synthetic hands per sample, the
                                   original's joint training (sources/mixed_synthetic.py)
"""

from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key
from ml_collections import ConfigDict

from handjax.engine import config as configs
from handjax.engine.config import Rule
from handjax.engine.contracts import Batch, Inputs, Rows
from handjax.fitting import losses
from handjax.metrics import joints3d as metrics
from handjax.models import pose_prior
from handjax.models.pose_prior import PalmDenoiser, PoseVAE
from handjax.models.spherenet import SphereNet
from handjax.pose.cube import BACKGROUND_MM, EXTENT_MM
from handjax.pose.geometry import map_points
from handjax.pose.skeleton import Skeleton
from handjax.rigs import hand
from handjax.targets import spherehand, virtual_views
from handjax.tasks.base import Task
from handjax.tasks.rules import DTYPE, above
from handjax.tasks.spherehand_losses import (
    PLAIN,
    SPHERES,
    WITH_OFFSETS,
    Outputs,
    decoded,
    decoded_views,
    heat_of,
    loss,
    own_views,
)
from handjax.tasks.spherehand_views import seen_from, turned_hands
from handjax.tasks.views import from_the_side


def spherehand_task(config: ConfigDict, skeleton: Skeleton) -> Task:
    """The task of `config.task`, `config.model` and `config.augment`, joints in this skeleton's
    order; `config.data.image_size` is the size of its images."""
    options = config.task
    _check(config, skeleton)
    model = SphereNet(
        SPHERES,
        config.model.stacks,
        config.model.width,
        jnp.dtype(config.model.dtype),
        WITH_OFFSETS if options.get("offsets", False) else PLAIN,
    )
    views = virtual_views.of_options(options)
    weights = {name: weight for name, weight in options.weights.items() if weight}
    priors = (
        pose_prior.load_priors(options.prior or None)
        if "pose_prior" in weights or options.denoise
        else {}
    )
    return Task(
        title="sphere hand",
        kind="joints3d",
        model=model,
        prepare=partial(
            prepare,
            single_view=options.single_view if options.across else 0.0,
            augment=config.augment if config.augment.enabled else None,
            views=views,
        ),
        loss=partial(
            loss,
            weights=weights,
            across=options.across,
            original=options.original,
            prior=priors.get("vae"),
        ),
        predict=partial(
            predict,
            spheres=np.array(hand.JOINT_SPHERES[skeleton.name]),
            denoiser=priors["denoiser"] if options.denoise else None,
            fuse=options.fuse,
            views=views,
        ),
        ground_truth=ground_truth,
        postprocess=lambda rows: rows,
        score=partial(score, skeleton=skeleton),
        visualize=visualize,
        dummy_inputs=partial(dummy_inputs, size=config.data.image_size),
    )


def _check(config: ConfigDict, skeleton: Skeleton) -> None:
    weights = config.task.weights
    if skeleton.name not in hand.JOINT_SPHERES:
        raise ValueError(
            f"joints of {skeleton.name!r} are not among the hand's spheres: use "
            f"{' or '.join(hand.JOINT_SPHERES)}"
        )
    if weights.get("temporal_smooth"):
        raise ValueError(
            f"config.task.weights.temporal_smooth={weights.temporal_smooth:g}: expected 0; the "
            "frames of a training batch are in no order, the term is for fitting sequences"
        )
    if unknown := sorted(set(weights) - set(losses.WEIGHTS)):
        raise ValueError(
            f"config.task.weights={', '.join(unknown)}: expected of {', '.join(losses.WEIGHTS)}"
        )
    configs.check(
        config,
        {
            "data.image_size": Rule(lambda n: n > 0 and n % 16 == 0, "a multiple of 16 px"),
            "task.single_view": Rule(lambda p: 0 <= p <= 1, "a share of the samples, 0 to 1"),
            "model.width": Rule(lambda n: n > 0 and n % 32 == 0, "a multiple of 32 channels"),
            "model.stacks": above(0, "1 or more"),
            "model.dtype": DTYPE,
        },
    )


def prepare(
    keys: Key[Array, " b"],
    batch: Batch,
    train: bool,
    *,
    single_view: float,
    augment: ConfigDict | None,
    views: virtual_views.Views | None = None,
) -> Inputs:
    """→ `x` [b · (m + v), n, n, 1]: for each sample its synthetic hands, then its views.

    In training, each unlabelled view is shrunk at random by itself (`spherehand.shrink`); the
    original shrinks all views of a batch or none. The losses compare the spheres with the original
    depth, `cube_depth`.

    `single` marks the samples whose views are compared with their own depth only, a share
    `single_view` of all in training. The original does so for all samples of a step, from step 1500
    of an epoch on, 48 % of NYU's; here each sample is drawn independently.

    With `augment.turn_deg` the labelled hands of a training are seen from elsewhere, and with
    `views` the first view of a test sample from several directions, the last of its images;
    `turns` [b, v - 1, 3, 3] has their rotations.
    """
    cube_depth = batch["cube_depth"]
    unlabelled, count = "cameras" in batch, cube_depth.shape[1]

    def one(key, depths):
        _, scale_key, noise_key, single_key = jax.random.split(key, 4)
        depth = depths["cube_depth"]
        scales = jnp.ones((count, 2))
        if unlabelled and train and augment:
            u, (low, high) = jax.random.uniform(scale_key, (count, 4)), augment.scale
            shrunk = low + (high - low) * u[:, :1] + augment.stretch * (2 * u[:, 1:3] - 1)
            scales = jnp.where(u[:, 3:] < augment.probability, shrunk, 1.0)
            depth = jax.vmap(spherehand.shrink)(depth, scales[:, 0], scales[:, 1])
        inputs = {
            "scales": scales,
            "noise": float(train) * jax.random.normal(noise_key, (count, PoseVAE.latent)),
        }
        if single_view and unlabelled and train:
            inputs["single"] = jax.random.bernoulli(single_key, single_view)
        labelled = depths.get("synthetic_depth", None if unlabelled else depth)
        centers = depths.get("synthetic_centers", depths.get("centers"))
        if train and augment and augment.get("turn_deg", 0.0) and labelled is not None:
            turn_key = jax.random.fold_in(key, 4)
            labelled, centers = turned_hands(turn_key, labelled, centers, augment.turn_deg)
        if labelled is not None:
            depth = jnp.concatenate([labelled, depth]) if unlabelled else labelled
            inputs["synthetic_centers"] = centers
        if views and not train:
            inputs["turns"] = jnp.asarray(views.rotations[1:])
            depth = jnp.concatenate([depth, seen_from(depths["cube_depth"][0], inputs["turns"])])
        return {**inputs, "x": spherehand.network_input(depth)}

    used = ("cube_depth", "synthetic_depth", "centers", "synthetic_centers")
    inputs = jax.vmap(one)(keys, {name: batch[name] for name in used if name in batch})
    inputs["x"] = inputs["x"].reshape(-1, *inputs["x"].shape[2:])
    middle = jnp.zeros((cube_depth.shape[0], 3))
    place = {"center_xyz": middle, "cube_mm": jnp.full_like(middle, EXTENT_MM)}
    kept = ("cube_depth", "cameras", "center_xyz", "cube_mm", "mask")
    return {**inputs, **place, **{name: batch[name] for name in kept if name in batch}}


def predict(
    outputs: Outputs,
    inputs: Inputs,
    *,
    spheres: Int[np.ndarray, " j"],
    denoiser: dict[str, Any] | None,
    fuse: bool,
    views: virtual_views.Views | None = None,
) -> Rows:
    """The last stack's maps → `joints_xyz` [b, j, 3], mm: relative to the middle of the cube plus
    `center_xyz`, which is 0 unless the batch has one.

    Taken from the first view or, with `fuse`, for each sphere from the view with the narrowest heat
    map; with `views`, the mean over those of the first view. `denoiser` replaces the palm, as in
    the original's evaluation.
    """
    samples = inputs["mask"].shape[0]
    maps = own_views(outputs, inputs)[0]
    maps = maps.reshape(samples, -1, *maps.shape[1:])[:, :, -1:]
    centers = decoded_views(maps, inputs)[:, :, 0]
    if fuse and "cameras" in inputs:
        spread = spherehand.variance(heat_of(maps[:, :, 0]))
        fused = spherehand.fuse_views(losses.to_common(centers, inputs["cameras"]), spread)
    elif views and "turns" in inputs:
        fused = _mean_of_views(outputs, centers[:, 0], maps[:, 0, 0], inputs, views)
    else:
        fused = centers[:, 0]
    if denoiser is not None:
        fused = cast(Array, PalmDenoiser().apply(denoiser, fused))
    return {"joints_xyz": fused[:, spheres] + inputs["center_xyz"][:, None]}


def _mean_of_views(outputs, own, own_maps, inputs, views: virtual_views.Views):
    """Centers [b, 41, 3] from the first view, `own`, and those rendered from it."""
    turns = inputs["turns"]
    maps = outputs[0].reshape(turns.shape[0], -1, *outputs[0].shape[1:])[:, -turns.shape[1] :, -1]
    back = map_points(turns.mT, decoded(maps))
    heat = heat_of(jnp.concatenate([own_maps[:, None], maps], axis=1))
    every = jnp.concatenate([own[:, None], back], axis=1)
    return virtual_views.fuse(every, -spherehand.variance(heat).mean(-1), views.keep)


def ground_truth(batch: Batch) -> Rows:
    """`joints_xyz` [b, j, 3] as `predict` returns them, if the batch has them; every joint counts,
    visible or hidden."""
    return {name: batch[name] for name in ("joints_xyz",) if name in batch}


def score(rows: Rows, *, skeleton: Skeleton) -> dict[str, Any]:
    """`metrics.summarize`; for NYU's joints also `mpjpe_12_mm`, without the sides of the wrist."""
    predicted, true = rows["joints_xyz"], rows["true_joints_xyz"]
    result = metrics.summarize(predicted, true, skeleton.joints, root=skeleton.root)
    if skeleton.name == "nyu14":
        wrist = ("wrist_little", "wrist_thumb")
        twelve = [i for i, joint in enumerate(skeleton.joints) if joint not in wrist]
        result["mpjpe_12_mm"] = metrics.mpjpe(metrics.joint_errors(predicted, true)[:, twelve])
    return result


def visualize(inputs: Inputs) -> tuple[Float[Array, "b n n"], Float[Array, "b n n"]]:
    """The hand in the first view, nearer is brighter, and from the side: rows y, columns z."""
    depth = inputs["cube_depth"][:, 0]
    is_hand = depth < BACKGROUND_MM - 1
    front = jnp.where(is_hand, jnp.clip(0.5 - depth / EXTENT_MM, 0.1, 1.0), 0.0)
    half = 0.5 / depth.shape[-1]  # cells stand for their first edge, not their middle
    return front, from_the_side(depth / EXTENT_MM + 0.5 + half, is_hand)


def dummy_inputs(samples: int, *, size: int) -> Inputs:
    """Images of zeros."""
    return {"x": jnp.zeros((samples, size, size, 1))}
