"""Rotations, rigid motions, and square roots with finite gradients."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


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
