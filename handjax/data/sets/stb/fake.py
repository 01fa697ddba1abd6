"""Fake STB files: a left hand in front of four cameras.

As in the set, the palm comes first, then the little finger.
"""

from pathlib import Path

import cv2
import numpy as np
import scipy.io

from handjax.data.sets import fake_hand
from handjax.data.sets.stb import raw
from handjax.pose.joint_orders import ORDERS, palm_from_wrist

_WALL_MM = 1100.0


def write(root: Path, n: int, seed: int) -> None:
    """Write `n` frames per sequence."""
    (root / "labels").mkdir(parents=True)
    rotation, translation = (
        cv2.Rodrigues(np.array(raw.COLOR_TO_DEPTH[0]))[0],
        np.array(raw.COLOR_TO_DEPTH[1]),
    )
    own = np.argsort(ORDERS["stb"].to_common)  # own joint → common joint
    for number, sequence in enumerate(sum(raw.SEQUENCES.values(), ())):
        rng = np.random.default_rng((seed, number))
        (root / "images" / sequence).mkdir(parents=True)
        # The stereo cameras' hand is in the middle of what both of them see.
        for config, center in {"bb": (60.0, 0.0, 700.0), "sk": (0.0, 0.0, 500.0)}.items():
            positions = np.array(center) + rng.uniform(-20, 20, (n, 3))
            centers, radii, joints = fake_hand.hands(
                seed + 100 * number, positions, np.ones(n, bool)
            )
            joints, _ = palm_from_wrist(joints, np.ones((n, 21), bool))
            labels = root / "labels" / f"{sequence}_{config.upper()}.mat"
            scipy.io.savemat(
                labels,
                {"handPara": joints[:, own].transpose(2, 1, 0).astype(np.float64)},
                do_compression=True,
            )
            if config == "bb":
                views = {
                    "BB_left": (centers, raw.STEREO_K),
                    "BB_right": (centers - [raw.BASELINE_MM, 0, 0], raw.STEREO_K),
                }
            else:
                from_color = np.linalg.solve(rotation, (centers - translation)[..., None])[..., 0]
                views = {"SK_color": (from_color, raw.COLOR_K), "SK_depth": (centers, raw.DEPTH_K)}
            for camera, (spheres_xyz, k) in views.items():
                for frame in range(n):
                    depth, winner = fake_hand.render_spheres(
                        spheres_xyz[frame].astype(np.float32),
                        radii[frame],
                        np.array(k),
                        raw.HEIGHT,
                        raw.WIDTH,
                    )
                    image = fake_hand.color_image(seed + frame, depth, winner >= 0)
                    if camera == "SK_depth":
                        packed = np.rint(np.where(winner >= 0, depth, _WALL_MM)).astype(np.uint16)
                        image = np.stack(
                            [packed & 255, packed >> 8, np.zeros_like(packed)], axis=-1
                        ).astype(np.uint8)
                    (root / "images" / sequence / f"{camera}_{frame}.png").write_bytes(
                        fake_hand.encode(image)
                    )
