"""Round cones, the convex hulls of two balls each, as triangles: limbs, bodies, simple objects."""

import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32

from handjax.pose import geometry

_AROUND, _CAP = 12, 2  # corners around a cone, and rings of each of its rounded ends


def cone_surfaces(
    ends: Float[Array, "*b c 2 3"], radii: Float[Array, "*#b c 2"]
) -> tuple[Float[Array, "*b v 3"], Float[Array, "*b v 3"]]:
    """Vertices, mm, of the triangles `cone_faces(c)` of round cones, and their unit normals.

    `ends` are the centers of the balls and `radii` theirs. Anywhere on a cone the surface is the
    center of a ball plus its radius times the normal, so vertices are exact and only the faces
    between them are flat. Neither ball may contain the other.
    """
    which = _template()[0].astype(np.int32)
    cap, rise, around = (part.reshape((1,) * (ends.ndim - 2) + (-1,)) for part in _template())
    axis = ends[..., 1, :] - ends[..., 0, :]
    length = geometry.safe_norm(axis)
    axis = axis / jnp.maximum(length, 1e-3)[..., None]
    # Sine of the angle at which the cone leaves the balls.
    slope = jnp.clip((radii[..., 0] - radii[..., 1]) / jnp.maximum(length, 1e-3), -0.99, 0.99)
    start = jnp.arcsin(slope)[..., None]
    angle = start + rise * (jnp.pi / 2 * (2 * cap - 1) - start)  # [*b, c, v]
    across, along = _orthonormal(axis)
    ring = (
        jnp.cos(around)[..., None] * across[..., None, :]
        + jnp.sin(around)[..., None] * along[..., None, :]
    )
    normals = jnp.cos(angle)[..., None] * ring + jnp.sin(angle)[..., None] * axis[..., None, :]
    vertices = ends[..., which, :] + radii[..., which][..., None] * normals
    flat = (*vertices.shape[:-3], -1, 3)
    return vertices.reshape(flat), normals.reshape(flat)


@functools.cache
def cone_faces(count: int) -> Int32[np.ndarray, "f 3"]:
    """Triangles of `count` cones of `cone_surfaces`, counter-clockwise seen from outside."""
    ring = np.arange(_AROUND)
    after = (ring + 1) % _AROUND

    def band(first: np.integer, second: np.integer) -> np.ndarray:
        """Two triangles per corner between two rings, given by their first vertices."""
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
    """Per vertex of a cone: its end, its latitude from the cone (0) to the pole (1), its angle."""
    rise = np.append(np.repeat(np.arange(_CAP) / _CAP, _AROUND), 1.0)
    around = np.append(np.tile(2 * np.pi * np.arange(_AROUND) / _AROUND, _CAP), 0.0)
    cap = np.repeat(np.arange(2.0), len(rise))
    return (
        cap.astype(np.float32),
        np.tile(rise, 2).astype(np.float32),
        np.tile(around, 2).astype(np.float32),
    )


def _orthonormal(axis: Float[Array, "*b 3"]) -> tuple[Float[Array, "*b 3"], Float[Array, "*b 3"]]:
    """Two unit vectors that complete a unit vector to a right-handed frame.

    Duff et al. 2017, "Building an orthonormal basis, revisited".
    """
    x, y, z = axis[..., 0], axis[..., 1], axis[..., 2]
    sign = jnp.where(z >= 0, 1.0, -1.0)
    a = -1 / (sign + z)
    b = x * y * a
    return (
        jnp.stack([1 + sign * x * x * a, sign * b, -sign * x], axis=-1),
        jnp.stack([b, sign + y * y * a, -y], axis=-1),
    )
