"""Random hand poses: plausible fingers, any palm. A pure function of a key."""

import math

import jax.numpy as jnp
import numpy as np
from jax import lax, random
from jaxtyping import Array, Float, PRNGKeyArray

Range = tuple[float, float]
Ranges = tuple[Range, Range, Range]

# Palm rotation about x, y, z in rad. Together the first cover every direction, though not evenly.
ROTATION_ANY: Ranges = ((-3.14, 3.14), (-3.14, 0.0), (-3.14, 3.14))
# Fingers up and the palm to the camera, give or take 35 degrees: a hand held out to a sensor.
ROTATION_FRONTAL: Ranges = tuple(
    (middle - 0.6, middle + 0.6) for middle in (math.pi, 0.0, math.pi / 2)
)
TRANSLATION: Ranges = ((-15.0, 15.0), (-15.0, 15.0), (-35.0, 15.0))

_TURN = math.pi / 180

# What one finger can do: whether its three angles are muscles that also pull at the neighbouring joints, and their
# ranges in rad. Order matters: the first three are open, the last two closed.
STATES: dict[str, tuple[bool, Ranges]] = {
    "straight": (False, ((-0.25, 0.0), (-0.4, 0.0), (-0.34, 0.0))),
    "open": (False, ((-0.1, 0.15), (-0.1, 0.3), (-0.1, 0.24))),
    "half_open": (True, ((0.0, 30 * _TURN), (60 * _TURN, 90 * _TURN), (60 * _TURN, 90 * _TURN))),
    "pinching": (
        True,
        ((60 * _TURN, 90 * _TURN), (5 * _TURN, 35 * _TURN), (5 * _TURN, 35 * _TURN)),
    ),
    "closed": (
        True,
        ((60 * _TURN, 90 * _TURN), (60 * _TURN, 90 * _TURN), (60 * _TURN, 90 * _TURN)),
    ),
}
_MUSCLES = ((1.0, 0.2, 0.0), (0.2, 1.0, 0.2), (0.0, 0.7, 1.0))  # flexion of joint i by muscle j
_RELAXED = (-0.2, -0.4, -0.34)
_TREMOR = 10 * _TURN

# A group is a run of STATES: (first, how many). One of them is drawn for each finger on its own.
_GROUPS = {
    **{name: (i, 1) for i, name in enumerate(STATES)},
    "opened": (0, 3),
    "folded": (3, 2),
    "any": (0, 5),
}

# What the four fingers do together: index, middle, ring, little.
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


def sample_pose(
    key: PRNGKeyArray,
    *,
    modes: tuple[str, ...] = ALL_MODES,
    rotation: Ranges = ROTATION_ANY,
    translation: Ranges = TRANSLATION,
) -> Float[Array, "26"]:
    """One pose of `hand.POSE_NAMES`, rad and mm; all of `modes` are equally likely.

    The sampler of sphereHand (Wan et al. 2019). Its "index and little open" stands behind a second `mode == 8` and is
    never drawn; here it is one of eleven modes. `ORIGINAL_MODES` has the original's ten, one in ten each.
    """
    unknown = [mode for mode in modes if mode not in MODES]
    if unknown or not modes:
        raise ValueError(f"pose modes {unknown or 'are empty'}: choose from {', '.join(MODES)}")
    # One draw for all: what is compiled is a fifth of what a key for each would be.
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


def _between(u: Array, ranges: tuple[Range, ...]) -> Array:
    """Uniform on [0, 1) → uniform in its range, each."""
    low, high = jnp.asarray(ranges, u.dtype).T
    return low + u * (high - low)


def _choose(u: Array, count: Array | int) -> Array:
    """Uniform on [0, 1) → one of 0 … count - 1. The product may round up to `count`."""
    return jnp.minimum((u * count).astype(jnp.int32), count - 1)


def _abduction(u: Float[Array, "5"]) -> Float[Array, "4"]:
    """One spread for the hand and a little of its own for each of index, middle, ring and little."""
    spread = (u[0] - 0.35) / 1.55
    return jnp.asarray([1.55, 0.75, -0.75, -2.2]) * (
        spread + _between(u[1:], ((-5 * _TURN, 5 * _TURN),) * 4)
    )


def _flexion(
    states: Array, u: Float[Array, "12"], tremor: Float[Array, "12"]
) -> Float[Array, "4 3"]:
    """Flexion of the three joints of index, middle, ring and little, each in its own of the STATES."""
    muscular = jnp.asarray([muscular for muscular, _ in STATES.values()])[states][:, None]
    low, high = jnp.moveaxis(jnp.asarray([ranges for _, ranges in STATES.values()])[states], -1, 0)
    angles = low + u.reshape(4, 3) * (high - low)
    pulls = angles + (2 * tremor.reshape(4, 3) - 1) * _TREMOR
    pulled = jnp.matmul(
        pulls, jnp.asarray(_MUSCLES).T, precision=lax.Precision.HIGHEST
    ) + jnp.asarray([_RELAXED])
    return jnp.where(muscular, pulled, angles)


def _thumb(u: Float[Array, "5"]) -> Float[Array, "4"]:
    """Abduction and flexion of the thumb: half of all thumbs are stretched out, half are bent in."""
    out, bent, last, abduction = _between(
        u[1:], ((-0.25, 0.1), (0.1, 0.7), (-1.7, 0.3), (-0.5, 0.5))
    )
    flexion = jnp.where(u[0] < 0.5, out, bent)
    return jnp.stack([abduction, flexion, 0.25 * flexion, last])
