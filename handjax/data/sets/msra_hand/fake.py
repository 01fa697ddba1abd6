"""Fake MSRA hand files: rendered hands in the set's format, for tests and demonstrations."""

from pathlib import Path

import numpy as np

from handjax.data.sets import fake_depth_hand as fakes
from handjax.data.sets.msra_hand import raw
from handjax.pose.joint_orders import ORDERS


def write(root: Path, n: int, seed: int) -> None:
    """Write `n` frames per person, with refined centers of which every third is 'invalid'.

    Frame i shows gesture i, starting over after the last gesture.
    """
    for number, person in enumerate(raw.COUNTS):
        centers: list[str] = []
        for gesture, name in enumerate(raw.GESTURES):
            folder = root / person / name
            folder.mkdir(parents=True)
            frames = range(gesture, n, len(raw.GESTURES))
            lines = [str(len(frames))]
            for i, frame in enumerate(frames):
                hand = fakes.render_hand(
                    (seed, number, frame), raw.K, raw.HEIGHT, raw.WIDTH, distance_mm=(320.0, 450.0)
                )
                xyz = np.empty((raw.JOINTS, 3))
                xyz[list(ORDERS["msra"].to_common)] = hand.joints_xyz[0]
                lines.append(" ".join(f"{value:.6f}" for value in (xyz * (1, -1, -1)).ravel()))
                _write_depth(folder / f"{i:06d}_depth.bin", hand.depth[0])
                x, y, z = xyz.mean(0)
                centers.append("invalid" if len(centers) % 3 == 2 else f"{x:.6f} {-y:.6f} {z:.6f}")
            (folder / "joint.txt").write_text("\n".join(lines) + "\n")
        (root / f"center_test_{person[1:]}_refined.txt").write_text("\n".join(centers) + "\n")


def _write_depth(path: Path, depth: np.ndarray) -> None:
    rows, columns = np.nonzero(depth.any(1))[0], np.nonzero(depth.any(0))[0]
    left, top, right, bottom = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    head = np.asarray([raw.WIDTH, raw.HEIGHT, left, top, right, bottom], "<u4")
    path.write_bytes(head.tobytes() + depth[top:bottom, left:right].astype("<f4").tobytes())
