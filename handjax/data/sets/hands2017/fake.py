"""Fake HANDS 2017 files: rendered hands in the set's format, for tests and demonstrations."""

from pathlib import Path

import cv2
import numpy as np

from handjax.data.sets import fake_depth_hand as fakes
from handjax.data.sets import sr300_frames as frames
from handjax.data.sets.hands2017 import raw
from handjax.pose.joint_orders import ORDERS
from handjax.pose.pinhole import project


def write(root: Path, n: int, seed: int) -> None:
    """Write `n` frames per split of both challenges, and refined centers for those of 2017; every
    third of them is 'invalid'."""
    for part, split in enumerate(("train", "test")):
        for config, lists in raw.LISTS.items():
            text, images = lists[split]
            (root / images).mkdir(parents=True)
            end = "\t" if config == "hands2019" else ""
            lines, centers = [], []
            for i in range(n):
                line, center = _frame(root / images, split, i + 1, (seed, part, i))
                lines.append(line + end)
                centers.append("invalid" if i % 3 == 2 else center)
            (root / text).write_text("\n".join(lines) + "\n")
            if config == "hands2017":
                (root / f"center_{split}_refined.txt").write_text("\n".join(centers) + "\n")


def _frame(images: Path, split: str, number: int, seed: tuple[int, ...]) -> tuple[str, str]:
    """Writes an image → its line in the list of frames, and the center of the hand."""
    own = np.argsort(ORDERS["hands2017"].to_common)  # own joint → common joint
    hand = fakes.render_hand(
        seed, frames.K, frames.HEIGHT, frames.WIDTH, distance_mm=(400.0, 700.0), wall_mm=700.0
    )
    name, xyz = f"image_D{number:08d}.png", hand.joints_xyz[0][own]
    numbers = xyz
    if split == "test":
        uv = project(xyz, np.asarray(frames.K, np.float32))
        numbers = np.concatenate([uv.min(0), uv.max(0)])
    (images / name).write_bytes(cv2.imencode(".png", hand.depth[0])[1].tobytes())
    line = "\t".join([name, *(f"{value:.4f}" for value in numbers.ravel())])
    return line, " ".join(f"{value:.6f}" for value in xyz.mean(0))
