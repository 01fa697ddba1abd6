"""Rendering of a posed hand: crop windows, camera coordinates, depth images, visible joints."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from handjax.ops.rasterize import rasterize, to_screen
from handjax.pose import geometry
from handjax.rigs import hand, skinning, spheres


def crop_intrinsics(
    center_xyz: Float[Array, "*b 3"], size_mm: Float[Array, "*b"], pixels: int
) -> Float[Array, "*b 3 3"]:
    """Intrinsics of the window around the ball of diameter `size_mm` at `center_xyz`, camera mm.

    Meant for a crop cube of that side. The corners of the cube, which hands do not reach, are left
    out; at half a metre this doubles the number of pixels on the hand. The window is resized from
    the sensor without skew, so it is a camera itself. The ball must be in front of the camera.
    """
    z, r = center_xyz[..., 2:], size_mm[..., None] / 2
    across = center_xyz[..., :2]
    # Slopes x/z of the tangents from the camera to the ball's circle in the x-z plane; same for y.
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
    """Camera of parallel rays over a square of `extent_mm` around x = y = 0: (x, y, 1) → px.

    As in sphereHand's ball renderer, pixel u is at x = (u - size/2) · extent/size.
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
    side: Float[Array | np.ndarray, "*b"] | float = 1.0,
) -> tuple[Float[Array, "*b 41 3"], Float[Array, "*b 41"], Float[Array, "*b j 3"]]:
    """Sphere centers, radii and joints (a key of `hand.JOINTS`), camera mm.

    The model's axes are those of the camera: x right, y down, z forward. Its origin, in the palm,
    moves to `position`. `side` -1 gives a left hand, the mirror image of the right one.
    """
    centers, radii = hand.spheres(pose, scale, fingers)
    joints_xyz = hand.JOINTS[joints](pose, scale, fingers)
    return in_camera(centers, position, side), radii, in_camera(joints_xyz, position, side)


def in_camera(
    points: Float[Array, "*b n 3"],
    position: Float[Array, "*b 3"],
    side: Float[Array | np.ndarray, "*b"] | float = 1.0,
) -> Float[Array, "*b n 3"]:
    """Points of a right hand, moved to `position`; mirrored in x for `side` -1."""
    side = jnp.broadcast_to(jnp.asarray(side, points.dtype), position.shape[:-1])
    mirror = jnp.stack([side, jnp.ones_like(side), jnp.ones_like(side)], axis=-1)
    return points * mirror[..., None, :] + position[..., None, :]


def skin_in_camera(
    skin: skinning.Skin,
    pose: Float[Array, "*b 26"],
    position: Float[Array, "*b 3"],
    scale: Float[Array, "*b 3"] | float = 1.0,
    fingers: hand.Fingers = 1.0,
    side: Float[Array | np.ndarray, "*b"] | float = 1.0,
    offsets: Float[Array, "*b v 3"] | None = None,
) -> Float[Array, "*b v 3"]:
    """Vertices of the skin, camera mm; arguments as in `hand_in_camera`, and its flesh."""
    return in_camera(skinning.hand_vertices(skin, pose, scale, fingers, offsets), position, side)


def skin_normals_in_camera(
    skin: skinning.Skin,
    pose: Float[Array, "26"],
    scale: Float[Array, "3"] | float = 1.0,
    fingers: hand.Fingers = 1.0,
    side: Float[Array | np.ndarray, ""] | float = 1.0,
) -> Float[Array, "v 3"]:
    """Outward unit normals at `skin_in_camera`, camera axes."""
    return in_camera(skinning.hand_normals(skin, pose, scale, fingers), jnp.zeros(3), side)


def supersample(draw: Callable[[Array], Any], k: Float[Array, "*b 3 3"], supersampling: int) -> Any:
    """Mean of draw(k) over `supersampling`² cameras, shifted to a grid of points in each pixel.

    This equals averaging blocks of a larger image, of which only a small part exists at a time.
    sphereHand renders 640 x 640 and averages the four pixels in the middle of each block of
    10 x 10; this averages over the whole area of a pixel.
    """
    if supersampling == 1:
        return draw(k)
    at = (np.arange(supersampling) + 0.5) / supersampling - 0.5
    offsets = np.stack(np.meshgrid(at, at), axis=-1).reshape(-1, 2).astype(np.float32)

    def add(total: Any, offset: Array) -> tuple[Any, None]:
        shift = jnp.zeros((3, 3), k.dtype).at[:2, 2].set(-offset)
        return jax.tree.map(jnp.add, total, draw(k + jnp.broadcast_to(shift, k.shape))), None

    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(draw, k))
    total, _ = lax.scan(add, zeros, jnp.asarray(offsets))
    return jax.tree.map(lambda x: x / len(offsets), total)


def mesh_depth(
    vertices: Float[Array, "*b v 3"],
    faces: Int[Array | np.ndarray, "f 3"],
    k: Float[Array, "*b 3 3"],
    height: int,
    width: int,
    *,
    projection: Literal["pinhole", "orthographic"],
    supersampling: int = 1,
) -> tuple[Float[Array, "*b {height} {width}"], Float[Array, "*b {height} {width}"]]:
    """Mean depth of the mesh in each pixel, mm, 0 where there is none, and the covered fraction of
    the pixel, 0 to 1."""

    def draw(k: Array) -> tuple[Array, Array]:
        interpolation: Literal["linear", "perspective"] = (
            "perspective" if projection == "pinhole" else "linear"
        )
        screen = to_screen(vertices, k, projection=projection, interpolation=interpolation)
        depth, face = rasterize(screen, faces, height, width)
        return depth, (face >= 0).astype(depth.dtype)

    depth, covered = supersample(draw, k, supersampling)
    return depth / jnp.where(covered > 0, covered, 1.0), covered


def visible_among_spheres(
    joints_xyz: Float[Array, "*b j 3"],
    centers: Float[Array, "*b s 3"],
    radii: Float[Array, "*b s"],
    joint_spheres: tuple[int, ...],
    projection: Literal["pinhole", "orthographic"] = "pinhole",
    slack_mm: float = 10.0,
) -> Bool[Array, "*b j"]:
    """Whether the camera sees the surface above each joint: the first sphere surface on its ray is
    in front of it by at most the radius of its sphere plus `slack_mm`.

    The slack is for joints off the center of their sphere and for thicker neighbouring spheres. The
    ray goes through the joint itself, so the result does not depend on the resolution of an image.
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


def visible_in_depth(
    joints_uvd: Float[Array, "j 3"],
    depth: Float[Array, "h w"],
    mask: Bool[Array, "h w"],
    radii: Float[Array, " j"],
    slack_mm: float = 10.0,
) -> Bool[Array, " j"]:
    """Whether the camera sees the surface above each joint: its pixel is in the mask, and the depth
    there is at most `radii` plus `slack_mm` less than the joint's.

    For skins, which have webs where spheres leave gaps: they hide one in twenty of the joints that
    no sphere hides. Visible joints always lie in the mask; at outlines half a pixel may decide.
    """
    height, width = depth.shape
    u, v = (jnp.round(joints_uvd[:, i]).astype(jnp.int32) for i in (0, 1))
    inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
    at = (jnp.clip(v, 0, height - 1), jnp.clip(u, 0, width - 1))
    return inside & mask[at] & (joints_uvd[:, 2] - depth[at] <= radii + slack_mm)
