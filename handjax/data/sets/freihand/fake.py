"""Fake FreiHAND files: one rendered right hand per image, in the set's format."""

import json
from pathlib import Path

import numpy as np

from handjax.data.sets import fake_hand
from handjax.data.sets.freihand.raw import FOLDERS, SIZE, VERSIONS
from handjax.pose.joint_orders import ORDERS


def write(root: Path, n: int, seed: int) -> None:
    """Write `n` hands per split; those for training on four backgrounds each."""
    own = np.argsort(ORDERS["freihand"].to_common)  # own joint → common joint
    for part, (split, folder) in enumerate(FOLDERS.items()):
        images = root / folder / "rgb"
        images.mkdir(parents=True)
        cameras, labels = [], []
        for i in range(n):
            rng = np.random.default_rng((seed, part, i))
            position = np.array([*rng.uniform(-20, 20, 2), rng.uniform(550, 750)])
            centers, radii, joints = fake_hand.hands(
                int(rng.integers(1 << 31)), position[None], np.array([False])
            )
            focal, (cx, cy) = rng.uniform(430, 500), SIZE / 2 + rng.uniform(-8, 8, 2)
            k = np.array([[focal, 0, cx], [0, focal, cy], [0, 0, 1]])
            depth, winner = fake_hand.render_spheres(
                centers[0], radii[0], k.astype(np.float32), SIZE, SIZE
            )
            cameras.append(k.tolist())
            labels.append((joints[0][own] / 1000).astype(float).tolist())
            for copy in range(len(VERSIONS) if split == "train" else 1):
                image = fake_hand.color_image(int(rng.integers(1 << 31)), depth, winner >= 0)
                (images / f"{copy * n + i:08d}.jpg").write_bytes(fake_hand.encode(image, ".jpg"))
        (root / f"{folder}_K.json").write_text(json.dumps(cameras))
        (root / f"{folder}_xyz.json").write_text(json.dumps(labels))
