"""Noise and resampling of depth images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.synthetic import sensors


@pytest.mark.slow
def test_noise_has_no_bias_and_adds_no_pixels():
    ramp = 500 + jnp.broadcast_to(jnp.arange(200.0), (200, 200))
    shift = sensors.add_noise(jax.random.key(0), ramp, 0.0, 0.5) - ramp
    inner = np.asarray(shift)[5:-5, 5:-5]
    assert set(np.unique(inner)) <= {-3, -2, -1, 0, 1, 2, 3} and abs(inner.mean()) < 0.01
    assert 0.25 < np.mean(inner != 0) < 0.38  # 2 (1 - Φ(1)) = 0.317
    noise = sensors.add_noise(jax.random.key(1), ramp, 2.0, 0.0) - ramp
    assert abs(noise.mean()) < 0.05 and abs(noise.std() - 2) < 0.05
    np.testing.assert_array_equal(sensors.add_noise(jax.random.key(2), ramp, 0.0, 0.0), ramp)
    assert not np.any(sensors.add_noise(jax.random.key(3), jnp.zeros((8, 8)), 2.0, 0.5))


def test_noise_leaves_the_background_unchanged():
    image = jnp.full((64, 64), 100.0).at[16:48, 16:48].set(20.0)
    noisy = np.asarray(sensors.add_noise(jax.random.key(0), image, 5.0, 0.5, 100.0))
    assert np.all(noisy[:10] == 100) and np.all(noisy[20:44, 20:44] < 60)
    inner = noisy[20:44, 20:44] - 20
    assert abs(inner.mean()) < 0.6 and abs(inner.std() - 5) < 0.5
    edge = noisy[16:48, 16] == 100  # outlines fray
    assert 0.05 < edge.mean() < 0.4


def _filter(window):
    """The filters in the source of sphereHand."""
    if window == 3:
        return np.asarray([[1, 2, 1], [2, 6, 2], [1, 2, 1]]) / 18
    return (
        np.asarray(
            [
                [1, 4, 7, 4, 1],
                [4, 16, 26, 16, 4],
                [7, 26, 41, 26, 7],
                [4, 16, 26, 16, 4],
                [1, 4, 7, 4, 1],
            ]
        )
        / 273
    )


@pytest.mark.parametrize("window", [3, 5])
def test_resampling_matches_a_slow_reference(window):
    rng = np.random.default_rng(0)
    depth = rng.uniform(-50, 50, (20, 30)).astype(np.float32)
    resample = jax.jit(sensors.resample, static_argnums=(2, 3, 4))
    smooth = resample(jax.random.key(0), jnp.asarray(depth), window, 100.0, 0.0)
    weights, reach = _filter(window), window // 2
    expected = np.zeros_like(depth, np.float64)
    for v, u in np.ndindex(depth.shape):
        for (i, j), weight in np.ndenumerate(weights):
            expected[v, u] += (
                weight * depth[np.clip(v + i - reach, 0, 19), np.clip(u + j - reach, 0, 29)]
            )
    np.testing.assert_allclose(smooth, expected, atol=1e-4)
    np.testing.assert_allclose(
        resample(jax.random.key(0), jnp.full((8, 9), 100.0), window, 100.0), 100.0, rtol=1e-6
    )


def test_resampling_drops_a_fraction_of_the_pixels():
    """Filter weights sum to 1, so the mean of a flat image gives the number of dropped pixels."""
    flat = jnp.zeros((256, 256))
    for window in (3, 5):
        out = sensors.resample(jax.random.key(1), flat, window, 100.0)
        assert abs(np.mean(out) / 100 - 0.05) < 0.004
        assert (
            abs(np.mean(sensors.resample(jax.random.key(2), flat, window, 100.0, 0.3)) / 100 - 0.3)
            < 0.01
        )
        np.testing.assert_allclose(
            sensors.resample(jax.random.key(3), flat, window, 100.0, 1.0), 100.0, rtol=1e-6
        )
        spots = np.asarray(sensors.resample(jax.random.key(4), flat, window, 100.0, 5e-4))
        assert 5 < np.sum(np.isclose(spots, 100 * _filter(window).max(), rtol=1e-4)) < 80


def test_dropped_pixels_become_background():
    depth = jnp.full((200, 200), 7.0)
    dropped = np.asarray(sensors.drop_pixels(jax.random.key(0), depth, 0.25, -1.0))
    assert set(np.unique(dropped)) == {-1.0, 7.0} and abs(np.mean(dropped == -1) - 0.25) < 0.01
    np.testing.assert_array_equal(sensors.drop_pixels(jax.random.key(0), depth, 0.0, -1.0), depth)
