"""The body: 29 numbers and a scale → 18 joints in mm (skeleton "body18").

After the kinematic layer of ajdroid/integral-human-pose, which does not work as it stands: one buffer is shared by all its
matrices and only its diagonal is cleared, and its backward pass fails. `mode="original"` is that layer with the one matrix
repaired. The default repairs the rest as well:

* both shoulders hang on the neck; there the right one hangs on the torso, 161.6 mm lower;
* the global translation moves the body; there it is never applied;
* the head turns; there its number is never used;
* the result is in camera axes; there the order (x, z, y) puts the body's height on depth.

Nothing is kept between calls, and all of it has a gradient.

Inside, the axes are the original's: x to the body's left, y up, z to its back, which is left-handed, and rotations are the usual
formulas in these axes. So a positive angle about x moves what hangs forward and what stands back, about y turns to the right,
and about z moves what hangs to the left.
"""

import functools
import math
from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from handjax.pose import geometry
from handjax.pose.skeleton import SKELETONS
from handjax.rigs import kinematics

Mode = Literal["default", "original"]
MODES = ("default", "original")

MOTION_NAMES = (
    *(
        "translation_x",
        "translation_y",
        "translation_z",
        "root_z",
        "root_x",
        "root_y",
        "trunk_y",
        "trunk_x",
        "trunk_z",
    ),
    *(
        f"{side}_{motion}"
        for side in ("left", "right")
        for motion in ("hip_z", "hip_x", "hip_y", "knee_x")
    ),
    *(
        f"{side}_{motion}"
        for side in ("left", "right")
        for motion in ("shoulder_z", "shoulder_x", "shoulder_y", "elbow_x")
    ),
    *("neck_z", "neck_x", "neck_y", "head_x"),
)
LENGTH_NAMES = (
    *(
        "shin",
        "thigh",
        "pelvis_to_hip",
        "pelvis_to_torso",
        "torso_to_neck",
        "nose_up",
        "nose_ahead",
        "nose_to_head",
    ),
    *("forearm", "upper_arm", "shoulder_aside", "shoulder_down"),
)
# mm, in the order of LENGTH_NAMES. The original's body is two thirds of an adult's, which its scale has to make up for.
ORIGINAL_LENGTHS = (300.0, 302.0, 84.7, 165.0, 161.6, 73.46, 29.0, 66.91, 160.6, 187.16, 117.0, 6.5)
# The mean of two people of Human3.6M (Ionescu et al. 2014, subjects 1 and 5).
ADULT_LENGTHS = (448.0, 436.0, 126.0, 229.0, 256.0, 103.0, 60.0, 98.0, 250.0, 272.0, 131.0, 65.0)

_DEGREE = math.pi / 180


def _both(name: str, low: int, high: int) -> dict[str, tuple[int, int]]:
    """A range of the left side, and its mirror image: turns about x stay, about y and z change their sign."""
    return {
        f"left_{name}": (low, high),
        f"right_{name}": (low, high) if name.endswith("x") else (-high, -low),
    }


# Degrees that a joint turns about each of its axes: rough ranges of a healthy adult, ours. What is not named has no limit.
_LIMITS = {
    **{"trunk_x": (-90, 35), "trunk_y": (-50, 50), "trunk_z": (-40, 40)},
    **{"neck_x": (-60, 60), "neck_y": (-80, 80), "neck_z": (-45, 45), "head_x": (-25, 25)},
    **_both("hip_z", -30, 60),
    **_both("hip_x", -35, 125),
    **_both("hip_y", -45, 45),
    **_both("knee_x", -150, 0),
    **_both("shoulder_z", -45, 170),
    **_both("shoulder_x", -65, 180),
    **_both("shoulder_y", -95, 95),
    **_both("elbow_x", 0, 155),
}
LIMITS: tuple[tuple[float, float], ...] = tuple(
    tuple(_DEGREE * degrees for degrees in _LIMITS.get(name, (-math.inf, math.inf)))
    for name in MOTION_NAMES
)

Terms = tuple[tuple[float | int, str], ...]


class Place(NamedTuple):
    """A point carried by a frame; each coordinate a sum of factors times lengths."""

    frame: str
    x: Terms = ()
    y: Terms = ()
    z: Terms = ()


class _Frame(NamedTuple):
    """A part that turns as one: where it begins on the part that carries it, and the numbers that turn it about z, x and y."""

    name: str
    at: Place | None
    z: str | None = None
    x: str | None = None
    y: str | None = None


_NECK: Terms = ((1, "pelvis_to_torso"), (1, "torso_to_neck"))
_SHOULDER: Terms = (*_NECK, (-1, "shoulder_down"))
_NOSE: tuple[Terms, Terms, Terms] = ((), ((1, "nose_up"),), ((-1, "nose_ahead"),))


def _limb(side: str, sign: int) -> tuple[_Frame, ...]:
    def numbers(joint):
        return tuple(f"{side}_{joint}_{axis}" for axis in "zxy")

    knee, elbow = (((-1, name),) for name in ("thigh", "upper_arm"))
    return (
        _Frame(f"{side}_thigh", Place("root", ((sign, "pelvis_to_hip"),)), *numbers("hip")),
        _Frame(f"{side}_shin", Place(f"{side}_thigh", (), knee), None, f"{side}_knee_x"),
        _Frame(
            f"{side}_upper_arm",
            Place("trunk", ((sign, "shoulder_aside"),), _SHOULDER),
            *numbers("shoulder"),
        ),
        _Frame(f"{side}_forearm", Place(f"{side}_upper_arm", (), elbow), None, f"{side}_elbow_x"),
    )


# A frame turns by z · x · y, the trunk too, whose numbers come in the order y, x, z. The one that carries comes first.
_FRAMES = (
    _Frame("root", None, "root_z", "root_x", "root_y"),
    _Frame("trunk", Place("root"), "trunk_z", "trunk_x", "trunk_y"),
    *_limb("left", 1),
    *_limb("right", -1),
    _Frame("skull", Place("trunk", (), _NECK), "neck_z", "neck_x", "neck_y"),
    _Frame("crown", Place("skull", *_NOSE), None, "head_x"),
)
_NAMES = tuple(frame.name for frame in _FRAMES)
# What lies between two frames depends on a person's lengths and is part of their motion: the figure itself has none.
_STILL = tuple(tuple(float(i == j) for j in range(4)) for i in range(4))
_FIGURE = kinematics.Figure(
    bones=_NAMES,
    parents=tuple(_NAMES.index(frame.at.frame) if frame.at else -1 for frame in _FRAMES),
    rest=(_STILL,) * len(_FRAMES),
    sphere_bones=(),
    sphere_centers=(),
    sphere_radii=(),
)

_JOINTS = {
    "pelvis": Place("root"),
    "torso": Place("trunk", (), ((1, "pelvis_to_torso"),)),
    "neck": Place("trunk", (), _NECK),
    "thorax": Place("trunk", (), _SHOULDER),
    "nose": Place("skull", *_NOSE),
    "head": Place("crown", (), ((1, "nose_to_head"),), ((1, "nose_ahead"),)),
}
for _side in ("left", "right"):
    _JOINTS |= {
        f"{_side}_hip": Place(f"{_side}_thigh"),
        f"{_side}_knee": Place(f"{_side}_shin"),
        f"{_side}_ankle": Place(f"{_side}_shin", (), ((-1, "shin"),)),
        f"{_side}_shoulder": Place(f"{_side}_upper_arm"),
        f"{_side}_elbow": Place(f"{_side}_forearm"),
        f"{_side}_wrist": Place(f"{_side}_forearm", (), ((-1, "forearm"),)),
    }
JOINTS: tuple[Place, ...] = tuple(_JOINTS[name] for name in SKELETONS["body18"].joints)


class Cone(NamedTuple):
    """The convex hull of two balls that the body carries: where they are, their radii in mm for an adult, and what it wears."""

    start: Place
    end: Place
    radii: tuple[int, int]
    dress: str


def _limb_cones(side: str) -> tuple[Cone, ...]:
    hip, knee, ankle, shoulder, elbow, wrist = (
        _JOINTS[f"{side}_{joint}"]
        for joint in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")
    )
    toes = Place(f"{side}_shin", (), ((-1.1, "shin"),), ((-0.38, "shin"),))
    fingers = Place(f"{side}_forearm", (), ((-1.5, "forearm"),))
    return (
        Cone(hip, shoulder, (85, 75), "shirt"),
        Cone(hip, knee, (90, 55), "trousers"),
        Cone(knee, ankle, (55, 40), "shins"),
        Cone(ankle, toes, (42, 34), "shoes"),
        Cone(shoulder, elbow, (55, 42), "shirt"),
        Cone(elbow, wrist, (42, 30), "sleeves"),
        Cone(wrist, fingers, (32, 26), "skin"),
    )


_SKULL = Place("skull", (), ((1.2, "nose_up"),), ((0.1, "nose_ahead"),))
_CHIN = Place("skull", (), ((0.55, "nose_up"),), ((-0.7, "nose_ahead"),))
# A person without parting lines, made up: thick enough to look like one, thin enough for joints to lie under the surface.
CONES = (
    *_limb_cones("left"),
    *_limb_cones("right"),
    Cone(_JOINTS["pelvis"], _JOINTS["thorax"], (110, 110), "shirt"),
    Cone(_JOINTS["left_hip"], _JOINTS["right_hip"], (95, 95), "trousers"),
    Cone(_JOINTS["left_shoulder"], _JOINTS["right_shoulder"], (65, 65), "shirt"),
    Cone(_JOINTS["neck"], _SKULL, (58, 58), "skin"),
    Cone(_SKULL, _JOINTS["head"], (90, 40), "hair"),
    Cone(_CHIN, _JOINTS["nose"], (45, 55), "skin"),
)

# The original's right shoulder hangs on the torso, and its thorax is half way between the two.
_ORIGINAL_SHOULDER: Terms = ((1, "pelvis_to_torso"), (-1, "shoulder_down"))
_ORIGINAL_THORAX: Terms = ((1, "pelvis_to_torso"), (0.5, "torso_to_neck"), (-1, "shoulder_down"))

# Motion of the mirror image: the other side's numbers, and what changes its sign.
_OTHER_SIDE = {"left": "right", "right": "left"}
_MIRROR = tuple(
    MOTION_NAMES.index("_".join((_OTHER_SIDE.get(side, side), *rest)))
    for side, *rest in (n.split("_") for n in MOTION_NAMES)
)
_KEPT = ("translation_y", "translation_z")
_SIGNS = tuple(
    1.0 if n in _KEPT or n.endswith("_x") and n != "translation_x" else -1.0 for n in MOTION_NAMES
)


class Body(NamedTuple):
    """A posed body: the frames of its parts and its own lengths, mm, in the axes of the module."""

    frames: Float[Array, "*b 12 4 4"]
    lengths: Float[Array, "*b 12"]


def motion_and_scale(
    numbers: Float[Array, "*b 30"], mode: Mode = "default"
) -> tuple[Float[Array, "*b 29"], Float[Array, "*b"]]:
    """What a network says, numbers of order one → motion (mm, rad) and scale. Zeros are the rest pose, upright, at scale 1.

    The translation is said in metres, and of the scale the logarithm, so no body is turned inside out. The original takes
    the numbers as they are: its scale starts about 0 and has to find 1/2000, the way from mm to its labels.
    """
    motion, scale = numbers[..., :29], numbers[..., 29]
    if mode == "original":
        return motion, scale
    return jnp.concatenate([1000 * motion[..., :3], motion[..., 3:]], axis=-1), jnp.exp(scale)


def pose(
    motion: Float[Array, "*b 29"],
    scale: Float[Array, "*b"] | float = 1.0,
    lengths: Float[Array, "*b 12"] | Float[Array, "12"] | tuple[float, ...] | None = None,
    mode: Mode = "default",
) -> Body:
    """The body of MOTION_NAMES (mm, rad; the translation in the axes of the module) with the bones LENGTH_NAMES, mm, each times
    `scale`. Without `lengths` it is an adult, or in mode "original" the original's body, which reads 25 of the 29."""
    original = mode == "original"
    lengths = lengths if lengths is not None else ORIGINAL_LENGTHS if original else ADULT_LENGTHS
    batch = motion.shape[:-1]
    scale = jnp.broadcast_to(jnp.asarray(scale, motion.dtype), batch)
    lengths = (
        jnp.broadcast_to(jnp.asarray(lengths, motion.dtype), (*batch, len(LENGTH_NAMES)))
        * scale[..., None]
    )

    unused = ("translation_x", "translation_y", "translation_z", "head_x") if original else ()
    used = np.array([name not in unused for name in MOTION_NAMES], np.float32).reshape(
        (1,) * len(batch) + (-1,)
    )
    motion = jnp.concatenate([motion * used, jnp.zeros_like(motion[..., :1])], axis=-1)
    angles = motion[
        ...,
        np.array([[MOTION_NAMES.index(n) if n else -1 for n in frame[2:]] for frame in _FRAMES]),
    ]
    turns = geometry.matmul(
        geometry.matmul(geometry.rotation_z(angles[..., 0]), geometry.rotation_x(angles[..., 1])),
        geometry.rotation_y(angles[..., 2]),
    )
    starts = _offsets(
        tuple(_repaired(frame.name, frame.at or Place("root"), mode) for frame in _FRAMES), lengths
    )
    still = jnp.broadcast_to(jnp.eye(3, dtype=motion.dtype), (*batch, 3, 3))
    return Body(
        kinematics.bone_transforms(
            _FIGURE,
            geometry.homogeneous(still, motion[..., :3]),
            geometry.homogeneous(turns, starts),
        ),
        lengths,
    )


def points(body: Body, places: tuple[Place, ...]) -> Float[Array, "*b n 3"]:
    """Places of a posed body, mm, in the axes of the module."""
    carriers = body.frames[..., np.array([_NAMES.index(place.frame) for place in places]), :, :]
    return geometry.transform_points(carriers, _offsets(places, body.lengths)[..., None, :])[
        ..., 0, :
    ]


def joints(
    motion: Float[Array, "*b 29"],
    scale: Float[Array, "*b"] | float = 1.0,
    lengths: Float[Array, "*b 12"] | Float[Array, "12"] | tuple[float, ...] | None = None,
    mode: Mode = "default",
) -> Float[Array, "*b 18 3"]:
    """Joints of `pose`, mm: camera axes about the translation, so without any motion an upright body faces the camera, its
    left at the picture's right. In mode "original" about the pelvis in the order (x, z, y), z up."""
    places = tuple(
        _repaired(name, place, mode)
        for name, place in zip(SKELETONS["body18"].joints, JOINTS, strict=True)
    )
    found = points(pose(motion, scale, lengths, mode), places)
    return found[..., np.array((0, 2, 1))] if mode == "original" else to_camera(found)


def cone_ends(body: Body) -> Float[Array, "*b c 2 3"]:
    """Middles of the two balls of each of CONES, mm, camera axes as `joints`."""
    ends = to_camera(points(body, tuple(place for cone in CONES for place in cone[:2])))
    return ends.reshape(*ends.shape[:-2], len(CONES), 2, 3)


def to_camera(points: Float[Array, "*b n 3"]) -> Float[Array, "*b n 3"]:
    """Axes of the module → camera axes: y down. Both have z away from the camera where the body faces it."""
    return points * np.array((1, -1, 1), np.float32).reshape((1,) * (points.ndim - 1) + (3,))


def mirrored(motion: Float[Array, "*b 29"]) -> Float[Array, "*b 29"]:
    """The motion whose joints are the mirror image in x, left and right changed: joints(mirrored(m))[flip] = (-x, y, z)."""
    return motion[..., np.array(_MIRROR)] * np.array(_SIGNS, np.float32).reshape(
        (1,) * (motion.ndim - 1) + (-1,)
    )


def beyond_limits(motion: Float[Array, "*b 29"]) -> Float[Array, "*b 29"]:
    """How far, rad, each number is outside of LIMITS: 0 within. Its square is a loss; the original has no limits."""
    low, high = np.array(LIMITS, np.float32).T.reshape((2,) + (1,) * (motion.ndim - 1) + (-1,))
    return jnp.maximum(motion - high, 0.0) + jnp.maximum(low - motion, 0.0)


def _repaired(name: str, place: Place, mode: Mode) -> Place:
    """The place as it is, or where the original has it."""
    if mode == "original" and name in ("right_upper_arm", "thorax"):
        return place._replace(y=_ORIGINAL_THORAX if name == "thorax" else _ORIGINAL_SHOULDER)
    return place


def _offsets(places: tuple[Place, ...], lengths: Float[Array, "*b 12"]) -> Float[Array, "*b n 3"]:
    """Of each place on its frame."""
    return jnp.einsum("nal,...l->...na", _table(places), lengths, precision="highest")


@functools.cache
def _table(places: tuple[Place, ...]) -> Float[np.ndarray, "n 3 12"]:
    table = np.zeros((len(places), 3, len(LENGTH_NAMES)), np.float32)
    for i, place in enumerate(places):
        for axis, terms in enumerate(place[1:]):
            for factor, name in terms:
                table[i, axis, LENGTH_NAMES.index(name)] += factor
    return table
