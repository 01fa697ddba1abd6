from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.figures import hand, poses, world
from handjax.pose import geometry
from handjax.pose.skeleton import SKELETONS

OTHER = dict(
    joints="nyu14",
    image_size=48,
    cube_mm=250.0,
    center="label",
    distance_mm=(2000.0, 2001.0),
    aside=0.0,
    scale=(0.5, 0.5),
    rotation=poses.ROTATION_FRONTAL,
    modes=("straight",),
)


@cache
def _draw(n=400, seed=0, **options):
    keys = jax.random.split(jax.random.key(seed), n)
    return jax.tree.map(np.asarray, jax.jit(jax.vmap(partial(world.hand_sample, **options)))(keys))


def _uvd(sample):
    return np.asarray(jax.jit(geometry.xyz_to_uvd)(sample["joints_xyz"], sample["k"]))


@pytest.mark.parametrize(("options", "joints", "size"), [({}, 21, 64), (OTHER, 14, 48)], ids=["default", "other"])
def test_keeps_the_contract(options, joints, size):
    assert {key: (value.shape, value.dtype.name) for key, value in _draw(**options).items()} == {
        "depth": ((400, size, size), "float32"),
        "k": ((400, 3, 3), "float32"),
        "joints_xyz": ((400, joints, 3), "float32"),
        "visible": ((400, joints), "bool"),
        "center_xyz": ((400, 3), "float32"),
        "cube_mm": ((400, 3), "float32"),
    }


def test_is_a_function_of_the_key_and_vmap_is_a_loop():
    together, one = _draw(), jax.jit(world.hand_sample)
    for i, key in enumerate(jax.random.split(jax.random.key(0), 400)[:4]):
        alone = one(key)
        np.testing.assert_array_equal(alone["depth"], one(key)["depth"])
        for name, value in alone.items():
            # Fused otherwise, the last digits differ; a ray at a sphere's rim may then miss.
            assert np.mean(np.isclose(value, together[name][i], atol=1e-2)) > 0.998, name
    assert np.ptp(together["joints_xyz"], axis=0).min() > 10


def test_joints_are_in_the_image_and_in_the_cube():
    sample = _draw()
    uv = _uvd(sample)[..., :2]
    assert np.mean((uv > -0.5) & (uv < 63.5)) > 0.999
    reach = np.abs(sample["joints_xyz"] - sample["center_xyz"][:, None]).max((1, 2))
    assert np.mean(reach < 150) > 0.99
    assert 0.91 < np.mean(reach < 125) < 0.97
    seen = sample["depth"][sample["depth"] > 0]
    assert 500 - 150 < seen.min() and seen.max() < 900 + 150
    assert (sample["depth"] > 0).sum((1, 2)).min() > 50


def test_visible_joints_are_just_under_the_skin():
    """Without noise, at the pixel of a joint that is seen, the surface is in front of it by no more than its flesh."""
    sample = _draw(depth_noise_mm=0.0, shift_px=0.0)
    uvd = _uvd(sample)
    u, v = (np.clip(np.round(uvd[..., i]).astype(int), 0, 63) for i in (0, 1))
    skin = sample["depth"][np.arange(len(u))[:, None], v, u]
    under = sample["joints_xyz"][..., 2] - skin
    flesh = np.asarray(hand.HAND.sphere_radii)[np.asarray(hand.JOINT_SPHERES["hand21"])] + 10
    ok = (skin > 0) & (under > -5) & (under < flesh + 5)  # 5 mm: the pixel's centre is up to 3.4 mm from the joint
    assert ok[sample["visible"]].mean() > 0.97
    assert ok[~sample["visible"]].mean() < 0.3
    assert 0.5 < sample["visible"].mean() < 0.75


def test_the_center_needs_no_label_unless_asked():
    sample = _draw()
    points, valid = jax.jit(geometry.depth_to_points)(sample["depth"], sample["k"])
    mean = jnp.sum(points * valid[..., None], axis=1) / jnp.sum(valid, axis=1)[:, None]
    np.testing.assert_allclose(sample["center_xyz"], mean, atol=0.05)
    labelled = _draw(**OTHER)
    np.testing.assert_allclose(labelled["center_xyz"], labelled["joints_xyz"].mean(1), atol=0.05)


def test_options_reach_the_picture():
    default, other = _draw(), _draw(**OTHER)
    assert np.all(default["cube_mm"] == 300) and np.all(other["cube_mm"] == 250)
    assert np.all(np.abs(other["joints_xyz"][..., 2] - 2000) < 100)
    assert np.ptp(other["joints_xyz"], axis=1).max() < 0.6 * np.ptp(default["joints_xyz"], axis=1).max()
    tip, wrist = (SKELETONS["nyu14"].joints.index(joint) for joint in ("middle_tip", "wrist_thumb"))
    assert np.all(other["joints_xyz"][:, tip, 1] < other["joints_xyz"][:, wrist, 1] - 30)
    clean = _draw(depth_noise_mm=0.0, shift_px=0.0)
    both = (clean["depth"] > 0) & (default["depth"] > 0)
    assert 0.5 < np.median(np.abs(clean["depth"] - default["depth"])[both]) < 3
    assert 0.001 < np.mean((clean["depth"] > 0) != (default["depth"] > 0)) < 0.01  # ragged edges
