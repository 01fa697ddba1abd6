"""Depth frames, joints and crop centers → voxels in HDF5. The work behind `prepare voxel_h5`."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32
from tqdm import tqdm

from handjax.data import plausible, surface_check
from handjax.data.cameras import Camera, PinholeImage
from handjax.data.formats.depth import read_depth
from handjax.data.formats.label_text import read_centers, read_joints
from handjax.data.formats.voxel_h5_writer import write_voxel_h5


@dataclass(frozen=True)
class VoxelOptions:
    """The flags of `prepare voxel_h5`; its help text describes them. Lengths in mm."""

    depth_dir: Path
    labels: Path
    centers: Path
    camera: Camera
    output: Path
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
    # Fails before the work is done: also if the files or the camera are not as described.
    agreement = _check_labels(
        options, [names[i] for i in rows], joints_xyz[rows], centers_xyz[rows]
    )
    voxelize = _voxelizer(options)
    cube_mm = np.full(3, options.cube, np.float32)
    empty, reach = [], []

    def samples() -> Iterator[tuple]:
        for i in tqdm(rows, desc=options.output.name, unit="frame"):
            voxels = voxelize(*_read(options, names[i]), centers_xyz[i])
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

    first = _read(options, names[rows[0]])
    count = write_voxel_h5(
        options.output,
        samples(),
        k=first.k,
        y_up=options.y_up,
        overwrite=options.overwrite,
    )
    total = len(names[: options.limit])
    summary = (
        f"{options.output}: {count} of {total} frames written, "
        f"{total - len(rows)} without a valid center, {len(empty)} without depth in the cube"
    )
    if empty:
        summary += f" ({', '.join(empty[:5])})"
    summary += f"; {agreement}"
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
    if not options.output.parent.is_dir():
        problems.append(
            f"--output {options.output}: no such folder {options.output.parent}; create it"
        )
    if options.output.exists() and not options.overwrite:
        problems.append(f"--output {options.output}: exists; use another name or --overwrite")
    if fault := plausible.cube_fault(np.array([options.cube])):
        problems.append(f"--cube {fault}")
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


def _read(options: VoxelOptions, name: str) -> PinholeImage:
    """A depth frame as a pinhole sees it. ValueError if the camera cannot be its."""
    path = options.depth_dir / name
    depth = read_depth(path, form=options.depth_format, scale=options.depth_scale)
    try:
        return options.camera.pinhole(depth)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _check_labels(
    options: VoxelOptions,
    names: list[str],
    joints_xyz: Float32[np.ndarray, "n j 3"],
    centers_xyz: Float32[np.ndarray, "n 3"],
) -> surface_check.SurfaceCheck:
    """How far the labels are from what the depth frames measured; ValueError if they cannot be
    right."""
    frames, centers = [], []
    for i in surface_check.spread(len(names)):
        image = _read(options, names[i])
        joints, center = (v[i].astype(np.float64) for v in (joints_xyz, centers_xyz))
        frames.append(surface_check.LabelledDepth.of_image(*image, joints, center))
        centers.append(frames[-1]._replace(joints=center[None], center=None))
    crops = [frame.within(options.cube) for frame in frames]
    span_mm = surface_check.hand_span(frames)
    checks = (
        (options.centers, surface_check.check(centers, "centers", span_mm)),
        (options.labels, surface_check.check(frames)),
        (options.labels, surface_check.check(crops)),
    )
    for path, found in checks:
        if found.refused:
            raise ValueError(f"{path}: {found}; check --depth_scale, --camera and --y_up too")
    return checks[-1][1]


def _voxelizer(
    options: VoxelOptions,
) -> Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]:
    """(depth [h, w] mm, k [3, 3], center [3] camera mm) → occupancy [size, size, size], on the
    device."""
    # Imported here so that mistakes in the options are reported without loading JAX.
    import jax
    import jax.numpy as jnp

    from handjax.pose.pinhole import depth_to_points
    from handjax.targets.voxel import occupancy_hpoes, xyz_to_grid

    cube_mm = np.full(3, options.cube, np.float32)

    @jax.jit
    def voxelize(depth, k, center_xyz):
        points, measured = depth_to_points(depth, k)
        grid = xyz_to_grid(points, center_xyz, jnp.asarray(cube_mm), options.size)
        return occupancy_hpoes(grid, measured, options.size)

    return lambda depth, k, center_xyz: np.asarray(voxelize(depth, k, center_xyz))
