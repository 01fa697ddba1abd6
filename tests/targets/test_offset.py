"""Maps of closeness and offsets: exact between cells, by both voxel rules."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.targets import offset, voxel
from handjax.targets.voxel import RULES, VoxelGrid

RADIUS = 3.0


@pytest.mark.parametrize("rule", RULES)
def test_joints_between_cells_come_back(rule):
    grid = VoxelGrid(rule, 16, 8)
    joints = jnp.asarray(np.random.default_rng(0).uniform(3, 13, (2, 5, 3)), jnp.float32)
    maps = jax.jit(partial(offset.encode, grid=grid, radius=RADIUS))(joints)
    assert maps.shape == (2, 8, 8, 8, 20)
    found = jax.jit(partial(offset.decode, grid=grid, radius=RADIUS))(maps)
    # Cells beyond the radius answer for themselves, with hardly any weight.
    np.testing.assert_allclose(found, joints, atol=0.05)
    coarse = voxel.decode(voxel.encode(joints, grid, 1.0), grid, "argmax")
    assert np.abs(np.asarray(coarse) - np.asarray(joints)).max() > 0.5


def test_closeness_falls_to_zero_at_the_radius():
    grid = VoxelGrid("paper", 16, 8)
    joint = jnp.asarray([[[8.0, 6.0, 4.0]]])  # x, y, z in cells of 16: 4, 3, 2 of the map's
    near = np.asarray(offset.encode(joint, grid, RADIUS))[0, ..., 0]  # axes z, y, x
    centers = np.arange(8) + 0.5
    z, y, x = np.meshgrid(centers, centers, centers, indexing="ij")
    distance = np.sqrt((x - 4) ** 2 + (y - 3) ** 2 + (z - 2) ** 2)
    np.testing.assert_allclose(near, np.maximum(1 - distance / RADIUS, 0), atol=1e-6)


def test_offsets_point_from_the_cell_to_the_joint():
    grid = VoxelGrid("paper", 16, 8)
    joint = jnp.asarray([[[8.0, 6.0, 4.0]]])
    maps = np.asarray(offset.encode(joint, grid, RADIUS))[0]
    away = maps[1, 2, 4, 1:] * RADIUS  # cell z 1, y 2, x 4: centers 1.5, 2.5, 4.5
    np.testing.assert_allclose(away, [0.5, 0.5, -0.5], atol=1e-6)
    np.testing.assert_array_equal(maps[7, 7, 7, 1:], 0)  # beyond the radius
