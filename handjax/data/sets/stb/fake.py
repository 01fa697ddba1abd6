"""A few frames of every sequence in STB's own files: a left hand, palm and little finger first, before its four cameras."""

from pathlib import Path

import cv2
import numpy as np
import scipy.io

from handjax.data.sets import fake_hand
from handjax.data.sets.stb import raw
from handjax.pose.skeleton import ORDERS, palm_from_wrist

_WALL_MM = 1100.0


def write(root: Path, n: int, seed: int) -> None:
    """n frames a sequence."""
    (root / "labels").mkdir(parents=True)
    rotation, translation = (
        cv2.Rodrigues(np.array(raw.COLOR_TO_DEPTH[0]))[0],
        np.array(raw.COLOR_TO_DEPTH[1]),
    )
    own = np.argsort(ORDERS["stb"].to_common)  # own joint → common joint
    for number, sequence in enumerate(sum(raw.SEQUENCES.values(), ())):
        rng = np.random.default_rng((seed, number))
        (root / "images" / sequence).mkdir(parents=True)
        # In the stereo camera the hand is amid what both see.
        for config, around in {"bb": (60.0, 0.0, 700.0), "sk": (0.0, 0.0, 500.0)}.items():
            positions = np.array(around) + rng.uniform(-20, 20, (n, 3))
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
            for camera, (seen, k) in views.items():
                for frame in range(n):
                    depth, winner = fake_hand.look(
                        seen[frame].astype(np.float32),
                        radii[frame],
                        np.array(k),
                        raw.HEIGHT,
                        raw.WIDTH,
                    )
                    picture = fake_hand.picture(seed + frame, depth, winner >= 0)
                    if camera == "SK_depth":
                        whole = np.rint(np.where(winner >= 0, depth, _WALL_MM)).astype(np.uint16)
                        picture = np.stack(
                            [whole & 255, whole >> 8, np.zeros_like(whole)], axis=-1
                        ).astype(np.uint8)
                    (root / "images" / sequence / f"{camera}_{frame}.png").write_bytes(
                        fake_hand.encode(picture)
                    )
