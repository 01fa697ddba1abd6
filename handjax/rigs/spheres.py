"""Spheres → depth images and distances: which sphere a pixel sees or a point is nearest to, and how far away it is.

First the sphere of each pixel is found, without gradients, by a running minimum over the spheres; then only that sphere's
depth is computed. So memory is a few images, not one image a sphere, and the gradient flows through the sphere that is
seen. No gradient comes from a silhouette that moves.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from handjax.ops.batching import pvary
from handjax.pose.cube import BACKGROUND_MM, EXTENT_MM

# Least square of half a chord, mm²: where a ray grazes a sphere the depth is up to a tenth of a mm off and the gradient
# of the square root stays finite.
_GRAZING = 0.01
# Spheres a round of the running minimum: enough that a round's result is worth writing down. All of them in one would be
# computed again for every use of the result, and each of a round costs memory.
_ROUND = 4


def sphere_depth_orthographic(
    centers: Float[Array, "*b s 3"],
    radii: Float[Array, "*b s"],
    size: int,
    extent_mm: float = EXTENT_MM,
    background: float = BACKGROUND_MM,
) -> tuple[Float[Array, "*b {size} {size}"], Int[Array, "*b {size} {size}"]]:
    """Depth in mm along z seen by parallel rays, and the sphere seen (-1: none); `background` where nothing is nearer.

    The rule of sphereHand (Wan et al. 2019): the square of `extent_mm` is centred on x = y = 0, and pixel u stands for
    x = (u - size/2) · extent/size, its left edge and not its centre.
    """
    at = (jnp.arange(size, dtype=centers.dtype) - size / 2) * (extent_mm / size)
    v, u = jnp.meshgrid(at, at, indexing="ij")
    pixels = tuple(jnp.broadcast_to(g.ravel(), (*centers.shape[:-2], size * size)) for g in (u, v))

    def depth(pixels: tuple, sphere: tuple) -> tuple[Array, Array]:
        (u, v), (x, y, z, r) = pixels, sphere
        half_chord2 = r * r - (u - x) ** 2 - (v - y) ** 2
        return z - jnp.sqrt(jnp.maximum(half_chord2, _GRAZING)), half_chord2 > 0

    nearest, winner = _nearest(depth, pixels, centers, radii, background)
    shape = (*centers.shape[:-2], size, size)
    return nearest.reshape(shape), winner.reshape(shape)


def sphere_depth_along(
    rays: Float[Array, "*b r 3"], centers: Float[Array, "*b s 3"], radii: Float[Array, "*b s"]
) -> tuple[Float[Array, "*b r"], Int[Array, "*b r"]]:
    """Depth z in mm of the first sphere on each ray (x, y, 1) from the camera, and which; 0 and -1 where none is hit.

    Exact to float32 but for grazing rays; a sphere that the camera is inside of, or that is behind it, is not seen.
    """

    def depth(slopes: tuple, sphere: tuple) -> tuple[Array, Array]:
        (a, b), (x, y, z, r) = slopes, sphere
        length2 = a * a + b * b + 1
        # The point of the ray that is nearest to the centre has depth `t`. Measured from there float32 keeps its
        # digits; the textbook's b² - 4ac loses them at a camera's distance.
        t = (a * x + b * y + z) / length2
        half_chord2 = r * r - (x - a * t) ** 2 - (y - b * t) ** 2 - (z - t) ** 2
        front = t - jnp.sqrt(jnp.maximum(half_chord2, _GRAZING) / length2)
        return front, (half_chord2 > 0) & (front > 0)

    nearest, winner = _nearest(depth, (rays[..., 0], rays[..., 1]), centers, radii, jnp.inf)
    return jnp.where(winner >= 0, nearest, 0.0), winner


def sphere_depth_pinhole(
    centers: Float[Array, "*b s 3"],
    radii: Float[Array, "*b s"],
    k: Float[Array, "*b 3 3"],
    height: int,
    width: int,
) -> tuple[Float[Array, "*b {height} {width}"], Int[Array, "*b {height} {width}"]]:
    """Depth in mm along z through the integer pixel centres of camera `k`, and the sphere seen; 0 and -1 where none."""
    v, u = jnp.meshgrid(
        jnp.arange(height, dtype=k.dtype), jnp.arange(width, dtype=k.dtype), indexing="ij"
    )
    u, v = (jnp.broadcast_to(g.ravel(), (*k.shape[:-2], height * width)) for g in (u, v))
    a = (u - k[..., 0, 2, None]) / k[..., 0, 0, None]
    b = (v - k[..., 1, 2, None]) / k[..., 1, 1, None]
    depth, winner = sphere_depth_along(jnp.stack([a, b, jnp.ones_like(a)], axis=-1), centers, radii)
    shape = (*k.shape[:-2], height, width)
    return depth.reshape(shape), winner.reshape(shape)


def sphere_distance(
    points: Float[Array, "*b p 3"], centers: Float[Array, "*b s 3"], radii: Float[Array, "*b s"]
) -> tuple[Float[Array, "*b p"], Int[Array, "*b p"]]:
    """Distance in mm, never negative, of each point to the nearest surface of any sphere, |‖p - c‖ - r|, and that sphere.

    The data → model distance of sphereHand (Wan et al. 2019), before its clamp to 50 mm and its mean. It is no distance to
    the union: deep within one sphere the nearest surface may be that of another it overlaps, which nobody can see, and a
    point on it has distance 0. Signed, min(‖p - c‖ - r) would be negative inside and 0 on the union's own surface alone.

    The gradient is that of the nearest sphere, the lowest of equals. It is finite on its surface, where it turns about, and
    in its centre, where only the radius has one. NaN and -1 where no distance is finite.
    """

    def distance(at: tuple, sphere: tuple) -> tuple[Array, Array]:
        (px, py, pz), (x, y, z, r) = at, sphere
        square = (px - x) ** 2 + (py - y) ** 2 + (pz - z) ** 2
        apart = square != 0  # so NaN stays NaN
        # In the centre the root has no slope: there neither root nor gradient sees the 0.
        from_center = jnp.where(apart, jnp.sqrt(jnp.where(apart, square, 1.0)), 0.0)
        return jnp.abs(from_center - r), jnp.ones_like(apart)

    nearest, winner = _nearest(
        distance, tuple(points[..., i] for i in range(3)), centers, radii, jnp.inf
    )
    return jnp.where(winner >= 0, nearest, jnp.nan), winner


def _nearest(
    measure: Callable[[tuple, tuple], tuple[Array, Array]],
    places: tuple,
    centers: Array,
    radii: Array,
    limit: float,
) -> tuple[Array, Array]:
    """Least measure below `limit` over the spheres that are hit, [*b, p], and its sphere, the first of equals; else `limit`
    and -1.

    `measure(places, (x, y, z, r))` takes places [*b, p] and spheres [*b, 1 or p], and gives [*b, p]: the measure, and
    whether the sphere is hit.
    """
    spheres = (*(centers[..., i] for i in range(3)), radii)
    # argmin over one array [*b, p, s] says the same; XLA's on a CPU is scalar: a quarter to an eighth of the speed.
    still, one_by_one = lax.stop_gradient(
        (places, tuple(jnp.moveaxis(part, -1, 0)[..., None] for part in spheres))
    )

    def compare(best: tuple, entry: tuple) -> tuple[tuple, None]:
        (least, winner), (i, sphere) = best, entry
        value, hit = measure(still, sphere)
        nearer = hit & (value < least)
        return (jnp.where(nearer, value, least), jnp.where(nearer, i, winner)), None

    both = still[0] + one_by_one[0][0]
    start = (
        pvary(jnp.full(both.shape, limit, both.dtype), both),
        pvary(jnp.full(both.shape, -1, jnp.int32), both),
    )
    numbers = jnp.arange(radii.shape[-1], dtype=jnp.int32)
    (_, winner), _ = lax.scan(compare, start, (numbers, one_by_one), unroll=_ROUND)
    chosen = jnp.maximum(winner, 0)
    value, _ = measure(
        places, tuple(jnp.take_along_axis(part, chosen, axis=-1) for part in spheres)
    )
    return jnp.where(winner >= 0, value, limit), winner
