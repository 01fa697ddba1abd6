"""A small Human3.6M of spheres, in Sun et al.'s files: four cameras with lenses in a room, 32 joints in the world."""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from handjax.data.sets import fake_body
from handjax.data.sets.human36m import raw
from handjax.pose.skeleton import ORDERS

SIZE = 250  # px, a quarter of the real one, and so are focal length and centre
_LENS = (-0.207, 0.248, -0.003, -0.0014, -0.001)  # k1, k2, k3, p1, p2, about a real one's
# Where the joints of the 32 are that are none of the 17: at another's place, as most of the real ones nearly are.
_PLACE = {
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


def write(root: Path, n: int, seed: int, split: str | None = None) -> None:
    """Every sequence of a subset, or of all, with `n` frames each; the four cameras of a sequence see the same poses."""
    rooms: dict[int, list] = {}
    wanted = (
        raw.sequences(split)
        if split
        else [*raw.sequences("trainfull"), *raw.sequences("validfull")]
    )
    for sequence in wanted:
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
            image, _ = fake_body.picture(
                camera.from_world(joints)[None], slopes, np.random.default_rng([seed, i, number])
            )
            (images / f"{sequence}_{i:06d}.jpg").write_bytes(fake_body.jpeg(image))
        (annot / "matlab_meta.txt").write_text(
            meta_text(camera, np.stack([_all_joints(joints) for joints in world]))
        )


def meta_text(camera: raw.Camera, world: Float[np.ndarray, "n 32 3"]) -> str:
    """matlab_meta.txt of one sequence; each line but the first begins with a space."""
    rows = (
        (camera.width, camera.height),
        camera.rotation.T.ravel(),
        camera.place,
        camera.k[(0, 1), (0, 1)],
        camera.k[:2, 2],
        camera.distortion[:3],
        camera.distortion[3:],
        raw.USED,
        *world.reshape(len(world), 96),
    )
    return f"{len(world)}\n" + "".join(
        " " + " ".join(f"{value:.9g}" for value in row) + "\n" for row in rows
    )


def _room(rng: np.random.Generator) -> list[tuple[raw.Camera, np.ndarray]]:
    """Cameras, and the slopes of their pixels' rays."""
    cameras = []
    for rotation, place in fake_body.room_cameras(rng):
        focal, (u, v) = 1146 * SIZE / 1000, SIZE / 2 + rng.uniform(-4, 4, 2)
        k = np.array([[focal, 0, u], [0, focal, v], [0, 0, 1]])
        lens = np.array(_LENS) * rng.uniform(0.9, 1.1, 5)
        cameras.append((raw.Camera(SIZE, SIZE, rotation, place, k, lens), _bent(k, lens)))
    return cameras


def _bent(k: Float[np.ndarray, "3 3"], lens: Float[np.ndarray, "5"]) -> Float[np.ndarray, "h w 2"]:
    """Slopes whose projection through the lens is each pixel's middle, by correcting a guess ten times."""
    wanted = fake_body.pixel_slopes(k, SIZE, SIZE)
    slopes = wanted
    for _ in range(10):
        seen = raw.project(
            np.concatenate([slopes, np.ones_like(slopes[..., :1])], axis=-1), np.eye(3), lens
        )
        slopes = slopes + wanted - seen
    return slopes


def _all_joints(joints: Float[np.ndarray, "18 3"]) -> Float[np.ndarray, "32 3"]:
    names = ORDERS["human36m32"].joints
    return np.stack([joints[fake_body.JOINTS.index(_PLACE.get(name, name))] for name in names])
