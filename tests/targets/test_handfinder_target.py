"""Hands ↔ the maps of the finder."""

import jax
import jax.numpy as jnp
import numpy as np

from handjax.pose.pinhole import project
from handjax.targets import handfinder as target

K = jnp.array([[64.0, 0, 47.5], [0, 64.0, 39.5], [0, 0, 1]])
HANDS = jnp.array([[30.0, -60.0, 450.0], [-150.0, 80.0, 700.0]])
SIDES, SIZES = jnp.array([1.0, -1.0]), jnp.array([0.9, 0.8])


def perfect_maps(present):
    """Maps of a network without error."""
    heat, offset, cells = target.encode(HANDS, present, SIDES, K)
    maps = jnp.zeros((*heat.shape[:2], 6))
    maps = maps.at[..., :2].set(jnp.log(heat + 1e-6) - jnp.log(1 - heat + 1e-6))
    values = target.true_values(HANDS, offset, SIZES)
    return maps.at[cells[:, 0], cells[:, 1], 2:].set(values)


def test_highest_is_top_k():
    values = jnp.array([0.1, 0.7, 0.0, 0.7, 0.0, -jnp.inf, 0.3, 0.7])
    for count in (1, 3, 6):
        for found, expected in zip(
            target._highest(values, count), jax.lax.top_k(values, count), strict=True
        ):
            np.testing.assert_array_equal(found, expected)


def test_decode_finds_what_was_encoded():
    found = target.decode(perfect_maps(jnp.array([True, True])), K, 3)
    order = np.argsort(-np.asarray(found.side[:2]))
    np.testing.assert_allclose(found.xyz[:2][order], HANDS, atol=0.5)
    np.testing.assert_array_equal(found.side[:2][order], SIDES)
    np.testing.assert_allclose(found.size[:2][order], SIZES, rtol=1e-4)
    assert (found.score[:2] > 0.99).all() and found.score[2] < 0.9


def test_an_absent_hand_leaves_no_heat():
    heat, _, _ = target.encode(HANDS, jnp.array([True, False]), SIDES, K)
    assert heat[..., 0].max() == 1 and heat[..., 1].max() == 0
    v, u = np.unravel_index(np.argmax(heat[..., 0]), heat.shape[:2])
    assert np.abs(np.array([u, v]) * 4 + 1.5 - np.asarray(project(HANDS[:1], K)[0])).max() <= 2


def test_a_hand_of_either_side_is_one_place():
    maps = perfect_maps(jnp.array([True, False]))
    maps = maps.at[..., 1].set(maps[..., 0] - 0.1)
    found = target.decode(maps, K, 3)
    apart = np.linalg.norm(np.asarray(found.xyz[1:] - found.xyz[:1]), axis=-1)
    assert found.side[0] == 1 and not ((apart < 5) & (np.asarray(found.score[1:]) > 0.3)).any()


def test_network_input_of_missing_depth():
    seen = jax.device_get(target.network_input(jnp.array([[0.0, 200.0, 1000.0, 4000.0]])))[0]
    np.testing.assert_allclose(seen[:, 0], [2, 0.2, 1, 2])
    np.testing.assert_allclose(seen[:, 1], [0.0002, 1, 0.2, 0.05])
    np.testing.assert_array_equal(seen[:, 2], [0, 1, 1, 1])
