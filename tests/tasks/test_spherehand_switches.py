"""Switches of the sphere hand beyond the paper: maps of offsets, test samples seen several times,
and training hands seen from elsewhere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.engine import config as configs
from handjax.pose.cube import BACKGROUND_MM, EXTENT_MM
from handjax.pose.skeleton import SKELETONS
from handjax.targets import spherehand
from handjax.tasks import TASKS

pytestmark = pytest.mark.slow
SIZE, HANDS, SPHERES, MAP = 48, 2, 41, spherehand.SIZE
VIEWS = ("config.task.views=9", "config.task.view_deg=20.0", "config.task.rotations_deg=(30.0,)")
OFFSETS = "config.task.offsets=True"
TURNED = ("config.augment.turn_deg=15.0",)


def surface(x, y):
    return 20.0 * np.sin(x / 30.0) + 15.0 * np.cos(y / 25.0)


@pytest.fixture(scope="module")
def batch():
    """Two smooth surfaces within 90 mm of the cube's middle, and spheres on them."""
    rng = np.random.default_rng(0)
    at = (np.arange(SIZE) - SIZE / 2) * (EXTENT_MM / SIZE)
    x, y = np.meshgrid(at, at)
    depth = np.where(np.hypot(x, y) < 90, surface(x, y), BACKGROUND_MM)
    xy = rng.uniform(-50, 50, (HANDS, 1, SPHERES, 2))
    z = surface(xy[..., 0], xy[..., 1])[..., None]
    return {
        "cube_depth": jnp.asarray(np.stack([depth, depth])[:, None], jnp.float32),
        "centers": jnp.asarray(np.concatenate([xy, z], -1), jnp.float32),
        "mask": jnp.ones(HANDS, bool),
    }


def build(repo, *overrides):
    config = configs.load(
        f"{repo}/configs/spherehand.py", [f"config.data.image_size={SIZE}", *overrides]
    )
    return TASKS["spherehand"](config, SKELETONS["nyu14"])


def prepared(task, batch, train=False):
    keys = jax.random.split(jax.random.key(0), HANDS)
    return jax.jit(lambda batch: task.prepare(keys, batch, train))(batch)


def ideal(centers, offsets=False):
    """The maps of centers [b, 41, 3] by which they are decoded, as a network's outputs."""
    heat, depth = spherehand.encode(centers)
    maps = [heat, jnp.broadcast_to(centers[:, None, None, :, 2] / 100, heat.shape)]
    if offsets:
        cells = jnp.arange(MAP, dtype=jnp.float32)
        uv = spherehand.xyz_to_uv(centers, MAP)[:, None, None]
        maps.append(jnp.broadcast_to(uv[..., 1] - cells[None, :, None, None], heat.shape))
        maps.append(jnp.broadcast_to(uv[..., 0] - cells[None, None, :, None], heat.shape))
    return jnp.concatenate(maps, -1)[:, None], jnp.zeros((len(centers), 1, 2, 2, 64))


def points(depth):
    """Of a view [n, n], mm."""
    v, u = np.nonzero(depth < BACKGROUND_MM - 1)
    at = (np.arange(SIZE) - SIZE / 2) * (EXTENT_MM / SIZE)
    return np.stack([at[u], at[v], depth[v, u]], axis=-1)


def depth_of(inputs, images):
    return np.asarray(inputs["x"]).reshape(HANDS, images, SIZE, SIZE) * spherehand.UNIT_MM


def test_offsets_place_spheres_between_the_cells(repo, batch):
    """Ideal maps decode exactly, which those of the paper do not, and every channel is learnt."""
    plain, task = build(repo), build(repo, OFFSETS)
    assert (plain.model.channels, task.model.channels) == (2, 4)
    inputs, centers = prepared(task, batch), batch["centers"][:, 0]
    maps, features = ideal(centers, offsets=True)
    joints = np.asarray(centers)[:, plain.predict.keywords["spheres"]]
    exact = jax.jit(task.predict)((maps, features), inputs)["joints_xyz"]
    coarse = jax.jit(plain.predict)(ideal(centers), inputs)["joints_xyz"]
    np.testing.assert_allclose(exact, joints, atol=0.01)
    assert np.abs(coarse - joints)[..., :2].mean() > 1
    value = jax.jit(jax.value_and_grad(lambda maps: task.loss((maps, features), inputs)[0]))
    best, _ = value(maps)
    moved = maps.at[..., 3 * SPHERES :].add(0.5)  # half a cell along x
    cost, gradient = value(moved)
    assert best < 1e-3 and cost > best + 1
    assert np.abs(gradient[..., 2 * SPHERES : 3 * SPHERES]).max() < 1e-3  # y is right
    assert np.abs(gradient[..., 3 * SPHERES :]).max() > 1e-3
    # Only z counts beside the heat without offsets.
    _, terms = jax.jit(plain.loss)(ideal(centers), inputs)
    assert terms["synt_d"] < 1e-3 < 1 < jax.jit(task.loss)((moved, features), inputs)[1]["synt_d"]


def test_rendered_views_show_the_turned_surface(repo, batch):
    inputs = prepared(build(repo, *VIEWS), batch)
    turns = np.asarray(inputs["turns"])
    assert turns.shape == (HANDS, 9, 3, 3) and inputs["x"].shape == (HANDS * 10, SIZE, SIZE, 1)
    seen = depth_of(inputs, 10)
    np.testing.assert_allclose(seen[:, 0], batch["cube_depth"][:, 0], atol=1e-5)
    for rotation, view in zip(turns[0], seen[0, 1:], strict=True):
        own = points(view) @ rotation  # the inverse of each
        away = np.abs(own[:, 2] - surface(own[:, 0], own[:, 1]))
        assert len(own) > 300 and np.median(away) < 1.5
        assert np.abs(points(view)[:, 2] - surface(*points(view)[:, :2].T)).mean() > 3
    assert "turns" not in prepared(build(repo), batch)
    assert "turns" not in prepared(build(repo, *VIEWS), batch, train=True)


@pytest.mark.parametrize("keep", [0, 1])
def test_views_are_turned_back_and_averaged(repo, batch, keep):
    """All of them, or the one whose heat is narrowest; the loss is of the camera's view alone."""
    task = build(repo, *VIEWS, OFFSETS, f"config.task.keep_views={keep}")
    inputs, centers = prepared(task, batch), batch["centers"]
    turned = jnp.einsum("bvij,bmnj->bvni", inputs["turns"], centers)
    every = jnp.concatenate([centers, turned], axis=1)
    every = every.at[:, 3, :, 2].add(30.0)  # one answer is 30 mm too far along its own z
    maps, features = ideal(every.reshape(-1, SPHERES, 3), offsets=True)
    blur = jnp.where(jnp.arange(len(maps)) % 10 == 3, 1.0, 0.3)[:, None, None, None, None]
    maps = maps.at[..., :SPHERES].power(blur)
    found = jax.jit(task.predict)((maps, features), inputs)["joints_xyz"]
    joints = np.asarray(centers)[:, 0, task.predict.keywords["spheres"]]
    wrong = 30.0 * np.asarray(inputs["turns"])[:, 2, 2]  # its z axis, in the camera's view
    away = np.broadcast_to((wrong if keep else wrong / 10)[:, None], found.shape)
    np.testing.assert_allclose(found - joints, away, atol=0.05)
    gradient = jax.jit(jax.grad(lambda maps: task.loss((maps, features), inputs)[0]))(maps)
    gradient = np.abs(np.asarray(gradient)).reshape(HANDS, 10, -1).max(-1)
    assert (gradient[:, 0] > 0).all() and not gradient[:, 1:].any()


def test_training_hands_are_seen_from_elsewhere(repo, batch):
    """Depth and labels turn together, each hand by angles of its own within the limit."""
    task = build(repo, *TURNED)
    inputs, plain = prepared(task, batch, train=True), prepared(build(repo), batch, train=True)
    np.testing.assert_array_equal(plain["synthetic_centers"], batch["centers"])
    np.testing.assert_allclose(depth_of(plain, 1), batch["cube_depth"], atol=1e-5)
    np.testing.assert_array_equal(prepared(task, batch)["x"], plain["x"])  # not in an evaluation
    rotations = []
    for old, new, view in zip(
        batch["centers"], inputs["synthetic_centers"], depth_of(inputs, 1), strict=True
    ):
        old, new = np.asarray(old[0], np.float64), np.asarray(new[0], np.float64)
        rotation = np.linalg.lstsq(old, new, rcond=None)[0].T
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-4)
        own = points(view[0]) @ rotation
        assert np.median(np.abs(own[:, 2] - surface(own[:, 0], own[:, 1]))) < 1.5
        turn = np.rad2deg(np.arccos((np.trace(rotation) - 1) / 2))
        assert 1 < turn < 15 * np.sqrt(3) + 1
        rotations.append(rotation)
    assert np.abs(rotations[0] - rotations[1]).max() > 0.02
    outputs = ideal(batch["centers"][:, 0])  # right without the turn
    losses = [jax.jit(task.loss)(outputs, given)[0] for given in (plain, inputs)]
    assert losses[1] > losses[0] + 1


def test_invalid_switches_are_named(repo):
    for overrides, message in (
        (["config.task.views=4"], "task.views=4: expected 1, 9, 25"),
        (["config.task.views=9", "config.task.view_deg=90.0"], "task.view_deg=90: expected more"),
        (["config.task.views=9", "config.task.keep_views=10"], "task.keep_views=10: expected 0"),
    ):
        with pytest.raises(ValueError, match=message):
            build(repo, *overrides)
