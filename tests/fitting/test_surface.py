"""Distances of points from fitted hands."""

import numpy as np

from handjax.fitting import surface


def test_signed_distance_is_that_of_the_union():
    centers, radii = np.array([[0.0, 0, 0], [6, 0, 0]], np.float32), np.array([5.0, 5], np.float32)
    points = np.array([[0, 0, 8], [3, 0, 4], [3, 0, 0], [-5, 0, 0]], np.float32)
    np.testing.assert_allclose(
        surface.signed_distance(points, centers, radii), [3, 0, -2, 0], atol=1e-6
    )


def test_points_nearer_to_the_forearm():
    hand = np.array([[0.0, 0, 0]], np.float32), np.array([5.0], np.float32)
    forearm = np.array([[20.0, 0, 0]], np.float32), np.array([5.0], np.float32)
    points = np.array([[6, 0, 0], [16, 0, 0], [0, 3, 0]], np.float32)
    nearer = surface.nearer_to_forearm(points, hand, forearm)
    np.testing.assert_array_equal(nearer, [False, True, False])
    assert not surface.nearer_to_forearm(points[1:2], hand, forearm).any()  # all: then none
    assert surface.mean_distance(points[~nearer], hand) == 1.5  # 1 outside, 2 inside
