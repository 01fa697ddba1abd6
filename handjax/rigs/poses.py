"""Random hands: plausible finger poses, any palm rotation, and sizes. Pure functions of a key."""

import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import lax, random
from jaxtyping import Array, Float, PRNGKeyArray

from handjax.rigs.hand import POSE_NAMES

Range = tuple[float, float]
Ranges = tuple[Range, Range, Range]

# Palm rotation about x, y, z in rad. ROTATION_ANY covers every direction, though not uniformly.
ROTATION_ANY: Ranges = ((-3.14, 3.14), (-3.14, 0.0), (-3.14, 3.14))
# Fingers up and palm to the camera, ± 35 degrees: a hand held out to a sensor.
ROTATION_FRONTAL: Ranges = (
    (math.pi - 0.6, math.pi + 0.6),
    (-0.6, 0.6),
    (math.pi / 2 - 0.6, math.pi / 2 + 0.6),
)
TRANSLATION: Ranges = ((-15.0, 15.0), (-15.0, 15.0), (-35.0, 15.0))

_DEGREE = math.pi / 180

# States of one finger: whether its three angles act like muscles, which also pull at neighbouring
# joints, and their ranges in rad. Order matters: the first three are open, the last two closed.
STATES: dict[str, tuple[bool, Ranges]] = {
    "straight": (False, ((-0.25, 0.0), (-0.4, 0.0), (-0.34, 0.0))),
    "open": (False, ((-0.1, 0.15), (-0.1, 0.3), (-0.1, 0.24))),
    "half_open": (
        True,
        ((0.0, 30 * _DEGREE), (60 * _DEGREE, 90 * _DEGREE), (60 * _DEGREE, 90 * _DEGREE)),
    ),
    "pinching": (
        True,
        ((60 * _DEGREE, 90 * _DEGREE), (5 * _DEGREE, 35 * _DEGREE), (5 * _DEGREE, 35 * _DEGREE)),
    ),
    "closed": (
        True,
        ((60 * _DEGREE, 90 * _DEGREE), (60 * _DEGREE, 90 * _DEGREE), (60 * _DEGREE, 90 * _DEGREE)),
    ),
}
_MUSCLES = ((1.0, 0.2, 0.0), (0.2, 1.0, 0.2), (0.0, 0.7, 1.0))  # flexion of joint i by muscle j
_RELAXED = (-0.2, -0.4, -0.34)
_TREMOR = 10 * _DEGREE

# A group is a range of STATES, (first, count), from which each finger draws independently.
_GROUPS = {
    **{name: (i, 1) for i, name in enumerate(STATES)},
    "opened": (0, 3),
    "folded": (3, 2),
    "any": (0, 5),
}

# Modes: the groups of index, middle, ring and little.
MODES: dict[str, tuple[str, str, str, str]] = {
    "straight": ("straight",) * 4,
    "open": ("open",) * 4,
    "half_open": ("half_open",) * 4,
    "pinching": ("pinching",) * 4,
    "closed": ("closed",) * 4,
    "index": ("opened", "folded", "folded", "folded"),
    "little": ("folded", "folded", "folded", "opened"),
    "index_middle": ("opened", "opened", "folded", "folded"),
    "middle_ring_little": ("folded", "opened", "opened", "opened"),
    "index_little": ("opened", "folded", "folded", "opened"),
    "any": ("any",) * 4,
}
ALL_MODES = tuple(MODES)
ORIGINAL_MODES = tuple(mode for mode in MODES if mode != "index_little")

# Entries of a pose that `natural` changes.
SPREAD = tuple(i for i, name in enumerate(POSE_NAMES) if name.endswith("abduction"))[:4]
_KNUCKLES = tuple(i for i, name in enumerate(POSE_NAMES) if name.endswith("flexion_1"))
_FLEXIONS = tuple(
    tuple(POSE_NAMES.index(f"{finger}_flexion_{i}") for i in (1, 2, 3))
    for finger in ("index", "middle", "ring", "little")
)
# rad: where these fingers lie in the plane of the palm, with all their joints.
_FLAT = (
    (-0.12, -0.44, -0.18),
    (-0.17, -0.77, -0.12),
    (-0.64, -0.23, -0.40),
    (-0.47, -0.32, -0.49),
)
_THUMB = tuple(i for i, name in enumerate(POSE_NAMES) if name.startswith("thumb"))
_THUMB_OUT = tuple(POSE_NAMES.index(f"thumb_{motion}") for motion in ("abduction", "flexion_3"))


def sample_pose(
    key: PRNGKeyArray,
    *,
    modes: tuple[str, ...] = ALL_MODES,
    rotation: Ranges = ROTATION_ANY,
    translation: Ranges = TRANSLATION,
) -> Float[Array, "26"]:
    """One pose (`hand.POSE_NAMES`, rad and mm), all of `modes` being equally likely.

    The sampler of sphereHand (Wan et al. 2019). Its mode "index and little open" is guarded by a
    second `mode == 8` and never drawn; here it is one of eleven modes. `ORIGINAL_MODES` are the
    original's ten. Raises ValueError for no or unknown modes.
    """
    unknown = [mode for mode in modes if mode not in MODES]
    if unknown or not modes:
        raise ValueError(f"pose modes {unknown or 'are empty'}: choose from {', '.join(MODES)}")
    # A single draw for everything: the compiled code is a fifth of that with one key per part.
    sizes = {"palm": 6, "spread": 5, "mode": 1, "state": 4, "flexion": 12, "tremor": 12, "thumb": 5}
    ends = np.cumsum(list(sizes.values()))
    u = dict(zip(sizes, jnp.split(random.uniform(key, (ends[-1],)), ends[:-1]), strict=True))
    groups = jnp.asarray([[_GROUPS[group] for group in MODES[mode]] for mode in modes])
    first, count = jnp.moveaxis(groups[_choose(u["mode"][0], len(modes))], -1, 0)
    states = first + _choose(u["state"], count)
    fingers = jnp.concatenate(
        [_abduction(u["spread"])[:, None], _flexion(states, u["flexion"], u["tremor"])], axis=-1
    )
    return jnp.concatenate(
        [_between(u["palm"], rotation + translation), fingers.ravel(), _thumb(u["thumb"])]
    )


def natural(pose: Float[Array, "26"], u: Float[Array, "14"]) -> Float[Array, "26"]:
    """A sampled pose with the fingers and thumb of people; `u`: uniform numbers.

    sphereHand's sampler spreads the little finger by up to 53 degrees, so that it looks like a
    thumb, and crosses straight fingers; the thumb seldom points away from the hand. Here fingers
    spread by half as much, six of ten thumbs are stretched out, by up to 55 degrees, and a third of
    the hands bend their fingers backwards, by up to 25 degrees.

    No hand of that sampler is flat: the middle finger's tip stays 10 mm before the palm, the
    thumb's 20. Here the open fingers of 45 % of the hands, and of half of these the thumb, are
    moved half to all of the way to the plane of the palm, or a little behind it. The last number
    of `u` is not used.
    """
    pose = pose.at[jnp.array(SPREAD)].multiply(0.55)
    back = jnp.where(u[3] < 1 / 3, 0.35 * u[4] + 0.1 * u[5], 0.0)
    pose = pose.at[jnp.array(_KNUCKLES)].add(-back)
    out = jnp.stack([0.95 * u[1], 0.7 * u[2] - 0.5])
    thumb = jnp.array(_THUMB_OUT)
    pose = pose.at[thumb].set(jnp.where(u[0] < 0.6, out, pose[thumb]))
    return _flattened(pose, u[6:])


def _flattened(pose: Float[Array, "26"], u: Float[Array, "8"]) -> Float[Array, "26"]:
    """Hands with the fingers that are open, and the thumb, nearer to the plane of the palm."""
    flexions = jnp.array(_FLEXIONS)
    bent = pose[flexions]
    is_open = (bent[:, 1] < 0.35) & (bent[:, 0] < 0.35)
    way = jnp.where((u[0] < 0.45) & is_open, 0.5 + 0.6 * u[1], 0.0)[:, None]
    pose = pose.at[flexions].set(bent + way * (jnp.array(_FLAT) - bent))
    # The thumb in the plane, pointing 10 to 70 degrees away from the fingers.
    aside = 0.9 * u[4] - 0.25
    wanted = jnp.stack([aside, -0.41 - 0.29 * aside, 0.3 * u[5], 0.1 + 0.3 * u[6]])
    moves = (u[0] < 0.45) & (u[2] < 0.5)
    way = jnp.where(moves, 0.5 + 0.6 * u[3], 0.0)
    thumb = jnp.array(_THUMB)
    return pose.at[thumb].add(way * (wanted - pose[thumb]))


def uniform(key: PRNGKeyArray, ranges: Sequence[Range]) -> Float[Array, " r"]:
    """One number per range, uniform within it."""
    low, high = jnp.asarray(ranges).T
    return random.uniform(key, (len(ranges),), minval=low, maxval=high)


def sample_fingers_and_side(
    key: PRNGKeyArray, fingers: Range, left: float
) -> tuple[Float[Array, "5"], Float[Array, ""]]:
    """Size of each finger relative to the palm, uniform in `fingers`, and the side: -1 (left hand)
    with probability `left`, else 1."""
    sizes_key, side_key = random.split(key)
    sizes = random.uniform(sizes_key, (5,), minval=fingers[0], maxval=fingers[1])
    return sizes, jnp.where(random.bernoulli(side_key, left), -1.0, 1.0)


def _between(u: Array, ranges: tuple[Range, ...]) -> Array:
    """Uniform on [0, 1) → uniform in the range of each."""
    low, high = jnp.asarray(ranges, u.dtype).T
    return low + u * (high - low)


def _choose(u: Array, count: Array | int) -> Array:
    """Uniform on [0, 1) → one of 0 … count - 1. (The product may round up to `count`.)"""
    return jnp.minimum((u * jnp.asarray(count, u.dtype)).astype(jnp.int32), count - 1)


def _abduction(u: Float[Array, "5"]) -> Float[Array, "4"]:
    """Abduction of index, middle, ring and little: a common spread plus a small one of each."""
    spread = (u[0] - 0.35) / 1.55
    return jnp.asarray([1.55, 0.75, -0.75, -2.2]) * (
        spread + _between(u[1:], ((-5 * _DEGREE, 5 * _DEGREE),) * 4)
    )


def _flexion(
    states: Array, u: Float[Array, "12"], tremor: Float[Array, "12"]
) -> Float[Array, "4 3"]:
    """Flexion of the three joints of index, middle, ring and little, given the state of each."""
    muscular = jnp.asarray([muscular for muscular, _ in STATES.values()])[states][:, None]
    low, high = jnp.moveaxis(jnp.asarray([ranges for _, ranges in STATES.values()])[states], -1, 0)
    angles = low + u.reshape(4, 3) * (high - low)
    pulls = angles + (2 * tremor.reshape(4, 3) - 1) * _TREMOR
    pulled = jnp.matmul(
        pulls, jnp.asarray(_MUSCLES).T, precision=lax.Precision.HIGHEST
    ) + jnp.asarray([_RELAXED])
    return jnp.where(muscular, pulled, angles)


def _thumb(u: Float[Array, "5"]) -> Float[Array, "4"]:
    """Abduction and flexion of the thumb: extended in half of the hands, bent in the other half."""
    out, bent, last, abduction = _between(
        u[1:], ((-0.25, 0.1), (0.1, 0.7), (-1.7, 0.3), (-0.5, 0.5))
    )
    flexion = jnp.where(u[0] < 0.5, out, bent)
    return jnp.stack([abduction, flexion, 0.25 * flexion, last])
