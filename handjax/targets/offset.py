"""Joints ↔ maps of closeness and offset in the voxel grid, after adaptive weighting regression
(Huang et al. 2020, AAAI, github.com/Elody-07/AWR-Adaptive-Weighting-Regression).

Near a joint, every cell says how near it is and where the joint lies from it, so that a joint
between cells has an exact answer. Channels are the closeness of all joints, then their offsets
along each axis of the volume: 4 · j. Joints are in cells of the grid, (x, y, z), and radii in cells
of the heat map, as in targets/voxel.py.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from handjax.targets.voxel import VoxelGrid

CHANNELS = {"heatmap": 1, "offset": 4}  # per joint, by `config.task.targets`
BETA = 30.0  # inverse temperature of the weights


def encode(
    joints: Float[Array, "*b j 3"], grid: VoxelGrid, radius: float
) -> Float[Array, "*b m m m 4*j"]:
    """Closeness 1 - d/radius and the offset to the joint over the radius; both 0 from `radius`
    on."""
    coords = joints[..., np.array(grid.axes)] * (grid.heatmap_size / grid.size)
    cells = _cells(grid)[(None,) * (coords.ndim - 2)][..., None, :]
    away = (coords[..., None, None, None, :, :] - cells) / radius
    closeness = jnp.maximum(1.0 - jnp.sqrt((away**2).sum(-1)), 0.0)
    offsets = jnp.where(closeness[..., None] > 0, away, 0.0)
    flat = jnp.moveaxis(offsets, -1, -2).reshape(*closeness.shape[:-1], -1)
    return jnp.concatenate([closeness, flat], axis=-1)


def closeness(maps: Float[Array, "*b m m m c"]) -> Float[Array, "*b m m m j"]:
    """The first quarter of the channels."""
    return maps[..., : maps.shape[-1] // CHANNELS["offset"]]


def decode(
    maps: Float[Array, "*b m m m c"], grid: VoxelGrid, radius: float
) -> Float[Array, "*b j 3"]:
    """The mean of every cell's answer, its center plus its offset, weighted by softmax(30 ·
    closeness)."""
    near = closeness(maps)
    joints = near.shape[-1]
    offsets = maps[..., joints:].reshape(*near.shape[:-1], 3, joints)
    weight = jax.nn.softmax(BETA * near, axis=(-4, -3, -2))
    answers = _cells(grid)[(None,) * (maps.ndim - 4)][..., None] + radius * offsets
    mean = jnp.moveaxis((weight[..., None, :] * answers).sum((-5, -4, -3)), -1, -2)
    return mean[..., np.array(grid.axes)] * (grid.size / grid.heatmap_size)


def _cells(grid: VoxelGrid) -> Float[Array, "m m m 3"]:
    """Centers of the cells of the heat map, along the axes of the volume."""
    at = jnp.arange(grid.heatmap_size, dtype=jnp.float32) + grid.cell_center
    return jnp.stack(jnp.meshgrid(at, at, at, indexing="ij"), axis=-1)
