"""Cubes of depth around a hand."""

import numpy as np
import pytest

from handjax.fitting.depth_cube import crop_cube

HEIGHT, WIDTH = 120, 160
K = np.array([[200, 0, 80], [0, 200, 60], [0, 0, 1]], np.float32)


@pytest.fixture(scope="module")
def depth():
    """A tilted patch at half a metre, mm, off the middle of the image."""
    depth = np.zeros((HEIGHT, WIDTH), np.float32)
    depth[40:80, 90:140] = 500 + np.arange(50, dtype=np.float32)
    return depth


def test_left_hand_is_mirrored_right_hand(depth):
    mirrored = K.copy()
    mirrored[0, 2] = WIDTH - 1 - K[0, 2]
    left, right = crop_cube(depth, K, left=True), crop_cube(depth[:, ::-1], mirrored)
    np.testing.assert_allclose(left.center_xyz * [-1, 1, 1], right.center_xyz, atol=1e-2)
    again = crop_cube(depth, K, left=True, center_xyz=right.center_xyz * [-1, 1, 1])
    np.testing.assert_array_equal(again.depth, right.depth)
    v, u = np.nonzero(depth)
    z = depth[v, u]
    camera = np.stack([(u - K[0, 2]) * z / K[0, 0], (v - K[1, 2]) * z / K[1, 1], z], -1)
    back = left.to_camera(left.points)
    np.testing.assert_allclose(back[np.lexsort(back.T)], camera[np.lexsort(camera.T)], atol=1e-3)


def test_missing_depth_is_an_error(depth):
    with pytest.raises(ValueError, match="no depth between 600 and 900 mm.*from 500 to 549 mm"):
        crop_cube(depth, K, range_mm=(600.0, 900.0))
    with pytest.raises(ValueError, match="no pixel was measured"):
        crop_cube(np.zeros_like(depth), K)
    with pytest.raises(ValueError, match="no depth within 150 mm of the center 0, 0, 1500 mm"):
        crop_cube(depth, K, center_xyz=np.array([0, 0, 1500], np.float32))
