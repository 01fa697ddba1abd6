#!/usr/bin/env bash
# The intrinsics of a decimated RealSense depth image are up to half a block of pixels off.
#
# Expected: librealsense's pixel centers are integers: rs2_deproject_pixel_to_point takes pixel u
# along (u - ppx) / fx. A block of s pixels that becomes one is centered at s u + (s - 1) / 2, so
# the principal point becomes (ppx - (s - 1) / 2) / s.
# Found (pyrealsense2 2.59.1): it becomes ppx / s. The points of a decimated image lie (s - 1) / 2
# px of the first image beside those of the image itself: at 1 m and 600 px of focal length 1.7 mm
# with s = 3, 5.8 mm with s = 8.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q numpy==2.4.2 pyrealsense2==2.59.1.11053
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
depth = np.tile(1000 + 8 * np.arange(WIDTH, dtype=np.uint16), (HEIGHT, 1))  # says its column
frame = rs.software_video_frame()
frame.pixels, frame.bpp, frame.stride = depth, 2, 2 * WIDTH
frame.timestamp, frame.frame_number, frame.depth_units = 0.0, 1, 0.001
frame.profile = profile.as_video_stream_profile()
sensor.on_video_frame(frame)
shown = queue.wait_for_frame()

print("pyrealsense2", version("pyrealsense2"))
off = {}
for size in (3, 4, 5, 8):
    small = rs.decimation_filter(size).process(shown)
    own = small.profile.as_video_stream_profile().get_intrinsics()
    column = np.asanyarray(small.get_data())[10, 10] / 8 - 125.0  # median or mean of the block
    truth = (column - lens.ppx) / lens.fx
    off[size] = (rs.rs2_deproject_pixel_to_point(own, [10, 10], 1.0)[0] - truth) * FOCAL
    print(f"decimated by {size}: ppx {own.ppx:.3f}, points are {off[size]:.2f} px off")
if any(abs(abs(away) - (size - 1) / 2) > 0.2 for size, away in off.items()):
    sys.exit("the behaviour has changed")
PYTHON
