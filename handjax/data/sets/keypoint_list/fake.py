"""Fake keypoint lists over folders of images, in any of the joint orders that a list may have."""

from pathlib import Path

import numpy as np

from handjax.data.sets import fake_hand
from handjax.pose.joint_orders import ORDERS, palm_from_wrist
from handjax.pose.pinhole import project

_HEIGHT, _WIDTH = 240, 320
_K = np.array([[350, 0, _WIDTH / 2], [0, 350, _HEIGHT / 2], [0, 0, 1]], np.float32)


def write(root: Path, n: int, seed: int, config: str = "keypoint_list") -> None:
    """Write `n` hands each to train.txt and test.txt; hidden joints have a position and v = 0."""
    own = np.argsort(ORDERS[config].to_common)  # own joint → common joint
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
            depth, winner = fake_hand.render_spheres(centers, radii, _K, _HEIGHT, _WIDTH)
            seen = fake_hand.visible(joints, centers, radii)
            if ORDERS[config].root == "palm":
                joints, seen = palm_from_wrist(joints, seen)
            name = f"some folder/{i:05d}{('.jpg', '.png')[i % 2]}"
            (root / split / name).write_bytes(
                fake_hand.encode(fake_hand.color_image(seed + i, depth, winner >= 0), name[-4:])
            )
            points = zip(project(joints, _K)[own], seen[own], strict=True)
            lines.append(
                f"{name} "
                + " ".join(f"{u:.3f} {v:.3f} {float(visible)}" for (u, v), visible in points)
            )
        (root / f"{split}.txt").write_text("\n".join(lines) + "\n")
