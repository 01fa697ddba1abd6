"""Body rig: 29 motion parameters and a scale → 18 joints in mm (skeleton "body18").

After the kinematic layer of ajdroid/integral-human-pose, which does not work as published: all its
matrices share one buffer, of which only the diagonal is cleared, and its backward pass fails.
`mode="original"` is that layer with this matrix fixed. The default fixes the rest as well:

* both shoulders hang on the neck; in the original the right one hangs on the torso, 161.6 mm lower;
* the global translation moves the body; in the original it is never applied;
* the head turns; in the original its parameter is never used;
* the result is in camera axes; in the original the order (x, z, y) puts the height on depth.

There is no state between calls, and everything is differentiable.

Internally the axes are the original's: x to the body's left, y up, z to its back. They are
left-handed, with the usual rotation formulas. So a positive angle about x moves hanging parts
forward and upright ones backward, about y turns to the right, and about z moves hanging parts left.
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

MOTION_NAMES = tuple(
    (
        "translation_x translation_y translation_z root_z root_x root_y trunk_y trunk_x trunk_z "
        "left_hip_z left_hip_x left_hip_y left_knee_x right_hip_z right_hip_x right_hip_y "
        "right_knee_x left_shoulder_z left_shoulder_x left_shoulder_y left_elbow_x "
        "right_shoulder_z right_shoulder_x right_shoulder_y right_elbow_x "
        "neck_z neck_x neck_y head_x"
    ).split()
)
LENGTH_NAMES = tuple(
    (
        "shin thigh pelvis_to_hip pelvis_to_torso torso_to_neck nose_up nose_ahead nose_to_head "
        "forearm upper_arm shoulder_aside shoulder_down"
    ).split()
)
# mm, in the order of LENGTH_NAMES. The original body is two thirds the size of an adult, which its
# scale has to compensate.
ORIGINAL_LENGTHS = (300.0, 302.0, 84.7, 165.0, 161.6, 73.46, 29.0, 66.91, 160.6, 187.16, 117.0, 6.5)
# Mean of two people of Human3.6M (Ionescu et al. 2014, subjects 1 and 5).
ADULT_LENGTHS = (448.0, 436.0, 126.0, 229.0, 256.0, 103.0, 60.0, 98.0, 250.0, 272.0, 131.0, 65.0)

_DEGREE = math.pi / 180


def _both(name: str, low: int, high: int) -> dict[str, tuple[int, int]]:
    """A range for the left side and its mirror image: rotations about y and z change sign."""
    return {
        f"left_{name}": (low, high),
        f"right_{name}": (low, high) if name.endswith("x") else (-high, -low),
    }


# Degrees of rotation about each axis of a joint: rough ranges of a healthy adult, chosen by us.
# Parameters that are not listed have no limit.
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
_UNLIMITED = (-math.inf, math.inf)
LIMITS: tuple[tuple[float, float], ...] = tuple(
    (_DEGREE * low, _DEGREE * high)
    for low, high in (_LIMITS.get(name, _UNLIMITED) for name in MOTION_NAMES)
)

Terms = tuple[tuple[float | int, str], ...]


class Anchor(NamedTuple):
    """A point attached to a segment; each coordinate is a sum of factors times lengths."""

    segment: str
    x: Terms = ()
    y: Terms = ()
    z: Terms = ()


class _Segment(NamedTuple):
    """Rigid part: its origin on its parent, and the parameters that rotate it about z, x and y."""

    name: str
    at: Anchor | None
    z: str | None = None
    x: str | None = None
    y: str | None = None


_NECK: Terms = ((1, "pelvis_to_torso"), (1, "torso_to_neck"))
_SHOULDER: Terms = (*_NECK, (-1, "shoulder_down"))
_NOSE: tuple[Terms, Terms, Terms] = ((), ((1, "nose_up"),), ((-1, "nose_ahead"),))


def _limb(side: str, sign: int) -> tuple[_Segment, ...]:
    def parameters(joint: str) -> tuple[str, ...]:
        return tuple(f"{side}_{joint}_{axis}" for axis in "zxy")

    knee, elbow = (((-1, name),) for name in ("thigh", "upper_arm"))
    return (
        _Segment(f"{side}_thigh", Anchor("root", ((sign, "pelvis_to_hip"),)), *parameters("hip")),
        _Segment(f"{side}_shin", Anchor(f"{side}_thigh", (), knee), None, f"{side}_knee_x"),
        _Segment(
            f"{side}_upper_arm",
            Anchor("trunk", ((sign, "shoulder_aside"),), _SHOULDER),
            *parameters("shoulder"),
        ),
        _Segment(
            f"{side}_forearm", Anchor(f"{side}_upper_arm", (), elbow), None, f"{side}_elbow_x"
        ),
    )


# Parents come first. Segments rotate by z · x · y, even the trunk, whose parameters are ordered
# y, x, z.
_SEGMENTS = (
    _Segment("root", None, "root_z", "root_x", "root_y"),
    _Segment("trunk", Anchor("root"), "trunk_z", "trunk_x", "trunk_y"),
    *_limb("left", 1),
    *_limb("right", -1),
    _Segment("skull", Anchor("trunk", (), _NECK), "neck_z", "neck_x", "neck_y"),
    _Segment("crown", Anchor("skull", *_NOSE), None, "head_x"),
)
_NAMES = tuple(segment.name for segment in _SEGMENTS)
# Offsets between segments depend on the lengths of the person and are part of `local` in `pose`, so
# all rest frames are identities.
_IDENTITY = (
    (1.0, 0.0, 0.0, 0.0),
    (0.0, 1.0, 0.0, 0.0),
    (0.0, 0.0, 1.0, 0.0),
    (0.0, 0.0, 0.0, 1.0),
)
_RIG = kinematics.Rig(
    bones=_NAMES,
    parents=tuple(_NAMES.index(segment.at.segment) if segment.at else -1 for segment in _SEGMENTS),
    rest=(_IDENTITY,) * len(_SEGMENTS),
    sphere_bones=(),
    sphere_centers=(),
    sphere_radii=(),
)

# Joints by name, on the segments that move them.
ANCHORS = {
    "pelvis": Anchor("root"),
    "torso": Anchor("trunk", (), ((1, "pelvis_to_torso"),)),
    "neck": Anchor("trunk", (), _NECK),
    "thorax": Anchor("trunk", (), _SHOULDER),
    "nose": Anchor("skull", *_NOSE),
    "head": Anchor("crown", (), ((1, "nose_to_head"),), ((1, "nose_ahead"),)),
}
for _side in ("left", "right"):
    ANCHORS |= {
        f"{_side}_hip": Anchor(f"{_side}_thigh"),
        f"{_side}_knee": Anchor(f"{_side}_shin"),
        f"{_side}_ankle": Anchor(f"{_side}_shin", (), ((-1, "shin"),)),
        f"{_side}_shoulder": Anchor(f"{_side}_upper_arm"),
        f"{_side}_elbow": Anchor(f"{_side}_forearm"),
        f"{_side}_wrist": Anchor(f"{_side}_forearm", (), ((-1, "forearm"),)),
    }
JOINTS: tuple[Anchor, ...] = tuple(ANCHORS[name] for name in SKELETONS["body18"].joints)


# The original's right shoulder hangs on the torso, its thorax is half-way between the shoulders.
_ORIGINAL_SHOULDER: Terms = ((1, "pelvis_to_torso"), (-1, "shoulder_down"))
_ORIGINAL_THORAX: Terms = ((1, "pelvis_to_torso"), (0.5, "torso_to_neck"), (-1, "shoulder_down"))

# The mirrored motion: parameters of the other side, some with the sign changed.
_OTHER_SIDE = {"left": "right", "right": "left"}
_MIRROR = tuple(
    MOTION_NAMES.index("_".join((_OTHER_SIDE.get(side, side), *rest)))
    for side, *rest in (n.split("_") for n in MOTION_NAMES)
)
_KEPT = ("translation_y", "translation_z")
_SIGNS = tuple(
    1.0 if n in _KEPT or n.endswith("_x") and n != "translation_x" else -1.0 for n in MOTION_NAMES
)


class PosedBody(NamedTuple):
    """Transforms of the segments and lengths of the person, mm, in the axes of the module."""

    transforms: Float[Array, "*b 12 4 4"]
    lengths: Float[Array, "*b 12"]


def motion_and_scale(
    outputs: Float[Array, "*b 30"], mode: Mode = "default"
) -> tuple[Float[Array, "*b 29"], Float[Array, "*b"]]:
    """Network outputs of order one → motion (mm, rad) and scale. Zeros are the rest pose, scale 1.

    The network predicts the translation in metres and the logarithm of the scale, so that no body
    is turned inside out. The original takes its outputs unchanged: its scale starts near 0 and must
    reach 1/2000, the factor from mm to its labels.
    """
    motion, scale = outputs[..., :29], outputs[..., 29]
    if mode == "original":
        return motion, scale
    return jnp.concatenate([1000 * motion[..., :3], motion[..., 3:]], axis=-1), jnp.exp(scale)


def pose(
    motion: Float[Array, "*b 29"],
    scale: Float[Array, "*b"] | float = 1.0,
    lengths: Float[Array, "*b 12"] | Float[Array, "12"] | tuple[float, ...] | None = None,
    mode: Mode = "default",
) -> PosedBody:
    """Pose the body by MOTION_NAMES (mm, rad; translation in the axes of the module).

    `lengths` are those of LENGTH_NAMES, mm, each multiplied by `scale`; by default an adult's, or
    in mode "original" the original body's. Mode "original" uses 25 of the 29 parameters.
    """
    original = mode == "original"
    lengths = lengths if lengths is not None else ORIGINAL_LENGTHS if original else ADULT_LENGTHS
    batch = motion.shape[:-1]
    scale = jnp.broadcast_to(jnp.asarray(scale, motion.dtype), batch)
    lengths = (
        jnp.broadcast_to(jnp.asarray(lengths, motion.dtype), (*batch, len(LENGTH_NAMES)))
        * scale[..., None]
    )

    unused = ("translation_x", "translation_y", "translation_z", "head_x") if original else ()
    used = jnp.asarray([name not in unused for name in MOTION_NAMES], motion.dtype)
    used = used.reshape((1,) * len(batch) + (-1,))
    motion = jnp.concatenate([motion * used, jnp.zeros_like(motion[..., :1])], axis=-1)
    angles = motion[
        ...,
        np.array(
            [[MOTION_NAMES.index(n) if n else -1 for n in segment[2:]] for segment in _SEGMENTS]
        ),
    ]
    rotations = geometry.matmul(
        geometry.matmul(geometry.rotation_z(angles[..., 0]), geometry.rotation_x(angles[..., 1])),
        geometry.rotation_y(angles[..., 2]),
    )
    starts = _offsets(
        tuple(_repaired(segment.name, segment.at or Anchor("root"), mode) for segment in _SEGMENTS),
        lengths,
    )
    identity = jnp.broadcast_to(jnp.eye(3, dtype=motion.dtype), (*batch, 3, 3))
    return PosedBody(
        kinematics.bone_transforms(
            _RIG,
            geometry.homogeneous(identity, motion[..., :3]),
            geometry.homogeneous(rotations, starts),
        ),
        lengths,
    )


def points(body: PosedBody, anchors: tuple[Anchor, ...]) -> Float[Array, "*b n 3"]:
    """Anchors of a posed body, mm, in the axes of the module."""
    carriers = body.transforms[
        ..., np.array([_NAMES.index(anchor.segment) for anchor in anchors]), :, :
    ]
    return geometry.transform_points(carriers, _offsets(anchors, body.lengths)[..., None, :])[
        ..., 0, :
    ]


def joints(
    motion: Float[Array, "*b 29"],
    scale: Float[Array, "*b"] | float = 1.0,
    lengths: Float[Array, "*b 12"] | Float[Array, "12"] | tuple[float, ...] | None = None,
    mode: Mode = "default",
) -> Float[Array, "*b 18 3"]:
    """Joints of `pose`, mm, in camera axes relative to the camera's origin.

    Without any motion an upright body faces the camera, its left at the right of the image. In mode
    "original" joints are relative to the pelvis, in the order (x, z, y) with z up.
    """
    anchors = tuple(
        _repaired(name, anchor, mode)
        for name, anchor in zip(SKELETONS["body18"].joints, JOINTS, strict=True)
    )
    result = points(pose(motion, scale, lengths, mode), anchors)
    return result[..., np.array((0, 2, 1))] if mode == "original" else to_camera(result)


def to_camera(points: Float[Array, "*b n 3"]) -> Float[Array, "*b n 3"]:
    """Axes of the module → camera axes, y down. z points away from the camera in both."""
    flip = jnp.asarray((1, -1, 1), points.dtype).reshape((1,) * (points.ndim - 1) + (3,))
    return points * flip


def mirrored(motion: Float[Array, "*b 29"]) -> Float[Array, "*b 29"]:
    """Motion mirrored in x, left and right exchanged: joints(mirrored(m))[flip] = (-x, y, z)."""
    return motion[..., np.array(_MIRROR)] * np.array(_SIGNS, np.float32).reshape(
        (1,) * (motion.ndim - 1) + (-1,)
    )


def beyond_limits(motion: Float[Array, "*b 29"]) -> Float[Array, "*b 29"]:
    """Excess of each parameter over LIMITS, rad, 0 within. Squared, a loss; not in the original."""
    low, high = np.array(LIMITS, np.float32).T.reshape((2,) + (1,) * (motion.ndim - 1) + (-1,))
    return jnp.maximum(motion - high, 0.0) + jnp.maximum(low - motion, 0.0)


def _repaired(name: str, anchor: Anchor, mode: Mode) -> Anchor:
    """The anchor, or in mode "original" the original's."""
    if mode == "original" and name in ("right_upper_arm", "thorax"):
        return anchor._replace(y=_ORIGINAL_THORAX if name == "thorax" else _ORIGINAL_SHOULDER)
    return anchor


def _offsets(anchors: tuple[Anchor, ...], lengths: Float[Array, "*b 12"]) -> Float[Array, "*b n 3"]:
    """Positions of anchors in the frames of their segments, mm."""
    table = jnp.asarray(_table(anchors), lengths.dtype)
    return jnp.einsum("nal,...l->...na", table, lengths, precision="highest")


@functools.cache
def _table(anchors: tuple[Anchor, ...]) -> Float[np.ndarray, "n 3 12"]:
    table = np.zeros((len(anchors), 3, len(LENGTH_NAMES)), np.float32)
    for i, anchor in enumerate(anchors):
        for axis, terms in enumerate(anchor[1:]):
            for factor, name in terms:
                table[i, axis, LENGTH_NAMES.index(name)] += factor
    return table
