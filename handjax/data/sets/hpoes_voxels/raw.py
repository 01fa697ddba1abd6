"""Occupancy grids of hands in the HDF5 of hpoes_pytorch (github.com/mhruz/hpoes_pytorch).

One file per split. data/formats/voxel_h5.py describes and checks their content. Training can read
such a file directly (config.data.name = "voxel_h5"); a prepared copy is checked, and can be mixed
with other sets.
"""

import functools
from collections.abc import Collection
from functools import partial

import numpy as np
from etils import epath

from handjax.data.formats.voxel_h5 import VoxelH5
from handjax.data.preparation.examples import Examples, LazyExamples
from handjax.data.sets.keypoint_list.raw import named

LAYOUT = """HDF5 files written by `handjax prepare voxel_h5` or hpoes_pytorch's process_data, for
instance train.h5, test.h5; every file is a split, named in small letters, digits and _."""
CONFIGS: tuple[str, ...] = ()
SKELETON: str | None = None
COUNTS: dict[str, int | None] = {}  # the files are your own


def splits(root: epath.Path, config: str | None = None) -> tuple[str, ...]:
    return named(root, ".h5")


def missing(
    root: epath.Path, config: str | None = None, only: Collection[str] | None = None
) -> list[str]:
    return [] if splits(root) else ["HDF5 file NAME.h5"]


def samples(root: epath.Path, split: str, config: str | None = None) -> Examples:
    """Grids packed with eight voxels per byte; joints outside the cube are kept."""
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
