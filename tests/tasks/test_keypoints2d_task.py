"""The 2D task without its networks: inputs, and predictions and losses of ideal maps."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from handjax.data.batch import check_batch
from handjax.engine.config import load
from handjax.pose import crop2d
from handjax.pose.skeleton import SKELETONS
from handjax.pose.skeleton_file import parse
from handjax.targets import heatmap
from handjax.tasks import TASKS

HEIGHT, WIDTH, SIZE = 150, 190, 96
GREY = 128  # of the background, and outside the image
SMALL = {
    "cpm": ["config.model.widths=(2, 2, 2)", "config.model.stages=2", f"config.crop.size={SIZE}"],
    "posenet2d": [
        "config.model.widths=(2, 2, 2, 2, 2)",
        f"config.crop.size={SIZE}",
        f"config.task.sigma={25 * SIZE / 256}",
    ],
}


# Eleven joints of one's own, of which a mirror image swaps two pairs.
TOY = parse({"joints": [f"p{i}" for i in range(11)], "flip": [["p0", "p7"], ["p10", "p3"]]}, "toy")
ALL_SKELETONS = {**SKELETONS, "own": TOY}


def build(repo, spec, *overrides, skeleton="hand21"):
    """A small task from a real config."""
    config = load(f"{repo}/configs/{spec}", [*SMALL[spec.split(".")[0]], *overrides])
    return TASKS["keypoints2d"](config, ALL_SKELETONS[skeleton])


def batch_of(rows=4, joints=21):
    """Blobs on shuffled places of a grid: if two joints are swapped they are far from their own."""
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(np.linspace(45, 145, 6), np.linspace(40, 110, 4)), -1).reshape(
        -1, 2
    )
    uv = np.stack([rng.permutation(grid)[:joints] for _ in range(rows)]) + rng.uniform(
        -1, 1, (rows, joints, 2)
    )
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    distance = (x - uv[..., :1, None]) ** 2 + (y - uv[..., 1:, None]) ** 2
    image = GREY + 120 * np.exp(-distance / (2 * 2.0**2)).max(1)
    batch = {
        "image": np.repeat(image.round().astype(np.uint8)[..., None], 3, -1),
        "joints_uv": uv.astype(np.float32),
        "visible": rng.uniform(size=(rows, joints)) < 0.8,
        "left": np.arange(rows) % 2 == 0,
        "source_from_image": np.tile(np.float32([[2, 0, 0.5], [0, 2, 100]]), (rows, 1, 1)),
        "mask": np.ones(rows, bool),
        "index": np.arange(rows, dtype=np.int32),
    }
    check_batch(batch)
    return batch


def on_device(batch):
    return jax.tree.map(jnp.asarray, batch)


def prepared(task, batch, train=False):
    keys = jax.random.split(jax.random.key(0), len(batch["mask"]))
    return jax.jit(partial(task.prepare, train=train))(keys, on_device(batch))


# --- inputs ---

KINDS = {
    "a body for CPM": ("cpm.py", True, "body18", ()),
    "CPM in evaluation": ("cpm.py", False, "hand21", ("config.crop.scale=1.0",)),
    "Kwai": ("cpm.py:kwai", True, "hand21", ()),
    "PoseNet2D": ("posenet2d.py:augment", True, "hand21", ("config.augment.center_sigma_px=5.0",)),
    "own joints": ("posenet2d.py:own", True, "own", ("config.augment.flip=0.5",)),
    "own joints in evaluation": ("cpm.py:own", False, "own", ()),
    "left hands mirrored": ("posenet2d.py", False, "hand21", ("config.task.mirror_left=True",)),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_image_and_joints_move_together(repo, kind):
    """The blob of each joint is at its position in the crop; in mirrored bodies left and right are
    exchanged."""
    spec, train, skeleton, more = KINDS[kind]
    task = build(repo, spec, *more, skeleton=skeleton)
    batch = batch_of(8, len(ALL_SKELETONS[skeleton].joints))
    if skeleton == "own":
        low, high = (of(batch["joints_uv"], 1) for of in (np.min, np.max))
        batch["box"] = np.concatenate([low - 8, high - low + 16], 1)
    inputs = jax.device_get(prepared(task, batch, train))
    cpm = spec.startswith("cpm")
    assert inputs["x"].shape == (8, SIZE, SIZE, 3 + cpm) and inputs["x"].dtype == np.float32

    mirrored = np.linalg.det(inputs["source_from_crop"][:, :, :2]) < 0
    expected = {
        "left hands mirrored": batch["left"],
        "CPM in evaluation": mirrored & False,
        "own joints in evaluation": mirrored & False,
        "PoseNet2D": mirrored & False,
    }
    np.testing.assert_array_equal(mirrored, expected.get(kind, mirrored))
    assert kind in expected or 0 < mirrored.sum() < 8
    flip = np.where(
        mirrored[:, None], ALL_SKELETONS[skeleton].flip, np.arange(batch["visible"].shape[1])
    )
    true = np.take_along_axis(batch["joints_uv"], flip[..., None], 1)
    np.testing.assert_array_equal(inputs["visible"], np.take_along_axis(batch["visible"], flip, 1))
    joints = crop2d.apply(
        crop2d.inverse(inputs["source_from_crop"]), 2 * true + np.float32([0.5, 100])
    )
    off = (
        crop2d.apply(inputs["source_from_crop"], inputs["joints"]) / 2
        - np.float32([0.25, 50])
        - true
    )
    if kind == "PoseNet2D":  # noise on the labels
        assert 4.5 < np.abs(off).max() < 5.01
        np.testing.assert_allclose(off.std(), 2.5 * 0.88, rtol=0.1)
    else:
        assert np.abs(off).max() < 0.01

    bright = inputs["x"][..., 0] * (256 if cpm else 255) + (128 if cpm else 127.5) - GREY
    v, u = np.mgrid[-3:4, -3:4]
    compared = 0
    for row, places in zip(bright, joints, strict=True):
        gaps = np.linalg.norm(places[:, None] - places, axis=-1) + 99 * np.eye(len(places))
        for place in places[(gaps.min(1) > 9) & (places > 4).all(1) & (places < SIZE - 5).all(1)]:
            column, line = place.round().astype(int)
            patch = row[line - 3 : line + 4, column - 3 : column + 4].clip(5) - 5
            middle = np.array([(patch * u).sum(), (patch * v).sum()]) / patch.sum() + [column, line]
            np.testing.assert_allclose(middle, place, atol=0.6)
            compared += 1
    assert compared > 50

    if cpm:  # the center map marks the middle of the hand, wherever the crop was shifted
        marked = np.asarray(heatmap.argmax(jnp.asarray(inputs["x"][..., 3:]), 2, 0.0))[:, 0, ::-1]
        middle = (batch["joints_uv"].min(1) + batch["joints_uv"].max(1)) + np.float32([0.5, 100])
        middle = crop2d.apply(crop2d.inverse(inputs["source_from_crop"]), middle[:, None])[:, 0]
        np.testing.assert_allclose(marked, middle, atol=0.51)
        assert (np.abs(marked - (SIZE - 1) / 2).max() > 2) == (kind == "a body for CPM")


@pytest.mark.slow
def test_a_row_depends_on_its_own_key_and_stays_on_its_device(repo):
    task = build(repo, "posenet2d.py:augment", "config.augment.brightness=0.1")
    batch = batch_of(8)
    keys = jax.random.split(jax.random.key(3), 8)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    place = partial(jax.device_put, device=NamedSharding(mesh, PartitionSpec("data")))
    compiled = jax.jit(partial(task.prepare, train=True)).lower(place(keys), place(batch)).compile()
    found = re.findall(
        r"(all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter)(?:-start)?\(",
        compiled.as_text(),
    )
    assert found == []
    whole = compiled(place(keys), place(batch))
    others = {name: np.zeros_like(value) for name, value in batch.items()}
    for name, value in batch.items():
        others[name][5] = value[5]
    mixed = compiled(
        place(jax.random.split(jax.random.key(4), 8).at[5].set(keys[5])), place(others)
    )
    assert not np.array_equal(whole["x"][5], whole["x"][6])
    for name in whole:
        np.testing.assert_array_equal(mixed[name][5], whole[name][5])


# --- outputs ---


def squares(joints, stride, center):
    """Squared distances [b, m, m, j] of the cell centers from the joints, in cells."""
    m = SIZE // stride
    cells = np.stack(np.mgrid[:m, :m][::-1], -1) + center
    return ((cells[None, :, :, None] - np.asarray(joints)[:, None, None] / stride) ** 2).sum(-1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "decode", "stride", "cells", "more"),
    [
        ("cpm.py", "argmax", 8, 0.51, ()),
        ("cpm.py", "soft_argmax", 8, 0.05, ("config.task.flip_test=True",)),
        ("posenet2d.py:dsnt", "dsnt", 8, 0.05, ("config.task.mirror_left=True",)),
    ],
)
def test_ideal_maps_predict_the_truth_in_px_of_the_source(repo, spec, decode, stride, cells, more):
    # A wide crop: the mean of a Gaussian that the edge cuts is biased.
    task = build(repo, spec, f"config.task.decode={decode}", "config.crop.scale=3.0", *more)
    batch = batch_of(3)
    inputs = prepared(task, batch)
    views, joints = len(inputs["x"]) // 3, np.asarray(inputs["joints"])
    assert views == 1 + (decode == "soft_argmax")
    joints = np.stack([joints, joints * [-1, 1] + [SIZE - 1, 0]][:views], 1).reshape(-1, 21, 2)
    maps = -squares(joints, stride, 0.5 if decode == "dsnt" else 0.0) / 2
    if spec == "cpm.py":
        maps = np.concatenate([np.ones_like(maps[..., :1]), maps], -1)  # the background
    outputs = jnp.asarray(maps[:, None], jnp.float32)
    predict = jax.jit(task.predict)
    rows, truth = predict(outputs, inputs), task.ground_truth(on_device(batch))
    px = stride * np.asarray(crop2d.size_ratio(inputs["source_from_crop"])).max()
    np.testing.assert_allclose(rows["joints_uv"], truth["joints_uv"], atol=cells * px)
    assert rows["confidence"].shape == (3, 21)
    # Swapped maps are wrong, so the comparison depends on the joint.
    swapped = predict(jnp.concatenate([outputs[..., :-21], outputs[..., :-22:-1]], -1), inputs)
    assert np.abs(swapped["joints_uv"] - truth["joints_uv"]).max() > 20

    loss, terms = jax.jit(task.loss)(outputs, inputs)  # first views only
    np.testing.assert_allclose(loss, sum(terms.values()), rtol=1e-6)
    np.testing.assert_allclose(loss, jax.jit(task.loss)(outputs[::views], inputs)[0], rtol=1e-6)


@pytest.mark.slow
def test_ground_truth_has_sides_in_px_of_the_source(repo):
    task, batch = build(repo, "cpm.py"), batch_of(2)
    batch["labelled"] = batch["visible"].copy()
    for row in (0, 1):
        batch["joints_uv"][row, ~batch["labelled"][row]] = 0
    truth = task.ground_truth(on_device(batch))
    for row in (0, 1):
        own = batch["joints_uv"][row, batch["labelled"][row]]
        width, height = np.ptp(own, axis=0)
        np.testing.assert_allclose(truth["box_px"][row], 2 * max(width, height), rtol=1e-5)
        np.testing.assert_allclose(truth["image_px"][row], 2 * (height + 4) / 0.7, rtol=1e-5)
    rows = {
        "joints_uv": truth["joints_uv"] + 3.0,
        **{f"true_{name}": value for name, value in truth.items()},
    }
    metrics = task.score(jax.tree.map(np.asarray, rows))
    np.testing.assert_allclose(metrics[task.monitor], 3 * 2**0.5, rtol=1e-4)
    assert metrics["visible"]["counted"] == batch["labelled"].sum() == metrics["counted"]


SYSTEMS = ("cpm.py", "cpm.py:kwai", "posenet2d.py", "posenet2d.py:dsnt")


def labelled_inputs():
    """Joints of three crops: one without a label, some hidden, and the last crop is padding."""
    rng = np.random.default_rng(1)
    labelled = np.broadcast_to(np.arange(21) != 4, (3, 21))
    inputs = {
        "joints": rng.uniform(10, SIZE - 10, (3, 21, 2)).astype(np.float32),
        "labelled": labelled,
        "visible": labelled & (np.arange(21) % 3 > 0),
        "mask": np.array([True, True, False]),
    }
    return on_device(inputs)


def perfect(spec, joints):
    """The target maps of each system, [b, 1, m, m, c]; of posenet2d.py at the cells only, since its
    target is not bilinear between them."""
    stride = 2 if "kwai" in spec else 8
    if spec.endswith("dsnt"):
        maps = -4 * np.log(2) * squares(joints, stride, 0.5)
    elif spec == "posenet2d.py":
        maps = np.exp(-squares(np.trunc(joints), stride, 0.0) * stride**2 / (25 * SIZE / 256) ** 2)
    else:
        maps = np.exp(-squares(np.trunc(joints), stride, 0.0) / 18)
        maps = np.where(maps < 0.0099, 0, maps)
        maps[..., 4] = 0
    if spec == "cpm.py":
        maps = np.concatenate([1 - maps.max(-1, keepdims=True), maps], -1)
    return maps[:, None].astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("spec", SYSTEMS)
def test_the_loss_ignores_unlabelled_and_is_least_at_its_target(repo, spec):
    task, inputs = build(repo, spec), labelled_inputs()
    value_and_grad = jax.jit(
        jax.value_and_grad(lambda outputs, inputs: task.loss(outputs, inputs)[0])
    )
    target = perfect(spec, inputs["joints"])
    outputs = target + 0.1 * np.random.default_rng(0).standard_normal(target.shape).astype(
        np.float32
    )
    value, gradient = value_and_grad(outputs, inputs)
    # Joints without a label, and padding, have no effect.
    others = inputs | {"joints": inputs["joints"].at[:, 4].set(20.0).at[2].set(30.0)}
    np.testing.assert_allclose(value_and_grad(outputs, others)[0], value, rtol=1e-5)
    first = int(spec == "cpm.py")
    learnt = np.abs(gradient).max((1, 2, 3)) > 0
    np.testing.assert_array_equal(learnt[:, first:], inputs["labelled"] & inputs["mask"][:, None])
    lowest, _ = value_and_grad(target, inputs)
    far, _ = value_and_grad(target[..., ::-1], inputs)
    assert lowest < (0.3 if spec == "posenet2d.py" else 1e-3) * far

    task = build(repo, spec, "config.task.visible_only=True")
    gradient = jax.jit(jax.grad(lambda outputs: task.loss(outputs, inputs)[0]))(outputs)
    learnt = np.abs(gradient).max((1, 2, 3)) > 0
    np.testing.assert_array_equal(learnt[:, first:], inputs["visible"] & inputs["mask"][:, None])


def test_an_image_without_labels_is_shown_entirely_or_in_its_box(repo):
    task = build(repo, "posenet2d.py:dsnt")
    batch = {
        name: value
        for name, value in batch_of(2).items()
        if name in ("image", "source_from_image", "mask")
    }
    corners = np.float32([[[-0.5, -0.5], [SIZE - 0.5, SIZE - 0.5]]] * 2)

    def seen(batch):
        inputs = prepared(task, batch)
        return inputs, crop2d.apply(
            np.asarray(inputs["source_from_crop"]), corners
        ) / 2 - np.float32([0.25, 50])

    inputs, square = seen(batch)
    np.testing.assert_allclose(
        square, [[[-0.5, -20.5], [WIDTH - 0.5, WIDTH - 20.5]]] * 2, atol=1e-3
    )
    assert task.ground_truth(batch) == {}
    loss, terms = task.loss(jnp.zeros((2, 3, SIZE // 8, SIZE // 8, 21)), inputs)
    assert loss == 0 and terms == {}
    image, affine = task.visualize(inputs)
    assert (
        image.shape == (2, SIZE, SIZE, 3) and image.dtype == jnp.uint8 and affine.shape == (2, 2, 3)
    )
    assert (image[:, 0] == GREY).all()  # above the image

    _, square = seen(batch | {"box": np.tile(np.float32([30, 20, 60, 60]), (2, 1))})
    np.testing.assert_allclose(square, [[[30, 20], [90, 80]]] * 2, atol=1e-3)


@pytest.mark.parametrize(
    ("spec", "text", "words"),
    [
        ("cpm.py", "task.loss=l2", "config.task.loss=l2: expected cpm or kwai or heatmap or dsnt"),
        (
            "cpm.py",
            "task.loss=dsnt",
            "config.task.loss=dsnt does not go with config.model.name=cpm: use cpm or kwai",
        ),
        ("posenet2d.py", "task.loss=kwai", "use heatmap or dsnt"),
        ("cpm.py", "task.decode=mean", "expected argmax or centroid"),
        ("cpm.py", "crop.size=100", "a multiple of the network's stride, 8 px"),
        (
            "cpm.py",
            "crop.rule=round",
            "expected palm or height or box or labelled or file or image",
        ),
        ("cpm.py", "crop.side_px=(9.0, 3.0)", "two sides, the smaller one first"),
        ("cpm.py", "augment.scale=(0.0, 1.0)", "two factors, the smaller one first"),
        (
            "cpm.py",
            "task.mirror_left=True",
            "use config.task.flip_test=False and config.augment.flip=0.0",
        ),
        ("cpm.py", "model.dtype=float16", "float32 or bfloat16"),
        ("cpm.py", "model.name=hourglass", "cpm or posenet2d"),
    ],
)
def test_invalid_options_are_reported(repo, spec, text, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        build(repo, spec, f"config.{text}")


def test_missing_joints_or_keys_are_reported(repo):
    with pytest.raises(ValueError, match="body18 has no joint middle_base; use height or box"):
        build(repo, "posenet2d.py", skeleton="body18")
    task = build(repo, "posenet2d.py", "config.task.mirror_left=True")
    batch = batch_of(2)
    del batch["left"]
    with pytest.raises(ValueError, match="these samples lack the side of the hand"):
        prepared(task, batch)


@pytest.mark.slow
@pytest.mark.parametrize("spec", ["cpm.py", "posenet2d.py"])
def test_a_label_many_crops_away_is_not_learnt(repo, spec):
    """The set's own square has no size and lies elsewhere, as does one joint of the other row."""
    task = build(repo, spec, "config.crop.rule=file")
    batch = batch_of(2) | {"visible": np.ones((2, 21), bool)}
    batch["box"] = np.float32([[-900, -900, 0, 0], [30, 20, 120, 120]])
    batch["joints_uv"][1, 5] += 2000
    inputs = prepared(task, batch)
    for name in ("visible", "labelled"):
        assert np.asarray(inputs[name]).sum(1).tolist() == [0, 20]
    assert np.abs(np.asarray(inputs["joints"])).max() <= (crop2d.FAR + 0.5) * SIZE
