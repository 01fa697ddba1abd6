"""A posed hand before a pinhole camera: its depth image, its joints, what is hidden, and the window that holds it."""

import jax.numpy as jnp
from jax import random
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from handjax.figures import hand
from handjax.ops import spheres
from handjax.pose import geometry


def crop_intrinsics(center_xyz: Float[Array, "*b 3"], size_mm: Float[Array, "*b"], pixels: int) -> Float[Array, "*b 3 3"]:
    """Intrinsics of the square window that just holds the ball of diameter `size_mm` about `center_xyz`, camera mm.

    It is for a crop cube of that side: the cube's corners, where a hand has no business, stay out, which at half a
    metre is worth twice the pixels on the hand. The window is resized from the sensor without skew and so is a camera
    itself. The ball must be before the camera.
    """
    z, r = center_xyz[..., 2:], size_mm[..., None] / 2
    across = center_xyz[..., :2]
    # Slopes x/z of the tangents from the camera to the circle of the ball in the x-z plane, and likewise for y.
    middle = across * z / (z**2 - r**2)
    half = r * geometry.safe_sqrt(across**2 + z**2 - r**2) / (z**2 - r**2)
    focal = (pixels / 2) / jnp.max(half, axis=-1, keepdims=True)
    at = (pixels - 1) / 2 - focal * middle
    zero, one = jnp.zeros_like(focal), jnp.ones_like(focal)
    rows = jnp.concatenate([focal, zero, at[..., :1], zero, focal, at[..., 1:], zero, zero, one], axis=-1)
    return rows.reshape(*focal.shape[:-1], 3, 3)


def hand_in_camera(
    pose: Float[Array, "*b 26"],
    position: Float[Array, "*b 3"],
    joints: str = "hand21",
    scale: Float[Array, "*b 3"] | float = 1.0,
) -> tuple[Float[Array, "*b 41 3"], Float[Array, "*b 41"], Float[Array, "*b j 3"]]:
    """Sphere centres, their radii and the joints of one of `hand.JOINTS`, in camera mm.

    The model's axes are the camera's, x right, y down, z forward; its origin, amid the palm, comes to `position`.
    """
    centers, radii = hand.spheres(pose, scale)
    return centers + position[..., None, :], radii, hand.JOINTS[joints](pose, scale) + position[..., None, :]


def visible_joints(
    joints_xyz: Float[Array, "*b j 3"],
    centers: Float[Array, "*b s 3"],
    radii: Float[Array, "*b s"],
    joint_spheres: tuple[int, ...],
    slack_mm: float = 10.0,
) -> Bool[Array, "*b j"]:
    """Whether the skin straight before a joint is its own: no further from it than its sphere's radius and a slack.

    The slack is for joints that are not in the middle of their sphere and for a neighbour's thicker flesh. The ray
    through the joint itself is cast, so the answer does not depend on an image's resolution.
    """
    skin, _ = spheres.sphere_depth_along(joints_xyz / joints_xyz[..., 2:], centers, radii)
    return joints_xyz[..., 2] - skin <= radii[..., jnp.asarray(joint_spheres)] + slack_mm


def sensor_noise(key: PRNGKeyArray, depth: Float[Array, "h w"], depth_noise_mm: float, shift_px: float) -> Float[Array, "h w"]:
    """Depth as a sensor gives it: ragged edges, then Gaussian noise where something was measured.

    Each pixel copies the one that is round(N(0, `shift_px`)) away along each axis, as in sphereHand (Wan et al. 2019),
    which truncates N(0, 0.5) + 0.5 toward zero and so drifts by 0.16 pixel to one side on average; rounding does not.
    """
    height, width = depth.shape
    shift_v, shift_u, noise = random.normal(key, (3, height, width))
    v = jnp.arange(height)[:, None] + jnp.round(shift_px * shift_v).astype(jnp.int32)
    u = jnp.arange(width)[None, :] + jnp.round(shift_px * shift_u).astype(jnp.int32)
    shifted = depth[jnp.clip(v, 0, height - 1), jnp.clip(u, 0, width - 1)]
    return jnp.where(shifted > 0, shifted + depth_noise_mm * noise, 0.0)
