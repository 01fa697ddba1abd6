"""RGB images of skin: random tone, texture, lights and background, rasterized, with camera defects.

Light is linear until the last step. No parameter is measured: the aim is variety at little cost
(domain randomization, Tobin et al. 2017, arXiv 1703.06907). Skin is matte with a slight wrap of
light and a specular part; there are no shadows.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import random
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8

from handjax.ops.rasterize import barycentrics, interpolate, rasterize, to_screen
from handjax.pose import geometry
from handjax.rigs import skinning
from handjax.rigs.poses import Range
from handjax.synthetic.render import supersample

_LIGHTS, _WAVES, _BLOBS = 3, 5, 5
_CLOUDS = (2, 4, 9, 24, 64)  # cells a side
_PALE, _DARK = (0.80, 0.50, 0.36), (0.09, 0.042, 0.023)  # albedo of skin: red, green, blue
_BLUR_REACH = 4  # px
_WRAP = 0.3  # how far light wraps around, because it scatters in skin


class Look(NamedTuple):
    """The random properties of an image of skin other than its shape and the background."""

    tone: Float[Array, "3"]  # of the back; the palm is paler
    waves: Float[Array, "w 3"]  # of the texture, rad per mm in the bind pose
    phases: Float[Array, " w"]
    texture: Float[Array, ""]  # amplitude of the variation in tone
    directions: Float[Array, "l 3"]  # to the lights, camera axes, unit length
    lights: Float[Array, "l 3"]  # colour times strength
    sky: Float[Array, "3"]  # ambient light from above (`ground`: from below)
    ground: Float[Array, "3"]
    shine: Float[Array, ""]
    hardness: Float[Array, ""]  # exponent of the shine
    exposure: Float[Array, ""]  # mean of the linear image
    blur_px: Float[Array, ""]
    noise: Float[Array, ""]  # deviation of the sensor noise at white, which is 1


def random_look(key: PRNGKeyArray, blur_px: Range = (0.0, 1.2), noise: Range = (0.0, 0.04)) -> Look:
    """A random look, with blur (px) and noise drawn uniformly from the given ranges."""
    # Only two draws, because each takes long to compile.
    uniform_key, normal_key = random.split(key)
    sizes = (7, _WAVES, _WAVES, 4 * (_LIGHTS + 2), 3)
    drawn = jnp.split(random.uniform(uniform_key, (sum(sizes),)), np.cumsum(sizes)[:-1])
    (
        (pale, red, green, blue, texture, shine, hardness),
        phases,
        lengths,
        light,
        (blur, grain, exposure),
    ) = drawn
    waves, directions = jnp.split(random.normal(normal_key, (_WAVES + _LIGHTS, 3)), [_WAVES])
    # Interpolate the tones geometrically, as perceived, and vary each channel a little.
    tone = pale * jnp.log(jnp.asarray(_PALE)) + (1 - pale) * jnp.log(jnp.asarray(_DARK))
    tone = jnp.exp(tone + 0.24 * (jnp.stack([red, green, blue]) - 0.5))
    wavelengths_mm = 4 * 15 ** lengths[:, None]
    waves = waves / geometry.safe_norm(waves)[:, None] * (2 * jnp.pi / wavelengths_mm)
    directions = directions / geometry.safe_norm(directions)[:, None]
    # No light from right behind the hand.
    directions = jnp.where(directions[:, 2:] > 0.5, -directions, directions)
    light = light.reshape(_LIGHTS + 2, 4)
    light = light[:, 3:] * (0.6 + 0.4 * light[:, :3])  # strength times a colour close to white
    return Look(
        tone=tone,
        waves=waves,
        phases=2 * jnp.pi * phases,
        texture=0.25 * texture,
        directions=directions,
        lights=light[:_LIGHTS],
        sky=0.1 + 0.5 * light[_LIGHTS],
        ground=0.05 + 0.35 * light[_LIGHTS + 1],
        shine=0.3 * shine,
        hardness=5 * 12**hardness,
        exposure=0.12 + 0.25 * exposure,
        blur_px=blur_px[0] + (blur_px[1] - blur_px[0]) * blur,
        noise=noise[0] + (noise[1] - noise[0]) * grain,
    )


def colour(
    look: Look,
    points: Float[Array, "*b 3"],
    normals: Float[Array, "*b 3"],
    bound: Float[Array, "*b 3"],
    palm: Float[Array, "*b"],
) -> Float[Array, "*b 3"]:
    """Linear RGB of skin at `points` (camera mm) with unit `normals`.

    `bound` are the same points in the bind pose, mm; `palm` is 1 on the palm's side and 0 on the
    back of the hand.
    """
    # Channel by channel: trailing axes of size 3 are not vectorized on CPUs and take 3 x as long.
    at, normal, skin = ([values[..., i] for i in range(3)] for values in (points, normals, bound))

    def dot(a: Sequence[Array] | Array, b: Sequence[Array] | Array) -> Array:
        return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]

    ripple = sum(
        jnp.sin(dot(skin, wave) + phase)
        for wave, phase in zip(look.waves, look.phases, strict=True)
    ) / len(look.waves)
    paler = 1 - 0.35 * palm  # as an exponent
    albedo = [jnp.exp(paler * jnp.log(tone) + look.texture * ripple) for tone in look.tone]

    distance = geometry.safe_sqrt(dot(at, at)) + 1e-6
    to_camera = [-x / distance for x in at]
    up = 0.5 - 0.5 * normal[1]  # y is down
    diffuse = [
        up * sky + (1 - up) * ground for sky, ground in zip(look.sky, look.ground, strict=True)
    ]
    shine = [jnp.zeros_like(up)] * 3
    for direction, light in zip(look.directions, look.lights, strict=True):
        facing = dot(normal, direction)
        matte = jnp.maximum(facing + _WRAP, 0.0) / (1 + _WRAP)
        halfway = [d + c for d, c in zip(direction, to_camera, strict=True)]
        glint = dot(normal, halfway) / (geometry.safe_sqrt(dot(halfway, halfway)) + 1e-6)
        # A power, in a form that is vectorized.
        glint = jnp.exp(look.hardness * jnp.log(jnp.maximum(glint, 1e-6)))
        glint = glint * (facing > 0).astype(glint.dtype)
        diffuse = [seen + matte * part for seen, part in zip(diffuse, light, strict=True)]
        shine = [seen + glint * part for seen, part in zip(shine, light, strict=True)]
    return jnp.stack(
        [a * d + look.shine * s for a, d, s in zip(albedo, diffuse, shine, strict=True)], axis=-1
    )


@functools.cache
def palm_side(skin: skinning.Skin) -> Float[np.ndarray, " v"]:
    """1 on the palm, 0 on the back of the hand, by the normal in the bind pose (palm: +z)."""
    facing = skinning.vertex_normals(skin)[:, 2]
    t = np.clip((facing + 0.3) / 0.6, 0.0, 1.0)
    return (t * t * (3 - 2 * t)).astype(np.float32)


def hand_image(
    look: Look,
    background: Float[Array, "h w 3"],
    vertices: Float[Array, "v 3"],
    normals: Float[Array, "v 3"],
    faces: Int[Array | np.ndarray, "f 3"],
    bound: Float[np.ndarray, "v 3"],
    palm: Float[np.ndarray, " v"],
    k: Float[Array, "3 3"],
    supersampling: int = 2,
) -> Float[Array, "h w 3"]:
    """Linear RGB of a skin, `vertices` in camera mm, in front of a background.

    Each pixel averages `supersampling` x `supersampling` points, so outlines are smooth.
    """
    height, width = background.shape[:2]
    fixed = jnp.concatenate([jnp.asarray(bound), jnp.asarray(palm)[:, None]], axis=-1).astype(
        vertices.dtype
    )
    at_vertices = jnp.concatenate([vertices, normals, fixed], axis=-1)

    def draw(k: Array) -> tuple[Array, Array]:
        screen = to_screen(vertices, k, projection="pinhole", interpolation="perspective")
        _, face = rasterize(screen, faces, height, width, near=1.0)
        seen = interpolate(at_vertices, faces, face, barycentrics(screen, faces, face))
        return seen, (face >= 0)[..., None].astype(vertices.dtype)

    # Average over the points of each pixel first, then light once.
    seen, covered = supersample(draw, k, supersampling)
    seen = seen / jnp.where(covered > 0, covered, 1.0)
    normal = seen[..., 3:6] / (geometry.safe_norm(seen[..., 3:6])[..., None] + 1e-6)
    skin = colour(look, seen[..., :3], normal, seen[..., 6:9], seen[..., 9])
    return covered * skin + (1 - covered) * background


def random_background(
    key: PRNGKeyArray, height: int, width: int
) -> Float[Array, "{height} {width} 3"]:
    """Linear RGB: coloured clouds, coarse to fine, and a few soft or sharp ellipses and boxes, some
    in the colours of skin."""
    clouds_key, number_key = random.split(key)
    (*mean, greyness), strengths, blobs = jnp.split(
        random.uniform(number_key, (4 + len(_CLOUDS) + 13 * _BLOBS,)), [4, 4 + len(_CLOUDS)]
    )
    blobs = blobs.reshape(_BLOBS, 13)
    clouds = jnp.split(
        random.normal(clouds_key, (sum(n * n for n in _CLOUDS), 3)),
        np.cumsum([n * n for n in _CLOUDS])[:-1],
    )
    image = jnp.broadcast_to(jnp.stack(mean), (height, width, 3))
    for cells, values, strength in zip(_CLOUDS, clouds, strengths, strict=True):
        cloud = jax.image.resize(
            values.reshape(cells, cells, 3), (height, width, 3), "linear", antialias=False
        )
        image = image + 0.4 * strength / np.sqrt(cells) * cloud
    grey = jnp.mean(image, axis=-1, keepdims=True)
    image = jnp.maximum(grey + (1 - greyness) * (image - grey), 0.0)
    rows, columns = (jnp.arange(n, dtype=jnp.float32) + 0.5 for n in (height, width))
    y, x = jnp.meshgrid(rows / height, columns / width, indexing="ij")

    def lay_over(image: Array, blob: Array) -> tuple[Array, None]:
        angle = 2 * jnp.pi * blob[0]
        across = ((x - blob[1]) * jnp.cos(angle) + (y - blob[2]) * jnp.sin(angle)) / (
            0.05 + 0.35 * blob[3]
        )
        along = ((y - blob[2]) * jnp.cos(angle) - (x - blob[1]) * jnp.sin(angle)) / (
            0.05 + 0.35 * blob[4]
        )
        round_, box = jnp.sqrt(across**2 + along**2), jnp.maximum(jnp.abs(across), jnp.abs(along))
        inside = jax.nn.sigmoid(
            (1 - jnp.where(blob[5] < 0.5, round_, box)) * jnp.exp(1 + 4 * blob[6])
        )
        cover = (0.5 + 0.5 * blob[7]) * inside * (blob[8] < 0.7).astype(inside.dtype)
        skin = blob[12] * jnp.asarray(_PALE) + (1 - blob[12]) * jnp.asarray(_DARK)
        return image + cover[..., None] * (
            jnp.where(blob[9] < 0.3, skin, blob[9:12])[None, None] - image
        ), None

    # Unrolled it takes twice as long to run and five times as long to compile.
    image, _ = jax.lax.scan(lay_over, image, blobs)
    return jnp.clip(image, 0.0, 1.0)


def photograph(
    key: PRNGKeyArray, look: Look, image: Float[Array, "h w 3"]
) -> UInt8[Array, "h w 3"]:
    """Linear RGB → sRGB bytes: exposed by the mean of the image, blurred, with noise.

    The variance of the noise grows with the light, like photon noise, from a small offset.
    """
    exposed = look.exposure * image / jnp.maximum(jnp.mean(image), 1e-3)
    at = np.arange(-_BLUR_REACH, _BLUR_REACH + 1, dtype=np.float32)
    weights = jax.nn.softmax(-0.5 * (jnp.asarray(at) / jnp.maximum(look.blur_px, 1e-3)) ** 2)
    for axis in (0, 1):
        pad = [(_BLUR_REACH, _BLUR_REACH) if a == axis else (0, 0) for a in range(3)]
        padded, size = jnp.pad(exposed, pad, mode="edge"), exposed.shape[axis]
        terms = [
            w * jax.lax.slice_in_dim(padded, i, i + size, axis=axis) for i, w in enumerate(weights)
        ]
        exposed = sum(terms, jnp.zeros_like(exposed))
    noise = look.noise * jnp.sqrt(exposed + 0.02) * random.normal(key, exposed.shape)
    linear = jnp.clip(exposed + noise, 0.0, 1.0)
    curve = jnp.where(
        linear <= 0.0031308,
        12.92 * linear,
        1.055 * jnp.maximum(linear, 0.0031308) ** (1 / 2.4) - 0.055,
    )
    return jnp.round(255 * curve).astype(jnp.uint8)
