"""The depth around a hand as a cube of 300 mm along parallel rays, always of a right hand."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32

from handjax.pose.center import hand_center
from handjax.pose.cube import BACKGROUND_MM, EXTENT_MM, parallel_rays

SIZE = 64  # cells per edge
RANGE_MM = (200.0, 900.0)  # distance of hands from the camera


class CubeFrame(NamedTuple):
    """The axes of a cube: those of the camera, from the cube's middle; mirrored for left hands, so
    that every hand is a right one."""

    center_xyz: Float[np.ndarray, "3"]  # the middle, camera mm
    left: bool

    def to_camera(self, points: Float[np.ndarray, "*b 3"]) -> Float[np.ndarray, "*b 3"]:
        """mm of the cube → camera mm, of the hand's own side."""
        return np.asarray(points) * self._mirror + self.center_xyz

    def from_camera(self, points: Float[np.ndarray, "*b 3"]) -> Float[np.ndarray, "*b 3"]:
        """Camera mm → mm of the cube, in which every hand is a right one."""
        return (np.asarray(points) - self.center_xyz) * self._mirror

    def spread_to_camera(self, covariance: Float[np.ndarray, "*b 3 3"]) -> np.ndarray:
        """Covariances along the axes of the cube → along those of the camera, mm²."""
        return np.asarray(covariance) * self._mirror[:, None] * self._mirror

    @property
    def _mirror(self) -> Float32[np.ndarray, "3"]:
        return np.array([-1 if self.left else 1, 1, 1], np.float32)


class DepthCube(NamedTuple):
    """The depth around a hand. Left hands are mirrored in x, so everything is of a right hand."""

    depth: Float32[np.ndarray, "n n"]  # mm from the middle, BACKGROUND_MM where there is no hand
    points: Float32[np.ndarray, "p 3"]  # every measured pixel in the cube, mm from the middle
    center_xyz: Float32[np.ndarray, "3"]  # the middle, camera mm, not mirrored
    left: bool

    def to_camera(self, points: Float[np.ndarray, "*b 3"]) -> Float[np.ndarray, "*b 3"]:
        """mm of the cube → camera mm, of the hand's own side."""
        return CubeFrame(self.center_xyz, self.left).to_camera(points)

    def from_camera(self, points: Float[np.ndarray, "*b 3"]) -> Float[np.ndarray, "*b 3"]:
        """Camera mm → mm of the cube, in which every hand is a right one."""
        return CubeFrame(self.center_xyz, self.left).from_camera(points)


def crop_cube(
    depth: Float[np.ndarray, "h w"],
    k: Float[np.ndarray, "3 3"],
    range_mm: tuple[float, float] = RANGE_MM,
    left: bool = False,
    center_xyz: Float[np.ndarray, "3"] | None = None,
    size: int = SIZE,
) -> DepthCube:
    """Crop the cube around the hand from depth (mm, 0 = missing) of the camera `k`.

    Its middle is `center_xyz` (camera mm) or, without one, the center of mass of the nearest object
    within `range_mm` (`pose.center.hand_center`). Raises ValueError if there is no depth in that
    range or in the cube.
    """
    depth, k = np.asarray(depth, np.float32), np.array(k, np.float32)
    if center_xyz is None:
        if not ((depth >= range_mm[0]) & (depth <= range_mm[1])).any():
            measured = depth[depth > 0]
            available = (
                f"it is from {measured.min():.0f} to {measured.max():.0f} mm"
                if len(measured)
                else "no pixel was measured"
            )
            raise ValueError(
                f"no depth between {range_mm[0]:g} and {range_mm[1]:g} mm, where the hand is "
                f"searched for; {available}"
            )
        center_xyz = np.asarray(_center(depth, k, tuple(range_mm)))
    mirror = np.array([-1 if left else 1, 1, 1], np.float32)
    if left:
        depth, k[0, 2] = depth[:, ::-1], depth.shape[1] - 1 - k[0, 2]
    middle = np.asarray(center_xyz, np.float32) * mirror
    cube_depth = parallel_rays(depth, k, middle, size)
    v, u = np.nonzero(depth)
    z = depth[v, u]
    points = (
        np.stack([(u - k[0, 2]) * z / k[0, 0], (v - k[1, 2]) * z / k[1, 1], z], axis=-1) - middle
    )
    inside = (np.abs(points[:, :2]) <= EXTENT_MM / 2).all(1) & (points[:, 2] >= -EXTENT_MM / 2)
    points = points[inside & (points[:, 2] <= BACKGROUND_MM - 1)].astype(np.float32)
    if not len(points):
        center = ", ".join(f"{c:.0f}" for c in middle * mirror)
        raise ValueError(f"no depth within {EXTENT_MM / 2:g} mm of the center {center} mm")
    return DepthCube(cube_depth, points, middle * mirror, left)


@partial(jax.jit, static_argnames="range_mm")
def _center(
    depth: Float[Array, "h w"], k: Float[Array, "3 3"], range_mm: tuple[float, float]
) -> Float[Array, "3"]:
    return hand_center(depth, k, jnp.full(3, EXTENT_MM), range_mm)
