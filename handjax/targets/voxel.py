"""Points and joints ↔ the voxel grid of V2V-PoseNet.

Grid coordinates are (x, y, z) in cells over [0, size] along each side of the cube,
g = ((xyz - center) / cube + 1/2) · size, so they scale between the grid and the heat maps by the
ratio of the sizes. `VoxelGrid.rule` selects one of two conventions for volumes:

| rule    | volume axes | center of cell i | occupied                                             |
|---------|-------------|------------------|------------------------------------------------------|
| "paper" | z, y, x     | i + 1/2          | every cell with a point                              |
| "hpoes" | y, x, z     | i                | the nearest surface: at most one cell per (y, x)     |

"paper" is that of Moon et al. 2018 and dragonbook/V2V-PoseNet-pytorch, "hpoes" that of
mhruz/hpoes_pytorch and its HDF5 files.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, UInt8

from handjax.pose.geometry import map_points
from handjax.targets import heatmap

RULES = ("paper", "hpoes")
DECODES = ("argmax", "centroid", "soft_argmax")


@dataclasses.dataclass(frozen=True)
class VoxelGrid:
    """A grid of `size` cells per side of the cube, and the `heatmap_size` of the network's outputs.
    Raises ValueError for unknown rules and for sizes that do not fit the network."""

    rule: str = "paper"
    size: int = 88
    heatmap_size: int = 44

    def __post_init__(self):
        if self.rule not in RULES:
            raise ValueError(f"voxel rule {self.rule!r} is unknown: use one of {', '.join(RULES)}")
        if self.size < 8 or self.size % 8 or self.heatmap_size not in (self.size, self.size // 2):
            raise ValueError(
                f"voxel grid {self.size} with heat maps {self.heatmap_size}: the grid must be "
                "divisible by 8 and the heat maps as large or half as large"
            )

    @property
    def axes(self) -> tuple[int, int, int]:
        """Which of (x, y, z) runs along each axis of the volume; each order is its own inverse."""
        return (2, 1, 0) if self.rule == "paper" else (1, 0, 2)

    @property
    def cell_center(self) -> float:
        """Coordinate of the center of cell 0."""
        return 0.5 if self.rule == "paper" else 0.0


def xyz_to_grid(
    xyz: Float[Array, "*b n 3"],
    center_xyz: Float[Array, "*b 3"],
    cube_mm: Float[Array, "*b 3"],
    size: int,
) -> Float[Array, "*b n 3"]:
    """Camera mm → cells in (x, y, z) order."""
    return ((xyz - center_xyz[..., None, :]) / cube_mm[..., None, :] + 0.5) * size


def grid_to_xyz(
    grid: Float[Array, "*b n 3"],
    center_xyz: Float[Array, "*b 3"],
    cube_mm: Float[Array, "*b 3"],
    size: int,
) -> Float[Array, "*b n 3"]:
    """Cells in (x, y, z) order → camera mm."""
    return (grid / size - 0.5) * cube_mm[..., None, :] + center_xyz[..., None, :]


def occupancy_paper(
    points: Float[Array, "n 3"], valid: Bool[Array, " n"], size: int
) -> Bool[Array, "z y x"]:
    """Cells with a point, for points in cells. As in dragonbook's code the index is truncated
    toward zero, so a point up to one cell outside a low face falls into the cell at the face."""
    index = jnp.trunc(points).astype(jnp.int32)
    inside = valid & ((index >= 0) & (index < size)).all(-1)
    x, y, z = index[:, 0], index[:, 1], index[:, 2]
    flat = jnp.where(inside, (z * size + y) * size + x, size**3)  # one past the end is dropped
    return jnp.zeros(size**3, bool).at[flat].set(True, mode="drop").reshape(size, size, size)


def occupancy_hpoes(
    points: Float[Array, "n 3"], valid: Bool[Array, " n"], size: int
) -> Bool[Array, "y x z"]:
    """The nearest surface of points in cells, as an orthographic depth map: at most one cell per
    column, depth cell rint((d + 1) · (size/2 - 1)) for d in [-1, .99) from the near face to the far
    one. As in the original these are 43 cells per unit for size 88, not 44. Holes are filled by the
    median of their 5×5 neighbours.

    The original counts y upwards where its source does (NYU) and flips the map afterwards, which
    puts its files one row, 3.4 mm of 300, above this rule. Its median counts empty cells as the
    smallest value; here they are the largest, so that a hole is filled by surface.
    """
    column = jnp.rint(points[:, :2]).astype(jnp.int32)
    depth = points[:, 2] * (2.0 / size) - 1.0
    inside = valid & ((column >= 0) & (column < size)).all(-1) & (depth >= -1.0) & (depth < 0.99)
    flat = jnp.where(inside, column[:, 1] * size + column[:, 0], size**2)
    nearest = jnp.full(size**2, jnp.inf).at[flat].min(depth, mode="drop").reshape(size, size)
    padded = jnp.pad(nearest, 2, constant_values=jnp.inf)
    window = jnp.stack([padded[i : i + size, j : j + size] for i in range(5) for j in range(5)])
    nearest = jnp.where(jnp.isinf(nearest), jnp.sort(window, axis=0)[12], nearest)
    bin_ = jnp.rint((nearest + 1.0) * (size // 2 - 1))  # infinite where empty: equal to no cell
    return bin_[..., None] == jnp.arange(size, dtype=bin_.dtype)[None, None]


def voxelize(
    points: Float[Array, "n 3"], valid: Bool[Array, " n"], grid: VoxelGrid
) -> Bool[Array, "n0 n1 n2"]:
    """Points in cells, (x, y, z) → occupancy with the axes of the rule."""
    return (occupancy_paper if grid.rule == "paper" else occupancy_hpoes)(points, valid, grid.size)


def unpack_voxels(packed: UInt8[Array, "*b d h w8"]) -> Bool[Array, "*b d h w"]:
    """Eight cells per byte, lowest bit first → occupancy; inverts `data.batch.pack_voxels`."""
    bits = (
        packed[..., None] >> jnp.arange(8, dtype=jnp.uint8).reshape((1,) * packed.ndim + (8,))
    ) & 1
    return bits.reshape(*packed.shape[:-1], -1).astype(bool)


def resize_voxels(voxels: Bool[Array, "d h w"], size: int) -> Bool[Array, "n n n"]:
    """A volume on a coarser grid over the same cube, by the "hpoes" rule: every occupied cell marks
    the cell with the nearest center."""
    old = voxels.shape[0]
    if size == old:
        return voxels
    target = np.minimum(np.rint(np.arange(old) * (size / old)), size - 1)
    belongs = (target[None] == np.arange(size)[:, None]).astype(np.float32)  # [size, old]
    counts = jnp.einsum("dhw,ad,bh,cw->abc", voxels.astype(jnp.float32), belongs, belongs, belongs)
    return counts > 0.5


def warp_voxels(
    voxels: Bool[Array, "d h w"],
    matrix: Float[Array, "3 3"],
    shift: Float[Array, " 3"],
    grid: VoxelGrid,
) -> Bool[Array, "d h w"]:
    """Occupancy under g → matrix · (g - c) + c + shift, for g in (x, y, z) cells and c = size/2:
    each cell takes the value of the cell that its center comes from; outside is empty."""
    size = grid.size
    middle = size / 2
    index = jnp.stack(jnp.meshgrid(*[jnp.arange(size)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    target = index[:, np.array(grid.axes)].astype(jnp.float32) + grid.cell_center
    source = map_points(jnp.linalg.inv(matrix), target - middle - shift[None]) + middle
    cell = jnp.floor(source - grid.cell_center + 0.5).astype(jnp.int32)[:, np.array(grid.axes)]
    inside = ((cell >= 0) & (cell < size)).all(-1)
    cell = jnp.clip(cell, 0, size - 1)
    taken = voxels[cell[:, 0], cell[:, 1], cell[:, 2]] & inside
    return taken.reshape(voxels.shape)


def encode(
    joints: Float[Array, "*b j 3"], grid: VoxelGrid, sigma: float
) -> Float[Array, "*b m m m j"]:
    """Joints in cells of the grid, (x, y, z) → heat maps with the axes of the rule; sigma in cells
    of the heat map."""
    coords = joints[..., np.array(grid.axes)] * (grid.heatmap_size / grid.size)
    return heatmap.gaussian_heatmaps(coords, grid.heatmap_size, sigma, grid.cell_center)


def decode(
    heatmaps: Float[Array, "*b m m m j"], grid: VoxelGrid, method: str, beta: float = 1.0
) -> Float[Array, "*b j 3"]:
    """Heat maps → joints in cells of the grid, (x, y, z), by `method`: "argmax" (the paper),
    "centroid" (hpoes) or "soft_argmax". Raises ValueError for others."""
    if method == "argmax":
        coords = heatmap.argmax(heatmaps, 3, grid.cell_center)
    elif method == "centroid":
        coords = heatmap.refined_argmax(heatmaps, 3, grid.cell_center)
    elif method == "soft_argmax":
        coords = heatmap.soft_argmax(heatmaps, 3, grid.cell_center, beta)
    else:
        raise ValueError(f"decode {method!r} is unknown: use argmax, centroid or soft_argmax")
    return coords[..., np.array(grid.axes)] * (grid.size / grid.heatmap_size)
