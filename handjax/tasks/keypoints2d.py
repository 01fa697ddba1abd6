"""CPM and PoseNet2D: a colour picture of a hand → score maps → joints in pixels of the source file."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from handjax.metrics import keypoints2d as metrics2d
from handjax.models.cpm import CPM
from handjax.models.posenet2d import PoseNet2D
from handjax.pose import crop2d, losses
from handjax.pose.augment2d import Augment, jitter_colours, noise, random_square
from handjax.pose.crop2d import Crop
from handjax.pose.skeleton import Skeleton
from handjax.pose.warp import warp_affine
from handjax.targets import heatmap
from handjax.targets import keypoints2d as targets
from handjax.tasks.base import Batch, Inputs, Rows, Task

MODELS = {"cpm": CPM, "posenet2d": PoseNet2D}
TITLES = {"cpm": "Convolutional Pose Machine", "posenet2d": "PoseNet2D"}
FILL = 128.0  # grey outside the picture: namedBen's value, and what hand3d's zeros are after its normalization
WIDTHS = {"cpm": 3, "posenet2d": 5}
_FAR_PX = -1e4  # where a joint without a label is put: its map is empty


@dataclasses.dataclass(frozen=True)
class Maps:
    """What the network is given and how its maps are read; the fields are explained in configs/cpm.py and configs/posenet2d.py."""

    loss: str
    decode: str
    sigma: float
    cut: float
    whole_pixels: bool
    visible_only: bool
    fwhm: float
    center_sigma: float
    center_cut: float
    pixel_mean: tuple[float, float, float]
    pixel_std: tuple[float, float, float]
    bgr: bool
    flip_test: bool
    mirror_left: bool
    size: int  # px of the crop
    stride: int  # px a cell
    background: bool  # channel 0 is no joint
    centered: bool  # the network takes a centre map
    flip: tuple[int, ...]  # which joint a joint is in the mirror


def keypoints2d_task(config, skeleton: Skeleton) -> Task:
    """The task of `config.task`, `config.model`, `config.crop` and `config.augment` for joints in this skeleton's order."""
    _check(config, skeleton)
    hyper = {
        key: tuple(value) if isinstance(value, tuple | list) else value
        for key, value in config.model.items()
    }
    name, dtype = hyper.pop("name"), hyper.pop("dtype")
    model = MODELS[name](joints=len(skeleton.joints), dtype=jnp.dtype(dtype), **hyper)
    options = {key: value for key, value in config.task.items() if key != "name"}
    maps = Maps(
        **options,
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
            maps=maps,
            crop=crop,
            augment=Augment(**augment) if config.augment.enabled else None,
        ),
        loss=partial(loss, maps=maps),
        predict=partial(predict, maps=maps),
        ground_truth=partial(ground_truth, crop=crop),
        postprocess=lambda rows: rows,
        score=partial(score, skeleton=skeleton),
        visualize=visualize,
        dummy_inputs=partial(dummy_inputs, maps=maps),
        monitor="epe_px",
    )


def _check(config, skeleton) -> None:
    """What would otherwise fail late, or not at all."""
    task, model, crop, augment = config.task, config.model, config.crop, config.augment
    pools, sides, widths = model.get("pools", 3), crop.side_px, WIDTHS.get(model.name)
    stride = 2**pools
    for name, value, good, expected in (
        ("model.name", model.name, model.name in MODELS, " or ".join(MODELS)),
        ("model.dtype", model.dtype, model.dtype in ("float32", "bfloat16"), "float32 or bfloat16"),
        (
            "model.pools",
            pools,
            (model.name == "cpm") <= pools <= 3,
            "1 to 3 halvings, of posenet2d 0 to 3",
        ),
        (
            "model.widths",
            model.widths,
            len(model.widths) == widths,
            f"{widths} numbers of channels",
        ),
        ("model.stages", model.get("stages", 1), model.get("stages", 1) > 0, "1 or more"),
        (
            "model.refinements",
            model.get("refinements", 0),
            model.get("refinements", 0) >= 0,
            "0 or more",
        ),
        ("task.loss", task.loss, task.loss in LOSSES, " or ".join(LOSSES)),
        ("task.decode", task.decode, task.decode in targets.DECODES, " or ".join(targets.DECODES)),
        ("task.sigma", task.sigma, task.sigma > 0, "more than 0"),
        ("task.fwhm", task.fwhm, task.fwhm > 0, "more than 0 cells"),
        ("task.center_sigma", task.center_sigma, task.center_sigma > 0, "more than 0 px"),
        ("task.pixel_mean", task.pixel_mean, len(task.pixel_mean) == 3, "three values, 0 to 255"),
        (
            "task.pixel_std",
            task.pixel_std,
            len(task.pixel_std) == 3 and min(task.pixel_std) > 0,
            "three values above 0",
        ),
        ("crop.rule", crop.rule, crop.rule in crop2d.RULES, " or ".join(crop2d.RULES)),
        (
            "crop.size",
            crop.size,
            crop.size > 0 and crop.size % stride == 0,
            f"a multiple of the network's stride, {stride} px",
        ),
        ("crop.scale", crop.scale, crop.scale > 0, "more than 0"),
        ("crop.pad_px", crop.pad_px, crop.pad_px >= 0, "0 px or more"),
        ("crop.halvings", crop.halvings, 0 <= crop.halvings <= 8, "0 to 8"),
        (
            "crop.side_px",
            sides,
            len(sides) == 2 and 0 < sides[0] <= sides[1],
            "two sides, lesser first",
        ),
        (
            "augment.scale",
            augment.scale,
            len(augment.scale) == 2 and 0 < augment.scale[0] <= augment.scale[1],
            "two factors, lesser first",
        ),
        (
            "augment.rotation_deg",
            augment.rotation_deg,
            augment.rotation_deg >= 0,
            "0 degrees or more",
        ),
        ("augment.flip", augment.flip, 0 <= augment.flip <= 1, "a probability"),
        *(
            (f"augment.{k}", augment[k], 0 <= augment[k] < 1, "0 to 1")
            for k in ("brightness", "contrast", "saturation")
        ),
    ):
        if not good:
            raise ValueError(f"config.{name}={value}: expected {expected}")
    if (model.name == "cpm") != (task.loss in ("cpm", "kwai")):
        fits = "cpm or kwai" if model.name == "cpm" else "heatmap or dsnt"
        raise ValueError(
            f"config.task.loss={task.loss} does not go with config.model.name={model.name}: use {fits}"
        )
    if task.decode == "dsnt" and task.loss != "dsnt":
        raise ValueError(
            f"config.task.decode=dsnt finds what task.loss=dsnt learned: with {task.loss} use argmax or centroid"
        )
    if crop.rule == "palm" and "middle_base" not in skeleton.joints:
        raise ValueError(
            f"config.crop.rule=palm: {skeleton.name} has no joint middle_base; use height or box"
        )
    if task.mirror_left and (task.flip_test or (augment.enabled and augment.flip)):
        raise ValueError(
            "config.task.mirror_left shows right hands only: use config.task.flip_test=False and config.augment.flip=0.0"
        )


def prepare(
    keys, batch: Batch, train: bool, *, maps: Maps, crop: Crop, augment: Augment | None
) -> Inputs:
    """A batch with `image` → `x` [b, n, n, 3 + centre map], joints in pixels of the crop, and the way back to the source.

    The crop and everything random about it is one affine map, so a picture is resampled once. `joints_uv` says where the hand is
    (`labelled` ones have a place); without it the crop is `box`, the file's own square, or the whole picture. With `flip_test` an
    evaluation sees each crop twice in a row, as it is and mirrored: x [2 b, n, n, c].
    """
    if maps.mirror_left and "left" not in batch:
        raise ValueError(
            "config.task.mirror_left=True: these samples do not say which hands are left; use False"
        )
    picture = batch["image"].shape[1:3]

    def one(key, sample):
        square_key, joint_key, center_key, colour_key = jax.random.split(key, 4)
        offset = None
        if train and augment:
            offset = noise(center_key, (2,), augment.center_sigma_px)
            if "joints_uv" in sample:
                sample = sample | {
                    "joints_uv": sample["joints_uv"]
                    + noise(joint_key, (len(maps.flip), 2), augment.joint_sigma_px)
                }
        hand, side = _square(sample, picture, crop, not train or maps.visible_only, offset)
        center, angle, mirrored = hand, jnp.zeros(()), jnp.zeros((), bool)
        if train and augment:
            center, side, angle, mirrored = random_square(
                square_key, center, side, maps.size, augment
            )
        affine = crop2d.picture_from_crop(
            center,
            side,
            maps.size,
            angle,
            mirrored ^ sample["left"] if maps.mirror_left else mirrored,
        )
        back = crop2d.inverse(affine)

        image = warp_affine(sample["image"], affine, (maps.size, maps.size), FILL, crop.halvings)
        inputs = {} if train else {"picture": jnp.round(image).astype(jnp.uint8)}
        image = jitter_colours(colour_key, image, augment) if train and augment else image
        x = targets.normalize(image, maps.pixel_mean, maps.pixel_std, maps.bgr)
        if maps.centered:
            at = crop2d.apply(back, hand[None])[0]
            x = jnp.concatenate(
                [x, targets.center_map(at, maps.size, maps.center_sigma, maps.center_cut)], axis=-1
            )
        inputs["x"] = jnp.stack([x, x[:, ::-1]]) if maps.flip_test and not train else x[None]

        if "joints_uv" in sample:
            order = jnp.where(mirrored, jnp.array(maps.flip), jnp.arange(len(maps.flip)))
            inputs["joints"] = crop2d.apply(back, sample["joints_uv"])[order]
            inputs |= {name: _flags(sample, name)[order] for name in ("visible", "labelled")}
        source = sample.get("source_from_image")
        return inputs | {
            "source_from_crop": affine if source is None else crop2d.compose(source, affine)
        }

    used = ("image", "joints_uv", "visible", "labelled", "left", "box", "source_from_image")
    inputs = jax.vmap(one)(keys, {name: batch[name] for name in used if name in batch})
    # The two views of a sample stay on its own device.
    return inputs | {"x": inputs["x"].reshape(-1, *inputs["x"].shape[2:]), "mask": batch["mask"]}


def _flags(sample, name):
    """`visible` or `labelled` [*b, j] of a batch or a sample: all are where it does not say; what has no label is not visible."""
    true = jnp.ones(sample["joints_uv"].shape[:-1], bool)
    labelled = sample.get("labelled", true)
    return labelled if name == "labelled" else sample.get("visible", true) & labelled


def _square(sample, picture, crop, seen_only: bool, offset=None):
    """Middle and side of the square about the hand, px of the batch's image."""
    if "joints_uv" not in sample:
        crop = dataclasses.replace(crop, rule="file", center_joint=0)
        return crop2d.square(
            crop, jnp.zeros((1, 2)), jnp.zeros(1, bool), picture, sample.get("box")
        )
    labelled, visible = (_flags(sample, name) for name in ("labelled", "visible"))
    return crop2d.square(
        crop,
        sample["joints_uv"],
        labelled,
        picture,
        sample.get("box"),
        visible if seen_only else None,
        offset,
    )


def loss(outputs, inputs: Inputs, *, maps: Maps):
    """Score maps [b, stages, m, m, c] → the sum of the system's terms, and the terms; zero where there is no label."""
    if "joints" not in inputs:
        return jnp.zeros(()), {}
    views = outputs.shape[0] // inputs["mask"].shape[0]
    parts = LOSSES[maps.loss](outputs[::views], inputs, maps)
    return sum(parts.values()), parts


def _cpm(outputs, inputs, maps):
    """The squared error of each stage, summed over maps and cells (Wei et al. 2016, eq. 5 and 6). namedBen takes the mean times
    46 · 46 · 15, which for its 14 joints and the background is the same."""
    target, weight = _cpm_target(outputs, inputs, maps)
    totals = losses.stage_totals(outputs, target, inputs["mask"], weight)
    return {f"stage{i + 1}": totals[i] for i in range(outputs.shape[1])}


def _kwai(outputs, inputs, maps):
    """Smooth L1, summed over maps and cells (chrisliu54/Hand-Keypoint-Estimation, which has one stage); here of every stage."""
    target, weight = _cpm_target(outputs, inputs, maps)
    errors = (
        losses.smooth_l1(outputs[:, i], target) * weight[:, None, None]
        for i in range(outputs.shape[1])
    )
    return {
        f"stage{i + 1}": losses.masked_total(error, inputs["mask"])
        for i, error in enumerate(errors)
    }


def _cpm_target(outputs, inputs, maps):
    """Heat maps [b, m, m, c], and which of them count [b, c]: not those of joints without a label."""
    counts = _counts(inputs, maps)
    uv = jnp.where(counts[..., None], inputs["joints"], _FAR_PX)
    target = targets.cpm_heatmaps(
        uv,
        outputs.shape[-2],
        maps.stride,
        maps.sigma,
        maps.cut,
        maps.background,
        whole_pixels=maps.whole_pixels,
    )
    first = jnp.ones((len(uv), int(maps.background)))
    return target, jnp.concatenate([first, counts.astype(jnp.float32)], axis=-1)


def _heatmap(outputs, inputs, maps):
    """Root mean square of each map's error at the image's size, mean over joints (jiangxubin/hand_pose)."""
    counts = _counts(inputs, maps)
    target = targets.posenet_heatmaps(inputs["joints"], counts, maps.size, maps.sigma)
    found = (targets.resize(outputs[:, i], maps.size) for i in range(outputs.shape[1]))
    terms = (
        losses.visible_mean(losses.map_rms(heat, target), inputs["mask"], counts) for heat in found
    )
    return {f"stage{i + 1}": term for i, term in enumerate(terms)}


def _dsnt(outputs, inputs, maps):
    """Squared error of the expectation in sides of the crop, and Jensen-Shannon divergence from a Gaussian (Nibali et al. 2018,
    eq. 8 and 12; in jiangxubin/hand_pose's units); of the last stage alone."""
    counts, uv = _counts(inputs, maps), inputs["joints"] / maps.size
    probability, found = targets.dsnt(outputs[:, -1])
    wanted = targets.dsnt_gaussians(uv, outputs.shape[-2], maps.fwhm)
    return {
        "coordinates": losses.visible_mean(
            losses.squared_error(found, uv).mean(-1), inputs["mask"], counts
        ),
        "divergence": losses.visible_mean(
            losses.jensen_shannon(probability, wanted), inputs["mask"], counts
        ),
    }


LOSSES = {"cpm": _cpm, "kwai": _kwai, "heatmap": _heatmap, "dsnt": _dsnt}


def _counts(inputs, maps) -> Bool[Array, "b j"]:
    return inputs["visible" if maps.visible_only else "labelled"]


def predict(outputs, inputs: Inputs, *, maps: Maps) -> Rows:
    """The last stage's maps → `joints_uv` [b, j, 2] in px of the source file and `confidence` [b, j], the height of the peak.

    A mirrored view's joints are turned back and averaged with the others: places and not maps, whose cells lie elsewhere in the
    mirror.
    """
    heat = outputs[:, -1][..., int(maps.background) :]
    uv = targets.decode(
        heat, maps.stride, maps.decode, cell_center=0.5 if maps.loss == "dsnt" else 0.0
    )
    height = heatmap.confidence(targets.dsnt(heat)[0] if maps.loss == "dsnt" else heat, 2)
    rows = len(inputs["mask"])
    uv, height = (value.reshape(rows, -1, *value.shape[1:]) for value in (uv, height))
    if uv.shape[1] == 2:
        flip = jnp.array(maps.flip)
        mirrored, other = uv[:, 1, flip], height[:, 1, flip]
        uv = uv.at[:, 1].set(mirrored.at[..., 0].set(maps.size - 1 - mirrored[..., 0]))
        height = height.at[:, 1].set(other)
    return {
        "joints_uv": crop2d.apply(inputs["source_from_crop"], uv.mean(1)),
        "confidence": height.mean(1),
    }


def ground_truth(batch: Batch, *, crop: Crop) -> Rows:
    """Where the batch is labelled: `joints_uv`, `visible`, `labelled`, and the sides of the hand's box (the longer one of the
    rectangle about its joints) and of the square that is evaluated, all in px of the source file."""
    if "joints_uv" not in batch:
        return {}
    joints, picture = batch["joints_uv"], batch["image"].shape[1:3]
    low, high = crop2d.bounds(joints, _flags(batch, "labelled"))
    used = ("joints_uv", "visible", "labelled", "box")
    sample = {name: batch[name] for name in used if name in batch}
    _, side = jax.vmap(partial(_square, picture=picture, crop=crop, seen_only=True))(sample)
    source = batch.get("source_from_image")
    ratio = 1.0 if source is None else crop2d.size_ratio(source)
    return {
        "joints_uv": joints if source is None else crop2d.apply(source, joints),
        **{name: _flags(batch, name) for name in ("visible", "labelled")},
        "box_px": (high - low).max(-1) * ratio,
        "image_px": side * ratio,
    }


def score(rows: dict, *, skeleton: Skeleton) -> dict:
    """The figures of `metrics2d.summarize2d`."""
    names = ("visible", "box_px", "image_px", "labelled")
    return metrics2d.summarize2d(
        rows["joints_uv"],
        rows["true_joints_uv"],
        skeleton.joints,
        **{name: rows[f"true_{name}"] for name in names},
    )


def visualize(inputs: Inputs) -> tuple[Array, Float[Array, "b 2 3"]]:
    """The crop that the network sees, RGB bytes [b, n, n, 3], and the map of its pixels to the source file's."""
    return inputs["picture"], inputs["source_from_crop"]


def dummy_inputs(samples: int, *, maps: Maps) -> Inputs:
    """Empty crops."""
    return {"x": jnp.zeros((samples, maps.size, maps.size, 3 + maps.centered))}
