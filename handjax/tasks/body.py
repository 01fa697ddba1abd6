"""3D pose of a person: a colour picture → joints in camera mm, by one of three heads (Sun et al. 2018, arXiv 1711.08229, as
JimmySuen/integral-human-pose released it, and its kinematic fork ajdroid/integral-human-pose).

What is known of a sample decides what is learnt from it, and any may be mixed:

    has_uv and has_xyz   a pose before a camera `k` (Human3.6M): x, y and z of every labelled joint
    has_uv               places in the picture (MPII, COCO): x and y
    has_xyz              a pose without a camera (the challenge of 2018): x, y and z from the pelvis, as if all joints were as far
                         away as the patch's box and the box as large as at the pelvis of other samples
"""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from handjax.metrics import body as body_metrics
from handjax.models.body import HEADS, BodyNet
from handjax.models.resnet import STAGES
from handjax.pose import crop2d, geometry, losses
from handjax.pose.skeleton import SKELETONS, Skeleton
from handjax.pose.warp import warp_affine
from handjax.rigs import body as figure
from handjax.targets import body as targets
from handjax.targets.keypoints2d import normalize
from handjax.tasks.base import Batch, Inputs, Rows, Task

FILL = 128.0  # grey outside the picture, as beside pictures that were made smaller; the original has black
ROOT_DEPTHS = {
    "label": "depth of the pelvis as labelled",
    "box": "depth of the pelvis from the size of the joints' box",
}
ERRORS = {"l1": losses.absolute_error, "l2": losses.squared_error}
# RootNet's box (Moon et al. 2019, arXiv 1907.11346): what a detector finds, square and a quarter larger, of a person of 2000 mm.
_BOX_ROOM = 1.25


@dataclasses.dataclass(frozen=True)
class Body:
    """What the network is shown and how its numbers are read; the fields are explained in configs/body.py."""

    loss: str
    root_depth: str
    flip_test: bool
    skeleton_mm: float
    pixel_mean: tuple[float, float, float]
    pixel_std: tuple[float, float, float]
    rig: str
    lengths: tuple[float, ...]
    learn_scale: bool
    limits: float
    size: tuple[int, int]  # of the patch: height, width
    box_mm: tuple[float, float]  # that it shows: width, height
    mip_levels: int
    kinematic: bool
    skeleton: Skeleton


@dataclasses.dataclass(frozen=True)
class Augment:
    """What is random about a patch (JimmySuen/integral-human-pose): the box's size times 1 + clip(N, ±1) · `scale`; a turn by
    clip(N, ±2) · `rotation_deg` in `rotated` of all; mirrored in `flip` of all; each colour times U(1 ± `colour`)."""

    scale: float
    rotation_deg: float
    rotated: float
    flip: float
    colour: float


def body_task(config, skeleton: Skeleton) -> Task:
    """The task of `config.task`, `config.model`, `config.crop` and `config.augment` for joints of "body18"."""
    _check(config, skeleton)
    hyper = {
        key: tuple(value) if isinstance(value, tuple | list) else value
        for key, value in config.model.items()
    }
    model = BodyNet(joints=len(skeleton.joints), **hyper | {"dtype": jnp.dtype(hyper["dtype"])})
    options = {key: value for key, value in config.task.items() if key not in ("name", "monitor")}
    body = Body(**options, **config.crop, kinematic=model.head == "kinematic", skeleton=skeleton)
    augment = {key: value for key, value in config.augment.items() if key != "enabled"}
    return Task(
        title=f"body, {model.head} head; {ROOT_DEPTHS[body.root_depth]}",
        kind="body",
        model=model,
        prepare=partial(
            prepare, body=body, augment=Augment(**augment) if config.augment.enabled else None
        ),
        loss=partial(loss, body=body),
        predict=partial(predict, body=body),
        ground_truth=partial(ground_truth, body=body),
        postprocess=lambda rows: rows,
        score=body_metrics.summarize,
        visualize=visualize,
        dummy_inputs=partial(dummy_inputs, body=body),
        monitor=config.task.monitor,
    )


def _check(config, skeleton) -> None:
    """What would otherwise fail late, or not at all."""
    task, model, crop, augment = config.task, config.model, config.crop, config.augment
    if skeleton != SKELETONS["body18"]:
        raise ValueError(
            f"config.task.name=body is of joints of body18, and the samples have {skeleton.name}"
        )
    for name, value, good, expected in (
        ("model.head", model.head, model.head in HEADS, " or ".join(HEADS)),
        ("model.layers", model.layers, model.layers in STAGES, " or ".join(map(str, STAGES))),
        ("model.width", model.width, model.width > 0, "channels, 1 or more"),
        ("model.depth", model.depth, model.depth > 0, "cells, 1 or more"),
        ("model.dtype", model.dtype, model.dtype in ("float32", "bfloat16"), "float32 or bfloat16"),
        ("task.loss", task.loss, task.loss in ERRORS, " or ".join(ERRORS)),
        (
            "task.root_depth",
            task.root_depth,
            task.root_depth in ROOT_DEPTHS,
            " or ".join(ROOT_DEPTHS),
        ),
        ("task.monitor", task.monitor, task.monitor in ("mpjpe_mm", "epe_px"), "mpjpe_mm or epe_px"),
        ("task.rig", task.rig, task.rig in figure.MODES, " or ".join(figure.MODES)),
        (
            "task.lengths",
            task.lengths,
            len(task.lengths) in (0, len(figure.LENGTH_NAMES)),
            "12 bones in mm, or none",
        ),
        ("task.limits", task.limits, task.limits >= 0, "a weight, 0 or more"),
        ("task.skeleton_mm", task.skeleton_mm, task.skeleton_mm > 0, "more than 0 mm"),
        ("task.pixel_mean", task.pixel_mean, len(task.pixel_mean) == 3, "three values, 0 to 255"),
        (
            "task.pixel_std",
            task.pixel_std,
            len(task.pixel_std) == 3 and min(task.pixel_std) > 0,
            "three values above 0",
        ),
        (
            "crop.size",
            crop.size,
            len(crop.size) == 2 and all(n > 0 and n % 32 == 0 for n in crop.size),
            "height, width by 32 px",
        ),
        (
            "crop.box_mm",
            crop.box_mm,
            len(crop.box_mm) == 2 and min(crop.box_mm) > 0,
            "width and height, mm",
        ),
        ("crop.mip_levels", crop.mip_levels, 0 <= crop.mip_levels <= 8, "0 to 8"),
        *((f"augment.{k}", augment[k], 0 <= augment[k] < 1, "0 to 1") for k in ("scale", "colour")),
        *(
            (f"augment.{k}", augment[k], 0 <= augment[k] <= 1, "a probability")
            for k in ("rotated", "flip")
        ),
        (
            "augment.rotation_deg",
            augment.rotation_deg,
            augment.rotation_deg >= 0,
            "0 degrees or more",
        ),
    ):
        if not good:
            raise ValueError(f"config.{name}={value}: expected {expected}")
    (height, width), (box_width, box_height) = crop.size, crop.box_mm
    if abs(width * box_height / (height * box_width) - 1) > 0.01:
        raise ValueError(
            f"config.crop.size={crop.size} (height, width) stretches config.crop.box_mm={crop.box_mm} (width, height)"
        )
    if model.head == "kinematic" and task.rig == "original" and task.limits:
        raise ValueError(
            f"config.task.limits={task.limits}: the original's figure has no limits of its joints; use 0.0"
        )


def complete(batch: Batch, body: Body) -> Batch:
    """The batch with every key that says what is known of its samples. Rows of padding know nothing."""
    rows, joints = batch["mask"].shape[0], len(body.skeleton.joints)
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
    keys: Key[Array, " b"], batch: Batch, train: bool, *, body: Body, augment: Augment | None
) -> Inputs:
    """A batch with `image` → `x` [b, h, w, 3], labels and what each of them weighs, and the way back to picture and camera.

    Before a camera the patch shows a box of `box_mm` about the pelvis, else the sample's own `box`, made larger until it has the
    patch's shape. Patch and everything random about it are one affine map, so a picture is resampled once. With `flip_test` an
    evaluation sees each patch twice in a row, as it is and mirrored: x [2 b, h, w, 3].
    """
    batch = complete(batch, body)
    root_at, order = body.skeleton.root, np.arange(len(body.skeleton.joints))
    width, box_mm = body.size[1], body.box_mm
    estimated = body.root_depth == "box" and not train
    mirror = jnp.array([[-1.0, 0, width - 1], [0, 1, 0]])  # the patch's columns in reverse

    def one(key, sample):
        known = sample["has_uv"] & sample["has_xyz"]
        # Numbers that are not known are replaced at once by some that have finite gradients.
        true_root = jnp.where(known, sample["joints_xyz"][root_at], jnp.array([0.0, 0.0, 1.0]))
        k = jnp.where(known, sample["k"], jnp.eye(3))
        root = (
            true_root * jnp.where(known, _depth_by_box(sample, k) / true_root[2], 1.0)
            if estimated
            else true_root
        )
        center, sides = _place(sample, root, k, known, body)
        scale, angle, mirrored, colour = (
            _drawn(key, augment) if train and augment else (1.0, 0.0, False, None)
        )

        patch = targets.patch_from_picture(center, sides, body.size, scale, angle, mirrored)
        axes = targets.turned_axes(angle, mirrored)
        affine = crop2d.inverse(patch)
        image = warp_affine(sample["image"], affine, body.size, FILL, body.mip_levels)
        inputs = {} if train else {"picture": jnp.round(image).astype(jnp.uint8)}
        image = image if colour is None else jnp.clip(image * colour[None, None], 0.0, 255.0)
        x = normalize(image, body.pixel_mean, body.pixel_std, bgr=False)
        seen = [(x, patch, axes)]
        if body.flip_test and not train:
            seen.append(
                (
                    x[:, ::-1],
                    crop2d.compose(mirror, patch),
                    axes * jnp.array([[-1.0], [1.0], [1.0]]),
                )
            )

        depth_mm = jnp.asarray(box_mm[0] * scale, jnp.float32)
        xyz = jnp.where(sample["has_xyz"], sample["joints_xyz"], true_root[None])
        turned = geometry.matmul(xyz, axes.T)
        exact = targets.encode(
            jnp.where(known, turned, true_root[None]),
            true_root[2],
            targets.patch_camera(k, patch, axes),
            body.size,
            depth_mm,
        )
        weak = targets.encode_weakly(turned - turned[root_at : root_at + 1], box_mm) * (
            box_mm[0] / depth_mm
        )
        flat = targets.encode_uv(crop2d.apply(patch, sample["joints_uv"]), body.size)
        labels = jnp.where(known, exact, jnp.where(sample["has_uv"], flat, weak))
        placed, posed = (
            sample["has_uv"] & sample["labelled"],
            sample["has_xyz"] & (sample["labelled"] | ~sample["has_uv"]),
        )
        counts = jnp.stack([placed | posed, placed | posed, posed], axis=-1)
        turn = jnp.where(mirrored, np.array(body.skeleton.flip), order)
        return inputs | {
            "x": jnp.stack([x for x, _, _ in seen]),
            "labels": jnp.where(counts, labels, 0.0)[turn],
            "counts": counts[turn],
            "from_root": sample["has_xyz"] & ~sample["has_uv"],
            "known": known,
            "root_z": root[2],
            "depth_mm": depth_mm,
            "k": k,
            "patch": patch,
            "cameras": jnp.stack([targets.patch_camera(k, patch, axes) for _, patch, axes in seen]),
            "roots": jnp.stack([geometry.matmul(axes, root[:, None])[:, 0] for _, _, axes in seen]),
            "source_from_image": sample["source_from_image"],
        }

    used = (
        "image",
        "joints_uv",
        "joints_xyz",
        "labelled",
        "has_uv",
        "has_xyz",
        "k",
        "box",
        "source_from_image",
    )
    inputs = jax.vmap(one)(keys, {name: batch[name] for name in used})
    # The two views of a sample stay on its own device.
    return inputs | {"x": inputs["x"].reshape(-1, *inputs["x"].shape[2:]), "mask": batch["mask"]}


def _drawn(key, augment: Augment):
    """Scale, angle in rad, whether mirrored, and a factor of each colour."""
    keys = jax.random.split(key, 5)
    scale = 1 + augment.scale * jnp.clip(jax.random.normal(keys[0]), -1, 1)
    angle = jnp.deg2rad(augment.rotation_deg) * jnp.clip(jax.random.normal(keys[1]), -2, 2)
    angle = jnp.where(jax.random.bernoulli(keys[2], augment.rotated), angle, 0.0)
    colour = jax.random.uniform(keys[4], (3,), minval=1 - augment.colour, maxval=1 + augment.colour)
    return scale, angle, jax.random.bernoulli(keys[3], augment.flip), colour


def _depth_by_box(sample, k) -> Float[Array, ""]:
    """The pelvis' depth, mm, if the square about the person were as large as everybody's."""
    low, high = crop2d.bounds(sample["joints_uv"], sample["labelled"])
    return targets.depth_from_box(jnp.full(2, _BOX_ROOM * (high - low).max()), k)


def _place(sample, root, k, known, body: Body):
    """Middle (u, v) and sides (width, height) of the box that the patch shows, px of the batch's picture."""
    center = geometry.xyz_to_uvd(root[None], k)[0, :2]
    height, width = body.size
    corner, sides = sample["box"][:2], sample["box"][2:]
    wide = jnp.maximum(
        jnp.maximum(sides[0], sides[1] * width / height), 1.0
    )  # padding may have a box of nothing
    own = jnp.stack([wide, wide * height / width])
    return jnp.where(known, center, corner + sides / 2), jnp.where(
        known, targets.box_px(root[2], k, body.box_mm), own
    )


def labels_of(outputs, inputs: Inputs, body: Body) -> Float[Array, "b v 18 3"]:
    """What the network says of each view, as labels of targets/body.py.

    The kinematic head's numbers pose the figure of rigs/body.py, which stands about the pelvis of a sample before a camera, else
    about the middle of the box. `rig="original"` takes the figure's mm for labels, as there; the head's scale has to find
    1/2000.
    """
    outputs = outputs.reshape(inputs["mask"].shape[0], -1, *outputs.shape[1:])
    if not body.kinematic:
        return outputs
    motion, scale = figure.motion_and_scale(outputs, body.rig)
    scale = scale if body.learn_scale else jnp.ones_like(scale)
    joints = figure.joints(motion, scale, body.lengths or None, body.rig)
    if body.rig == "original":
        return joints
    root_z, depth_mm = (
        jnp.broadcast_to(inputs[name][:, None], scale.shape) for name in ("root_z", "depth_mm")
    )
    xyz = joints + inputs["roots"][:, :, None]
    # Nothing is nearer to the camera than a tenth of the way: before it learns, a network may say anything.
    xyz = jnp.concatenate(
        [xyz[..., :2], jnp.maximum(xyz[..., 2:], 0.1 * root_z[..., None, None])], axis=-1
    )
    exact = targets.encode(xyz, root_z, inputs["cameras"], body.size, depth_mm)
    weak = targets.encode_weakly(joints, body.box_mm) * (body.box_mm[0] / depth_mm)[..., None, None]
    return jnp.where(inputs["known"][:, None, None, None], exact, weak)


def loss(outputs, inputs: Inputs, *, body: Body):
    """Distances of the labels that count, L1 or squared, summed over a batch's joints and coordinates and divided by its samples,
    as in the original → the sum, and its parts `xy` and `z`. `limits`, where it has a weight: how far beyond what they can the
    figure's joints are turned, squared and summed, rad²."""
    labels = labels_of(outputs, inputs, body)[:, 0]
    root = labels[:, body.skeleton.root][:, None]
    labels = labels - jnp.where(inputs["from_root"][:, None, None], root, 0.0)
    errors = jnp.where(inputs["counts"], ERRORS[body.loss](labels, inputs["labels"]), 0.0)
    parts = {
        "xy": losses.masked_total(errors[..., :2], inputs["mask"]),
        "z": losses.masked_total(errors[..., 2:], inputs["mask"]),
    }
    total = parts["xy"] + parts["z"]
    if body.kinematic and body.limits:
        views = outputs.shape[0] // inputs["mask"].shape[0]
        motion, _ = figure.motion_and_scale(outputs[::views], body.rig)
        parts["limits"] = losses.masked_total(figure.beyond_limits(motion) ** 2, inputs["mask"])
        total = total + body.limits * parts["limits"]
    return total, parts


def predict(outputs, inputs: Inputs, *, body: Body) -> Rows:
    """→ `joints_uv` [b, 18, 2], px of the source file, and `joints_xyz` [b, 18, 3], mm: before a camera in its frame, the pelvis at
    the depth that the title names and where the network sees it; else from the pelvis, all bones together `skeleton_mm` long.

    Of a mirrored view the labels are mirrored back and the mean of both is taken; the original's direct head has no such test.
    """
    labels = labels_of(outputs, inputs, body)
    if labels.shape[1] == 2:
        other = targets.mirrored(labels[:, 1], body.skeleton.flip, body.size[1])
        labels = jnp.stack([labels[:, 0], other], axis=1)
    labels = labels.mean(1)
    uv = targets.decode_uv(labels, inputs["patch"], body.size)
    placed = targets.decode(
        labels, inputs["root_z"], inputs["k"], inputs["patch"], body.size, inputs["depth_mm"]
    )
    free = targets.decode_by_length(labels, body.skeleton.parents, body.size, body.skeleton_mm)
    return {
        "joints_xyz": jnp.where(inputs["known"][:, None, None], placed, free),
        "joints_uv": crop2d.apply(inputs["source_from_image"], uv),
    }


def ground_truth(batch: Batch, *, body: Body) -> Rows:
    """`joints_xyz` as the batch has them, `joints_uv` in px of the source file, which of both mean something, and by what scores
    are split."""
    batch = complete(batch, body)
    kept = (
        "joints_xyz",
        "visible",
        "labelled",
        "has_uv",
        "has_xyz",
        "subject",
        "action",
        "camera",
        "head_px",
    )
    uv = crop2d.apply(batch["source_from_image"], batch["joints_uv"])
    return {"joints_uv": uv, **{name: batch[name] for name in kept}}


def visualize(inputs: Inputs) -> tuple[Array, Float[Array, "b 2 3"]]:
    """The patch that the network sees, RGB bytes [b, h, w, 3], and the map of its pixels to the source file's."""
    return inputs["picture"], crop2d.compose(
        inputs["source_from_image"], crop2d.inverse(inputs["patch"])
    )


def dummy_inputs(samples: int, *, body: Body) -> Inputs:
    """Empty patches."""
    return {"x": jnp.zeros((samples, *body.size, 3))}
