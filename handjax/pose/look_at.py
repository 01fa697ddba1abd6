"""Depth images as another camera would see them: one that is turned to look at a point, or one with
other intrinsics.

A camera turned towards the hand sees it alike wherever it is in the picture; a crop of the picture
itself shears it towards the edges.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from handjax.pose import geometry, pinhole

CROP_MM = 300.0  # what the hand network's crop shows, at the distance of its middle
# Height, width and focal length, px, of the picture that the finder sees: 74 by 64 degrees.
FRAME_SIZE, FRAME_FOCAL = (80, 96), 64.0

# px, some times the rounding errors of pixels of a VGA image. Where rays meet the border of two
# pixels, those would decide, for whole columns at once, and differently in each runtime.
_UNTIE = 3e-4
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


def centered_camera(focal: Float[Array, "*b"], height: int, width: int) -> Float[Array, "*b 3 3"]:
    """Intrinsics of an image whose optical axis is in its middle."""
    zero, one = jnp.zeros_like(focal), jnp.ones_like(focal)
    cx, cy = one * ((width - 1) / 2), one * ((height - 1) / 2)
    rows = [focal, zero, cx, zero, focal, cy, zero, zero, one]
    return jnp.stack(rows, axis=-1).reshape(*focal.shape, 3, 3)


def crop_camera(distance: Float[Array, "*b"], size: int) -> Float[Array, "*b 3 3"]:
    """Intrinsics of a crop of `size` px that shows CROP_MM at `distance`."""
    return centered_camera(size * distance / CROP_MM, size, size)


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
    pixels = depth.ravel()
    result = jnp.zeros(height * width, depth.dtype)
    for step in steps:
        x, y = rays[:, 0] + step[0], rays[:, 1] + step[1]
        # The inverse rotation, written out: as a product of matrices it takes most of the time.
        old = [x * rotation[0, i] + y * rotation[1, i] + rotation[2, i] for i in range(3)]
        ahead = old[2] > 1e-3
        uv = pinhole.project(jnp.where(ahead[:, None], jnp.stack(old, axis=-1), 1.0), k)
        u, v = (jnp.round(uv[:, i] + _UNTIE).astype(jnp.int32) for i in range(2))
        inside = ahead & (u >= 0) & (v >= 0) & (u < depth.shape[1]) & (v < depth.shape[0])
        place = jnp.where(inside, v * depth.shape[1] + u, 0)
        # The ray, scaled to this depth along the old z, is as deep along the new z as its factor.
        new = pixels[place] / jnp.where(ahead, old[2], 1.0)
        result = jnp.where((result == 0) & inside, new, result)
    return result.reshape(height, width)
