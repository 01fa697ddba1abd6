"""The surface of the sphere hand as the fit sees it: spheres joined into cones, and the place on it
that a measured point belongs to.

A camera sees front sides only. So a point that lies behind the axis of a cone belongs to the cone's
rim and not to its back (Tkach et al. 2016, "Sphere-meshes for real-time hand modeling and
tracking"; the code is our own).
"""

from itertools import pairwise
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from handjax.pose import geometry
from handjax.rigs.skin_weights import HAND_LINKS

ARM = 41  # the first of the forearm's two spheres, after the 41 of the hand
_CHAINS = tuple(pair for chain in HAND_LINKS.fingers for pair in pairwise(chain))
LINKS = np.array((*HAND_LINKS.palm, *_CHAINS, (ARM, ARM + 1)), np.int32)  # cone → its spheres
_LEAST_MM = 1e-3  # shorter vectors have no direction


class Contact(NamedTuple):
    """The place of the surface that each point belongs to: in the direction `normal` from the
    center of the sphere that is `share` of the way from the first of the spheres `ends`."""

    ends: Int[Array, "p 2"]
    share: Float[Array, " p"]
    normal: Float[Array, "p 3"]
    along: Float[Array, "p 3"]  # unit vector from the place to the point
    distance: Float[Array, " p"]  # mm along it, negative inside

    @property
    def on_arm(self) -> Array:
        """Whether the place is on the forearm."""
        return self.ends[:, 0] == ARM


def contacts(
    points: Float[Array, "p 3"],
    view: Float[Array, "p 3"],
    centers: Float[Array, "43 3"],
    radii: Float[Array, "43"],
) -> Contact:
    """The nearest place for each point, mm; `view`: unit vectors from the camera to the points.

    Spheres are those of the hand, then the two ends of the forearm.
    """
    first, second = LINKS.T
    start, radius = centers[first], radii[first]
    axis, widening = centers[second] - start, radii[second] - radius
    cones = (start[None], axis[None], radius[None], widening[None])
    _, distance = _nearest(points[:, None], view[:, None], *cones)
    best = jnp.argmin(distance, axis=1)
    start, axis, radius, widening = start[best], axis[best], radius[best], widening[best]
    share, distance = _nearest(points, view, start, axis, radius, widening)

    off = points - start - share[:, None] * axis
    depth = _dot(off, view)[:, None]
    across = jnp.where(depth > 0, off - depth * view, off)
    normal = across / jnp.maximum(geometry.safe_norm(across), _LEAST_MM)[:, None]
    gap = off - (radius + share * widening)[:, None] * normal
    rim = gap / jnp.maximum(geometry.safe_norm(gap), _LEAST_MM)[:, None]
    along = jnp.where(depth > 0, rim, normal)
    return Contact(jnp.asarray(LINKS)[best], share, normal, along, distance)


def _nearest(points, view, start, axis, radius, widening):
    """The share of a cone's axis whose sphere is nearest to a point, and the distance, mm.

    The sphere is where the derivative along the axis vanishes; the sine of the cone's half angle is
    `widening` over its length.
    """
    length2 = jnp.maximum(_dot(axis, axis), _LEAST_MM**2)
    length = jnp.sqrt(length2)
    sine = jnp.clip(widening / length, -0.9, 0.9)
    slope = sine / jnp.sqrt(1 - sine**2)
    off = points - start
    foot = _dot(off, axis) / length
    aside2 = jnp.maximum(_dot(off, off) - foot**2, 0.0)
    share = jnp.clip((foot + jnp.sqrt(aside2) * slope) / length, 0.0, 1.0)
    off2 = aside2 + (foot - share * length) ** 2
    size = radius + share * widening
    depth = _dot(off, view) - share * _dot(axis, view)
    rim = jnp.sqrt(jnp.maximum(off2 - depth**2, 0.0)) - size
    behind = jnp.sqrt(rim**2 + depth**2)
    return share, jnp.where(depth > 0, behind, jnp.sqrt(off2) - size)


def _dot(a, b):
    """Written out: XLA's sum over so short an axis is not fused."""
    return a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1] + a[..., 2] * b[..., 2]
