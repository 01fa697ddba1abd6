"""Fake DexYCB files: rendered hands before eight cameras, in the set's format.

All people have their 100 sequences, but only four of these, which make no split of any
configuration empty, have frames.
"""

from pathlib import Path

import cv2
import numpy as np
import yaml

from handjax.data.sets import fake_depth_hand as fakes
from handjax.data.sets import fake_hand
from handjax.data.sets.dexycb import raw
from handjax.pose.pinhole import project

# Person and place of the sequences with frames.
ACTIVE = ((0, 19), (2, 39), (6, 0), (7, 0))
_TURNS = tuple(np.linspace(-0.6, 0.6, len(raw.CAMERAS)).tolist())  # rad, about the hand
_K = ((614.0, 0.0, 313.0), (0.0, 612.0, 245.0), (0.0, 0.0, 1.0))


def write(root: Path, n: int, seed: int) -> None:
    """Write `n` frames of each of four sequences by eight cameras; the last camera has no label of
    the first of the third sequence."""
    for name in raw.CAMERAS:
        path = root / "calibration" / "intrinsics" / f"{name}_{raw.WIDTH}x{raw.HEIGHT}.yml"
        path.parent.mkdir(parents=True, exist_ok=True)
        color = {"fx": _K[0][0], "fy": _K[1][1], "ppx": _K[0][2], "ppy": _K[1][2]}
        path.write_text(yaml.safe_dump({"color": color, "depth": color}))
    for person, name in enumerate(raw.PEOPLE):
        for number in range(raw.SEQUENCES):
            folder = root / name / f"{name[:8]}_{140000 + number}"
            folder.mkdir(parents=True)
            frames = n if (person, number) in ACTIVE else 0
            serials = ", ".join(f"'{name}'" for name in raw.CAMERAS)
            (folder / "meta.yml").write_text(
                f"num_frames: {frames}\nmano_sides:\n- right\nserials: [{serials}]\n"
            )
            for i in range(frames):
                _write_frame(folder, i, (seed, person, number, i))


def _write_frame(folder: Path, i: int, seed: tuple[int, ...]) -> None:
    hand = fakes.render_hand(
        seed, _K, raw.HEIGHT, raw.WIDTH, distance_mm=(700.0, 900.0), turns=_TURNS, wall_mm=500.0
    )
    for camera, name in enumerate(raw.CAMERAS):
        (folder / name).mkdir(exist_ok=True)
        depth, xyz = hand.depth[camera], hand.joints_xyz[camera]
        nearer = (depth > 0) & (depth < depth.max())  # the wall is behind the hand
        image = fake_hand.color_image(sum(seed) + camera, depth.astype(np.float32), nearer)
        metres, uv = (xyz / 1000)[None], project(xyz, np.asarray(_K, np.float32))[None]
        if (seed[1:3], i, camera) == (ACTIVE[2], 0, len(raw.CAMERAS) - 1):
            metres, uv = np.full_like(metres, -1), np.full_like(uv, -1)
        color, aligned, label = (folder / name / form.format(i) for form in raw.FILES)
        color.write_bytes(fake_hand.encode(image, ".jpg"))
        aligned.write_bytes(cv2.imencode(".png", depth)[1].tobytes())
        np.savez_compressed(
            label,
            seg=np.where(nearer, 255, 0).astype(np.uint8),
            pose_m=np.zeros((1, 51), np.float32),
            joint_3d=metres.astype(np.float32),
            joint_2d=uv.astype(np.float32),
        )
