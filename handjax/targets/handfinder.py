"""Depth images and hands ↔ inputs and maps of the hand finder.

The network sees every camera as one with a focal length of 64 px, 96 x 80, so that a hand of a
given size at a given distance always looks the same. A wider picture is seen whole by a shorter
focal length and depths that are as much larger, which keeps the proportions.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from handjax.pose import pinhole
from handjax.pose.look_at import FRAME_SIZE

CELL_PX = 4  # pixels per cell of the maps
_UNIT_MM = 1000.0
_SPREAD = 0.8  # cells: deviation of the target's heat


class Found(NamedTuple):
    """Places where hands may be, the surest first."""

    xyz: Float[Array, "*b n 3"]  # mean of the joints, mm
    score: Float[Array, "*b n"]  # 0 to 1
    side: Float[Array, "*b n"]  # -1 left, 1 right
    size: Float[Array, "*b n"]  # relative to the hand model


def network_input(depth: Float[Array, "*b h w"]) -> Float[Array, "*b h w 3"]:
    """Depth, mm, 0 missing → depth in m, up to 2; its inverse, up to 1 at 0.2 m; measured."""
    measured = depth > 0
    far = jnp.where(measured, depth, 1e6)
    metres = jnp.clip(far / _UNIT_MM, 0.0, 2.0)
    inverse = jnp.clip(200.0 / far, 0.0, 1.0)
    return jnp.stack([metres, inverse, measured.astype(depth.dtype)], axis=-1)


def encode(
    hands: Float[Array, "*b n 3"],
    present: Bool[Array, "*b n"],
    sides: Float[Array, "*b n"],
    k: Float[Array, "*b 3 3"],
) -> tuple[Float[Array, "*b r c 2"], Float[Array, "*b n 2"], Int[Array, "*b n 2"]]:
    """Heat for right and left hands, the highest of Gaussians; for each hand its place in its cell,
    -1/2 to 1/2 along x and y, and the cell, (row, column)."""
    rows, columns = (side // CELL_PX for side in FRAME_SIZE)
    uv = pinhole.project(jnp.where(present[..., None], hands, 1.0), k)
    cells = (uv + 0.5) / CELL_PX - 0.5  # centers of cells are at integers
    nearest = jnp.round(cells)
    nearest = jnp.stack(
        [jnp.clip(nearest[..., 0], 0.0, columns - 1), jnp.clip(nearest[..., 1], 0.0, rows - 1)],
        axis=-1,
    )
    lead = (None,) * (nearest.ndim - 1)
    at_v = jnp.arange(rows, dtype=uv.dtype)[*lead, :, None]
    at_u = jnp.arange(columns, dtype=uv.dtype)[*lead, None, :]
    u, v = (nearest[..., i, None, None] for i in range(2))
    each = jnp.exp(-((at_v - v) ** 2 + (at_u - u) ** 2) / (2 * _SPREAD**2))
    each = jnp.where(present[..., None, None], each, 0.0)
    right = jnp.where(sides[..., None, None] > 0, each, 0.0).max(-3)
    left = jnp.where(sides[..., None, None] < 0, each, 0.0).max(-3)
    offset = jnp.clip(cells - nearest, -0.5, 0.5)
    return jnp.stack([right, left], axis=-1), offset, nearest[..., ::-1].astype(jnp.int32)


def decode(maps: Float[Array, "r c 6"], k: Float[Array, "3 3"], count: int) -> Found:
    """The `count` highest peaks of the maps of one image, right and left hands together."""
    heat = jax.nn.sigmoid(maps[..., :2])
    highest = lax.reduce_window(heat, -jnp.inf, lax.max, (3, 3, 1), (1, 1, 1), "SAME")
    # Of a hand that may be right or left there is one place, that of the likelier side.
    peaks = jnp.where((heat == highest) & (heat == heat.max(-1, keepdims=True)), heat, 0.0)
    score, at = _highest(peaks.ravel(), count)
    cell, side = at // 2, at % 2
    v, u = cell // maps.shape[1], cell % maps.shape[1]
    values = maps[v, u]
    center = jnp.stack([u, v], axis=-1).astype(maps.dtype) + jnp.clip(values[:, 2:4], -0.7, 0.7)
    uv = (center + 0.5) * CELL_PX - 0.5
    z = jnp.clip(values[:, 4:5] * _UNIT_MM, 50.0, 5000.0)
    xyz = pinhole.uvd_to_xyz(jnp.concatenate([uv, z], axis=-1), k)
    return Found(xyz, score, 1.0 - 2.0 * side.astype(maps.dtype), jnp.exp(values[:, 5]))


def _highest(values: Float[Array, " n"], count: int) -> tuple[Array, Array]:
    """`lax.top_k`, one by one: TensorFlow cannot read that of an exported program (its StableHLO is
    older than JAX's), and LiteRT has none."""
    places, scores = [], []
    for _ in range(count):
        place = jnp.argmax(values)
        places.append(place)
        scores.append(values.max())
        values = jnp.where(jnp.arange(len(values)) == place, -jnp.inf, values)
    return jnp.stack(scores), jnp.stack(places)


def true_values(
    hands: Float[Array, "*b n 3"], offset: Float[Array, "*b n 2"], sizes: Float[Array, "*b n"]
) -> Float[Array, "*b n 4"]:
    """What the last four maps should be in the cell of each hand."""
    return jnp.concatenate([offset, hands[..., 2:] / _UNIT_MM, jnp.log(sizes)[..., None]], axis=-1)
