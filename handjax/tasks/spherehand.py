"""The sphere hand: depth of a cube → 41 sphere centres, learnt from synthetic hands, and from real depth without labels by holding
the spheres against it (Wan et al. 2019, github.com/melonwan/sphereHand).

A batch has `cube_depth` [b, v, n, n]: v views of a hand, mm from the middle of a 300 mm cube and 100 where nothing is (frames of
targets/spherehand.py). What else it has says what is learnt from it:

    centers [b, v, 41, 3]    labels, of the spheres: a synthetic hand's
    cameras [b, v, 4, 4]     each view's mm → those of the first: learnt from without labels, and no label is read

With `cameras`, `task.synthetic` labelled hands of `config.labelled` are drawn beside each sample while training: the original's
joint training. With 0 of them it is training on real depth alone, and without `cameras` on synthetic depth alone.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from handjax.fitting import losses as fit_losses
from handjax.metrics import joints3d as metrics
from handjax.models import pose_prior
from handjax.models.pose_prior import PalmDenoiser, PoseVAE
from handjax.models.spherenet import SphereNet
from handjax.pose import losses
from handjax.pose.cube import BACKGROUND_MM, EXTENT_MM
from handjax.pose.skeleton import Skeleton
from handjax.rigs import hand
from handjax.synthetic import hands as world
from handjax.targets import spherehand
from handjax.tasks.base import Batch, Inputs, Rows, Task

SPHERES = len(hand.HAND.sphere_radii)


def spherehand_task(config, skeleton: Skeleton) -> Task:
    """The task of `config.task`, `config.model` and `config.augment` for joints in this skeleton's order."""
    options = config.task
    _check(config, skeleton)
    model = SphereNet(
        SPHERES, config.model.stacks, config.model.width, jnp.dtype(config.model.dtype)
    )
    weights = {name: weight for name, weight in options.weights.items() if weight}
    priors = (
        pose_prior.load_priors(options.prior or None)
        if "pose_prior" in weights or options.denoise
        else None
    )
    augment = config.augment if config.augment.enabled else None
    draw = partial(
        world.fitting_sample, image_size=options.image_size, resample=options.depth_resample
    )
    draw = partial(draw, **config.get("labelled", {}))
    single = options.single_view if options.across else 0.0
    return Task(
        title="sphere hand",
        kind="joints3d",
        model=model,
        prepare=partial(
            prepare, draw=draw, synthetic=options.synthetic, single_view=single, augment=augment
        ),
        loss=partial(
            loss,
            weights=weights,
            across=options.across,
            original=options.original,
            prior=priors["vae"] if priors else None,
        ),
        predict=partial(
            predict,
            spheres=np.array(hand.JOINT_SPHERES[skeleton.name]),
            denoiser=priors["denoiser"] if options.denoise else None,
            fuse=options.fuse,
        ),
        ground_truth=ground_truth,
        postprocess=lambda rows: rows,
        score=partial(score, skeleton=skeleton),
        visualize=visualize,
        dummy_inputs=partial(dummy_inputs, size=options.image_size),
    )


def _check(config, skeleton) -> None:
    """What would otherwise fail late, or not at all."""
    task, model = config.task, config.model
    if skeleton.name not in hand.JOINT_SPHERES:
        raise ValueError(
            f"joints of {skeleton.name!r} are no spheres of the hand's: use {' or '.join(hand.JOINT_SPHERES)}"
        )
    if task.weights.get("temporal_smooth"):
        raise ValueError(
            f"config.task.weights.temporal_smooth={task.weights.temporal_smooth:g}: expected 0; a training batch has frames in no "
            "order, and only a sequence that is fitted frame by frame is smooth"
        )
    known = list(fit_losses.WEIGHTS)
    unknown = sorted(set(task.weights) - set(known))
    for name, value, good, expected in (
        ("task.weights", ", ".join(unknown), not unknown, f"of {', '.join(known)}"),
        (
            "task.image_size",
            task.image_size,
            task.image_size > 0 and task.image_size % 16 == 0,
            "a multiple of 16 px",
        ),
        (
            "task.single_view",
            task.single_view,
            0 <= task.single_view <= 1,
            "a share of the samples, 0 to 1",
        ),
        ("task.synthetic", task.synthetic, task.synthetic >= 0, "hands a sample, 0 or more"),
        (
            "model.width",
            model.width,
            model.width > 0 and model.width % 32 == 0,
            "a multiple of 32 channels",
        ),
        ("model.stacks", model.stacks, model.stacks > 0, "1 or more"),
        ("model.dtype", model.dtype, model.dtype in ("float32", "bfloat16"), "float32 or bfloat16"),
    ):
        if not good:
            raise ValueError(f"config.{name}={value}: expected {expected}")


def prepare(
    keys, batch: Batch, train: bool, *, draw, synthetic: int, single_view: float, augment
) -> Inputs:
    """→ `x`, the images of all samples one after the other: of each its synthetic hands, then its views.

    Views without labels are shrunk at random while training (`spherehand.shrink`), each by itself; the original shrinks all of a
    batch or none. What is held against the spheres is the depth as it was.

    `single`: each view of the sample is looked at by itself while training. The original does so with all of a step's samples,
    from step 1500 of an epoch on, 48 % of NYU's; here each sample is drawn by itself, `single_view` of all."""
    depth = batch["cube_depth"]
    unlabelled, count = "cameras" in batch, depth.shape[1]
    synthetic = synthetic if unlabelled and train else 0

    def one(key, depth):
        draw_key, scale_key, noise_key, single_key = jax.random.split(key, 4)
        scales = jnp.ones((count, 2))
        if unlabelled and train and augment:
            u, (low, high) = jax.random.uniform(scale_key, (count, 4)), augment.scale
            shrunk = low + (high - low) * u[:, :1] + augment.stretch * (2 * u[:, 1:3] - 1)
            scales = jnp.where(u[:, 3:] < augment.probability, shrunk, 1.0)
            depth = jax.vmap(spherehand.shrink)(depth, scales[:, 0], scales[:, 1])
        inputs = {
            "scales": scales,
            "noise": train * jax.random.normal(noise_key, (count, PoseVAE.latent)),
        }
        if single_view and unlabelled and train:
            inputs["single"] = jax.random.bernoulli(single_key, single_view)
        if synthetic:
            drawn = jax.vmap(draw)(jax.random.split(draw_key, synthetic))
            depth, inputs["synthetic_centers"] = (
                jnp.concatenate([drawn["depth"], depth]),
                drawn["centers"],
            )
        return {**inputs, "x": spherehand.network_input(depth)}

    inputs = jax.vmap(one)(keys, depth)
    inputs["x"] = inputs["x"].reshape(-1, *inputs["x"].shape[2:])
    if not unlabelled:
        inputs["synthetic_centers"] = batch["centers"]
    middle = jnp.zeros((depth.shape[0], 3))
    place = {"center_xyz": middle, "cube_mm": jnp.full_like(middle, EXTENT_MM)}
    kept = {
        name: batch[name] for name in ("cube_depth", "cameras", *place, "mask") if name in batch
    }
    return {**inputs, **place, **kept}


def _of_samples(outputs, inputs):
    """Maps and features [b, images, stacks, …] of the synthetic hands, and of the views without labels."""
    outputs = [o.reshape(inputs["mask"].shape[0], -1, *o.shape[1:]) for o in outputs]
    labelled = inputs["synthetic_centers"].shape[1] if "synthetic_centers" in inputs else 0
    return [o[:, :labelled] for o in outputs], [o[:, labelled:] for o in outputs]


def _decoded(maps, inputs):
    """Centres of the views [b, v, stacks, 41, 3], mm, with the augmentation's scale taken out again."""
    centers = spherehand.decode(*spherehand.split(maps))
    return centers.at[..., :2].divide(inputs["scales"][:, :, None, None])


def loss(outputs, inputs: Inputs, *, weights, across: bool, original: bool, prior):
    """The weighted sum of the terms of `fit_losses`, and the terms: each summed over the stacks, a mean over the samples in `mask`,
    and computed only where it has a weight and the batch has what it is of."""
    (synthetic, features), (real, real_features) = _of_samples(outputs, inputs)
    stacks, mask = outputs[0].shape[1], inputs["mask"]
    parts = {}

    def add(name, of):
        """`of()`: values whose first axis is the samples."""
        if name in weights:
            parts[name] = stacks * losses.masked_mean(of(), mask)

    if synthetic.shape[1]:
        heat, depth = spherehand.split(synthetic)
        target = jnp.broadcast_to(
            inputs["synthetic_centers"][:, :, None], (*heat.shape[:3], SPHERES, 3)
        )
        add(
            "synt_uv",
            lambda: fit_losses.synthetic_heat(heat, spherehand.encode(target, heat.shape[-2])[0]),
        )
        add("synt_d", lambda: fit_losses.synthetic_depth(spherehand.decode(heat, depth), target))
    if real.shape[1]:
        centers = jnp.moveaxis(_decoded(real, inputs), 2, 1)  # [b, stacks, v, 41, 3]

        def each_stack(x):
            return jnp.broadcast_to(x[:, None], (x.shape[0], stacks, *x.shape[1:]))

        cameras = each_stack(inputs["cameras"])
        single = each_stack(inputs["single"]) if "single" in inputs else None

        def projection():
            radii = jnp.broadcast_to(jnp.asarray(hand.HAND.sphere_radii), centers.shape[:-1])
            rendered, near = fit_losses.projection(
                each_stack(inputs["cube_depth"]), centers, radii, cameras, across, original, single
            )
            return rendered + fit_losses.SURFACE_WEIGHT * near

        def divergence():
            return fit_losses.pose_prior(
                centers, *PoseVAE().apply(prior, centers, each_stack(inputs["noise"]))
            )

        def consistency():
            apart = fit_losses.multiview_consistency(centers, cameras, original)
            return apart if single is None else jnp.where(single, 0.0, apart)

        add("mv_projection", projection)
        if across:
            add("mv_consistency", consistency)
        add("uv_hm_mean", lambda: fit_losses.heat_mean(spherehand.split(real)[0]))
        add("pose_prior", divergence)
        add("collision", lambda: fit_losses.collision(centers))
        add("bone_length", lambda: fit_losses.bone_length(centers))
        if synthetic.shape[1] and "domain" in weights:
            flat = [f.reshape(-1, *f.shape[3:]) for f in (features, real_features)]
            parts["domain"] = stacks * fit_losses.domain(*flat)
    if not parts:
        raise ValueError(
            "config.task.weights: no term with a weight is of what this batch has; there is nothing to learn from"
        )
    return sum(weights[name] * part for name, part in parts.items()), parts


def predict(outputs, inputs: Inputs, *, spheres, denoiser, fuse: bool) -> Rows:
    """`joints_xyz` [b, j, 3], mm about `center_xyz`, which is 0 unless the batch says otherwise: from the first view, or with
    `fuse` each from the view whose heat map is least spread out. `denoiser` replaces the palm, as in the original's evaluation."""
    maps = outputs[0].reshape(inputs["mask"].shape[0], -1, *outputs[0].shape[1:])[:, :, -1:]
    centers = _decoded(maps, inputs)[:, :, 0]
    if fuse and "cameras" in inputs:
        spread = spherehand.variance(spherehand.split(maps[:, :, 0])[0])
        found = spherehand.fuse_views(fit_losses.to_common(centers, inputs["cameras"]), spread)
    else:
        found = centers[:, 0]
    if denoiser is not None:
        found = PalmDenoiser().apply(denoiser, found)
    joints = found[:, spheres]
    return {"joints_xyz": joints + inputs["center_xyz"][:, None]}


def ground_truth(batch: Batch) -> Rows:
    """`joints_xyz` [b, j, 3] as `predict` has them, where the batch is labelled; every joint counts, seen or hidden."""
    return {name: batch[name] for name in ("joints_xyz",) if name in batch}


def score(rows: dict, *, skeleton: Skeleton) -> dict:
    """The figures of `metrics.summarize`; of NYU's joints also the error of the twelve without the two sides of the wrist."""
    found, true = rows["joints_xyz"], rows["true_joints_xyz"]
    figures = metrics.summarize(found, true, skeleton.joints, root=skeleton.root)
    if skeleton.name == "nyu14":
        twelve = [
            i
            for i, joint in enumerate(skeleton.joints)
            if joint not in ("wrist_little", "wrist_thumb")
        ]
        figures["mpjpe_12_mm"] = metrics.mpjpe(metrics.joint_errors(found, true)[:, twelve])
    return figures


def visualize(inputs: Inputs):
    """The first view as it is seen, nearer is brighter, and from its side: rows y, columns z, where the hand is."""
    depth = inputs["cube_depth"][:, 0]
    size, is_hand = depth.shape[-1], depth < BACKGROUND_MM - 1
    front = jnp.where(is_hand, jnp.clip(0.5 - depth / EXTENT_MM, 0.1, 1.0), 0.0)
    cell = jnp.where(is_hand, jnp.round((depth / EXTENT_MM + 0.5) * size), -1)
    side = (cell[..., None] == jnp.arange(size, dtype=cell.dtype)[None, None, None]).any(2)
    return front, side.astype(depth.dtype)


def dummy_inputs(samples: int, *, size: int) -> Inputs:
    """Images of nothing near."""
    return {"x": jnp.zeros((samples, size, size, 1))}
