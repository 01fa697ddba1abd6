"""A folder of labelled depth frames of an object with five joints, as a user would have it."""

import json
from pathlib import Path

import cv2
import numpy as np

JOINTS = ("left_ear", "right_ear", "nose", "left_paw", "right_paw")
HEIGHT, WIDTH, UNIT = 60, 80, 0.5
K = np.array([[100, 0, 40], [0, 100, 30], [0, 0, 1]], np.float32)
_SHAPE = np.array([[-60, -70, 0], [60, -70, 0], [0, -10, -30], [-40, 70, 0], [40, 70, 0]])
_RADIUS = 28.0


def toy(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Depth in mm and joints, camera mm, which lie on the surface of five balls."""
    rng = np.random.default_rng(seed)
    angle = rng.uniform(-0.5, 0.5)
    turn = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    balls = _SHAPE @ turn.T + [rng.uniform(-40, 40), rng.uniform(-20, 20), rng.uniform(560, 640)]
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    rays = np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones_like(u)], -1)
    depth = np.full((HEIGHT, WIDTH), np.inf)
    for ball in balls:
        a, b = (rays**2).sum(-1), rays @ ball
        root = b**2 - a * (ball @ ball - _RADIUS**2)
        near = np.where(root > 0, (b - np.sqrt(np.maximum(root, 0))) / a, np.inf)
        depth = np.minimum(depth, near)
    away = np.linalg.norm(balls, axis=-1, keepdims=True)
    return np.where(np.isfinite(depth), depth, 0.0), balls * (1 - _RADIUS / away)


def write_toys(folder: Path, count: int, **changes) -> dict:
    """Writes `count` frames, frames.json with `changes`, and skeleton.json; returns the content."""
    folder.mkdir(parents=True)
    frames = {}
    for i in range(count):
        depth, joints = toy(i)
        cv2.imwrite(str(folder / f"{i:03}.png"), np.rint(depth / UNIT).astype(np.uint16))
        frames[f"{i:03}.png"] = {"xyz_mm": joints.round(2).tolist(), "sequence": f"take{i // 4}"}
    content = {
        "k": [100, 100, 40, 30],
        "unit_mm": UNIT,
        "skeleton": "skeleton.json",
        "kind": "joints",
        "frames": frames,
        **changes,
    }
    (folder / "frames.json").write_text(json.dumps(content))
    edges = [["left_ear", "nose"], ["right_ear", "nose"]]
    (folder / "skeleton.json").write_text(json.dumps({"joints": list(JOINTS), "edges": edges}))
    return content
