"""What is drawn of a hand: skin, spheres, joints and a depth image; and depth images as colours."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from handjax.rigs import flesh, skinning, spheres
from handjax.synthetic import render
from handjax.viewer.hand import PosedHand

# The camera is 600 mm in front of the hand, as a sensor is, and sees a ball of 300 mm around it.
CENTER_XYZ = (0.0, 0.0, 600.0)
WINDOW_MM = 300.0
PIXELS = 320
SURFACES = ("skin", "spheres")  # that the depth image can show
_NO_DEPTH = np.uint8(24)  # dark grey


class RenderedHand(NamedTuple):
    """Everything that is drawn of a hand, camera mm."""

    vertices: Float[Array, "v 3"]
    centers: Float[Array, "41 3"]
    radii: Float[Array, "41"]
    joints: Float[Array, "21 3"]
    depth: Float[Array, "h w"]  # mm along z, 0 = nothing there


def window(center: Float[Array | np.ndarray, "3"]) -> Float[Array, "3 3"]:
    """Intrinsics of the viewer's depth image, which shows the ball around `center`, camera mm."""
    return render.crop_intrinsics(jnp.asarray(center, jnp.float32), jnp.asarray(WINDOW_MM), PIXELS)


@functools.partial(jax.jit, static_argnums=(2, 3))
def render_hand(
    shown: PosedHand,
    center: Float[Array | np.ndarray, "3"],
    skin: skinning.Skin,
    surface: str,
) -> RenderedHand:
    """The hand with its model origin at `center`, camera mm; its depth image shows `surface`, one
    of SURFACES."""
    pose, fingers = jnp.asarray(shown.pose), jnp.asarray(shown.fingers)
    scale, side, center = jnp.full(3, shown.size), jnp.asarray(shown.side), jnp.asarray(center)
    centers, radii, joints = render.hand_in_camera(
        pose, center, scale=scale, fingers=fingers, side=side
    )
    thickness = jnp.asarray(shown.thickness)
    radii = radii * thickness[flesh.PARTS]
    offsets = flesh.skin_offsets(skin, flesh.of_thickness(thickness))
    posed = skinning.hand_vertices(skin, pose, scale, fingers, offsets)
    vertices = render.in_camera(posed, center, side)
    k = window(center)
    if surface == "skin":
        depth, _ = render.mesh_depth(vertices, skin.faces, k, PIXELS, PIXELS, projection="pinhole")
    else:
        depth, _ = spheres.sphere_depth_pinhole(centers, radii, k, PIXELS, PIXELS)
    return RenderedHand(vertices, centers, radii, joints, depth)


def faces(skin: skinning.Skin, shown: PosedHand) -> Int[np.ndarray, "f 3"]:
    """Faces of the vertices of `render_hand`, counter-clockwise seen from outside."""
    return skinning.right_hand_faces(skin) if shown.side > 0 else skin.faces


def colour_depth(
    depth: Float[np.ndarray, "h w"], table: UInt8[np.ndarray, "256 3"], near: float, far: float
) -> UInt8[np.ndarray, "h w 3"]:
    """Depth from `near` to `far` mm in the colours of `table`; missing depth is dark."""
    shades = np.clip((depth - near) / max(far - near, 1e-6) * 255, 0, 255).astype(np.uint8)
    return np.where((depth > 0)[..., None], table[shades], _NO_DEPTH)


def empty_image() -> UInt8[np.ndarray, "h w 3"]:
    """A depth image of nothing, in colours."""
    return np.full((PIXELS, PIXELS, 3), _NO_DEPTH, np.uint8)


def reproject(
    depth: Float[np.ndarray, "h w"], k: Float[np.ndarray, "3 3"], center: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "p p"]:
    """A depth image of camera `k` as seen through `window(center)`, by the nearest pixel; 0 outside
    the depth of the ball."""
    ours = np.asarray(window(center), np.float64)
    v, u = np.indices((PIXELS, PIXELS))
    rays = np.stack([(u - ours[0, 2]) / ours[0, 0], (v - ours[1, 2]) / ours[1, 1]], axis=-1)
    u, v = np.rint(rays * [k[0, 0], k[1, 1]] + [k[0, 2], k[1, 2]]).astype(int).transpose(2, 0, 1)
    height, width = depth.shape
    inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
    nearest = depth[np.clip(v, 0, height - 1), np.clip(u, 0, width - 1)]
    found = np.where(inside, nearest, 0.0)
    return np.where(np.abs(found - center[2]) <= WINDOW_MM / 2, found, 0.0).astype(np.float32)
