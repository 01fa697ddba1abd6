"""Fake BigHand2.2M files: rendered hands in the set's format, for tests and demonstrations."""

from pathlib import Path

import cv2
import numpy as np

from handjax.data.sets import fake_depth_hand as fakes
from handjax.data.sets import sr300_frames as frames
from handjax.data.sets.bighand import raw
from handjax.pose.joint_orders import ORDERS

VIEWPOINTS = ("1 75", "ego")


def write(root: Path, n: int, seed: int, people: int = 2) -> None:
    """Write `n` frames of each viewpoint of the first `people`."""
    own = np.argsort(ORDERS["hands2017"].to_common)  # own joint → common joint
    for number, person in enumerate(raw.PEOPLE[:people]):
        labels = root / "full_annotation" / person
        labels.mkdir(parents=True)
        (labels / "README.txt").write_text("Labels of the frames of each folder.\n")
        for view, name in enumerate(VIEWPOINTS):
            folder = root / person / name
            folder.mkdir(parents=True)
            lines = []
            for i in range(n):
                hand = fakes.render_hand(
                    (seed, number, view, i),
                    frames.K,
                    frames.HEIGHT,
                    frames.WIDTH,
                    distance_mm=(400.0, 700.0),
                    wall_mm=700.0,
                )
                numbers = hand.joints_xyz[0][own].ravel()
                lines.append("\t".join([f"{i:08d}", *(f"{value:.4f}" for value in numbers)]))
                data = cv2.imencode(".png", hand.depth[0])[1].tobytes()
                (folder / f"image_D{i:08d}.png").write_bytes(data)
            text = "\n".join(lines) + "\n"
            (labels / f"{name}_loc_shift_made_by_qi_20180112_v2.txt").write_text(text)
