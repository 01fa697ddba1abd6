"""The sphere hand's cube along parallel rays."""

import numpy as np

from handjax.pose.cube import parallel_rays


def test_parallel_rays_keep_the_nearest_point():
    k = np.asarray([[500.0, 0, 20], [0, 500, 20], [0, 0, 1]])
    depth = np.zeros((41, 41), np.float32)
    depth[20, 20], depth[20, 21], depth[20, 19] = 700, 690, 710  # within one pixel of 4.7 mm
    # 14 mm to the right; too near; too far
    depth[20, 30], depth[10, 20], depth[0, 0] = 700, 200, 860
    image = parallel_rays(depth, k, np.asarray([0.0, 0.0, 700.0]), 64)
    found = {(int(v), int(u)): float(image[v, u]) for v, u in np.argwhere(image < 100)}
    assert found == {(32, 32): -10.0, (32, 35): 0.0}
