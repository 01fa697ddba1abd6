"""A hand as the viewer shows it: what is drawn of it, what is usual for it, and the files that it goes to."""

import functools
import io
import itertools
import json
import math
import re
from typing import NamedTuple

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from handjax.fitting import objective as fitting
from handjax.pose import skeleton
from handjax.rigs import hand, poses, spheres
from handjax.rigs import skinning
from handjax.synthetic import render

# The camera is half a metre and a bit before the hand, as a sensor is, and sees a ball of 300 mm around it.
CENTER_XYZ = (0.0, 0.0, 600.0)
WINDOW_MM = 300.0
PIXELS = 320
SOURCES = ("skin", "spheres")  # what the depth image is of
SIDES = {"right": 1.0, "left": -1.0}
# A hand held up, its palm to the camera.
START = (3.14, 0.0, 1.57) + (0.0,) * 23

# What joints usually do, rad: the ends of what `poses.sample_pose` draws, rounded outward. The figure itself has no limits.
_FLEXION = ((-0.25, 1.9), (-0.4, 2.05), (-0.49, 2.63))
USUAL = {
    "index": ((-0.49, 0.79), *_FLEXION),
    "middle": ((-0.24, 0.38), *_FLEXION),
    "ring": ((-0.38, 0.24), *_FLEXION),
    "little": ((-1.12, 0.69), *_FLEXION),
    "thumb": ((-0.5, 0.5), (-0.25, 0.7), (-0.07, 0.18), (-1.7, 0.3)),
}
LIMITS = (None,) * 6 + tuple(
    itertools.chain.from_iterable(USUAL[finger] for finger in hand.FINGERS)
)
# Ends of the sliders: those of sphereHand's viewer for palm rotation, palm translation and fingers, or what is usual.
REACH = (
    ((-3.15, 3.15),) * 3
    + ((-20.0, 20.0),) * 3
    + tuple((min(low, -1.8), max(high, 1.8)) for low, high in LIMITS[6:])
)
_JOINTS = skeleton.SKELETONS["hand21"]
SIZES = (0.6, 1.4)  # ends of the sliders of size


Spheres = tuple[Float[Array, "_ 3"], Float[Array, " _"]]  # centres and radii


class Hand(NamedTuple):
    """What the sliders say."""

    pose: Float[Array | np.ndarray, "26"]  # hand.POSE_NAMES, rad and mm
    size: Float[Array | np.ndarray, ""]  # of the whole, beside the model's
    fingers: Float[Array | np.ndarray, "5"]  # of each of hand.FINGERS, beside the palm's
    side: Float[Array | np.ndarray, ""]  # one of SIDES


def hand_of(pose, size=1.0, fingers=(1.0,) * 5, side: str = "right") -> Hand:
    return Hand(*(np.asarray(part, np.float32) for part in (pose, size, fingers, SIDES[side])))


def side_of(shown: Hand) -> str:
    return next(side for side, sign in SIDES.items() if sign == float(shown.side))


class Look(NamedTuple):
    """All that is drawn of a hand: camera mm, and mm of depth along z with 0 where nothing is seen."""

    vertices: Float[Array, "v 3"]
    centers: Float[Array, "41 3"]
    radii: Float[Array, "41"]
    joints: Float[Array, "21 3"]
    depth: Float[Array, "h w"]


def window(center: Float[Array | np.ndarray, "3"]) -> Float[Array, "3 3"]:
    """Intrinsics of the depth image: of the ball around `center`, camera mm."""
    return render.crop_intrinsics(jnp.asarray(center, jnp.float32), jnp.asarray(WINDOW_MM), PIXELS)


@functools.partial(jax.jit, static_argnums=(2, 3))
def look(shown: Hand, center: Float[Array | np.ndarray, "3"], skin: skinning.Skin, source: str) -> Look:
    """The hand with its model origin at `center`, camera mm, and its depth image from `source`, one of SOURCES."""
    pose, fingers, scale = (
        jnp.asarray(shown.pose),
        jnp.asarray(shown.fingers),
        jnp.full(3, shown.size),
    )
    center = jnp.asarray(center)
    centers, radii, joints = render.hand_in_camera(
        pose, center, scale=scale, fingers=fingers, side=shown.side
    )
    vertices = render.in_camera(skinning.hand_vertices(skin, pose, scale, fingers), center, shown.side)
    k = window(center)
    if source == "skin":
        depth, _ = render.mesh_depth(vertices, skin.faces, k, PIXELS, PIXELS, projection="pinhole")
    else:
        depth, _ = spheres.sphere_depth_pinhole(centers, radii, k, PIXELS, PIXELS)
    return Look(vertices, centers, radii, joints, depth)


def faces(skin: skinning.Skin, shown: Hand) -> Int[np.ndarray, "f 3"]:
    """Counter-clockwise seen from outside, on the vertices that `look` gives for this hand."""
    return skinning.right_hand_faces(skin) if shown.side > 0 else skin.faces


@functools.partial(jax.jit, static_argnames=("modes", "rotation"))
def random_pose(
    seed: Int[Array, ""] | int, modes: tuple[str, ...], rotation: poses.Ranges
) -> Float[Array, "26"]:
    return poses.sample_pose(jax.random.key(seed), modes=modes, rotation=rotation)


def parse_pose(text: str) -> Float[np.ndarray, "26"]:
    """26 finite numbers, with blanks, commas, semicolons or brackets between them."""
    return check_pose(
        np.asarray([float(word) for word in re.split(r"[\s,;()\[\]]+", text) if word])
    )


def check_pose(values: np.ndarray) -> Float[np.ndarray, "26"]:
    if values.shape != (26,) or values.dtype.kind not in "fiu" or not np.all(np.abs(values) < 1e6):
        raise ValueError(f"expected 26 finite numbers, got {values.size} of {values.dtype}")
    return values.astype(np.float32)


def beyond(pose: Float[np.ndarray, "26"]) -> str:
    """Which numbers are not LIMITS' own, in a line; nothing where all are."""
    names = [
        name.replace("_", " ")
        for name, value, usual in zip(hand.POSE_NAMES, pose.tolist(), LIMITS, strict=True)
        if usual and not usual[0] - 5e-3 <= value <= usual[1] + 5e-3
    ]
    return f"beyond what is usual: {', '.join(names)}" if names else ""


def coloured(
    depth: Float[np.ndarray, "h w"], table: UInt8[np.ndarray, "256 3"], near: float, far: float
) -> UInt8[np.ndarray, "h w 3"]:
    """Depth as a picture: from `near` to `far` mm the colours of `table`, what is missing dark."""
    shades = np.clip((depth - near) / max(far - near, 1e-6) * 255, 0, 255).astype(np.uint8)
    return np.where((depth > 0)[..., None], table[shades], np.uint8(24))


def through_window(
    depth: Float[np.ndarray, "h w"], k: Float[np.ndarray, "3 3"], center: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "p p"]:
    """A depth image of camera `k` as `window(center)` has it, by the nearest pixel; what is not in the ball's depth is left out."""
    ours = np.asarray(window(center), np.float64)
    v, u = np.indices((PIXELS, PIXELS))
    rays = np.stack([(u - ours[0, 2]) / ours[0, 0], (v - ours[1, 2]) / ours[1, 1]], axis=-1)
    u, v = np.rint(rays * [k[0, 0], k[1, 1]] + [k[0, 2], k[1, 2]]).astype(int).transpose(2, 0, 1)
    inside = (u >= 0) & (u < depth.shape[1]) & (v >= 0) & (v < depth.shape[0])
    found = np.where(
        inside, depth[np.clip(v, 0, depth.shape[0] - 1), np.clip(u, 0, depth.shape[1] - 1)], 0.0
    )
    return np.where(np.abs(found - center[2]) <= WINDOW_MM / 2, found, 0.0).astype(np.float32)


def surface_mm(
    points: Float[np.ndarray, "p 3"], of_hand: Spheres, arm: Spheres, most: int = 2048
) -> tuple[float, float]:
    """Mean distance of points to the nearest surface of the hand's spheres, and the share of points that are nearer to the
    forearm's and so are left out. Of `most` points, spread evenly."""
    chosen = points[np.linspace(0, len(points) - 1, most).round().astype(int)]
    distance, winner = jax.device_get(
        _distances(chosen, *map(jnp.concatenate, zip(of_hand, arm, strict=True)))
    )
    hands = winner < len(of_hand[0])
    return float(distance.sum(where=hands) / max(hands.sum(), 1)), float(1 - hands.mean())


_distances = jax.jit(spheres.sphere_distance)


def ball(
    rows: int = 12, columns: int = 20
) -> tuple[Float[np.ndarray, "v 3"], Int[np.ndarray, "f 3"]]:
    """A sphere of radius 1 in triangles, by latitude and longitude, outside counter-clockwise."""
    down, around = np.meshgrid(
        np.linspace(0, np.pi, rows + 1), np.arange(columns) * 2 * np.pi / columns, indexing="ij"
    )
    points = np.stack(
        [np.sin(down) * np.cos(around), np.sin(down) * np.sin(around), np.cos(down)], axis=-1
    )
    a = np.arange(rows * columns).reshape(rows, columns)
    b = np.roll(a, -1, axis=1)
    faces = np.stack([a, a + columns, b + columns, a, b + columns, b], axis=-1)
    return points.reshape(-1, 3), faces.reshape(-1, 3)


class Scene:
    """The 3D view: the skin, its spheres and joints; points that were observed; and the spheres that a network found."""

    def __init__(self, server, skin: skinning.Skin):
        self.server, scene = server, server.scene
        scene.set_up_direction("-y")
        scene.configure_default_lights(False)
        scene.add_light_directional("/light", position=(-300.0, -500.0, -700.0), intensity=2.0)
        server.initial_camera.up = (0.0, -1.0, 0.0)
        self.skin = scene.add_mesh_simple(
            "/skin",
            skin.vertices,
            skinning.right_hand_faces(skin),
            color=(224, 172, 140),
            side="double",
        )
        palette = {
            group: tuple(bytes.fromhex(code[1:])) for group, code in skeleton.COLOURS.items()
        }
        bones = (hand.HAND.bones[bone].split("_")[0] for bone in hand.HAND.sphere_bones)
        fingers = np.asarray([palette.get(bone, palette["palm"]) for bone in bones], np.uint8)
        joints = np.asarray([palette[group] for group in _JOINTS.groups], np.uint8)
        self.spheres = self._balls("/spheres", np.asarray(hand.HAND.sphere_radii), fingers)
        self.joints = self._balls("/joints", np.full(21, 3.5), joints)
        self.found = self._balls(
            "/found", np.asarray(hand.HAND.sphere_radii) * fitting.MEAN_SIZE, fingers
        )
        self.found.visible, self.found.opacity = False, 0.5
        lines = np.repeat(joints[[child for _, child in _JOINTS.bones]][:, None], 2, axis=1)
        self.bones = scene.add_line_segments(
            "/bones", np.zeros((len(_JOINTS.bones), 2, 3)), lines, thickness=3.0
        )

    def _balls(self, name: str, radii: np.ndarray, colours: np.ndarray):
        still = np.broadcast_to([1.0, 0.0, 0.0, 0.0], (len(radii), 4))
        return self.server.scene.add_batched_meshes_simple(
            name,
            *ball(),
            still,
            np.zeros((len(radii), 3)),
            batched_scales=radii,
            batched_colors=colours,
            lod="off",
        )

    def look_at(self, center: Float[np.ndarray, "3"]) -> None:
        """As the depth camera does, from the origin: for who is there and who comes."""
        for camera in (
            self.server.initial_camera,
            *(client.camera for client in self.server.get_clients().values()),
        ):
            camera.position, camera.look_at = (0.0, 0.0, 0.0), tuple(center.tolist())
            camera.fov = 2 * math.asin(WINDOW_MM / 2 / float(np.linalg.norm(center)))
            camera.near, camera.far = 10.0, 10000.0

    def show_points(self, points: Float[np.ndarray, "p 3"], most: int = 6000) -> None:
        some = points[:: -(-len(points) // most)]
        self.points = self.server.scene.add_point_cloud(
            "/points",
            some,
            (80, 200, 255),
            point_size=0.8,
            point_shape="circle",
            precision="float32",
        )

    def draw(self, now: Look, faces: Int[np.ndarray, "f 3"], show: dict[str, bool]) -> None:
        """`show`: whether skin, spheres and joints are there."""
        self.skin.vertices, self.skin.faces = now.vertices, faces
        self.spheres.batched_positions, self.spheres.batched_scales = now.centers, now.radii
        self.joints.batched_positions, self.bones.points = (
            now.joints,
            now.joints[np.asarray(_JOINTS.bones)],
        )
        self.skin.visible, self.spheres.visible = show["skin"], show["spheres"]
        self.joints.visible = self.bones.visible = show["joints"]
        # What is inside is seen through what is around it.
        self.skin.opacity = 0.3 if show["spheres"] or show["joints"] else None
        self.spheres.opacity = 0.3 if show["joints"] else None


def pose_json(shown: Hand, center: Float[np.ndarray, "3"], now: Look) -> bytes:
    """All that makes the hand, with names, and what comes of it; `--pose` takes it again."""
    k = np.asarray(window(center), np.float64)
    told = {
        "side": side_of(shown),
        "pose": dict(zip(hand.POSE_NAMES, _plain(shown.pose), strict=True)),
        "size": _plain(shown.size),
        "fingers": dict(zip(hand.FINGERS, _plain(shown.fingers), strict=True)),
        "center_xyz": _plain(center),
        "joints_xyz": dict(zip(_JOINTS.joints, _plain(now.joints), strict=True)),
        "depth_image": {
            "width": PIXELS,
            "height": PIXELS,
            "unit_mm": 1.0,
            "camera": [k[0, 0], k[1, 1], k[0, 2], k[1, 2]],
        },
        "units": "rad; mm of the camera: x right, y down, z forward; camera: fx fy cx cy, px",
    }
    return (json.dumps(told, indent=1) + "\n").encode()


def _plain(values):
    """As short as float32 allows."""
    return np.vectorize(lambda value: float(np.format_float_positional(np.float32(value))))(
        np.asarray(values)
    ).tolist()


def depth_png(depth: Float[np.ndarray, "h w"]) -> bytes:
    """16 bits, whole mm, 0 = nothing."""
    return cv2.imencode(".png", np.rint(depth).astype(np.uint16))[1].tobytes()


def mesh_obj(vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> bytes:
    """Of the skin as it is posed."""
    text = io.StringIO()
    text.write("# mm of the camera: x right, y down, z forward\n")
    np.savetxt(text, vertices, "v %.3f %.3f %.3f")
    np.savetxt(text, np.asarray(faces) + 1, "f %d %d %d")
    return text.getvalue().encode()
