"""Joints in an image ↔ inputs and score maps of CPM and PoseNet2D.

(u, v) are pixels of the crop that the network sees, integers at pixel centers. Images and maps are
square, with axes (v, u, channel). Both systems put the center of cell i of a map at pixel
i · stride; with DSNT it is pixel (i + 1/2) · stride.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from handjax.targets import heatmap

DECODES = ("argmax", "centroid", "soft_argmax", "dsnt")


def center_map(
    center_uv: Float[Array, "*b 2"], size: int, sigma: float = 3.0, cut: float = 0.0099
) -> Float[Array, "*b v u 1"]:
    """exp(-d² / (2 sigma²)) around a pixel of the image, 0 below `cut`: marks the hand to look at.

    The defaults are those of namedBen/Convolutional-Pose-Machines-Pytorch; HowieMa/CPM_Pytorch has
    sigma 21 and no cut.
    """
    return _gaussians(center_uv[..., None, :], size, sigma, cut)


def cpm_heatmaps(
    uv: Float[Array, "*b j 2"],
    size: int,
    stride: int | float,
    sigma: float = 3.0,
    cut: float = 0.0099,
    background: bool = True,
    whole_pixels: bool = True,
) -> Float[Array, "*b v u c"]:
    """exp(-d² / (2 sigma²)) on `size` x `size` cells around uv / stride, 0 below `cut`. With
    `background`, channel 0 is 1 minus the maximum over all joints.

    The defaults are those of namedBen/Convolutional-Pose-Machines-Pytorch, which first truncates
    joints to whole pixels (`whole_pixels`). chrisliu54/Hand-Keypoint-Estimation (Kwai) has no
    background; HowieMa/CPM_Pytorch has sigma 1, no cut, no background, and keeps fractions.
    """
    uv = jnp.trunc(uv) if whole_pixels else uv
    heat = _gaussians(uv / stride, size, sigma, cut)
    return (
        jnp.concatenate([1.0 - heat.max(-1, keepdims=True), heat], axis=-1) if background else heat
    )


def posenet_heatmaps(
    uv: Float[Array, "*b j 2"], valid: Bool[Array, "*b j"], size: int, sigma: float = 25.0
) -> Float[Array, "*b v u j"]:
    """exp(-d² / sigma²), without the usual 2, in image pixels around the truncated pixel of each
    valid joint inside the image, excluding its border; zero for the others (jiangxubin/hand_pose).
    """
    uv = jnp.trunc(uv)
    seen = valid & ((uv > 0) & (uv < size - 1)).all(-1)
    return _gaussians(uv, size, sigma / 2**0.5, 0.0) * seen[..., None, None, :].astype(uv.dtype)


def resize(maps: Float[Array, "*b m m j"], size: int) -> Float[Array, "*b size size j"]:
    """Bilinear resize as by TensorFlow 1's `resize_images`: pixel i has the value at cell
    i · m / size, and the last cell repeats at the far border."""
    cells = maps.shape[-2]
    place = np.arange(size) * (cells / size)
    table = np.maximum(
        0.0, 1.0 - np.abs(np.minimum(place, cells - 1)[:, None] - np.arange(cells)[None])
    ).astype(maps.dtype)
    return jnp.einsum(
        "vi,...ijc,uj->...vuc", table, maps, table, precision=jax.lax.Precision.HIGHEST
    )


def dsnt(maps: Float[Array, "*b m m j"]) -> tuple[Float[Array, "*b m m j"], Float[Array, "*b j 2"]]:
    """Softmax over the cells of each map, and its expectation (u, v) in [0, 1], with cell i at
    (i + 1/2) / m (Nibali et al. 2018, arXiv 1801.07372, there in [-1, 1])."""
    probability = jax.nn.softmax(maps, axis=(-3, -2))
    return probability, heatmap.expectation(probability, 2, 0.5)[..., ::-1] / maps.shape[-2]


def dsnt_gaussians(
    coords: Float[Array, "*b j 2"], size: int, fwhm: float = 1.0
) -> Float[Array, "*b v u j"]:
    """Gaussians with a full width at half maximum of `fwhm` cells around (u, v), clipped to [0, 1];
    each sums to 1."""
    sigma = fwhm / (8.0 * np.log(2.0)) ** 0.5
    heat = heatmap.gaussian_heatmaps(jnp.clip(coords, 0.0, 1.0)[..., ::-1] * size, size, sigma, 0.5)
    return heat / heat.sum((-3, -2), keepdims=True)


def decode(
    maps: Float[Array, "*b m m j"], stride: int | float, method: str, cell_center: float = 0.0
) -> Float[Array, "*b j 2"]:
    """Maps without background → (u, v) in pixels, by `method`: "argmax" (CPM; the same for
    PoseNet2D's maps resized to the image), "centroid" or "soft_argmax" of targets/heatmap.py, or
    "dsnt".

    Cell i is at pixel (i + `cell_center`) · stride: 0 for networks trained on heat maps, 1/2 for
    those trained by DSNT. Raises ValueError for an unknown method.
    """
    if method == "argmax":
        cells = heatmap.argmax(maps, 2, cell_center)
    elif method == "centroid":
        cells = heatmap.refined_argmax(maps, 2, cell_center)
    elif method == "soft_argmax":
        cells = heatmap.soft_argmax(maps, 2, cell_center)
    elif method == "dsnt":
        cells = heatmap.soft_argmax(maps, 2, 0.5)
    else:
        raise ValueError(f"decode {method!r} is unknown: use {', '.join(DECODES)}")
    return cells[..., ::-1] * stride


def _gaussians(uv, size, sigma, cut):
    heat = heatmap.gaussian_heatmaps(uv[..., ::-1], size, sigma, 0.0)
    return jnp.where(heat < cut, 0.0, heat)
