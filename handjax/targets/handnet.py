"""Depth crops and joints ↔ inputs and maps of the hand network.

The crop is the image [n, n] of a camera that looks at its middle, which is `distance` mm away along
the axis, and shows 300 mm there. Crop coordinates are mm from the middle: x and y as seen on the
plane through the middle, that is (u - c) · 300/n, and z along the axis.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from handjax.pose.look_at import CROP_MM

HALF_MM = CROP_MM / 2
_MIN_LOG, _MAX_LOG = -1.0, 5.0  # of a deviation in mm: 0.4 to 150 mm
_SPREAD = 0.8  # cells: deviation of the heat that is learnt
_START_LOG = 3.5  # of an untrained network: 33 mm


def network_input(
    depth: Float[Array, "*b n n"], distance: Float[Array, "*b"]
) -> Float[Array, "*b n n 2"]:
    """Depth, mm, 0 not measured → depth from the middle as -1 to 1, with 1 for everything behind
    the cube or not measured, and where something was measured in it."""
    from_middle = (depth - distance[..., None, None]) / HALF_MM
    inside = (depth > 0) & (jnp.abs(from_middle) < 1)
    seen = jnp.where(depth > 0, jnp.clip(from_middle, -1.0, 1.0), 1.0)
    return jnp.stack([seen, inside.astype(seen.dtype)], axis=-1)


def crop_coordinates(
    xyz: Float[Array, "*b j 3"], k: Float[Array, "*b 3 3"], distance: Float[Array, "*b"], size: int
) -> Float[Array, "*b j 3"]:
    """mm of the crop's camera → crop coordinates, mm."""
    focal = k[..., 0, 0][..., None, None]
    xy = xyz[..., :2] / xyz[..., 2:] * focal * (CROP_MM / size)
    return jnp.concatenate([xy, xyz[..., 2:] - distance[..., None, None]], axis=-1)


def camera_coordinates(
    crop: Float[Array, "*b j 3"], k: Float[Array, "*b 3 3"], distance: Float[Array, "*b"], size: int
) -> Float[Array, "*b j 3"]:
    """Crop coordinates → mm of the crop's camera: the inverse of `crop_coordinates`."""
    focal = k[..., 0, 0][..., None, None]
    z = crop[..., 2:] + distance[..., None, None]
    return jnp.concatenate([crop[..., :2] * (size / CROP_MM) / focal * z, z], axis=-1)


def decode(
    maps: Float[Array, "*b m m c"],
) -> tuple[Float[Array, "*b c/3 3"], Float[Array, "*b c/3"]]:
    """Maps → joints in crop coordinates, and the standard deviation of each along an axis, mm.

    x and y are the expectation of the position under the softmax of the heat, z and the log of the
    deviation that of their maps (integral regression, Sun et al. 2018).
    """
    size = maps.shape[-2]
    heat, depth, log_std = jnp.split(maps, 3, axis=-1)
    shape = heat.shape
    flat = heat.reshape(*shape[:-3], size * size, shape[-1])
    share = jax.nn.softmax(flat, axis=-2).reshape(shape)
    at = (jnp.arange(size, dtype=maps.dtype) + 0.5) * (CROP_MM / size) - HALF_MM
    x = jnp.einsum("...vuj,u->...j", share, at, precision="highest")
    y = jnp.einsum("...vuj,v->...j", share, at, precision="highest")
    z = (share * depth).sum((-3, -2)) * HALF_MM
    # Where a joint is sought must not depend on how surely it is found.
    fixed = jax.lax.stop_gradient(share)
    log = jnp.clip((fixed * log_std).sum((-3, -2)) + _START_LOG, _MIN_LOG, _MAX_LOG)
    return jnp.stack([x, y, z], axis=-1), jnp.exp(log)


def heat_target(
    crop: Float[Array, "*b j 3"], size: int
) -> tuple[Float[Array, "*b {size} j"], Float[Array, "*b {size} j"]]:
    """Where a map of `size` cells should be hot: a Gaussian along its rows and one along its
    columns, each of sum 1, whose product is the target. Joints outside are at the edge."""
    cells = (crop[..., :2] + HALF_MM) * (size / CROP_MM) - 0.5
    cells = jnp.clip(cells, 0.0, size - 1.0)[..., None, :, :]
    lead = (None,) * (crop.ndim - 2)
    at = jnp.arange(size, dtype=crop.dtype)[*lead, :, None]
    heat_u, heat_v = (jnp.exp(-((at - cells[..., i]) ** 2) / (2 * _SPREAD**2)) for i in (0, 1))
    u, v = (heat / heat.sum(-2, keepdims=True) for heat in (heat_u, heat_v))
    return v, u
