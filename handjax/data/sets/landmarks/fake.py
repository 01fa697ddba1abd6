"""Fake pictures of a toy, a block with coloured faces, and COCO's keypoints as CVAT writes them."""

import json
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from handjax.pose.pinhole import project

_HEIGHT, _WIDTH = 96, 128
_K = np.array([[150, 0, 63.5], [0, 150, 47.5], [0, 0, 1]], np.float32)
_HALF = np.array([26.0, 18.0, 34.0])  # mm, half the block's sides: right, down, back
_SIDES = {"left": (0, -1), "right": (0, 1), "top": (1, -1), "bottom": (1, 1)}
_SIDES |= {"front": (2, -1), "back": (2, 1)}
# RGB; left and right look alike, so that a mirror image is a toy, too.
_COLOURS = {"left": (60, 90, 200), "right": (60, 90, 200), "top": (240, 220, 60)}
_COLOURS |= {"bottom": (120, 60, 30), "front": (210, 40, 40), "back": (40, 160, 80)}
_CORNERS = [
    (x, y, z) for z in ("front", "back") for y in ("top", "bottom") for x in ("left", "right")
]
JOINTS = (*("_".join(corner) for corner in _CORNERS), "nose", "left_eye", "right_eye")
_EDGES = [
    (a, b)
    for a in range(8)
    for b in range(a + 1, 8)
    if sum(p != q for p, q in zip(_CORNERS[a], _CORNERS[b], strict=True)) == 1
]
EDGES = (*_EDGES, (8, 9), (8, 10))


def write(root: Path, n: int, seed: int) -> None:
    """Write `n` pictures each to train.json and test.json."""
    for number, split in enumerate(("train", "test")):
        write_labels(root, split, n, seed + 1000 * number)


def write_labels(root: Path, name: str, n: int, seed: int) -> None:
    """Write `n` pictures below images/, and their labels, NAME.json."""
    folder = root / "images" / name
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    images, annotations = [], []
    for i in range(1, n + 1):
        pixels, uv, seen = _picture(rng)
        file = f"{i:05d}{('.png', '.jpg')[i % 2]}"
        (folder / file).write_bytes(cv2.imencode(file[-4:], pixels[..., ::-1])[1].tobytes())
        images.append({"id": i, "file_name": file, "width": _WIDTH, "height": _HEIGHT})
        low, high = uv.min(0), uv.max(0)
        marks = np.column_stack([uv, np.where(seen, 2, 1)])
        annotations.append(
            {
                "id": i,
                "image_id": i,
                "category_id": 2,
                "segmentation": [],
                "area": round(float((high - low).prod()), 2),
                "bbox": np.round([*low, *(high - low)], 2).tolist(),
                "iscrowd": 0,
                "attributes": {"occluded": False},
                "keypoints": marks.round(2).ravel().tolist(),
                "num_keypoints": len(JOINTS),
            }
        )
    toy = {"id": 2, "name": "toy", "supercategory": "", "keypoints": list(JOINTS)}
    toy["skeleton"] = [[a + 1, b + 1] for a, b in EDGES]
    box = {"id": 1, "name": "toy_box", "supercategory": "", "keypoints": [], "skeleton": []}
    content = {"images": images, "annotations": annotations, "categories": [box, toy]}
    (root / f"{name}.json").write_text(json.dumps({"licenses": [], "info": {}, **content}))


def _picture(
    rng: np.random.Generator,
) -> tuple[UInt8[np.ndarray, "h w 3"], Float[np.ndarray, "j 2"], np.ndarray]:
    """RGB, px of the joints, and which of them are not hidden by the block itself."""
    turn = cv2.Rodrigues(rng.uniform([-0.4, -0.7, -0.3], [0.6, 0.7, 0.3]))[0]
    place = rng.uniform([-25, -15, 240], [25, 15, 320])
    corners = np.array([[_SIDES[side][1] for side in corner] for corner in _CORNERS], float) * _HALF
    nose, eye = np.array([0, 0.1, -1.0]) * _HALF, np.array([0.5, -0.5, -1.0]) * _HALF
    points = np.stack([*corners, nose, eye * [-1, 1, 1], eye])
    camera = points @ turn.T + place
    uv = project(camera.astype(np.float32), _K).astype(np.float64)
    pixels = np.full((_HEIGHT, _WIDTH, 3), rng.integers(70, 190, 3), np.uint8)
    pixels = pixels + rng.integers(0, 30, pixels.shape, np.uint8)
    seen = np.zeros(len(points), bool)
    for side, (axis, sign) in _SIDES.items():
        normal = turn[:, axis] * sign
        if normal @ (place + normal * _HALF[axis]) > 0:
            continue  # faces away
        own = [i for i, corner in enumerate(_CORNERS) if side in corner]
        outline = cv2.convexHull(np.rint(uv[own]).astype(np.int32))
        light = 0.6 + 0.4 * abs(float(normal[2]))
        cv2.fillConvexPoly(pixels, outline, tuple(light * c for c in _COLOURS[side]))
        seen[own] = True
        if side == "front":
            seen[8:] = True
    for i, colour in ((8, (20, 20, 20)), (9, (250, 250, 250)), (10, (250, 250, 250))):
        if seen[i]:
            cv2.circle(pixels, np.rint(uv[i]).astype(int).tolist(), 2, colour, -1)
    return np.ascontiguousarray(pixels), uv, seen
