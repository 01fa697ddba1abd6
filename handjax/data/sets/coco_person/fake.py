"""A small COCO of spheres, two people a picture, and what makes no sample: a crowd, people with too few labelled joints."""

import json
from pathlib import Path

import numpy as np

from handjax.data.sets import fake_body
from handjax.data.sets.coco_person import raw
from handjax.pose.skeleton import ORDERS

HEIGHT, WIDTH = 270, 360
# Where eyes and ears are, from the head in mm: to its left, and from there towards the nose (1: as far as the nose).
_FACE = {
    "left_eye": (32, 0.8),
    "right_eye": (-32, 0.8),
    "left_ear": (70, 0.0),
    "right_ear": (-70, 0.0),
}


def write(root: Path, n: int, seed: int) -> None:
    """`n` pictures a split, with two people in each that make samples, and three entries that do not."""
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
        held = {"images": images, "annotations": people, "categories": [category]}
        (root / "annotations" / f"person_keypoints_{name}.json").write_text(json.dumps(held))


def scene(split: str, i: int, seed: int) -> dict[str, np.ndarray]:
    """What is in picture `i` of a split: `fake_body.snapshot`."""
    rng = np.random.default_rng([seed, list(raw.FOLDERS).index(split), i])
    return fake_body.snapshot(rng, HEIGHT, WIDTH, people=2, near_mm=1000.0)


def own_joints(xyz: np.ndarray, k: np.ndarray) -> np.ndarray:
    """body18 in camera mm → COCO's 17 in px. Eyes and ears are about the head."""
    at = dict(zip(fake_body.JOINTS, xyz, strict=True))
    left = at["left_shoulder"] - at["right_shoulder"]
    for name, (aside, ahead) in _FACE.items():
        at[name] = (
            at["head"] + aside * left / np.linalg.norm(left) + ahead * (at["nose"] - at["head"])
        )
    points = np.stack([at[joint] for joint in ORDERS["coco17"].joints])
    return points[:, :2] / points[:, 2:] * k[(0, 1), (0, 1)] + k[:2, 2]


def _marks(uv: np.ndarray) -> np.ndarray:
    """u, v and mark: whole pixels as in COCO; the left ear is not labelled, and the right one hidden."""
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
