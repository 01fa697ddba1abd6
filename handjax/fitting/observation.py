"""The depth of a cube, preprocessed once per image for the tracker's objective."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from handjax.pose.cube import BACKGROUND_MM, EXTENT_MM

POINTS = 768  # compared with the surface


class Observation(NamedTuple):
    """Depth of a cube of `n` cells per edge, its points, and the distances to its silhouette."""

    depth: Float[Array, "*b n n"]
    points: Float[Array, "*b p 3"]  # mm of the cube, distributed evenly over the cells of the hand
    valid: Bool[Array, "*b p"]  # entries of `points` that are points
    outside: Float[Array, "*b n n"]  # mm from a cell to the silhouette's edge, negative inside


def observe(depth: Float[Array, "n n"], points: int = POINTS) -> Observation:
    """Preprocess the depth of a cube, mm, `BACKGROUND_MM` where there is no hand."""
    size = depth.shape[-1]
    cell = EXTENT_MM / size
    is_hand = depth <= BACKGROUND_MM - 1
    at = (jnp.arange(size, dtype=depth.dtype) - size / 2) * cell
    y, x = jnp.meshgrid(at, at, indexing="ij")
    all_points = jnp.stack([x, y, depth], axis=-1).reshape(-1, 3)
    first = jnp.argsort(~is_hand.ravel(), stable=True)  # the hand's cells first, row by row
    count = is_hand.sum()
    number = jnp.arange(points).astype(jnp.float32)
    spread = jnp.where(
        count > points, (number + 0.5) * count.astype(jnp.float32) / points, number
    ).astype(jnp.int32)
    chosen = all_points[first[jnp.minimum(spread, size * size - 1)]]
    inside, outside = distance_to(~is_hand), distance_to(is_hand)
    return Observation(
        depth,
        chosen,
        jnp.arange(points) < count,
        jnp.where(is_hand, 0.5 - inside, outside - 0.5) * cell,
    )


def middle(observation: Observation) -> Float[Array, "3"]:
    """Mean of the observed points, mm of the cube; 0 if there are none."""
    valid = observation.valid[..., None]
    count = jnp.maximum(valid.sum(-2), 1).astype(observation.points.dtype)
    return jnp.where(valid, observation.points, 0.0).sum(-2) / count


def sample_field(field: Float[Array, "n n"], xy: Float[Array, "s 2"]) -> Float[Array, " s"]:
    """Bilinear interpolation of a field of cells at mm of the cube, clamped at its edge."""
    size = field.shape[0]
    return sample_pixels(field, xy * (size / EXTENT_MM) + size / 2)


def sample_pixels(field: Float[Array, "n n"], uv: Float[Array, "s 2"]) -> Float[Array, " s"]:
    """Bilinear interpolation of a field at px, clamped at its edge."""
    u, v = jnp.moveaxis(jnp.clip(uv, 0.0, field.shape[0] - 1.001), -1, 0)
    left, top = jnp.floor(u).astype(jnp.int32), jnp.floor(v).astype(jnp.int32)
    a, b = u - left.astype(u.dtype), v - top.astype(v.dtype)
    upper = field[top, left] * (1 - a) + field[top, left + 1] * a
    lower = field[top + 1, left] * (1 - a) + field[top + 1, left + 1] * a
    return upper * (1 - b) + lower * b


def distance_to(mask: Bool[Array, "n n"]) -> Float[Array, "n n"]:
    """Distance transform: cells from each to the nearest in the mask, 2 n if it is empty.

    Separable as in Felzenszwalb and Huttenlocher 2012, but O(n³), without their lower envelope.
    """
    size = mask.shape[0]
    at = jnp.arange(size, dtype=jnp.float32)
    step = (at[:, None] - at[None, :]) ** 2
    down = jnp.min(jnp.where(mask[None, :, :], step[:, :, None], 4.0 * size**2), axis=1)
    return jnp.sqrt(
        jnp.minimum(jnp.min(down[:, None, :] + step[None, :, :], axis=-1), 4.0 * size**2)
    )
