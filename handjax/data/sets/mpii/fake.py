"""Fake MPII files: two people per image, pixels counted from 1, validation head boxes."""

import io
import json
from pathlib import Path

import numpy as np
import scipy.io

from handjax.data.sets import fake_body
from handjax.data.sets.mpii import raw
from handjax.pose.joint_orders import ORDERS

HEIGHT, WIDTH = 270, 360


def write(root: Path, n: int, seed: int) -> None:
    """Write `n` images per split with two people in each, some without a labelled right ankle."""
    (root / "images").mkdir(parents=True, exist_ok=True)
    (root / "annot").mkdir(exist_ok=True)
    for s, (split, file) in enumerate(raw.FILES.items()):
        people = []
        for i in range(n):
            shot, name = scene(split, i, seed), f"{(s + 1) * 10**8 + i:09d}.jpg"
            (root / "images" / name).write_bytes(fake_body.jpeg(shot["image"]))
            people += [
                _person(name, uv, split, absent=(p + i) % 2)
                for p, uv in enumerate(shot["joints_uv"])
            ]
        (root / "annot" / file).write_text(json.dumps(people))
        if split == "validation":
            (root / "annot" / "gt_valid.mat").write_bytes(_heads(people))


def scene(split: str, i: int, seed: int) -> dict[str, np.ndarray]:
    """The scene (`fake_body.snapshot`) of image `i` of a split."""
    rng = np.random.default_rng([seed, list(raw.FILES).index(split), i])
    return fake_body.snapshot(rng, HEIGHT, WIDTH, people=2, near_mm=1000.0)


def own_joints(uv: np.ndarray) -> np.ndarray:
    """body18 → MPII's 16 joints."""
    return np.stack([uv[fake_body.JOINTS.index(joint)] for joint in ORDERS["mpii16"].joints])


def _person(name: str, uv: np.ndarray, split: str, absent: int) -> dict:
    low, high = uv.min(0), uv.max(0)
    person = {
        "image": name,
        "center": (np.round((low + high) / 2) + 1).tolist(),
        "scale": float((high - low)[1] / 200),
    }
    if split == "test":
        return person
    labelled = np.ones(raw.JOINTS, int)
    labelled[0] = 1 - absent
    joints = np.where(labelled[:, None] == 1, own_joints(uv) + 1, -1.0)
    return {**person, "joints": joints.tolist(), "joints_vis": labelled.tolist()}


def _heads(people: list[dict]) -> bytes:
    joints = np.array([person["joints"] for person in people])
    neck, top = joints[:, 8], joints[:, 9]
    half = 0.5 * np.linalg.norm(top - neck, axis=-1, keepdims=True)
    boxes = np.stack([(neck + top) / 2 - half, (neck + top) / 2 + half])
    file = io.BytesIO()
    scipy.io.savemat(
        file,
        {
            "headboxes_src": boxes.transpose(0, 2, 1),
            "pos_gt_src": joints.transpose(1, 2, 0),
            "jnt_missing": 1 - np.array([person["joints_vis"] for person in people]).T,
        },
    )
    return file.getvalue()
