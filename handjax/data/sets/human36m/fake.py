"""Fake Human3.6M files, as in Sun et al.: four cameras with lenses, 32 joints in the world."""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from handjax.data.sets import fake_body
from handjax.data.sets.human36m import annotation, raw
from handjax.pose.joint_orders import ORDERS
from handjax.pose.lens import project_through_lens

SIZE = 250  # px; size, focal length and center are a quarter of the real ones
_LENS = (-0.207, 0.248, -0.003, -0.0014, -0.001)  # k1, k2, k3, p1, p2, close to a real lens
# Joints that are not among the 17, and those they coincide with, as most real ones nearly do.
_SAME_AS = {
    **{
        f"{side}_{end}": f"{side}_ankle" for side in ("left", "right") for end in ("toe", "toe_end")
    },
    **{
        f"{side}_{end}": f"{side}_wrist"
        for side in ("left", "right")
        for end in ("hand", "thumb", "hand_end", "thumb_end")
    },
    **{"left_collar": "neck", "right_collar": "neck", "spine_base": "pelvis"},
}


def write(root: Path, n: int, seed: int, config: str = "train") -> None:
    """Write a subset's sequences with `n` frames each; their four cameras see the same poses."""
    rooms: dict[int, list] = {}
    for sequence in raw.sequences(config):
        subject, action, subaction, number = (int(word) for word in sequence.split("_")[1::2])
        if subject not in rooms:
            rooms[subject] = _room(np.random.default_rng([seed, subject]))
        camera, slopes = rooms[subject][number - 1]
        rng = np.random.default_rng([seed, subject, action, subaction])
        world = [fake_body.standing_body(rng) for _ in range(n)]
        images, annot = root / "images" / sequence, root / "annot" / sequence
        images.mkdir(parents=True, exist_ok=True)
        annot.mkdir(parents=True, exist_ok=True)
        for i, joints in enumerate(world, 1):
            image, _ = fake_body.render_people(
                camera.from_world(joints)[None], slopes, np.random.default_rng([seed, i, number])
            )
            (images / f"{sequence}_{i:06d}.jpg").write_bytes(fake_body.jpeg(image))
        (annot / "matlab_meta.txt").write_text(
            meta_text(camera, np.stack([_all_joints(joints) for joints in world]))
        )


def meta_text(camera: annotation.LensCamera, world: Float[np.ndarray, "n 32 3"]) -> str:
    """matlab_meta.txt of one sequence; each line but the first starts with a space."""
    rows = (
        (camera.width, camera.height),
        camera.rotation.T.ravel(),
        camera.position,
        camera.k[(0, 1), (0, 1)],
        camera.k[:2, 2],
        camera.distortion[:3],
        camera.distortion[3:],
        annotation.USED,
        *world.reshape(len(world), 96),
    )
    return f"{len(world)}\n" + "".join(
        " " + " ".join(f"{value:.9g}" for value in row) + "\n" for row in rows
    )


def _room(rng: np.random.Generator) -> list[tuple[annotation.LensCamera, np.ndarray]]:
    """Cameras, and the slopes of the rays of their pixels."""
    cameras = []
    for rotation, position in fake_body.room_cameras(rng):
        focal, (u, v) = 1146 * SIZE / 1000, SIZE / 2 + rng.uniform(-4, 4, 2)
        k = np.array([[focal, 0, u], [0, focal, v], [0, 0, 1]])
        lens = np.array(_LENS) * rng.uniform(0.9, 1.1, 5)
        camera = annotation.LensCamera(SIZE, SIZE, rotation, position, k, lens)
        cameras.append((camera, distorted_slopes(k, lens)))
    return cameras


def distorted_slopes(
    k: Float[np.ndarray, "3 3"], lens: Float[np.ndarray, "5"]
) -> Float[np.ndarray, "h w 2"]:
    """x/z and y/z of the rays that the lens projects to pixel centers, by fixed-point iteration."""
    target = fake_body.pixel_slopes(k, SIZE, SIZE).reshape(-1, 2)
    slopes = target
    for _ in range(10):
        rays = np.concatenate([slopes, np.ones_like(slopes[:, :1])], axis=-1)
        slopes = slopes + target - project_through_lens(rays, np.eye(3), lens)
    return slopes.reshape(SIZE, SIZE, 2)


def _all_joints(joints: Float[np.ndarray, "18 3"]) -> Float[np.ndarray, "32 3"]:
    names = ORDERS["human36m32"].joints
    return np.stack([joints[fake_body.JOINTS.index(_SAME_AS.get(name, name))] for name in names])
