"""What stands around a hand before a depth camera: its arm, a person, another hand, objects, walls.

Shapes are round cones and boxes, all triangles of one mesh, and planes. Nothing is read from a
file. Frames are those of the camera: x right, y down, z forward, mm.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int32

from handjax.pose import geometry
from handjax.synthetic.cones import cone_faces, cone_surfaces
from handjax.synthetic.draws import Draws

_CONES = 13  # forearm 2, sleeve, upper arm, trunk 3, head 2, things 3, another hand's arm
_BOXES = 2
_FOLDS = 6
_UNSEEN_HAIR = 0.3  # share of heads whose hair sends no light back: without their upper half
# mm: where things are that are absent. Out of every view, and in front of the camera, since
# triangles behind it are compared with every pixel.
AWAY = np.array([1e6, 1e6, 1e3], np.float32)
_BOX = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float32)
_BOX_FACES = np.array(
    [
        *([0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1]),
        *([2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]),
    ],
    np.int32,
)


class Shares(NamedTuple):
    """How often each thing is there, 0 to 1."""

    forearm: float = 0.95
    sleeve: float = 0.4
    body: float = 0.6
    things: float = 0.3  # each of five
    held: float = 0.15  # one of them in the hand
    wall: float = 0.8
    table: float = 0.35
    second: float = 0.25  # another hand


USUAL, NOTHING = Shares(), Shares(*(0.0,) * len(Shares._fields))


class Palm(NamedTuple):
    """Frame of a hand: its wrist, unit vectors to the fingers, to the thumb's side and out of the
    palm, and the hand's size relative to the model."""

    wrist: Float[Array, "3"]
    forward: Float[Array, "3"]
    across: Float[Array, "3"]
    out: Float[Array, "3"]
    size: Float[Array, ""]


def palm_frame(
    joints_xyz: Float[Array, "21 3"], side: Float[Array, ""], size: Float[Array, ""]
) -> Palm:
    """The palm of a hand of skeleton "hand21"; `side` -1 is a left hand."""
    wrist, index, middle, little = (joints_xyz[i] for i in (0, 5, 9, 17))
    forward = _unit(middle - wrist)
    across = _unit(index - little)
    return Palm(wrist, forward, across, side * _unit(jnp.cross(forward, across)), size)


def surround(
    draws: Draws, palm: Palm, second: Palm, shares: Shares, has_second: Bool[Array, ""]
) -> Float[Array, "v 3"]:
    """Vertices of the triangles `faces()`, camera mm, around the hand of `palm`.

    The forearm leaves the wrist with a bend of up to 70 degrees, oval as two cones. Of a hand that
    points away from the camera the person is behind the camera, else behind the elbow.
    """
    ends, radii = zip(
        *_arm_and_person(draws, palm, shares),
        *_things(draws, palm, shares),
        _other_arm(draws, second, has_second),
        strict=True,
    )
    cones, _ = cone_surfaces(jnp.stack(ends), jnp.stack(radii))
    return jnp.concatenate([cones, _boxes(draws, palm, shares)])


def faces() -> Int32[np.ndarray, "f 3"]:
    """Triangles of `surround`."""
    cones = cone_faces(_CONES)
    first = cones.max() + 1
    boxes = [_BOX_FACES + first + 8 * i for i in range(_BOXES)]
    return np.concatenate([cones, *boxes]).astype(np.int32)


def planes(draws: Draws, points: Float[Array, "p 3"], shares: Shares) -> Float[Array, "2 4"]:
    """A wall and a table behind all `points`, as (n, d): n · x = d; d = 0 for one that is absent.

    The wall is 60 mm to 2.5 m behind the points and turned by up to 45 degrees; the table touches
    them or is at most 120 mm away, in any direction from which the camera sees its front.
    """
    u, normals = draws.uniform(4), draws.normal(2, 3)
    wall = _unit(jnp.array([0.0, 0.0, 1.6]) + jnp.clip(normals[0], -1, 1) * 0.8)
    table = _unit(normals[1] * jnp.array([1.0, 1.0, 0.7]) + jnp.array([0.0, 0.4, 0.5]))
    table = table * jnp.where(table[2] > 0, 1.0, -1.0)
    n = jnp.stack([wall, table])
    gaps = jnp.stack([60.0 * (2500.0 / 60.0) ** u[0], 2.0 + 120.0 * u[1] ** 2])
    behind = jnp.max(jnp.matmul(points, n.T, precision="highest"), axis=0) + gaps
    there = jnp.stack([u[2] < shares.wall, u[3] < shares.table])
    return jnp.concatenate([n, jnp.where(there, behind, 0.0)[:, None]], axis=-1)


def plane_depth(
    depth: Float[Array, "h w"], rays: Float[Array, "h w 3"], plane: Float[Array, "4"]
) -> Float[Array, "h w"]:
    """`depth` (0: nothing) with a plane behind or before what is there."""
    slope = rays[..., 0] * plane[0] + rays[..., 1] * plane[1] + plane[2]
    at = plane[3] / jnp.where(jnp.abs(slope) < 1e-3, 1e-3, slope)
    seen = (at > 50.0) & (at < 8000.0) & (plane[3] > 0)
    nearer = seen & ((depth == 0) | (at < depth))
    return jnp.where(nearer, at, depth)


def folds(draws: Draws) -> Float[Array, "f 5"]:
    """Waves that make clothes, faces and things uneven: rad per mm along x, y, z; phase; mm. A wave
    of 40 to 250 mm is up to a thirteenth of its length high: folds, not spikes."""
    directions, u = draws.normal(_FOLDS, 3), draws.uniform(_FOLDS, 2)
    lengths = jnp.asarray(np.geomspace(40.0, 250.0, _FOLDS), jnp.float32)
    rates = directions / (jnp.linalg.norm(directions, axis=-1, keepdims=True) + 1e-6)
    rates = rates * (2 * jnp.pi / lengths)[:, None]
    heights = lengths / 13.0 * u[:, 1] * draws.uniform()
    return jnp.concatenate([rates, 2 * jnp.pi * u[:, :1], heights[:, None]], axis=-1)


def fold_depth(
    depth: Float[Array, "h w"],
    rays: Float[Array, "h w 3"],
    folds: Float[Array, "f 5"],
    where: Bool[Array, "h w"],
) -> Float[Array, "h w"]:
    """`depth` made uneven by `folds` along the rays, `where` it is of clothes, skin and things."""
    higher = jnp.zeros_like(depth)
    for i in range(_FOLDS):
        slope = rays[..., 0] * folds[i, 0] + rays[..., 1] * folds[i, 1] + folds[i, 2]
        higher = higher + folds[i, 4] * jnp.sin(depth * slope + folds[i, 3])
    return jnp.where(where, jnp.maximum(depth + higher, 1.0), depth)


def _arm_and_person(draws, palm, shares):
    """Ends and radii of nine cones."""
    there, haired = draws.uniform(3), draws.uniform()
    bends = jnp.clip(draws.normal(4), -2.0, 2.0)
    flex, aside = 0.6 * bends[0], 0.25 * bends[1]
    back = -jnp.cos(flex) * palm.forward + jnp.sin(flex) * palm.out
    back = _unit(jnp.cos(aside) * back + jnp.sin(aside) * palm.across)
    s = palm.size
    wrist = palm.wrist
    elbow = wrist + back * s * (240.0 + 15.0 * bends[2])
    thick = s * (1.0 + 0.12 * bends[3])
    arm = there[0] < shares.forearm
    forearm = [
        (
            jnp.stack(
                [wrist + sign * 9.0 * s * palm.across, elbow + sign * 14.0 * s * palm.across]
            ),
            jnp.stack([21.0 * thick, 36.0 * thick]),
        )
        for sign in (-1.0, 1.0)
    ]
    u = draws.uniform(6)
    start = wrist + (elbow - wrist) * (0.03 + 0.8 * u[0])
    loose = s * (44.0 + 30.0 * u[1])
    sleeve = (jnp.stack([start, elbow]), jnp.stack([loose, loose * (1.05 + 0.3 * u[2])]))
    # --- the person
    ahead = back[2] < -0.35  # the elbow is nearer to the camera than the hand: it is his own view
    body = arm & (there[2] < shares.body) & ~ahead
    to_shoulder = _unit(draws.normal(3) * 0.7 + jnp.array([0.0, 0.0, 0.9]))
    shoulder = elbow + to_shoulder * s * 280.0
    up = _unit(
        draws.normal(3) * 0.5 + jnp.where(u[3] < 0.75, 1.0, -1.0) * jnp.array([0.0, -2.0, 0.0])
    )
    lateral = _unit(jnp.cross(up, jnp.array([0.0, 0.0, 1.0])) + 1e-3) * jnp.where(
        u[4] < 0.5, 1.0, -1.0
    )
    deep = jnp.array([0.0, 0.0, 60.0])
    neck = shoulder + lateral * s * 190.0 + deep
    girth = s * (1.0 + 0.35 * (u[5] - 0.3))

    def trunk(across):
        top = shoulder + lateral * s * across + deep
        return jnp.stack([top - up * s * 450.0, top]), girth * jnp.array([130.0, 105.0])

    face = neck + up * s * 170.0
    person = [
        (jnp.stack([elbow, shoulder]), jnp.stack([40.0 * thick, 58.0 * thick])),
        trunk(60.0),
        trunk(190.0),
        trunk(320.0),
        (jnp.stack([neck, face]), s * jnp.array([58.0, 70.0])),
        (jnp.stack([face, face + up * s * 70.0]), s * jnp.array([78.0, 92.0])),
    ]
    return [
        *(_where(arm, cone) for cone in forearm),
        _where(arm & (there[1] < shares.sleeve), sleeve),
        *(_where(body, cone) for cone in person[:-1]),
        _where(body & (haired > _UNSEEN_HAIR), person[-1]),
    ]


def _things(draws, palm, shares):
    """Three round things: the first may be in the hand."""
    u, directions, grasp = draws.uniform(3, 4), draws.normal(3, 2, 3), draws.uniform()
    cones = []
    for i in range(3):
        radius = 8.0 + 60.0 * u[i, 0] ** 2
        at = palm.wrist + 70.0 * palm.size * palm.forward + _offset(directions[i, 0], u[i, 1])
        axis = _unit(directions[i, 1])
        length = 6.0 + 220.0 * u[i, 2] ** 2
        there = u[i, 3] < shares.things
        if not i:
            held = grasp < shares.held
            radius = jnp.where(held, 8.0 + 27.0 * u[i, 0], radius)
            grip = palm.wrist + palm.size * (85.0 * palm.forward + 18.0 * palm.out)
            at = jnp.where(held, grip + palm.out * radius, at)
            axis = jnp.where(held, _unit(palm.across + 0.3 * axis), axis)
            there |= held
        ends = jnp.stack([at - axis * length / 2, at + axis * length / 2])
        cones.append(_where(there, (ends, jnp.stack([radius, radius * 0.9]))))
    return cones


def _boxes(draws, palm, shares):
    u, directions = draws.uniform(_BOXES, 5), draws.normal(_BOXES, 3, 3)
    vertices = []
    for i in range(_BOXES):
        x = _unit(directions[i, 0])
        y = _unit(jnp.cross(x, directions[i, 1]))
        axes = jnp.stack([x, y, jnp.cross(x, y)])
        half = 8.0 + 110.0 * u[i, :3] ** 2
        at = palm.wrist + 70.0 * palm.size * palm.forward + _offset(directions[i, 2], u[i, 3])
        corners = at[None] + jnp.matmul(_BOX * half[None], axes, precision="highest")
        vertices.append(jnp.where(u[i, 4] < shares.things, corners, AWAY[None]))
    return jnp.concatenate(vertices)


def _other_arm(draws, palm, there):
    bend = 0.5 * draws.normal()
    back = _unit(-palm.forward + bend * palm.out)
    ends = jnp.stack([palm.wrist, palm.wrist + back * palm.size * 240.0])
    return _where(there, (ends, palm.size * jnp.array([27.0, 42.0])))


def _offset(direction, u):
    """From the hand to a thing that stands beside, behind or, seldom, before it."""
    far = _unit(direction * jnp.array([1.0, 1.0, 0.8]) + jnp.array([0.0, 0.0, 0.35]))
    return far * (110.0 + 300.0 * u)


def _where(there, cone):
    ends, radii = cone
    away = jnp.asarray(AWAY + np.array([[0, 0, 0], [0, 20, 0]], np.float32))
    return jnp.where(there, ends, away), jnp.where(there, radii, 10.0)


def _unit(v: Float[Array, "3"]) -> Float[Array, "3"]:
    return v / (geometry.safe_norm(v) + 1e-6)
