"""Rasterization of triangles to depth and face images, differentiable in the vertices.

    screen = to_screen(vertices, k, projection="pinhole", interpolation="perspective")
    depth, face = rasterize(screen, faces, height, width)
    weights = barycentrics(screen, faces, face)
    colours = interpolate(vertex_colours, faces, face, weights)

A vertex on the screen is homogeneous, (U, V, W, D): it lies at pixel (U/W, V/W), and D, its depth
in mm, is interpolated. With W = D = z triangles need no clipping at the camera plane (Olano and
Greer 1997, "Triangle scan conversion using 2D homogeneous coordinates") and interpolation is
perspective-correct; with W = 1 it is linear in the image.

There are three implementations of the same rule, which agree bit for bit: C++ for CPUs, CUDA
(custom_ops/rasterize.h for both), and the reference implementation in JAX (rasterize_reference.py).

- Pixel centers are at integers. Relative to pixel (x, y) a corner is at (U - xW, V - yW), and three
  edge functions of these positions decide whether the pixel is inside. They change sign exactly
  when an edge is traversed in the other direction, so two faces that share an edge leave no gap and
  share no pixel.
- A pixel center on an edge belongs to the face for which it is a left edge or a horizontal top
  edge.
- The nearest depth wins; at equal depths, the lowest face. Nothing is drawn at or before `near`,
  nor behind the camera. The sign of a depth of 0 is undefined.
- Faces with a corner that is not finite, with an index out of range, or without area are not drawn.

The original (sphereHand's CUDA kernel) uses 1/Σ(wᵢ/zᵢ) also for parallel rays with z centered on 0,
which is wrong for triangles across z = 0; it clamps weights, which enlarges faces; and it has no
gradient.
"""

import functools
from collections.abc import Callable
from typing import Literal, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from handjax.ops import library
from handjax.ops.batching import per_sample, pvary
from handjax.ops.gather import take_rows
from handjax.ops.rasterize_reference import Viewport, reference

Cull = Literal["none", "back", "front"]
Faces = Int[Array | np.ndarray, "*_ f 3"]
# Pixels per side, at most: up to here the kernels' bounding boxes are exact to 1/100 of a pixel.
LARGEST_IMAGE = 16384

# Sign of the sum of edge functions for which a face is not drawn.
_CULLED = {"none": 0, "back": 1, "front": -1}


def to_screen(
    vertices: Float[Array, "*b v 3"],
    k: Float[Array, "*b 3 3"],
    *,
    projection: Literal["pinhole", "orthographic"],
    interpolation: Literal["linear", "perspective"],
) -> Float[Array, "*b v 4"]:
    """Vertices in camera mm → homogeneous pixels and depth, (U, V, W, D), for `rasterize`.

    "pinhole": pixels are k·(x, y, z); "orthographic": k·(x, y, 1), with rays parallel to z. Exact
    are pinhole with "perspective" interpolation, and orthographic with "linear".

    Pinhole with "linear" is the affine approximation, in which faces with a vertex at or behind the
    camera are not drawn. Orthographic with "perspective" is the original's formula, 1/Σ(wᵢ/zᵢ), for
    z > 0. ValueError for other names.
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
    """Depth in mm and index of the nearest face per pixel; `background` and -1 where there is none.

    `faces` are vertex indices, one list for all samples or one per sample. `cull="back"` omits
    faces whose normal (b - a) × (c - a) points away from the camera (x right, y down, z forward);
    `cull="front"` omits those that point to it.

    The gradient with respect to `screen` is that of the depth of the visible face's plane; there is
    none of visibility, hence none from outlines. Only first derivatives in reverse mode are
    supported. Images and gradients are deterministic.

    Everything is computed in float32, whatever the dtype of `screen`; the options are plain
    numbers. ValueError for invalid options, shapes or dtypes.
    """
    if cull not in _CULLED:
        raise ValueError(f"cull={cull!r}: expected 'none', 'back' or 'front'")
    if not (0 <= height <= LARGEST_IMAGE and 0 <= width <= LARGEST_IMAGE):
        raise ValueError(
            f"an image of {height} x {width} pixels: expected 0 to {LARGEST_IMAGE} a side"
        )
    if screen.ndim < 2 or screen.shape[-1] != 4:
        raise ValueError(
            f"screen {screen.shape}: expected [..., vertices, 4], as returned by to_screen"
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
    """Weights of the corners of the face at each pixel, summing to 1; 0 where there is no face."""
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
    """Interpolate values of vertices at pixels by `barycentrics`; 0 where there is no face."""
    batch = face.shape[:-2]
    corners = _corners(_flat(values, batch), _flat_faces(faces, batch), _flat(face, batch))
    flat_weights = _flat(weights, batch)
    # Not a sum over an axis: on a CPU it is not vectorized and takes a hundred times as long.
    terms = (corners[..., i, :] * flat_weights[..., i, None] for i in range(3))
    blended = cast(Array, sum(terms))
    return blended.reshape(*face.shape, values.shape[-1])


def _flat(x: Array, batch: tuple[int, ...]) -> Array:
    """Merge the batch axes into one. A single axis is not reshaped, since it may be sharded."""
    return x if len(batch) == 1 else x.reshape(int(np.prod(batch)), *x.shape[len(batch) :])


def _flat_faces(faces: Faces, batch: tuple[int, ...]) -> Array:
    faces = jnp.asarray(faces)
    if faces.ndim < 2 or faces.shape[-1] != 3 or not jnp.issubdtype(faces.dtype, jnp.integer):
        raise ValueError(
            f"faces {faces.shape} of {faces.dtype}: expected whole numbers [..., faces, 3]"
        )
    if faces.ndim > 2 and faces.shape[:-2] != batch:
        raise ValueError(
            f"faces {faces.shape} for a batch of {batch}: expected one list for all samples or one "
            "per sample"
        )
    return (faces if faces.ndim == 2 else _flat(faces, batch)).astype(jnp.int32)


# ---- gradient ------------------------------------------------------------------------------------


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
    """Edge functions of each pixel's face at the pixel, proportional to the corners' weights."""
    height, width = corners.shape[1:3]
    y = jnp.arange(height, dtype=corners.dtype).reshape(1, height, 1)
    x = jnp.arange(width, dtype=corners.dtype).reshape(1, 1, width)
    # Three slices rather than an axis of length three, which takes twice as long on a CPU.
    u = [corners[..., i, 0] - x * corners[..., i, 2] for i in range(3)]
    v = [corners[..., i, 1] - y * corners[..., i, 2] for i in range(3)]
    return [u[(i + 1) % 3] * v[(i + 2) % 3] - u[(i + 2) % 3] * v[(i + 1) % 3] for i in range(3)]


def _corners(values: Array, faces: Array, face: Array) -> Float[Array, "b h w 3 c"]:
    """Values [b, v, c] of the three corners of the face at each pixel; 0 where there is none."""
    if faces.shape[-2] == 0 or values.shape[-2] == 0:
        return jnp.zeros((*face.shape, 3, values.shape[-1]), values.dtype)
    corners = jax.vmap(_corners_of_sample, in_axes=(0, None if faces.ndim == 2 else 0, 0))(
        values, faces, face
    )
    # Also keeps vertices that are not finite out of the gradient.
    return jnp.where(face[..., None, None] >= 0, corners, 0.0)


def _corners_of_sample(values, faces, face):
    index = jnp.clip(faces, 0, len(values) - 1)[jnp.maximum(face, 0)]
    return take_rows(values, index.reshape(-1)).reshape(*index.shape, values.shape[-1])


# ---- visibility ----------------------------------------------------------------------------------


@functools.cache
def _visible(viewport: Viewport) -> Callable:
    """(screen [b v 4], faces [f 3] or [b f 3]) → depth, face [b h w], by the platform's kernel.

    Without a kernel, by the reference implementation.
    """
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
            return reference(screen, faces, viewport)  # nothing to draw
        kernels = dict.fromkeys(library.platforms(), kernel)
        return lax.platform_dependent(
            screen, faces, **kernels, default=functools.partial(reference, viewport=viewport)
        )

    return visible
