"""Random crops fill their ranges, and the defaults change nothing."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.pose.augment2d import Augment, jitter_colours, noise, random_square

CENTER, SIDE, SIZE = np.float32([50, 70]), np.float32(128), 64
KEYS = 4000


def squares(augment):
    square = dict(center=jnp.asarray(CENTER), side=jnp.asarray(SIDE), size=SIZE)
    draw = jax.vmap(partial(random_square, **square, augment=augment))
    return jax.device_get(draw(jax.random.split(jax.random.key(0), KEYS)))


def test_defaults_change_nothing():
    center, side, angle, mirrored = squares(Augment())
    assert (
        (center == CENTER).all()
        and (side == SIDE).all()
        and (angle == 0).all()
        and not mirrored.any()
    )
    image = jax.random.uniform(jax.random.key(1), (4, 5, 3), maxval=255.0)
    assert jitter_colours(jax.random.key(0), image, Augment()) is image
    assert (noise(jax.random.key(0), (5,), 0.0) == 0).all()


def test_each_option_is_a_range():
    augment = Augment(scale=(0.5, 2.0), rotation_deg=40.0, shift_px=5.0, flip=0.25)
    center, side, angle, mirrored = squares(augment)
    for values, low, high in (
        (SIDE / side, 0.5, 2.0),
        (np.rad2deg(angle), -40, 40),
        *((((center - CENTER) * (SIZE / side)[:, None])[:, i], -5, 5) for i in (0, 1)),
    ):
        assert low <= values.min() + 1e-4 and values.max() <= high + 1e-4
        np.testing.assert_allclose(values.mean(), (low + high) / 2, atol=0.03 * (high - low))
        np.testing.assert_allclose(values.std(), (high - low) / 12**0.5, rtol=0.05)
    np.testing.assert_allclose(mirrored.mean(), 0.25, atol=0.03)
    assert (
        abs(np.corrcoef(np.stack([side, angle, mirrored, *center.T]))[~np.eye(5, dtype=bool)]).max()
        < 0.06
    )


def test_noise_ends_at_two_sigma():
    drawn = noise(jax.random.key(0), (4000, 2), 20.0)
    assert 39 < np.abs(drawn).max() <= 40
    np.testing.assert_allclose(drawn.std(), 20 * 0.8796, rtol=0.05)  # of a normal cut there


@pytest.mark.slow
def test_colours():
    image = jax.random.uniform(jax.random.key(1), (8, 9, 3), minval=80.0, maxval=170.0)
    grey = jnp.broadcast_to(image[..., :1], image.shape)
    keys = jax.random.split(jax.random.key(2), 500)

    def jitter(image, **numbers):
        return jax.vmap(lambda key: jitter_colours(key, image, Augment(**numbers)))(keys)

    brighter = (jitter(image, brightness=0.2) - image[None]) / 255
    assert (
        np.ptp(brighter, axis=(1, 2, 3)).max() < 1e-5
        and -0.2 <= brighter.min() < -0.19
        and 0.19 < brighter.max() <= 0.2
    )
    np.testing.assert_allclose(
        jitter(grey, saturation=0.9), np.broadcast_to(grey, (500, 8, 9, 3)), atol=1e-3
    )
    colourless = jitter(image, saturation=0.9)
    spread = np.ptp(colourless, axis=-1).mean((1, 2)) / np.ptp(image, axis=-1).mean()
    assert 0.1 <= spread.min() < 0.12 and 1.85 < spread.max() <= 1.9 + 1e-4
    contrast = jitter(grey, contrast=0.5)
    np.testing.assert_allclose(contrast.mean((1, 2, 3)), grey.mean(), rtol=1e-4)
    assert 0.5 <= (contrast.std((1, 2, 3)) / grey.std()).min() < 0.52
    assert jitter(image, brightness=0.9).min() == 0 and jitter(image, brightness=0.9).max() == 255
