"""3D pose of a person: an RGB image → joints in camera mm, by one of three heads (Sun et al. 2018,
arXiv 1711.08229, as released in JimmySuen/integral-human-pose, and its kinematic fork
ajdroid/integral-human-pose).

The labels of a sample decide what is learnt from it; samples of all kinds may be mixed:

    has_uv and has_xyz   a pose in the frame of a camera `k` (Human3.6M): x, y and z of every
                         labelled joint
    has_uv               image positions (MPII, COCO): x and y
    has_xyz              a pose without a camera (the challenge of 2018): x, y and z relative to the
                         pelvis, assuming a weak-perspective camera with the usual box size
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, UInt8
from ml_collections import ConfigDict

from handjax.engine.contracts import Batch, Inputs, Rows
from handjax.metrics import body as metrics
from handjax.models.body import BodyNet
from handjax.pose import crop2d, geometry, pinhole
from handjax.pose.skeleton import Skeleton
from handjax.pose.warp import warp_affine
from handjax.targets import body as targets
from handjax.targets.image import normalize_image
from handjax.tasks.base import Task
from handjax.tasks.body_losses import labels_of, loss
from handjax.tasks.body_options import ROOT_DEPTHS, BodyOptions, PatchAugment, check

FILL = 128.0  # grey outside the image, as in the borders of resized images; the original uses black
# RootNet's box (Moon et al. 2019, arXiv 1907.11346): the detector's, square and a quarter larger,
# for a person of 2000 mm.
_BOX_MARGIN = 1.25


def body_task(config: ConfigDict, skeleton: Skeleton) -> Task:
    """The task of `config.task`, `config.model`, `config.crop` and `config.augment` for joints of
    "body18"."""
    check(config, skeleton)
    hyper: dict[str, Any] = {
        key: tuple(value) if isinstance(value, tuple | list) else value
        for key, value in config.model.items()
    }
    model = BodyNet(joints=len(skeleton.joints), **hyper | {"dtype": jnp.dtype(hyper["dtype"])})
    task = {key: value for key, value in config.task.items() if key not in ("name", "monitor")}
    options = BodyOptions(
        **task, **config.crop, kinematic=model.head == "kinematic", skeleton=skeleton
    )
    augment = {key: value for key, value in config.augment.items() if key != "enabled"}
    return Task(
        title=f"body, {model.head} head; {ROOT_DEPTHS[options.root_depth]}",
        kind="body",
        model=model,
        prepare=partial(
            prepare,
            options=options,
            augment=PatchAugment(**augment) if config.augment.enabled else None,
        ),
        loss=partial(loss, options=options),
        predict=partial(predict, options=options),
        ground_truth=partial(ground_truth, options=options),
        postprocess=lambda rows: rows,
        score=metrics.summarize,
        visualize=visualize,
        dummy_inputs=partial(dummy_inputs, options=options),
        monitor=config.task.monitor,
    )


def complete(batch: Batch, options: BodyOptions) -> Batch:
    """The batch with every key that describes its labels. Rows of padding have none."""
    rows, joints = batch["mask"].shape[0], len(options.skeleton.joints)
    height, width = batch["image"].shape[1:3]
    has = {
        f"has_{kind}": batch["mask"] & batch.get(f"has_{kind}", f"joints_{kind}" in batch)
        for kind in ("uv", "xyz")
    }
    labelled = batch.get("labelled", jnp.broadcast_to(has["has_uv"][:, None], (rows, joints)))
    number = jnp.full(rows, -1, jnp.int32)
    return {
        "joints_uv": jnp.zeros((rows, joints, 2)),
        "joints_xyz": jnp.zeros((rows, joints, 3)),
        "k": jnp.broadcast_to(jnp.eye(3), (rows, 3, 3)),
        "box": jnp.broadcast_to(jnp.array([-0.5, -0.5, width, height]), (rows, 4)),
        "source_from_image": jnp.broadcast_to(jnp.eye(2, 3), (rows, 2, 3)),
        "visible": labelled,
        "head_px": jnp.zeros(rows),
        **dict.fromkeys(("subject", "action", "camera"), number),
        **batch,
        **has,
        "labelled": labelled,
    }


def prepare(
    keys: Key[Array, " b"],
    batch: Batch,
    train: bool,
    *,
    options: BodyOptions,
    augment: PatchAugment | None,
) -> Inputs:
    """A batch with `image` → `x` [b, h, w, 3], labels, which of them count, and the way back to
    image and camera.

    For a sample with a camera the patch shows a box of `box_mm` around the pelvis, otherwise the
    sample's own `box`, enlarged to the patch's shape. The patch and its augmentation are one affine
    map, so an image is resampled once. With `flip_test` an evaluation sees each patch twice in a
    row, as it is and mirrored: x [2 b, h, w, 3].
    """
    batch = complete(batch, options)
    one = partial(_prepare_sample, train=train, options=options, augment=augment)
    labels = ("joints_uv", "joints_xyz", "labelled", "has_uv", "has_xyz")
    used = ("image", *labels, "k", "box", "source_from_image")
    inputs = jax.vmap(one)(keys, {name: batch[name] for name in used})
    # Both views of a sample stay on its device.
    return inputs | {"x": inputs["x"].reshape(-1, *inputs["x"].shape[2:]), "mask": batch["mask"]}


def _prepare_sample(key, sample, *, train, options, augment):
    # --- where the person stands; unknown values are replaced at once by finite ones
    known = sample["has_uv"] & sample["has_xyz"]
    pelvis = sample["joints_xyz"][options.skeleton.root]
    true_root = jnp.where(known, pelvis, jnp.array([0.0, 0.0, 1.0]))
    k = jnp.where(known, sample["k"], jnp.eye(3))
    root = true_root
    if options.root_depth == "box" and not train:
        root = true_root * jnp.where(known, _depth_by_box(sample, k) / true_root[2], 1.0)
    center, sides = _box(sample, root, k, known, options)
    scale, angle, mirrored, colour = (
        _random_patch(key, augment) if train and augment else (1.0, 0.0, False, None)
    )

    # --- the patch
    patch = targets.patch_from_image(center, sides, options.size, scale, angle, mirrored)
    axes = targets.rotated_axes(angle, mirrored)
    affine = crop2d.inverse(patch)
    image = warp_affine(sample["image"], affine, options.size, FILL, options.mip_levels)
    inputs = {} if train else {"rgb": jnp.round(image).astype(jnp.uint8)}
    image = image if colour is None else jnp.clip(image * colour[None, None], 0.0, 255.0)
    x = normalize_image(image, options.pixel_mean, options.pixel_std, bgr=False)
    views = [(x, patch, axes)]
    if options.flip_test and not train:
        reverse_columns = jnp.array([[-1.0, 0, options.size[1] - 1], [0, 1, 0]])
        mirror_axes = axes * jnp.array([[-1.0], [1.0], [1.0]])
        views.append((x[:, ::-1], crop2d.compose(reverse_columns, patch), mirror_axes))

    # --- labels
    depth_mm = jnp.asarray(options.box_mm[0] * scale, jnp.float32)
    labels, counts = _labels(sample, known, true_root, k, patch, axes, depth_mm, options)
    joints = np.arange(len(options.skeleton.joints))
    order = jnp.where(mirrored, np.array(options.skeleton.flip), joints)
    return inputs | {
        "x": jnp.stack([x for x, _, _ in views]),
        "labels": jnp.where(counts, labels, 0.0)[order],
        "counts": counts[order],
        "from_root": sample["has_xyz"] & ~sample["has_uv"],
        "known": known,
        "root_z": root[2],
        "depth_mm": depth_mm,
        "k": k,
        "patch": patch,
        "cameras": jnp.stack([targets.patch_camera(k, patch, axes) for _, patch, axes in views]),
        "roots": jnp.stack([geometry.matmul(axes, root[:, None])[:, 0] for _, _, axes in views]),
        "source_from_image": sample["source_from_image"],
    }


def _random_patch(key, augment: PatchAugment):
    """Scale, angle (rad), whether to mirror, and a factor per colour channel."""
    keys = jax.random.split(key, 5)
    scale = 1 + augment.scale * jnp.clip(jax.random.normal(keys[0]), -1, 1)
    angle = jnp.deg2rad(augment.rotation_deg) * jnp.clip(jax.random.normal(keys[1]), -2, 2)
    angle = jnp.where(jax.random.bernoulli(keys[2], augment.rotated), angle, 0.0)
    colour = jax.random.uniform(keys[4], (3,), minval=1 - augment.colour, maxval=1 + augment.colour)
    return scale, angle, jax.random.bernoulli(keys[3], augment.flip), colour


def _depth_by_box(sample, k) -> Float[Array, ""]:
    """Depth of the pelvis, mm, assuming that every person fills the same square box."""
    low, high = crop2d.bounds(sample["joints_uv"], sample["labelled"])
    return targets.depth_from_box(jnp.full(2, _BOX_MARGIN * (high - low).max()), k)


def _box(sample, root, k, known, options: BodyOptions):
    """Center (u, v) and sides (width, height) of the box that the patch shows, px of the image."""
    center = pinhole.xyz_to_uvd(root[None], k)[0, :2]
    height, width = options.size
    corner, sides = sample["box"][:2], sample["box"][2:]
    wide = jnp.maximum(sides[0], sides[1] * width / height)
    wide = jnp.maximum(wide, 1.0)  # padding may have an empty box
    own = jnp.stack([wide, wide * height / width])
    return jnp.where(known, center, corner + sides / 2), jnp.where(
        known, targets.box_px(root[2], k, options.box_mm), own
    )


def _labels(sample, known, true_root, k, patch, axes, depth_mm, options: BodyOptions):
    """Labels [j, 3] of targets/body.py and which of them count, in the order of the joints before
    mirroring."""
    root_at, box_mm = options.skeleton.root, options.box_mm
    xyz = jnp.where(sample["has_xyz"], sample["joints_xyz"], true_root[None])
    rotated = geometry.matmul(xyz, axes.T)
    exact = targets.encode(
        jnp.where(known, rotated, true_root[None]),
        true_root[2],
        targets.patch_camera(k, patch, axes),
        options.size,
        depth_mm,
    )
    weak = targets.encode_weakly(rotated - rotated[root_at : root_at + 1], box_mm) * (
        box_mm[0] / depth_mm
    )
    flat = targets.encode_uv(crop2d.apply(patch, sample["joints_uv"]), options.size)
    labels = jnp.where(known, exact, jnp.where(sample["has_uv"], flat, weak))
    near = (jnp.abs(labels) <= crop2d.FAR).all(-1)
    in_image = sample["has_uv"] & sample["labelled"]
    in_space = sample["has_xyz"] & (sample["labelled"] | ~sample["has_uv"])
    counts = jnp.stack([in_image | in_space, in_image | in_space, in_space], axis=-1)
    return labels, counts & near[:, None]


def predict(outputs: Float[Array, "n ..."], inputs: Inputs, *, options: BodyOptions) -> Rows:
    """→ `joints_uv` [b, 18, 2], px of the source file, and `joints_xyz` [b, 18, 3], mm.

    With a camera, `joints_xyz` are in its frame: the pelvis where the network sees it, at the depth
    that the title names. Without one they are relative to the pelvis, scaled to a total bone length
    of `skeleton_mm`.

    The labels of a mirrored view are mirrored back and averaged with the other's; the original's
    direct head has no such test.
    """
    labels = labels_of(outputs, inputs, options)
    if labels.shape[1] == 2:
        other = targets.mirror_labels(labels[:, 1], options.skeleton.flip, options.size[1])
        labels = jnp.stack([labels[:, 0], other], axis=1)
    labels = labels.mean(1)
    uv = targets.decode_uv(labels, inputs["patch"], options.size)
    placed = targets.decode(
        labels, inputs["root_z"], inputs["k"], inputs["patch"], options.size, inputs["depth_mm"]
    )
    free = targets.decode_by_length(
        labels, options.skeleton.parents, options.size, options.skeleton_mm
    )
    return {
        "joints_xyz": jnp.where(inputs["known"][:, None, None], placed, free),
        "joints_uv": crop2d.apply(inputs["source_from_image"], uv),
    }


def ground_truth(batch: Batch, *, options: BodyOptions) -> Rows:
    """`joints_xyz` as in the batch, `joints_uv` in px of the source file, which of them are valid,
    and the numbers by which metrics are grouped."""
    batch = complete(batch, options)
    labels = ("joints_xyz", "visible", "labelled", "has_uv", "has_xyz")
    kept = (*labels, "subject", "action", "camera", "head_px")
    uv = crop2d.apply(batch["source_from_image"], batch["joints_uv"])
    return {"joints_uv": uv, **{name: batch[name] for name in kept}}


def visualize(inputs: Inputs) -> tuple[UInt8[Array, "b h w 3"], Float[Array, "b 2 3"]]:
    """The patch that the network sees, in RGB, and the map from its pixels to the source file's."""
    back = crop2d.inverse(inputs["patch"])
    return inputs["rgb"], crop2d.compose(inputs["source_from_image"], back)


def dummy_inputs(samples: int, *, options: BodyOptions) -> Inputs:
    """Empty patches."""
    return {"x": jnp.zeros((samples, *options.size, 3))}
