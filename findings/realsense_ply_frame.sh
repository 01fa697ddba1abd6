#!/usr/bin/env bash
# librealsense writes PLY files in another frame than the points it returns.
#
# Expected: the vertices of a point cloud, and those of the file that save_to_ply or export_to_ply
# writes of it, are the same: camera m, x to the right, y down, z forward.
# Found (pyrealsense2 2.59.1): in the file y and z have the other sign, OpenGL's frame, which nothing
# in the file says. Labels made on such a file have to be turned by 180 degrees about x.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q numpy==2.4.2 pyrealsense2==2.59.1.11053
cd "$folder"
"$folder/env/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

import numpy as np
import pyrealsense2 as rs

WIDTH, HEIGHT, FOCAL = 640, 480, 600.0
lens = rs.intrinsics()
lens.width, lens.height, lens.fx, lens.fy = WIDTH, HEIGHT, FOCAL, FOCAL
lens.ppx, lens.ppy, lens.model, lens.coeffs = 319.5, 239.5, rs.distortion.none, [0] * 5
stream = rs.video_stream()
stream.type, stream.fmt, stream.uid = rs.stream.depth, rs.format.z16, 1
stream.fps, stream.bpp = 30, 2
stream.width, stream.height, stream.intrinsics = WIDTH, HEIGHT, lens
device = rs.software_device()
sensor = device.add_sensor("Depth")
sensor.add_video_stream(stream)
sensor.add_read_only_option(rs.option.depth_units, 0.001)
queue = rs.frame_queue(10)
profile = sensor.get_stream_profiles()[0]
sensor.open(profile)
sensor.start(queue)
depth = np.full((HEIGHT, WIDTH), 1000, np.uint16)  # a wall
frame = rs.software_video_frame()
frame.pixels, frame.bpp, frame.stride = depth, 2, 2 * WIDTH
frame.timestamp, frame.frame_number, frame.depth_units = 0.0, 1, 0.001
frame.profile = profile.as_video_stream_profile()
sensor.on_video_frame(frame)
shown = queue.wait_for_frame()

vertices = np.asanyarray(rs.pointcloud().calculate(shown).get_vertices())
returned = vertices.view(np.float32).reshape(-1, 3)
writer = rs.save_to_ply("wall.ply")
writer.set_option(rs.save_to_ply.option_ply_binary, False)
writer.process(shown)
with open("wall.ply") as file:
    head, _, body = file.read().partition("end_header\n")
written = np.array(body.split()[:3], float)
print("pyrealsense2", version("pyrealsense2"))
print("first point, as returned:", returned[0].round(4).tolist())
print("first point of the file: ", written.tolist())
if not np.allclose(written, returned[0] * [1, -1, -1], atol=1e-4):
    sys.exit("the behaviour has changed")
PYTHON
