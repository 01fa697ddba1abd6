"""Triangles → depth image and face image, differentiable in the vertices: one function on CPU, CUDA and in plain JAX.

    screen = to_screen(vertices, k, projection="pinhole", interpolation="perspective")
    depth, face = rasterize(screen, faces, height, width)
    weights = barycentrics(screen, faces, face)
    colours = interpolate(vertex_colours, faces, face, weights)

A vertex on the screen is homogeneous, (U, V, W, D): it lies at pixel (U/W, V/W) and D is what is interpolated, its depth
in mm. With W = D = z a triangle needs no clipping where it passes the camera (Olano & Greer 1997, "Triangle scan
conversion using 2D homogeneous coordinates") and interpolation is perspective-correct; with W = 1 it is linear in the
image. The rule, bit for bit the same in all three implementations (custom_ops/rasterize.h):

- Pixel centres are integers. Seen from pixel (x, y) a corner is at (U - xW, V - yW), and three edge functions of these say
  whether the pixel is inside. They change sign exactly when an edge is walked the other way, so two faces that share an
  edge leave no gap and share no pixel.
- A pixel centre on an edge belongs to the face for which that is a left edge, or a horizontal top edge.
- Nearest depth wins, of equal depths the lowest face. Nothing is drawn at or before `near`, nor behind the camera. Of a
  depth of 0 the sign is not promised.
- A face with a corner that is not finite, or with an index that names no vertex, is not drawn; one without area neither.

The original (sphereHand's CUDA kernel) takes 1/Σ(wᵢ/zᵢ) also for parallel rays with z centred on 0, which is wrong for
triangles across z = 0; clamps weights, so that faces grow; and has no gradient.
"""

import functools
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from handjax.ops import library
from handjax.ops.batching import per_sample, pvary

Cull = Literal["none", "back", "front"]
Faces = Int[Array | np.ndarray, "*_ f 3"]
LARGEST_IMAGE = (
    16384  # pixels a side: bounds in the kernels are sure to a hundredth of a pixel up to here
)

_CULLED = {"none": 0, "back": 1, "front": -1}  # sign of the edge functions' sum that is not drawn


def to_screen(
    vertices: Float[Array, "*b v 3"],
    k: Float[Array, "*b 3 3"],
    *,
    projection: Literal["pinhole", "orthographic"],
    interpolation: Literal["linear", "perspective"],
) -> Float[Array, "*b v 4"]:
    """Vertices in camera mm → homogeneous pixels and depth, (U, V, W, D), for `rasterize`.

    "pinhole": pixels are k·(x, y, z); "orthographic": k·(x, y, 1), rays parallel to z. True are pinhole with
    "perspective" interpolation and orthographic with "linear". Pinhole with "linear" is the affine approximation: a face
    with a vertex at or behind the camera is not drawn. Orthographic with "perspective" is the original's formula,
    1/Σ(wᵢ/zᵢ), where all z > 0.
    """
    if projection not in ("pinhole", "orthographic"):
        raise ValueError(f"projection={projection!r}: expected 'pinhole' or 'orthographic'")
    if interpolation not in ("linear", "perspective"):
        raise ValueError(f"interpolation={interpolation!r}: expected 'linear' or 'perspective'")
    x, y, z = (vertices[..., i] for i in range(3))
    one = jnp.ones_like(z)
    scale = z if projection == "pinhole" else one
    u, v = (
        k[..., i, 0, None] * x + k[..., i, 1, None] * y + k[..., i, 2, None] * scale
        for i in range(2)
    )
    if projection == "pinhole" and interpolation == "linear":
        ahead = z > 0
        scale = jnp.where(ahead, z, 1.0)
        u, v = (jnp.where(ahead, at / scale, jnp.nan) for at in (u, v))
    elif projection == "orthographic" and interpolation == "perspective":
        u, v = u * z, v * z
    return jnp.stack([u, v, z if interpolation == "perspective" else one, z], axis=-1)


def rasterize(
    screen: Float[Array, "*b v 4"],
    faces: Faces,
    height: int,
    width: int,
    *,
    cull: Cull = "none",
    near: float = -float("inf"),
    background: float = 0.0,
) -> tuple[Float[Array, "*b {height} {width}"], Int[Array, "*b {height} {width}"]]:
    """Depth in mm and index of the nearest face at every pixel; `background` and -1 where there is none.

    `faces` are vertex indices, one list for all samples or one a sample. `cull="back"` leaves out faces whose normal
    (b - a) × (c - a) points away from the camera, in axes x right, y down, z forward; "front" those that face it.

    The gradient with respect to `screen` is that of the plane formula at the face that is seen: what is visible does not
    change with it, and nothing comes from outlines. It is the same from run to run, and so is the image. First derivatives
    in reverse mode are all there are. Everything is float32, whatever `screen` is; the options are plain numbers.
    """
    if cull not in _CULLED:
        raise ValueError(f"cull={cull!r}: expected 'none', 'back' or 'front'")
    if not (0 <= height <= LARGEST_IMAGE and 0 <= width <= LARGEST_IMAGE):
        raise ValueError(
            f"an image of {height} x {width} pixels: expected 0 to {LARGEST_IMAGE} a side"
        )
    if screen.ndim < 2 or screen.shape[-1] != 4:
        raise ValueError(
            f"screen {screen.shape}: expected [..., vertices, 4], what to_screen gives"
        )
    batch = screen.shape[:-2]
    viewport = (height, width, _CULLED[cull], float(near), float(background))
    depth, face = _rasterize(
        _flat(screen, batch).astype(jnp.float32), _flat_faces(faces, batch), viewport
    )
    return depth.reshape(*batch, height, width), face.reshape(*batch, height, width)


def barycentrics(
    screen: Float[Array, "*b v 4"], faces: Faces, face: Int[Array, "*b h w"]
) -> Float[Array, "*b h w 3"]:
    """Weights of the three corners of the face seen at each pixel, summing to 1; all 0 where there is none."""
    batch = face.shape[:-2]
    flat_face = _flat(face, batch)
    edges = _edges(_corners(_flat(screen, batch), _flat_faces(faces, batch), flat_face))
    total = jnp.where(flat_face >= 0, sum(edges), 1.0)
    return jnp.stack([edge / total for edge in edges], axis=-1).reshape(*face.shape, 3)


def interpolate(
    values: Float[Array, "*b v c"],
    faces: Faces,
    face: Int[Array, "*b h w"],
    weights: Float[Array, "*b h w 3"],
) -> Float[Array, "*b h w c"]:
    """Values given at vertices, at the pixels: weighted by `barycentrics`; 0 where no face is seen."""
    batch = face.shape[:-2]
    corners = _corners(_flat(values, batch), _flat_faces(faces, batch), _flat(face, batch))
    flat_weights = _flat(weights, batch)
    # Not a sum over an axis: on a CPU that is not vectorized and takes a hundred times as long.
    blended = sum(corners[..., i, :] * flat_weights[..., i, None] for i in range(3))
    return blended.reshape(*face.shape, values.shape[-1])


def _flat(x: Array, batch: tuple[int, ...]) -> Array:
    """One batch axis. Where there is one already nothing is reshaped: it may be sharded."""
    return x if len(batch) == 1 else x.reshape(int(np.prod(batch)), *x.shape[len(batch) :])


def _flat_faces(faces: Faces, batch: tuple[int, ...]) -> Array:
    faces = jnp.asarray(faces)
    if faces.ndim < 2 or faces.shape[-1] != 3 or not jnp.issubdtype(faces.dtype, jnp.integer):
        raise ValueError(
            f"faces {faces.shape} of {faces.dtype}: expected whole numbers [..., faces, 3]"
        )
    if faces.ndim > 2 and faces.shape[:-2] != batch:
        raise ValueError(
            f"faces {faces.shape} for a batch of {batch}: expected one list for all samples or one for each"
        )
    return (faces if faces.ndim == 2 else _flat(faces, batch)).astype(jnp.int32)


# ---- gradient ------------------------------------------------------------------------------------------------------

Viewport = tuple[int, int, int, float, float]  # height, width, sign culled, near, background


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _rasterize(screen, faces, viewport):
    return per_sample(_visible(viewport), (3, 3), screen, faces)


def _rasterize_forward(screen, faces, viewport):
    depth, face = _rasterize(screen, faces, viewport)
    return (depth, face), (screen, faces, face)


def _rasterize_backward(viewport, saved, gradients):
    screen, faces, face = saved
    return per_sample(_plane_depth_vjp, (3, 3, 3, 3), screen, faces, face, gradients[0])[0], None


_rasterize.defvjp(_rasterize_forward, _rasterize_backward)


def _plane_depth_vjp(screen, faces, face, gradient):
    def depth(screen):
        corners = _corners(screen, faces, face)
        edges = _edges(corners)
        total = jnp.where(face >= 0, sum(edges), 1.0)
        return sum(edge * corners[..., i, 3] for i, edge in enumerate(edges)) / total

    return jax.vjp(depth, screen)[1](gradient)


def _edges(corners: Float[Array, "b h w 3 4"]) -> list[Float[Array, "b h w"]]:
    """The edge functions at every pixel of its own three corners: proportional to the corners' weights."""
    height, width = corners.shape[1:3]
    y = jnp.arange(height, dtype=corners.dtype).reshape(1, height, 1)
    x = jnp.arange(width, dtype=corners.dtype).reshape(1, 1, width)
    # Three slices, not one axis of three: on a CPU sums and shifts along so short an axis take twice as long.
    u = [corners[..., i, 0] - x * corners[..., i, 2] for i in range(3)]
    v = [corners[..., i, 1] - y * corners[..., i, 2] for i in range(3)]
    return [u[(i + 1) % 3] * v[(i + 2) % 3] - u[(i + 2) % 3] * v[(i + 1) % 3] for i in range(3)]


def _corners(values: Array, faces: Array, face: Array) -> Float[Array, "b h w 3 c"]:
    """Values [b, v, c] at the three corners of the face at each pixel; 0 where there is none."""
    if faces.shape[-2] == 0 or values.shape[-2] == 0:
        return jnp.zeros((*face.shape, 3, values.shape[-1]), values.dtype)
    corners = jax.vmap(_corners_of_sample, in_axes=(0, None if faces.ndim == 2 else 0, 0))(
        values, faces, face
    )
    return jnp.where(
        face[..., None, None] >= 0, corners, 0.0
    )  # also keeps the gradient clear of vertices that are not finite


def _corners_of_sample(values, faces, face):
    index = jnp.clip(faces, 0, len(values) - 1)[jnp.maximum(face, 0)]
    return _take(values, index.reshape(-1)).reshape(*index.shape, values.shape[-1])


@jax.custom_vjp
def _take(values: Float[Array, "v c"], index: Int[Array, " n"]) -> Float[Array, "n c"]:
    """values[index], whose gradient is summed in one fixed order."""
    return values[index]


def _take_backward(saved, gradient):
    index, count = saved
    sums = lax.platform_dependent(
        index, gradient, cpu=_add_one_by_one(count), default=_add_sorted(count)
    )
    return sums, None


_take.defvjp(lambda values, index: (values[index], (index, values.shape[0])), _take_backward)


def _add_one_by_one(count: int) -> Callable:
    return lambda index, rows: jnp.zeros((count, rows.shape[-1]), rows.dtype).at[index].add(rows)


def _add_sorted(count: int) -> Callable:
    """Sums rows of equal index in a tree over the sorted rows: on a GPU adding one by one is atomic, in any order."""

    def add(index, rows):
        order = jnp.argsort(index)
        index, rows = index[order], rows[order]

        def merge(left, right):
            same = left[0] == right[0]
            return right[0], jnp.where(same[:, None], left[1] + right[1], right[1])

        if not len(index):
            return jnp.zeros((count, rows.shape[-1]), rows.dtype)
        _, running = lax.associative_scan(merge, (index, rows))
        wanted = jnp.arange(count, dtype=index.dtype)
        last = jnp.searchsorted(index, wanted, side="right") - 1
        there = (last >= 0) & (index[jnp.maximum(last, 0)] == wanted)
        return jnp.where(there[:, None], running[jnp.maximum(last, 0)], 0.0)

    return add


# ---- which face a pixel sees ---------------------------------------------------------------------------------------


@functools.cache
def _visible(viewport: Viewport) -> Callable:
    """(screen [b v 4], faces [f 3] or [b f 3]) → depth, face [b h w]: the kernel of the platform, or the reference."""
    height, width, culled, near, background = viewport

    def kernel(screen, faces):
        shape = (screen.shape[0], height, width)
        out = (jax.ShapeDtypeStruct(shape, jnp.float32), jax.ShapeDtypeStruct(shape, jnp.int32))
        attributes = dict(
            culled=np.int32(culled), near=np.float32(near), background=np.float32(background)
        )
        images = jax.ffi.ffi_call("handjax_rasterize", out)(screen, faces, **attributes)
        return tuple(pvary(x, like=screen[:, :1, :1]) for x in images)

    def visible(screen, faces):
        if 0 in (screen.shape[1], faces.shape[-2], height, width):
            return reference(screen, faces, viewport)  # nothing to draw, or nowhere
        kernels = dict.fromkeys(library.platforms(), kernel)
        return lax.platform_dependent(
            screen, faces, **kernels, default=functools.partial(reference, viewport=viewport)
        )

    return visible


def reference(
    screen: Float[Array, "b v 4"], faces: Array, viewport: Viewport
) -> tuple[Float[Array, "b h w"], Int[Array, "b h w"]]:
    """The kernels' function in plain JAX: every face is tried at every pixel, one face after the other."""
    height, width, culled, near, background = viewport
    batch, vertices = screen.shape[:2]
    shape = (batch, height, width)
    if 0 in (faces.shape[-2], vertices, height, width):
        empty = jnp.full(shape, background, screen.dtype), jnp.full(shape, -1, jnp.int32)
        return tuple(pvary(x, like=jnp.sum(screen, axis=(1, 2), keepdims=True)) for x in empty)
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

    start = (jnp.full(shape, jnp.inf, screen.dtype), jnp.full(shape, -1, jnp.int32))
    start = tuple(pvary(x, like=screen[:, :1, :1]) for x in start)
    each = (jnp.arange(faces.shape[-2], dtype=jnp.int32), corners.transpose(2, 0, 1, 3), drawn.T)
    (depth, face), _ = lax.scan(draw, start, each)
    return jnp.where(face >= 0, depth, background), face


def _fragments(
    corners: Float[Array, "b 3 4 1 1"], x: Array, y: Array, culled: int
) -> tuple[Array, Array]:
    """Depth of one face at all pixels, and whether it covers them: `Fragment` of custom_ops/rasterize.h in JAX."""
    u, v, w, d = ([corners[:, i, part] for i in range(3)] for part in range(4))
    du = [u[i] - _round(x * w[i]) for i in range(3)]
    dv = [v[i] - _round(y * w[i]) for i in range(3)]
    edges = [_cross(du, dv, i) for i in range(3)]
    # How an edge function grows to the right, else downwards: the side of a pixel centre that lies on the edge.
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
    # Always true of a point inside, but for rounding along triangles that are a line.
    near_by = _all(
        (functools.reduce(jnp.minimum, at) <= 0) & (functools.reduce(jnp.maximum, at) >= 0)
        for at in (du, dv)
    )
    return depth / jnp.where(total == 0, 1.0, total), (positive | negative) & near_by


def _cross(a: list[Array], b: list[Array], i: int) -> Array:
    j, k = (i + 1) % 3, (i + 2) % 3
    return _round(a[j] * b[k]) - _round(a[k] * b[j])


def _round(product: Array) -> Array:
    """The product rounded to float32. XLA would fuse it with the next sum into one operation that rounds once, and then
    an edge walked the other way is not its exact negative; it does not see through this."""
    return jnp.where(product == product, product, jnp.nan)


def _all(conditions) -> Array:
    return functools.reduce(jnp.logical_and, conditions)
