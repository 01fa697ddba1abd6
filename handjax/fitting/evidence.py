"""What the fit knows of one frame: measured points, where a hand cannot be, and what the network
says. All in mm of the crop: its camera's axes, from the middle that the camera looks at.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float

from handjax.fitting.hand_build import USUAL, Build
from handjax.fitting.observation import distance_to
from handjax.pose import geometry, pinhole
from handjax.pose.look_at import CROP_MM
from handjax.pose.skeleton import SKELETONS

POINTS = 320  # of the hand and what is around it
_CELL_MM = 10.0  # measurements nearer to each other than this are no news
_FAR_MM = 1e4
_PARENTS = SKELETONS["hand21"].parents
_FLESH_MM, _REACH_MM = 12.0, 8.0  # around a bone; beyond that, where a point counts a quarter


class Evidence(NamedTuple):
    """One frame, as the fit sees it."""

    points: Float[Array, "p 3"]
    view: Float[Array, "p 3"]  # unit vectors from the camera to the points
    weight: Float[Array, " p"]  # how many independent measurements a point stands for
    outside: Float[Array, "n n"]  # px from a pixel to where a hand may be, negative inside
    surface: Float[Array, "n n"]  # z of what was measured; where nothing was: behind everything
    k: Float[Array, "3 3"]  # of the crop
    distance: Float[Array, ""]  # of the middle from the camera
    joints: Float[Array, "21 3"]  # hand21, of the network
    std: Float[Array, "21"]  # of each of them along an axis, mm
    build: Build  # of the hand, as far as it is known


def gather(
    depth: Float[Array, "n n"],
    k: Float[Array, "3 3"],
    distance: Float[Array, ""],
    joints: Float[Array, "21 3"],
    std: Float[Array, "21"],
    build: Build = USUAL,
) -> Evidence:
    """The evidence in the crop of a right hand, mm along z, 0 missing, of a camera `k` that looks
    at the crop's middle, in the joints of a network, mm of the crop, and in what is known of the
    hand's `build`."""
    size = depth.shape[-1]
    middle = jnp.stack([jnp.zeros_like(distance), jnp.zeros_like(distance), distance])
    rays = pinhole.pixel_rays(k, size, size)
    inside = (depth > 0) & (jnp.abs(depth - distance) < CROP_MM / 2)
    count = inside.sum()
    # Every so many-th of the pixels inside, row by row.
    order = jnp.cumsum(inside.ravel()) - 1
    number = jnp.arange(POINTS)
    many = jnp.maximum(count, 1).astype(depth.dtype)
    wanted = ((number.astype(depth.dtype) + 0.5) * many / POINTS).astype(order.dtype)
    wanted = jnp.where(count > POINTS, wanted, number)
    chosen = jnp.minimum(jnp.searchsorted(order, wanted), size * size - 1)
    seen = rays[chosen] * depth.ravel()[chosen][:, None]
    pixel_mm = CROP_MM / size
    stands_for = jnp.maximum(many / POINTS, 1.0) * (pixel_mm / _CELL_MM) ** 2
    weight = jnp.where(number < count, stands_for, 0.0)
    seen = jnp.where((number < count)[:, None], seen, middle[None])
    weight = weight * _near_bones(seen - middle[None], joints, std)

    within = inside | ((depth == 0) & _grown(inside))
    outside = jnp.where(within, 0.5 - distance_to(~within), distance_to(within) - 0.5)
    surface = jnp.where(inside, depth - distance, _FAR_MM)
    view = seen / geometry.safe_norm(seen)[:, None]
    own = (seen - middle[None], view, weight, outside, surface, k, distance, joints, std)
    return Evidence(*own, Build(*(jnp.asarray(one) for one in build)))


def _grown(mask: Bool[Array, "n n"]) -> Bool[Array, "n n"]:
    """With the eight neighbours of every pixel: holes in the depth are taken for hand there."""
    return lax.reduce_window(mask, False, lax.bitwise_or, (3, 3), (1, 1), "SAME")


def _near_bones(
    points: Float[Array, "p 3"], joints: Float[Array, "21 3"], std: Float[Array, "21"]
) -> Float[Array, " p"]:
    """How likely points are of the hand that the network saw, 0 to 1: by their distance from its
    bones, where a joint may be `std` off."""
    child, parent = np.array([(i, p) for i, p in enumerate(_PARENTS) if p >= 0]).T
    start, axis = joints[parent], joints[child] - joints[parent]
    off = points[:, None] - start[None]
    length2 = jnp.maximum((axis**2).sum(-1), 1.0)
    share = jnp.clip((off * axis[None]).sum(-1) / length2[None], 0.0, 1.0)
    apart = geometry.safe_norm(off - share[..., None] * axis[None]) - _FLESH_MM
    reach = _REACH_MM + std[child][None] * share + std[parent][None] * (1 - share)
    return (1 / (1 + (jnp.maximum(apart, 0.0) / reach) ** 2) ** 2).max(-1)
