"""What depth cameras do to a depth image, by their principle: structured light, time of flight,
stereo.

A camera is a row of numbers (`Effects`), drawn from the ranges of its kind (`KINDS`), and one
function, `measure`, applies them. All lengths are mm, 0 is a pixel without a measurement.

Sources of the effects and of the ranges' order of magnitude:
structured light  Khoshelham and Elberink 2012 (noise and quantization grow with z², shadows of the
                  projector, lost outlines); Nguyen, Izadi and Lovell 2012 (noise by angle)
time of flight    Sarbolandi, Lefloch and Kolb 2015, Hansard et al. 2012 (mixed pixels at outlines,
                  multipath, smoothing, loss at grazing angles)
stereo            Keselman et al. 2017, the RealSense D400 (outlines in blocks of the matching
                  window, fattened foreground, speckle, noise that grows with z²)
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax, random
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from handjax.synthetic.draws import Draws, normal

Range = tuple[float, float]
_FAR = 1e5  # stands for a missing neighbour
_FIELD = 9  # corners per side of the coarse grid of smooth random fields


class Effects(NamedTuple):
    """What one camera does; numbers marked z² hold at half a metre and grow with the square."""

    noise: Float[Array, ""]  # mm, z²: deviation of each pixel
    step: Float[Array, ""]  # mm, z²: quantization
    drift: Float[Array, ""]  # mm: deviation of a smooth error, about as wide as a hand
    ragged: Float[Array, ""]  # px of the sensor: outlines, each pixel for itself
    blocks: Float[Array, ""]  # px of the image: outlines, many pixels together
    fat: Float[Array, ""]  # share of the outlines at which the foreground grows by 1 px
    mixed: Float[Array, ""]  # share of the pixels at outlines that lie between two depths
    smooth: Float[Array, ""]  # strength of a smoothing that keeps outlines, 0 to 1
    base: Float[Array, ""]  # mm between camera and projector: shadows
    holes: Float[Array, ""]  # share of the image lost in patches
    grazing: Float[Array, ""]  # chance of a loss at outlines and steep surfaces
    speckle: Float[Array, ""]  # chance of a loss anywhere


# Kind of camera → ranges of its effects; those of "plain" where it names none.
KINDS: dict[str, dict[str, Range]] = {
    "plain": {
        **dict.fromkeys(Effects._fields, (0.0, 0.0)),
        "noise": (0.3, 1.0),
        "drift": (0.0, 1.0),
        "ragged": (0.2, 0.6),
        "grazing": (0.0, 0.2),
        "speckle": (0.0, 0.005),
    },
    "structured_light": {
        "noise": (0.3, 1.6),
        "step": (0.0, 1.5),
        "drift": (0.0, 2.0),
        "ragged": (0.4, 1.2),
        "blocks": (0.0, 0.6),
        "fat": (0.0, 0.4),
        "base": (20.0, 75.0),
        "holes": (0.0, 0.06),
        "grazing": (0.0, 0.8),
        "speckle": (0.0, 0.02),
    },
    "time_of_flight": {
        "noise": (0.5, 4.0),
        "drift": (0.0, 5.0),
        "mixed": (0.1, 0.9),
        "smooth": (0.0, 1.0),
        "holes": (0.0, 0.03),
        "grazing": (0.0, 0.6),
        "speckle": (0.0, 0.02),
    },
    "stereo": {
        "noise": (0.5, 3.0),
        "step": (0.0, 2.0),
        "drift": (1.0, 5.0),
        "ragged": (0.4, 1.5),
        "blocks": (0.5, 1.6),
        "fat": (0.2, 1.0),
        "mixed": (0.0, 0.3),
        "smooth": (0.0, 1.0),
        "base": (0.0, 55.0),
        "holes": (0.0, 0.06),
        "grazing": (0.0, 0.3),
        "speckle": (0.0, 0.02),
    },
}


def draw_effects(draws: Draws, kinds: tuple[str, ...]) -> Effects:
    """The effects of one camera of one of `kinds`, all equally likely."""
    ranges = [{**KINDS["plain"], **KINDS[kind]} for kind in kinds]
    table = jnp.asarray([[one[name] for name in Effects._fields] for one in ranges], jnp.float32)
    which = (draws.uniform() * len(kinds)).astype(jnp.int32)
    low, high = table[jnp.minimum(which, len(kinds) - 1)].T
    return Effects(*(low + draws.uniform(len(low)) * (high - low)))


def measure(
    key: PRNGKeyArray,
    depth: Float[Array, "h w"],
    k: Float[Array, "3 3"],
    resolution: Float[Array, ""] | float,
    effects: Effects,
) -> Float[Array, "h w"]:
    """`depth`, mm, of the camera `k` as a sensor with these `effects` measures it.

    `resolution`: pixels of the sensor per pixel of the image, as in a crop of its picture; below 1
    neighbours are the same measurement.
    """
    height, width = depth.shape
    # Two words per pixel, and one per corner of the smooth fields and for the projector's side.
    corners = 5 * _FIELD**2
    words = lax.optimization_barrier(
        random.bits(key, (2 * height * width + corners + 1,), jnp.uint32)
    )
    bits = words[: 2 * height * width].reshape(2, height, width)
    bytes8 = [(bits[i // 4] >> (8 * (i % 4))) & 0xFF for i in range(8)]
    u = [b.astype(jnp.float32) / 255.0 for b in bytes8]
    # Sums of two uniform numbers, scaled to deviation 1: near enough to Gaussian, and cheap.
    n_u, n_v, n_z = ((a + b - 1.0) * 2.45 for a, b in ((u[0], u[4]), (u[1], u[5]), (u[2], u[6])))
    rest = (words[2 * height * width :] >> 8).astype(jnp.float32) / 2.0**24
    coarse = normal(rest[:corners]).reshape(5, _FIELD, _FIELD)
    fields = jax.image.resize(coarse, (5, height, width), "linear")
    fields = lax.optimization_barrier(fields)

    # Each stage reads neighbours: without barriers XLA computes the stage before once for each.
    once = lax.optimization_barrier
    d = once(_outlines(depth, n_u, n_v, fields, resolution, effects))
    lowest, highest = once(_neighbourhood(d))
    measured = d > 0
    rise = jnp.where(measured, highest - lowest, 0.0)
    d = once(
        jnp.where(
            (lowest < _FAR) & (fields[0] > 2.5 - 5.0 * effects.fat) & (effects.fat > 0), lowest, d
        )
    )
    d = jnp.where(measured, _smoothed(d, effects.smooth), d)
    mix = measured & (rise > 30.0) & (highest < _FAR) & (u[3] < effects.mixed)
    d = jnp.where(mix, lowest + (highest - lowest) * u[7], d)

    grown = (d / 500.0) ** 2
    d = d + grown * effects.noise * n_z + effects.drift * fields[1]
    # Disparities, proportional to 1 / d, come in steps, or at least whole numbers of them.
    fine = jnp.maximum(effects.step, 1e-3) / 500.0**2
    steps = jnp.maximum(jnp.round(1.0 / (jnp.maximum(d, 1.0) * fine)), 1.0)
    d = jnp.where(effects.step > 0.01, 1.0 / (steps * fine), d)

    # Where nothing was measured there is nothing that could be in the projector's way.
    d = once(jnp.where(measured, d, 0.0))
    steep = jnp.clip(rise / 40.0 - 0.4, 0.0, 1.0)
    lost = u[3] < jnp.maximum(effects.speckle, effects.grazing * steep)
    lost |= fields[2] > _normal_quantile(effects.holes)
    lost |= _shadow(d, k, effects.base, rest[-1] < 0.5)
    return jnp.where(~lost & (d > 0), d, 0.0)


def _outlines(depth, n_u, n_v, fields, resolution, effects):
    """Each pixel copies one nearby: on the lattice of the sensor, ragged and in blocks."""
    height, width = depth.shape
    coarse = jnp.minimum(jnp.asarray(resolution, depth.dtype), 1.0)
    scatter = effects.ragged / jnp.maximum(jnp.asarray(resolution, depth.dtype), 0.5)

    def source(at, noise, field, count):
        moved = at.astype(depth.dtype) + scatter * noise + effects.blocks * field
        lattice = (jnp.floor(moved * coarse) + 0.5) / coarse - 0.5
        moved = jnp.where(coarse < 1.0, lattice, moved)
        return jnp.clip(jnp.round(moved).astype(jnp.int32), 0, count - 1)

    v = source(jnp.arange(height)[:, None], n_v, fields[3], height)
    u = source(jnp.arange(width)[None, :], n_u, fields[4], width)
    return depth[v, u]


def _neighbourhood(d):
    """Lowest and highest depth among a pixel and its four neighbours; `_FAR` where one is
    missing."""
    filled = jnp.where(d > 0, d, _FAR)
    padded = jnp.pad(filled, 1, mode="edge")
    shifted = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    lowest = highest = filled
    for other in shifted:
        lowest, highest = jnp.minimum(lowest, other), jnp.maximum(highest, other)
    return lowest, highest


def _smoothed(d, strength):
    """Moved towards the neighbours that are less than 25 mm away."""
    padded = jnp.pad(d, 1, mode="edge")
    total = jnp.zeros_like(d)
    for other in (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]):
        apart = other - d
        total = total + jnp.where(jnp.abs(apart) < 25.0, apart, 0.0)
    return d + 0.2 * strength * total


def _shadow(
    d: Float[Array, "h w"], k: Float[Array, "3 3"], base: Array, turned: Bool[Array, ""]
) -> Bool[Array, "h w"]:
    """Pixels that a projector `base` mm to one side does not reach: something nearer is in its
    way."""
    one_side = jnp.where(turned, d[:, ::-1], d)
    shift = k[0, 0] * jnp.asarray(base) / jnp.where(one_side > 0, one_side, _FAR)
    at = jnp.arange(d.shape[1], dtype=d.dtype)[None] + shift
    hidden = (lax.cummax(at, axis=1) > at + 1.0) & (one_side > 0)
    return jnp.where(turned, hidden[:, ::-1], hidden)


def _normal_quantile(share):
    """z with P(N(0, 1) > z) = share, roughly, for shares up to 0.1 (Zelen and Severo 1964). Fields
    are blends of four normal numbers, so holes are somewhat fewer."""
    t = jnp.sqrt(-2.0 * jnp.log(jnp.maximum(share, 1e-6)))
    return t - (2.30753 + 0.27061 * t) / (1.0 + 0.99229 * t + 0.04481 * t * t)
