"""handjax bench voxels: an HDF5 file of voxels → labelled depth frames.

    handjax bench voxels FILE --camera nyu --hand right --output FOLDER

FILE is in the format of hpoes_pytorch (see `handjax prepare voxel_h5 --help`). Every grid
becomes a depth image of the surface that the camera sees, a square of one cell per voxel. FOLDER
gets the images and a frames.json for `handjax bench real`, with the joints and the
centers of the file. The grid's cells are 3.4 mm apart, so depth has steps of 3.5 mm.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float32

from handjax.data.batch import unpack_voxels
from handjax.data.cameras import EXPECTED, numbers, read_camera
from handjax.data.formats.labelled_frames import FILE, HANDS, ORDERS
from handjax.engine import cli
from handjax.engine.files import refuse_to_replace, write_atomic
from handjax.pose.skeleton import SKELETONS

UNIT_MM = 0.1
_LARGEST_PX = 4096
# Half the edge of a square, cells: a little more than 0.5, since neighbours at other depths would
# leave gaps between their projections.
_HALF = 0.65


def parser() -> cli.Parser:
    """The flags of `handjax bench voxels`."""
    flags = cli.Parser(prog="handjax bench voxels", description=__doc__)
    add = flags.add_argument
    add("input", metavar="FILE", help="HDF5 file of voxels")
    add("--camera", metavar="CAMERA", required=True, help=f"intrinsics: {EXPECTED}")
    add("--size", default="640,480", metavar="W,H", help="size of the images, px (640,480)")
    add("--hand", choices=HANDS[:3], default="unknown", help="side of the hands (unknown)")
    add("--order", choices=ORDERS, default="nyu14", help="order of the joints (nyu14)")
    add("--output", metavar="FOLDER", required=True, help="folder for the frames")
    add("--overwrite", action="store_true", help="replace earlier frames")
    return flags


def main(argv: Sequence[str]) -> None:
    """Run the command; ValueError and OSError are invalid input."""
    from handjax.data.formats.voxel_h5 import VoxelH5  # only this command needs h5py

    flags = parser().parse_args(argv)
    folder = Path(flags.output)
    width, height = (int(side) for side in numbers("--size", flags.size, 2))
    if not (0 < width <= _LARGEST_PX and 0 < height <= _LARGEST_PX):
        raise ValueError(f"--size {flags.size}: expected 1 to {_LARGEST_PX} px per side")
    camera = read_camera(flags.camera).of_image(height, width)
    if camera.k is None or camera.lens is not None:
        raise ValueError(f"--camera {flags.camera}: expected one without distortion")
    k = camera.k
    file = VoxelH5(flags.input, max_label=2.0)
    skeleton = SKELETONS[flags.order]
    if file.joints != len(skeleton.joints):
        raise ValueError(
            f"{flags.input}: labels of {file.joints} joints; --order {flags.order} has "
            f"{len(skeleton.joints)}"
        )
    if file.center_from == "none":
        raise ValueError(
            f"{flags.input}: no com3D that fits its labels; expected the place of the cubes"
        )
    indices = np.arange(len(file))
    names = [f"{Path(name).stem}.png" for name in file.names(indices)]
    refuse_to_replace(folder, (FILE, *names), flags.overwrite)
    folder.mkdir(parents=True, exist_ok=True)
    frames = {}
    for i, name in enumerate(names):
        rows = file.rows(indices[i : i + 1])
        center, cube_mm = rows["center_xyz"][0], rows["cube_mm"][0]
        grid = unpack_voxels(rows["voxels"][0])
        y_up = file.center_from.endswith("y negated")
        depth = surface_depth(grid, center, cube_mm, k, (height, width), y_up)
        units = np.rint(depth / UNIT_MM).clip(0, 65535).astype(np.uint16)
        (folder / name).write_bytes(cv2.imencode(".png", units)[1].tobytes())
        frames[name] = {
            "xyz_mm": rows["joints_xyz"][0].astype(float).round(3).tolist(),
            "center": center.astype(float).round(3).tolist(),
        }
    shared = {
        "k": [float(k[0, 0]), float(k[1, 1]), float(k[0, 2]), float(k[1, 2])],
        "unit_mm": UNIT_MM,
        "hand": flags.hand,
        "order": flags.order,
        "kind": "joints",
        "remark": f"from the voxels of {Path(flags.input).name}",
    }
    write_atomic(folder / FILE, json.dumps(shared | {"frames": frames}, indent=1) + "\n")
    print(f"{len(names)} frames: {(folder / FILE).resolve()}")


def surface_depth(
    grid: Bool[np.ndarray, "s s s"],
    center: Float32[np.ndarray, "3"],
    cube_mm: Float32[np.ndarray, "3"],
    k: Float32[np.ndarray, "3 3"],
    size: tuple[int, int],
    y_up: bool,
) -> Float32[np.ndarray, "h w"]:
    """Depth (mm, 0 where nothing is) of the occupied voxels of a grid with axes (y, x, z).

    `targets.voxel.occupancy_hpoes` has the rule: the center of cell i is at i/s of the cube, depth
    cell d at d / (s/2 - 1) of half the cube behind its near face. In files of sources whose y
    points `y_up` every row is one cell too high.
    """
    cells, (height, width) = len(grid), size
    row, column, layer = np.nonzero(grid)
    cell = cube_mm[:2] / cells
    x = (column / cells - 0.5) * cube_mm[0] + center[0]
    y = ((row + y_up) / cells - 0.5) * cube_mm[1] + center[1]
    z = (layer / (cells // 2 - 1) - 1) * cube_mm[2] / 2 + center[2]
    depth = np.zeros((height, width), np.float32)
    for i in np.argsort(-z):  # the nearest last
        if z[i] > 1:
            left, right = (k[0, 0] * (x[i] + d * cell[0]) / z[i] + k[0, 2] for d in (-_HALF, _HALF))
            top, bottom = (k[1, 1] * (y[i] + d * cell[1]) / z[i] + k[1, 2] for d in (-_HALF, _HALF))
            rows = slice(max(int(np.ceil(top)), 0), max(int(np.floor(bottom)) + 1, 0))
            columns = slice(max(int(np.ceil(left)), 0), max(int(np.floor(right)) + 1, 0))
            depth[rows, columns] = z[i]
    return depth
