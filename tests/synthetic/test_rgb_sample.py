"""Synthetic hands in RGB images."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.rigs import hand, poses, skinning
from handjax.synthetic import hands, render

N = 200
# No blur, no noise, and larger than the image. The keys draw the same hands.
LARGE = dict(
    fraction=(1.4, 1.4),
    left=0.0,
    blur_px=(0.0, 0.0),
    noise=(0.0, 0.0),
    supersampling=1,
    image_size=48,
)


@cache
def _draw(n=N, seed=0, image_size=64, **options):
    keys = jax.random.split(jax.random.key(seed), n)
    sample = partial(hands.rgb_sample, image_size=image_size, **options)
    return jax.tree.map(np.asarray, jax.jit(jax.vmap(sample))(keys))


def _at_joints(images, uv):
    u, v = (np.clip(np.round(uv[..., i]).astype(int), 0, images.shape[1] - 1) for i in (0, 1))
    return images[np.arange(len(u))[:, None], v, u]


@pytest.mark.slow
def test_rgb_sample_keeps_the_contract():
    for sample, size in ((_draw(), 64), (_draw(**LARGE), 48)):
        assert {key: (value.shape[1:], value.dtype.name) for key, value in sample.items()} == {
            "image": ((size, size, 3), "uint8"),
            "depth": ((size, size), "float32"),
            "mask": ((size, size), "bool"),
            "k": ((3, 3), "float32"),
            "joints_xyz": ((21, 3), "float32"),
            "joints_uv": ((21, 2), "float32"),
            "visible": ((21,), "bool"),
            "left": ((), "bool"),
        }
        assert all(np.all(np.isfinite(value)) for value in sample.values())
        np.testing.assert_array_equal(sample["mask"], sample["depth"] > 0)
        assert sample["mask"].sum((1, 2)).min() > 0.02 * size**2


@pytest.mark.slow
def test_camera_projects_joints_to_their_pixels():
    for sample in (_draw(), _draw(**LARGE)):
        at = np.einsum("nij,nkj->nki", sample["k"].astype(np.float64), sample["joints_xyz"])
        np.testing.assert_allclose(at[..., :2] / at[..., 2:], sample["joints_uv"], atol=2e-3)
        np.testing.assert_array_equal(sample["k"][:, 2], np.broadcast_to([0, 0, 1], (N, 3)))
        assert not np.any(sample["k"][:, 0, 1]) and not np.any(sample["k"][:, 1, 0])
        np.testing.assert_allclose(sample["k"][:, 0, 0], sample["k"][:, 1, 1], rtol=1e-6)


@pytest.mark.slow
def test_visible_joints_are_inside_the_mask():
    for sample in (_draw(), _draw(**LARGE)):
        size, seen, uv = sample["mask"].shape[1], sample["visible"], sample["joints_uv"]
        assert np.all((uv[seen] > -0.501) & (uv[seen] < size - 0.499))
        assert np.all(_at_joints(sample["mask"], uv)[seen])
        under = sample["joints_xyz"][..., 2] - _at_joints(sample["depth"], uv)
        flesh = (
            1.05 * np.asarray(hand.HAND.sphere_radii)[np.asarray(hand.JOINT_SPHERES["hand21"])] + 10
        )
        assert np.all((under < np.broadcast_to(flesh, under.shape))[seen])
        assert np.mean((under > -2)[seen]) > 0.97
    assert 0.5 < _draw()["visible"].mean() < 0.65
    assert (
        _draw(**LARGE)["visible"].mean() < _draw()["visible"].mean() - 0.02
    )  # some are outside the image


@pytest.mark.slow
def test_fraction_is_that_of_the_ball_around_the_hand():
    """The same hands, their balls first 0.6 to 1 of the edge, then 1.4."""
    small, large = _draw(), _draw(**LARGE)
    fraction = 1.4 * (small["k"][:, 0, 0] / 64) / (large["k"][:, 0, 0] / 48)
    assert 0.6 - 1e-3 < fraction.min() < 0.63 and 0.97 < fraction.max() < 1 + 1e-3
    # Whole hands are in the small images, at any place; in the large images they are cut off.
    border = np.ones((64, 64), bool)
    border[1:-1, 1:-1] = False
    assert not np.any(small["mask"] & border)
    middle = (small["joints_uv"].max(1) + small["joints_uv"].min(1)) / 2 / 64
    assert np.all(middle.std(0) > 0.06) and np.all(np.abs(middle.mean(0) - 0.5) < 0.03)
    cut = np.ones((48, 48), bool)
    cut[1:-1, 1:-1] = False
    assert np.mean(np.any(large["mask"] & cut, axis=(1, 2))) > 0.3
    # A ball as large as the edge contains all joints, and some hand comes close to its border.
    reach = np.ptp(small["joints_uv"], axis=1).max(-1) / 64 / fraction
    assert 0.7 < reach.max() < 1


@pytest.mark.slow
def test_left_hands_are_half_and_mirrored():
    sample = _draw()
    assert 0.42 < sample["left"].mean() < 0.58 and not np.any(_draw(**LARGE)["left"])
    right = _draw(**LARGE)
    z = np.stack([sample["joints_xyz"], right["joints_xyz"]])
    about = z - z[:, :, :1]  # of the wrist
    mirror = np.where(sample["left"], -1, 1)[:, None]
    np.testing.assert_allclose(about[0, ..., 0], mirror * about[1, ..., 0], atol=2e-3)
    np.testing.assert_allclose(about[0, ..., 1:], about[1, ..., 1:], atol=2e-3)


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_normals_are_those_of_the_skin_for_both_sides(side):
    """Normals used for lighting against the mean over faces at each vertex, in a stretched hand."""
    skin, scale, fingers = (
        skinning.hand_skin(),
        jnp.asarray([0.85, 0.9, 0.95]),
        jnp.linspace(0.9, 1.1, 5),
    )
    pose = jax.jit(poses.sample_pose)(jax.random.key(0))
    vertices = np.asarray(
        jax.jit(partial(render.skin_in_camera, skin))(
            pose, jnp.asarray([0.0, 0.0, 500.0]), scale, fingers, jnp.asarray(side)
        )
    )
    normals = np.asarray(
        jax.jit(partial(render.skin_normals_in_camera, skin))(
            pose, scale, fingers, jnp.asarray(side)
        )
    )
    a, b, c = np.moveaxis(
        vertices[skinning.right_hand_faces(skin) if side > 0 else skin.faces], 1, 0
    )
    outward = np.zeros(vertices.shape)
    for corner in skin.faces.T:
        np.add.at(outward, corner, np.cross(b - a, c - a))
    outward /= np.linalg.norm(outward, axis=-1, keepdims=True)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=-1), 1, rtol=1e-3)
    agree = np.sum(normals * outward, axis=-1)
    assert np.median(agree) > 0.99 and np.mean(agree > 0.8) > 0.9


@pytest.mark.slow
def test_images_are_well_exposed_and_all_differ():
    image = _draw()["image"] / 255
    mean = image.mean((1, 2, 3))
    assert 0.3 < mean.min() < 0.42 and 0.58 < mean.max() < 0.7
    assert np.mean((image >= 1).all(-1)) < 0.01 and np.mean((image <= 0).all(-1)) < 0.01
    assert image.std((1, 2)).min() > 0.01
    coarse = image.reshape(N, 8, 8, 8, 8, 3).mean((2, 4)).reshape(N, -1)
    apart = np.sqrt(np.mean((coarse[:, None] - coarse[None]) ** 2, axis=-1)) + np.eye(N)
    assert apart.min() > 0.02


@pytest.mark.slow
def test_hands_vary_in_colour_and_stand_out():
    sample = _draw()
    image, mask = sample["image"] / 255, sample["mask"][..., None]
    skin, rest = (np.sum(image * m, axis=(1, 2)) / np.sum(m, axis=(1, 2)) for m in (mask, ~mask))
    light = skin.mean(-1)
    assert light.min() < 0.2 and light.max() > 0.6 and light.std() > 0.08
    assert np.mean((skin[:, 0] > skin[:, 1]) & (skin[:, 1] > skin[:, 2])) > 0.9
    redness = skin[:, 0] / skin[:, 2]
    assert redness.min() > 0.95 and np.percentile(redness, 95) - np.percentile(redness, 5) > 0.3
    apart = np.linalg.norm(skin - rest, axis=-1)
    assert np.median(apart) > 0.15 and np.mean(apart > 0.06) > 0.95
    shading = np.sqrt(
        np.sum((image - skin[:, None, None]) ** 2 * mask, axis=(1, 2)).mean(-1)
        / mask.sum((1, 2))[:, 0]
    )
    assert np.percentile(shading, 5) > 0.02  # light and shade on it


@pytest.mark.slow
def test_rgb_sample_is_deterministic_and_vmap_a_loop():
    """Exact when repeated. Under vmap XLA fuses differently: grey levels, outlines may differ."""
    together, one = _draw(**LARGE), jax.jit(partial(hands.rgb_sample, **LARGE))
    for i, key in enumerate(jax.random.split(jax.random.key(0), N)[:4]):
        alone, again = one(key), one(key)
        for name, value in alone.items():
            np.testing.assert_array_equal(value, again[name])
            if name == "image":
                apart = np.abs(np.asarray(value, int) - together[name][i])
                assert np.mean(apart > 1) < 0.005 and np.mean(apart) < 0.05
            else:
                assert np.mean(np.isclose(value, together[name][i], atol=2e-2)) > 0.998, name
