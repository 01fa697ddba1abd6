"""Fake ICVL files: rendered hands in the set's format, for tests and demonstrations."""

from pathlib import Path

import cv2
import numpy as np

from handjax.data.sets import fake_depth_hand as fakes
from handjax.data.sets.icvl import raw
from handjax.pose.pinhole import xyz_to_uvd

# The sphere at each of the 16 joints: palm, then thumb to little finger, each from base to tip.
_FINGERS = ("thumb", "index", "middle", "ring", "little")
SPHERES = (
    fakes.PALM_SPHERE,
    *(fakes.FINGER_SPHERES[finger][i] for finger in _FINGERS for i in (5, 3, 0)),
)


def write(root: Path, n: int, seed: int) -> None:
    """Write `n` training frames and `n` per test sequence, with refined centers.

    Every other training frame is in a folder of rotated frames; every third center is 'invalid'.
    """
    number = 0
    for split, (folder, texts) in raw.LABELS.items():
        centers: list[str] = []
        for text in texts:
            labels = []
            for i in range(n):
                hand = fakes.render_hand(
                    (seed, number),
                    raw.K,
                    raw.HEIGHT,
                    raw.WIDTH,
                    distance_mm=(300.0, 450.0),
                    wall_mm=400.0,
                )
                number += 1
                folder_name = (
                    ("201403121135", "90/201403121135")[i % 2]
                    if split == "train"
                    else text.removesuffix(".txt")
                )
                name = f"{folder_name}/image_{i:04d}.png"
                path = root / folder / "Depth" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(cv2.imencode(".png", hand.depth[0])[1].tobytes())
                xyz = hand.spheres_xyz[0, list(SPHERES)]
                uvd = xyz_to_uvd(xyz, np.asarray(raw.K))
                labels.append(" ".join([name, *(f"{value:.4f}" for value in uvd.ravel())]))
                centers.append(
                    "invalid"
                    if len(centers) % 3 == 2
                    else " ".join(f"{value:.6f}" for value in xyz.mean(0))
                )
            (root / folder / text).write_text("\n".join(labels) + "\n")
        (root / f"center_{split}_refined.txt").write_text("\n".join(centers) + "\n")
