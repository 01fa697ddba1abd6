"""Human3.6M's lens compared with OpenCV's."""

import cv2
import numpy as np

from handjax.pose.lens import project_through_lens
from handjax.pose.pinhole import project

K = np.array([[1145.0, 0, 512.5], [0, 1144.0, 515.5], [0, 0, 1]])
K1, K2, K3, P1, P2 = LENS = np.array([-0.2, 0.24, -0.002, -0.0009, -0.0016])


def points():
    rng = np.random.default_rng(0)
    return rng.uniform([-900, -900, 2500], [900, 900, 5000], (50, 3))


def opencv(xyz, tangential):
    lens = np.array([K1, K2, P1 * tangential, P2 * tangential, K3])
    return cv2.projectPoints(xyz, np.zeros(3), np.zeros(3), K, lens)[0][:, 0]


def test_without_distortion_it_is_a_pinhole():
    np.testing.assert_array_equal(
        project_through_lens(points(), K, np.zeros(5)), project(points(), K)
    )


def test_radial_terms_are_those_of_opencv():
    uv = project_through_lens(points(), K, LENS * [1, 1, 1, 0, 0])
    np.testing.assert_allclose(uv, opencv(points(), tangential=0), atol=1e-9)


def test_half_of_the_tangential_products():
    """OpenCV adds 2 p1 x y + p2 (r² + 2 x²) to x; Human3.6M's toolbox p1 x y + p2 (r² + x²)."""
    x, y = (points()[:, :2] / points()[:, 2:]).T
    missing = np.stack([P1 * x * y + P2 * x * x, P2 * x * y + P1 * y * y], axis=-1) * [
        1145.0,
        1144.0,
    ]
    uv = project_through_lens(points(), K, LENS)
    np.testing.assert_allclose(uv + missing, opencv(points(), tangential=1), atol=1e-9)
