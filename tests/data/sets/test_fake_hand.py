"""The hands of the fake sets are drawn as the renderer draws spheres."""

import jax
import jax.numpy as jnp
import numpy as np

from handjax.data.sets import fake_hand
from handjax.rigs.spheres import sphere_depth_pinhole

K = np.array([[90.0, 0, 40.3], [0, 95, 29.6], [0, 0, 1]], np.float32)
HEIGHT, WIDTH = 60, 80


def test_images_are_those_of_the_renderer():
    """In the middle, at the edge, too near for the image, and with a sphere behind the camera."""
    places = np.array([[10, -20, 500], [-160, 90, 420], [30, 0, 180]], np.float32)
    centers, radii, _ = fake_hand.hands(0, places, np.array([False, True, False]))
    centers[0, 0] = [0, 0, -50]
    draw = jax.jit(sphere_depth_pinhole, static_argnums=(3, 4))
    for own, sizes in zip(centers, radii, strict=True):
        depth, winner = fake_hand.render_spheres(own, sizes, K, HEIGHT, WIDTH)
        expected, index = draw(*map(jnp.asarray, (own, sizes, K)), HEIGHT, WIDTH)
        np.testing.assert_array_equal(winner, index)
        np.testing.assert_allclose(depth, expected, atol=0.05)
        assert (winner >= 0).sum() > 100


def test_hands_of_a_call_differ():
    places = np.array([[0, 0, 500], [40, 0, 450]], np.float32)
    two = fake_hand.hands(5, places, np.array([False, True]))
    assert [part.shape for part in two] == [(2, 41, 3), (2, 41), (2, 21, 3)]
    assert np.abs(two[2][0] - two[2][1]).max() > 20
