"""Spheres → depth images, and distances of points to their surfaces.

The nearest sphere of each pixel is found without gradients, by a running minimum over the spheres;
then only the depth of that sphere is computed. So memory is a few images, not one per sphere, and
the gradient flows through the visible sphere. A moving silhouette gives no gradient.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from handjax.ops.batching import pvary
from handjax.pose.cube import BACKGROUND_MM, EXTENT_MM

# Minimum of the square of half a chord, mm²: keeps the gradient of the square root finite where a
# ray grazes a sphere, at the cost of up to 0.1 mm of depth.
_GRAZING = 0.01
# Spheres per iteration of the running minimum. Small iterations write intermediate results too
# often; large ones cost memory, and a single one would be recomputed for every use of the result.
_ROUND = 4


def sphere_depth_orthographic(
    centers: Float[Array, "*b s 3"],
    radii: Float[Array, "*b s"],
    size: int,
    extent_mm: float = EXTENT_MM,
    background: float = BACKGROUND_MM,
) -> tuple[Float[Array, "*b {size} {size}"], Int[Array, "*b {size} {size}"]]:
    """Depth along parallel rays, mm along z, and the visible sphere: `background` and -1 if none.

    As in sphereHand (Wan et al. 2019) the square of `extent_mm` is centered on x = y = 0, and pixel
    u is at x = (u - size/2) · extent/size, its left edge and not its center.
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
    """Depth z, mm, of the first sphere on each ray (x, y, 1) from the camera, and its index: 0 and
    -1 if none is hit.

    Exact to float32 except for grazing rays. Spheres behind or around the camera are not visible.
    """

    def depth(slopes: tuple, sphere: tuple) -> tuple[Array, Array]:
        (a, b), (x, y, z, r) = slopes, sphere
        length2 = a * a + b * b + 1
        # `t` is the depth of the point of the ray nearest to the center. Relative to it float32 is
        # precise enough; the textbook's b² - 4ac is not at the distance of a camera.
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
    """Depth along z, mm, at the integer pixel centers of camera `k`, and the visible sphere: 0 and
    -1 if none."""
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
    """Unsigned distance, mm, of points to the nearest surface, |‖p - c‖ - r|, and its sphere.

    The data → model distance of sphereHand (Wan et al. 2019), before its clipping at 50 mm and its
    mean. It is not a distance to the union of spheres: inside a sphere the nearest surface may be
    the hidden one of an overlapping sphere. (The signed min(‖p - c‖ - r) would be 0 on the surface
    of the union only.)

    The gradient is that of the nearest sphere, the first of equals. It is finite on its surface,
    where it changes sign, and at its center, where only the radius has one. NaN and -1 where no
    distance is finite.
    """

    def distance(at: tuple, sphere: tuple) -> tuple[Array, Array]:
        (px, py, pz), (x, y, z, r) = at, sphere
        square = (px - x) ** 2 + (py - y) ** 2 + (pz - z) ** 2
        apart = square != 0  # so NaN stays NaN
        # The root has no derivative at the center, so it never sees a 0 there.
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
    """Minimum of `measure` below `limit` over the spheres that are hit, [*b, p], and its sphere,
    the first of equals; else `limit` and -1.

    `measure(places, (x, y, z, r))` takes places [*b, p] and spheres [*b, 1 or p] and returns
    [*b, p]: the measure, and whether the sphere is hit.
    """
    spheres = (*(centers[..., i] for i in range(3)), radii)
    # An argmin over [*b, p, s] would give the same, but on CPUs XLA's is scalar: 4 to 8 x slower.
    constant, one_by_one = lax.stop_gradient(
        (places, tuple(jnp.moveaxis(part, -1, 0)[..., None] for part in spheres))
    )

    def compare(best: tuple, entry: tuple) -> tuple[tuple, None]:
        (least, winner), (i, sphere) = best, entry
        value, hit = measure(constant, sphere)
        nearer = hit & (value < least)
        return (jnp.where(nearer, value, least), jnp.where(nearer, i, winner)), None

    both = constant[0] + one_by_one[0][0]
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


def unit_sphere(
    rows: int = 12, columns: int = 20
) -> tuple[Float[np.ndarray, "v 3"], Int[np.ndarray, "f 3"]]:
    """A sphere of radius 1 as triangles along latitude and longitude, counter-clockwise seen from
    outside."""
    down, around = np.meshgrid(
        np.linspace(0, np.pi, rows + 1), np.arange(columns) * 2 * np.pi / columns, indexing="ij"
    )
    points = np.stack(
        [np.sin(down) * np.cos(around), np.sin(down) * np.sin(around), np.cos(down)], axis=-1
    )
    a = np.arange(rows * columns).reshape(rows, columns)
    b = np.roll(a, -1, axis=1)
    faces = np.stack([a, a + columns, b + columns, a, b + columns, b], axis=-1)
    return points.reshape(-1, 3), faces.reshape(-1, 3)
