"""Cameras, rotations and square roots that keep finite gradients. Pixel centres are integers, lengths are mm."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float


def safe_sqrt(x: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """Square root of max(x, 0) whose gradient is 0, not infinite or NaN, where x <= 0."""
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1.0)), 0.0)


def safe_norm(x: Float[Array, "*b n"]) -> Float[Array, "*b"]:
    """Euclidean length over the last axis; the gradient at the zero vector is 0."""
    return safe_sqrt(jnp.sum(x * x, axis=-1))


def rotation_x(angle: Float[Array, "*b"]) -> Float[Array, "*b 3 3"]:
    """Right-handed rotation by `angle` rad about x."""
    c, s, o, i = jnp.cos(angle), jnp.sin(angle), jnp.zeros_like(angle), jnp.ones_like(angle)
    return jnp.stack([i, o, o, o, c, -s, o, s, c], axis=-1).reshape(*angle.shape, 3, 3)


def rotation_y(angle: Float[Array, "*b"]) -> Float[Array, "*b 3 3"]:
    """Right-handed rotation by `angle` rad about y."""
    c, s, o, i = jnp.cos(angle), jnp.sin(angle), jnp.zeros_like(angle), jnp.ones_like(angle)
    return jnp.stack([c, o, s, o, i, o, -s, o, c], axis=-1).reshape(*angle.shape, 3, 3)


def rotation_z(angle: Float[Array, "*b"]) -> Float[Array, "*b 3 3"]:
    """Right-handed rotation by `angle` rad about z."""
    c, s, o, i = jnp.cos(angle), jnp.sin(angle), jnp.zeros_like(angle), jnp.ones_like(angle)
    return jnp.stack([c, -s, o, s, c, o, o, o, i], axis=-1).reshape(*angle.shape, 3, 3)


def matmul(a: Float[Array, "*b n m"], b: Float[Array, "*b m p"]) -> Float[Array, "*b n p"]:
    """Matrix product in full float32 on every backend: geometry must not be rounded to TF32 or bfloat16."""
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


def map_points(
    matrix: Float[Array, "*b 3 3"], points: Float[Array, "*b n 3"]
) -> Float[Array, "*b n 3"]:
    """M p for every point of a cloud, in full float32. One coordinate at a time: for so narrow a matrix XLA's product takes nine
    times as long on a CPU, since it can't be fused with what made the points."""
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


def xyz_to_uvd(xyz: Float[Array, "*b n 3"], k: Float[Array, "*b 3 3"]) -> Float[Array, "*b n 3"]:
    """Camera mm → (pixel, pixel, mm along z), for points off the plane z = 0 and a camera without skew."""
    focal, centre = _focal_centre(k)
    z = xyz[..., 2:]
    return jnp.concatenate([xyz[..., :2] / z * focal + centre, z], axis=-1)


def uvd_to_xyz(uvd: Float[Array, "*b n 3"], k: Float[Array, "*b 3 3"]) -> Float[Array, "*b n 3"]:
    """(pixel, pixel, mm along z) → camera mm: the inverse of `xyz_to_uvd`."""
    focal, centre = _focal_centre(k)
    d = uvd[..., 2:]
    return jnp.concatenate([(uvd[..., :2] - centre) / focal * d, d], axis=-1)


def pixel_rays(
    k: Float[Array, "*b 3 3"], height: int, width: int
) -> Float[Array, "*b {height}*{width} 3"]:
    """Directions (x, y, 1) through the centres of all pixels, row by row: the point at depth d is d times its ray."""
    v, u = jnp.meshgrid(
        jnp.arange(height, dtype=k.dtype), jnp.arange(width, dtype=k.dtype), indexing="ij"
    )
    uvd = jnp.stack([u.ravel(), v.ravel(), jnp.ones(height * width, k.dtype)], axis=-1)
    return uvd_to_xyz(jnp.broadcast_to(uvd, (*k.shape[:-2], *uvd.shape)), k)


def depth_to_points(
    depth: Float[Array, "*b h w"], k: Float[Array, "*b 3 3"]
) -> tuple[Float[Array, "*b h*w 3"], Bool[Array, "*b h*w"]]:
    """Every pixel as a point in camera mm, row by row, and whether it was measured (a depth of 0 is missing)."""
    *batch, height, width = depth.shape
    d = depth.reshape(*batch, height * width)
    return pixel_rays(k, height, width) * d[..., None], d > 0


def _focal_centre(
    k: Float[Array, "*b 3 3"],
) -> tuple[Float[Array, "*b 1 2"], Float[Array, "*b 1 2"]]:
    return jnp.stack([k[..., 0, 0], k[..., 1, 1]], axis=-1)[..., None, :], k[..., None, :2, 2]
