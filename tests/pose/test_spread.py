"""Covariances and deviations."""

import numpy as np

from handjax.pose.spread import deviation, isotropic


def test_a_ball_has_its_deviation_and_a_long_one_the_mean():
    std = np.array([[1.0, 4.0], [0.5, 9.0]], np.float32)
    ball = isotropic(std)
    assert ball.shape == (2, 2, 3, 3)
    np.testing.assert_allclose(ball[0, 1], 16 * np.eye(3))
    np.testing.assert_allclose(deviation(ball), std)
    np.testing.assert_allclose(deviation(np.diag([1.0, 4.0, 13.0])), np.sqrt(6))
