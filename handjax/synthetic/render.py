"""A posed hand before a camera: its depth image, its joints, what is hidden, the window that holds it, a sensor's noise."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, random
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from handjax.ops.rasterize import rasterize, to_screen
from handjax.pose import geometry
from handjax.rigs import hand, spheres


def crop_intrinsics(
    center_xyz: Float[Array, "*b 3"], size_mm: Float[Array, "*b"], pixels: int
) -> Float[Array, "*b 3 3"]:
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
    rows = jnp.concatenate(
        [focal, zero, at[..., :1], zero, focal, at[..., 1:], zero, zero, one], axis=-1
    )
    return rows.reshape(*focal.shape[:-1], 3, 3)


def orthographic_intrinsics(size: int, extent_mm: float) -> Float[Array, "3 3"]:
    """Parallel rays over a square of `extent_mm` about x = y = 0: (x, y, 1) → pixels.

    As in sphereHand's ball renderer, pixel u stands for x = (u - size/2) · extent/size.
    """
    scale = size / extent_mm
    return jnp.asarray(
        [[scale, 0.0, size / 2], [0.0, scale, size / 2], [0.0, 0.0, 1.0]], jnp.float32
    )


def hand_in_camera(
    pose: Float[Array, "*b 26"],
    position: Float[Array, "*b 3"],
    joints: str = "hand21",
    scale: Float[Array, "*b 3"] | float = 1.0,
    fingers: hand.Fingers = 1.0,
    side: Float[Array, "*b"] | float = 1.0,
) -> tuple[Float[Array, "*b 41 3"], Float[Array, "*b 41"], Float[Array, "*b j 3"]]:
    """Sphere centres, their radii and the joints of one of `hand.JOINTS`, in camera mm.

    The model's axes are the camera's, x right, y down, z forward; its origin, amid the palm, comes to `position`.
    `side` -1 makes a left hand, the mirror image of the right one.
    """
    centers, radii = hand.spheres(pose, scale, fingers)
    found = hand.JOINTS[joints](pose, scale, fingers)
    return in_camera(centers, position, side), radii, in_camera(found, position, side)


def in_camera(
    points: Float[Array, "*b n 3"],
    position: Float[Array, "*b 3"],
    side: Float[Array, "*b"] | float = 1.0,
) -> Float[Array, "*b n 3"]:
    """Points of a right hand about its model origin, brought to `position`; mirrored in x where `side` is -1."""
    side = jnp.broadcast_to(jnp.asarray(side, points.dtype), position.shape[:-1])
    mirror = jnp.stack([side, jnp.ones_like(side), jnp.ones_like(side)], axis=-1)
    return points * mirror[..., None, :] + position[..., None, :]


def over_pixels(draw: Callable[[Array], Any], k: Float[Array, "*b 3 3"], samples: int) -> Any:
    """Mean of draw(k) over `samples` x `samples` cameras that look at evenly spread points of every pixel.

    The mean of blocks of an image `samples` times as large, of which only one small part is ever there. sphereHand draws
    640 x 640 and of every 10 x 10 takes the four in the middle; this takes all of a pixel's area.
    """
    if samples == 1:
        return draw(k)
    at = (np.arange(samples) + 0.5) / samples - 0.5
    offsets = np.stack(np.meshgrid(at, at), axis=-1).reshape(-1, 2).astype(np.float32)

    def add(total, offset):
        shift = jnp.zeros((3, 3), k.dtype).at[:2, 2].set(-offset)
        return jax.tree.map(jnp.add, total, draw(k + jnp.broadcast_to(shift, k.shape))), None

    nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(draw, k))
    total, _ = lax.scan(add, nothing, jnp.asarray(offsets))
    return jax.tree.map(lambda x: x / len(offsets), total)


def mesh_depth(
    vertices: Float[Array, "*b v 3"],
    faces: Int[Array | np.ndarray, "f 3"],
    k: Float[Array, "*b 3 3"],
    height: int,
    width: int,
    *,
    projection: Literal["pinhole", "orthographic"],
    samples: int = 1,
) -> tuple[Float[Array, "*b {height} {width}"], Float[Array, "*b {height} {width}"]]:
    """Mean depth in mm of what is seen in each pixel, 0 where nothing is, and the part of the pixel that it covers, 0..1."""

    def draw(k):
        interpolation = "perspective" if projection == "pinhole" else "linear"
        screen = to_screen(vertices, k, projection=projection, interpolation=interpolation)
        depth, face = rasterize(screen, faces, height, width)
        return depth, (face >= 0).astype(depth.dtype)

    depth, covered = over_pixels(draw, k, samples)
    return depth / jnp.where(covered > 0, covered, 1.0), covered


def visible_joints(
    joints_xyz: Float[Array, "*b j 3"],
    centers: Float[Array, "*b s 3"],
    radii: Float[Array, "*b s"],
    joint_spheres: tuple[int, ...],
    projection: Literal["pinhole", "orthographic"] = "pinhole",
    slack_mm: float = 10.0,
) -> Bool[Array, "*b j"]:
    """Whether the skin straight before a joint is its own: no further from it than its sphere's radius and a slack.

    The slack is for joints that are not in the middle of their sphere and for a neighbour's thicker flesh. The ray
    through the joint itself is cast, so the answer does not depend on an image's resolution.
    """
    z = joints_xyz[..., 2]
    if projection == "pinhole":
        skin, _ = spheres.sphere_depth_along(joints_xyz / joints_xyz[..., 2:], centers, radii)
    else:
        aside = joints_xyz[..., :, None, :2] - centers[..., None, :, :2]
        half_chord2 = radii[..., None, :] ** 2 - jnp.sum(aside**2, axis=-1)
        fronts = centers[..., None, :, 2] - geometry.safe_sqrt(half_chord2)
        skin = jnp.minimum(jnp.min(jnp.where(half_chord2 > 0, fronts, jnp.inf), axis=-1), z)
    return z - skin <= radii[..., jnp.asarray(joint_spheres)] + slack_mm


def joints_seen(
    joints_uvd: Float[Array, "j 3"],
    depth: Float[Array, "h w"],
    mask: Bool[Array, "h w"],
    radii: Float[Array, " j"],
    slack_mm: float = 10.0,
) -> Bool[Array, " j"]:
    """Whether the skin at a joint's own pixel is its own: there is some, no further before it than `radii` and a slack.

    For skins, which have webs where spheres leave gaps: of the joints that no sphere hides they hide one in twenty. What
    it takes for seen lies in the mask. At an outline half a pixel may decide, for or against.
    """
    height, width = depth.shape
    u, v = (
        jnp.round(joints_uvd[:, 0]).astype(jnp.int32),
        jnp.round(joints_uvd[:, 1]).astype(jnp.int32),
    )
    inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
    at = (jnp.clip(v, 0, height - 1), jnp.clip(u, 0, width - 1))
    return inside & mask[at] & (joints_uvd[:, 2] - depth[at] <= radii + slack_mm)


def sensor_noise(
    key: PRNGKeyArray,
    depth: Float[Array, "h w"],
    depth_noise_mm: float,
    shift_px: float,
    background: float = 0.0,
) -> Float[Array, "h w"]:
    """Depth as a sensor gives it: ragged edges, then Gaussian noise where something was measured.

    Each pixel copies the one that is round(N(0, `shift_px`)) away along each axis, as in sphereHand (Wan et al. 2019),
    which truncates N(0, 0.5) + 0.5 toward zero and so drifts by 0.16 pixel to one side on average; rounding does not.
    """
    height, width = depth.shape
    shift_v, shift_u, noise = random.normal(key, (3, height, width))
    v = jnp.arange(height)[:, None] + jnp.round(shift_px * shift_v).astype(jnp.int32)
    u = jnp.arange(width)[None, :] + jnp.round(shift_px * shift_u).astype(jnp.int32)
    shifted = depth[jnp.clip(v, 0, height - 1), jnp.clip(u, 0, width - 1)]
    return jnp.where(shifted != background, shifted + depth_noise_mm * noise, background)


# sphereHand's filters, as it rounds them: variances of 0.44 and 0.98 px² along each axis.
_FILTERS = {
    3: ((1, 2, 1), (2, 6, 2), (1, 2, 1)),
    5: (
        (1, 4, 7, 4, 1),
        (4, 16, 26, 16, 4),
        (7, 26, 41, 26, 7),
        (4, 16, 26, 16, 4),
        (1, 4, 7, 4, 1),
    ),
}


def resample(
    key: PRNGKeyArray,
    depth: Float[Array, "h w"],
    window: Literal[3, 5],
    background: float,
    drop: float = 0.05,
) -> Float[Array, "h w"]:
    """sphereHand's `--depth_resample`: some pixels go missing, then all are smoothed with what is about them.

    `drop` of the pixels become `background`, which is part of the smoothing like any depth. The original pads with zeros,
    which draws a dark rim; here the border repeats.
    """
    dropped = jnp.where(random.bernoulli(key, drop, depth.shape), background, depth)
    weights = np.asarray(_FILTERS[window], np.float32)
    weights /= weights.sum()
    height, width = depth.shape
    padded = jnp.pad(dropped, window // 2, mode="edge")
    parts = (w * padded[i : i + height, j : j + width] for (i, j), w in np.ndenumerate(weights))
    return sum(parts, jnp.zeros_like(depth))
