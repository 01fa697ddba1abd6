"""Fake ITOP files: one rendered person per frame, seen from the side and from above."""

from pathlib import Path

import h5py
import numpy as np

from handjax.data.sets import fake_body
from handjax.data.sets.itop import raw
from handjax.pose.pinhole import project
from handjax.pose.skeleton import SKELETONS

# Joints of the set under the names of "body18".
_BODY = {"hand": "wrist", "foot": "ankle"}
_OWN = [
    fake_body.JOINTS.index("_".join(_BODY.get(word, word) for word in joint.split("_")))
    for joint in SKELETONS["itop15"].joints
]
# Position and target of each view's camera, world mm: z up.
_CAMERAS = {"side": ((0, -3000, 1100), (0, 0, 950)), "top": ((0, -300, 3600), (0, 0, 900))}
_WALL_MM = 4500.0
_HIDDEN_MM = 150.0  # a joint this far behind what is seen is hidden


def write(root: Path, n: int, seed: int) -> None:
    """Write `n` valid frames per view and split; the second of each file is one more, not valid,
    without a center."""
    root.mkdir(parents=True, exist_ok=True)
    k = np.asarray(raw.K)
    slopes = fake_body.pixel_slopes(k, raw.HEIGHT, raw.WIDTH)
    for part, split in enumerate(raw.COUNTS):
        rng = np.random.default_rng((seed, part))
        people = [fake_body.standing_body(rng, near_mm=200.0) for _ in range(n + 1)]
        valid = np.arange(n + 1) != 1
        ids = np.array([f"{4 * part + i % 4:02d}_{i:05d}".encode() for i in range(n + 1)])
        for view, (position, target) in _CAMERAS.items():
            rotation = fake_body.look_at(np.array(position, float), np.array(target, float))
            xyz = np.stack([(person - position) @ rotation.T for person in people])
            depth = [fake_body.render_people(one[None], slopes, rng)[1] for one in xyz]
            metres = np.stack([np.where(image > 0, image, _WALL_MM) / 1000 for image in depth])
            own = xyz[:, _OWN]
            uv = project(own, k)
            at = np.rint(uv).astype(int).clip(0, (raw.WIDTH - 1, raw.HEIGHT - 1))
            surface = np.stack(depth)[np.arange(n + 1)[:, None], at[..., 1], at[..., 0]]
            labels = {
                "id": ids,
                "is_valid": valid.astype(np.uint8),
                "visible_joints": (own[..., 2] - surface < _HIDDEN_MM).astype(np.int16),
                "image_coordinates": np.rint(uv).astype(np.int16),
                "real_world_coordinates": (own / 1000 * (1, -1, 1)).astype(np.float32),
                "segmentation": np.where(np.stack(depth) > 0, 8, -1).astype(np.int8),
            }
            files = {"labels": labels, "depth_map": {"id": ids, "data": metres.astype(np.float16)}}
            for kind, content in files.items():
                with h5py.File(root / f"ITOP_{view}_{split}_{kind}.h5", "w") as file:
                    for key, value in content.items():
                        packed = {"compression": "gzip"} if value.ndim > 2 else {}
                        file.create_dataset(key, data=value, **packed)
            centers = [
                " ".join(f"{x:.6f}" for x in one.mean(0) / 1000 * (1, -1, 1)) if ok else "invalid"
                for one, ok in zip(own, valid, strict=True)
            ]
            (root / f"{view}_view").mkdir(exist_ok=True)
            (root / f"{view}_view" / f"center_{split}.txt").write_text("\n".join(centers) + "\n")
