"""Fake HANDS 2017 files: rendered hands in the set's format, for tests and demonstrations."""

from pathlib import Path

import cv2
import numpy as np

from handjax.data.sets import fake_depth_hand as fakes
from handjax.data.sets.hands2017 import raw
from handjax.pose.joint_orders import ORDERS
from handjax.pose.pinhole import project


def write(root: Path, n: int, seed: int) -> None:
    """Write `n` frames per split, with refined centers of which every third is 'invalid'."""
    own = np.argsort(ORDERS["hands2017"].to_common)  # own joint → common joint
    for part, (split, (folder, text)) in enumerate(raw.LABELS.items()):
        (root / folder / "images").mkdir(parents=True)
        lines, centers = [], []
        for i in range(n):
            hand = fakes.render_hand(
                (seed, part, i),
                raw.K,
                raw.HEIGHT,
                raw.WIDTH,
                distance_mm=(400.0, 700.0),
                wall_mm=700.0,
            )
            name, xyz = f"image_D{i + 1:08d}.png", hand.joints_xyz[0][own]
            numbers = xyz
            if split == "test":
                uv = project(xyz, np.asarray(raw.K, np.float32))
                numbers = np.concatenate([uv.min(0), uv.max(0)])
            lines.append("\t".join([name, *(f"{value:.4f}" for value in numbers.ravel())]))
            (root / folder / "images" / name).write_bytes(
                cv2.imencode(".png", hand.depth[0])[1].tobytes()
            )
            center = " ".join(f"{value:.6f}" for value in xyz.mean(0))
            centers.append("invalid" if i % 3 == 2 else center)
        (root / folder / text).write_text("\n".join(lines) + "\n")
        (root / f"center_{split}_refined.txt").write_text("\n".join(centers) + "\n")
