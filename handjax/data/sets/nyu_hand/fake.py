"""Fake NYU hand files: rendered hands in the set's format, for tests and demonstrations."""

from pathlib import Path

import cv2
import numpy as np
import scipy.io

from handjax.data.sets import fake_depth_hand as fakes
from handjax.data.sets.nyu_hand import raw
from handjax.pose.pinhole import xyz_to_uvd
from handjax.pose.skeleton import SKELETONS

TURNS = (0.0, 0.6, -0.6)  # rad: rotation of the three Kinects about the hand
# The sphere at each of the 36 joints: little finger to thumb, each from its tip; wrist, palm,
# knuckles.
SPHERES = (
    *(
        s
        for finger in ("little", "ring", "middle", "index", "thumb")
        for s in fakes.FINGER_SPHERES[finger]
    ),
    0,
    1,
    2,
    3,
    9,
    5,
)


def write(root: Path, n: int, seed: int) -> None:
    """Write `n` frames per split for all three Kinects; every third refined center is 'invalid'."""
    rng = np.random.default_rng(seed)
    for number, split in enumerate(raw.COUNTS):
        (root / split).mkdir(parents=True)
        hands = [
            fakes.render_hand(
                (seed, number, i),
                raw.K,
                raw.HEIGHT,
                raw.WIDTH,
                distance_mm=(600.0, 900.0),
                turns=TURNS,
                wall_mm=700.0,
            )
            for i in range(n)
        ]
        xyz = np.stack([hand.spheres_xyz[:, SPHERES] for hand in hands], axis=1).astype(np.float64)
        uvd = xyz_to_uvd(xyz, np.asarray(raw.K))
        names = np.asarray(SKELETONS["nyu36"].joints, object)[None]
        labels = {"joint_names": names, "joint_xyz": xyz * (1, -1, 1), "joint_uvd": uvd}
        scipy.io.savemat(root / split / "joint_data.mat", labels, do_compression=True)
        lines = []
        for i, hand in enumerate(hands):
            for view, depth in enumerate(hand.depth, 1):
                red = rng.integers(0, 256, depth.shape)  # has no meaning
                bgr = np.stack([depth & 255, depth >> 8, red], axis=-1).astype(np.uint8)
                (root / split / f"depth_{view}_{i + 1:07d}.png").write_bytes(
                    cv2.imencode(".png", bgr)[1].tobytes()
                )
            x, y, z = xyz[0, i].mean(0)
            lines.append("invalid" if i % 3 == 2 else f"{x:.6f} {-y:.6f} {z:.6f}")
        (root / f"center_{split}_refined.txt").write_text("\n".join(lines) + "\n")
