"""The hand that the viewer shows: parameters, their usual ranges, and random poses."""

import functools
import itertools
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from handjax.rigs import hand, poses

Numbers = float | int | Sequence[Any] | np.ndarray | jax.Array  # anything that NumPy takes
SIDES = {"right": 1.0, "left": -1.0}
# A hand held up, its palm to the camera.
START = (3.14, 0.0, 1.57) + (0.0,) * 23

# Usual joint angles, rad: the range of `poses.sample_pose`, rounded outward. The rig has no limits.
_FLEXION = ((-0.25, 1.9), (-0.4, 2.05), (-0.49, 2.63))
_USUAL = {
    "index": ((-0.49, 0.79), *_FLEXION),
    "middle": ((-0.24, 0.38), *_FLEXION),
    "ring": ((-0.38, 0.24), *_FLEXION),
    "little": ((-1.12, 0.69), *_FLEXION),
    "thumb": ((-0.5, 0.5), (-0.25, 0.7), (-0.07, 0.18), (-1.7, 0.3)),
}
_ANGLES = tuple(itertools.chain.from_iterable(_USUAL[finger] for finger in hand.FINGERS))
# Of each number of a pose the usual range; the palm has none.
USUAL: tuple[tuple[float, float] | None, ...] = (None,) * 6 + _ANGLES
# Ends of the sliders: those of sphereHand's viewer for palm rotation, palm translation and fingers,
# or the usual range if it is larger.
SLIDER_RANGE = (
    ((-3.15, 3.15),) * 3
    + ((-20.0, 20.0),) * 3
    + tuple((min(low, -1.8), max(high, 1.8)) for low, high in _ANGLES)
)
SIZE_RANGE = (0.6, 1.4)  # ends of the sliders of size


class PosedHand(NamedTuple):
    """What the sliders show."""

    pose: Float[np.ndarray, "26"]  # hand.POSE_NAMES, rad and mm
    size: Float[np.ndarray, ""]  # of the hand, relative to the model
    fingers: Float[np.ndarray, "5"]  # size of hand.FINGERS, relative to the palm
    thickness: Float[np.ndarray, "2"]  # of fingers and palm, relative to the model
    side: Float[np.ndarray, ""]  # a value of SIDES


def posed_hand(
    pose: Numbers,
    size: Numbers = 1.0,
    fingers: Numbers = (1.0,) * 5,
    side: str = "right",
    thickness: Numbers = (1.0, 1.0),
) -> PosedHand:
    """A hand of float32 arrays; `side` is a key of SIDES."""
    values = (pose, size, fingers, thickness, SIDES[side])
    return PosedHand(*(np.asarray(value, np.float32) for value in values))


def side_of(shown: PosedHand) -> str:
    """The key of SIDES."""
    return next(side for side, sign in SIDES.items() if sign == float(shown.side))


@functools.partial(jax.jit, static_argnames=("modes", "rotation"))
def random_pose(
    seed: Int[Array, ""] | int, modes: tuple[str, ...], rotation: poses.Ranges
) -> Float[Array, "26"]:
    """A pose of the sampler, a function of the seed."""
    return poses.sample_pose(jax.random.key(seed), modes=modes, rotation=rotation)


def parse_pose(text: str) -> Float[np.ndarray, "26"]:
    """26 finite numbers separated by blanks, commas, semicolons or brackets."""
    words = re.split(r"[\s,;()\[\]]+", text)
    return check_pose(np.asarray([float(word) for word in words if word]))


def check_pose(values: np.ndarray) -> Float[np.ndarray, "26"]:
    """The values as float32; ValueError if they are not 26 finite numbers."""
    if values.shape != (26,) or values.dtype.kind not in "fiu" or not np.all(np.abs(values) < 1e6):
        raise ValueError(f"expected 26 finite numbers, got {values.size} of {values.dtype}")
    return values.astype(np.float32)


def out_of_range(pose: Float[np.ndarray, "26"]) -> str:
    """One line that names the numbers outside USUAL; empty if there are none."""
    names = [
        name.replace("_", " ")
        for name, value, usual in zip(hand.POSE_NAMES, pose.tolist(), USUAL, strict=True)
        if usual and not usual[0] - 5e-3 <= value <= usual[1] + 5e-3
    ]
    return f"outside the usual range: {', '.join(names)}" if names else ""
