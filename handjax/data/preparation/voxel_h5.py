"""Depth frames, joints and crop centers → voxels in HDF5. The work behind `prepare voxel_h5`."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32
from tqdm import tqdm

from handjax.data.formats.depth import read_depth
from handjax.data.formats.label_text import read_centers, read_joints
from handjax.data.formats.voxel_h5_writer import write_voxel_h5


@dataclass(frozen=True)
class VoxelOptions:
    """The flags of `prepare voxel_h5`; its help text describes them. Lengths in mm."""

    depth_dir: Path
    labels: Path
    centers: Path
    camera: Float32[np.ndarray, "3 3"]
    out: Path
    cube: float = 300.0
    size: int = 88
    depth_format: str = "nyu"
    depth_scale: float = 1.0
    y_up: bool = True
    overwrite: bool = False
    limit: int | None = None


def prepare(options: VoxelOptions) -> str:
    """Validates all inputs, then voxelizes frame by frame on the device. Returns a summary.

    ValueError or OSError, one line, for invalid options and unreadable files.
    """
    _validate(options)
    names, joints_xyz = read_joints(options.labels, y_up=options.y_up)
    centers_xyz, valid = read_centers(options.centers, y_up=options.y_up)
    rows = _frames(options, names, valid)
    read_depth(options.depth_dir / names[rows[0]], form=options.depth_format)  # is it the format?
    voxelize = _voxelizer(options)
    cube_mm = np.full(3, options.cube, np.float32)
    empty, reach = [], []

    def samples() -> Iterator[tuple]:
        for i in tqdm(rows, desc=options.out.name, unit="frame"):
            depth = read_depth(
                options.depth_dir / names[i], form=options.depth_format, scale=options.depth_scale
            )
            voxels = voxelize(depth, centers_xyz[i])
            if not voxels.any():
                empty.append(names[i])
                continue
            reach.append(np.abs(joints_xyz[i] - centers_xyz[i][None]).max() / (options.cube / 2))
            yield voxels, joints_xyz[i], centers_xyz[i], cube_mm, names[i]
        if not reach:
            raise ValueError(
                "no frame has depth inside its cube; "
                f"check --camera, --depth_scale, --y_up and {options.centers}"
            )

    count = write_voxel_h5(
        options.out,
        samples(),
        k=options.camera,
        y_up=options.y_up,
        overwrite=options.overwrite,
    )
    total = len(names[: options.limit])
    summary = (
        f"{options.out}: {count} of {total} frames written, "
        f"{total - len(rows)} without a valid center, {len(empty)} without depth in the cube"
    )
    if empty:
        summary += f" ({', '.join(empty[:5])})"
    if outside := sum(r > 1 for r in reach):
        limit = np.ceil(max(reach) * 100) / 100
        summary += (
            f"; {outside} with joints outside the cube: "
            f"read them with config.data.max_label={limit:g} or use a larger --cube"
        )
    return summary


def _validate(options: VoxelOptions) -> None:
    """Reports all problems in one line."""
    problems = [
        f"--{name} {path}: no such file"
        for name, path in (("labels", options.labels), ("centers", options.centers))
        if not path.is_file()
    ]
    if not options.depth_dir.is_dir():
        problems.append(f"--depth_dir {options.depth_dir}: no such folder")
    if not options.out.parent.is_dir():
        problems.append(f"--out {options.out}: no such folder {options.out.parent}; create it")
    if options.out.exists() and not options.overwrite:
        problems.append(f"--out {options.out}: exists; use another name or --overwrite")
    if options.limit is not None and options.limit < 1:
        problems.append(f"--limit {options.limit}: expected at least 1")
    if problems:
        raise ValueError("; ".join(problems))


def _frames(options: VoxelOptions, names: list[str], valid: Bool[np.ndarray, " n"]) -> np.ndarray:
    """Numbers of the frames with a valid center; their files exist."""
    if len(names) != len(valid):
        raise ValueError(
            f"{options.labels} has {len(names)} lines, {options.centers} {len(valid)}; "
            "expected one line per frame in both"
        )
    rows = np.flatnonzero(valid[: options.limit])
    missing = [names[i] for i in rows if not (options.depth_dir / names[i]).is_file()]
    if missing:
        some = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise ValueError(
            f"{len(missing)} of {len(rows)} depth frames are not in {options.depth_dir}: {some}"
        )
    if not len(rows):
        total = len(names[: options.limit])
        raise ValueError(f"{options.centers}: none of {total} centers is valid; nothing to write")
    return rows


def _voxelizer(options: VoxelOptions) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """(depth [h, w] mm, center [3] camera mm) → occupancy [size, size, size], on the device."""
    # Imported here so that mistakes in the options are reported without loading JAX.
    import jax
    import jax.numpy as jnp

    from handjax.pose.pinhole import depth_to_points
    from handjax.targets.voxel import occupancy_hpoes, xyz_to_grid

    cube_mm = np.full(3, options.cube, np.float32)

    @jax.jit
    def voxelize(depth, center_xyz):
        points, measured = depth_to_points(depth, jnp.asarray(options.camera))
        grid = xyz_to_grid(points, center_xyz, jnp.asarray(cube_mm), options.size)
        return occupancy_hpoes(grid, measured, options.size)

    return lambda depth, center_xyz: np.asarray(voxelize(depth, center_xyz))
