"""Joints in 3D and the rays on which a picture shows them, combined; the pose of a wrist."""

from typing import Any

import numpy as np
from jaxtyping import Float

from handjax.pose.pinhole import namespace


def fuse_rays(
    xyz: Float[Any, "*b j 3"],
    std: Float[Any, "*b j"],
    rays: Float[Any, "*b j 3"],
    ray_std: Float[Any, "*b j"],
) -> tuple[Float[Any, "*b j 3"], Float[Any, "*b j"]]:
    """Joints moved towards the rays through the camera's center on which a picture shows them, and
    their new standard deviations, mm.

    xyz      camera mm, with errors of `std` mm along each axis
    rays     directions, of any length; NaN where the picture shows nothing
    ray_std  error of the ray at the joint's distance, mm across it

    The product of two Gaussians: along the ray a joint stays, across it the surer one counts more.
    The new `std` is the root of the mean variance of the three axes.
    """
    xp = namespace(xyz, std, rays, ray_std)
    seen = xp.isfinite(rays).all(-1)
    safe = xp.where(seen[..., None], rays, xp.ones_like(rays))
    ahead = safe / xp.sqrt((safe**2).sum(-1, keepdims=True))
    along = (xyz * ahead).sum(-1, keepdims=True) * ahead
    keep = xp.where(seen, ray_std**2 / xp.maximum(std**2 + ray_std**2, 1e-12), 1.0)
    across = std**2 * keep  # the variance that is left
    moved = along + (xyz - along) * keep[..., None]
    return moved, xp.sqrt((std**2 + 2 * across) / 3)


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
