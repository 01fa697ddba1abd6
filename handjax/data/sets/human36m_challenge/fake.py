"""Fake files of the Human3.6M challenge: images, and poses relative to the pelvis."""

from pathlib import Path

import numpy as np

from handjax.data.sets import fake_body
from handjax.data.sets.human36m_challenge import raw

SIZE = 250  # px, a quarter of the real one


def write(root: Path, n: int, seed: int) -> None:
    """Write `n` frames per split."""
    for split, name in raw.FOLDERS.items():
        (root / name / "IMG").mkdir(parents=True, exist_ok=True)
        if split != "test":
            (root / name / "POSE").mkdir(exist_ok=True)
        for i in range(1, n + 1):
            shot = scene(split, i, seed)
            (root / name / "IMG" / f"{i:05d}.jpg").write_bytes(fake_body.jpeg(shot["image"]))
            if split != "test":
                joints = shot["joints_xyz"][0, :17]
                rows = [",".join(f"{value:.4f}" for value in joint) for joint in joints - joints[0]]
                (root / name / "POSE" / f"{i:05d}.csv").write_text("\n".join(rows) + "\n")


def scene(split: str, i: int, seed: int) -> dict[str, np.ndarray]:
    """The scene (`fake_body.snapshot`) of frame `i` of a split, camera included."""
    rng = np.random.default_rng([seed, list(raw.FOLDERS).index(split), i])
    return fake_body.snapshot(rng, SIZE, SIZE)
