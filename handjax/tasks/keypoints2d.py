"""CPM and PoseNet2D: an RGB image of a hand, or of anything with joints of a user's own → score
maps → joints in pixels of the source file."""

import dataclasses
import operator
from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, UInt8
from ml_collections import ConfigDict

from handjax.engine.contracts import Batch, Inputs, Rows
from handjax.metrics import keypoints2d as metrics
from handjax.models.cpm import CPM
from handjax.models.posenet2d import PoseNet2D
from handjax.pose import crop2d
from handjax.pose.augment2d import Augment, jitter_colours, noise, random_square
from handjax.pose.crop2d import Crop
from handjax.pose.skeleton import Skeleton
from handjax.pose.warp import warp_affine
from handjax.targets import heatmap
from handjax.targets import keypoints2d as targets
from handjax.targets.image import normalize_image
from handjax.tasks.base import Task
from handjax.tasks.keypoints2d_losses import LOSSES
from handjax.tasks.keypoints2d_options import MapOptions, check

MODELS = {"cpm": CPM, "posenet2d": PoseNet2D}
TITLES = {"cpm": "Convolutional Pose Machine", "posenet2d": "PoseNet2D"}
# Grey outside the image: namedBen's value, and that of hand3d's zeros after its normalization.
FILL = 128.0


def keypoints2d_task(config: ConfigDict, skeleton: Skeleton) -> Task:
    """The task of `config.task`, `config.model`, `config.crop` and `config.augment`, joints in this
    skeleton's order."""
    check(config, skeleton)
    hyper: dict[str, Any] = {
        key: tuple(value) if isinstance(value, tuple | list) else value
        for key, value in config.model.items()
    }
    name, dtype = hyper.pop("name"), hyper.pop("dtype")
    model = MODELS[name](joints=len(skeleton.joints), dtype=jnp.dtype(dtype), **hyper)
    options = MapOptions(
        **{key: value for key, value in config.task.items() if key != "name"},
        size=config.crop.size,
        stride=model.stride,
        background=getattr(model, "background", False),
        centered=name == "cpm",
        flip=skeleton.flip,
    )
    middle = skeleton.joints.index("middle_base") if config.crop.rule == "palm" else 0
    crop = Crop(**config.crop, center_joint=middle)
    augment = {key: value for key, value in config.augment.items() if key != "enabled"}
    return Task(
        title=TITLES[name],
        kind="keypoints2d",
        model=model,
        prepare=partial(
            prepare,
            options=options,
            crop=crop,
            augment=Augment(**augment) if config.augment.enabled else None,
        ),
        loss=partial(loss, options=options),
        predict=partial(predict, options=options),
        ground_truth=partial(ground_truth, crop=crop),
        postprocess=lambda rows: rows,
        score=partial(score, skeleton=skeleton),
        visualize=visualize,
        dummy_inputs=partial(dummy_inputs, options=options),
        monitor="epe_px",
    )


def prepare(
    keys: Key[Array, " b"],
    batch: Batch,
    train: bool,
    *,
    options: MapOptions,
    crop: Crop,
    augment: Augment | None,
) -> Inputs:
    """A batch with `image` → `x` [b, n, n, 3 + center map], joints in pixels of the crop, and the
    way back to the source.

    The crop and its augmentation are one affine map, so an image is resampled once. `joints_uv`
    locate the hand (those that are `labelled`); without them the crop is `box`, the file's own
    square, or the entire image. With `flip_test` an evaluation sees each crop twice in a row, as it
    is and mirrored: x [2 b, n, n, c].
    """
    if options.mirror_left and "left" not in batch:
        raise ValueError(
            "config.task.mirror_left=True: these samples lack the side of the hand; use False"
        )
    one = partial(
        _prepare_sample,
        image_size=batch["image"].shape[1:3],
        train=train,
        options=options,
        crop=crop,
        augment=augment,
    )
    used = ("image", "joints_uv", "visible", "labelled", "left", "box", "source_from_image")
    inputs = jax.vmap(one)(keys, {name: batch[name] for name in used if name in batch})
    # Both views of a sample stay on its device.
    return inputs | {"x": inputs["x"].reshape(-1, *inputs["x"].shape[2:]), "mask": batch["mask"]}


def _prepare_sample(key, sample, *, image_size, train, options, crop, augment):
    square_key, joint_key, center_key, colour_key = jax.random.split(key, 4)

    # --- where the crop lies
    offset = None
    if train and augment:
        offset = noise(center_key, (2,), augment.center_sigma_px)
        if "joints_uv" in sample:
            shape = (len(options.flip), 2)
            joints_uv = sample["joints_uv"] + noise(joint_key, shape, augment.joint_sigma_px)
            sample = sample | {"joints_uv": joints_uv}
    visible_only = not train or options.visible_only
    hand, side = _square(sample, image_size, crop, visible_only, offset)
    center, angle, mirrored = hand, jnp.zeros(()), jnp.zeros((), bool)
    if train and augment:
        center, side, angle, mirrored = random_square(
            square_key, center, side, options.size, augment
        )
    flip = mirrored ^ sample["left"] if options.mirror_left else mirrored
    affine = crop2d.image_from_crop(center, side, options.size, angle, flip)
    back = crop2d.inverse(affine)

    # --- what the network sees
    size = (options.size, options.size)
    image = warp_affine(sample["image"], affine, size, FILL, crop.mip_levels)
    inputs = {} if train else {"rgb": jnp.round(image).astype(jnp.uint8)}
    image = jitter_colours(colour_key, image, augment) if train and augment else image
    x = normalize_image(image, options.pixel_mean, options.pixel_std, options.bgr)
    if options.centered:
        at = crop2d.apply(back, hand[None])[0]
        center_map = targets.center_map(at, options.size, options.center_sigma, options.center_cut)
        x = jnp.concatenate([x, center_map], axis=-1)
    inputs["x"] = jnp.stack([x, x[:, ::-1]]) if options.flip_test and not train else x[None]

    # --- labels
    if "joints_uv" in sample:
        order = jnp.where(mirrored, jnp.array(options.flip), jnp.arange(len(options.flip)))
        joints = crop2d.apply(back, sample["joints_uv"])
        near = crop2d.near(joints, jnp.full(2, float(options.size)))
        inputs["joints"] = jnp.where(near[:, None], joints, 0.0)[order]
        inputs |= {name: (_flags(sample, name) & near)[order] for name in ("visible", "labelled")}
    source = sample.get("source_from_image")
    return inputs | {
        "source_from_crop": affine if source is None else crop2d.compose(source, affine)
    }


def _flags(sample, name):
    """`visible` or `labelled` [*b, j] of a batch or a sample. Without the key all joints are;
    joints without a label are not visible."""
    true = jnp.ones(sample["joints_uv"].shape[:-1], bool)
    labelled = sample.get("labelled", true)
    return labelled if name == "labelled" else sample.get("visible", true) & labelled


def _square(sample, image_size, crop, visible_only: bool, offset=None):
    """Center and side of the square around the hand, px of the batch's image."""
    if "joints_uv" not in sample:
        rule = crop.rule if crop.rule == "labelled" else "file"
        crop = dataclasses.replace(crop, rule=rule, center_joint=0)
        return crop2d.square(
            crop, jnp.zeros((1, 2)), jnp.zeros(1, bool), image_size, sample.get("box")
        )
    labelled, visible = (_flags(sample, name) for name in ("labelled", "visible"))
    return crop2d.square(
        crop,
        sample["joints_uv"],
        labelled,
        image_size,
        sample.get("box"),
        visible if visible_only else None,
        offset,
    )


def loss(
    outputs: Float[Array, "n s m m c"], inputs: Inputs, *, options: MapOptions
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """Score maps of each stage → the sum of the terms of `LOSSES[config.task.loss]`, and the terms;
    zero without labels."""
    if "joints" not in inputs:
        return jnp.zeros(()), {}
    views = outputs.shape[0] // inputs["mask"].shape[0]
    terms = LOSSES[options.loss](outputs[::views], inputs, options)
    return reduce(operator.add, terms.values()), terms


def predict(outputs: Float[Array, "n s m m c"], inputs: Inputs, *, options: MapOptions) -> Rows:
    """The last stage's maps → `joints_uv` [b, j, 2] in px of the source file, and `confidence`
    [b, j], the height of the peak.

    The joints of a mirrored view are mirrored back and averaged with those of the other one. Maps
    are not averaged, since their cells lie elsewhere in the mirror.
    """
    heat = outputs[:, -1][..., int(options.background) :]
    cell_center = 0.5 if options.loss == "dsnt" else 0.0
    uv = targets.decode(heat, options.stride, options.decode, cell_center=cell_center)
    height = heatmap.confidence(targets.dsnt(heat)[0] if options.loss == "dsnt" else heat, 2)
    rows = inputs["mask"].shape[0]
    uv, height = (value.reshape(rows, -1, *value.shape[1:]) for value in (uv, height))
    if uv.shape[1] == 2:
        flip = jnp.array(options.flip)
        mirrored, other = uv[:, 1, flip], height[:, 1, flip]
        uv = uv.at[:, 1].set(mirrored.at[..., 0].set(options.size - 1 - mirrored[..., 0]))
        height = height.at[:, 1].set(other)
    return {
        "joints_uv": crop2d.apply(inputs["source_from_crop"], uv.mean(1)),
        "confidence": height.mean(1),
    }


def ground_truth(batch: Batch, *, crop: Crop) -> Rows:
    """`joints_uv`, `visible`, `labelled`; `box_px`, the longer side of the rectangle around the
    joints; `image_px`, the side of the evaluated square; and `area_px`, if it is known. All px are
    those of the source file. Empty for batches without labels."""
    if "joints_uv" not in batch:
        return {}
    joints, image_size = batch["joints_uv"], batch["image"].shape[1:3]
    low, high = crop2d.bounds(joints, _flags(batch, "labelled"))
    used = ("joints_uv", "visible", "labelled", "box")
    sample = {name: batch[name] for name in used if name in batch}
    square = partial(_square, image_size=image_size, crop=crop, visible_only=True)
    _, side = jax.vmap(square)(sample)
    source = batch.get("source_from_image")
    ratio = 1.0 if source is None else crop2d.size_ratio(source)
    return {
        "joints_uv": joints if source is None else crop2d.apply(source, joints),
        **{name: _flags(batch, name) for name in ("visible", "labelled")},
        "box_px": (high - low).max(-1) * ratio,
        "image_px": side * ratio,
        **({"area_px": batch["area"]} if "area" in batch else {}),
    }


def score(rows: Rows, *, skeleton: Skeleton) -> dict[str, Any]:
    """`metrics.summarize`."""
    names = ("visible", "box_px", "image_px", "labelled")
    return metrics.summarize(
        rows["joints_uv"],
        rows["true_joints_uv"],
        skeleton.joints,
        **{name: rows[f"true_{name}"] for name in names},
        area_px=rows.get("true_area_px"),
        sigmas=skeleton.sigmas,
    )


def visualize(inputs: Inputs) -> tuple[UInt8[Array, "b n n 3"], Float[Array, "b 2 3"]]:
    """The crop that the network sees, in RGB, and the map from its pixels to the source file's."""
    return inputs["rgb"], inputs["source_from_crop"]


def dummy_inputs(samples: int, *, options: MapOptions) -> Inputs:
    """Empty crops."""
    return {"x": jnp.zeros((samples, options.size, options.size, 3 + options.centered))}
