"""The V2V task without its network: inputs, and predictions and losses of ideal heat maps."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from handjax.data.batch import check_batch, pack_voxels
from handjax.engine.config import load
from handjax.pose.pinhole import uvd_to_xyz
from handjax.pose.skeleton import SKELETONS
from handjax.targets import voxel
from handjax.tasks import TASKS, v2v

SIZE = 32
AUGMENT = dict(
    scale=(0.8, 1.2), rotation_deg=40.0, shift=4.0 * SIZE / 88, probability=1.0, isotropic=True
)
CENTER, CUBE = np.float32([30, -40, 600]), np.float32([280, 320, 300])
PIXELS = ((30, 28), (78, 30), (58, 35), (33, 62), (65, 58))  # (u, v) of five distant joints
DEPTHS = (560, 660, 610, 520, 690)


encode = jax.jit(voxel.encode, static_argnums=(1, 2))


def build(repo, variant="", *overrides, joints="nyu14"):
    """A small task from the real config."""
    small = (
        "config.model.widths=(2,3,4,5)",
        f"config.task.grid={SIZE}",
        f"config.task.heatmap_grid={SIZE // 2}",
    )
    config = load(f"{repo}/configs/v2v.py:{variant}", [*(small if not variant else ()), *overrides])
    return TASKS["v2v"](config, SKELETONS[joints])


def depth_batch(rows=2):
    """Joints with a patch of 3×3 pixels in front of them; rows differ in their distance."""
    k = np.tile(np.float32([[200, 0, 48], [0, 210, 47], [0, 0, 1]]), (rows, 1, 1))
    depth = np.zeros((rows, 96, 100), np.float32)
    uvd = np.zeros((rows, len(PIXELS), 3), np.float32)
    for row in range(rows):
        for joint, ((u, v), d) in enumerate(zip(PIXELS, DEPTHS, strict=True)):
            depth[row, v - 1 : v + 2, u - 1 : u + 2] = d + 3 * row
            uvd[row, joint] = u, v, d + 3 * row
    return {
        "depth": depth,
        "k": k,
        "joints_xyz": np.array(uvd_to_xyz(jnp.asarray(uvd), jnp.asarray(k))),
        "center_xyz": np.tile(CENTER, (rows, 1)),
        "cube_mm": np.tile(CUBE, (rows, 1)),
        "mask": np.ones(rows, bool),
    }


def voxel_batch(size, rows=2):
    """The same joints as balls of voxels, in the order (y, x, z) of a file."""
    batch = depth_batch(rows)
    place = (jnp.asarray(batch[name]) for name in ("joints_xyz", "center_xyz", "cube_mm"))
    cells = np.asarray(voxel.xyz_to_grid(*place, size))[..., [1, 0, 2]]
    index = np.stack(np.meshgrid(*[np.arange(size)] * 3, indexing="ij"), -1)
    volumes = [
        (np.linalg.norm(index[..., None, :] - row, axis=-1) < 1.5 * size / SIZE).any(-1)
        for row in cells
    ]
    del batch["depth"], batch["k"]
    return {**batch, "voxels": pack_voxels(np.stack(volumes))}


def normal(shape):
    return jnp.asarray(np.random.default_rng(0).standard_normal(shape), jnp.float32)


def on_device(batch):
    return jax.tree.map(jnp.asarray, batch)


def prepared(batch, train, grid, augment=AUGMENT, seed=0):
    keys = jax.random.split(jax.random.key(seed), len(batch["mask"]))
    return jax.jit(partial(v2v.prepare, train=train, grid=grid, augment=augment))(
        keys, on_device(batch)
    )


def evaluated(task, batch):
    """The inputs of an evaluation."""
    keys = jax.random.split(jax.random.key(0), len(batch["mask"]))
    return jax.jit(partial(task.prepare, train=False))(keys, on_device(batch))


def cells_xyz(volume, grid):
    """Centers of the occupied cells, (x, y, z)."""
    return np.argwhere(np.asarray(volume) > 0)[:, np.array(grid.axes)] + grid.cell_center


# --- inputs ---


@pytest.mark.slow
@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("source", ["depth paper", "depth hpoes", "voxels", "finer voxels"])
def test_points_and_joints_move_together(source, train):
    """The points measured around a joint are around it in the grid, after every augmentation."""
    grid = voxel.VoxelGrid("paper" if source == "depth paper" else "hpoes", SIZE, SIZE // 2)
    batch = {
        "depth": depth_batch,
        "voxels": partial(voxel_batch, SIZE),
        "finer voxels": partial(voxel_batch, 2 * SIZE),
    }[source.removesuffix(" paper").removesuffix(" hpoes")](8)
    check_batch(batch)
    inputs = prepared(batch, train, grid)
    assert inputs["x"].shape == (8, SIZE, SIZE, SIZE, 1) and inputs["x"].dtype == jnp.float32
    assert set(np.unique(inputs["x"])) == {0, 1}
    joints = np.array(inputs["joints"])
    if source == "depth hpoes":
        joints[..., 2] *= (SIZE // 2 - 1) / (SIZE // 2)  # its depth bins are wider by this
    compared = 0
    for volume, row in zip(inputs["x"][..., 0], joints, strict=True):
        distance = np.linalg.norm(
            cells_xyz(volume, grid)[:, None] - row, axis=-1
        )  # [cells, joints]
        inside = ((row > 2) & (row < SIZE - 3)).all(-1)
        assert (distance.min(0)[inside] < 1.2).all()  # each joint has its surface
        assert distance.min(1).max() < 3.2  # and there is no other
        compared += inside.sum()
    assert compared >= 30

    place = (jnp.asarray(batch[name]) for name in ("joints_xyz", "center_xyz", "cube_mm"))
    plain = np.asarray(voxel.xyz_to_grid(*place, SIZE))
    moved = np.abs(np.asarray(inputs["joints"]) - plain).max((1, 2))
    assert (moved > 0.3).all() if train else (moved < 1e-4).all()


def test_augmentation_can_be_disabled():
    grid = voxel.VoxelGrid("paper", SIZE, SIZE // 2)
    for a, b in zip(
        jax.tree.leaves(prepared(depth_batch(), True, grid, augment=None)),
        jax.tree.leaves(prepared(depth_batch(), False, grid)),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_the_shift_of_the_config_is_in_cells_of_88(repo):
    """The paper's shift of up to 4 cells of 88 is the same in mm on every grid; `enabled` turns all
    augmentation off."""
    options = ("config.augment.scale=(1.0, 1.0)", "config.augment.rotation_deg=0.0")
    batch = on_device(depth_batch(64))
    keys = jax.random.split(jax.random.key(0), 64)

    def shifts(*overrides):
        task = build(repo, "", *options, *overrides)
        inputs = [
            jax.jit(partial(task.prepare, train=train))(keys, batch)["joints"]
            for train in (True, False)
        ]
        return np.abs(inputs[0] - inputs[1])

    moved = shifts()
    assert (
        0.9 * 4 * SIZE / 88 < moved.max() < 4 * SIZE / 88 + 1e-3
        and np.ptp(moved, axis=1).max() < 1e-3
    )
    assert shifts("config.augment.enabled=False").max() == 0


@pytest.mark.slow
@pytest.mark.parametrize("source", ["depth", "voxels"])
def test_a_row_depends_on_its_own_key_and_content_only(source):
    grid = voxel.VoxelGrid("hpoes", SIZE, SIZE // 2)
    batch = depth_batch(4) if source == "depth" else voxel_batch(SIZE, 4)
    keys = jax.random.split(jax.random.key(7), 4)
    run = jax.jit(partial(v2v.prepare, train=True, grid=grid, augment=AUGMENT))
    whole = run(keys, on_device(batch))
    assert not np.array_equal(whole["x"][0], whole["x"][1])

    # Row 2 among other rows: the same bits.
    others = {
        name: np.concatenate([value[:2] * 0, value[2:3], value[3:] * 0])
        for name, value in batch.items()
    }
    others["cube_mm"] = batch["cube_mm"]
    mixed = run(jax.random.split(jax.random.key(8), 4).at[2].set(keys[2]), on_device(others))
    for name in whole:
        np.testing.assert_array_equal(mixed[name][2], whole[name][2])

    # The batch in two halves: the same rows, up to rounding in another compilation.
    for half in (slice(0, 2), slice(2, 4)):
        part = run(keys[half], on_device({name: value[half] for name, value in batch.items()}))
        np.testing.assert_allclose(part["joints"], whole["joints"][half], atol=1e-4)
        assert np.mean(part["x"] != whole["x"][half]) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("source", ["depth", "voxels"])
def test_a_sharded_batch_is_prepared_on_its_devices(source):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    rows = NamedSharding(mesh, PartitionSpec("data"))
    grid = voxel.VoxelGrid("hpoes", SIZE, SIZE // 2)
    batch = depth_batch(8) if source == "depth" else voxel_batch(SIZE, 8)
    run = jax.jit(partial(v2v.prepare, train=True, grid=grid, augment=AUGMENT), out_shardings=rows)
    keys = jax.device_put(jax.random.split(jax.random.key(0), 8), rows)
    compiled = run.lower(keys, jax.device_put(on_device(batch), rows)).compile().as_text()
    found = re.findall(
        r"(all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter)(?:-start)?\(",
        compiled,
    )
    assert found == []


def test_voxels_of_a_file_need_their_rule_and_a_coarse_grid():
    batch = on_device(voxel_batch(SIZE))
    with pytest.raises(ValueError, match="use config.task.rule=hpoes"):
        prepared(batch, False, voxel.VoxelGrid("paper", SIZE, SIZE // 2))
    with pytest.raises(ValueError, match=f"config.task.grid=64 is finer than the {SIZE}³ voxels"):
        prepared(batch, False, voxel.VoxelGrid("hpoes", 64, 32))


# --- outputs ---


@pytest.mark.slow
@pytest.mark.parametrize("rule", voxel.RULES)
@pytest.mark.parametrize(
    "method, cells", [("argmax", 0.5), ("centroid", 0.4), ("soft_argmax", 0.1)]
)
def test_ideal_heat_maps_predict_the_truth_in_camera_mm(repo, rule, method, cells):
    """A center far from the axis and a cube with three different edges: the error is at most half a
    cell along each."""
    task = build(
        repo,
        "",
        f"config.task.rule={rule}",
        f"config.task.decode={method}",
        "config.task.beta=20.0",
    )
    batch = on_device(depth_batch())
    inputs = evaluated(task, batch)
    grid = voxel.VoxelGrid(rule, SIZE, SIZE // 2)
    outputs = encode(inputs["joints"], grid, 1.7)
    rows = jax.jit(task.predict)(outputs, inputs)
    truth = task.ground_truth(batch)
    np.testing.assert_array_equal(truth["joints_xyz"], batch["joints_xyz"])
    error = np.abs(rows["joints_xyz"] - truth["joints_xyz"]).max((0, 1))
    assert (error <= cells * CUBE / (SIZE // 2) + 0.01).all()
    assert (
        rows["confidence"].shape == (2, len(PIXELS))
        and (rows["confidence"] > 0.87).all()
        and (rows["confidence"] <= 1).all()
    )
    loss, terms = jax.jit(task.loss)(outputs, inputs)
    assert loss < 1e-10 and terms.keys() == {"heatmap"}
    assert jax.jit(task.loss)(outputs[..., ::-1], inputs)[0] > 1e-3


def test_loss_is_the_weighted_sum_of_its_terms(repo):
    task = build(
        repo,
        "",
        "config.task.heatmap_weight=3.0",
        "config.task.joints_weight=0.5",
        "config.task.beta=20.0",
    )
    batch = on_device(depth_batch())
    inputs = evaluated(task, batch)
    grid = voxel.VoxelGrid("paper", SIZE, SIZE // 2)
    target = encode(inputs["joints"], grid, 1.7)
    outputs = target + 0.1 * normal(target.shape)
    loss, terms = jax.jit(task.loss)(outputs, inputs)
    np.testing.assert_allclose(
        terms["heatmap"], np.mean((np.asarray(outputs) - np.asarray(target)) ** 2), rtol=1e-5
    )
    found = jax.jit(lambda outputs: voxel.decode(outputs, grid, "soft_argmax", 20.0))(outputs)
    np.testing.assert_allclose(
        terms["joints"], np.mean(np.abs(found - inputs["joints"])) / 2, rtol=1e-5
    )  # cells of the heat map
    np.testing.assert_allclose(loss, 3 * terms["heatmap"] + 0.5 * terms["joints"], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("weights", [(1.0, 0.0), (1.0, 1.0)])
def test_rows_of_padding_have_no_effect(repo, weights):
    task = build(
        repo,
        "",
        f"config.task.heatmap_weight={weights[0]}",
        f"config.task.joints_weight={weights[1]}",
    )
    batch = depth_batch(3)
    outputs = normal((3, *(SIZE // 2,) * 3, len(PIXELS)))
    expected, _ = jax.jit(task.loss)(
        outputs[:2], evaluated(task, {name: value[:2] for name, value in batch.items()})
    )

    batch["mask"][2] = False
    loss = jax.jit(lambda outputs, inputs: task.loss(outputs, inputs)[0])
    np.testing.assert_allclose(loss(outputs, evaluated(task, batch)), expected, rtol=1e-5)
    gradient = jax.jit(jax.grad(loss))(outputs, evaluated(task, batch))
    assert np.any(gradient[1] != 0) and np.all(gradient[2] == 0)
    for content in (0, np.nan):  # a cube of zeros gives NaN as well
        for name in ("depth", "k", "joints_xyz", "center_xyz", "cube_mm"):
            batch[name][2] = content
        inputs = evaluated(task, batch)
        np.testing.assert_allclose(loss(outputs.at[2].set(content), inputs), expected, rtol=1e-5)


def test_predictions_need_no_labels(repo):
    task = build(repo)
    batch = on_device(
        {name: value for name, value in depth_batch().items() if name != "joints_xyz"}
    )
    inputs = evaluated(task, batch)
    assert "joints" not in inputs and task.ground_truth(batch) == {}
    outputs = normal((2, *(SIZE // 2,) * 3, 14))
    assert np.isfinite(jax.jit(task.predict)(outputs, inputs)["joints_xyz"]).all()


@pytest.mark.parametrize("rule", voxel.RULES)
def test_front_and_side_views_show_the_hand_upright(rule):
    grid = voxel.VoxelGrid(rule, 16, 8)
    x, y, z = 3, 9, 12
    index = {"paper": (z, y, x), "hpoes": (y, x, z)}[rule]
    front, side = v2v.visualize(
        {"x": jnp.zeros((2, 16, 16, 16, 1)).at[(1, *index, 0)].set(1.0)}, grid=grid
    )
    assert front.shape == side.shape == (2, 16, 16)
    np.testing.assert_array_equal(np.argwhere(front), [[1, y, x]])
    np.testing.assert_array_equal(np.argwhere(side), [[1, y, z]])
    np.testing.assert_allclose(front[1, y, x], 1 / 16)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["", "quick", "global_joints"])
def test_network_and_loss_fit_together(repo, variant):
    task = build(repo, variant, joints="hand21")
    example = task.dummy_inputs(3)
    variables = jax.eval_shape(task.model.init, jax.random.key(0), example["x"])
    outputs = jax.eval_shape(task.model.apply, variables, example["x"])
    joints = jnp.zeros((3, 21, 3))
    inputs = {
        **example,
        "joints": joints,
        "mask": jnp.ones(3, bool),
        "center_xyz": joints[:, 0],
        "cube_mm": joints[:, 0],
    }
    loss, _ = jax.eval_shape(task.loss, outputs, inputs)
    assert loss.shape == ()
    assert jax.eval_shape(task.predict, outputs, inputs)["joints_xyz"].shape == (3, 21, 3)


# --- one map for all joints ---


@pytest.mark.slow
def test_global_joints_are_found_and_matched(repo):
    """14 distant joints: their common map has a peak for each, which is named by matching."""
    task = build(repo, "global_joints", "config.task.grid=48", "config.task.heatmap_grid=48")
    assert task.model.joints == 1 and task.model.full_resolution
    rng = np.random.default_rng(0)
    places = rng.permutation(
        np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3, indexing="ij"), -1).reshape(-1, 3)
    )[:28].reshape(2, 14, 3)
    joints = CENTER + CUBE * (places * 0.18 + rng.uniform(-0.02, 0.02, (2, 14, 3)))
    batch = {**depth_batch(), "joints_xyz": joints.astype(np.float32)}
    inputs = evaluated(task, batch)
    outputs = encode(inputs["joints"], voxel.VoxelGrid("paper", 48, 48), 1.7).max(-1, keepdims=True)
    assert jax.jit(task.loss)(outputs, inputs)[0] < 1e-10
    rows = jax.jit(task.predict)(outputs, inputs)
    assert rows["joints_xyz"].shape == (2, 14, 3) and rows["confidence"].shape == (2, 14)
    rows = {**rows, "true_joints_xyz": joints}
    assert np.linalg.norm(rows["joints_xyz"] - joints, axis=-1).mean() > 50  # not matched
    finished = task.postprocess(rows)
    assert np.abs(finished["joints_xyz"] - joints).max() < 0.5 * CUBE.max() / 48
    np.testing.assert_array_equal(finished["confidence"], rows["confidence"])
    figures = task.score(finished)
    assert figures["mpjpe_mm"] < 5 and "matched" in figures
    assert "matched" not in build(repo).score(finished)


def test_matching_minimizes_the_total_distance():
    """On a line: the peak at .9 is nearest to the joint at 0, but the other peak is even farther
    from the joint at 2."""
    true = np.array([[[0.0, 0, 0], [2, 0, 0]]])
    found = np.array([[[0.9, 0, 0], [-5, 0, 0]]])
    matched = v2v.match_joints(
        {"joints_xyz": found, "true_joints_xyz": true, "index": np.arange(1)}
    )
    np.testing.assert_array_equal(matched["joints_xyz"], found[:, ::-1])
    np.testing.assert_array_equal(matched["index"], [0])


# --- invalid options ---


@pytest.mark.parametrize(
    "variant, overrides, words",
    [
        (
            "",
            ["decode=guess"],
            "config.task.decode=guess: expected argmax or centroid or soft_argmax",
        ),
        ("", ["sigma=0.0"], "config.task.sigma=0.0: expected more than 0 cells"),
        ("", ["heatmap_weight=0.0"], "heatmap_weight and joints_weight are both zero"),
        ("", ["rule=mine"], "voxel rule 'mine' is unknown: use one of paper, hpoes"),
        ("", ["grid=44", "heatmap_grid=22"], "voxel grid 44 with heat maps 22"),
        (
            "global_joints",
            ["decode=soft_argmax"],
            "one map has no soft-argmax; use decode=centroid and joints_weight=0.0",
        ),
        ("global_joints", ["joints_weight=1.0"], "one map has no soft-argmax"),
    ],
)
def test_invalid_options_are_reported(repo, variant, overrides, words):
    with pytest.raises(ValueError, match=words) as caught:
        build(repo, variant, *(f"config.task.{override}" for override in overrides))
    assert "\n" not in str(caught.value)
