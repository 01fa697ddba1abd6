"""Pinhole cameras, on NumPy and JAX arrays alike.

Lengths are in mm, pixel centers are at integers, and a camera looks along z with x to the right
and y down. NumPy in, NumPy out, in the precision of the input (so float64 stays float64); if any
argument is a JAX array, so is the result. Importing this module does not import JAX.
"""

from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Bool, Float


def namespace(*arrays: Any) -> ModuleType:
    """`jax.numpy` if any of the arrays is JAX's, else `numpy`."""
    others = [array for array in arrays if not isinstance(array, np.ndarray)]
    return others[0].__array_namespace__() if others else np


def project(xyz: Float[Any, "*b n 3"], k: Float[Any, "*#b 3 3"]) -> Float[Any, "*b n 2"]:
    """Pinhole projection, camera mm → px.

    `k` is the intrinsic matrix without skew; its batch axes broadcast to those of `xyz`. Points
    must be off the plane z = 0, where the result is infinite or NaN, and so are its gradients.
    """
    focal, center = _focal_center(k)
    z = xyz[..., 2:]
    return xyz[..., :2] / z * focal + center


def xyz_to_uvd(xyz: Float[Any, "*b n 3"], k: Float[Any, "*#b 3 3"]) -> Float[Any, "*b n 3"]:
    """Camera mm → (px, px, mm along z): `project` and the depth."""
    return namespace(xyz, k).concatenate([project(xyz, k), xyz[..., 2:]], axis=-1)


def uvd_to_xyz(uvd: Float[Any, "*b n 3"], k: Float[Any, "*#b 3 3"]) -> Float[Any, "*b n 3"]:
    """(px, px, mm along z) → camera mm, the inverse of `xyz_to_uvd`; finite at d = 0 as well."""
    focal, center = _focal_center(k)
    d = uvd[..., 2:]
    return namespace(uvd, k).concatenate([(uvd[..., :2] - center) / focal * d, d], axis=-1)


def pixel_rays(
    k: Float[Any, "*b 3 3"], height: int, width: int
) -> Float[Any, "*b {height}*{width} 3"]:
    """Directions (x, y, 1) through all pixel centers, row by row: times d, the point at depth d."""
    xp = namespace(k)
    v, u = xp.meshgrid(
        xp.arange(height, dtype=k.dtype), xp.arange(width, dtype=k.dtype), indexing="ij"
    )
    uvd = xp.stack([u.ravel(), v.ravel(), xp.ones(height * width, k.dtype)], axis=-1)
    return uvd_to_xyz(xp.broadcast_to(uvd, (*k.shape[:-2], *uvd.shape)), k)


def depth_to_points(
    depth: Float[Any, "*b h w"], k: Float[Any, "*b 3 3"]
) -> tuple[Float[Any, "*b h*w 3"], Bool[Any, "*b h*w"]]:
    """Every pixel as a point in camera mm, row by row, and whether it was measured (depth > 0)."""
    *batch, height, width = depth.shape
    d = depth.reshape(*batch, height * width)
    return pixel_rays(k, height, width) * d[..., None], d > 0


def _focal_center(
    k: Float[Any, "*b 3 3"],
) -> tuple[Float[Any, "*b 1 2"], Float[Any, "*b 1 2"]]:
    xp = namespace(k)
    return xp.stack([k[..., 0, 0], k[..., 1, 1]], axis=-1)[..., None, :], k[..., None, :2, 2]
