"""Fake RHD files: two hands in front of a person.

As in the set, fingers run from tip to base, lengths are in metres, and depth is packed in two
channels.
"""

import pickle
from pathlib import Path

import numpy as np

from handjax.data.sets import fake_hand
from handjax.data.sets.rhd.raw import DEPTH_UNIT_MM, FOLDERS, IMAGES, SIZE
from handjax.pose.joint_orders import ORDERS
from handjax.pose.pinhole import project
from handjax.rigs import hand

_WALL_MM = 2500.0
# Each bone's mask code for the left hand. Fingers from the thumb's tip on, the palm last.
_FINGERS = ("thumb", "index", "middle", "ring", "little")
_CODES = tuple(
    17
    if "_" not in bone
    else 2 + 3 * _FINGERS.index(bone.split("_")[0]) + 3 - int(bone.split("_")[1])
    for bone in hand.HAND.bones
)


def write(root: Path, n: int, seed: int) -> None:
    """Write `n` images per split. The left hand is nearer, so larger, in every other image."""
    own = np.argsort(ORDERS["rhd"].to_common)  # own joint → common joint
    for part, folder in enumerate(FOLDERS.values()):
        annotations = {}
        for images in IMAGES:
            (root / folder / images).mkdir(parents=True)
        for number in range(n):
            rng = np.random.default_rng((seed, part, number))
            near, far = rng.uniform(450, 500), rng.uniform(600, 700)
            z = np.array([near, far] if number % 2 else [far, near])
            positions = np.stack(
                [np.array([-95, 95]) + rng.uniform(-15, 15, 2), rng.uniform(-20, 20, 2), z], axis=-1
            )
            centers, radii, joints = fake_hand.hands(
                seed + 1000 * part + number, positions, np.array([True, False])
            )
            k = np.array(
                [[rng.uniform(280, 310), 0, SIZE / 2], [0, 0, SIZE / 2], [0, 0, 1]], np.float32
            )
            k[1, 1] = k[0, 0]
            # The person is one large sphere behind the hands.
            all_centers = np.concatenate([centers.reshape(-1, 3), [[0, 100, 1300]]]).astype(
                np.float32
            )
            all_radii = np.append(radii.ravel(), 250).astype(np.float32)
            depth, winner = fake_hand.render_spheres(all_centers, all_radii, k, SIZE, SIZE)
            codes = np.array([_CODES[bone] for bone in hand.HAND.sphere_bones])
            mask = np.append(np.concatenate([codes, codes + 16]), [1, 0])[winner].astype(np.uint8)

            uv = project(joints, k)
            seen = [
                fake_hand.visible(j, all_centers, all_radii, i * fake_hand.SPHERES)
                for i, j in enumerate(joints)
            ]
            inside = np.all((uv > -0.5) & (uv < SIZE - 0.5), axis=-1)
            annotations[number] = {
                "uv_vis": np.concatenate([uv, (inside & seen)[..., None]], axis=-1)[:, own].reshape(
                    42, 3
                ),
                "xyz": (joints / 1000)[:, own].reshape(42, 3),
                "K": k,
            }
            packed = np.round(np.where(winner >= 0, depth, _WALL_MM) / DEPTH_UNIT_MM).astype(
                np.uint16
            )
            files = {
                "color": fake_hand.color_image(seed + number, depth, winner >= 0),
                "mask": mask,
                "depth": np.stack(
                    [packed >> 8, packed & 255, np.zeros_like(packed)], axis=-1
                ).astype(np.uint8),
            }
            for images, image in files.items():
                (root / folder / images / f"{number:05d}.png").write_bytes(fake_hand.encode(image))
        (root / folder / f"anno_{folder}.pickle").write_bytes(pickle.dumps(annotations, protocol=2))
