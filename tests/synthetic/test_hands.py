from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.pose import pinhole
from handjax.pose.skeleton import SKELETONS
from handjax.rigs import hand, poses
from handjax.synthetic import hands

OTHER = dict(
    joints="nyu14",
    image_size=48,
    cube_mm=250.0,
    center="label",
    distance_mm=(2000.0, 2001.0),
    offset=0.0,
    scale=(0.5, 0.5),
    rotation=poses.ROTATION_FRONTAL,
    modes=("straight",),
)


@cache
def _draw(n=400, seed=0, **options):
    keys = jax.random.split(jax.random.key(seed), n)
    return jax.tree.map(np.asarray, jax.jit(jax.vmap(partial(hands.depth_sample, **options)))(keys))


def _uvd(sample):
    return np.asarray(jax.jit(pinhole.xyz_to_uvd)(sample["joints_xyz"], sample["k"]))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "joints", "size"), [({}, 21, 64), (OTHER, 14, 48)], ids=["default", "other"]
)
def test_depth_sample_keeps_the_contract(options, joints, size):
    assert {key: (value.shape, value.dtype.name) for key, value in _draw(**options).items()} == {
        "depth": ((400, size, size), "float32"),
        "k": ((400, 3, 3), "float32"),
        "joints_xyz": ((400, joints, 3), "float32"),
        "visible": ((400, joints), "bool"),
        "center_xyz": ((400, 3), "float32"),
        "cube_mm": ((400, 3), "float32"),
    }


@pytest.mark.slow
def test_depth_sample_is_deterministic_and_vmap_a_loop():
    together, one = _draw(), jax.jit(hands.depth_sample)
    for i, key in enumerate(jax.random.split(jax.random.key(0), 400)[:4]):
        alone = one(key)
        np.testing.assert_array_equal(alone["depth"], one(key)["depth"])
        for name, value in alone.items():
            # Fused differently, the last digits differ, and rays at the rim of a sphere may miss.
            assert np.mean(np.isclose(value, together[name][i], atol=1e-2)) > 0.998, name
    assert np.ptp(together["joints_xyz"], axis=0).min() > 10


@pytest.mark.slow
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


@pytest.mark.slow
def test_visible_joints_are_just_under_the_skin():
    """Without noise, the surface at the pixel of a visible joint is at most its flesh away."""
    sample = _draw(depth_noise_mm=0.0, shift_px=0.0)
    uvd = _uvd(sample)
    u, v = (np.clip(np.round(uvd[..., i]).astype(int), 0, 63) for i in (0, 1))
    skin = sample["depth"][np.arange(len(u))[:, None], v, u]
    under = sample["joints_xyz"][..., 2] - skin
    flesh = np.asarray(hand.HAND.sphere_radii)[np.asarray(hand.JOINT_SPHERES["hand21"])] + 10
    ok = (
        (skin > 0) & (under > -5) & (under < flesh + 5)
    )  # 5 mm: the pixel's centre is up to 3.4 mm from the joint
    assert ok[sample["visible"]].mean() > 0.97
    assert ok[~sample["visible"]].mean() < 0.3
    assert 0.5 < sample["visible"].mean() < 0.75


@pytest.mark.slow
def test_center_needs_no_label_unless_configured():
    sample = _draw()
    points, valid = jax.jit(pinhole.depth_to_points)(sample["depth"], sample["k"])
    points, valid = np.asarray(points), np.asarray(valid)
    mean = np.sum(points * valid[..., None], axis=1) / np.sum(valid, axis=1)[:, None]
    np.testing.assert_allclose(sample["center_xyz"], mean, atol=0.05)
    labelled = _draw(**OTHER)
    np.testing.assert_allclose(labelled["center_xyz"], labelled["joints_xyz"].mean(1), atol=0.05)


@pytest.mark.slow
def test_options_change_the_image():
    default, other = _draw(), _draw(**OTHER)
    assert np.all(default["cube_mm"] == 300) and np.all(other["cube_mm"] == 250)
    assert np.all(np.abs(other["joints_xyz"][..., 2] - 2000) < 100)
    assert (
        np.ptp(other["joints_xyz"], axis=1).max()
        < 0.6 * np.ptp(default["joints_xyz"], axis=1).max()
    )
    tip, wrist = (SKELETONS["nyu14"].joints.index(joint) for joint in ("middle_tip", "wrist_thumb"))
    assert np.all(other["joints_xyz"][:, tip, 1] < other["joints_xyz"][:, wrist, 1] - 30)
    clean = _draw(depth_noise_mm=0.0, shift_px=0.0)
    both = (clean["depth"] > 0) & (default["depth"] > 0)
    assert 0.5 < np.median(np.abs(clean["depth"] - default["depth"])[both]) < 3
    assert 0.001 < np.mean((clean["depth"] > 0) != (default["depth"] > 0)) < 0.01  # ragged edges


SKIN = dict(surface="skin", left=0.5, fingers=(0.8, 1.2), depth_noise_mm=0.0, shift_px=0.0)


def _at_joints(image, uv):
    """Values at the pixels of joints, and whether these are inside the image."""
    u, v = np.round(uv[..., 0]).astype(int), np.round(uv[..., 1]).astype(int)
    size = image.shape[1]
    inside = (u >= 0) & (u < size) & (v >= 0) & (v < size)
    return image[
        np.arange(len(u))[:, None], np.clip(v, 0, size - 1), np.clip(u, 0, size - 1)
    ], inside


@pytest.mark.slow
def test_visible_joints_of_skins_are_inside_the_mask():
    sample = _draw(**SKIN)
    assert {key: (v.shape, v.dtype) for key, v in sample.items()} == {
        key: (v.shape, v.dtype) for key, v in _draw().items()
    }
    uvd = _uvd(sample)
    depth, inside = _at_joints(sample["depth"], uvd)
    assert np.all((inside & (depth > 0))[sample["visible"]])
    under = sample["joints_xyz"][..., 2] - depth
    flesh = (
        1.14 * np.asarray(hand.HAND.sphere_radii)[np.asarray(hand.JOINT_SPHERES["hand21"])] + 10
    )  # 1.2 of a finger, 0.95 of all
    assert np.all((under < flesh + 1e-2)[sample["visible"]])
    assert 0.5 < sample["visible"].mean() < 0.65


@pytest.mark.slow
def test_half_of_the_hands_are_left_if_configured():
    """Told by the side of the palm to which fingers bend, which mirroring a hand exchanges."""
    names = SKELETONS["hand21"].joints

    def right(joints):
        wrist, index, little = (
            joints[:, names.index(name)] for name in ("wrist", "index_base", "little_base")
        )
        fingers = ("index", "middle", "ring", "little")
        base, tip = (
            joints[:, [names.index(f"{f}_{part}") for f in fingers]].mean(1)
            for part in ("base", "tip")
        )
        return np.sum(np.cross(index - wrist, little - wrist) * (tip - base), axis=-1) > 0

    of_right_hands = np.mean(right(_draw()["joints_xyz"]))
    assert of_right_hands > 0.9 or of_right_hands < 0.1
    assert 0.42 < np.mean(right(_draw(**SKIN)["joints_xyz"])) < 0.58


def test_finger_sizes_vary_between_hands():
    joints = _draw(**SKIN)["joints_xyz"]
    names = SKELETONS["hand21"].joints
    base, mid = (
        joints[:, [names.index(f"{f}_{part}") for f in hand.FINGERS]] for part in ("base", "mid")
    )
    length = np.linalg.norm(mid - base, axis=-1)
    rest = np.median(length, axis=0)
    assert np.all(length.max(0) / rest > 1.15) and np.all(length.min(0) / rest < 0.86)
    relative = length / rest
    assert (
        np.abs(np.corrcoef(relative.T) - np.eye(5)).max() < 0.35
    )  # each on its own, but for the whole hand's scale


def test_keys_of_held_out_samples_are_never_trained_on():
    """Keys by stream, held-out flag and index all differ and are reproducible."""
    keys = jax.jit(
        jax.vmap(
            jax.vmap(jax.vmap(hands.sample_key, in_axes=(None, None, 0)), in_axes=(None, 0, None)),
            in_axes=(0, None, None),
        )
    )
    streams, heldout, index = (
        jnp.arange(20, dtype=jnp.uint32),
        jnp.asarray([False, True]),
        jnp.arange(200),
    )
    drawn = np.asarray(jax.random.key_data(keys(streams, heldout, index)))
    assert len(np.unique(drawn.reshape(-1, drawn.shape[-1]), axis=0)) == 20 * 2 * 200
    again = jax.random.key_data(hands.sample_key(7, True, 11))
    np.testing.assert_array_equal(again, drawn[7, 1, 11])
    assert jnp.any(jax.random.key_data(hands.sample_key(7, False, 11)) != again)
