"""A hand on an arm, with a person, things, walls and another hand around, and how it is rendered.

What `camera_world` draws its samples from, before a sensor sees it.
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
from handjax.rigs import flesh as fleshes
from handjax.rigs import hand, poses, skinning
from handjax.rigs.flesh import Flesh
from handjax.synthetic import render, surroundings
from handjax.synthetic.draws import Draws
from handjax.synthetic.surroundings import Shares

Share = float | Float[Array, ""]  # 0 to 1: how often

ADULT_AND_CHILD = (0.68, 1.02)  # size of hands, relative to the model's
# Hands that people show are mostly open: 40 % of these are, 18 % of `poses.ALL_MODES`.
SHOWN = (*poses.ALL_MODES, *("straight", "open") * 2)
_WIDER = 0.5  # how much farther than in `poses.natural` spread fingers may be apart


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
    frontal: Share = 0.35,
    upright: Share = 0.0,
    stretch: float = 0.07,
    fingers: poses.Range = (0.9, 1.12),
    modes: tuple[str, ...] = SHOWN,
) -> DrawnHand:
    """A random hand, left with probability `left`: `scale` relative to the model, each axis by up
    to `stretch` and each finger by `fingers` more or less. A share `frontal` is held out to the
    camera within 60 degrees, palm or back, a third of these within 20; the others point in every
    direction alike. A share `upright` is then turned about the optical axis until it points up,
    give or take 15 degrees."""
    pose_key, build_key = random.split(key)
    draws = Draws(build_key, 70)
    pose = poses.natural(poses.sample_pose(pose_key, modes=modes), draws.uniform(14))
    spread = jnp.array(poses.SPREAD)
    wider = jnp.where(pose[spread[0]] > 0, 1 + _WIDER * draws.uniform(), 1.0)
    pose = pose.at[spread].multiply(wider)
    u, axes = draws.uniform(10), 1 + stretch * (2 * draws.uniform(3) - 1)
    sizes = fingers[0] + (fingers[1] - fingers[0]) * draws.uniform(5)
    turn = jnp.pi * (2.0 * u[:3] - 1.0)
    turn = turn.at[1].set(jnp.arcsin(2.0 * u[1] - 1.0))
    # ROTATION_FRONTAL's middle, turned by half a circle for the back of the hand.
    tilt = 2.0 * u[3:6] - 1.0
    tilt = tilt.at[:2].multiply(jnp.abs(tilt[:2]))
    palm = jnp.array([jnp.pi, 0.0, jnp.pi / 2]) + tilt
    palm = palm.at[0].add(jnp.where(u[6] < 0.5, jnp.pi, 0.0))
    pose = pose.at[:3].set(jnp.where(u[7] < frontal, palm, turn)).at[3:6].set(0.0)
    size = scale[0] + (scale[1] - scale[0]) * u[8]
    side = jnp.where(u[9] < left, -1.0, 1.0)
    flesh = draw_flesh(draws)
    drawn = posed_hand(pose, size, axes, sizes, side, skin, flesh)
    level = jnp.deg2rad(15.0) * draws.normal() - look_at.roll(drawn.joints)
    return drawn.rolled(jnp.where(draws.uniform() < upright, level, 0.0))


def draw_flesh(draws: Draws) -> Flesh:
    """What people's hands are like: mostly thinner than the skin of the rig (rigs/flesh.py), the
    fingers of one hand alike, more or less hollow, knotted and uneven."""
    u = draws.uniform(10)
    stout = (u[0] + u[1]) / 2
    fingers = 0.57 + 0.4 * stout + 0.1 * (u[2:7] - 0.5)
    palm = 0.53 + 0.36 * stout + 0.14 * (u[7] - 0.5)
    breadth = 0.93 + 0.14 * u[8]
    bumps = 0.45 * u[9] * draws.normal(fleshes.BUMPS)
    return Flesh(fingers, palm, breadth, 1.3 * draws.uniform(len(fleshes.SHAPES)), bumps)


def posed_hand(
    pose: Float[Array, "26"],
    size: Float[Array, ""],
    axes: Float[Array, "3"],
    fingers: Float[Array, "5"],
    side: Float[Array, ""],
    skin: skinning.Skin,
    flesh: Flesh,
) -> DrawnHand:
    """The hand of a pose (`hand.POSE_NAMES`): `size` relative to the model, along each axis by
    `axes` more, and each finger by `fingers`; `side` -1 is a left hand."""
    build, zero = (size * axes, fingers, side), jnp.zeros(3)
    _, radii, joints = render.hand_in_camera(pose, zero, "hand21", *build)
    offsets = fleshes.skin_offsets(skin, flesh)
    vertices = render.skin_in_camera(skin, pose, zero, *build, offsets)
    own = jnp.asarray(hand.JOINT_SPHERES["hand21"])
    radii = radii[own] * fleshes.joint_thickness(flesh)
    return DrawnHand(vertices, joints, radii, side, size)


class HandScene(NamedTuple):
    hand: DrawnHand
    second: DrawnHand
    has_second: Bool[Array, ""]
    vertices: Float[Array, "v 3"]  # of both hands, then of what is around them
    planes: Float[Array, "2 4"]
    folds: Float[Array, "f 5"]  # of what is around the hands

    def moved(self, by: Float[Array, "3"]) -> "HandScene":
        """All of it elsewhere; a plane that the camera would be behind is gone."""
        normals, offsets = self.planes[:, :3], self.planes[:, 3]
        further = jnp.maximum(offsets + jnp.matmul(normals, by, precision="highest"), 0.0)
        offsets = jnp.where(offsets > 0, further, 0.0)
        return self._replace(
            hand=self.hand.at(self.hand.joints.mean(0) + by),
            second=self.second.at(self.second.joints.mean(0) + by),
            vertices=self.vertices + by[None],
            planes=jnp.concatenate([normals, offsets[:, None]], axis=-1),
        )


def beside_hands(
    scene: HandScene, hands: int, number: Float[Array, ""]
) -> tuple[Float[Array, "3"], Bool[Array, ""]]:
    """A point of what is around the hands, whose vertices come first, 90 to 450 mm from the first
    and not on the second; and whether there is one. `number`, uniform, says which."""
    points = scene.vertices[hands:]
    apart = jnp.linalg.norm(points - scene.hand.joints.mean(0)[None], axis=-1)
    other = jnp.linalg.norm(points - scene.second.joints.mean(0)[None], axis=-1)
    fit = (apart > 90.0) & (apart < 450.0) & ((other > 110.0) | ~scene.has_second)
    count = jnp.cumsum(fit.astype(jnp.float32))
    return points[jnp.argmax(count > number * count[-1])], fit.any()


def draw_scene(
    key: PRNGKeyArray,
    draws: Draws,
    position: Float[Array, "3"],
    left: float,
    gone: Bool[Array, ""],
    skin: skinning.Skin,
    shares: Shares,
    scale: poses.Range,
    frontal: Share,
    upright: Share,
) -> HandScene:
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
    folds = surroundings.folds(draws)
    return HandScene(first, second, has_second, jnp.concatenate(vertices), planes, folds)


def render_scene(
    scene: HandScene, k: Float[Array, "3 3"], height: int, width: int, skin: skinning.Skin
) -> Float[Array, "h w"]:
    """Depth without a sensor's effects, mm; 0 where nothing is."""
    screen = to_screen(scene.vertices, k, projection="pinhole", interpolation="perspective")
    depth, face = rasterize(screen, _faces(skin), height, width, near=1.0)
    rays = pinhole.pixel_rays(k, height, width).reshape(height, width, 3)
    depth = surroundings.fold_depth(depth, rays, scene.folds, face >= 2 * len(skin.faces))
    for i in range(2):
        depth = surroundings.plane_depth(depth, rays, scene.planes[i])
    return depth


def _faces(skin: skinning.Skin) -> np.ndarray:
    """Triangles of two hands and what is around them."""
    count = len(skin.vertices)
    return np.concatenate([skin.faces, skin.faces + count, surroundings.faces() + 2 * count])


def visible_joints(
    one: DrawnHand, clean: Float[Array, "h w"], k: Float[Array, "3 3"]
) -> Bool[Array, "21"]:
    uvd = pinhole.xyz_to_uvd(one.joints, k)
    return render.visible_in_depth(uvd, clean, clean > 0, one.radii)
