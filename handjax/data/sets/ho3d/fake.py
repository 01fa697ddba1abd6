"""Fake HO-3D files: a rendered hand before a wall, in the set's format."""

import json
import pickle
from pathlib import Path

import numpy as np

from handjax.data.sets import fake_depth_hand as fakes
from handjax.data.sets import fake_hand
from handjax.data.sets.ho3d import raw
from handjax.pose.joint_orders import ORDERS

_K = ((617.3, 0.0, 312.4), (0.0, 617.3, 241.4), (0.0, 0.0, 1.0))
_SEQUENCES = {"train": ("ABF10", "MC1"), "test": ("SM1",)}


def write(root: Path, n: int, seed: int, config: str = "v3") -> None:
    """Write `n` frames per sequence, of which training has two. `config` is the version."""
    own = np.argsort(ORDERS["ho3d"].to_common)  # own joint → common joint
    for part, (split, folder) in enumerate(raw.FOLDERS.items()):
        names, truth = [], []
        for number, sequence in enumerate(_SEQUENCES[split]):
            for i in range(n):
                hand = fakes.render_hand(
                    (seed, part, number, i),
                    _K,
                    raw.HEIGHT,
                    raw.WIDTH,
                    distance_mm=(500.0, 700.0),
                    wall_mm=600.0,
                )
                joints = hand.joints_xyz[0][own] / 1000 * (1, -1, -1)
                at = root / folder / sequence
                _write_images(at, f"{i:04d}", hand.depth[0], raw.CONFIGS[config], seed + i)
                meta = {
                    "handJoints3D": joints if split == "train" else joints[0],
                    "camMat": np.array(_K),
                    "objName": "010_potted_meat_can",
                    "handPose": np.zeros(48) if split == "train" else None,
                }
                path = at / "meta" / f"{i:04d}.pkl"
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(pickle.dumps(meta, protocol=2))
                names.append(f"{sequence}/{i:04d}")
                truth.append(joints.tolist())
        (root / f"{folder}.txt").write_text("\n".join(names) + "\n")
        if split == "test":
            (root / "evaluation_xyz.json").write_text(json.dumps(truth))


def _write_images(folder: Path, frame: str, depth: np.ndarray, ending: str, seed: int) -> None:
    nearer = (depth > 0) & (depth < depth.max())  # the wall is behind the hand
    units = np.rint(depth / raw.DEPTH_UNIT_MM).astype(np.uint16)
    packed = np.stack([units & 255, units >> 8, np.zeros_like(units)], axis=-1).astype(np.uint8)
    image = fake_hand.color_image(seed, depth.astype(np.float32), nearer)
    for kind, name, pixels in (("rgb", ending, image), ("depth", ".png", packed)):
        path = folder / kind / f"{frame}{name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(fake_hand.encode(pixels, name))
