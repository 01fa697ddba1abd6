"""The hand that the tracker fits: its state, and the same state as unconstrained parameters.

Everything is in the frame of a depth cube (pose/cube.py), mm from its middle. The hand is a right
one; left hands are mirrored first (fitting/depth_cube.py).
"""

from itertools import permutations, product
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32

from handjax.pose import geometry
from handjax.rigs import flesh, hand, poses

MEAN_SIZE = 0.9  # of the hands of the pose sampler, relative to the rig
# Logarithms of how thick people's fingers and palms are, relative to the rig (rigs/flesh.py); of a
# sphere of the palm less is missing than of its middle, since the palm is as broad as the rig's.
USUAL_FLESH = np.log([0.77, 0.8]).astype(np.float32)


class HandState(NamedTuple):
    """A fitted hand."""

    pose: Float[Array, "*b 26"]  # hand.POSE_NAMES, rad and mm of the cube
    log_size: Float[Array, "*b"]  # of the whole hand, relative to the rig
    log_fingers: Float[Array, "*b 5"]  # of each of hand.FINGERS, relative to the palm
    wrist: Float[Array, "*b 2"]  # rotation of the forearm against the palm about its y and z, rad
    log_flesh: Float[Array, "*b 2"]  # thickness of the fingers and of the palm, relative to the rig


class HandParameters(NamedTuple):
    """The same hand in parameters for an optimizer.

    A step of 0.1 is some 6 degrees, 10 mm or a tenth of the size, and no direction of the palm is
    special, as it is with three Euler angles.
    """

    base: Float[Array, "*b 3 3"]  # constant: the rotation that `rotation` is relative to
    rotation: Float[Array, "*b 3"]  # see `palm_turn`
    translation: Float[Array, "*b 3"]  # 100 mm
    angles: Float[Array, "*b 20"]
    log_size: Float[Array, "*b"]
    log_fingers: Float[Array, "*b 5"]
    wrist: Float[Array, "*b 2"]
    log_flesh: Float[Array, "*b 2"]


# The forearm: spheres along a line from the middle of the wrist, in mm of the rig.
FOREARM_MM, FOREARM_RADIUS = np.arange(20.0, 181.0, 20.0), 27.0
_CLOSED = (0.0, 1.3, 1.5, 1.2) * 4 + (0.0, 0.4, 0.1, -0.8)  # finger angles of a fist, rad
WRIST_MM = hand.HAND.sphere_centers[5]


# --- conversions


def to_parameters(state: HandState) -> HandParameters:
    """The parameters of a state; their `rotation` is 0."""
    pose, size = state.pose, jnp.exp(state.log_size)
    mirror = jnp.asarray([-1.0, 1.0, 1.0], pose.dtype)
    return HandParameters(
        base=_mirror_rotation(_palm_rotation(pose)),
        rotation=jnp.zeros_like(pose[..., :3]),
        translation=pose[..., 3:6]
        * jnp.broadcast_to(mirror, pose[..., 3:6].shape)
        * size[..., None]
        / 100.0,
        angles=pose[..., 6:],
        log_size=state.log_size,
        log_fingers=state.log_fingers,
        wrist=state.wrist,
        log_flesh=state.log_flesh,
    )


def from_parameters(parameters: HandParameters) -> HandState:
    """The state with the 26 pose parameters of the rig."""
    matrix = _mirror_rotation(palm_turn(parameters))
    palm = jnp.stack(
        [
            jnp.arctan2(matrix[..., 2, 1], matrix[..., 2, 2]),
            -jnp.arcsin(jnp.clip(matrix[..., 2, 0], -1.0, 1.0)),
            jnp.arctan2(matrix[..., 1, 0], matrix[..., 0, 0]),
        ],
        axis=-1,
    )
    mirror = jnp.broadcast_to(jnp.asarray([-100.0, 100.0, 100.0], palm.dtype), palm.shape)
    move = parameters.translation * mirror / jnp.exp(parameters.log_size)[..., None]
    return HandState(
        jnp.concatenate([palm, move, parameters.angles], axis=-1),
        parameters.log_size,
        parameters.log_fingers,
        parameters.wrist,
        parameters.log_flesh,
    )


def translated(state: HandState, by: Float[Array, "*b 3"]) -> HandState:
    """The hand moved by mm of the cube."""
    parameters = to_parameters(state)
    return from_parameters(parameters._replace(translation=parameters.translation + by / 100.0))


# --- spheres and joints


class HandPoints(NamedTuple):
    """A hand of spheres and its forearm, mm of the cube."""

    centers: Float[Array, "*b 41 3"]
    radii: Float[Array, "*b 41"]
    arm: Float[Array, "*b 9 3"]  # centers of spheres along the forearm, from the wrist
    arm_radii: Float[Array, "*b 9"]
    joints: Float[Array, "*b 21 3"]  # hand21


def spheres(
    state: HandState | HandParameters,
) -> tuple[Float[Array, "*b 41 3"], Float[Array, "*b 41"]]:
    """Centers and radii of the 41 spheres, mm of the cube."""
    parameters = state if isinstance(state, HandParameters) else to_parameters(state)
    points = hand_points(parameters)
    return points.centers, points.radii


def forearm(state: HandState) -> tuple[Float[Array, "*b a 3"], Float[Array, "*b a"]]:
    """Centers and radii of the spheres that represent the forearm, mm of the cube."""
    points = hand_points(to_parameters(state))
    return points.arm, points.arm_radii


def joints21(state: HandState) -> Float[Array, "*b 21 3"]:
    """Joints (skeleton "hand21"), mm of the cube."""
    return hand_points(to_parameters(state)).joints


def hand_points(parameters: HandParameters) -> HandPoints:
    """Spheres, forearm and joints of a hand, mm of the cube."""
    still = jnp.concatenate(
        [jnp.zeros_like(parameters.angles[..., :6]), parameters.angles], axis=-1
    )
    size = jnp.exp(parameters.log_size)
    sizes = jnp.broadcast_to(size[..., None], (*size.shape, 3))
    centers, radii, joints = hand.spheres_and_joints(still, sizes, jnp.exp(parameters.log_fingers))
    radii = radii * jnp.exp(parameters.log_flesh)[..., flesh.PARTS]
    arm = _arm(parameters.wrist) * size[..., None, None]
    moved = (
        geometry.matmul(
            jnp.concatenate([centers, arm, joints], axis=-2),
            jnp.swapaxes(palm_turn(parameters), -1, -2),
        )
        + 100.0 * parameters.translation[..., None, :]
    )
    arm_radii = jnp.broadcast_to(FOREARM_RADIUS * size[..., None], arm.shape[:-1])
    centers, arm, joints = jnp.split(moved, (41, 41 + len(FOREARM_MM)), axis=-2)
    return HandPoints(centers, radii, arm, arm_radii, joints)


def _arm(wrist: Float[Array, "*b 2"]) -> Float[Array, "*b a 3"]:
    """Spheres of a forearm of the rig's size, in camera axes, before the palm turns."""
    about_y, about_z = wrist[..., 0], wrist[..., 1]
    # Direction of the forearm from the wrist, with x mirrored.
    away = jnp.stack(
        [
            -jnp.cos(about_y) * jnp.cos(about_z),
            jnp.sin(about_z),
            jnp.sin(about_y) * jnp.cos(about_z),
        ],
        axis=-1,
    )
    start = jnp.asarray(WRIST_MM, away.dtype) * jnp.asarray([-1.0, 1.0, 1.0], away.dtype)
    steps = jnp.asarray(FOREARM_MM, away.dtype)[:, None]
    shape = (*wrist.shape[:-1], len(FOREARM_MM), 3)
    return jnp.broadcast_to(start, shape) + away[..., None, :] * jnp.broadcast_to(steps, shape)


# --- initial hands


def hands(
    rotation: Float[Array, "*b 3 3"], center: Float[Array, "*b 3"], bend: Float[Array, "*b"]
) -> HandState:
    """Hands of mean size and usual thickness, rotated from the rest pose in camera axes.

    The mean of their spheres is at `center`, mm of the cube; fingers are extended (`bend` 0) to
    closed (1).
    """
    batch = bend.shape
    parameters = HandParameters(
        base=rotation,
        rotation=jnp.zeros((*batch, 3)),
        translation=jnp.zeros((*batch, 3)),
        angles=bend[..., None] * jnp.broadcast_to(jnp.asarray(_CLOSED, jnp.float32), (*batch, 20)),
        log_size=jnp.full(batch, np.log(MEAN_SIZE)),
        log_fingers=jnp.zeros((*batch, 5)),
        wrist=jnp.zeros((*batch, 2)),
        log_flesh=jnp.broadcast_to(jnp.asarray(USUAL_FLESH), (*batch, 2)),
    )
    return from_parameters(
        parameters._replace(translation=(center - spheres(parameters)[0].mean(-2)) / 100.0)
    )


def hands_in_all_directions(center: Float[Array, "3"], bend: float = 0.2) -> HandState:
    """24 hands at `center`, mm, rotated by the symmetries of a cube: any rotation of the palm is at
    most 63 degrees from one of them."""
    symmetries = jnp.asarray(_cube_rotations())
    frontal = jnp.asarray([(low + high) / 2 for low, high in poses.ROTATION_FRONTAL])
    frontal = jnp.broadcast_to(_mirror_rotation(_palm_rotation(frontal)), symmetries.shape)
    return hands(
        geometry.matmul(symmetries, frontal),
        jnp.broadcast_to(center, (24, 3)),
        jnp.full(24, bend),
    )


def _cube_rotations() -> Float32[np.ndarray, "24 3 3"]:
    """The 24 rotational symmetries of a cube, the identity first."""
    rotations = []
    for order in permutations(range(3)):
        for signs in product((1.0, -1.0), repeat=3):
            matrix = np.diag(signs)[list(order)]
            if np.linalg.det(matrix) > 0:
                rotations.append(matrix)
    return np.stack(rotations).astype(np.float32)


# --- rotations


def palm_turn(parameters: HandParameters) -> Float[Array, "*b 3 3"]:
    """Rotation of the palm: `rotation` after `base`.

    `rotation` / 2 is an axis whose length is the tangent of half the angle (Rodrigues parameters),
    so there is no singularity near 0.
    """
    x, y, z = jnp.moveaxis(parameters.rotation / 2, -1, 0)
    w = jnp.ones_like(x)
    rows = [
        [w + x * x - y * y - z * z, 2 * (x * y - z), 2 * (x * z + y)],
        [2 * (x * y + z), w - x * x + y * y - z * z, 2 * (y * z - x)],
        [2 * (x * z - y), 2 * (y * z + x), w - x * x - y * y + z * z],
    ]
    matrix = (
        jnp.stack([jnp.stack(row, -1) for row in rows], -2)
        / (w + x * x + y * y + z * z)[..., None, None]
    )
    return geometry.matmul(matrix, jax.lax.stop_gradient(parameters.base))


def _palm_rotation(pose: Float[Array, "*b n"]) -> Float[Array, "*b 3 3"]:
    """Rz·Ry·Rx of the first three pose parameters, in the frame of the rig."""
    z, y, x = (
        geometry.rotation_z(pose[..., 2]),
        geometry.rotation_y(pose[..., 1]),
        geometry.rotation_x(pose[..., 0]),
    )
    return geometry.matmul(geometry.matmul(z, y), x)


def _mirror_rotation(rotation: Float[Array, "*b 3 3"]) -> Float[Array, "*b 3 3"]:
    """A rotation before the mirror that makes it a right hand ↔ the equivalent one after it."""
    signs = np.array([[1, -1, -1], [-1, 1, 1], [-1, 1, 1]], np.float32)
    return rotation * jnp.broadcast_to(signs, rotation.shape)
