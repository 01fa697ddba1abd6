"""Crops and joints ↔ what the hand network sees and gives."""

import jax.numpy as jnp
import numpy as np
import pytest

from handjax.pose.look_at import crop_camera
from handjax.targets import handnet

DISTANCE = jnp.array([420.0, 900.0])
K = crop_camera(DISTANCE, 64)


def test_camera_coordinates_undo_crop_coordinates():
    xyz = jnp.asarray(np.random.default_rng(0).uniform(-120, 120, (2, 21, 3)), jnp.float32)
    xyz = xyz.at[..., 2].add(DISTANCE[:, None])
    crop = handnet.crop_coordinates(xyz, K, DISTANCE, 64)
    back = handnet.camera_coordinates(crop, K, DISTANCE, 64)
    np.testing.assert_allclose(back, xyz, rtol=1e-5, atol=1e-3)


def test_crop_coordinates_of_the_middle_and_of_an_edge():
    # At the distance of the middle, crop coordinates are mm.
    xyz = jnp.array([[[0.0, 0, 420], [150, -150, 420], [0, 0, 500]]])
    crop = handnet.crop_coordinates(xyz, K[:1], DISTANCE[:1], 64)
    np.testing.assert_allclose(crop[0], [[0, 0, 0], [150, -150, 0], [0, 0, 80]], atol=1e-3)


def test_the_network_sees_depth_from_the_middle_and_what_was_measured():
    depth = jnp.zeros((1, 2, 2)).at[0, 0].set(jnp.array([420.0, 495.0])).at[0, 1, 0].set(2000.0)
    seen = handnet.network_input(depth, DISTANCE[:1])[0]
    np.testing.assert_allclose(seen[..., 0], [[0, 0.5], [1, 1]])
    np.testing.assert_array_equal(seen[..., 1], [[1, 1], [0, 0]])


@pytest.mark.parametrize("cell", [(0, 0), (7, 8), (15, 3)])
def test_a_single_hot_cell_is_decoded_at_its_center(cell):
    v, u = cell
    maps = jnp.zeros((16, 16, 3)).at[v, u, 0].set(50.0).at[v, u, 1].set(0.2).at[v, u, 2].set(-1.0)
    joints, std = handnet.decode(maps)
    center = (np.array([u, v]) + 0.5) * 300 / 16 - 150
    np.testing.assert_allclose(joints[0], [*center, 30], atol=1e-3)
    assert std[0] == pytest.approx(np.exp(2.5), rel=1e-4)


def test_the_heat_that_is_learnt_peaks_at_the_joint():
    crop = jnp.array([[[0.0, -150 + 300 / 32, 12], [400.0, 30.0, 0]]])
    rows, columns = (np.asarray(part)[0] for part in handnet.heat_target(crop, 16))
    assert rows.shape == columns.shape == (16, 2)
    np.testing.assert_allclose(rows.sum(0), 1, rtol=1e-5)
    assert rows[:, 0].argmax() == 0 and columns[:, 1].argmax() == 15
    assert (columns[:, 0] * (np.arange(16) + 0.5) * 300 / 16).sum() - 150 == pytest.approx(0, abs=1)
