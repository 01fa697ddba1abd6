"""Fake COCO files: two people per image, and entries that are no samples.

The latter are a crowd and people with too few labelled joints.
"""

import json
from pathlib import Path

import numpy as np

from handjax.data.sets import fake_body
from handjax.data.sets.coco_person import raw
from handjax.pose.joint_orders import ORDERS
from handjax.pose.pinhole import project

HEIGHT, WIDTH = 270, 360
# Eyes and ears relative to the head: mm to its left, and the fraction of the way to the nose.
_FACE = {
    "left_eye": (32, 0.8),
    "right_eye": (-32, 0.8),
    "left_ear": (70, 0.0),
    "right_ear": (-70, 0.0),
}


def write(root: Path, n: int, seed: int) -> None:
    """Write `n` images per split, with two samples and three entries that are no samples each."""
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    category = {
        "id": 1,
        "name": "person",
        "supercategory": "person",
        "keypoints": list(ORDERS["coco17"].joints),
        "skeleton": [],
    }
    for split, name in raw.FOLDERS.items():
        (root / "images" / name).mkdir(parents=True, exist_ok=True)
        images, people = [], []
        for i in range(n):
            shot, number = scene(split, i, seed), 1000 * (i + 1)
            file = f"{number:012d}.jpg"
            (root / "images" / name / file).write_bytes(fake_body.jpeg(shot["image"]))
            images.append({"id": number, "file_name": file, "height": HEIGHT, "width": WIDTH})
            marks = [_marks(own_joints(xyz, shot["k"])) for xyz in shot["joints_xyz"]]
            for p, marked in enumerate(marks):
                people.append({**_entry(marked), "image_id": number, "id": number + 10 - p})
            one, none = marks[0] * 0, marks[0] * 0
            one[5] = marks[0][5]
            for p, (marked, crowd) in enumerate(((one, 0), (none, 0), (marks[1], 1))):
                people.append(
                    {**_entry(marked), "image_id": number, "id": number + 20 + p, "iscrowd": crowd}
                )
        content = {"images": images, "annotations": people, "categories": [category]}
        (root / "annotations" / f"person_keypoints_{name}.json").write_text(json.dumps(content))


def scene(split: str, i: int, seed: int) -> dict[str, np.ndarray]:
    """The scene (`fake_body.snapshot`) of image `i` of a split."""
    rng = np.random.default_rng([seed, list(raw.FOLDERS).index(split), i])
    return fake_body.snapshot(rng, HEIGHT, WIDTH, people=2, near_mm=1000.0)


def own_joints(xyz: np.ndarray, k: np.ndarray) -> np.ndarray:
    """body18 in camera mm → COCO's 17 joints in px. Eyes and ears are placed around the head."""
    at = dict(zip(fake_body.JOINTS, xyz, strict=True))
    left = at["left_shoulder"] - at["right_shoulder"]
    for name, (offset_mm, forward) in _FACE.items():
        at[name] = (
            at["head"]
            + offset_mm * left / np.linalg.norm(left)
            + forward * (at["nose"] - at["head"])
        )
    return project(np.stack([at[joint] for joint in ORDERS["coco17"].joints]), k)


def _marks(uv: np.ndarray) -> np.ndarray:
    """u, v in whole pixels and mark; the left ear is not labelled, the right one is hidden."""
    marks = np.concatenate([np.rint(uv), np.full((raw.JOINTS, 1), 2)], axis=-1)
    marks[3], marks[4, 2] = 0, 1
    return marks


def _entry(marks: np.ndarray) -> dict:
    labelled = marks[:, 2] > 0
    low, high = (
        (marks[labelled, :2].min(0) - 8, marks[labelled, :2].max(0) + 8)
        if labelled.any()
        else (np.zeros(2), np.ones(2))
    )
    box = [*low.tolist(), *(high - low).tolist()]
    keypoints = [int(value) for value in marks.ravel()]
    return {
        "category_id": 1,
        "iscrowd": 0,
        "keypoints": keypoints,
        "num_keypoints": int(labelled.sum()),
        "bbox": box,
        "area": 0.6 * box[2] * box[3],
    }
