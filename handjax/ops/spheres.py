"""Spheres → depth images: which sphere a pixel sees, and how far away it is, differentiable in centre and radius.

First the sphere of each pixel is found, without gradients, in one reduction over the spheres that XLA fuses; then only
that sphere's depth is computed. So memory is a few images, not one image a sphere, and the gradient flows through the
sphere that is seen. No gradient comes from a silhouette that moves.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

# Least square of half a chord, mm²: where a ray grazes a sphere the depth is up to a tenth of a mm off and the gradient
# of the square root stays finite.
_GRAZING = 0.01


def sphere_depth_orthographic(
    centers: Float[Array, "*b s 3"],
    radii: Float[Array, "*b s"],
    size: int,
    extent_mm: float = 300.0,
    background: float = 100.0,
) -> tuple[Float[Array, "*b {size} {size}"], Int[Array, "*b {size} {size}"]]:
    """Depth in mm along z seen by parallel rays, and the sphere seen (-1: none); `background` where nothing is nearer.

    The rule of sphereHand (Wan et al. 2019): the square of `extent_mm` is centred on x = y = 0, and pixel u stands for
    x = (u - size/2) · extent/size, its left edge and not its centre.
    """
    at = (jnp.arange(size, dtype=centers.dtype) - size / 2) * (extent_mm / size)
    v, u = jnp.meshgrid(at, at, indexing="ij")

    def depth(x: Array, y: Array, z: Array, r: Array) -> tuple[Array, Array]:
        dx, dy = (jnp.broadcast_to(g.reshape(-1, 1), (*x.shape[:-2], size * size, 1)) for g in (u, v))
        half_chord2 = r * r - (dx - x) ** 2 - (dy - y) ** 2
        return z - jnp.sqrt(jnp.maximum(half_chord2, _GRAZING)), half_chord2 > 0

    nearest, winner = _nearest(depth, centers, radii, background)
    shape = (*centers.shape[:-2], size, size)
    return nearest.reshape(shape), winner.reshape(shape)


def sphere_depth_along(
    rays: Float[Array, "*b r 3"], centers: Float[Array, "*b s 3"], radii: Float[Array, "*b s"]
) -> tuple[Float[Array, "*b r"], Int[Array, "*b r"]]:
    """Depth z in mm of the first sphere on each ray (x, y, 1) from the camera, and which; 0 and -1 where none is hit.

    Exact to float32 but for grazing rays; a sphere that the camera is inside of, or that is behind it, is not seen.
    """
    a, b = rays[..., 0, None], rays[..., 1, None]
    length2 = a * a + b * b + 1

    def depth(x: Array, y: Array, z: Array, r: Array) -> tuple[Array, Array]:
        # The point of the ray that is nearest to the centre has depth `t`. Measured from there float32 keeps its
        # digits; the textbook's b² - 4ac loses them at a camera's distance.
        t = (a * x + b * y + z) / length2
        half_chord2 = r * r - (x - a * t) ** 2 - (y - b * t) ** 2 - (z - t) ** 2
        front = t - jnp.sqrt(jnp.maximum(half_chord2, _GRAZING) / length2)
        return front, (half_chord2 > 0) & (front > 0)

    nearest, winner = _nearest(depth, centers, radii, jnp.inf)
    return jnp.where(winner >= 0, nearest, 0.0), winner


def sphere_depth_pinhole(
    centers: Float[Array, "*b s 3"], radii: Float[Array, "*b s"], k: Float[Array, "*b 3 3"], height: int, width: int
) -> tuple[Float[Array, "*b {height} {width}"], Int[Array, "*b {height} {width}"]]:
    """Depth in mm along z through the integer pixel centres of camera `k`, and the sphere seen; 0 and -1 where none."""
    v, u = jnp.meshgrid(jnp.arange(height, dtype=k.dtype), jnp.arange(width, dtype=k.dtype), indexing="ij")
    u, v = (jnp.broadcast_to(g.ravel(), (*k.shape[:-2], height * width)) for g in (u, v))
    a = (u - k[..., 0, 2, None]) / k[..., 0, 0, None]
    b = (v - k[..., 1, 2, None]) / k[..., 1, 1, None]
    depth, winner = sphere_depth_along(jnp.stack([a, b, jnp.ones_like(a)], axis=-1), centers, radii)
    shape = (*k.shape[:-2], height, width)
    return depth.reshape(shape), winner.reshape(shape)


def _nearest(depth: Callable, centers: Array, radii: Array, background: float) -> tuple[Array, Array]:
    """Least depth over the spheres that are hit, [*b, pixels], and its sphere; else the background and -1.

    `depth(x, y, z, r)` takes spheres [*b, pixels or 1, spheres or 1] and gives their depths and whether they are hit.
    """
    x, y, z = (centers[..., None, :, i] for i in range(3))
    spheres = (x, y, z, radii[..., None, :])
    front, hit = depth(*lax.stop_gradient(spheres))
    seen = jnp.where(hit & (front < background), front, jnp.inf)
    winner = jnp.where(jnp.isfinite(jnp.min(seen, axis=-1)), jnp.argmin(seen, axis=-1), -1)
    chosen = jnp.maximum(winner, 0)[..., None]
    front, _ = depth(*(jnp.take_along_axis(jnp.swapaxes(part, -1, -2), chosen, axis=-2) for part in spheres))
    return jnp.where(winner >= 0, front[..., 0], background), winner
