"""Users' own labelled depth frames as crops for the hand network, beside synthetic ones: to go on
from the included weights without forgetting what a few frames do not show.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import random
from jaxtyping import Array, Float, Int, Key
from ml_collections import ConfigDict
from tqdm import tqdm

from handjax.engine import config as configs
from handjax.engine.contracts import Batch
from handjax.pose import geometry, look_at
from handjax.rigs import hand
from handjax.rigs.hand_middle import HAND_SIZE, MOST_UNCERTAIN_MM, hand_middle, inner_points
from handjax.sources.base import Source
from handjax.sources.camera_world import crop_samplers
from handjax.sources.labelled_frames import OwnFrame, OwnFrames, open_frames

_WIDE = 1.8  # what is kept of a frame around the hand, in crops: room to shift and to turn
_WIDE_PX = 160
_ROLL_DEG = 20.0  # deviation of the turn about the optical axis
_LEVEL_DEG = 15.0  # the same for hands that are turned to point up
_FEWEST = 3  # labelled joints


class _Hand(NamedTuple):
    """A hand in the wide crop around it: the camera looks at its middle."""

    depth: Float[np.ndarray, "n n"]  # mm, 0 not measured
    xyz: Float[np.ndarray, "21 3"]  # mm of the crop's camera, NaN without a label
    distance: np.float32  # mm, of the middle


def labelled_crops(config: ConfigDict, train: bool = True) -> Source:
    """Crops of 300 mm around the hands of frames.json, as `handnet_world` draws them: the middle
    off by `data.shift_mm`, a share `hands.upright` turned to point up.

    Left hands are mirrored. Labels on the surface are taken for the joints below them. A share
    `data.drawn` of the training crops comes from the synthetic world instead; evaluated are
    own frames alone. Frames that do not say which hand it is, or where its middle is (fewer than
    three labels, or labels that leave more than 25 mm open), are left out and counted.
    """
    data = config.data
    configs.check(
        config,
        {"data.drawn": configs.Rule(lambda s: 0 <= s < 1, "a share of the crops, below 1")},
    )
    sample, _ = crop_samplers(config)
    trained, evaluated = open_frames(config, train)
    if trained.skeleton.name != "hand21":
        raise ValueError(
            f"{data.path}: joints of {trained.skeleton.name}; the hand network learns those of "
            "hand21: name some of them in 'order'"
        )
    own, left_out = _hands(evaluated, str(data.eval_path or data.path))
    seen = _hands(trained, str(data.path))[0] if train else own
    size, upright = data.image_size, data.hands.upright

    def rows(numbers: Int[np.ndarray, " b"], hands: list[tuple[int, _Hand]]) -> Batch:
        found = [hands[int(i)][1] for i in numbers]
        xyz = np.stack([one.xyz for one in found])
        labelled = np.isfinite(xyz).all(-1)
        centers = np.array([[0, 0, one.distance] for one in found], np.float32)
        return {
            "depth": np.stack([one.depth for one in found]),
            "joints_xyz": np.where(labelled[..., None], xyz, centers[:, None]),
            "labelled": labelled,
            "center_xyz": centers,
            "mask": np.ones(len(found), bool),
            "index": np.asarray(numbers, np.int32),
        }

    def materialize(batch: Batch, keys: Key[Array, " b"] | None = None) -> Batch:
        given = {name: batch[name] for name in ("depth", "joints_xyz", "labelled", "center_xyz")}
        kept = {name: batch[name] for name in ("mask", "index")}
        if keys is None:
            shifts = (data.eval_shift_mm,) * 2
            own = jax.vmap(partial(_crop, size=size, shift_mm=shifts, upright=upright, turn=0.0))
            return {**own(jax.vmap(_of_number)(batch["index"]), given), **kept}
        own = partial(_crop, size=size, shift_mm=tuple(data.shift_mm), upright=upright, turn=1.0)

        def one(key: Key[Array, ""], row: dict[str, Array]) -> dict[str, Array]:
            own_key, world_key, which = random.split(random.split(key, 4)[0], 3)
            made = own(own_key, row)
            if not data.drawn:
                return made
            drawn = sample(world_key)
            synthetic = random.uniform(which) < data.drawn
            return {name: jnp.where(synthetic, drawn[name], made[name]) for name in made}

        return {**jax.vmap(one)(keys, given), **kept}

    frames = OwnFrames([evaluated.pairs[number] for number, _ in own])
    return Source(
        skeleton=trained.skeleton,
        train_size=len(seen),
        eval_size=len(own),
        train_rows=partial(rows, hands=seen),
        eval_rows=partial(rows, hands=own),
        materialize=materialize,
        names=frames.names,
        description=f"{len(own)} frames of {data.eval_path or data.path}, {left_out} left out; the "
        f"crop's middle is {data.eval_shift_mm:g} mm off on each axis",
    )


def _of_number(index: Array) -> Key[Array, ""]:
    return random.fold_in(random.key(0), index)


def _hands(frames: OwnFrames, where: str) -> tuple[list[tuple[int, _Hand]], int]:
    """(number, hand) of the frames that say where their hand is, and how many do not."""
    radii = HAND_SIZE * np.asarray(hand.HAND.sphere_radii)[list(hand.JOINT_SPHERES["hand21"])]
    found: list[tuple[int, _Hand]] = []
    cut = jax.jit(_wide)
    for number in tqdm(range(len(frames)), "frames", disable=None, leave=False):
        if frames.pairs[number][1].hand not in ("right", "left"):
            continue  # a left hand taken for a right one would teach the opposite
        frame = frames.read(number)
        xyz = frame.xyz
        if frames.pairs[number][0].kind == "surface":
            xyz = inner_points(xyz, radii).astype(np.float32)
        labelled = np.isfinite(xyz).all(-1)
        middle = _middle(frame, xyz, labelled, frames)
        if middle is None or labelled.sum() < _FEWEST:
            continue
        depth, turn = jax.device_get(cut(frame.depth, frame.k, middle))
        distance = np.float32(np.linalg.norm(middle))
        found.append((number, _Hand(depth, xyz @ turn.T, distance)))
    if not found:
        raise ValueError(
            f"{where}: no frame says where its hand is, and whether it is a left one; label at "
            f"least {_FEWEST} joints, all fingertips for example, and give 'hand'"
        )
    return found, len(frames) - len(found)


def _middle(
    frame: OwnFrame, xyz: np.ndarray, labelled: np.ndarray, frames: OwnFrames
) -> Float[np.ndarray, "3"] | None:
    if np.isfinite(frame.center).all():
        return frame.center
    found = hand_middle(xyz, labelled, frames.skeleton, "right")
    if found is None or found.std_mm > MOST_UNCERTAIN_MM:
        return None
    return found.xyz.astype(np.float32)


def _wide(
    depth: Float[Array, "h w"], k: Float[Array, "3 3"], middle: Float[Array, "3"]
) -> tuple[Float[Array, "n n"], Float[Array, "3 3"]]:
    """The wide crop around the middle, and the turn of its camera."""
    turn = look_at.towards(middle)
    camera = _wide_camera(jnp.linalg.norm(middle))
    return look_at.resample(depth, k, turn, camera, _WIDE_PX, _WIDE_PX), turn


def _wide_camera(distance: Float[Array, ""]) -> Float[Array, "3 3"]:
    return look_at.crop_camera(distance / _WIDE, _WIDE_PX)


def _crop(
    key: Key[Array, ""],
    row: dict[str, Array],
    *,
    size: int,
    shift_mm: tuple[float, float],
    upright: float,
    turn: float,
) -> dict[str, Array]:
    """One row as of `camera_world.crop_sample`; `turn` scales the random turn about the axis."""
    shift_key, which_key, roll_key = random.split(key, 3)
    which = random.uniform(which_key, (2,))
    spread = jnp.where(which[0] < 0.67, shift_mm[0], shift_mm[1])
    shift = spread * jnp.clip(random.normal(shift_key, (3,)), -2.2, 2.2)
    middle = row["center_xyz"] + shift
    noise = turn * random.normal(roll_key)
    # From the wrist to the first joint of the middle finger, if both are labelled.
    can = row["labelled"][0] & row["labelled"][9]
    level = look_at.roll(row["joints_xyz"]) + jnp.deg2rad(_LEVEL_DEG) * noise
    roll = jnp.where(can & (which[1] < upright), level, jnp.deg2rad(_ROLL_DEG) * noise)
    rotation = geometry.matmul(geometry.rotation_z(-roll), look_at.towards(middle))
    distance = jnp.linalg.norm(middle)
    camera = look_at.crop_camera(distance, size)
    wide = _wide_camera(row["center_xyz"][2])
    return {
        "depth": look_at.resample(row["depth"], wide, rotation, camera, size, size),
        "k": camera,
        "joints_xyz": geometry.map_points(rotation, row["joints_xyz"]),
        "visible": row["labelled"],
        "right": jnp.ones((), bool),
        "labelled": row["labelled"],
        "center_xyz": jnp.stack([jnp.zeros(()), jnp.zeros(()), distance]),
        "cube_mm": jnp.full(3, look_at.CROP_MM),
    }
