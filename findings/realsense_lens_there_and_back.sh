#!/usr/bin/env bash
# Of pyrealsense2's six lens models two do not lead back to the pixel that was deprojected.
#
# Expected: rs2_project_point_to_pixel undoes rs2_deproject_pixel_to_point for every model of a
# lens, or one of them refuses the model.
# Found (pyrealsense2 2.59.1): deprojection leaves modified_brown_conrady out and returns the
# pinhole's ray, and its formula for ftheta is not the inverse of projection's; neither says so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q pyrealsense2==2.59.1.11053
"$folder/env/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

import pyrealsense2 as rs

LENSES = {
    "none": [0, 0, 0, 0, 0],
    "brown_conrady": [-0.055, 0.066, 0.0005, -0.0004, -0.02],
    "inverse_brown_conrady": [-0.055, 0.066, 0.0005, -0.0004, -0.02],
    "modified_brown_conrady": [-0.055, 0.066, 0.0005, -0.0004, -0.02],
    "ftheta": [0.9, 0, 0, 0, 0],
    "kannala_brandt4": [-0.01, 0.02, -0.01, 0.003, 0],
}
print("pyrealsense2", version("pyrealsense2"))
worst = {}
for name, coefficients in LENSES.items():
    lens = rs.intrinsics()
    lens.width, lens.height, lens.fx, lens.fy, lens.ppx, lens.ppy = 640, 480, 600, 600, 320, 240
    lens.model, lens.coeffs = getattr(rs.distortion, name), coefficients
    worst[name] = 0.0
    for u in range(0, 640, 40):
        for v in range(0, 480, 40):
            point = rs.rs2_deproject_pixel_to_point(lens, [u, v], 1.0)
            back = rs.rs2_project_point_to_pixel(lens, point)
            worst[name] = max(worst[name], abs(back[0] - u), abs(back[1] - v))
    print(f"{name}: pixels come back within {worst[name]:.4f} px")
if {name for name, away in worst.items() if away > 1} != {"modified_brown_conrady", "ftheta"}:
    sys.exit("the behaviour has changed")
PYTHON
