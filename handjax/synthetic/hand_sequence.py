"""A right and a left hand that move before a depth camera: a sequence to follow hands in.

Both change their pose seven times in five seconds and swing about their places. The right one
moves three times as fast for a while, leaves the picture and comes back, and is then hidden behind
something (`FAST`, `AWAY`, `HIDDEN`).
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jax import random
from jaxtyping import Array, Float, PRNGKeyArray

from handjax.pose import look_at
from handjax.rigs import poses, skinning
from handjax.synthetic import depth_cameras, surroundings
from handjax.synthetic.draws import Draws
from handjax.synthetic.hand_scene import (
    DrawnHand,
    HandScene,
    draw_flesh,
    posed_hand,
    render_scene,
    visible_joints,
)
from handjax.synthetic.surroundings import USUAL, Shares

SECONDS = 30.0
FAST, AWAY, HIDDEN = (10.0, 15.0), (18.0, 20.5), (24.0, 25.5)  # s, of the right hand
IMAGE_SIZE, FOCAL = (240, 320), 290.0  # px
_POSE_SECONDS = 0.7
_PLACES_MM = ((-150.0, 0.0, 560.0), (150.0, 0.0, 560.0))  # middles of the hands' swings
_SWING_MM, _SWING_HZ = (85.0, 60.0, 80.0), (0.35, 0.5, 0.25)
# Corners of the boxes that the hands swing in, behind which walls and tables are.
_REACH = np.array(
    [
        place + sign * (np.array(_SWING_MM) + 110.0)
        for place in np.array(_PLACES_MM)
        for sign in itertools.product((-1, 1), repeat=3)
    ],
    np.float32,
)
_FASTER, _AWAY_MM, _RAMP_S = 3.0, -600.0, 0.4
_TURN = (0.8, 0.6, 0.6)  # rad about each axis, from a hand held out to the camera
_NUMBERS = 200  # uniform numbers of what stands around


def frame(
    key: PRNGKeyArray,
    seconds: Float[Array, ""],
    *,
    skin: skinning.Skin | None = None,
    sensor: str | None = "plain",
    shares: Shares = USUAL,
) -> dict[str, Array]:
    """The sequence of `key` at a time, 0 to SECONDS.

    depth [240, 320] mm, 0 not measured, of a camera of the kind `sensor` (one of
    `depth_cameras.KINDS`, or None: exact); k [3, 3]; joints_xyz [2, 21, 3], camera mm, of the right
    and of the left hand; visible [2, 21].
    """
    skin = skin or skinning.hand_skin()
    hands_key, around_key, sensor_key = random.split(key, 3)
    first, second = _hands(hands_key, skin, seconds)
    draws = Draws(around_key, _NUMBERS)
    palms = [surroundings.palm_frame(one.joints, one.side, one.size) for one in (first, second)]
    yes = jnp.ones((), bool)
    around = surroundings.surround(draws, palms[0], palms[1], shares, yes)
    planes = surroundings.planes(draws, jnp.asarray(_REACH), shares)
    vertices = jnp.concatenate([first.vertices, second.vertices, around])
    scene = HandScene(first, second, yes, vertices, planes, surroundings.folds(draws))
    height, width = IMAGE_SIZE
    k = look_at.centered_camera(jnp.asarray(FOCAL), height, width)
    clean = _hide(render_scene(scene, k, height, width, skin), seconds)
    depth = clean
    if sensor is not None:
        effects = depth_cameras.draw_effects(draws, (sensor,))
        noise = random.fold_in(sensor_key, (seconds * 1000).astype(jnp.int32))
        depth = depth_cameras.measure(noise, clean, k, 1.0, effects)
    return {
        "depth": depth,
        "k": k,
        "joints_xyz": jnp.stack([first.joints, second.joints]),
        "visible": jnp.stack([visible_joints(one, clean, k) for one in (first, second)]),
    }


def _hands(
    key: PRNGKeyArray, skin: skinning.Skin, seconds: Float[Array, ""]
) -> tuple[DrawnHand, DrawnHand]:
    """The right and the left hand, placed."""
    count = int(SECONDS / _POSE_SECONDS) + 2
    into = seconds / _POSE_SECONDS
    whole = jnp.clip(jnp.floor(into), 0.0, count - 2.0)
    share, number = _smooth(into - whole), whole.astype(jnp.int32)
    both = []
    for one, side in enumerate((1.0, -1.0)):
        pose_key, number_key = random.split(random.fold_in(key, one))
        draws = Draws(number_key, 50 + 17 * count)
        u, turns = draws.uniform(count, 14), 2 * draws.uniform(count, 3) - 1
        drawn = jax.vmap(poses.sample_pose)(random.split(pose_key, count))
        drawn = jax.vmap(poses.natural)(drawn, u)
        palm = jnp.array([jnp.pi, 0.0, jnp.pi / 2])[None] + jnp.asarray(_TURN)[None] * turns
        drawn = drawn.at[:, :3].set(palm).at[:, 3:6].set(0.0)
        pose = drawn[number] * (1 - share) + drawn[number + 1] * share
        size, fingers = 0.8 + 0.2 * draws.uniform(), 0.92 + 0.16 * draws.uniform(5)
        phase = 2 * jnp.pi * draws.uniform(3)
        flesh = draw_flesh(draws)
        built = posed_hand(pose, size, jnp.ones(3), fingers, jnp.float32(side), skin, flesh)
        time = seconds + (_FASTER - 1) * jnp.clip(seconds - FAST[0], 0.0, FAST[1] - FAST[0])
        time = time if side > 0 else seconds
        swing = jnp.sin(2 * jnp.pi * jnp.asarray(_SWING_HZ) * time + phase)
        place = jnp.asarray(_PLACES_MM[one]) + jnp.asarray(_SWING_MM) * swing
        away = _AWAY_MM * _within(seconds, AWAY) if side > 0 else 0.0
        both.append(built.at(place.at[0].add(away)))
    return both[0], both[1]


def _hide(depth: Float[Array, "h w"], seconds: Float[Array, ""]) -> Float[Array, "h w"]:
    """With something flat before the right hand while it is hidden, which comes from above."""
    height, width = depth.shape
    rows, columns = jnp.arange(height, dtype=depth.dtype)[:, None], jnp.arange(width)[None]
    before = (columns < width // 2) & (rows < height * _within(seconds, HIDDEN))
    return jnp.where(before, 330.0, depth)


def _within(seconds: Float[Array, ""], times: tuple[float, float]) -> Float[Array, ""]:
    """1 between two times, 0 before and after, with ramps inside."""
    start, end = times
    return _smooth((seconds - start) / _RAMP_S) * _smooth((end - seconds) / _RAMP_S)


def _smooth(x: Float[Array, ""]) -> Float[Array, ""]:
    """0 below 0, 1 above 1, level at both ends."""
    x = jnp.clip(x, 0.0, 1.0)
    return x * x * (3 - 2 * x)
