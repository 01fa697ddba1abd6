from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.rigs import skinning
from handjax.synthetic import render, shade

LOOKS = jax.jit(jax.vmap(shade.random_look))
COLOUR = jax.jit(shade.colour)


@cache
def _looks(n=500):
    return jax.tree.map(np.asarray, LOOKS(jax.random.split(jax.random.key(0), n)))


def _plain_look(**changes):
    """White skin without texture or shine, one white light from behind the camera."""
    look = shade.Look(
        tone=jnp.ones(3),
        waves=jnp.zeros((2, 3)),
        phases=jnp.zeros(2),
        texture=jnp.zeros(()),
        directions=jnp.asarray([[0.0, 0.0, -1.0]]),
        lights=jnp.ones((1, 3)),
        sky=jnp.zeros(3),
        ground=jnp.zeros(3),
        shine=jnp.zeros(()),
        hardness=jnp.asarray(10.0),
        exposure=jnp.asarray(0.2),
        blur_px=jnp.zeros(()),
        noise=jnp.zeros(()),
    )
    return look._replace(**{name: jnp.asarray(value) for name, value in changes.items()})


def _colour(look, normal, point=(0.0, 0.0, 500.0), bound=(0.0, 0.0, 0.0), palm=0.0):
    return np.asarray(
        COLOUR(look, *(jnp.asarray(x) for x in (point, normal, bound)), jnp.asarray(palm))
    )


def test_looks_differ_and_stay_in_bounds():
    looks = _looks()
    tone = looks.tone
    assert tone.min() > 0.015 and tone.max() < 0.95
    assert np.all(np.ptp(np.log(tone), axis=0) > 1.8)  # more than six to one from pale to dark
    assert (
        np.mean((tone[:, 0] > tone[:, 1]) & (tone[:, 1] > tone[:, 2])) > 0.98
    )  # redder than green than blue
    np.testing.assert_allclose(np.linalg.norm(looks.directions, axis=-1), 1, rtol=1e-5)
    assert looks.directions[..., 2].max() <= 0.5 and looks.directions[..., 2].min() < -0.9
    wavelength = 2 * np.pi / np.linalg.norm(looks.waves, axis=-1)
    assert 4 < wavelength.min() < 5 and 50 < wavelength.max() < 60
    for name, (low, high) in dict(
        lights=(0, 1),
        sky=(0.1, 0.6),
        ground=(0.05, 0.4),
        shine=(0, 0.3),
        texture=(0, 0.25),
        hardness=(5, 60),
        exposure=(0.12, 0.37),
        blur_px=(0, 1.2),
        noise=(0, 0.04),
    ).items():
        value = getattr(looks, name)
        span = high - low
        assert low <= value.min() < low + 0.1 * span, name
        assert high - 0.15 * span < value.max() <= high * (1 + 1e-6), name
    narrow = jax.jit(partial(shade.random_look, blur_px=(0.5, 0.5), noise=(0.01, 0.01)))(
        jax.random.key(0)
    )
    assert narrow.blur_px == 0.5 and np.isclose(narrow.noise, 0.01)


def test_light_falls_off_as_the_skin_turns_away():
    facing = np.asarray(
        [_colour(_plain_look(), (np.sin(a), 0.0, -np.cos(a)))[0] for a in np.linspace(0, np.pi, 13)]
    )
    np.testing.assert_allclose(
        facing, np.maximum(np.cos(np.linspace(0, np.pi, 13)) + 0.3, 0) / 1.3, atol=1e-5
    )
    two = _plain_look(
        directions=[[0.0, 0.0, -1.0], [1.0, 0.0, 0.0]],
        lights=[[1.0, 0.5, 0.0], [0.0, 0.5, 1.0]],
    )
    np.testing.assert_allclose(
        _colour(two, (0.0, 0.0, -1.0)), [1, 0.5 + 0.5 * 0.3 / 1.3, 0.3 / 1.3], rtol=1e-5
    )


def test_sky_is_above_and_ground_below():
    look = _plain_look(lights=[[0.0, 0.0, 0.0]], sky=[0.2, 0.3, 0.4], ground=[0.1, 0.0, 0.0])
    np.testing.assert_allclose(
        _colour(look, (0.0, -1.0, 0.0)), [0.2, 0.3, 0.4], rtol=1e-5
    )  # y is down
    np.testing.assert_allclose(_colour(look, (0.0, 1.0, 0.0)), [0.1, 0.0, 0.0], atol=1e-6)
    np.testing.assert_allclose(_colour(look, (1.0, 0.0, 0.0)), [0.15, 0.15, 0.2], rtol=1e-5)


def test_shine_is_where_the_light_mirrors_and_not_behind_the_skin():
    look = _plain_look(
        tone=[1e-6] * 3,
        shine=0.5,
        hardness=40.0,
        directions=[[0.6, 0.0, -0.8]],
        lights=[[1.0, 1.0, 0.5]],
    )
    middle = np.asarray([0.6, 0.0, -1.8])
    best = _colour(look, tuple(middle / np.linalg.norm(middle)))
    np.testing.assert_allclose(best, [0.5, 0.5, 0.25], rtol=1e-3)
    assert _colour(look, (0.0, 0.0, -1.0))[0] < 0.2 * best[0]
    assert np.all(_colour(look, (0.0, 0.0, 1.0)) < 1e-5)


def test_palms_are_paler_and_the_texture_varies_about_the_tone():
    dark = _plain_look(tone=[0.09, 0.042, 0.023])
    back, palm = (_colour(dark, (0.0, 0.0, -1.0), palm=p) for p in (0.0, 1.0))
    np.testing.assert_allclose(back, [0.09, 0.042, 0.023], rtol=1e-4)
    assert np.all(palm > 1.5 * back) and palm[0] > palm[1] > palm[2]
    waving = _plain_look(tone=[0.5] * 3, texture=0.25, waves=[[0.3, 0.0, 0.0], [0.0, 0.5, 0.0]])
    places = np.random.default_rng(0).uniform(-100, 100, (2000, 3)).astype(np.float32)
    points, normals = (
        np.broadcast_to(np.float32(x), places.shape) for x in ([0, 0, 500], [0, 0, -1])
    )
    seen = np.asarray(
        COLOUR(waving, *(jnp.asarray(x) for x in (points, normals, places)), jnp.zeros(2000))
    )
    strength = np.log(seen[:, 0] / 0.5)
    assert 0.2 < strength.max() <= 0.2501 and abs(strength.mean()) < 0.01
    expected = 0.25 * (np.sin(0.3 * places[:, 0]) + np.sin(0.5 * places[:, 1])) / 2
    np.testing.assert_allclose(strength, expected, atol=1e-4)


def test_palm_is_on_the_side_to_which_fingers_bend():
    skin = skinning.hand_skin()
    palm = shade.palm_side(skin)
    assert palm.shape == (len(skin.vertices),) and palm.min() == 0 and palm.max() == 1
    assert 0.3 < palm.mean() < 0.7
    bent = jnp.zeros((2, 26)).at[1, 7::4].set(0.3)  # first flexions of all fingers
    still, moved = jax.jit(skinning.hand_vertices, static_argnums=0)(skin, bent)
    fingertips = np.linalg.norm(moved - still, axis=-1) > 15
    way = np.mean(np.asarray(moved - still)[fingertips], axis=0)
    normals = np.asarray(
        jax.jit(skinning.hand_normals, static_argnums=0)(skin, bent[0], jnp.ones(3))
    )
    towards = normals @ (way / np.linalg.norm(way))
    assert towards[palm > 0.9].mean() > 0.4 and towards[palm < 0.1].mean() < -0.4


def _square(z, half, at=(0.0, 0.0)):
    x, y = at
    corners = [
        [x - half, y - half, z],
        [x + half, y - half, z],
        [x + half, y + half, z],
        [x - half, y + half, z],
    ]
    return jnp.asarray(corners), np.asarray([[0, 1, 2], [0, 2, 3]])


@pytest.mark.slow
@pytest.mark.parametrize("supersampling", [1, 4])
def test_outlines_are_blended_by_covered_fraction(supersampling):
    """A square over 5.5 of 12 pixels from the left, and all rows, in one grey over another."""
    corners, faces = _square(100.0, 100.0, at=(-100.5, 0.0))
    k = jnp.asarray([[100.0, 0.0, 5.5], [0.0, 100.0, 5.5], [0.0, 0.0, 1.0]])
    normals = jnp.tile(jnp.asarray([[0.0, 0.0, -1.0]]), (4, 1))
    background, bound, palm = (
        jnp.full((12, 12, 3), 0.25),
        np.zeros((4, 3), np.float32),
        np.zeros(4, np.float32),
    )
    image = shade.hand_image(
        _plain_look(), background, corners, normals, faces, bound, palm, k, supersampling
    )
    expected = np.full((12, 12), 0.25)
    expected[:, :5] = 1.0
    if supersampling == 4:
        expected[:, 5] = 0.5 * 1.0 + 0.5 * 0.25
    else:
        image, expected = (
            np.delete(image, 5, axis=1),
            np.delete(expected, 5, axis=1),
        )  # on the edge itself
    np.testing.assert_allclose(image, np.repeat(expected[..., None], 3, -1), atol=1e-4)


@pytest.mark.slow
def test_nearer_skin_hides_what_is_behind():
    (a, faces), (b, _) = _square(100.0, 50.0), _square(90.0, 10.0)
    normals = jnp.repeat(jnp.asarray([[0.0, 0.0, -1.0], [1.0, 0.0, 0.0]]), 4, axis=0)
    k = jnp.asarray([[20.0, 0.0, 8.0], [0.0, 20.0, 8.0], [0.0, 0.0, 1.0]])
    corners = jnp.concatenate([a, b])
    image = shade.hand_image(
        _plain_look(),
        jnp.zeros((17, 17, 3)),
        corners,
        normals,
        np.concatenate([faces, faces + 4]),
        np.zeros((8, 3), np.float32),
        np.zeros(8, np.float32),
        k,
    )
    np.testing.assert_allclose(image[8, 8], 0.3 / 1.3, rtol=1e-4)
    np.testing.assert_allclose(image[8, 14], 1.0, rtol=1e-4)


def test_backgrounds_are_many_and_in_bounds():
    draw = jax.jit(jax.vmap(partial(shade.random_background, height=40, width=56)))
    images = np.asarray(draw(jax.random.split(jax.random.key(0), 200)))
    assert images.shape == (200, 40, 56, 3) and images.min() >= 0 and images.max() <= 1
    means, spreads = images.mean((1, 2)), images.std((1, 2)).mean(-1)
    assert means.std(0).min() > 0.12 and np.percentile(spreads, 5) > 0.05
    grey = np.abs(images - images.mean(-1, keepdims=True)).mean((1, 2, 3))
    assert grey.min() < 0.05 and grey.max() > 0.15  # some are almost grey, some are not


def _srgb(linear):
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


@pytest.mark.slow
def test_photograph_is_exposure_and_the_curve():
    rng = np.random.default_rng(0)
    image = rng.uniform(0, 1, (20, 30, 3)).astype(np.float32) ** 5
    picture = np.asarray(
        jax.jit(shade.photograph)(jax.random.key(0), _plain_look(exposure=0.3), jnp.asarray(image))
    )
    linear = np.clip(0.3 * image / image.mean(), 0, 1)
    assert picture.dtype == np.uint8 and picture.shape == image.shape
    assert np.max(np.abs(picture - 255 * _srgb(linear))) <= 0.51
    assert linear.min() < 0.0031 and np.any(linear == 1)  # both ends of the curve were there
    assert not np.any(shade.photograph(jax.random.key(0), _plain_look(), jnp.zeros((4, 4, 3))))


@pytest.mark.slow
def test_blur_matches_a_slow_reference():
    rng = np.random.default_rng(1)
    image = rng.uniform(0, 0.5, (14, 17, 3)).astype(np.float32)
    picture = shade.photograph(
        jax.random.key(0), _plain_look(blur_px=1.1, exposure=image.mean()), jnp.asarray(image)
    )
    at = np.arange(-4, 5)
    weights = np.exp(-0.5 * (at / 1.1) ** 2)
    weights /= weights.sum()
    expected = np.zeros(image.shape)
    for v, u in np.ndindex(14, 17):
        for i, a in zip(at, weights, strict=True):
            for j, b in zip(at, weights, strict=True):
                expected[v, u] += a * b * image[np.clip(v + i, 0, 13), np.clip(u + j, 0, 16)]
    assert np.max(np.abs(np.asarray(picture) - 255 * _srgb(expected))) <= 0.52


def test_noise_grows_with_the_light():
    for light in (0.04, 0.2, 0.6):
        look = _plain_look(noise=0.03, exposure=light)
        picture = (
            np.asarray(
                jax.jit(shade.photograph)(jax.random.key(2), look, jnp.full((128, 128, 3), 0.5))
            )
            / 255
        )
        linear = np.where(picture <= 0.04045, picture / 12.92, ((picture + 0.055) / 1.055) ** 2.4)
        np.testing.assert_allclose(linear.mean(), light, rtol=0.02)
        np.testing.assert_allclose(linear.std(), 0.03 * np.sqrt(light + 0.02), rtol=0.05)
        assert abs(np.corrcoef(linear[:, 1:].ravel(), linear[:, :-1].ravel())[0, 1]) < 0.02


@pytest.mark.slow
def test_visible_normals_face_the_camera():
    """For both hands the normal at each pixel of skin points to the camera: lights are correct."""
    skin = skinning.hand_skin()
    k = jnp.asarray([[150.0, 0.0, 20.0], [0.0, 150.0, 20.0], [0.0, 0.0, 1.0]])
    pose, position = jnp.zeros(26).at[7::4].set(0.3), jnp.asarray([0.0, 0.0, 600.0])
    for turn, side in ((0.0, 1.0), (2.0, 1.0), (-1.5, -1.0)):
        turned = pose.at[0].set(turn)
        vertices = render.in_camera(skinning.hand_vertices(skin, turned), position, side)
        normals = render.in_camera(
            skinning.hand_normals(skin, turned, jnp.ones(3)), jnp.zeros(3), side
        )
        # With a single light at the camera, skin would be black where it faced away.
        image = shade.hand_image(
            _plain_look(),
            jnp.zeros((40, 40, 3)),
            vertices,
            normals,
            skin.faces,
            skin.vertices,
            shade.palm_side(skin),
            k,
            1,
        )
        _, covered = render.mesh_depth(vertices, skin.faces, k, 40, 40, projection="pinhole")
        lit = np.asarray(image)[..., 0][np.asarray(covered) > 0]
        assert len(lit) > 150 and np.mean(lit > 0.3 / 1.3) > 0.97 and np.median(lit) > 0.75
