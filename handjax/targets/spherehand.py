"""Sphere centers ↔ the heat and depth maps of the sphere hand's network (Wan et al. 2019,
github.com/melonwan/sphereHand).

The 300 mm cube of pose/cube.py is seen along parallel rays. Cell u of an image or map of size n is
at x = (u - n/2) · 300/n mm, and v likewise for y: the original's convention. So x = 0 is at cell
n/2, the cube extends from cell 0 to one cell beyond the last, and cell c of 16 is at pixel 4c of
64. z is in mm from the middle of the cube.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from handjax.pose.cube import BACKGROUND_MM, EXTENT_MM
from handjax.targets import heatmap

SIZE = 16  # cells per side of the maps
UNIT_MM = 100.0  # of the depths that the network sees and predicts
_BETA = 20.0
_MIN_HEAT = 0.05  # the depth map is 0 where the heat is lower


def network_input(depth: Float[Array, "*b h w"]) -> Float[Array, "*b h w 1"]:
    """Depth in mm, `BACKGROUND_MM` without a hand → the network's input, in 100 mm."""
    return depth[..., None] / UNIT_MM


def xyz_to_uv(xyz: Float[Array, "*b s 3"], size: int) -> Float[Array, "*b s 2"]:
    """mm from the middle of the cube → cells of an image or map of `size`."""
    return xyz[..., :2] * (size / EXTENT_MM) + size / 2


def uv_to_xy(uv: Float[Array, "*b s 2"], size: int) -> Float[Array, "*b s 2"]:
    """Cells of an image or map of `size` → mm from the middle of the cube."""
    return (uv - size / 2) * (EXTENT_MM / size)


def encode(
    centers: Float[Array, "*b s 3"], size: int = SIZE
) -> tuple[Float[Array, "*b {size} {size} s"], Float[Array, "*b {size} {size} s"]]:
    """Centers, mm → heat exp(-d²/2), d in cells, not normalized, and depth z in 100 mm, 0 where the
    heat is at most 0.05.

    The original's loss compares the heat and the decoded z; this depth map would decode to that z.
    """
    heat = heatmap.gaussian_heatmaps(
        xyz_to_uv(centers, size)[..., ::-1], size, sigma=1.0, cell_center=0.0
    )
    depth = centers[..., 2][..., None, None, :] / UNIT_MM
    return heat, jnp.where(heat > _MIN_HEAT, depth, 0.0)


def split(
    maps: Float[Array, "*b h w t"],
) -> tuple[Float[Array, "*b h w t/2"], Float[Array, "*b h w t/2"]]:
    """The network's channels → heat and depth maps."""
    heat, depth = jnp.split(maps, 2, axis=-1)
    return heat, depth


def split_offsets(
    maps: Float[Array, "*b h w q"],
) -> tuple[Float[Array, "*b h w q/4"], Float[Array, "*b h w q/4"], Float[Array, "*b h w 2 q/4"]]:
    """The channels of a network with offsets → heat, depth, and offsets along v and u, in cells."""
    heat, depth, *away = jnp.split(maps, 4, axis=-1)
    return heat, depth, jnp.stack(away, axis=-2)


def decode_offsets(
    heat: Float[Array, "*b h h s"],
    depth: Float[Array, "*b h h s"],
    offsets: Float[Array, "*b h h 2 s"],
) -> Float[Array, "*b s 3"]:
    """As `decode`, but x and y are the mean of each cell's answer, its place plus its offset, so
    that a sphere between two cells has an exact answer."""
    coarse = decode(heat, depth)
    weight = jax.nn.softmax(_BETA * heat, axis=(-3, -2))
    vu = (weight[..., None, :] * offsets).sum((-4, -3))  # [*b, 2, s]
    away = vu[..., ::-1, :].mT * (EXTENT_MM / heat.shape[-2])
    return coarse.at[..., :2].add(away)


def decode(
    heat: Float[Array, "*b h h s"], depth: Float[Array, "*b h h s"]
) -> Float[Array, "*b s 3"]:
    """Heat and depth maps → centers, mm: x and y are the expectation under softmax(20 · heat), z is
    the mean of the depth map weighted by positive heat.

    Maps of `encode` decode with a mean error of 5 mm: so sharp a softmax of a Gaussian sees little
    but the highest cell, 19 mm wide, and the heat beyond the cut of the depth map pulls z to 0. A
    network trained through `decode` is free to predict other maps than Gaussians.
    """
    vu = heatmap.soft_argmax(heat, 2, cell_center=0.0, beta=_BETA)
    z = (_positive_share(heat) * depth).sum((-3, -2)) * UNIT_MM
    return jnp.concatenate([uv_to_xy(vu[..., ::-1], heat.shape[-2]), z[..., None]], axis=-1)


def variance(heat: Float[Array, "*b h h s"]) -> Float[Array, "*b s"]:
    """Variance of a heat map, in squared sides of the map: the mean squared distance, weighted by
    positive heat, from the expectation under softmax(25 · heat). The original's, for its fusion of
    views."""
    size = heat.shape[-2]
    vu = heatmap.soft_argmax(heat, 2, cell_center=0.0, beta=25.0) / size
    at = jnp.arange(size, dtype=heat.dtype) / size
    lead = (None,) * (heat.ndim - 3)
    away_v = (at[*lead, :, None, None] - vu[..., None, None, :, 0]) ** 2
    away_u = (at[*lead, None, :, None] - vu[..., None, None, :, 1]) ** 2
    return (_positive_share(heat) * (away_v + away_u)).sum((-3, -2))


def fuse_views(
    centers: Float[Array, "*b v s 3"], spread: Float[Array, "*b v s"]
) -> Float[Array, "*b s 3"]:
    """Centers of several views in one frame → for each sphere the center of the view with the
    smallest `variance`. The original defines this without calling it."""
    best = jnp.argmin(spread, axis=-2)[..., None, :, None]
    return jnp.take_along_axis(centers, best, axis=-3)[..., 0, :, :]


def shrink(
    image: Float[Array, "h w"],
    scale_u: Float[Array, ""],
    scale_v: Float[Array, ""],
    background: float = BACKGROUND_MM,
) -> Float[Array, "h w"]:
    """The image scaled around its middle (nearest neighbour), with `background` around it: the
    original's augmentation of real depth, by factors of 0.7 to 1. A network's x and y have to be
    divided by the factors.

    The original rounds size and position of the scaled image to whole pixels, which shifts it by up
    to half a pixel relative to those factors; here both are exact.
    """
    height, width = image.shape

    def source(n, scale):
        at = jnp.arange(n, dtype=jnp.float32) - n / 2
        return jnp.round(at / scale + n / 2).astype(jnp.int32)

    v, u = source(height, scale_v)[:, None], source(width, scale_u)[None, :]
    inside = (v >= 0) & (v < height) & (u >= 0) & (u < width)
    return jnp.where(
        inside, image[jnp.clip(v, 0, height - 1), jnp.clip(u, 0, width - 1)], background
    )


def _positive_share(heat):
    """Positive heat, normalized to sum 1 over the map. By the original's 1e-5 it is 0 for a map
    without positive heat."""
    positive = jax.nn.relu(heat)
    return positive / (positive.sum((-3, -2), keepdims=True) + 1e-5)
