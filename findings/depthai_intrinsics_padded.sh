#!/usr/bin/env bash
# DepthAI's intrinsics of a narrower picture are those of a padded one, not of a cropped one.
#
# Expected: an OAK camera whose sensor has 1280 x 800 px is asked for 400 x 400 px with
# keepAspectRatio. The documentation says that one side is scaled, "depending on which provides the
# max resolution", and the rest of the other cropped: half the height, so half the focal length, and
# 240 px less of the width.
# Found (depthai 3.12.0): it is scaled by its width alone, and the rows that are missing are added:
# a focal length of 312.5 px where the picture scaled and cropped by the same package has 500. Depth
# in px taken to mm by them is off by a factor of 1.6. Pictures that are wider than the sensor are
# right.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q depthai==3.12.0 numpy==2.4.6
DEPTHAI_LEVEL=error "$folder/env/bin/python" - <<'PYTHON'
import sys

import depthai
import numpy as np

print("depthai", depthai.__version__)
WIDTH, HEIGHT, FOCAL = 1280, 800, 1000.0
K = [[FOCAL, 0.0, WIDTH / 2], [0.0, FOCAL, HEIGHT / 2], [0.0, 0.0, 1.0]]
socket = depthai.CameraBoardSocket.CAM_A
calibration = depthai.CalibrationHandler()
calibration.setCameraIntrinsics(socket, K, WIDTH, HEIGHT)
found = []
for width, height in ((1280, 720), (640, 400), (640, 480), (400, 400)):
    says = np.array(calibration.getCameraIntrinsics(socket, width, height, keepAspectRatio=True))
    scale = max(width / WIDTH, height / HEIGHT)
    large = round(WIDTH * scale), round(HEIGHT * scale)
    picture = depthai.ImgTransformation(WIDTH, HEIGHT, K)
    picture.addScale(scale, scale)
    picture.addCrop((large[0] - width) // 2, (large[1] - height) // 2, width, height)
    made = np.array(picture.getIntrinsicMatrix())
    print(
        f"{width} x {height}: focal length and middle {says[0, 0]:g}, {says[:2, 2]}; "
        f"of the picture scaled and cropped {made[0, 0]:g}, {made[:2, 2]}"
    )
    found.append(round(float(made[0, 0] / says[0, 0]), 3))
if found != [1.0, 1.0, 1.2, 1.6]:
    sys.exit(f"the behaviour has changed: {found}")
print("scaled by the width alone")
PYTHON
