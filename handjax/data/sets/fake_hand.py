"""Rendered hands for the fake hand sets.

Each hand is 41 spheres, so depth, joints and color image are consistent with one another. Images
are drawn by NumPy, sphere by sphere: nothing is compiled for a few images of each size.
"""

import functools

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from handjax.rigs import hand, poses
from handjax.synthetic import render

SPHERES = len(hand.HAND.sphere_bones)


@functools.partial(jax.jit, static_argnames="rotation")
def _hands(keys, positions, sides, rotation):
    pose = jax.vmap(lambda key: poses.sample_pose(key, rotation=rotation))(keys)
    return render.hand_in_camera(pose, positions, side=sides)


_visible = jax.jit(render.visible_among_spheres, static_argnames="joint_spheres")


def hands(
    seed: int, positions: Float[np.ndarray, "n 3"], left: Bool[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, "n 41 3"], Float[np.ndarray, "n 41"], Float[np.ndarray, "n 21 3"]]:
    """Random hands that face the camera, the center of the palm at `positions`, camera mm.

    Returns the centers and radii of their spheres, and their joints ("hand21"), all in camera mm.
    """
    keys = jax.random.split(jax.random.key(seed), len(positions))
    sides = jnp.where(jnp.asarray(left), -1.0, 1.0)
    places = jnp.asarray(positions, jnp.float32)
    each = [  # one by one, so that one program serves any number
        _hands(keys[i : i + 1], places[i : i + 1], sides[i : i + 1], poses.ROTATION_FRONTAL)
        for i in range(len(positions))
    ]
    centers, radii, joints = (np.concatenate(part) for part in zip(*each, strict=True))
    return centers, radii, joints


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
    depth = np.full((height, width), np.inf)
    winner = np.full((height, width), -1, np.int32)
    scale, middle = np.array([k[0, 0], k[1, 1]], np.float64), np.array([k[0, 2], k[1, 2]])
    balls = zip(np.asarray(centers, np.float64), np.asarray(radii, np.float64), strict=True)
    for index, (center, radius) in enumerate(balls):
        x, y, z = center
        if z <= radius:
            continue  # around or behind the camera
        # The box around the sphere, projected, holds its outline.
        ends = np.multiply.outer(
            (center[:2] - radius, center[:2] + radius), (1 / (z - radius), 1 / (z + radius))
        )
        low = np.floor(ends.min((0, 2)) * scale + middle).astype(int).clip(0, (width, height))
        high = (
            np.ceil(ends.max((0, 2)) * scale + middle).astype(int).clip(-1, (width - 1, height - 1))
        )
        u, v = (np.arange(low[i], high[i] + 1) for i in (0, 1))
        if not (u.size and v.size):
            continue
        a, b = (u - middle[0]) / scale[0], ((v - middle[1]) / scale[1])[:, None]
        # The nearer point at which the ray (a, b, 1) meets the sphere.
        square, along = a**2 + b**2 + 1, a * x + b * y + z
        root = along**2 - square * (center @ center - radius**2)
        near = np.where(root > 0, (along - np.sqrt(np.maximum(root, 0))) / square, np.inf)
        part = (slice(v[0], v[-1] + 1), slice(u[0], u[-1] + 1))
        nearer = near < depth[part]
        depth[part][nearer] = near[nearer]
        winner[part][nearer] = index
    return np.where(winner >= 0, depth, 0).astype(np.float32), winner


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
    return np.asarray(_visible(joints32, centers32, radii32, own))


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
