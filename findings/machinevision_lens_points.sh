#!/usr/bin/env bash
# A camera of machinevision-toolbox takes the coefficients of a lens, but cannot project a point.
#
# Expected: CentralCamera(distortion=...), whose documentation has k1, k2, k3, p1, p2, projects
# points to where the lens images them, as cv2.projectPoints does.
# Found (machinevision-toolbox-python 2.4.1): project_point raises ValueError, of one point and of
# several; without the coefficients it is right. Distort points with OpenCV instead.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q machinevision-toolbox-python==2.4.1
MPLBACKEND=Agg "$folder/env/bin/python" - <<'PYTHON'
import importlib.metadata
import sys

import cv2
import numpy as np
from machinevisiontoolbox import CentralCamera

print("machinevision-toolbox-python", importlib.metadata.version("machinevision-toolbox-python"))
SIZE, FOCAL = (1280, 1024), 1500.0
lens = {"k1": 0.1, "k2": 0.0, "k3": 0.0, "p1": 0.0, "p2": 0.0}
options = {"f": 0.015, "rho": 10e-6, "imagesize": SIZE}
found = []
for points in ([[1.0], [0.5], [3.0]], [[1.0, 0.2], [0.5, 0.1], [3.0, 2.0]]):
    points = np.array(points)
    k = np.array([[FOCAL, 0, SIZE[0] / 2], [0, FOCAL, SIZE[1] / 2], [0, 0, 1]])
    zero = np.zeros(3)
    for name, given, coefficients in (
        ("no lens", {}, np.zeros(5)),
        ("a lens", {"distortion": list(lens.values())}, np.array([0.1, 0, 0, 0, 0])),
    ):
        right = cv2.projectPoints(points.T, zero, zero, k, coefficients)[0][:, 0].T
        try:
            ours = CentralCamera(**options, **given).project_point(points)
            says = "right" if np.allclose(ours, right, atol=1e-6) else "wrong"
        except ValueError as error:
            says = "ValueError"
            print(f"  {error}")
        print(f"{points.shape[1]} points, {name}: {says}")
        found.append(says)
if found != ["right", "ValueError"] * 2:
    sys.exit(f"the behaviour has changed: {found}")
print("the lens cannot be used")
PYTHON
