"""Writes occupancy grids to HDF5; voxel_h5.py describes the format."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Float, Float32

from handjax.data.formats.voxel_grid import encode_grid
from handjax.engine.files import atomic_path


def write_voxel_h5(
    path: str | os.PathLike,
    samples: Iterable[tuple[Any, ...]],
    *,
    k: Float[np.ndarray, "3 3"] | None = None,
    y_up: bool = True,
    overwrite: bool = False,
) -> int:
    """Writes the samples as they come and returns their number.

    A sample is (voxels bool [s, s, s] with axes (y, x, z), joints_xyz [j, 3] camera mm, center_xyz
    [3] camera mm, cube_mm [3], name). Joints outside the cube are written unchanged; the reader's
    `max_label` decides about them.

    `y_up` writes com3D and gt3Dcrop with y up (the original's isOPENGLcoord), as for NYU. M needs
    the intrinsics `k` and is left out without them.

    The file is created atomically. FileExistsError if it exists, unless `overwrite`; ValueError for
    a sample that the reader would reject.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; use another name, or allow overwriting")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent}: no such folder; create it to write {path.name}")
    flip = np.asarray([1, -1 if y_up else 1, 1], np.float32)
    keys = ("labels", "cube", "com3D", "gt3Dcrop", *(() if k is None else ("M",)))
    columns: dict[str, list[np.ndarray]] = {key: [] for key in keys}
    with atomic_path(path) as temporary:
        with h5py.File(temporary, "w") as file:
            grids, names = file.create_group("real_voxels"), file.create_group("file_name")
            first = None
            for i, (voxels, joints_xyz, center_xyz, cube_mm, name) in enumerate(samples):
                voxels = np.asarray(voxels)
                joints_xyz, center_xyz, cube_mm = (
                    np.asarray(v, np.float32) for v in (joints_xyz, center_xyz, cube_mm)
                )
                first = first or (voxels.shape, joints_xyz.shape)
                where = f"sample {i} ({name})"
                _check_sample(where, first, voxels, joints_xyz, center_xyz, cube_mm)
                _write_opaque(grids, i, encode_grid(voxels))
                _write_opaque(names, i, str(name).encode() or str(i).encode())
                offset = joints_xyz - center_xyz[None]
                columns["labels"].append(offset / (cube_mm[None] / 2))
                columns["cube"].append(cube_mm)
                columns["com3D"].append(center_xyz * flip)
                columns["gt3Dcrop"].append(offset * flip[None])
                if k is not None:
                    affine = crop_affine(
                        center_xyz, cube_mm, np.asarray(k, np.float32), len(voxels)
                    )
                    columns["M"].append(affine)
            if first is None:
                raise ValueError(f"{path}: no samples to write; nothing was written")
            for key, rows in columns.items():
                file.create_dataset(key, data=np.stack(rows).astype(np.float32))
        if path.exists() and not overwrite:
            raise FileExistsError(f"{path} appeared while it was being written; use another name")
    return len(columns["labels"])


def crop_affine(
    center_xyz: Float[np.ndarray, "3"],
    cube_mm: Float[np.ndarray, "3"],
    k: Float[np.ndarray, "3 3"],
    size: int,
) -> Float32[np.ndarray, "3 3"]:
    """DeepPrior's M: pixels (u, v, 1) of the source image → pixels of its size x size crop.

    The crop is the cube's outline at the depth of its center, rounded to whole pixels, scaled by
    its longer edge and centered (Oberweger and Lepetit 2017). The grid itself is orthographic and
    does not use it.
    """
    (x, y, z), (cube_x, cube_y, _) = (np.asarray(v, np.float64) for v in (center_xyz, cube_mm))
    center = np.asarray([k[0, 0] * x / z + k[0, 2], k[1, 1] * y / z + k[1, 2]])
    half = np.asarray([k[0, 0] * cube_x, k[1, 1] * cube_y]) / z / 2
    start, stop = np.floor(center - half + 0.5), np.floor(center + half + 0.5)
    edge = stop - start
    scale = size / edge.max()
    margin = np.floor((size - np.floor(edge * scale)) / 2)
    shift = margin - start * scale
    return np.asarray([[scale, 0, shift[0]], [0, scale, shift[1]], [0, 0, 1]], np.float32)


def _write_opaque(group: h5py.Group, i: int, data: bytes) -> None:
    group.create_dataset(str(i), data=np.asarray([np.void(data)]))


def _check_sample(
    name: str,
    first: tuple[tuple[int, ...], tuple[int, ...]],
    voxels: np.ndarray,
    joints_xyz: np.ndarray,
    center_xyz: np.ndarray,
    cube_mm: np.ndarray,
) -> None:
    """ValueError for what the reader would reject. `first`: shapes of voxels and joints of the
    first sample."""
    sides = set(voxels.shape)
    if voxels.dtype != bool or voxels.ndim != 3 or len(sides) != 1 or voxels.shape[0] % 8:
        raise ValueError(
            f"{name}: voxels are {voxels.dtype} {list(voxels.shape)}; "
            "expected bool [s, s, s], s a multiple of 8"
        )
    shapes = [list(v.shape) for v in (joints_xyz, center_xyz, cube_mm)]
    if len(shapes[0]) != 2 or shapes[0][1] != 3 or shapes[1:] != [[3], [3]]:
        raise ValueError(f"{name}: joints, center and cube are {shapes}; expected [j, 3], [3], [3]")
    if (voxels.shape, joints_xyz.shape) != first:
        raise ValueError(
            f"{name}: voxels and joints are {[list(voxels.shape), list(joints_xyz.shape)]}; "
            f"expected {[list(s) for s in first]}, as in sample 0"
        )
    finite = all(np.isfinite(v).all() for v in (joints_xyz, center_xyz, cube_mm))
    if not finite or (cube_mm <= 0).any():
        raise ValueError(f"{name}: joints, center and cube must be finite and the cube > 0 mm")
    if not voxels.any():
        raise ValueError(f"{name}: no occupied voxel; leave the frame out")
