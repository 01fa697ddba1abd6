#!/usr/bin/env bash
# sleap-io does not keep what a COCO file says of its keypoints: hidden ones become visible.
#
# Expected: a COCO file that is read and written again keeps what it says of each keypoint (0
# unlabelled, 1 hidden, 2 visible) and of each person (bbox and area, which scale COCO's similarity
# of keypoints, OKS).
# Found (sleap-io 0.9.5): 1 comes back as 2, and bbox and area are those of the keypoints, so the
# same predictions get another OKS.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q sleap-io==0.9.5
cd "$folder"
"$folder/env/bin/python" - <<'PYTHON'
import json
import sys
from importlib.metadata import version

import numpy as np
import sleap_io
from PIL import Image

Image.fromarray(np.zeros((480, 640, 3), np.uint8)).save("a.png")
label = {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "num_keypoints": 2}
label |= {"bbox": [90, 80, 200, 300], "area": 42000}
label |= {"keypoints": [100, 200, 2, 180.25, 240.5, 1, 0, 0, 0]}
hand = {"id": 1, "name": "hand", "keypoints": ["wrist", "thumb", "little"], "skeleton": [[1, 2]]}
image = {"id": 1, "file_name": "a.png", "width": 640, "height": 480}
with open("given.json", "w") as file:
    json.dump({"images": [image], "annotations": [label], "categories": [hand]}, file)
sleap_io.save_coco(sleap_io.load_coco("given.json", dataset_root="."), "written.json")
with open("written.json") as file:
    (written,) = json.load(file)["annotations"]
print("sleap-io", version("sleap-io"))
for key in ("keypoints", "bbox", "area"):
    print(f"{key}: {label[key]} -> {written[key]}")
changed = written["keypoints"][2::3] == [2, 2, 0] and written["area"] != label["area"]
if not changed:
    sys.exit("the behaviour has changed")
PYTHON
