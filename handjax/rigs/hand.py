"""Hand rig: 26 pose parameters → 17 bones → 41 spheres or joints, in mm.

It is a right hand in camera axes: x right, y down, z forward.

The tables are those of sphereHand (Wan et al. 2019, github.com/melonwan/sphereHand, MIT), whose
bones were measured on the LibHand model (Saric 2011, CC-BY 3.0). The code is our own.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from handjax.pose import geometry
from handjax.rigs import kinematics

# The 26 pose parameters, in rad and mm.
FINGERS = ("index", "middle", "ring", "little", "thumb")
POSE_NAMES = (
    *(f"palm_rotation_{axis}" for axis in "xyz"),
    *(f"palm_translation_{axis}" for axis in "xyz"),
    *(
        f"{finger}_{motion}"
        for finger in FINGERS
        for motion in ("abduction", "flexion_1", "flexion_2", "flexion_3")
    ),
)


class Bone(NamedTuple):
    """Rest frame of a bone in model mm: its origin and the rows of its rotation bone → model."""

    name: str
    parent: int
    origin: tuple[float, float, float]
    x: tuple[float, float, float]
    y: tuple[float, float, float]
    z: tuple[float, float, float]


class Sphere(NamedTuple):
    """A sphere at rest, in model mm, and the bone it is attached to."""

    bone: int
    center: tuple[float, float, float]
    radius: float


# fmt: off
_BONES = (
    Bone("metacarpals", -1, (110.188896, 0.652169, -21.295012),
         (-0.060117, -0.995969, -0.066567), (0.998189, -0.059856, -0.005918),
         (0.001909, -0.066803, 0.997764)),
    Bone("carpals", -1, (110.188897, 0.652152, -21.295008),
         (0.041242, 0.999119, 0.007787), (-0.999048, 0.041126, 0.014561),
         (0.014228, -0.00838, 0.999864)),
    Bone("index_1", 0, (7.696354, -22.95296, -26.905414),
         (-0.06574, -0.992641, -0.101699), (0.997831, -0.065735, -0.003403),
         (-0.003307, -0.101702, 0.994809)),
    Bone("index_2", 2, (-49.494469, -26.740281, -21.045872),
         (-0.090429, -0.870159, -0.484402), (0.99581, -0.072375, -0.055887),
         (0.013572, -0.487427, 0.873059)),
    Bone("index_3", 3, (-70.543269, -28.491003, -9.255202),
         (-0.010687, -0.704269, -0.709853), (0.999091, 0.021779, -0.036649),
         (0.04127, -0.709599, 0.703396)),
    Bone("middle_1", 0, (-3.402082, -0.238154, -20.678627),
         (0.040413, -0.983077, -0.178678), (0.999114, 0.041863, -0.004348),
         (0.011755, -0.178344, 0.983898)),
    Bone("middle_2", 5, (-53.41765, 1.891681, -11.605125),
         (-0.108641, -0.619973, -0.777066), (0.992571, -0.110721, -0.050433),
         (-0.054771, -0.776772, 0.627396)),
    Bone("middle_3", 6, (-76.6856, -2.263763, 17.54763),
         (-0.007043, -0.307839, -0.951413), (0.980184, -0.190482, 0.054376),
         (-0.197966, -0.932176, 0.30308)),
    Bone("ring_1", 0, (0.078753, 25.304059, -22.352519),
         (0.20489, -0.810272, -0.549071), (0.956483, 0.046682, 0.288029),
         (-0.20775, -0.584192, 0.784576)),
    Bone("ring_2", 8, (-40.579582, 27.64649, 6.961416),
         (0.045958, -0.727912, -0.684129), (0.989155, -0.062477, 0.132924),
         (-0.139499, -0.682819, 0.717146)),
    Bone("ring_3", 9, (-56.606562, 26.270882, 21.995561),
         (0.023109, -0.5559, -0.830928), (0.959601, -0.220794, 0.174401),
         (-0.280413, -0.80139, 0.52834)),
    Bone("little_1", 0, (9.689822, 41.679176, -7.118346),
         (0.305361, -0.893864, -0.328272), (0.890473, 0.145916, 0.431007),
         (-0.337361, -0.42393, 0.840518)),
    Bone("little_2", 11, (-19.611308, 46.462324, 6.778204),
         (0.272789, -0.738194, -0.616973), (0.940106, 0.068268, 0.333978),
         (-0.204421, -0.671125, 0.712603)),
    Bone("little_3", 12, (-37.965567, 48.159727, 23.464848),
         (0.235802, -0.381636, -0.893729), (0.965954, -0.008687, 0.258567),
         (-0.106442, -0.924272, 0.366595)),
    Bone("thumb_1", 0, (79.423578, -11.346378, 4.74148),
         (-0.539691, -0.828768, -0.147908), (0.841546, -0.535918, -0.067768),
         (-0.023103, -0.161045, 0.986677)),
    Bone("thumb_2", 14, (28.650104, -44.178716, 14.607704),
         (-0.024676, -0.994905, 0.097753), (-0.050519, -0.096417, -0.994058),
         (0.998418, -0.029468, -0.047882)),
    Bone("thumb_3", 15, (-11.012209, -48.022417, 15.782445),
         (-0.122792, -0.987664, -0.097174), (-0.004495, 0.098468, -0.99513),
         (0.992422, -0.121757, -0.016531)),
)

_SPHERES = (
    Sphere(0, (104.3889, 18.34217, -17.58301), 20.0),
    Sphere(0, (104.3889, -17.03783, -17.58301), 20.0),
    Sphere(0, (25.1029, 0.65217, -21.29501), 22.4),
    Sphere(0, (34.3829, 24.40317, -9.69501), 22.4),
    Sphere(0, (53.0009, 0.65217, -21.29501), 24.0),
    Sphere(0, (110.1889, 0.65217, -21.29501), 22.4),
    Sphere(0, (86.9889, 0.65217, -21.29501), 20.0),
    Sphere(0, (86.9889, 12.25217, -15.49501), 20.0),
    Sphere(0, (63.7889, 18.05217, -15.49501), 20.0),
    Sphere(0, (34.3829, -17.03783, -17.81501), 20.0),
    Sphere(0, (54.7409, -17.03783, -18.39501), 20.0),
    Sphere(2, (-24.75465, -24.98296, -25.07841), 16.0),
    Sphere(2, (5.81135, -25.30196, -26.90541), 16.8),
    Sphere(3, (-63.90747, -26.27628, -11.06987), 13.6),
    Sphere(3, (-49.49447, -24.79728, -20.32087), 14.4),
    Sphere(4, (-90.43727, -27.795, 10.7258), 11.2),
    Sphere(4, (-78.89527, -26.78, 1.7068), 12.8),
    Sphere(5, (-27.70408, 3.03885, -18.12663), 16.0),
    Sphere(5, (-3.95308, -0.20915, -21.17163), 16.8),
    Sphere(6, (-63.07465, 3.16768, 0.28488), 14.4),
    Sphere(6, (-51.73565, 5.05268, -8.50212), 16.0),
    Sphere(7, (-85.7916, -3.91676, 33.72963), 12.0),
    Sphere(7, (-77.8166, -0.08876, 17.48963), 13.6),
    Sphere(8, (-20.25025, 23.70906, -6.05452), 15.2),
    Sphere(8, (-0.03725, 21.62106, -11.07152), 16.0),
    Sphere(9, (-48.93158, 27.38549, 11.92042), 13.6),
    Sphere(9, (-36.49058, 27.87849, 5.22142), 14.4),
    Sphere(10, (-71.77356, 19.68788, 44.99256), 9.6),
    Sphere(10, (-63.91456, 24.84988, 29.59356), 11.2),
    Sphere(11, (-8.84118, 43.50618, 5.11965), 13.6),
    Sphere(11, (10.35682, 40.31618, 0.27665), 16.8),
    Sphere(12, (-27.15131, 48.23132, 18.2332), 11.2),
    Sphere(12, (-17.90031, 46.54932, 10.3452), 12.8),
    Sphere(13, (-45.82457, 47.66673, 40.13985), 8.0),
    Sphere(13, (-37.84957, 48.56573, 30.45385), 9.6),
    Sphere(14, (53.41058, -31.24038, 11.41148), 22.4),
    Sphere(14, (79.42358, -11.34638, 4.74148), 22.4),
    Sphere(15, (8.8721, -43.19272, 13.5927), 16.0),
    Sphere(15, (26.7071, -40.78572, 12.0557), 20.0),
    Sphere(16, (-36.06821, -43.52742, 21.81444), 13.6),
    Sphere(16, (-14.84021, -42.51241, 17.98644), 15.2),
)

# (sphere, sphere, mm): neighbours and 0.9 of their distance at rest, 0.9 being the mean of the
# scales 0.85 to 0.95.
BONE_LENGTHS = (
    (3, 2, 25.21266), (2, 9, 18.24949), (3, 8, 27.57422), (8, 2, 38.53226), (2, 4, 25.10819),
    (2, 10, 31.17376), (9, 10, 18.32963), (8, 4, 19.1508), (4, 10, 16.20933), (8, 7, 21.52262),
    (7, 4, 32.74054), (4, 6, 30.58921), (6, 10, 33.20597), (7, 6, 11.67229), (0, 5, 17.08471),
    (5, 1, 17.08472), (7, 0, 16.69755), (7, 5, 23.92103), (6, 5, 20.88), (6, 1, 22.58038),
    (11, 12, 27.56), (13, 14, 15.47118), (15, 16, 13.21469), (17, 18, 21.74821), (19, 20, 13.02165),
    (21, 22, 16.64372), (23, 24, 18.83766), (25, 26, 12.72469), (27, 28, 16.23843),
    (29, 30, 18.04929), (31, 32, 11.04584), (33, 34, 11.32097), (35, 36, 30.07854),
    (37, 38, 16.25599), (39, 40, 19.43483),
)
# fmt: on

HAND = kinematics.Rig(
    bones=tuple(bone.name for bone in _BONES),
    parents=tuple(bone.parent for bone in _BONES),
    rest=tuple(
        ((*b.x, b.origin[0]), (*b.y, b.origin[1]), (*b.z, b.origin[2]), (0.0, 0.0, 0.0, 1.0))
        for b in _BONES
    ),
    sphere_bones=tuple(sphere.bone for sphere in _SPHERES),
    sphere_centers=tuple(sphere.center for sphere in _SPHERES),
    sphere_radii=tuple(sphere.radius for sphere in _SPHERES),
)

# The sphere that represents each of the 14 evaluated NYU joints (skeleton "nyu14").
NYU14_SPHERES = (33, 32, 27, 26, 21, 20, 15, 14, 39, 40, 38, 0, 1, 2)

# Per sphere: 0 in the palm, else 1 + the index of its finger in FINGERS. A finger has three bones.
_SPHERE_FINGERS = tuple(
    (0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5)[sphere.bone] for sphere in _SPHERES
)
# The group of every sphere, a key of `skeleton.COLOURS`: its finger, or the palm.
SPHERE_GROUPS = tuple(("palm", *FINGERS)[finger] for finger in _SPHERE_FINGERS)

# Skeleton "hand21": the bones whose origins are the wrist and the three joints of each finger, from
# thumb to little, and the last sphere of each finger.
JOINT21_BONES = (1, 14, 15, 16, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13)
TIP_SPHERES = (39, 15, 21, 27, 33)
JOINT21_ORDER = (0, 1, 2, 3, 16, 4, 5, 6, 17, 7, 8, 9, 18, 10, 11, 12, 19, 13, 14, 15, 20)

# The sphere each joint lies in or is nearest to. Its radius is the joint's depth under the skin.
JOINT_SPHERES = {
    "hand21": (5, 36, 38, 40, 39, 12, 14, 16, 15, 18, 20, 22, 21, 24, 26, 28, 27, 30, 32, 34, 33),
    "nyu14": NYU14_SPHERES,
}


# Size of each of FINGERS relative to the palm, for length and thickness alike.
Fingers = Float[Array, "*b 5"] | float


def bone_transforms(
    pose: Float[Array, "*b 26"], fingers: Fingers = 1.0
) -> Float[Array, "*b 17 4 4"]:
    """Rest model → posed model for every bone, mm, BEFORE the mirror that makes it a right hand.

    The palm rotates by Rz·Ry·Rx about the model's origin (not the wrist), then translates. The
    parameters of a finger are [abduction, flexion 1, 2, 3] in the frames of its bones: flexion
    about x; abduction about z (ring and little: -y), applied after the first flexion.

    No joint has a limit. `fingers` scales each finger about its first joint; the original has no
    such parameter.
    """
    palm = geometry.matmul(
        geometry.matmul(geometry.rotation_z(pose[..., 2]), geometry.rotation_y(pose[..., 1])),
        geometry.rotation_x(pose[..., 0]),
    )
    angles = pose[..., 6:].reshape(*pose.shape[:-1], 5, 4)
    flexion = geometry.rotation_x(angles[..., 1:])
    about_z, about_y = geometry.rotation_z(angles[..., 0]), geometry.rotation_y(-angles[..., 0])
    abduction = jnp.concatenate(
        [about_z[..., :2, :, :], about_y[..., 2:4, :, :], about_z[..., 4:, :, :]], axis=-3
    )  # in the order of FINGERS
    sizes = jnp.broadcast_to(jnp.asarray(fingers, pose.dtype), (*pose.shape[:-1], 5))
    first = (geometry.matmul(abduction, flexion[..., 0, :, :]) * sizes[..., None, None])[
        ..., None, :, :
    ]
    joints = jnp.concatenate([first, flexion[..., 1:, :, :]], axis=-3).reshape(
        *pose.shape[:-1], 15, 3, 3
    )
    still = jnp.broadcast_to(jnp.eye(3, dtype=pose.dtype), (*pose.shape[:-1], 2, 3, 3))
    rotations = jnp.concatenate([still, joints], axis=-3)
    local = geometry.homogeneous(rotations, jnp.zeros_like(rotations[..., 0]))
    return kinematics.bone_transforms(HAND, geometry.homogeneous(palm, pose[..., 3:6]), local)


def spheres(
    pose: Float[Array, "*b 26"], scale: Float[Array, "*b 3"] | float = 1.0, fingers: Fingers = 1.0
) -> tuple[Float[Array, "*b 41 3"], Float[Array, "*b 41"]]:
    """Centers and radii, mm, of the 41 spheres of a right hand with its model origin at 0.

    `scale` stretches the posed hand along x, y and z, as in the original's synthesis. Radii are
    scaled by the mean of the three; the original scales a mesh, which has no radii.
    """
    return _spheres(bone_transforms(pose, fingers), scale, fingers)


def spheres_and_joints(
    pose: Float[Array, "*b 26"], scale: Float[Array, "*b 3"] | float = 1.0, fingers: Fingers = 1.0
) -> tuple[Float[Array, "*b 41 3"], Float[Array, "*b 41"], Float[Array, "*b 21 3"]]:
    """`spheres` and `joints21` of the same hand, whose bones are computed once."""
    transforms = bone_transforms(pose, fingers)
    return *_spheres(transforms, scale, fingers), right_hand(_joints21(transforms), scale)


def _spheres(
    transforms: Float[Array, "*b 17 4 4"], scale: Float[Array, "*b 3"] | float, fingers: Fingers
) -> tuple[Float[Array, "*b 41 3"], Float[Array, "*b 41"]]:
    batch, dtype = transforms.shape[:-3], transforms.dtype
    centers = kinematics.attached_points(transforms, HAND.sphere_bones, HAND.sphere_centers)
    scales = jnp.broadcast_to(jnp.asarray(scale, dtype), (*batch, 3))
    sizes = jnp.broadcast_to(jnp.asarray(fingers, dtype), (*batch, 5))
    sizes = jnp.concatenate([jnp.ones_like(sizes[..., :1]), sizes], axis=-1)[
        ..., jnp.asarray(_SPHERE_FINGERS)
    ]
    radii = jnp.broadcast_to(jnp.asarray(HAND.sphere_radii, dtype), sizes.shape) * sizes
    return right_hand(centers, scale), radii * jnp.mean(scales, axis=-1, keepdims=True)


def joints21(
    pose: Float[Array, "*b 26"], scale: Float[Array, "*b 3"] | float = 1.0, fingers: Fingers = 1.0
) -> Float[Array, "*b 21 3"]:
    """Joints of skeleton "hand21", mm, of a right hand with its model origin at 0.

    The wrist is the origin of the carpals, base, mid and end are the origins of a finger's bones,
    and the tip is the center of its last sphere, so one radius under the skin.
    """
    return right_hand(_joints21(bone_transforms(pose, fingers)), scale)


def _joints21(transforms: Float[Array, "*b 17 4 4"]) -> Float[Array, "*b 21 3"]:
    origins = kinematics.bone_origins(HAND, transforms, JOINT21_BONES)
    tips = kinematics.attached_points(
        transforms,
        tuple(HAND.sphere_bones[s] for s in TIP_SPHERES),
        tuple(HAND.sphere_centers[s] for s in TIP_SPHERES),
    )
    return jnp.concatenate([origins, tips], axis=-2)[..., jnp.asarray(JOINT21_ORDER), :]


def joints14(
    pose: Float[Array, "*b 26"], scale: Float[Array, "*b 3"] | float = 1.0, fingers: Fingers = 1.0
) -> Float[Array, "*b 14 3"]:
    """The 14 evaluated NYU joints (skeleton "nyu14"), mm: centers of `NYU14_SPHERES`."""
    return spheres(pose, scale, fingers)[0][..., jnp.asarray(NYU14_SPHERES), :]


JOINTS = {"hand21": joints21, "nyu14": joints14}


def right_hand(
    points: Float[Array, "*b n 3"], scale: Float[Array, "*b 3"] | float
) -> Float[Array, "*b n 3"]:
    """Model → camera axes, scaled. Mirrors x, because the model itself is a left hand."""
    mirror = jnp.asarray([-1.0, 1.0, 1.0], points.dtype)
    scales = jnp.broadcast_to(jnp.asarray(scale, points.dtype), (*points.shape[:-2], 3))
    return points * (scales * jnp.broadcast_to(mirror, scales.shape))[..., None, :]
