"""Occupancy grids of hands in the HDF5 of hpoes_pytorch (github.com/mhruz/hpoes_pytorch), a file a split.

What such a file holds, and what of it is checked, is in data/formats/voxel_h5.py. Training reads it as it is, config.data.name =
"voxel_h5"; prepared it can be mixed with others, and is examined.
"""

import functools
from functools import partial

import numpy as np
from etils import epath

from handjax.data.formats.voxel_h5 import VoxelH5
from handjax.data.preparation.examples import Examples, LazyExamples
from handjax.data.sets.keypoint_list.raw import named

LAYOUT = """HDF5 files as `handjax.prepare voxel_h5` or hpoes_pytorch's process_data writes them, for instance train.h5, test.h5;
every one is a split and named in small letters, digits and _."""
COUNTS: dict[str, int | None] = {}  # anybody's own


def splits(root: epath.Path) -> tuple[str, ...]:
    return named(root, ".h5")


def missing(root: epath.Path) -> list[str]:
    return [] if splits(root) else ["HDF5 file NAME.h5"]


def samples(root: epath.Path, split: str) -> Examples:
    """Grids packed eight voxels a byte; joints beyond the cube are kept."""
    return Examples(_lazy(root / f"{split}.h5", split))


def _lazy(path: epath.Path, split: str) -> LazyExamples:
    for row in range(len(_file(path))):
        yield f"{split}/{row:06d}", partial(_sample, path, row, f"{split}/{row:06d}")


def _sample(path: epath.Path, row: int, key: str) -> dict:
    batch = _file(path).rows(np.array([row]))
    return {name: batch[name][0] for name in ("voxels", "joints_xyz", "center_xyz", "cube_mm")} | {
        "id": key
    }


def _file(path: epath.Path) -> VoxelH5:
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file; expected an HDF5 file of voxels")
    stat = path.stat()
    return _opened(path, stat.mtime, stat.length)


@functools.lru_cache(maxsize=1)
def _opened(path: epath.Path, *_of_this_content: object) -> VoxelH5:
    return VoxelH5(path, max_label=float("inf"))
