"""Joints in 3D and the rays on which a picture shows them, combined; the pose of a wrist."""

from typing import Any

import numpy as np
from jaxtyping import Float

from handjax.pose.pinhole import namespace


def fuse_rays(
    xyz: Float[Any, "*b j 3"],
    covariance: Float[Any, "*b j 3 3"],
    rays: Float[Any, "*b j 3"],
    ray_std: Float[Any, "*b j"],
) -> tuple[Float[Any, "*b j 3"], Float[Any, "*b j 3 3"]]:
    """Joints moved towards the rays through the camera's center on which a picture shows them, and
    their new covariances, mm².

    xyz         camera mm
    covariance  of the error of each, mm², of full rank
    rays        directions, of any length; NaN where the picture shows nothing
    ray_std     error of the ray at the joint's distance, mm across it

    The product of two Gaussians; the ray's has infinite variance along the ray.
    """
    xp = namespace(xyz, covariance, rays, ray_std)
    seen = xp.isfinite(rays).all(-1)
    safe = xp.where(seen[..., None], rays, xp.ones_like(rays))
    ahead = safe / xp.sqrt((safe**2).sum(-1, keepdims=True))
    across = _across(ahead, xp)
    spread = covariance @ across.mT  # Kalman's update: two coordinates were measured as 0
    both = across @ spread
    a, b, d = both[..., 0, 0] + ray_std**2, both[..., 0, 1], both[..., 1, 1] + ray_std**2
    inverse = xp.stack([xp.stack([d, -b], -1), xp.stack([-b, a], -1)], -2)
    inverse = inverse / xp.maximum(a * d - b * b, 1e-12)[..., None, None]
    gain = xp.where(seen[..., None, None], spread @ inverse, 0.0)
    moved = xyz - (gain @ (across @ xyz[..., None]))[..., 0]
    return moved, covariance - gain @ spread.mT


def _across(ahead: Float[Any, "*b 3"], xp: Any) -> Float[Any, "*b 2 3"]:
    """Two unit vectors across a unit vector and each other (Duff et al. 2017, JCGT 6)."""
    x, y, z = ahead[..., 0], ahead[..., 1], ahead[..., 2]
    sign = xp.where(z < 0, -1.0, 1.0).astype(ahead.dtype)
    a = -1 / (sign + z)
    first = xp.stack([1 + sign * x * x * a, sign * x * y * a, -sign * x], -1)
    return xp.stack([first, xp.stack([x * y * a, sign + y * y * a, -y], -1)], -2)


def wrist_pose(xyz: Float[np.ndarray, "*b 21 3"], left: Any) -> Float[np.ndarray, "*b 4 4"]:
    """The rigid map, mm of the wrist → camera mm, of joints in the order of hand21.

    The wrist's x axis points to the base of the middle finger, its z axis out of the back of the
    hand, whichever the side; y completes a right-handed frame. `left`: whether it is a left hand,
    for each.
    """
    wrist, index, middle, little = (xyz[..., joint, :] for joint in (0, 5, 9, 17))
    back = np.cross(little - wrist, index - wrist)
    back = np.where(np.asarray(left)[..., None], -back, back)
    x = _unit(middle - wrist)
    z = _unit(back - (back * x).sum(-1, keepdims=True) * x)
    pose = np.zeros((*xyz.shape[:-2], 4, 4), xyz.dtype)
    pose[..., :3, :3] = np.stack([x, np.cross(z, x), z], axis=-1)
    pose[..., :3, 3], pose[..., 3, 3] = wrist, 1
    return pose


def _unit(vector: Float[np.ndarray, "*b 3"]) -> Float[np.ndarray, "*b 3"]:
    return vector / np.maximum(np.linalg.norm(vector, axis=-1, keepdims=True), 1e-9)
