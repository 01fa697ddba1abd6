"""Rendered people for the fake body sets: standing bodies of spheres with random poses.

Joints are those of the skeleton "body18". World: mm, z up, the floor at z = 0. The right side of a
body is red and the left side blue, so that an image shows which is which.
"""

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8
from scipy.spatial.transform import Rotation

from handjax.pose.pinhole import pixel_rays, project
from handjax.pose.skeleton import SKELETONS

# Joint, its parent, and its offset from it at rest in mm: to the body's left, back, up. About the
# size of Human3.6M's people; the thorax is midway between the shoulders.
_REST = (
    ("pelvis", None, (0, 0, 0)),
    ("right_hip", "pelvis", (-130, 0, 0)),
    ("right_knee", "right_hip", (0, 0, -450)),
    ("right_ankle", "right_knee", (0, 0, -440)),
    ("left_hip", "pelvis", (130, 0, 0)),
    ("left_knee", "left_hip", (0, 0, -450)),
    ("left_ankle", "left_knee", (0, 0, -440)),
    ("torso", "pelvis", (0, 20, 240)),
    ("thorax", "torso", (0, 10, 230)),
    ("neck", "thorax", (0, -10, 30)),
    ("nose", "neck", (0, -90, 90)),
    ("head", "neck", (0, -30, 200)),
    ("left_shoulder", "thorax", (150, 0, 0)),
    ("left_elbow", "left_shoulder", (0, 0, -280)),
    ("left_wrist", "left_elbow", (0, 0, -250)),
    ("right_shoulder", "thorax", (-150, 0, 0)),
    ("right_elbow", "right_shoulder", (0, 0, -280)),
    ("right_wrist", "right_elbow", (0, 0, -250)),
)
# Range of a joint's rotation in degrees: about the axis to the left (negative: a hanging limb
# swings forward), about the axis to the back (right side; mirrored on the left), about the limb.
_ROTATIONS = {
    "pelvis": ((-15, 5), (-8, 8), (-180, 180)),
    "torso": ((-5, 30), (-10, 10), (-20, 20)),
    "neck": ((-20, 25), (-15, 15), (-40, 40)),
    "hip": ((-70, 15), (0, 25), (-15, 15)),
    "knee": ((0, 80), (0, 0), (0, 0)),
    "shoulder": ((-110, 30), (5, 80), (-30, 30)),
    "elbow": ((-120, 0), (0, 0), (0, 0)),
}
# Radius in mm of the sphere at each joint; it is interpolated for the spheres between two joints.
_RADIUS = {"pelvis": 95, "torso": 95, "thorax": 85, "neck": 55, "nose": 45, "head": 75}
_RADIUS |= {"hip": 80, "knee": 55, "ankle": 40, "shoulder": 60, "elbow": 42, "wrist": 32}
_BETWEEN = 4  # spheres between the two joints of a bone
_RED, _BLUE, _GREY = (200, 60, 50), (50, 80, 200), (150, 150, 140)

JOINTS = SKELETONS["body18"].joints
RADII: tuple[float, ...] = tuple(float(_RADIUS[joint.split("_")[-1]]) for joint in JOINTS)


def standing_body(rng: np.random.Generator, near_mm: float = 600.0) -> Float[np.ndarray, "18 3"]:
    """Joints in world mm: within `near_mm` of the origin, the lower foot on the floor."""
    positions: dict[str, np.ndarray] = {}
    rotations: dict[str, Rotation] = {}
    for joint, parent, offset in _REST:
        rotation = rotations[parent] if parent else Rotation.identity()
        positions[joint] = positions[parent] + rotation.apply(offset) if parent else np.zeros(3)
        side, _, part = joint.rpartition("_")
        low, high = np.transpose(_ROTATIONS.get(part, ((0, 0),) * 3))
        left, back, up = rng.uniform(low, high)
        rotations[joint] = rotation * Rotation.from_euler(
            "ZYX", (up, -back if side == "left" else back, left), degrees=True
        )
    joints = np.stack([positions[joint] for joint in JOINTS])
    foot = joints[:, 2].min() - _RADIUS["ankle"]
    return joints + np.array([*rng.uniform(-near_mm, near_mm, 2), -foot])


def look_at(
    position: Float[np.ndarray, "3"], target: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "3 3"]:
    """World-to-camera rotation of an upright camera at `position` that looks at `target`.

    Camera axes: x right, y down, z forward.
    """
    forward = (target - position) / np.linalg.norm(target - position)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(forward, right), forward])


def room_cameras(
    rng: np.random.Generator,
) -> list[tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "3"]]]:
    """R, T of x_camera = R (x_world - T), of four cameras in the corners of a room."""
    cameras = []
    for quarter in range(4):
        angle = np.pi / 2 * (quarter + 0.5) + rng.uniform(-0.2, 0.2)
        distance = rng.uniform(4700, 5500)
        position = np.array(
            [distance * np.cos(angle), distance * np.sin(angle), rng.uniform(1400, 1700)]
        )
        target = np.array([*rng.uniform(-150, 150, 2), 900.0])
        cameras.append((look_at(position, target), position))
    return cameras


def pixel_slopes(
    k: Float[np.ndarray, "3 3"], height: int, width: int
) -> Float[np.ndarray, "{height} {width} 2"]:
    """x/z and y/z of the ray through each pixel center of a camera without distortion."""
    return pixel_rays(k, height, width).reshape(height, width, 3)[..., :2]


def render_people(
    people: Float[np.ndarray, "p 18 3"],
    slopes: Float[np.ndarray, "h w 2"],
    rng: np.random.Generator,
) -> tuple[UInt8[np.ndarray, "h w 3"], Float32[np.ndarray, "h w"]]:
    """RGB and depth (mm along z, 0 without a person) of people in camera mm.

    Matte shading under one light. `slopes`: x/z and y/z of the ray of each pixel (`pixel_slopes`).
    """
    height, width = slopes.shape[:2]
    coarse = rng.uniform(60, 220, (4, 4, 3)).astype(np.float32)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    depth = np.full((height, width), np.inf, np.float32)
    light = np.array([rng.uniform(-0.7, 0.7), -0.6, -0.7])
    light /= np.linalg.norm(light)
    for center, radius, color in _spheres(people):
        # Box of pixels around the sphere, by the slopes of the middle row and column, with a margin
        # for distortion.
        reach = 1.1 * radius / center[2]
        (u0, u1), (v0, v1) = (
            np.searchsorted(axis, (slope - reach, slope + reach)) + (-8, 8)
            for axis, slope in zip(
                (slopes[height // 2, :, 0], slopes[:, width // 2, 1]),
                center[:2] / center[2],
                strict=True,
            )
        )
        box = np.s_[max(v0, 0) : max(v1, 0), max(u0, 0) : max(u1, 0)]
        ray = np.concatenate([slopes[box], np.ones_like(slopes[box][..., :1])], axis=-1)
        length2 = (ray**2).sum(-1)
        nearest = ray @ center / length2
        half_chord2 = radius**2 - ((nearest[..., None] * ray - center) ** 2).sum(-1)
        front = nearest - np.sqrt(np.maximum(half_chord2, 0) / length2)
        seen = (half_chord2 > 0) & (front > 0) & (front < depth[box])
        facing = (ray * front[..., None] - center) @ light / radius
        depth[box][seen] = front[seen]
        image[box][seen] = (np.array(color) * (0.4 + 0.6 * np.maximum(facing, 0))[..., None])[seen]
    image += rng.normal(0, 1, (height, width, 1)).astype(np.float32)
    return np.clip(image, 0, 255).astype(np.uint8), np.where(np.isfinite(depth), depth, 0)


def snapshot(
    rng: np.random.Generator, height: int, width: int, people: int = 1, near_mm: float = 600.0
) -> dict[str, np.ndarray]:
    """A scene of `people`, drawn by a camera of `room_cameras`.

    Returns image, depth, k [3, 3], joints_xyz [p, 18, 3] (camera mm), joints_uv [p, 18, 2] (px).
    """
    k = np.array([[1.1 * width, 0, width / 2 - 0.5], [0, 1.1 * width, height / 2 - 0.5], [0, 0, 1]])
    rotation, position = room_cameras(rng)[rng.integers(4)]
    world = np.stack([standing_body(rng, near_mm) for _ in range(people)])
    joints = (world - position) @ rotation.T
    image, depth = render_people(joints, pixel_slopes(k, height, width), rng)
    return {
        "image": image,
        "depth": depth,
        "k": k,
        "joints_xyz": joints,
        "joints_uv": project(joints, k),
    }


def jpeg(image: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """An RGB image as the bytes of a JPEG file."""
    return cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()


def _spheres(people: Float[np.ndarray, "p 18 3"]):
    for joints in people:
        for joint, parent, _ in _REST:
            end = JOINTS.index(joint)
            start = JOINTS.index(parent) if parent else end
            color = (
                _RED if joint.startswith("right") else _BLUE if joint.startswith("left") else _GREY
            )
            fractions = np.linspace(0, 1, _BETWEEN + 2)[1:] if parent else (1.0,)
            for fraction in fractions:
                center = (1 - fraction) * joints[start] + fraction * joints[end]
                yield center, (1 - fraction) * RADII[start] + fraction * RADII[end], color
