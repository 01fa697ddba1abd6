#!/usr/bin/env bash
# Albumentations turns and mirrors keypoints by pixel centers, but resizes them by pixel corners.
#
# Expected: one convention. A mirror image moves x to width - 1 - x, so integers are the centers of
# pixels, and a picture that is twice as large shows what was at x at 2 x + 0.5.
# Found (albumentations 2.0.8): Resize moves x to 2 x. A label at the center of a bright pixel is
# half a pixel off the middle of the four that it becomes; with a factor s, (s - 1) / 2 px.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q albumentations==2.0.8 opencv-python-headless==4.12.0.88
NO_ALBUMENTATIONS_UPDATE=1 "$folder/env/bin/python" - <<'PYTHON'
import sys

import albumentations
import numpy as np

picture = np.zeros((10, 20, 3), np.uint8)
picture[4, 3] = 255  # the label's pixel: x = 3, y = 4
print("albumentations", albumentations.__version__)
found = {}
for name, change in {
    "HorizontalFlip": albumentations.HorizontalFlip(p=1),
    "Resize, twice as large": albumentations.Resize(20, 40, interpolation=0, p=1),
    "Resize, four times as large": albumentations.Resize(40, 80, interpolation=0, p=1),
}.items():
    keypoints = albumentations.KeypointParams(format="xy")
    made = albumentations.Compose([change], keypoint_params=keypoints)(
        image=picture, keypoints=[(3, 4)]
    )
    rows, columns = np.nonzero(made["image"][..., 0])
    shown = float(columns.mean()), float(rows.mean())
    label = tuple(map(float, made["keypoints"][0]))
    found[name] = shown[0] - label[0], shown[1] - label[1]
    print(f"{name}: the pixel is at {shown}, its keypoint at {label}")
if list(found.values()) != [(0, 0), (0.5, 0.5), (1.5, 1.5)]:
    sys.exit("the behaviour has changed")
print("mirrored by centers, resized by corners")
PYTHON
