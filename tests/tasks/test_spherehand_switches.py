"""Switches of the sphere hand beyond the paper: offsets, turned hands, rendered views."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.engine import config as configs
from handjax.pose.cube import EXTENT_MM
from handjax.pose.skeleton import SKELETONS
from handjax.synthetic.spherehand import spherehand_sample
from handjax.targets import spherehand
from handjax.tasks.spherehand import spherehand_task

pytestmark = pytest.mark.slow
SIZE, HANDS = 48, 3
VIEWS = ("config.task.views=9", "config.task.view_deg=15.0")


@pytest.fixture(scope="module")
def hands(repo):
    """Hands of 41 spheres without noise, as a batch, and the radii."""
    data = configs.load(f"{repo}/configs/spherehand.py:quick").data
    draw = partial(
        spherehand_sample,
        surface="spheres",
        image_size=SIZE,
        resample=0,
        **{**data.sensor, "depth_noise_mm": 0.0, "shift_px": 0.0},
        **{**data.pose, "focal": (1.0, 1.0)},
    )
    made = jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(0), HANDS))
    joints = np.arange(14)
    batch = {
        "cube_depth": made["depth"][:, None],
        "centers": made["centers"][:, None],
        "joints_xyz": made["centers"][:, joints],
        "mask": jnp.ones(HANDS, bool),
    }
    return batch, made["radii"]


def build(repo, *overrides):
    size = f"config.data.image_size={SIZE}"
    config = configs.load(f"{repo}/configs/spherehand.py:quick", [size, *overrides])
    return spherehand_task(config, SKELETONS["nyu14"])


def prepared(task, batch, train=False):
    keys = jax.random.split(jax.random.key(1), HANDS)
    return jax.jit(lambda batch: task.prepare(keys, batch, train))(batch)


def on_surface(depth, centers, radii):
    """Distances of a view's points to its spheres, mm."""
    at = (np.arange(SIZE) - SIZE / 2) * EXTENT_MM / SIZE
    v, u = np.nonzero(depth < 99)
    points = np.stack([at[u], at[v], depth[v, u]], -1)
    return np.abs(np.linalg.norm(points[:, None] - centers[None], axis=-1) - radii).min(1)


def test_turned_hands_keep_their_labels(repo, hands):
    batch, radii = hands
    off = prepared(build(repo, "config.augment.enabled=True"), batch, train=True)
    np.testing.assert_array_equal(off["synthetic_centers"], batch["centers"])
    task = build(repo, "config.augment.enabled=True", "config.augment.turn_deg=25.0")
    inputs = prepared(task, batch, train=True)
    centers = np.asarray(inputs["synthetic_centers"])[:, 0]
    assert np.abs(centers - np.asarray(batch["centers"])[:, 0]).max() > 5
    depths = np.asarray(inputs["x"])[..., 0] * spherehand.UNIT_MM
    for depth, own, r, before in zip(
        depths, centers, np.asarray(radii), np.asarray(batch["cube_depth"])[:, 0], strict=True
    ):
        away = on_surface(depth, own, r)
        assert len(away) > 0.6 * (before < 99).sum()
        assert np.median(away) < 2.5 and np.quantile(away, 0.9) < 8  # flat triangles of 6 mm
    test = prepared(task, batch)
    np.testing.assert_array_equal(test["synthetic_centers"], batch["centers"])


def test_views_are_rendered_and_turned_back(repo, hands):
    batch, radii = hands
    task = build(repo, *VIEWS)
    inputs = prepared(task, batch)
    turns = np.asarray(inputs["turns"])
    assert turns.shape == (HANDS, 8, 3, 3) and inputs["x"].shape == (9 * HANDS, SIZE, SIZE, 1)
    x = np.asarray(inputs["x"])[..., 0].reshape(HANDS, 9, SIZE, SIZE) * spherehand.UNIT_MM
    np.testing.assert_allclose(x[:, 0], batch["cube_depth"][:, 0], atol=1e-4)
    centers = np.asarray(batch["centers"])[:, 0]
    turned = np.einsum("bvij,bsj->bvsi", turns, centers)
    for view in range(8):
        away = on_surface(x[0, view + 1], turned[0, view], np.asarray(radii)[0])
        assert len(away) > 100 and np.median(away) < 2.5
    every = jnp.asarray(np.concatenate([centers[:, None], turned], 1), jnp.float32)
    size = SIZE // 4
    maps = jnp.concatenate(spherehand.encode(every, size), -1)
    maps = maps.reshape(9 * HANDS, 1, size, size, 82)
    outputs = (maps, jnp.zeros((9 * HANDS, 1, 3, 3, 64)))
    found = jax.jit(task.predict)(outputs, inputs)["joints_xyz"]
    plain = build(repo)
    own = (maps.reshape(HANDS, 9, *maps.shape[1:])[:, 0], jnp.zeros((HANDS, 1, 3, 3, 64)))
    one = jax.jit(plain.predict)(own, prepared(plain, batch))["joints_xyz"]
    true = centers[:, np.asarray(task.predict.keywords["spheres"])]
    errors = [np.linalg.norm(each - true, axis=-1).mean() for each in (found, one)]
    assert errors[0] < 0.8 * errors[1]  # the decoding's error differs from view to view
    terms = [
        jax.jit(t.loss)(maps_of, prepared(t, batch))[1]
        for t, maps_of in ((task, outputs), (plain, own))
    ]
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5), *terms)


def test_offsets_place_spheres_between_cells(repo, hands):
    batch, _ = hands
    task = build(repo, "config.task.offsets=True")
    assert task.model.channels == 4
    size, centers = SIZE // 4, batch["centers"][:, 0]
    heat, depth = spherehand.encode(centers, size)
    at = jnp.arange(size, dtype=jnp.float32)
    uv = spherehand.xyz_to_uv(centers, size)  # [b, s, 2]
    away_v = uv[:, None, None, :, 1] - at[None, :, None, None]
    away_u = uv[:, None, None, :, 0] - at[None, None, :, None]
    shape = heat.shape
    maps = [heat, depth, jnp.broadcast_to(away_v, shape), jnp.broadcast_to(away_u, shape)]
    outputs = (jnp.concatenate(maps, -1)[:, None], jnp.zeros((HANDS, 1, 3, 3, 64)))
    inputs = prepared(task, batch)
    found = jax.jit(task.predict)(outputs, inputs)["joints_xyz"]
    true = np.asarray(centers)[:, np.asarray(task.predict.keywords["spheres"])]
    np.testing.assert_allclose(np.asarray(found)[..., :2], true[..., :2], atol=0.01)
    _, terms = jax.jit(task.loss)(outputs, inputs)
    wrong = outputs[0].at[..., 82:].multiply(-1.0)
    _, others = jax.jit(task.loss)((wrong, outputs[1]), inputs)
    assert others["synt_d"] > terms["synt_d"] + 10 and others["synt_uv"] == terms["synt_uv"]
