"""Switches of V2V-PoseNet beyond the paper: offset targets, and test samples seen several times."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.engine import config as configs
from handjax.pose.skeleton import SKELETONS
from handjax.targets import offset, voxel
from handjax.tasks import TASKS

pytestmark = pytest.mark.slow
SIZE, JOINTS, CUBE = 16, 14, 240.0
K = np.float32([[300, 0, 40], [0, 300, 40], [0, 0, 1]])
CENTER = np.float32([10.0, -5.0, 500.0])
GRID = voxel.VoxelGrid("paper", SIZE, SIZE // 2)
VIEWS = ("config.task.views=9", "config.task.view_deg=20.0", "config.task.rotations_deg=(30.0,)")


def surface(x, y):
    return 500.0 + 15.0 * np.sin(x / 30.0) + 10.0 * np.cos(y / 25.0)


@pytest.fixture(scope="module")
def batch():
    """Two depth images of a smooth surface, with joints on it."""
    v, u = np.mgrid[:80, :80].astype(np.float64)
    z = np.full((80, 80), 500.0)
    for _ in range(30):  # the surface along each ray
        z = surface((u - 40) / 300 * z, (v - 40) / 300 * z)
    rng = np.random.default_rng(0)
    xy = rng.uniform(-40, 40, (2, JOINTS, 2))
    xyz = np.concatenate([xy, surface(xy[..., 0], xy[..., 1])[..., None]], -1)
    return {
        "depth": jnp.asarray(np.stack([z, z]), jnp.float32),
        "k": jnp.asarray(np.stack([K, K])),
        "joints_xyz": jnp.asarray(xyz, jnp.float32),
        "center_xyz": jnp.asarray(np.stack([CENTER, CENTER])),
        "cube_mm": jnp.full((2, 3), CUBE),
        "mask": jnp.ones(2, bool),
    }


def build(repo, *overrides):
    sizes = (f"config.task.grid={SIZE}", f"config.task.heatmap_grid={SIZE // 2}")
    config = configs.load(f"{repo}/configs/v2v.py", [*sizes, *overrides])
    return TASKS["v2v"](config, SKELETONS["nyu14"])


def prepared(task, batch, train=False):
    keys = jax.random.split(jax.random.key(0), 2)
    return jax.jit(lambda batch: task.prepare(keys, batch, train))(batch)


def test_offsets_are_learnt_and_predicted(repo, batch):
    """Ideal maps have no loss and give the joints, which the argmax of a heat map does not."""
    options = ("config.task.targets=offset", "config.task.radius=3.0")
    task = build(repo, *options, "config.task.joints_weight=1.0")
    assert task.model.joints == 4 * JOINTS
    inputs = prepared(task, batch)
    maps = offset.encode(inputs["joints"], GRID, 3.0)
    rows = jax.jit(task.predict)(maps, inputs)
    np.testing.assert_allclose(rows["joints_xyz"], batch["joints_xyz"], atol=0.5)
    loss, terms = jax.jit(task.loss)(maps, inputs)
    assert loss < 0.05 and terms["heatmap"] == 0 and set(terms) == {"heatmap", "joints"}
    for wrong in (0.9 * maps, maps.at[..., JOINTS:].multiply(-1.0)):
        assert jax.jit(task.loss)(wrong, inputs)[0] > loss + 0.01
    some = {**inputs, "labelled": jnp.arange(JOINTS)[None] < jnp.asarray([[JOINTS], [3]])}
    spoilt = maps.at[1, ..., 5].add(1.0)
    np.testing.assert_allclose(
        jax.jit(task.loss)(spoilt, some)[0], jax.jit(task.loss)(maps, some)[0], atol=1e-6
    )


def test_views_see_the_turned_hand_and_are_turned_back(repo, batch):
    task = build(repo, *VIEWS, "config.task.decode=soft_argmax", "config.task.beta=20.0")
    inputs = prepared(task, batch)
    turns = np.asarray(inputs["turns"])
    assert turns.shape == (2, 10, 3, 3)
    assert inputs["x"].shape == (20, SIZE, SIZE, SIZE, 1)
    cell = CUBE / SIZE
    volumes = np.asarray(inputs["x"]).reshape(2, 10, SIZE, SIZE, SIZE)
    for view in range(10):
        cells = np.argwhere(volumes[0, view])[:, ::-1] + 0.5  # x, y, z
        points = (cells / SIZE - 0.5) * CUBE @ turns[0, view] + CENTER  # R⁻¹ of each
        away = np.abs(points[:, 2] - surface(points[:, 0], points[:, 1]))
        assert len(points) > 60 and away.max() < 2 * cell and away.mean() < 0.7 * cell
    moved = np.einsum("bvij,bnj->bvni", turns, np.asarray(batch["joints_xyz"]) - CENTER)
    cells = jnp.asarray((moved / CUBE + 0.5) * SIZE, jnp.float32)
    outputs = voxel.encode(cells, GRID, 1.7).reshape(20, *[SIZE // 2] * 3, JOINTS)
    rows = jax.jit(task.predict)(outputs, inputs)
    np.testing.assert_allclose(rows["joints_xyz"], batch["joints_xyz"], atol=4.0)
    loss, _ = jax.jit(task.loss)(outputs, inputs)  # of the camera's view
    assert loss < 0.05
    own, _ = task.visualize(inputs)
    np.testing.assert_array_equal(own, build(repo).visualize(prepared(build(repo), batch))[0])


def test_the_camera_sees_as_without_views(repo, batch):
    inputs = prepared(build(repo, *VIEWS), batch)
    plain = prepared(build(repo), batch)
    np.testing.assert_array_equal(inputs["x"].reshape(2, 10, *[SIZE] * 3, 1)[:, 0], plain["x"])
    assert "turns" not in prepared(build(repo, *VIEWS), batch, train=True)


def test_the_best_views_count(repo, batch):
    task = build(repo, *VIEWS, "config.task.keep_views=1")
    inputs = prepared(task, batch)
    at = jnp.full((2, 10, JOINTS, 3), 4.5).at[:, 3].set(11.0)  # only view 3 is right, and sure
    outputs = (
        voxel.encode(at, GRID, 1.0)
        * jnp.where(jnp.arange(10) == 3, 1.0, 0.5)[None, :, None, None, None, None]
    )
    rows = jax.jit(task.predict)(outputs.reshape(20, *[SIZE // 2] * 3, JOINTS), inputs)
    answer = (np.float32([[11.0] * 3]) / SIZE - 0.5) * CUBE  # the middle of a cell of the map
    turned = answer @ np.asarray(inputs["turns"])[0, 3] + CENTER
    np.testing.assert_allclose(rows["joints_xyz"][0, 0], turned[0], atol=0.01)


def test_invalid_options(repo, batch):
    for overrides, message in (
        (["config.task.targets=heat"], "task.targets=heat: expected heatmap or offset"),
        (["config.task.radius=0.0"], "task.radius=0.0: expected more than 0 cells"),
        (["config.task.views=3"], "task.views=3: expected 1, 9, 25"),
    ):
        with pytest.raises(ValueError, match=message):
            build(repo, *overrides)
    config = configs.load(f"{repo}/configs/v2v.py:global_joints", ["config.task.targets=offset"])
    with pytest.raises(ValueError, match="targets=offset: not with global_joints"):
        TASKS["v2v"](config, SKELETONS["nyu14"])
    voxels = {name: batch[name] for name in ("joints_xyz", "center_xyz", "cube_mm", "mask")}
    voxels["voxels"] = jnp.ones((2, SIZE, SIZE, SIZE // 8), jnp.uint8)
    with pytest.raises(ValueError, match="task.views: voxels of a file have no depth to render"):
        prepared(build(repo, *VIEWS, "config.task.rule=hpoes"), voxels)
    turned = build(repo, VIEWS[2], "config.task.rule=hpoes")
    assert prepared(turned, voxels)["x"].shape == (4, SIZE, SIZE, SIZE, 1)
