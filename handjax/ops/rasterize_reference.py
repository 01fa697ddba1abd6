"""The reference implementation of `rasterize`, in plain JAX."""

import functools
from collections.abc import Iterable

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from handjax.ops.batching import pvary

Viewport = tuple[int, int, int, float, float]  # height, width, sign culled, near, background


def reference(
    screen: Float[Array, "b v 4"], faces: Array, viewport: Viewport
) -> tuple[Float[Array, "b h w"], Int[Array, "b h w"]]:
    """Depth and face images like the kernels': every face is tested at every pixel, in order."""
    height, width, culled, near, background = viewport
    batch, vertices = screen.shape[:2]
    shape = (batch, height, width)
    if 0 in (faces.shape[-2], vertices, height, width):
        far, none = jnp.full(shape, background, screen.dtype), jnp.full(shape, -1, jnp.int32)
        like = jnp.sum(screen, axis=(1, 2), keepdims=True)
        return pvary(far, like), pvary(none, like)
    index = jnp.broadcast_to(faces, (batch, *faces.shape[-2:]))
    named = jnp.all((index >= 0) & (index < vertices), axis=-1)
    corners = jnp.take_along_axis(
        screen[:, None, :, :],
        jnp.clip(index, 0, vertices - 1).transpose(0, 2, 1)[..., None],
        axis=2,
    )  # [b, 3, f, 4]
    drawn = named & jnp.all(jnp.isfinite(corners), axis=(1, 3))
    y = jnp.arange(height, dtype=screen.dtype).reshape(1, height, 1)
    x = jnp.arange(width, dtype=screen.dtype).reshape(1, 1, width)

    def draw(seen, this):
        best, face = seen
        number, corners, drawn = this
        depth, inside = _fragments(corners[..., None, None], x, y, culled)
        closer = inside & drawn[:, None, None] & (depth > near) & (depth < best)
        return (jnp.where(closer, depth, best), jnp.where(closer, number, face)), None

    far, none = jnp.full(shape, jnp.inf, screen.dtype), jnp.full(shape, -1, jnp.int32)
    start = (pvary(far, like=screen[:, :1, :1]), pvary(none, like=screen[:, :1, :1]))
    each = (jnp.arange(faces.shape[-2], dtype=jnp.int32), corners.transpose(2, 0, 1, 3), drawn.T)
    (depth, face), _ = lax.scan(draw, start, each)
    return jnp.where(face >= 0, depth, background), face


def _fragments(
    corners: Float[Array, "b 3 4 1 1"], x: Array, y: Array, culled: int
) -> tuple[Array, Array]:
    """Depth of one face at all pixels, and its coverage: `Fragment` of custom_ops/rasterize.h."""
    u, v, w, d = ([corners[:, i, part] for i in range(3)] for part in range(4))
    du = [u[i] - _round(x * w[i]) for i in range(3)]
    dv = [v[i] - _round(y * w[i]) for i in range(3)]
    edges = [_cross(du, dv, i) for i in range(3)]
    # The slope of an edge function to the right, else downwards: decides for centers on the edge.
    right = [_cross(v, w, i) for i in range(3)]
    down = [_cross(w, u, i) for i in range(3)]
    side = [jnp.where(right[i] != 0, right[i], down[i]) for i in range(3)]

    total = (edges[0] + edges[1]) + edges[2]
    scale, depth = (
        (_round(edges[0] * q[0]) + _round(edges[1] * q[1])) + _round(edges[2] * q[2])
        for q in (w, d)
    )
    positive = _all((edges[i] > 0) | ((edges[i] == 0) & (side[i] > 0)) for i in range(3))
    negative = _all((edges[i] < 0) | ((edges[i] == 0) & (side[i] < 0)) for i in range(3))
    positive &= (total > 0) & (scale > 0) & (culled != 1)
    negative &= (total < 0) & (scale < 0) & (culled != -1)
    # Always true for points inside, except for rounding errors along degenerate triangles.
    near_by = _all(
        (functools.reduce(jnp.minimum, at) <= 0) & (functools.reduce(jnp.maximum, at) >= 0)
        for at in (du, dv)
    )
    return depth / jnp.where(total == 0, 1.0, total), (positive | negative) & near_by


def _cross(a: list[Array], b: list[Array], i: int) -> Array:
    j, k = (i + 1) % 3, (i + 2) % 3
    return _round(a[j] * b[k]) - _round(a[k] * b[j])


def _round(product: Array) -> Array:
    """Round the product to float32, by an identity that XLA does not optimize away.

    Otherwise XLA would fuse it with the following sum into one operation that rounds once, and an
    edge traversed in the other direction would not be its exact negative.
    """
    return jnp.where(product == product, product, jnp.nan)


def _all(conditions: Iterable[Array]) -> Array:
    return functools.reduce(jnp.logical_and, conditions)
