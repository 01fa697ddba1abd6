"""People for the body systems: a key in, one labelled colour picture out. Endless, on the device, nothing read from disk.

The person is rigs/body.py's, its round cones dressed in plain colours; light, background and camera are synthetic/shade.py's. One
person alone, without shadows, hands' fingers or folds in the clothes.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import random
from jaxtyping import Array, Float, PRNGKeyArray

from handjax.ops.rasterize import barycentrics, interpolate, rasterize, to_screen
from handjax.pose import geometry
from handjax.pose.skeleton import SKELETONS
from handjax.rigs import body
from handjax.rigs.poses import Range
from handjax.synthetic import render, shade

BOX_MM = 2000.0  # of `fill`: the square about the pelvis in which Sun et al. 2018 look
_AROUND, _CAP = 12, 2  # corners around a cone, and rings of each of its rounded ends
_SLACK_MM = (
    30.0  # a joint is seen where the surface before it is no further than its own flesh and this
)
_FLESH = dict.fromkeys(("pelvis", "torso", "thorax"), 115) | {"neck": 75, "nose": 55, "head": 60}
_FLESH |= {"hip": 110, "knee": 60, "ankle": 45, "shoulder": 75, "elbow": 50, "wrist": 38}
_RADII = tuple(float(_FLESH[joint.split("_")[-1]]) for joint in SKELETONS["body18"].joints)
_WEAVE = 8.0  # how much coarser the pattern of clothes is than that of skin


def body_sample(
    key: PRNGKeyArray,
    *,
    image_size: int = 64,
    samples: int = 2,
    fill: Range = (0.75, 1.0),
    distance_mm: Range = (2500.0, 6000.0),
    aside: float = 0.2,
    scale: Range = (0.85, 1.1),
    length: Range = (0.94, 1.06),
    girth: Range = (0.85, 1.25),
    yaw: Range = (-math.pi, math.pi),
    pitch: Range = (-0.35, 0.25),
    roll: Range = (-0.15, 0.15),
    liveliness: Range = (0.2, 0.8),
    blur_px: Range = (0.0, 0.8),
    noise: Range = (0.0, 0.04),
) -> dict[str, Array]:
    """One person in a colour picture, as one row of a Batch: a function of the key, for jit and vmap.

    image [h, w, 3] sRGB bytes; depth [h, w] mm of the person, 0 where nobody is; mask [h, w]; k [3, 3]; joints_xyz [18, 3]
    camera mm (skeleton "body18"); joints_uv [18, 2] px; visible [18]: in the picture and not hidden by the person.

    A square of 2000 mm at the pelvis takes `fill` of the picture's side and is anywhere in it. `aside` is how far off the
    optical axis the pelvis is, of its distance. `scale` is the person's size, `length` that of each bone beside it, `girth` the
    thickness. The joints turn within body.LIMITS, `liveliness` of the way. Limbs may pass through each other.
    """
    pose_key, place_key, look_key, dress_key, background_key, camera_key = random.split(key, 6)
    ranges = [
        fill,
        distance_mm,
        (-aside, aside),
        (-aside, aside),
        (-1, 1),
        (-1, 1),
        scale,
        girth,
        *[length] * 12,
    ]
    low, high = jnp.asarray(ranges).T
    drawn = random.uniform(place_key, (len(ranges),), minval=low, maxval=high)
    (part, z, x, y, du, dv, size, thick), lengths = drawn[:8], drawn[8:]
    motion = sample_motion(pose_key, yaw, pitch, roll, liveliness)
    figure = body.pose(motion, size, lengths * jnp.asarray(body.ADULT_LENGTHS))
    pelvis = jnp.stack([x * z, y * z, z])
    joints_xyz = body.to_camera(body.points(figure, body.JOINTS)) + pelvis[None]

    focal = part * image_size * z / BOX_MM
    at = (image_size - 1) / 2 + (1 - part) * image_size / 2 * jnp.stack([du, dv])
    k = (
        jnp.diag(jnp.stack([focal, focal, jnp.ones(())]))
        .at[:2, 2]
        .set(at - focal * jnp.stack([x, y]))
    )

    radii = jnp.asarray([cone.radii for cone in body.CONES], jnp.float32) * size * thick
    vertices, normals = cone_surfaces(body.cone_ends(figure) + pelvis[None, None], radii)
    look = shade.random_look(look_key, blur_px, noise)
    background = shade.random_background(background_key, image_size, image_size)
    linear = _picture(
        look, _colours(dress_key, look.tone), background, vertices, normals, k, samples
    )
    depth, face = _seen(vertices, k, image_size)
    joints_uvd = geometry.xyz_to_uvd(joints_xyz, k)
    return {
        "image": shade.photograph(camera_key, look, linear),
        "depth": depth,
        "mask": face >= 0,
        "k": k,
        "joints_xyz": joints_xyz,
        "joints_uv": joints_uvd[:, :2],
        "visible": render.joints_seen(
            joints_uvd, depth, face >= 0, jnp.asarray(_RADII) * size * thick, _SLACK_MM
        ),
    }


def sample_motion(
    key: PRNGKeyArray, yaw: Range, pitch: Range, roll: Range, liveliness: Range
) -> Float[Array, "29"]:
    """A motion of rigs/body.py without translation: every joint uniform over a part of its LIMITS about rest, the same part
    for all; the trunk over half of that."""
    drawn = random.uniform(key, (30,))
    part = liveliness[0] + (liveliness[1] - liveliness[0]) * drawn[0]
    still = np.array([name.startswith(("translation", "root")) for name in body.MOTION_NAMES])
    low, high = np.where(still, 0.0, np.array(body.LIMITS, np.float32).T)
    half = np.array(
        [0.5 if name.startswith("trunk") else 1.0 for name in body.MOTION_NAMES], np.float32
    )
    root = np.zeros((2, 29), np.float32)
    for name, limits in (("root_y", yaw), ("root_x", pitch), ("root_z", roll)):
        root[:, body.MOTION_NAMES.index(name)] = limits
    low, high = part * low * half + root[0], part * high * half + root[1]
    return low + (high - low) * drawn[1:]


def cone_surfaces(
    ends: Float[Array, "*b c 2 3"], radii: Float[Array, "*#b c 2"]
) -> tuple[Float[Array, "*b v 3"], Float[Array, "*b v 3"]]:
    """Vertices, for the triangles `cone_faces(c)`, and unit normals of the surfaces of round cones.

    On the cone as on its balls the surface is a ball's middle plus its radius times the normal, so the corners are exact and only
    the sides between them are flat. Neither ball may lie within the other.
    """
    which = _template()[0].astype(np.int32)
    cap, rise, around = (part.reshape((1,) * (ends.ndim - 2) + (-1,)) for part in _template())
    axis = ends[..., 1, :] - ends[..., 0, :]
    length = geometry.safe_norm(axis)
    axis = axis / jnp.maximum(length, 1e-3)[..., None]
    # Where the cone leaves the balls: at the angle whose sine is this.
    slope = jnp.clip((radii[..., 0] - radii[..., 1]) / jnp.maximum(length, 1e-3), -0.99, 0.99)
    start = jnp.arcsin(slope)[..., None]
    angle = start + rise * (jnp.pi / 2 * (2 * cap - 1) - start)  # [*b, c, v]
    across, along = _across(axis)
    ring = (
        jnp.cos(around)[..., None] * across[..., None, :]
        + jnp.sin(around)[..., None] * along[..., None, :]
    )
    normals = jnp.cos(angle)[..., None] * ring + jnp.sin(angle)[..., None] * axis[..., None, :]
    vertices = ends[..., which, :] + radii[..., which][..., None] * normals
    flat = (*vertices.shape[:-3], -1, 3)
    return vertices.reshape(flat), normals.reshape(flat)


@functools.cache
def cone_faces(count: int) -> np.ndarray:
    """Triangles [f, 3] of `count` cones of `cone_surfaces`, counter-clockwise seen from outside."""
    ring = np.arange(_AROUND)
    after = (ring + 1) % _AROUND

    def band(
        first, second
    ):  # two triangles a corner between two rings, given by their first vertices
        quads = np.stack([first + ring, first + after, second + after, second + ring], axis=-1)
        return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])

    half = _CAP * _AROUND + 1
    rows = [cap * half + np.arange(_CAP) * _AROUND for cap in (0, 1)]
    faces = [band(rows[0][0], rows[1][0])]
    for cap, sense in ((1, 1), (0, -1)):
        faces += [
            band(a, b)[:, ::sense] for a, b in zip(rows[cap][:-1], rows[cap][1:], strict=True)
        ]
        pole, last = np.full(_AROUND, cap * half + half - 1), rows[cap][-1]
        faces.append(np.stack([last + ring, last + after, pole], axis=-1)[:, ::sense])
    one = np.concatenate(faces)
    return (np.arange(count)[:, None, None] * 2 * half + one[None]).reshape(-1, 3).astype(np.int32)


@functools.cache
def _template() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of every vertex of a cone: which end, how far from the cone to the pole (0 to 1), and the angle around the axis."""
    rise = np.append(np.repeat(np.arange(_CAP) / _CAP, _AROUND), 1.0)
    around = np.append(np.tile(2 * np.pi * np.arange(_AROUND) / _AROUND, _CAP), 0.0)
    cap = np.repeat(np.arange(2.0), len(rise))
    return (
        cap.astype(np.float32),
        np.tile(rise, 2).astype(np.float32),
        np.tile(around, 2).astype(np.float32),
    )


def _across(axis: Float[Array, "*b 3"]) -> tuple[Float[Array, "*b 3"], Float[Array, "*b 3"]]:
    """Two unit vectors that make a right-handed frame with a third (Duff et al. 2017, Building an orthonormal basis, revisited)."""
    x, y, z = axis[..., 0], axis[..., 1], axis[..., 2]
    sign = jnp.where(z >= 0, 1.0, -1.0)
    a = -1 / (sign + z)
    b = x * y * a
    return (
        jnp.stack([1 + sign * x * x * a, sign * b, -sign * x], axis=-1),
        jnp.stack([b, sign + y * y * a, -y], axis=-1),
    )


def _colours(key: PRNGKeyArray, skin: Float[Array, "3"]) -> Float[Array, "c 3"]:
    """Of every cone: the part of the light that it gives back. Sleeves and trousers are short or long."""
    drawn = random.uniform(key, (14,))
    shirt, trousers, shoes, hair = drawn[:12].reshape(4, 3) ** 2
    short = drawn[12:] < 0.5
    dress = {"shirt": shirt, "trousers": trousers, "shoes": shoes, "hair": 0.4 * hair, "skin": skin}
    dress |= {
        "sleeves": jnp.where(short[0], skin, shirt),
        "shins": jnp.where(short[1], skin, trousers),
    }
    return 0.02 + 0.9 * jnp.stack([dress[cone.dress] for cone in body.CONES])


def _seen(vertices, k, size):
    """Depth and face at every pixel."""
    screen = to_screen(vertices, k, projection="pinhole", interpolation="perspective")
    return rasterize(screen, cone_faces(len(body.CONES)), size, size, near=1.0)


def _picture(look, colours, background, vertices, normals, k, samples):
    """Linear RGB, each pixel the mean of `samples` x `samples` points."""
    size = background.shape[0]
    faces = cone_faces(len(body.CONES))
    rest, _ = cone_surfaces(
        body.cone_ends(body.pose(jnp.zeros(29))),
        jnp.asarray([cone.radii for cone in body.CONES], jnp.float32),
    )
    cloth = jnp.repeat(colours, len(rest) // len(colours), axis=0)
    at_vertices = jnp.concatenate([vertices, normals, rest / _WEAVE, cloth], axis=-1)

    def draw(k):
        screen = to_screen(vertices, k, projection="pinhole", interpolation="perspective")
        _, face = rasterize(screen, faces, size, size, near=1.0)
        return interpolate(at_vertices, faces, face, barycentrics(screen, faces, face)), (
            face >= 0
        ).astype(jnp.float32)[..., None]

    # What is at the pixel's points is averaged first and lit then, once.
    seen, covered = render.over_pixels(draw, k, samples)
    seen = seen / jnp.where(covered > 0, covered, 1.0)
    point, normal, bound, cloth = jnp.split(seen.reshape(-1, 12), 4, axis=-1)
    normal = normal / (geometry.safe_norm(normal)[:, None] + 1e-6)

    def lit(point, normal, bound, tone):
        return shade.colour(look._replace(tone=tone), point, normal, bound, jnp.zeros(()))

    return (
        covered * jax.vmap(lit)(point, normal, bound, cloth).reshape(size, size, 3)
        + (1 - covered) * background
    )
