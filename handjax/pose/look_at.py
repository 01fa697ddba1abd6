"""Depth images as another camera would see them: one that is turned to look at a point, or one with
other intrinsics.

A camera turned towards the hand sees it alike wherever it is in the picture; a crop of the picture
itself shears it towards the edges.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from handjax.pose import geometry, pinhole

# Where around its center a pixel looks for a measurement, px: the center first.
_TAPS = ((0.0, 0.0), (0.3, 0.3), (-0.3, -0.3), (0.3, -0.3), (-0.3, 0.3))


def towards(point: Float[Array, "*b 3"]) -> Float[Array, "*b 3 3"]:
    """Rotation camera → camera that looks at `point`: rows are its axes, x as level as before.

    The smallest turn that moves the optical axis to the point; the point must be before the camera.
    """
    axis = point / geometry.safe_norm(point)[..., None]
    x, y, z = axis[..., 0], axis[..., 1], axis[..., 2]
    a = 1 / (1 + z)
    rows = (
        jnp.stack([1 - x * x * a, -x * y * a, -x], axis=-1),
        jnp.stack([-x * y * a, 1 - y * y * a, -y], axis=-1),
        axis,
    )
    return jnp.stack(rows, axis=-2)


def roll(joints_xyz: Float[Array, "*b 21 3"]) -> Float[Array, "*b"]:
    """Angle about the optical axis, rad, from straight up in the image to where a hand (hand21)
    points: from its wrist to the first joint of its middle finger; positive to the right."""
    forward = joints_xyz[..., 9, :] - joints_xyz[..., 0, :]
    # The small number: a hand that points along the axis has no direction, and no gradient.
    return jnp.arctan2(forward[..., 0], -forward[..., 1] + 1e-6)


def crop_camera(
    distance: Float[Array, "*b"], extent_mm: float, size: int
) -> Float[Array, "*b 3 3"]:
    """Intrinsics of a crop of `size` px that shows `extent_mm` at `distance`, centered."""
    focal = size * distance / extent_mm
    zero, one, middle = jnp.zeros_like(focal), jnp.ones_like(focal), (size - 1) / 2
    rows = [focal, zero, one * middle, zero, focal, one * middle, zero, zero, one]
    return jnp.stack(rows, axis=-1).reshape(*focal.shape, 3, 3)


def resample(
    depth: Float[Array, "h w"],
    k: Float[Array, "3 3"],
    rotation: Float[Array, "3 3"],
    new_k: Float[Array, "3 3"],
    height: int,
    width: int,
) -> Float[Array, "{height} {width}"]:
    """Depth, mm along z, 0 missing, of camera `k` as the camera `new_k` sees it, which is turned by
    `rotation` (`towards`); mm along the new z.

    Every pixel takes the nearest measurement: interpolated depth lies on no surface. Pixels that
    look beyond the image or see a hole are 0.
    """
    rays = pinhole.pixel_rays(new_k, height, width)
    steps = jnp.asarray(_TAPS) / jnp.stack([new_k[0, 0], new_k[1, 1]])[None]
    result = jnp.zeros(height * width, depth.dtype)
    for step in steps:
        moved = rays.at[:, :2].add(step[None])
        old = jnp.matmul(moved, rotation, precision="highest")  # row vectors: the inverse
        ahead = old[:, 2] > 1e-3
        uv = pinhole.project(jnp.where(ahead[:, None], old, 1.0), k)
        u, v = (jnp.round(uv[:, i]).astype(jnp.int32) for i in range(2))
        inside = ahead & (u >= 0) & (v >= 0) & (u < depth.shape[1]) & (v < depth.shape[0])
        at = depth[jnp.clip(v, 0, depth.shape[0] - 1), jnp.clip(u, 0, depth.shape[1] - 1)]
        # The ray, scaled to this depth along the old z, is as deep along the new z as its factor.
        new = at / jnp.where(ahead, old[:, 2], 1.0)
        result = jnp.where((result == 0) & inside, new, result)
    return result.reshape(height, width)
