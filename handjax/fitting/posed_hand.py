"""The hand and its derivatives: spheres, joints, and how each moves with the 36 free parameters.

Written out, since differentiating the rig's tree of 4 x 4 matrices takes ten times as long. A
rotation about an axis moves a point by the cross product with it; a size, away from where it
scales.
"""

from itertools import accumulate
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from handjax.fitting import hand_state
from handjax.fitting.hand_state import HandParameters
from handjax.pose import geometry
from handjax.rigs import flesh, hand

SIZES = {"rotation": 3, "translation": 3, "angles": 20, "log_size": 1, "log_fingers": 5}
SIZES |= {"wrist": 2, "log_flesh": 2}
PLACES = {
    name: slice(end - size, end)
    for (name, size), end in zip(SIZES.items(), accumulate(SIZES.values()), strict=True)
}
COUNT = sum(SIZES.values())

_FINGERS, _LEVELS = 5, 3
_RIG, _SPHERES = hand.HAND, len(hand.HAND.sphere_bones)
_REST = np.asarray(_RIG.rest, np.float64)
_MIRROR = np.array([-1.0, 1.0, 1.0], np.float32)  # the model is a left hand


class HandWithSlopes(NamedTuple):
    """A hand, mm of its crop, and its derivatives by the free parameters."""

    spheres: Float[Array, "43 4"]  # centers and radii: of the hand, and the forearm's two ends
    sphere_slopes: Float[Array, "43 4 36"]
    joints: Float[Array, "21 3"]
    joint_slopes: Float[Array, "21 3 36"]


def _bone(finger: int, level: int) -> int:
    return 2 + finger * _LEVELS + level


def _points() -> tuple[np.ndarray, np.ndarray]:
    """Spheres, then joints (hand21): the bone that carries each, and its place at rest, mm."""
    origins = [_REST[bone][:3, 3] for bone in hand.JOINT21_BONES]
    bones = [*_RIG.sphere_bones, *hand.JOINT21_BONES]
    places = [*_RIG.sphere_centers, *origins]
    tips = [(_RIG.sphere_bones[s], _RIG.sphere_centers[s]) for s in hand.TIP_SPHERES]
    bones += [bone for bone, _ in tips]
    places += [place for _, place in tips]
    order = [*range(_SPHERES), *(_SPHERES + i for i in hand.JOINT21_ORDER)]
    return np.array(bones)[order], np.array(places, np.float64)[order]


_BONES, _PLACES = _points()
_FINGER = np.where(_BONES < 2, -1, (_BONES - 2) // _LEVELS)  # of a point, -1: the palm
_LEVEL = np.where(_BONES < 2, -1, (_BONES - 2) % _LEVELS)
_CARRIER = np.where(_BONES < 2, 0, _BONES - 1)  # 0: the palm; then fingers by level
# The place in the frame of its bone; of the palm, in the model's.
_LOCAL = np.stack(
    [
        place if bone < 2 else (np.linalg.inv(_REST[bone]) @ np.append(place, 1.0))[:3]
        for bone, place in zip(_BONES, _PLACES, strict=True)
    ]
).astype(np.float32)
# A finger's bone in the frame of the one before, [5, 3, 4, 4]; the first in the model's.
_STEP = np.array(
    [
        [
            _REST[_bone(f, k)]
            if k == 0
            else np.linalg.inv(_REST[_bone(f, k - 1)]) @ _REST[_bone(f, k)]
            for k in range(_LEVELS)
        ]
        for f in range(_FINGERS)
    ]
).astype(np.float32)
# Abduction of ring and little is about -y, of the others about z; after the first flexion.
_ABDUCTION_AXIS = np.array([[0, 0, 1], [0, 0, 1], [0, -1, 0], [0, -1, 0], [0, 0, 1]], np.float32)
# Angle (finger, motion) → whether it moves a point: the first two motions are of the first bone.
_MOTION_LEVEL = np.tile([0, 0, 1, 2], _FINGERS)
_MOVES = (
    (np.repeat(np.arange(_FINGERS), 4)[:, None] == _FINGER[None])
    & (_LEVEL[None] >= _MOTION_LEVEL[:, None])
).astype(np.float32)
_OF_FINGER = (np.arange(_FINGERS)[:, None] == _FINGER[None]).astype(np.float32)
_OF_FLESH = np.eye(2, dtype=np.float32)[flesh.PARTS]
_RADII = np.array(_RIG.sphere_radii, np.float32)


def posed(now: HandParameters) -> HandWithSlopes:
    """The hand of these parameters, whose derivatives by `rotation` are those at 0: the step of a
    hand that has turned starts from there (`turned`)."""
    size, fingers = jnp.exp(now.log_size), jnp.exp(now.log_fingers)
    points, axes, origins, roots = _fingers(now.angles.reshape(_FINGERS, 4), fingers)
    arm, arm_slopes = _forearm(now.wrist)
    turn = now.base * jnp.asarray(_MIRROR)[None]  # mirror, then turn; the mirror flips rotations
    move = 100.0 * now.translation

    def place(x: Array) -> Array:
        return size * geometry.map_points(turn, x) + move[None]

    placed = place(jnp.concatenate([points, arm]))
    moving, off = placed[: len(points)], placed - move[None]
    axes, origins, roots = -geometry.map_points(turn, axes), place(origins), place(roots)
    by_angle = jnp.asarray(_MOVES)[..., None] * _cross(
        axes[:, None], moving[None] - origins[:, None]
    )
    by_finger = jnp.asarray(_OF_FINGER)[..., None] * (moving[None] - roots[:, None])
    by_wrist = size * geometry.map_points(turn, arm_slopes.reshape(-1, 3)).reshape(2, 2, 3)
    own = jnp.concatenate([by_angle, by_finger])  # [25, p, 3]
    everything = _assemble(off, own, by_wrist, len(points))

    spread = jnp.concatenate([jnp.asarray(_OF_FINGER)[:, :_SPHERES], jnp.zeros((5, 2))], axis=1)
    larger = jnp.concatenate([jnp.ones(1), fingers])[jnp.asarray(_FINGER[:_SPHERES] + 1)]
    thick = jnp.exp(now.log_flesh)[flesh.PARTS]
    radii = size * jnp.concatenate(
        [jnp.asarray(_RADII) * larger * thick, jnp.full(2, hand_state.FOREARM_RADIUS)]
    )
    radius_slopes = jnp.zeros((len(radii), COUNT)).at[:, PLACES["log_size"]].set(radii[:, None])
    radius_slopes = radius_slopes.at[:, PLACES["log_fingers"]].set(spread.T * radii[:, None])
    radius_slopes = radius_slopes.at[:_SPHERES, PLACES["log_flesh"]].set(
        jnp.asarray(_OF_FLESH) * radii[:_SPHERES, None]
    )
    chosen = np.r_[:_SPHERES, len(points), len(points) + 1]
    return HandWithSlopes(
        jnp.concatenate([placed[chosen], radii[:, None]], axis=1),
        jnp.concatenate([everything[chosen], radius_slopes[:, None]], axis=1),
        placed[_SPHERES : len(points)],
        everything[_SPHERES : len(points)],
    )


def turned(now: HandParameters, step: Float[Array, "36"]) -> HandParameters:
    """The hand after a step of the free parameters."""
    rotation = step[PLACES["rotation"]]
    others = {
        name: getattr(now, name) + step[at].reshape(getattr(now, name).shape)
        for name, at in PLACES.items()
        if name != "rotation"
    }
    return now._replace(
        base=hand_state.palm_turn(now._replace(rotation=rotation)),
        rotation=jnp.zeros_like(rotation),
        **others,
    )


def _assemble(off: Array, own: Array, by_wrist: Array, count: int) -> Float[Array, "p 3 36"]:
    """All derivatives [point, axis, parameter]."""
    total = len(off)
    eye = jnp.broadcast_to(jnp.eye(3), (total, 3, 3))
    # By a turn about the crop's x, y and z: e × off.
    zero = jnp.zeros(total)
    x, y, z = off[:, 0], off[:, 1], off[:, 2]
    turn = jnp.stack(
        [
            jnp.stack([zero, z, -y], -1),
            jnp.stack([-z, zero, x], -1),
            jnp.stack([y, -x, zero], -1),
        ],
        axis=1,
    )
    own = jnp.moveaxis(own, 0, -1)  # [p, 3, 25]
    own = jnp.concatenate([own, jnp.zeros((total - count, 3, own.shape[-1]))])
    wrist = jnp.concatenate([jnp.zeros((count, 3, 2)), jnp.moveaxis(by_wrist, 0, -1)])
    still = jnp.zeros((total, 3, 2))  # thickness moves no point
    parts = [turn, 100.0 * eye, own[..., :20], off[..., None], own[..., 20:], wrist, still]
    return jnp.concatenate(parts, axis=-1)


def _fingers(
    angles: Float[Array, "5 4"], sizes: Float[Array, "5"]
) -> tuple[Array, Array, Array, Array]:
    """In the frame of the model: spheres and joints [62, 3], the axis and origin of each of the 20
    angles, and where each finger begins."""
    flexion = geometry.rotation_x(angles[:, 1:])  # [5, 3, 3, 3]
    abduction = _abduction(angles[:, 0])
    step = jnp.asarray(_STEP)
    turn, origin = step[:, 0, :3, :3], step[:, 0, :3, 3]
    first = _matmul(turn, abduction)
    axes = [_apply(turn, jnp.asarray(_ABDUCTION_AXIS)), first[..., 0]]
    origins = [origin, origin]
    turn = _matmul(first, flexion[:, 0])
    frames = [(turn * sizes[:, None, None], origin)]
    for level in (1, 2):
        origin = origin + sizes[:, None] * _apply(turn, step[:, level, :3, 3])
        turn = _matmul(turn, step[:, level, :3, :3])
        axes.append(turn[..., 0])
        origins.append(origin)
        turn = _matmul(turn, flexion[:, level])
        frames.append((turn * sizes[:, None, None], origin))
    matrices = jnp.stack([matrix for matrix, _ in frames], axis=1).reshape(-1, 3, 3)
    places = jnp.stack([place for _, place in frames], axis=1).reshape(-1, 3)
    matrices = jnp.concatenate([jnp.eye(3)[None], matrices])[_CARRIER]
    places = jnp.concatenate([jnp.zeros((1, 3)), places])[_CARRIER]
    points = _apply(matrices, jnp.asarray(_LOCAL)) + places
    return (
        points,
        jnp.stack(axes, axis=1).reshape(-1, 3),
        jnp.stack(origins, axis=1).reshape(-1, 3),
        origins[0],
    )


def _abduction(angle: Float[Array, "5"]) -> Float[Array, "5 3 3"]:
    about_z, about_y = geometry.rotation_z(angle), geometry.rotation_y(-angle)
    return jnp.where(jnp.asarray(_ABDUCTION_AXIS[:, 2] > 0)[:, None, None], about_z, about_y)


def _forearm(wrist: Float[Array, "2"]) -> tuple[Array, Array]:
    """Ends of the forearm, and their derivatives [angle, end, 3], in the frame of the model."""
    y, z = wrist[0], wrist[1]
    away = jnp.stack([jnp.cos(y) * jnp.cos(z), jnp.sin(z), jnp.sin(y) * jnp.cos(z)])
    by_y = jnp.stack([-jnp.sin(y) * jnp.cos(z), jnp.zeros_like(y), jnp.cos(y) * jnp.cos(z)])
    by_z = jnp.stack([-jnp.cos(y) * jnp.sin(z), jnp.cos(z), -jnp.sin(y) * jnp.sin(z)])
    start = jnp.asarray(hand_state.WRIST_MM, away.dtype)
    ends = jnp.asarray(hand_state.FOREARM_MM[[0, -1]], away.dtype)
    slopes = jnp.stack([ends[:, None] * by_y[None], ends[:, None] * by_z[None]])
    return start[None] + ends[:, None] * away[None], slopes


def _matmul(a: Float[Array, "n 3 3"], b: Float[Array, "n 3 3"]) -> Float[Array, "n 3 3"]:
    """Written out: XLA's product of so small matrices is not fused."""
    x, y, z = (a[:, :, i, None] * b[:, None, i, :] for i in range(3))
    return x + y + z


def _apply(a: Float[Array, "n 3 3"], x: Float[Array, "n 3"]) -> Float[Array, "n 3"]:
    by_x, by_y, by_z = (a[:, :, i] * x[:, i, None] for i in range(3))
    return by_x + by_y + by_z


def _cross(a: Array, b: Array) -> Array:
    """`jnp.cross`, fused."""
    (ax, ay, az), (bx, by, bz) = ((v[..., 0], v[..., 1], v[..., 2]) for v in (a, b))
    return jnp.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], axis=-1)
