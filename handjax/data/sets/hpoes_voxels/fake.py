"""Fake HDF5 files of hpoes_pytorch: the depth of a hand in a cube around its palm.

At most one voxel per cell of the front face is occupied.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from handjax.data.formats.voxel_h5_writer import write_voxel_h5
from handjax.data.sets import fake_depth_hand

SIZE, CUBE_MM = 48, 300.0
_HEIGHT, _WIDTH = 240, 320
_K = ((241.42, 0.0, 160.0), (0.0, 241.42, 120.0), (0.0, 0.0, 1.0))


def write(root: Path, n: int, seed: int) -> None:
    """Write `n` grids per split."""
    for number, split in enumerate(("train", "test")):
        write_voxel_h5(
            root / f"{split}.h5",
            [_sample((seed, number, i), i) for i in range(n)],
            k=np.asarray(_K),
        )


def _sample(seed: tuple[int, ...], i: int) -> tuple:
    hand = fake_depth_hand.render_hand(seed, _K, _HEIGHT, _WIDTH, distance_mm=(350.0, 450.0))
    center = hand.spheres_xyz[0, fake_depth_hand.PALM_SPHERE]
    return (
        _voxels(hand.depth[0], center),
        hand.joints_xyz[0],
        center,
        np.full(3, CUBE_MM),
        f"{i:06d}_depth.bin",
    )


def _voxels(depth: np.ndarray, center: Float[np.ndarray, "3"]) -> Bool[np.ndarray, "s s s"]:
    (fx, _, cx), (_, fy, cy), _ = _K
    v, u = np.nonzero(depth)
    z = depth[v, u].astype(float)
    unit = (np.stack([(u - cx) * z / fx, (v - cy) * z / fy, z], axis=-1) - center) / CUBE_MM + 0.5
    unit = unit[((unit >= 0) & (unit < 1)).all(-1)]
    unit = unit[np.argsort(-unit[:, 2])]  # the nearest point of a cell is written last
    nearest = np.full((SIZE, SIZE), -1)
    column, row = (unit[:, :2] * SIZE).astype(int).T
    nearest[row, column] = np.rint(unit[:, 2] * (SIZE - 2))
    return nearest[..., None] == np.arange(SIZE)
