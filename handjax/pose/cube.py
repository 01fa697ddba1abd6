"""The sphere hand's cube: a depth image of 300 mm about a hand, seen along parallel rays.

Pixel u of `size` stands for x = (u - size/2) · 300/size mm from the middle of the cube, v for y
alike (Wan et al. 2019, github.com/melonwan/sphereHand). Depth is z in mm from the middle.
"""

import numpy as np
from jaxtyping import Float, Float32

EXTENT_MM = 300.0  # edge of the cube
BACKGROUND_MM = 100.0  # depth of a pixel without a hand


def parallel_rays(
    depth: Float[np.ndarray, "h w"],
    k: Float[np.ndarray, "3 3"],
    middle: Float[np.ndarray, " 3"],
    size: int,
) -> Float32[np.ndarray, "{size} {size}"]:
    """Resample a camera's depth (mm, 0 = missing) along parallel rays through the cube at `middle`
    (camera mm). Returns mm from the middle of the cube, `BACKGROUND_MM` where nothing is.

    Each measured point goes to the nearest pixel, and of several points the nearest one stays.
    Holes are not filled, and points beyond `BACKGROUND_MM` become background.

    The original rounds down, which shifts its images by half a pixel relative to its labels, and
    keeps the last point written, whichever is nearer.
    """
    v, u = np.nonzero((depth > 0) & (np.abs(depth - middle[2]) < EXTENT_MM / 2))
    z = depth[v, u].astype(np.float64)
    x, y = (u - k[0, 2]) * z / k[0, 0] - middle[0], (v - k[1, 2]) * z / k[1, 1] - middle[1]
    column, row = (np.rint(at * (size / EXTENT_MM) + size / 2).astype(int) for at in (x, y))
    inside = (column >= 0) & (column < size) & (row >= 0) & (row < size)
    image = np.full((size, size), BACKGROUND_MM, np.float32)
    np.minimum.at(image, (row[inside], column[inside]), (z - middle[2])[inside].astype(np.float32))
    return image
