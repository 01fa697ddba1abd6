#!/usr/bin/env bash
# trimesh counts the rows of a camera's rays from the bottom of the picture.
#
# Expected: Scene.camera_rays returns for each ray the pixel [column, row] that it belongs to, with
# row 0 on top, as images are stored and as the same camera's K has it for points with y down.
# Found (trimesh 4.8.3): row 0 is the lowest. A depth image that is filled in as depth[row, column]
# is upside down, and only symmetric scenes hide it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q numpy==2.4.2 trimesh==4.8.3
"$folder/env/bin/python" - <<'PYTHON'
import sys

import numpy as np
import trimesh

camera = trimesh.scene.Camera(resolution=(64, 48), focal=(60, 60))
scene = trimesh.Scene(camera=camera, camera_transform=np.eye(4))
_, directions, pixels = scene.camera_rays()
print("trimesh", trimesh.__version__)
# The camera looks along -z, with y up.
lowest, highest = directions[:, 1].argmin(), directions[:, 1].argmax()
print("the ray that looks up most belongs to pixel", pixels[highest].tolist())
print("the ray that looks down most belongs to pixel", pixels[lowest].tolist())
x, y, z = directions[highest] / -directions[highest, 2]
u, v, _ = camera.K @ [x, -y, 1]  # y down, z forward
print(f"K puts the first of them at {u:.1f}, {v:.1f}")
if pixels[highest, 1] != 47 or v > 1:
    sys.exit("the behaviour has changed")
PYTHON
