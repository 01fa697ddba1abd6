"""A list of keypoints over a folder of pictures, in one of the orders that a list may have."""

from pathlib import Path

import numpy as np

from handjax.data.sets import fake_hand
from handjax.pose.skeleton import ORDERS, palm_from_wrist

_HEIGHT, _WIDTH = 240, 320
_K = np.array([[350, 0, _WIDTH / 2], [0, 350, _HEIGHT / 2], [0, 0, 1]], np.float32)


def write(root: Path, n: int, seed: int, order: str = "keypoint_list") -> None:
    """n hands in train.txt and in test.txt; hidden joints have a place and v 0."""
    own = np.argsort(ORDERS[order].to_common)  # own joint → common joint
    for number, split in enumerate(("train", "test")):
        (root / split / "some folder").mkdir(parents=True)
        positions = np.array([0, 0, 550]) + np.random.default_rng((seed, number)).uniform(
            -40, 40, (n, 3)
        )
        lines = []
        for i, (centers, radii, joints) in enumerate(
            zip(
                *fake_hand.hands(seed + 100 * number, positions, np.arange(n) % 2 == 1), strict=True
            )
        ):
            depth, winner = fake_hand.look(centers, radii, _K, _HEIGHT, _WIDTH)
            seen = fake_hand.visible(joints, centers, radii)
            if ORDERS[order].root == "palm":
                joints, seen = palm_from_wrist(joints, seen)
            name = f"some folder/{i:05d}{('.jpg', '.png')[i % 2]}"
            (root / split / name).write_bytes(
                fake_hand.encode(fake_hand.picture(seed + i, depth, winner >= 0), name[-4:])
            )
            points = zip(fake_hand.project(joints, _K)[own], seen[own], strict=True)
            lines.append(
                f"{name} " + " ".join(f"{u:.3f} {v:.3f} {float(there)}" for (u, v), there in points)
            )
        (root / f"{split}.txt").write_text("\n".join(lines) + "\n")
