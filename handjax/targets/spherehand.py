"""Sphere centres ↔ the heat and depth maps of the sphere hand's network, both ways (Wan et al. 2019,
github.com/melonwan/sphereHand).

A cube of 300 mm is seen along parallel rays. Cell u of an image or map of n stands for x = (u - n/2) · 300/n mm, v for y alike:
the original's convention. Integers are where cells are, so x = 0 is cell n/2 and no edge of the picture, and the cube reaches from
cell 0 to one cell beyond the last. Cell c of 16 stands where pixel 4c of 64 does. z is in mm from the cube's middle.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from handjax.pose.cube import BACKGROUND_MM, EXTENT_MM
from handjax.targets import heatmap

SIZE = 16  # cells a side of the maps
UNIT_MM = 100.0  # of the network's depths, in and out
_SHARPNESS = 20.0
_LEAST_HEAT = 0.05  # where less is the depth map is 0


def network_input(depth: Float[Array, "*b h w"]) -> Float[Array, "*b h w 1"]:
    """Depth in mm, `BACKGROUND_MM` where nothing is → what the network sees: background 1."""
    return depth[..., None] / UNIT_MM


def xyz_to_uv(xyz: Float[Array, "*b s 3"], size: int) -> Float[Array, "*b s 2"]:
    """mm from the cube's middle → cells of an image or map of `size`."""
    return xyz[..., :2] * (size / EXTENT_MM) + size / 2


def uv_to_xy(uv: Float[Array, "*b s 2"], size: int) -> Float[Array, "*b s 2"]:
    """Cells of an image or map of `size` → mm from the cube's middle."""
    return (uv - size / 2) * (EXTENT_MM / size)


def encode(
    centers: Float[Array, "*b s 3"], size: int = SIZE
) -> tuple[Float[Array, "*b {size} {size} s"], Float[Array, "*b {size} {size} s"]]:
    """Centres, mm → heat exp(-d²/2), d in cells, not normalized, and depth z, in 100 mm, where the heat is above 0.05, else 0.

    The original's loss asks for the heat and for the decoded z; the depth map is what would decode to it."""
    heat = heatmap.gaussian_heatmaps(
        xyz_to_uv(centers, size)[..., ::-1], size, sigma=1.0, cell_center=0.0
    )
    depth = centers[..., 2][..., None, None, :] / UNIT_MM
    return heat, jnp.where(heat > _LEAST_HEAT, depth, 0.0)


def split(
    maps: Float[Array, "*b h w t"],
) -> tuple[Float[Array, "*b h w t/2"], Float[Array, "*b h w t/2"]]:
    """The network's channels → heat and depth maps."""
    heat, depth = jnp.split(maps, 2, axis=-1)
    return heat, depth


def decode(
    heat: Float[Array, "*b h h s"], depth: Float[Array, "*b h h s"]
) -> Float[Array, "*b s 3"]:
    """Heat and depth maps → centres, mm: x and y the expectation under softmax(20 · heat), z that of the depth map weighted by
    heat where it is positive.

    Maps of `encode` come back 5 mm off in the mean: so sharp a softmax of a Gaussian reads little but the highest cell, 19 mm
    wide, and the heat where the depth map was cut off draws z to 0. A network that is trained through `decode` need not give
    Gaussians."""
    vu = heatmap.soft_argmax(heat, 2, cell_center=0.0, sharpness=_SHARPNESS)
    z = (_positive_share(heat) * depth).sum((-3, -2)) * UNIT_MM
    return jnp.concatenate([uv_to_xy(vu[..., ::-1], heat.shape[-2]), z[..., None]], axis=-1)


def variance(heat: Float[Array, "*b h h s"]) -> Float[Array, "*b s"]:
    """How spread out a heat map is, in squared sides of the map: the mean squared distance, weighted by heat where it is positive,
    from the expectation under softmax(25 · heat). As the original has it for its fusion of views."""
    size = heat.shape[-2]
    vu = heatmap.soft_argmax(heat, 2, cell_center=0.0, sharpness=25.0) / size
    at = jnp.arange(size, dtype=heat.dtype) / size
    lead = (None,) * (heat.ndim - 3)
    away_v = (at[*lead, :, None, None] - vu[..., None, None, :, 0]) ** 2
    away_u = (at[*lead, None, :, None] - vu[..., None, None, :, 1]) ** 2
    return (_positive_share(heat) * (away_v + away_u)).sum((-3, -2))


def fuse_views(
    centers: Float[Array, "*b v s 3"], spread: Float[Array, "*b v s"]
) -> Float[Array, "*b s 3"]:
    """Centres of several views in one frame → each sphere's from the view whose heat map is least spread out (`variance`). The
    original has this and does not call it."""
    best = jnp.argmin(spread, axis=-2)[..., None, :, None]
    return jnp.take_along_axis(centers, best, axis=-3)[..., 0, :, :]


def shrink(
    image: Float[Array, "h w"],
    scale_u: Float[Array, ""],
    scale_v: Float[Array, ""],
    background: float = BACKGROUND_MM,
) -> Float[Array, "h w"]:
    """An image scaled about the cube's axis, by the nearest pixel, over `background`: the original's augmentation of real depth,
    with factors of 0.7 to 1. What a network finds in it has to be divided by the factors.

    The original rounds the scaled image to whole pixels and its place to whole pixels, which moves it by up to half a pixel
    against the factors that it divides by; here both are exact."""
    height, width = image.shape

    def source(n, scale):
        return jnp.round((jnp.arange(n) - n / 2) / scale + n / 2).astype(jnp.int32)

    v, u = source(height, scale_v)[:, None], source(width, scale_u)[None, :]
    inside = (v >= 0) & (v < height) & (u >= 0) & (u < width)
    return jnp.where(
        inside, image[jnp.clip(v, 0, height - 1), jnp.clip(u, 0, width - 1)], background
    )


def _positive_share(heat):
    """Positive heat, summing to one over the map; 1e-5 as in the original, so that a map without any gives 0."""
    positive = jax.nn.relu(heat)
    return positive / (positive.sum((-3, -2), keepdims=True) + 1e-5)
