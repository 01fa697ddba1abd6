"""Posed hands and cameras for the benchmarks of renderers."""

import functools

import jax
import numpy as np

from handjax.rigs import poses, skinning

# Options of `rasterize.to_screen`.
ORTHOGRAPHIC = dict(projection="orthographic", interpolation="linear")
PINHOLE = dict(projection="pinhole", interpolation="perspective")


def posed_skin(batch: int, distance_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Vertices [b, v, 3] of sampled hands, camera mm, and their faces."""
    skin = skinning.hand_skin()
    pose = jax.jit(jax.vmap(poses.sample_pose))(jax.random.split(jax.random.key(0), batch))
    vertices = jax.jit(functools.partial(skinning.hand_vertices, skin))(pose)
    return np.asarray(vertices) + np.float32([0, 0, distance_mm]), skinning.right_hand_faces(skin)


def hand_count(count: int) -> str:
    """The count in words, singular or plural."""
    return f"{count} hand{'s' * (count != 1)}"


def camera(options: dict[str, str], height: int, width: int) -> np.ndarray:
    """Intrinsics of a camera whose image spans 300 mm at the hand.

    It has parallel rays, or is a pinhole half a meter in front of the hand.
    """
    scale = min(height, width) / 300 * (500 if options is PINHOLE else 1)
    return np.float32([[scale, 0, (width - 1) / 2], [0, scale, (height - 1) / 2], [0, 0, 1]])
