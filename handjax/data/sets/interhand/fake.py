"""Fake InterHand2.6M files: rendered hands before two cameras, in the set's format."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from handjax.data.sets import fake_body, fake_hand
from handjax.data.sets.interhand.raw import FOLDERS
from handjax.pose.joint_orders import ORDERS

HEIGHT, WIDTH = 512, 334
_TYPES = ("right", "left", "interacting")
_CAMERAS = {"400262": (60.0, -900.0, 1000.0), "400263": (-250.0, -850.0, 1150.0)}
_TARGET = (0.0, 0.0, 1000.0)  # studio mm, z up


def write(root: Path, n: int, seed: int) -> None:
    """Write `n` frames of two cameras per split: a right hand, a left hand, both, and so on. The
    tip of the thumb of every right hand is not valid."""
    for part, folder in enumerate(FOLDERS.values()):
        images: list[dict[str, Any]] = []
        hands: list[dict[str, Any]] = []
        cameras: dict[str, dict[str, Any]] = {
            "campos": {},
            "camrot": {},
            "focal": {},
            "princpt": {},
        }
        frames: dict[str, dict[str, Any]] = {}
        for view, position in _CAMERAS.items():
            rotation = fake_body.look_at(np.array(position), np.array(_TARGET))
            cameras["campos"][view] = list(position)
            cameras["camrot"][view] = rotation.tolist()
            cameras["focal"][view] = [1270.0, 1265.0]
            cameras["princpt"][view] = [WIDTH / 2 + 3.0, HEIGHT / 2 - 7.0]
        for i in range(n):
            world, centers, radii = _hands((seed, part, i))
            kind = _TYPES[i % 3]
            shown = [kind in (side, "interacting") for side in ("right", "left")]
            valid = np.repeat(shown, 21)
            valid[0] = False  # the first of the 42 is the tip of the right thumb
            joints = np.where(valid[:, None], world.reshape(42, 3), 1.0)
            frames[str(i)] = {"world_coord": joints.tolist(), "hand_type": kind}
            for view in _CAMERAS:
                number = len(images)
                name = f"Capture0/ROM01/cam{view}/image{i:05d}.jpg"
                image = _draw(cameras, view, centers[shown], radii[shown], (seed, part, number))
                path = root / "images" / folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(fake_hand.encode(image, ".jpg"))
                sizes = {"width": WIDTH, "height": HEIGHT}
                place = {"capture": 0, "camera": view, "frame_idx": i, "seq_name": "ROM01"}
                images.append({"id": number, "file_name": name, **sizes, **place})
                labels = {"joint_valid": valid.astype(int).tolist(), "hand_type": kind}
                hands.append({"id": number, "image_id": number, "hand_type_valid": 1, **labels})
        folder_of = root / "annotations" / folder
        folder_of.mkdir(parents=True)
        for kind, content in {
            "data": {"images": images, "annotations": hands},
            "camera": {"0": cameras},
            "joint_3d": {"0": frames},
        }.items():
            (folder_of / f"InterHand2.6M_{folder}_{kind}.json").write_text(json.dumps(content))


def _hands(seed: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A right and a left hand in the studio: joints in the set's order [2, 21, 3], spheres."""
    own = np.argsort(ORDERS["interhand"].to_common)  # own joint → common joint
    rng = np.random.default_rng(seed)
    # In the frame of the first camera, where hands face it.
    position = _CAMERAS["400262"]
    rotation = fake_body.look_at(np.array(position), np.array(_TARGET))
    distance = np.linalg.norm(np.subtract(_TARGET, position))
    places = np.array([[-45.0, 30, distance], [45, -30, distance + 60]])
    centers, radii, joints = fake_hand.hands(
        int(rng.integers(1 << 31)), places, np.array([False, True])
    )
    world = joints[:, own] @ rotation + position
    return world, centers @ rotation + position, radii


def _draw(
    cameras: dict[str, dict[str, Any]],
    view: str,
    centers: np.ndarray,
    radii: np.ndarray,
    seed: tuple[int, ...],
) -> np.ndarray:
    seen = (centers.reshape(-1, 3) - cameras["campos"][view]) @ np.array(cameras["camrot"][view]).T
    (fx, fy), (cx, cy) = cameras["focal"][view], cameras["princpt"][view]
    k = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float32)
    depth, winner = fake_hand.render_spheres(
        seen.astype(np.float32), radii.ravel().astype(np.float32), k, HEIGHT, WIDTH
    )
    return fake_hand.color_image(
        int(np.random.default_rng(seed).integers(1 << 31)), depth, winner >= 0
    )
