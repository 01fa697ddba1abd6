"""Cameras, rotations, and square roots with finite gradients.

Lengths are in mm, pixel centers are at integers, and a camera looks along z with x to the right
and y down. The projections work on NumPy and JAX arrays alike: NumPy in, NumPy out, in the
precision of the input (so float64 stays float64); if any argument is a JAX array, so is the result.
"""

from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float


def namespace(*arrays: Any) -> ModuleType:
    """`jax.numpy` if any of the arrays is JAX's, else `numpy`."""
    return jnp if any(isinstance(array, jax.Array) for array in arrays) else np


def safe_sqrt(x: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """Square root of max(x, 0) whose gradient is 0, not infinite or NaN, where x <= 0."""
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1.0)), 0.0)


def safe_norm(x: Float[Array, "*b n"]) -> Float[Array, "*b"]:
    """Euclidean norm over the last axis; the gradient at the zero vector is 0."""
    return safe_sqrt(jnp.sum(x * x, axis=-1))


def rotation_x(angle: Float[Array, "*b"]) -> Float[Array, "*b 3 3"]:
    """Right-handed rotation by `angle` radians about x."""
    c, s, o, i = jnp.cos(angle), jnp.sin(angle), jnp.zeros_like(angle), jnp.ones_like(angle)
    return jnp.stack([i, o, o, o, c, -s, o, s, c], axis=-1).reshape(*angle.shape, 3, 3)


def rotation_y(angle: Float[Array, "*b"]) -> Float[Array, "*b 3 3"]:
    """Right-handed rotation by `angle` radians about y."""
    c, s, o, i = jnp.cos(angle), jnp.sin(angle), jnp.zeros_like(angle), jnp.ones_like(angle)
    return jnp.stack([c, o, s, o, i, o, -s, o, c], axis=-1).reshape(*angle.shape, 3, 3)


def rotation_z(angle: Float[Array, "*b"]) -> Float[Array, "*b 3 3"]:
    """Right-handed rotation by `angle` radians about z."""
    c, s, o, i = jnp.cos(angle), jnp.sin(angle), jnp.zeros_like(angle), jnp.ones_like(angle)
    return jnp.stack([c, -s, o, s, c, o, o, o, i], axis=-1).reshape(*angle.shape, 3, 3)


def matmul(a: Float[Array, "*b n m"], b: Float[Array, "*b m p"]) -> Float[Array, "*b n p"]:
    """Matrix product in full float32 on every backend, never TF32 or bfloat16."""
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


def map_points(
    matrix: Float[Array, "*b 3 3"], points: Float[Array, "*b n 3"]
) -> Float[Array, "*b n 3"]:
    """Multiply every point of a cloud by `matrix`, in full float32.

    Written out per coordinate: with so narrow a matrix, XLA's matrix product takes nine times as
    long on a CPU, because it cannot be fused with the operations that produce the points.
    """
    x, y, z = (points[..., i] for i in range(3))
    rows = ([matrix[..., i, j, None] for j in range(3)] for i in range(3))
    return jnp.stack([a * x + b * y + c * z for a, b, c in rows], axis=-1)


def homogeneous(
    rotation: Float[Array, "*b 3 3"], translation: Float[Array, "*b 3"]
) -> Float[Array, "*b 4 4"]:
    """[R | t] over a last row of 0 0 0 1."""
    top = jnp.concatenate([rotation, translation[..., None]], axis=-1)
    last = jnp.zeros_like(top[..., :1, :]).at[..., 3].set(1.0)
    return jnp.concatenate([top, last], axis=-2)


def transform_points(
    transform: Float[Array, "*b 4 4"], points: Float[Array, "*b n 3"]
) -> Float[Array, "*b n 3"]:
    """R p + t for every point."""
    return (
        matmul(points, jnp.swapaxes(transform[..., :3, :3], -1, -2)) + transform[..., None, :3, 3]
    )


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
