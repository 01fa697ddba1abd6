"""Turns raw files into what training reads: `python -m handjax.prepare voxel_h5 --help`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from handjax.data.depth_files import DEPTH_FORMATS, read_centers, read_depth, read_joints
from handjax.data.voxel_h5 import write_voxel_h5
from handjax.engine import cli


def camera(text: str) -> np.ndarray:
    """'fx,fy,cx,cy' in pixels -> 3x3 intrinsics."""
    values = [float(word) for word in text.split(",")]
    if len(values) != 4 or not np.isfinite(values).all() or min(values[:2]) <= 0:
        raise ValueError
    fx, fy, cx, cy = values
    return np.asarray([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float32)


def positive(text: str) -> float:
    if not 0 < float(text) < float("inf"):
        raise ValueError
    return float(text)


def parser() -> cli.Parser:
    top = cli.Parser(prog="python -m handjax.prepare", description=__doc__)
    names = top.add_subparsers(dest="name", required=True, metavar="NAME")
    add = names.add_parser(
        "voxel_h5",
        help="depth frames, joints and centers -> HDF5 of voxels",
        description="Depth frames, joints and crop centers -> the HDF5 of hpoes_pytorch, one occupancy grid a frame.",
    )
    add.set_defaults(run=voxel_h5)
    add.add_argument("--depth_dir", type=Path, required=True, help="folder the frame names of --labels are relative to")
    add.add_argument("--labels", type=Path, required=True, help="text, a line a frame: name and j * 3 mm, tab separated")
    add.add_argument("--centers", type=Path, required=True, help="text, a line a frame: 'x y z' in mm or 'invalid'")
    add.add_argument("--camera", type=camera, required=True, metavar="FX,FY,CX,CY", help="NYU: 588.03,587.07,320,240")
    add.add_argument("--cube", type=positive, default=300.0, metavar="MM", help="edge of the crop (default 300)")
    add.add_argument("--size", type=int, default=88, choices=range(8, 257, 8), metavar="N", help="voxels a side (default 88)")
    add.add_argument("--depth_format", choices=tuple(DEPTH_FORMATS), default="nyu")
    add.add_argument("--depth_scale", type=positive, default=1.0, metavar="MM", help="mm of one unit of depth (default 1)")
    add.add_argument(
        "--y_up", action=argparse.BooleanOptionalAction, default=True, help="does y point up in the texts, as in NYU's"
    )
    add.add_argument("--out", type=Path, required=True, metavar="FILE.h5")
    add.add_argument("--overwrite", action="store_true", help="replace --out if it is there")
    add.add_argument("--limit", type=int, metavar="N", help="only the first N frames")
    return top


def voxel_h5(args: argparse.Namespace) -> str:
    """Checks all there is to check, then streams frame after frame through the device; the summary."""
    problems = [f"--{name} {path}: no such file" for name in ("labels", "centers") if not (path := getattr(args, name)).is_file()]
    if not args.depth_dir.is_dir():
        problems.append(f"--depth_dir {args.depth_dir}: no such folder")
    if not args.out.parent.is_dir():
        problems.append(f"--out {args.out}: no such folder {args.out.parent}; make it")
    if args.out.exists() and not args.overwrite:
        problems.append(f"--out {args.out}: exists; give another name or --overwrite")
    if args.limit is not None and args.limit < 1:
        problems.append(f"--limit {args.limit}: expected at least 1")
    if problems:
        raise ValueError("; ".join(problems))
    names, joints_xyz = read_joints(args.labels, y_up=args.y_up)
    centers_xyz, valid = read_centers(args.centers, y_up=args.y_up)
    if len(names) != len(valid):
        raise ValueError(f"{args.labels} has {len(names)} lines, {args.centers} {len(valid)}; expected one line a frame in both")
    total = len(names[: args.limit])
    rows = np.flatnonzero(valid[:total])
    missing = [names[i] for i in rows if not (args.depth_dir / names[i]).is_file()]
    if missing:
        some = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise ValueError(f"{len(missing)} of {len(rows)} depth frames are not in {args.depth_dir}: {some}")
    if not len(rows):
        raise ValueError(f"{args.centers}: none of {total} centers is valid; nothing to write")
    read_depth(args.depth_dir / names[rows[0]], form=args.depth_format)  # of the right kind at all?

    import jax  # only now, so that a mistake in the command line is told at once
    import jax.numpy as jnp
    from tqdm import tqdm

    from handjax.pose.geometry import depth_to_points
    from handjax.targets.voxel import occupancy_hpoes, xyz_to_grid

    cube_mm = np.full(3, args.cube, np.float32)

    @jax.jit
    def voxelize(depth, center_xyz):
        points, seen = depth_to_points(depth, jnp.asarray(args.camera))
        return occupancy_hpoes(xyz_to_grid(points, center_xyz, jnp.asarray(cube_mm), args.size), seen, args.size)

    empty, reach = [], []

    def samples():
        for i in tqdm(rows, desc=args.out.name, unit="frame"):
            depth = read_depth(args.depth_dir / names[i], form=args.depth_format, scale=args.depth_scale)
            voxels = np.asarray(voxelize(depth, centers_xyz[i]))
            if not voxels.any():
                empty.append(names[i])
                continue
            reach.append(np.abs(joints_xyz[i] - centers_xyz[i][None]).max() / (args.cube / 2))
            yield voxels, joints_xyz[i], centers_xyz[i], cube_mm, names[i]
        if not reach:
            raise ValueError(f"no frame has depth inside its cube; check --camera, --depth_scale, --y_up and {args.centers}")

    count = write_voxel_h5(args.out, samples(), k=args.camera, y_up=args.y_up, overwrite=args.overwrite)
    summary = f"{args.out}: {count} of {total} frames written, {total - len(rows)} without a valid center"
    summary += f", {len(empty)} without depth in the cube" + (f" ({', '.join(empty[:5])})" if empty else "")
    outside = sum(r > 1 for r in reach)
    if outside:
        limit = np.ceil(max(reach) * 100) / 100
        summary += f"; {outside} with joints outside the cube: read them with config.data.max_label={limit:g} or make --cube larger"
    return summary


def main(argv: Sequence[str]) -> None:
    args = parser().parse_args(argv)
    print(args.run(args))


if __name__ == "__main__":
    cli.run(main)
