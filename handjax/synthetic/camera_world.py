"""Hands as a depth camera sees them in use: on an arm, with a person, things and walls around, in
every direction, through the effects of a sensor. A random key in, one labelled sample out.

`crop_sample` is the crop around one hand, `frame_sample` a whole image with several or none,
`image_sample` the same at the size that cameras have. All are drawn on the device without limit,
and no file is read.
"""

from typing import Any

import jax.numpy as jnp
from jax import random
from jaxtyping import Array, PRNGKeyArray

from handjax.pose import look_at, pinhole
from handjax.pose.look_at import CROP_MM, FRAME_FOCAL, FRAME_SIZE
from handjax.rigs import poses, skinning
from handjax.synthetic import depth_cameras
from handjax.synthetic.draws import Draws
from handjax.synthetic.hand_scene import (
    ADULT_AND_CHILD,
    DrawnHand,
    Share,
    beside_hands,
    draw_scene,
    render_scene,
    visible_joints,
)
from handjax.synthetic.surroundings import USUAL, Shares

NEAR_MM, FAR_MM = 100.0, 8000.0  # what a sensor can measure
_SENSOR_FOCAL = (200.0, 640.0)  # px: from a wide 320 x 240 to a narrow 640 x 480 image
_NUMBERS = 200  # uniform numbers of a sample


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
    frontal: Share = 0.35,
    upright: Share = 0.6,
    scale: poses.Range = ADULT_AND_CHILD,
) -> dict[str, Array]:
    """The crop around a right hand, as one row of a Batch; a function of the key.

    depth [h, w] mm, 0 not measured; k [3, 3] of the crop, whose camera looks at its middle,
    center_xyz = (0, 0, distance); joints_xyz [21, 3] mm of that camera; visible [21]; cube_mm [3];
    right []: whether a right hand of which at least five joints can be seen is within 70 mm of the
    middle, and labelled [21] the same for every joint.

    The middle is off the mean of the joints by `shift_mm` deviation, the smaller in two of three
    samples. A share `none` has no hand there: half of these look at a point of its arm, of a person
    or of a thing, the others have it 90 to 220 mm aside or lack it; a share `left` is a left hand.
    """
    skin = skin or skinning.hand_skin()
    hand_key, draw_key, sensor_key = random.split(key, 3)
    draws = Draws(draw_key, _NUMBERS)
    u = draws.uniform(10)
    z = distance_mm[0] * (distance_mm[1] / distance_mm[0]) ** u[0]
    middle = jnp.stack([jnp.zeros(()), jnp.zeros(()), z])
    k = look_at.crop_camera(z, image_size)

    # --- where
    spread = jnp.where(u[1] < 0.67, shift_mm[0], shift_mm[1])
    shift = spread * jnp.clip(draws.normal(3), -2.2, 2.2)
    nothing = u[2] < none
    gone = nothing & (u[3] < 0.3)
    beside = nothing & (u[3] > 0.5)
    direction = draws.normal(3)
    aside = direction / jnp.linalg.norm(direction) * (90.0 + 130.0 * u[4])
    shift = jnp.where(nothing & ~gone, aside, shift)

    # --- depth
    scene = draw_scene(
        hand_key, draws, middle + shift, 0.0, gone, skin, shares, scale, frontal, upright
    )
    point, found = beside_hands(scene, 2 * len(skin.vertices), u[9])
    scene = scene.moved(jnp.where(beside & found, middle - point, jnp.zeros(3)))
    clean = render_scene(scene, k, image_size, image_size, skin)
    placed = scene.hand
    visible = visible_joints(placed, clean, k)
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


def frame_sample(key: PRNGKeyArray, **world: Any) -> dict[str, Array]:
    """`image_sample` as the finder sees it, with its other arguments `world`: depth [80, 96], a
    focal length of 64 px; and instead of joints_xyz hands [2, 3], the means of the joints, mm."""
    row = image_sample(key, image_size=FRAME_SIZE, focal=FRAME_FOCAL, **world)
    joints = row.pop("joints_xyz")
    return {**row, "hands": joints.mean(1)}


def image_sample(
    key: PRNGKeyArray,
    *,
    image_size: tuple[int, int] = (240, 320),
    focal: float = 290.0,
    skin: skinning.Skin | None = None,
    distance_mm: poses.Range = (250.0, 1200.0),
    none: Share = 0.15,
    shares: Shares = USUAL,
    sensors: tuple[str, ...] = tuple(depth_cameras.KINDS),
    frontal: Share = 0.35,
    scale: poses.Range = ADULT_AND_CHILD,
) -> dict[str, Array]:
    """A whole depth image with up to two hands, as one row of a Batch; a function of the key.

    depth [h, w] mm, of a camera of `image_size`, height and width, and of `focal` px; k [3, 3];
    joints_xyz [2, 21, 3] mm; sides [2]: -1 left, 1 right; present [2]: whether it is there, its
    middle in the image, and at least five joints can be seen; sizes [2], relative to the model.
    """
    height, width = image_size
    skin = skin or skinning.hand_skin()
    hand_key, draw_key, sensor_key = random.split(key, 3)
    draws = Draws(draw_key, _NUMBERS)
    u = draws.uniform(4)
    z = distance_mm[0] * (distance_mm[1] / distance_mm[0]) ** u[0]
    k = look_at.centered_camera(jnp.asarray(focal), height, width)
    at = jnp.stack([(u[1] - 0.5) * width, (u[2] - 0.5) * height]) * 0.9
    position = jnp.concatenate([at * z / focal, z[None]])
    gone = u[3] < none
    scene = draw_scene(hand_key, draws, position, 0.5, gone, skin, shares, scale, frontal, 0.0)
    clean = render_scene(scene, k, height, width, skin)
    depth = _sense(sensor_key, draws, clean, k, sensors)

    def seen(one: DrawnHand) -> Array:
        middle = pinhole.project(one.joints.mean(0)[None], k)[0]
        inside = (middle >= 0).all() & (middle[0] < width) & (middle[1] < height)
        return (
            (visible_joints(one, clean, k).sum() >= 5) & inside & (one.joints[:, 2].min() > NEAR_MM)
        )

    hands = (scene.hand, scene.second)
    return {
        "depth": depth,
        "k": k,
        "joints_xyz": jnp.stack([one.joints for one in hands]),
        "sides": jnp.stack([one.side for one in hands]),
        "sizes": jnp.stack([one.size for one in hands]),
        "present": jnp.stack([~gone & seen(hands[0]), scene.has_second & seen(hands[1])]),
    }


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
