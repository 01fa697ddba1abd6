"""Rendered hands for the fake hand sets.

Each hand is 41 spheres, so depth, joints and color image are consistent with one another.
"""

import functools

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from handjax.rigs import hand, poses, spheres
from handjax.synthetic import render

SPHERES = len(hand.HAND.sphere_bones)


@functools.partial(jax.jit, static_argnames="rotation")
def _hands(keys, positions, sides, rotation):
    pose = jax.vmap(lambda key: poses.sample_pose(key, rotation=rotation))(keys)
    return render.hand_in_camera(pose, positions, side=sides)


@functools.partial(jax.jit, static_argnames=("height", "width"))
def _sphere_depth(centers, radii, k, height, width):
    return spheres.sphere_depth_pinhole(centers, radii, k, height, width)


def hands(
    seed: int, positions: Float[np.ndarray, "n 3"], left: Bool[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, "n 41 3"], Float[np.ndarray, "n 41"], Float[np.ndarray, "n 21 3"]]:
    """Random hands that face the camera, the center of the palm at `positions`, camera mm.

    Returns the centers and radii of their spheres, and their joints ("hand21"), all in camera mm.
    """
    keys = jax.random.split(jax.random.key(seed), len(positions))
    sides = jnp.where(jnp.asarray(left), -1.0, 1.0)
    centers, radii, joints = _hands(
        keys, jnp.asarray(positions, jnp.float32), sides, poses.ROTATION_FRONTAL
    )
    return np.asarray(centers), np.asarray(radii), np.asarray(joints)


def render_spheres(
    centers: Float[np.ndarray, "s 3"],
    radii: Float[np.ndarray, " s"],
    k: Float[np.ndarray, "3 3"],
    height: int,
    width: int,
) -> tuple[Float[np.ndarray, "h w"], Int[np.ndarray, "h w"]]:
    """Depth in mm and the index of the visible sphere at each pixel; 0 and -1 where there is none.

    `centers` and `radii` in camera mm, `k` in px.
    """
    centers32, radii32, k32 = (jnp.asarray(part, jnp.float32) for part in (centers, radii, k))
    depth, winner = _sphere_depth(centers32, radii32, k32, height, width)
    return np.asarray(depth), np.asarray(winner)


def visible(
    joints: Float[np.ndarray, "21 3"],
    centers: Float[np.ndarray, "s 3"],
    radii: Float[np.ndarray, " s"],
    first: int = 0,
) -> Bool[np.ndarray, " 21"]:
    """Whether each joint is hidden by no sphere other than its own.

    All in camera mm. The spheres of the joints' hand start at index `first`.
    """
    own = tuple(first + sphere for sphere in hand.JOINT_SPHERES["hand21"])
    joints32, centers32, radii32 = (
        jnp.asarray(part, jnp.float32) for part in (joints, centers, radii)
    )
    return np.asarray(render.visible_among_spheres(joints32, centers32, radii32, own))


def color_image(
    seed: int, depth: Float[np.ndarray, "h w"], seen: Bool[np.ndarray, "h w"]
) -> UInt8[np.ndarray, "h w 3"]:
    """RGB for a depth image: skin where `seen`, the nearer the brighter, on colored patches."""
    rng = np.random.default_rng(seed)
    image = cv2.resize(
        rng.uniform(0, 255, (6, 6, 3)), depth.shape[::-1], interpolation=cv2.INTER_CUBIC
    )
    near, far = depth[seen].min(initial=np.inf), depth[seen].max(initial=0)
    light = 1 - 0.6 * (depth - near) / max(far - near, 1)
    image[seen] = (light[..., None] * [224, 172, 140])[seen]
    return np.clip(image, 0, 255).astype(np.uint8)


def encode(image: UInt8[np.ndarray, "h w *c"], form: str = ".png") -> bytes:
    """An RGB or single-channel image as the bytes of a file of type `form`."""
    return cv2.imencode(form, image[..., ::-1] if image.ndim == 3 else image)[1].tobytes()
