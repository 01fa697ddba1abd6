"""Synthetic people for the body systems: a random key in, one labelled RGB image out.

The person is the rig of rigs/body.py, its round cones in clothes of plain colours; lights,
background and camera are those of synthetic/shade.py. There are no shadows, fingers or folds.
Samples are drawn on the device without limit, and no file is read.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import random
from jaxtyping import Array, Float, Int32, PRNGKeyArray

from handjax.ops.rasterize import barycentrics, interpolate, rasterize, to_screen
from handjax.pose import geometry, pinhole
from handjax.pose.skeleton import SKELETONS
from handjax.rigs import body, body_cones
from handjax.rigs.poses import Range, uniform
from handjax.synthetic import render, shade
from handjax.synthetic.cones import cone_faces, cone_surfaces

BOX_MM = 2000.0  # the square around the pelvis that Sun et al. 2018 crop
_SLACK_MM = 30.0  # of `render.visible_in_depth`
# mm from a joint to the surface of the body.
_FLESH = dict.fromkeys(("pelvis", "torso", "thorax"), 115) | {"neck": 75, "nose": 55, "head": 60}
_FLESH |= {"hip": 110, "knee": 60, "ankle": 45, "shoulder": 75, "elbow": 50, "wrist": 38}
_RADII = tuple(float(_FLESH[joint.split("_")[-1]]) for joint in SKELETONS["body18"].joints)
_WEAVE = 8.0  # how many times coarser the pattern of clothes is than that of skin


def body_sample(
    key: PRNGKeyArray,
    *,
    image_size: int = 64,
    supersampling: int = 2,
    fraction: Range = (0.75, 1.0),
    distance_mm: Range = (2500.0, 6000.0),
    offset: float = 0.2,
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
    """A person in an RGB image, as one row of a Batch; a function of the key.

    image [h, w, 3] sRGB bytes; depth [h, w] mm of the person, 0 elsewhere; mask [h, w]; k [3, 3];
    joints_xyz [18, 3] camera mm (skeleton "body18"); joints_uv [18, 2] px; visible [18]: inside the
    image and not occluded by the person.

    A square of 2000 mm at the pelvis takes `fraction` of the edge of the image, anywhere in it. The
    pelvis is off the optical axis by up to `offset` of its distance. `scale` is the size of the
    person, `length` that of each bone relative to it, and `girth` the thickness. Joints rotate
    within the fraction `liveliness` of body.LIMITS. Limbs may intersect.
    """
    pose_key, place_key, look_key, clothing_key, background_key, camera_key = random.split(key, 6)
    # --- person
    shift = (-offset, offset)
    ranges = [
        fraction,
        distance_mm,
        shift,
        shift,
        (-1.0, 1.0),
        (-1.0, 1.0),
        scale,
        girth,
        *[length] * 12,
    ]
    drawn = uniform(place_key, ranges)
    (part, z, x, y, du, dv, size, thick), lengths = drawn[:8], drawn[8:]
    motion = sample_motion(pose_key, yaw, pitch, roll, liveliness)
    posed = body.pose(motion, size, lengths * jnp.asarray(body.ADULT_LENGTHS))
    pelvis = jnp.stack([x * z, y * z, z])
    joints_xyz = body.to_camera(body.points(posed, body.JOINTS)) + pelvis[None]

    # --- camera
    focal = part * image_size * z / BOX_MM
    at = (image_size - 1) / 2 + (1 - part) * image_size / 2 * jnp.stack([du, dv])
    k = jnp.diag(jnp.stack([focal, focal, jnp.ones(())]))
    k = k.at[:2, 2].set(at - focal * jnp.stack([x, y]))

    # --- image
    radii = jnp.asarray([cone.radii for cone in body_cones.CONES], jnp.float32) * size * thick
    vertices, normals = cone_surfaces(body_cones.cone_ends(posed) + pelvis[None, None], radii)
    look = shade.random_look(look_key, blur_px, noise)
    background = shade.random_background(background_key, image_size, image_size)
    colours = _colours(clothing_key, look.tone)
    linear = _image(look, colours, background, vertices, normals, k, supersampling)
    depth, face = _rasterize(vertices, k, image_size)
    joints_uvd = pinhole.xyz_to_uvd(joints_xyz, k)
    flesh = jnp.asarray(_RADII) * size * thick
    return {
        "image": shade.photograph(camera_key, look, linear),
        "depth": depth,
        "mask": face >= 0,
        "k": k,
        "joints_xyz": joints_xyz,
        "joints_uv": joints_uvd[:, :2],
        "visible": render.visible_in_depth(joints_uvd, depth, face >= 0, flesh, _SLACK_MM),
    }


def sample_motion(
    key: PRNGKeyArray, yaw: Range, pitch: Range, roll: Range, liveliness: Range
) -> Float[Array, "29"]:
    """A motion of rigs/body.py without translation, rad.

    Joint angles are uniform over a fraction of their LIMITS around rest, drawn from `liveliness`
    and the same for all; the trunk has half of it. The root turns within the other ranges.
    """
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


def _colours(key: PRNGKeyArray, skin: Float[Array, "3"]) -> Float[Array, "c 3"]:
    """Albedo per cone. Sleeves and trousers are short or long."""
    drawn = random.uniform(key, (14,))
    shirt, trousers, shoes, hair = drawn[:12].reshape(4, 3) ** 2
    short = drawn[12:] < 0.5
    clothing = {
        "shirt": shirt,
        "trousers": trousers,
        "shoes": shoes,
        "hair": 0.4 * hair,
        "skin": skin,
    }
    clothing |= {
        "sleeves": jnp.where(short[0], skin, shirt),
        "shins": jnp.where(short[1], skin, trousers),
    }
    return 0.02 + 0.9 * jnp.stack([clothing[cone.clothing] for cone in body_cones.CONES])


def _rasterize(
    vertices: Float[Array, "v 3"], k: Float[Array, "3 3"], size: int
) -> tuple[Float[Array, "h w"], Int32[Array, "h w"]]:
    """Depth, mm, and face of every pixel."""
    screen = to_screen(vertices, k, projection="pinhole", interpolation="perspective")
    return rasterize(screen, cone_faces(len(body_cones.CONES)), size, size, near=1.0)


def _image(
    look: shade.Look,
    colours: Float[Array, "c 3"],
    background: Float[Array, "h w 3"],
    vertices: Float[Array, "v 3"],
    normals: Float[Array, "v 3"],
    k: Float[Array, "3 3"],
    supersampling: int,
) -> Float[Array, "h w 3"]:
    """Linear RGB; each pixel averages `supersampling` x `supersampling` points."""
    size = background.shape[0]
    faces = cone_faces(len(body_cones.CONES))
    rest, _ = cone_surfaces(
        body_cones.cone_ends(body.pose(jnp.zeros(29))),
        jnp.asarray([cone.radii for cone in body_cones.CONES], jnp.float32),
    )
    cloth = jnp.repeat(colours, len(rest) // len(colours), axis=0)
    at_vertices = jnp.concatenate([vertices, normals, rest / _WEAVE, cloth], axis=-1)

    def draw(k: Array) -> tuple[Array, Array]:
        screen = to_screen(vertices, k, projection="pinhole", interpolation="perspective")
        _, face = rasterize(screen, faces, size, size, near=1.0)
        seen = interpolate(at_vertices, faces, face, barycentrics(screen, faces, face))
        return seen, (face >= 0).astype(jnp.float32)[..., None]

    # Average over the points of each pixel first, then light once.
    seen, covered = render.supersample(draw, k, supersampling)
    seen = seen / jnp.where(covered > 0, covered, 1.0)
    point, normal, bound, cloth = jnp.split(seen.reshape(-1, 12), 4, axis=-1)
    normal = normal / (geometry.safe_norm(normal)[:, None] + 1e-6)

    def lit(point: Array, normal: Array, bound: Array, tone: Array) -> Array:
        return shade.colour(look._replace(tone=tone), point, normal, bound, jnp.zeros(()))

    return (
        covered * jax.vmap(lit)(point, normal, bound, cloth).reshape(size, size, 3)
        + (1 - covered) * background
    )
