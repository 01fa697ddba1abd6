"""A few frames in the file format of ICVL, with the figure's hand in place of anybody's. For tests and demonstrations."""

from pathlib import Path

import cv2
import numpy as np

from handjax.data.sets import fake_depth_hand as fakes
from handjax.data.sets.icvl import raw

# The sphere in whose middle each of the 16 joints lies: palm, then thumb to little finger, each from base to tip.
_FINGERS = ("thumb", "index", "middle", "ring", "little")
SPHERES = (
    fakes.PALM_SPHERE,
    *(fakes.FINGER_SPHERES[finger][i] for finger in _FINGERS for i in (5, 3, 0)),
)


def write(root: Path, n: int, seed: int) -> None:
    """`n` training frames, every other in a folder of turned ones, and `n` of each test sequence, with refined centers of
    which every third is 'invalid'."""
    focal, center = np.asarray(raw.K)[[0, 1], [0, 1]], np.asarray(raw.K)[:2, 2]
    number = 0
    for split, (folder, texts) in raw.LABELS.items():
        centers = []
        for text in texts:
            labels = []
            for i in range(n):
                hand = fakes.hand(
                    (seed, number),
                    raw.K,
                    raw.HEIGHT,
                    raw.WIDTH,
                    distance_mm=(300.0, 450.0),
                    wall_mm=400.0,
                )
                number += 1
                place = (
                    ("201403121135", "90/201403121135")[i % 2]
                    if split == "train"
                    else text.removesuffix(".txt")
                )
                name = f"{place}/image_{i:04d}.png"
                path = root / folder / "Depth" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(cv2.imencode(".png", hand.depth[0])[1].tobytes())
                xyz = hand.spheres_xyz[0, list(SPHERES)]
                uvd = np.concatenate(
                    [xyz[:, :2] / xyz[:, 2:] * focal + center, xyz[:, 2:]], axis=-1
                )
                labels.append(" ".join([name, *(f"{value:.4f}" for value in uvd.ravel())]))
                centers.append(
                    "invalid"
                    if len(centers) % 3 == 2
                    else " ".join(f"{value:.6f}" for value in xyz.mean(0))
                )
            (root / folder / text).write_text("\n".join(labels) + "\n")
        (root / f"center_{split}_refined.txt").write_text("\n".join(centers) + "\n")
