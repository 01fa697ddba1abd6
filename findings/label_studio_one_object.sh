#!/usr/bin/env bash
# Label Studio's export to COCO keypoints keeps one object per picture.
#
# Expected: a picture in which two animals have a nose and a tail each becomes two annotations, with
# the percent of the labels as px with decimals, as COCO's format has them.
# Found (label-studio-sdk 2.1.2): one annotation. Of every label the last point of the picture
# counts; the first animal is gone without a word, and px are rounded to whole numbers.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q label-studio-sdk==2.1.2
"$folder/env/bin/python" - "$folder" <<'PYTHON'
import json
import sys
from importlib.metadata import version
from pathlib import Path

from label_studio_sdk.converter import Converter

folder = Path(sys.argv[1])
config = """<View><Image name="image" value="$image"/>
<KeyPointLabels name="points" toName="image">
<Label value="nose" model_index="0"/><Label value="tail" model_index="1"/>
</KeyPointLabels></View>"""
points = [("nose", 10.3, 20.7), ("tail", 30.9, 40.4), ("nose", 60.3, 20.7), ("tail", 80.9, 40.4)]
result = [
    {
        "id": str(i),
        "type": "keypointlabels",
        "from_name": "points",
        "to_name": "image",
        "original_width": 200,
        "original_height": 100,
        "value": {"x": x, "y": y, "width": 0.5, "keypointlabels": [label]},
    }
    for i, (label, x, y) in enumerate(points)
]
annotation = {"id": 1, "was_cancelled": False, "completed_by": 1, "result": result}
task = {"id": 1, "data": {"image": "picture.png"}, "annotations": [annotation]}
(folder / "tasks.json").write_text(json.dumps([task]))
Converter(config, str(folder), download_resources=False).convert_to_coco(
    str(folder / "tasks.json"), str(folder / "out"), is_dir=False
)
written = json.loads((folder / "out" / "result.json").read_text())["annotations"]
print("label-studio-sdk", version("label-studio-sdk"))
print("labelled, px:", [(label, 2 * x, y) for label, x, y in points])
print("exported:", [one["keypoints"] for one in written])
if [one["keypoints"] for one in written] != [[121, 21, 2, 162, 40, 2]]:
    sys.exit("the behaviour has changed")
print("two objects became one, in whole px")
PYTHON
