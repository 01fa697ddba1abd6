"""Hands as a depth camera sees them in use: on an arm, with a person, things and walls around, in
every direction, through the effects of a sensor. A random key in, one labelled sample out.

`crop_sample` is the crop around one hand, `frame_sample` a whole image with several or none. Both
are drawn on the device without limit, and no file is read.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import random
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from handjax.ops.rasterize import rasterize, to_screen
from handjax.pose import geometry, look_at, pinhole
from handjax.pose.look_at import CROP_MM, FRAME_FOCAL, FRAME_SIZE
from handjax.rigs import hand, poses, skinning
from handjax.synthetic import depth_cameras, render, surroundings
from handjax.synthetic.draws import Draws
from handjax.synthetic.surroundings import USUAL, Shares

Share = float | Float[Array, ""]

NEAR_MM, FAR_MM = 100.0, 8000.0  # what a sensor can measure
_SENSOR_FOCAL = (200.0, 640.0)  # px: from a wide 320 x 240 to a narrow 640 x 480 image
ADULT_AND_CHILD = (0.68, 1.02)  # size of hands, relative to the model's

_NUMBERS = 160  # uniform numbers of a sample


class DrawnHand(NamedTuple):
    """A posed hand at the origin of its own frame, and what is needed to place it."""

    vertices: Float[Array, "v 3"]
    joints: Float[Array, "21 3"]  # hand21, mm
    radii: Float[Array, "21"]  # of the flesh around each joint, mm
    side: Float[Array, ""]  # -1 left, 1 right
    size: Float[Array, ""]  # relative to the model

    def rolled(self, angle: Float[Array, ""]) -> "DrawnHand":
        """Turned about the optical axis."""
        turn = geometry.rotation_z(angle)
        return self._replace(
            vertices=geometry.map_points(turn, self.vertices),
            joints=geometry.map_points(turn, self.joints),
        )

    def at(self, position: Float[Array, "3"]) -> "DrawnHand":
        """Moved so that the mean of its joints is at `position`."""
        shift = (position - self.joints.mean(0))[None]
        return self._replace(vertices=self.vertices + shift, joints=self.joints + shift)


def draw_hand(
    key: PRNGKeyArray,
    left: Float[Array, ""] | float,
    *,
    skin: skinning.Skin,
    scale: poses.Range = ADULT_AND_CHILD,
    frontal: float = 0.35,
    upright: float = 0.0,
    stretch: float = 0.07,
    fingers: poses.Range = (0.9, 1.12),
    modes: tuple[str, ...] = poses.ALL_MODES,
) -> DrawnHand:
    """A random hand, left with probability `left`: `scale` relative to the model, each axis by up
    to `stretch` and each finger by `fingers` more or less. A share `frontal` is held out to the
    camera within 60 degrees, palm or back; the others point in every direction alike. A share
    `upright` is then turned about the optical axis until it points up, give or take 15 degrees."""
    pose_key, build_key = random.split(key)
    draws = Draws(build_key, 26)
    pose = poses.natural(poses.sample_pose(pose_key, modes=modes), draws.uniform(6))
    u, axes = draws.uniform(10), 1 + stretch * (2 * draws.uniform(3) - 1)
    sizes = fingers[0] + (fingers[1] - fingers[0]) * draws.uniform(5)
    turn = jnp.pi * (2.0 * u[:3] - 1.0)
    turn = turn.at[1].set(jnp.arcsin(2.0 * u[1] - 1.0))
    # ROTATION_FRONTAL's middle, turned by half a circle for the back of the hand.
    palm = jnp.array([jnp.pi, 0.0, jnp.pi / 2]) + (2.0 * u[3:6] - 1.0)
    palm = palm.at[0].add(jnp.where(u[6] < 0.5, jnp.pi, 0.0))
    pose = pose.at[:3].set(jnp.where(u[7] < frontal, palm, turn)).at[3:6].set(0.0)
    size = scale[0] + (scale[1] - scale[0]) * u[8]
    side = jnp.where(u[9] < left, -1.0, 1.0)
    build, zero = (size * axes, sizes, side), jnp.zeros(3)
    _, radii, joints = render.hand_in_camera(pose, zero, "hand21", *build)
    vertices = render.skin_in_camera(skin, pose, zero, *build)
    own = jnp.asarray(hand.JOINT_SPHERES["hand21"])
    drawn = DrawnHand(vertices, joints, radii[own], side, size)
    level = jnp.deg2rad(15.0) * draws.normal() - look_at.roll(joints)
    return drawn.rolled(jnp.where(draws.uniform() < upright, level, 0.0))


def crop_sample(
    key: PRNGKeyArray,
    *,
    skin: skinning.Skin | None = None,
    image_size: int = 64,
    distance_mm: poses.Range = (250.0, 1200.0),
    shift_mm: tuple[float, float] = (10.0, 30.0),
    none: Share = 0.1,
    left: Share = 0.08,
    shares: Shares = USUAL,
    sensors: tuple[str, ...] = tuple(depth_cameras.KINDS),
    frontal: float = 0.35,
    upright: float = 0.6,
    scale: poses.Range = ADULT_AND_CHILD,
) -> dict[str, Array]:
    """The crop around a right hand, as one row of a Batch; a function of the key.

    depth [h, w] mm, 0 not measured; k [3, 3] of the crop, whose camera looks at its middle,
    center_xyz = (0, 0, distance); joints_xyz [21, 3] mm of that camera; visible [21]; cube_mm [3];
    right []: whether a right hand of which at least five joints can be seen is within 70 mm of the
    middle, and labelled [21] the same for every joint.

    The middle is off the mean of the joints by `shift_mm` deviation, the smaller in two of three
    samples. A share `none` has no hand there, but its arm, a person or things, or has it 90 to
    220 mm aside; a share `left` is a left hand.
    """
    skin = skin or skinning.hand_skin()
    hand_key, draw_key, sensor_key = random.split(key, 3)
    draws = Draws(draw_key, _NUMBERS)
    u = draws.uniform(9)
    z = distance_mm[0] * (distance_mm[1] / distance_mm[0]) ** u[0]
    middle = jnp.stack([jnp.zeros(()), jnp.zeros(()), z])
    k = look_at.crop_camera(z, image_size)

    # --- where
    spread = jnp.where(u[1] < 0.67, shift_mm[0], shift_mm[1])
    shift = spread * jnp.clip(draws.normal(3), -2.2, 2.2)
    nothing = u[2] < none
    gone = nothing & (u[3] < 0.6)
    direction = draws.normal(3)
    aside = direction / jnp.linalg.norm(direction) * (90.0 + 130.0 * u[4])
    shift = jnp.where(nothing & ~gone, aside, shift)

    # --- depth
    scene = _scene(
        hand_key, draws, middle + shift, 0.0, gone, skin, shares, scale, frontal, upright
    )
    clean = _render(scene, k, image_size, image_size, skin)
    placed = scene.hand
    visible = _visible(placed, clean, k)
    depth = _sense(sensor_key, draws, clean, k, sensors)
    depth = _cut(depth, u[6], u[7])

    # --- side: a left hand is the mirror image
    mirrored = u[5] < left
    depth = jnp.where(mirrored, depth[:, ::-1], depth)
    right = ~nothing & (visible.sum() >= 5) & ~mirrored
    mirror = jnp.where(mirrored, jnp.array([-1.0, 1.0, 1.0]), jnp.ones(3))
    return {
        "depth": depth,
        "k": k,
        "joints_xyz": placed.joints * mirror[None],
        "visible": visible,
        "right": right,
        "labelled": jnp.broadcast_to(right, (21,)),
        "center_xyz": middle,
        "cube_mm": jnp.full(3, CROP_MM),
    }


def frame_sample(
    key: PRNGKeyArray,
    *,
    skin: skinning.Skin | None = None,
    distance_mm: poses.Range = (250.0, 1200.0),
    none: Share = 0.15,
    shares: Shares = USUAL,
    sensors: tuple[str, ...] = tuple(depth_cameras.KINDS),
    frontal: float = 0.35,
    scale: poses.Range = ADULT_AND_CHILD,
) -> dict[str, Array]:
    """A whole depth image with up to two hands, as one row of a Batch; a function of the key.

    depth [80, 96] mm; k [3, 3], a focal length of 64 px; hands [2, 3]: the mean of the joints of
    each, mm; sides [2]: -1 left, 1 right; present [2]: whether it is there, its middle in the
    image, and at least five joints can be seen; sizes [2], relative to the model.
    """
    height, width = FRAME_SIZE
    skin = skin or skinning.hand_skin()
    hand_key, draw_key, sensor_key = random.split(key, 3)
    draws = Draws(draw_key, _NUMBERS)
    u = draws.uniform(4)
    z = distance_mm[0] * (distance_mm[1] / distance_mm[0]) ** u[0]
    k = look_at.centered_camera(jnp.asarray(FRAME_FOCAL), height, width)
    at = jnp.stack([(u[1] - 0.5) * width, (u[2] - 0.5) * height]) * 0.9
    position = jnp.concatenate([at * z / FRAME_FOCAL, z[None]])
    gone = u[3] < none
    scene = _scene(hand_key, draws, position, 0.5, gone, skin, shares, scale, frontal, 0.0)
    clean = _render(scene, k, height, width, skin)
    depth = _sense(sensor_key, draws, clean, k, sensors)

    def seen(one: DrawnHand) -> Array:
        middle = pinhole.project(one.joints.mean(0)[None], k)[0]
        inside = (middle >= 0).all() & (middle[0] < width) & (middle[1] < height)
        return (_visible(one, clean, k).sum() >= 5) & inside & (one.joints[:, 2].min() > NEAR_MM)

    hands = (scene.hand, scene.second)
    return {
        "depth": depth,
        "k": k,
        "hands": jnp.stack([one.joints.mean(0) for one in hands]),
        "sides": jnp.stack([one.side for one in hands]),
        "sizes": jnp.stack([one.size for one in hands]),
        "present": jnp.stack([~gone & seen(hands[0]), scene.has_second & seen(hands[1])]),
    }


class _Scene(NamedTuple):
    hand: DrawnHand
    second: DrawnHand
    has_second: Bool[Array, ""]
    vertices: Float[Array, "v 3"]  # of both hands, then of what is around them
    planes: Float[Array, "2 4"]


def _scene(
    key: PRNGKeyArray,
    draws: Draws,
    position: Float[Array, "3"],
    left: float,
    gone: Bool[Array, ""],
    skin: skinning.Skin,
    shares: Shares,
    scale: poses.Range,
    frontal: float,
    upright: float,
) -> _Scene:
    """A hand at `position`, left with probability `left`, another one beside it, and what is around
    them. `gone`: without the first hand."""
    draw = partial(draw_hand, skin=skin, scale=scale, frontal=frontal, upright=upright)
    both = jax.vmap(draw)(random.split(key), jnp.array([left, 0.5]))
    first, second = (jax.tree.map(lambda x, i=i: x[i], both) for i in range(2))
    first = first.at(position)
    u, beside = draws.uniform(2), draws.normal(3) * jnp.array([1.0, 1.0, 0.6])
    beside = beside / jnp.linalg.norm(beside) * (100.0 + 320.0 * u[0])
    second, has_second = second.at(position + beside), u[1] < shares.second
    palms = [surroundings.palm_frame(one.joints, one.side, one.size) for one in (first, second)]
    vertices = [
        jnp.where(gone, surroundings.AWAY[None], first.vertices),
        jnp.where(has_second, second.vertices, surroundings.AWAY[None]),
        surroundings.surround(draws, palms[0], palms[1], shares, has_second),
    ]
    planes = surroundings.planes(draws, first.joints, shares)
    return _Scene(first, second, has_second, jnp.concatenate(vertices), planes)


def _render(
    scene: _Scene, k: Float[Array, "3 3"], height: int, width: int, skin: skinning.Skin
) -> Float[Array, "h w"]:
    """Depth without a sensor's effects, mm; 0 where nothing is."""
    screen = to_screen(scene.vertices, k, projection="pinhole", interpolation="perspective")
    depth, _ = rasterize(screen, _faces(skin), height, width, near=1.0)
    rays = pinhole.pixel_rays(k, height, width).reshape(height, width, 3)
    for i in range(2):
        depth = surroundings.plane_depth(depth, rays, scene.planes[i])
    return depth


def _faces(skin: skinning.Skin) -> np.ndarray:
    """Triangles of two hands and what is around them."""
    count = len(skin.vertices)
    return np.concatenate([skin.faces, skin.faces + count, surroundings.faces() + 2 * count])


def _visible(
    one: DrawnHand, clean: Float[Array, "h w"], k: Float[Array, "3 3"]
) -> Bool[Array, "21"]:
    uvd = pinhole.xyz_to_uvd(one.joints, k)
    return render.visible_in_depth(uvd, clean, clean > 0, one.radii)


def _sense(key, draws, clean, k, sensors):
    """The depth image of a camera of one of the kinds `sensors`."""
    if not sensors:
        return clean
    low, high = _SENSOR_FOCAL
    resolution = (low + (high - low) * draws.uniform()) / k[0, 0]
    effects = depth_cameras.draw_effects(draws, sensors)
    depth = depth_cameras.measure(key, clean, k, resolution, effects)
    return jnp.where((depth > NEAR_MM) & (depth < FAR_MM), depth, 0.0)


def _cut(depth, which, part):
    """One crop in twelve reaches over the edge of the image, by up to a third; `which` and `part`
    are uniform numbers."""
    height, width = depth.shape
    part = jnp.where(which < 1 / 12, part / 3, 0.0)
    side = jnp.floor(which * 48)  # 0 to 3
    v, u = (jnp.arange(n, dtype=depth.dtype) / n for n in (height, width))
    v, u = v[:, None], u[None]
    across = jnp.where(side < 2, jnp.broadcast_to(v, depth.shape), jnp.broadcast_to(u, depth.shape))
    at = jnp.where((side == 0) | (side == 2), across, 1 - across)
    return jnp.where(at < part, 0.0, depth)
