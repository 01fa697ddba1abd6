"""Hands before cameras, for the fakes of the hand sets: 41 spheres each, so that depth, joints and picture belong together."""

import functools

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from handjax.ops import spheres
from handjax.rigs import hand, poses
from handjax.synthetic import render

SPHERES = len(hand.HAND.sphere_bones)


@functools.partial(jax.jit, static_argnames="rotation")
def _hands(keys, positions, sides, rotation):
    pose = jax.vmap(lambda key: poses.sample_pose(key, rotation=rotation))(keys)
    return render.hand_in_camera(pose, positions, side=sides)


@functools.partial(jax.jit, static_argnames=("height", "width"))
def _look(centers, radii, k, height, width):
    return spheres.sphere_depth_pinhole(centers, radii, k, height, width)


def hands(
    seed: int, positions: Float[np.ndarray, "n 3"], left: Bool[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, "n 41 3"], Float[np.ndarray, "n 41"], Float[np.ndarray, "n 21 3"]]:
    """Spheres and joints ("hand21"), camera mm, of random hands held up to the camera, the middle of a palm at a position."""
    keys = jax.random.split(jax.random.key(seed), len(positions))
    sides = jnp.where(jnp.asarray(left), -1.0, 1.0)
    found = _hands(keys, jnp.asarray(positions, jnp.float32), sides, poses.ROTATION_FRONTAL)
    return tuple(np.asarray(part) for part in found)


def look(
    centers: Float[np.ndarray, "s 3"],
    radii: Float[np.ndarray, " s"],
    k: Float[np.ndarray, "3 3"],
    height: int,
    width: int,
) -> tuple[Float[np.ndarray, "h w"], Int[np.ndarray, "h w"]]:
    """Depth in mm and the sphere that each pixel sees; 0 and -1 where none."""
    found = _look(*(jnp.asarray(part, jnp.float32) for part in (centers, radii, k)), height, width)
    return tuple(np.asarray(part) for part in found)


def visible(
    joints: Float[np.ndarray, "21 3"],
    centers: Float[np.ndarray, "s 3"],
    radii: Float[np.ndarray, " s"],
    first: int = 0,
) -> Bool[np.ndarray, " 21"]:
    """Which joints no sphere hides but their own; the hand's spheres begin at `first`."""
    own = tuple(first + sphere for sphere in hand.JOINT_SPHERES["hand21"])
    return np.asarray(
        render.visible_joints(
            *(jnp.asarray(part, jnp.float32) for part in (joints, centers, radii)), own
        )
    )


def project(
    points: Float[np.ndarray, "*b n 3"], k: Float[np.ndarray, "3 3"]
) -> Float[np.ndarray, "*b n 2"]:
    """Camera mm → px."""
    return points[..., :2] / points[..., 2:] * k[[0, 1], [0, 1]] + k[:2, 2]


def picture(
    seed: int, depth: Float[np.ndarray, "h w"], seen: Bool[np.ndarray, "h w"]
) -> UInt8[np.ndarray, "h w 3"]:
    """RGB: what is seen is skin, the brighter the nearer; behind it are patches of colour."""
    rng = np.random.default_rng(seed)
    image = cv2.resize(
        rng.uniform(0, 255, (6, 6, 3)), depth.shape[::-1], interpolation=cv2.INTER_CUBIC
    )
    near, far = depth[seen].min(initial=np.inf), depth[seen].max(initial=0)
    light = 1 - 0.6 * (depth - near) / max(far - near, 1)
    image[seen] = (light[..., None] * [224, 172, 140])[seen]
    return np.clip(image, 0, 255).astype(np.uint8)


def encode(image: UInt8[np.ndarray, "h w *c"], form: str = ".png") -> bytes:
    """The file of an RGB or single-channel picture."""
    return cv2.imencode(form, image[..., ::-1] if image.ndim == 3 else image)[1].tobytes()
