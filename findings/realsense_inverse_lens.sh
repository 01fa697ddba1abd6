#!/usr/bin/env bash
# pyrealsense2 takes the coefficients of an "inverse" lens as those of a forward one.
#
# Expected: inverse_brown_conrady, in the words of the SDK's header, undistorts an image where
# brown_conrady distorts it: its polynomial of a pixel is the ray, as deprojection computed it while
# the SDK supported the SR300, whose depth camera reports such coefficients.
# Found (pyrealsense2 2.59.1): both models give the same rays and the same pixels for the same
# coefficients. Near the corner of the image below the ray is a sixth of its slope off.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q pyrealsense2==2.59.1.11053
"$folder/env/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

import pyrealsense2 as rs


def camera(model):
    found = rs.intrinsics()
    found.width, found.height, found.fx, found.fy = 640, 480, 476, 476
    found.ppx, found.ppy, found.model = 319.5, 239.5, model
    found.coeffs = [0.14, 0.1, 0.004, 0.006, -0.04]
    return found


def by_the_header(lens, u, v):
    k1, k2, p1, p2, k3 = lens.coeffs
    x, y = (u - lens.ppx) / lens.fx, (v - lens.ppy) / lens.fy
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    return (
        x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
        y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
    )


print("pyrealsense2", version("pyrealsense2"))
inverse, forward = map(camera, (rs.distortion.inverse_brown_conrady, rs.distortion.brown_conrady))
pixel = [600, 440]
rays = [rs.rs2_deproject_pixel_to_point(lens, pixel, 1.0)[:2] for lens in (inverse, forward)]
header = by_the_header(inverse, *pixel)
print("ray of an inverse lens at 1 m:", [round(x, 3) for x in rays[0]])
print("ray of a forward lens:        ", [round(x, 3) for x in rays[1]])
print("the inverse polynomial:       ", [round(x, 3) for x in header])
alike = max(abs(a - b) for a, b in zip(*rays)) < 1e-3
if not alike or abs(header[0] - rays[0][0]) < 0.03:
    sys.exit("the behaviour has changed")
PYTHON
