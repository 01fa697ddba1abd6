"""Inputs and targets of a voxel network, compared with NumPy code that works sample by sample."""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.harness import Case, Effort
from handjax.pose.augment import random_affine
from handjax.pose.geometry import map_points
from handjax.pose.pinhole import depth_to_points
from handjax.synthetic import hands
from handjax.targets import voxel

AUGMENT = dict(scale=(0.8, 1.2), rotation_deg=40.0, shift=4.0, probability=1.0, isotropic=True)
SIGMA = 1.7


def cases(effort: Effort) -> Iterator[Case]:
    """Depth images → augmented occupancy and heat maps, in one program and sample by sample."""
    batch, size = effort.batch(8), 16 if effort.tiny else 88
    keys = jax.random.split(jax.random.key(0), batch)
    names = ("depth", "k", "center_xyz", "cube_mm", "joints_xyz")
    draw = jax.jit(jax.vmap(functools.partial(hands.depth_sample, image_size=2 * size)))
    samples = {name: value for name, value in draw(keys).items() if name in names}

    def one(key, sample):
        return voxels_in_jax(random_affine(key, **AUGMENT), sample, size)

    ours = jax.jit(jax.vmap(one))
    host = {name: np.asarray(value) for name, value in samples.items()}
    random = np.random.default_rng(0)

    def theirs():
        return [
            voxels_in_numpy(affine_in_numpy(random), {name: x[i] for name, x in host.items()}, size)
            for i in range(batch)
        ]

    def notes(seconds):
        return [
            f"{batch / seconds['handjax']:,.0f} samples/s; `world` measures the drawing of samples"
        ]

    runs = {"handjax": lambda: ours(keys, samples), "NumPy, sample by sample": theirs}
    yield Case(
        f"voxels, augmentation and heat maps, {size}³ and {size // 2}³, {batch} samples",
        batch,
        "sample",
        runs,
        notes,
    )


def voxels_in_jax(affine: tuple, sample: dict, size: int) -> tuple[jax.Array, jax.Array]:
    """Occupancy [n, n, n] and heat maps [n/2, n/2, n/2, j]."""
    grid = voxel.VoxelGrid(size=size, heatmap_size=size // 2)
    cube = (sample["center_xyz"], sample["cube_mm"], size)
    matrix, shift = affine

    def move(cells):
        return map_points(matrix, cells - size / 2) + size / 2 + shift[None]

    points, valid = depth_to_points(sample["depth"], sample["k"])
    volume = voxel.voxelize(move(voxel.xyz_to_grid(points, *cube)), valid, grid)
    return volume.astype(jnp.float32), voxel.encode(
        move(voxel.xyz_to_grid(sample["joints_xyz"], *cube)), grid, SIGMA
    )


def affine_in_numpy(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Matrix and shift, drawn like `AUGMENT`."""
    angle, scale = np.deg2rad(random.uniform(-40, 40)), random.uniform(0.8, 1.2)
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, scale]]), random.uniform(-4, 4, 3)


def voxels_in_numpy(affine: tuple, sample: dict, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The same for one sample in the manner of dragonbook/V2V-PoseNet-pytorch.

    Points by NumPy, and for every joint a map over the whole grid; heat maps [j, n/2, n/2, n/2].
    """
    depth, k, half, (matrix, shift) = sample["depth"], sample["k"], size // 2, affine
    v, u = np.nonzero(depth > 0)
    z = depth[v, u]
    points = np.stack([(u - k[0, 2]) * z / k[0, 0], (v - k[1, 2]) * z / k[1, 1], z], axis=1)

    def cells(xyz):
        return (
            ((xyz - sample["center_xyz"]) / sample["cube_mm"] * size) @ matrix.T + size / 2 + shift
        )

    index = cells(points).astype(np.int32)
    x, y, z = index[((index >= 0) & (index < size)).all(axis=1)].T
    volume = np.zeros((size, size, size), np.float32)
    volume[z, y, x] = 1
    cell = _cells(half)
    maps = np.zeros((len(sample["joints_xyz"]), half, half, half))
    for heat, joint in zip(maps, cells(sample["joints_xyz"]) / 2, strict=True):
        parts = [
            np.power((index + 0.5 - at) / SIGMA, 2) / 2
            for index, at in zip(cell, joint[::-1], strict=True)
        ]
        heat[:] = np.exp(-(parts[0] + parts[1] + parts[2]))
    return volume, maps.astype(np.float32)


@functools.cache
def _cells(size: int) -> list[np.ndarray]:
    return np.meshgrid(*[np.arange(size)] * 3, indexing="ij")
