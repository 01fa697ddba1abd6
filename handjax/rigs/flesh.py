"""Flesh on the bones of the hand's skin: thicker, thinner, hollow and uneven hands of one rig.

The spheres of the rig make a stout hand: at the size of an average man's (0.82) the middle of the
index finger is 25 mm wide and the palm 45 mm thick, and palm and back are alike. Of British adults
the finger is 21 mm wide (women 18), the palm 33 mm thick (28; Pheasant 1996, "Bodyspace").
`skin_offsets` moves the skin; the joints stay.
"""

import functools
import itertools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Float64

from handjax.rigs import hand, skinning
from handjax.rigs.skin_weights import HAND_LINKS

PARTS = np.array([int(bone < 2) for bone in hand.HAND.sphere_bones])  # sphere → 0 finger, 1 palm
BUMPS = 16  # waves that make a surface uneven
_BUMP_MM = (28.0, 90.0)  # their wavelengths
# How far a thinner palm is thinner: from the knuckles to the wrist, by the model's x.
_PALM_MM, _PALM_SHARES = (5.0, 30.0, 80.0, 110.0, 130.0), (0.65, 1.0, 1.0, 0.6, 0.3)
# Shapes of the surface: (spheres it is around, mm of deviation, mm of the outermost point, side of
# the hand: 1 palm, -1 back). Heights are those of the rig's size, and negative ones are hollows.
SHAPES = {
    "palm_hollow": ((4, 2), 20.0, -5.0, 1),
    "little_side": ((7, 8, 0), 15.0, 5.0, 1),
    "ball_of_the_thumb": ((36, 35), 14.0, 4.0, 1),
    "knuckles": ((12, 18, 24, 30), 7.0, 3.0, -1),
    "middle_joints": ((14, 20, 26, 32, 38), 6.0, 2.0, 0),
    "pulps": ((15, 21, 27, 33), 7.0, 2.0, 1),
}


class Flesh(NamedTuple):
    """What a hand's surface is like; ones and zeros are the skin itself."""

    fingers: Float[Array, "*b 5"]  # thickness of each of hand.FINGERS, relative to the skin's
    palm: Float[Array, "*b"]  # thickness of the palm in its middle
    breadth: Float[Array, "*b"]  # of the palm
    shapes: Float[Array, "*b 6"]  # how much of each of SHAPES
    bumps: Float[Array, "*b k"]  # mm of the rig's size: amplitude of each of BUMPS waves


def skin_offsets(skin: skinning.Skin, flesh: Flesh) -> Float[Array, "*b v 3"]:
    """What `skinning.skin_vertices` adds to the vertices in the bind pose, mm."""
    basis = jnp.asarray(_basis(skin))
    amounts = jnp.concatenate(
        [
            flesh.fingers - 1,
            (flesh.palm - 1)[..., None],
            (flesh.breadth - 1)[..., None],
            flesh.shapes,
            flesh.bumps,
        ],
        axis=-1,
    )
    moved = jnp.einsum("...k,kn->...n", amounts, basis.reshape(len(basis), -1))
    return moved.reshape(*amounts.shape[:-1], -1, 3)


def of_thickness(thickness: Float[Array, "2"]) -> Flesh:
    """A hand like the skin but for the `thickness` of its fingers and of its palm."""
    fingers, palm = thickness
    none = jnp.zeros(len(SHAPES)), jnp.zeros(BUMPS)
    return Flesh(jnp.full(5, fingers), palm, jnp.ones(()), *none)


def joint_thickness(flesh: Flesh) -> Float[Array, "*b 21"]:
    """Flesh around each joint of skeleton "hand21", relative to the rig's."""
    thumb, others = flesh.fingers[..., 4:], flesh.fingers[..., :4]
    return jnp.concatenate(
        [flesh.palm[..., None], jnp.repeat(jnp.concatenate([thumb, others], -1), 4, axis=-1)], -1
    )


@functools.cache
def _basis(skin: skinning.Skin) -> Float32[np.ndarray, "k v 3"]:
    """Offsets, mm, of a unit of each number of `Flesh`."""
    transforms = np.linalg.inv(skin.unbind.astype(np.float64))
    rest = np.c_[np.array(hand.HAND.sphere_centers), np.ones(len(hand.HAND.sphere_centers))]
    centers = np.einsum("sij,sj->si", transforms[list(hand.HAND.sphere_bones)], rest)[:, :3]
    vertices = skin.vertices.astype(np.float64)
    normals = skinning.vertex_normals(skin).astype(np.float64)
    shares = _finger_shares(skin)
    out = np.array([0.0, 0.0, 1.0])  # of the palm; the bind pose moves the fingers alone

    fingers = [
        shares[:, i, None] * (vertices - _nearest(vertices, centers, itertools.pairwise(chain)))
        for i, chain in enumerate(HAND_LINKS.fingers)
    ]
    palm = (1 - shares.sum(1))[:, None]
    inside = _nearest(vertices, centers, HAND_LINKS.palm)
    fade = np.interp(vertices[:, 0], _PALM_MM, _PALM_SHARES)[:, None]
    thickness = palm * fade * (vertices - inside) * out
    middle = centers[[0, 1, 2]].mean(0)
    # The roots of the fingers stay where they are: their joints do.
    breadth = palm * (vertices - middle) * np.array([0.0, 1.0, 0.0])

    shapes = []
    palmar = _palmar(skin, normals)
    for around, deviation, height, side in SHAPES.values():
        radii = np.array(hand.HAND.sphere_radii)[list(around)]
        apart = np.linalg.norm(vertices[:, None] - centers[None, list(around)], axis=-1)
        beyond = np.maximum(apart - radii, 0.0)
        near = np.exp(-0.5 * (beyond / deviation) ** 2).max(1)
        facing = np.clip(side * palmar, 0.0, 1.0) if side else np.ones(len(vertices))
        shapes.append((height * near * facing)[:, None] * normals)
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(BUMPS, 3))
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    lengths = np.geomspace(*_BUMP_MM, BUMPS)
    phases = rng.uniform(0, 2 * np.pi, BUMPS)
    waves = np.sin(2 * np.pi * vertices @ directions.T / lengths + phases)
    bumps = [wave[:, None] * normals for wave in waves.T]
    return np.stack([*fingers, thickness, breadth, *shapes, *bumps]).astype(np.float32)


def _finger_shares(skin: skinning.Skin) -> Float64[np.ndarray, "v 5"]:
    """How far each vertex belongs to each of hand.FINGERS."""
    weights = skin.weights.astype(np.float64)
    return np.stack([weights[:, 2 + 3 * i : 5 + 3 * i].sum(1) for i in range(5)], axis=-1)


def _palmar(skin: skinning.Skin, normals: Float64[np.ndarray, "v 3"]) -> Float64[np.ndarray, " v"]:
    """1 where the surface faces as the palm does, -1 as the back, whatever the fingers' angles."""
    turn = skin.unbind[:, :3, :3].astype(np.float64)
    frames = np.array(hand.HAND.rest)[:, :3, :3]
    # Fingers bend about the x axis of their bones, towards z.
    local = np.einsum("nji,njk,vk->vni", frames, turn, normals)
    return (skin.weights * local[..., 2]).sum(-1)


def _nearest(
    points: Float64[np.ndarray, "v 3"],
    centers: Float64[np.ndarray, "s 3"],
    pairs,
) -> Float64[np.ndarray, "v 3"]:
    """The nearest point of the segments between `pairs` of centers."""
    found = []
    for i, j in pairs:
        axis = centers[j] - centers[i]
        along = np.clip((points - centers[i]) @ axis / (axis @ axis), 0.0, 1.0)
        found.append(centers[i] + along[:, None] * axis)
    stacked = np.stack(found, axis=1)
    best = np.linalg.norm(points[:, None] - stacked, axis=-1).argmin(1)
    return stacked[np.arange(len(points)), best]
