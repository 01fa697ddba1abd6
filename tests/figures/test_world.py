from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.figures import hand, poses, world
from handjax.pose import geometry
from handjax.pose.skeleton import SKELETONS


def _draw(n, seed=0, **options):
    keys = jax.random.split(jax.random.key(seed), n)
    return jax.tree.map(np.asarray, jax.jit(jax.vmap(partial(world.hand_sample, **options)))(keys))


@pytest.fixture(scope="module")
def many():
    return _draw(1000)


@pytest.mark.parametrize(("joints", "size"), [("hand21", 64), ("nyu14", 80)])
def test_keeps_the_contract(joints, size):
    n = len(SKELETONS[joints].joints)
    sample = _draw(2, joints=joints, image_size=size, cube_mm=250.0)
    assert {key: (value.shape, value.dtype.name) for key, value in sample.items()} == {
        "depth": ((2, size, size), "float32"),
        "k": ((2, 3, 3), "float32"),
        "joints_xyz": ((2, n, 3), "float32"),
        "visible": ((2, n), "bool"),
        "center_xyz": ((2, 3), "float32"),
        "cube_mm": ((2, 3), "float32"),
    }
    assert np.all(sample["cube_mm"] == 250)


def test_is_a_function_of_the_key_and_vmap_is_a_loop():
    keys = jax.random.split(jax.random.key(3), 4)
    one = jax.jit(partial(world.hand_sample, image_size=32))
    together = jax.jit(jax.vmap(partial(world.hand_sample, image_size=32)))(keys)
    for i, key in enumerate(keys):
        alone = one(key)
        np.testing.assert_array_equal(alone["depth"], one(key)["depth"])
        for name, value in alone.items():
            # Fused otherwise, the last digits differ; a ray at a sphere's rim may then miss.
            agree = np.isclose(value, together[name][i], atol=1e-2)
            assert agree.mean() > 0.995, name
    assert not np.allclose(together["joints_xyz"][0], together["joints_xyz"][1], atol=1)


def test_joints_are_in_the_image_and_in_the_cube(many):
    uvd = np.asarray(geometry.xyz_to_uvd(jnp.asarray(many["joints_xyz"]), jnp.asarray(many["k"])))
    assert np.mean((uvd[..., :2] > -0.5) & (uvd[..., :2] < 63.5)) > 0.999
    reach = np.abs(many["joints_xyz"] - many["center_xyz"][:, None]).max((1, 2))
    assert np.mean(reach < 150) > 0.99
    assert 0.92 < np.mean(reach < 125) < 0.98
    assert 500 - 150 < many["depth"][many["depth"] > 0].min() and many["depth"].max() < 900 + 150
    assert (many["depth"] > 0).sum((1, 2)).min() > 50


def test_visible_joints_are_just_under_the_skin():
    """Without noise, at the pixel of a joint that is seen, the surface is in front of it by no more than its flesh."""
    sample = _draw(100, image_size=128, depth_noise_mm=0.0, shift_px=0.0)
    uvd = np.asarray(geometry.xyz_to_uvd(jnp.asarray(sample["joints_xyz"]), jnp.asarray(sample["k"])))
    u, v = np.round(uvd[..., 0]).astype(int), np.round(uvd[..., 1]).astype(int)
    skin = sample["depth"][np.arange(100)[:, None], v, u]
    under = sample["joints_xyz"][..., 2] - skin
    flesh = np.asarray(hand.HAND.sphere_radii)[np.asarray(hand.JOINT_SPHERES["hand21"])] + 10
    ok = (skin > 0) & (under > -5) & (under < flesh + 5)  # 5 mm: the pixel's centre is up to 2 mm from the joint
    assert ok[sample["visible"]].mean() > 0.98
    assert ok[~sample["visible"]].mean() < 0.25
    assert 0.4 < sample["visible"].mean() < 0.8


def test_the_center_needs_no_label_unless_asked(many):
    points, valid = geometry.depth_to_points(jnp.asarray(many["depth"]), jnp.asarray(many["k"]))
    mean = (points * valid[..., None]).sum(1) / valid.sum(1)[:, None]
    np.testing.assert_allclose(many["center_xyz"], mean, atol=0.05)
    labelled = _draw(50, center="label")
    np.testing.assert_allclose(labelled["center_xyz"], labelled["joints_xyz"].mean(1), atol=0.05)


def test_options_reach_the_picture(many):
    far = _draw(50, distance_mm=(2000.0, 2001.0), scale=(0.5, 0.5), aside=0.0)
    assert np.all(np.abs(far["joints_xyz"][..., 2] - 2000) < 100)
    assert np.ptp(far["joints_xyz"], axis=1).max() < 0.6 * np.ptp(many["joints_xyz"], axis=1).max()
    up = _draw(50, rotation=poses.ROTATION_FRONTAL, modes=("straight",))["joints_xyz"]
    tip = SKELETONS["hand21"].joints.index("middle_tip")
    assert np.all(up[:, tip, 1] < up[:, 0, 1])
    clean = _draw(20, depth_noise_mm=0.0, shift_px=0.0)
    rough = _draw(20)
    both = (clean["depth"] > 0) & (rough["depth"] > 0)
    assert 0.5 < np.median(np.abs(clean["depth"] - rough["depth"])[both]) < 3
