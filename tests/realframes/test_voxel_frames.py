"""handjax bench voxels: voxels → depth frames that show the same surface."""

import json
import re

import numpy as np
import pytest

from handjax import bench
from handjax.data.cameras import intrinsics
from handjax.data.formats.depth import read_depth
from handjax.data.formats.labelled_frames import read_frames
from handjax.data.formats.voxel_h5_writer import write_voxel_h5
from handjax.pose.pinhole import depth_to_points, project

JOINTS = np.random.default_rng(0).uniform(-60, 60, (14, 3)).astype(np.float32)
CENTER = np.float32([30, -20, 700])


def write(path, **options):
    """A file of one grid: a plane at the depth of the center with a nearer square in it."""
    grid = np.zeros((88, 88, 88), bool)
    grid[20:70, 20:70, 43] = True  # layer 43 is the middle
    grid[30:40, 30:40] = False
    grid[30:40, 30:40, 20] = True
    cube, xyz = np.full(3, 300, np.float32), CENTER + JOINTS
    write_voxel_h5(path, [(grid, xyz, CENTER, cube, "depth_1_0000007.png")], **options)
    return grid


def test_the_surface_is_where_the_voxels_are(tmp_path):
    write(tmp_path / "v.h5", y_up=False)
    out = tmp_path / "frames"
    bench.main(["voxels", str(tmp_path / "v.h5"), "--camera", "nyu", "--output", str(out)])
    (frame,) = read_frames(out).frames
    assert frame.name == "depth_1_0000007.png" and frame.hand == "unknown"
    np.testing.assert_allclose(frame.center, CENTER, atol=1e-3)
    depth = read_depth(frame.path, form="png16", scale=0.1)
    assert depth.shape == (480, 640)
    near = 700 - (23 / 43) * 150
    np.testing.assert_allclose(np.unique(depth), [0, near, 700], atol=0.05)
    points, measured = depth_to_points(depth, intrinsics("nyu"))
    plane = points[measured & (points[:, 2] > 690)]
    cell = 300 / 88
    for axis in (0, 1):
        edges = (np.array([20, 70]) / 88 - 0.5) * 300 + CENTER[axis] - cell / 2
        found = plane[:, axis].min(), plane[:, axis].max()
        np.testing.assert_allclose(found, edges, atol=2)
    hole = (depth[:, 1:-1] == 0) & (depth[:, :-2] > 0) & (depth[:, 2:] > 0)
    assert not hole.any()


def test_rows_of_files_with_y_up_are_one_cell_lower(tmp_path):
    for name, y_up in (("down", False), ("up", True)):
        write(tmp_path / f"{name}.h5", y_up=y_up)
        argv = ["voxels", str(tmp_path / f"{name}.h5"), "--camera", "nyu"]
        bench.main([*argv, "--output", str(tmp_path / name)])
    down, up = (
        read_depth(tmp_path / name / "depth_1_0000007.png", form="png16", scale=0.1)
        for name in ("down", "up")
    )
    rows = [np.flatnonzero((depth > 690).any(1)) for depth in (down, up)]
    assert rows[1][0] - rows[0][0] == pytest.approx(300 / 88 * 587 / 700, abs=1)


BAD = [
    ([], "the following arguments are required: --camera"),
    (["--camera", "kinect"], "camera kinect: expected FX,FY,CX,CY"),
    (["--camera", "nyu", "--order", "hand21"], "labels of 14 joints; --order hand21 has 21"),
    (["--camera", "nyu", "--size", "0,480"], "--size 0,480: expected 1 to 4096 px"),
    (["--camera", "nyu", "--hand", "both"], "invalid choice: 'both'"),
]


@pytest.mark.parametrize(("argv", "message"), BAD)
def test_invalid_input_is_one_line(tmp_path, argv, message):
    write(tmp_path / "v.h5")
    out = tmp_path / "out"
    with pytest.raises(ValueError, match=re.escape(message)):
        bench.main(["voxels", str(tmp_path / "v.h5"), "--output", str(out), *argv])
    assert not out.exists()


def test_frames_are_not_replaced(tmp_path):
    write(tmp_path / "v.h5")
    argv = ["voxels", str(tmp_path / "v.h5"), "--camera", "nyu", "--output", str(tmp_path / "out")]
    bench.main(argv)
    with pytest.raises(FileExistsError, match="use --overwrite"):
        bench.main(argv)
    bench.main([*argv, "--overwrite"])


def test_real_nyu_frames(real_data, tmp_path):
    """Labelled joints of real frames lie just behind the surface that the camera sees."""
    file = real_data / "voxel" / "nyu_voxels_6frames.h5"
    out = tmp_path / "nyu"
    bench.main(["voxels", str(file), "--camera", "nyu", "--hand", "right", "--output", str(out)])
    read = read_frames(out)
    assert len(read.frames) == 6 and read.skeleton.name == "nyu14"
    assert json.loads((out / "frames.json").read_text())["hand"] == "right"
    behind = []
    for frame in read.frames:
        depth = read_depth(frame.path, form="png16", scale=0.1)
        uv = np.rint(project(frame.xyz, frame.k.astype(np.float64))).astype(int)
        surface = depth[uv[:, 1], uv[:, 0]]
        behind += (frame.xyz[:, 2] - surface)[surface > 0].tolist()
    assert len(behind) > 70
    assert 2 < np.median(behind) < 25
