"""Effects of a depth camera on a depth image: ragged edges, noise, holes, smoothing.

All functions take a random key and a depth image in mm whose pixels without a measurement have the
value `background`.
"""

from typing import Literal

import jax.numpy as jnp
import numpy as np
from jax import random
from jaxtyping import Array, Float, PRNGKeyArray

# sphereHand's filters in its own rounding: variances of 0.44 and 0.98 px² along each axis.
_FILTERS = {
    3: ((1, 2, 1), (2, 6, 2), (1, 2, 1)),
    5: (
        (1, 4, 7, 4, 1),
        (4, 16, 26, 16, 4),
        (7, 26, 41, 26, 7),
        (4, 16, 26, 16, 4),
        (1, 4, 7, 4, 1),
    ),
}


def add_noise(
    key: PRNGKeyArray,
    depth: Float[Array, "h w"],
    depth_noise_mm: float,
    shift_px: float,
    background: float = 0.0,
) -> Float[Array, "h w"]:
    """Ragged edges, then Gaussian noise of deviation `depth_noise_mm` on measured pixels.

    Each pixel copies the one round(N(0, `shift_px`)) away along each axis, as in sphereHand (Wan et
    al. 2019), which truncates N(0, 0.5) + 0.5 toward zero and so drifts by 0.16 px to one side on
    average; rounding does not.
    """
    height, width = depth.shape
    shift_v, shift_u, noise = random.normal(key, (3, height, width))
    v = jnp.arange(height)[:, None] + jnp.round(shift_px * shift_v).astype(jnp.int32)
    u = jnp.arange(width)[None, :] + jnp.round(shift_px * shift_u).astype(jnp.int32)
    shifted = depth[jnp.clip(v, 0, height - 1), jnp.clip(u, 0, width - 1)]
    return jnp.where(shifted != background, shifted + depth_noise_mm * noise, background)


def drop_pixels(
    key: PRNGKeyArray, depth: Float[Array, "h w"], fraction: float, background: float
) -> Float[Array, "h w"]:
    """Replace a random `fraction` of the pixels by `background`."""
    return jnp.where(random.bernoulli(key, fraction, depth.shape), background, depth)


def resample(
    key: PRNGKeyArray,
    depth: Float[Array, "h w"],
    window: Literal[3, 5],
    background: float,
    drop: float = 0.05,
) -> Float[Array, "h w"]:
    """sphereHand's `--depth_resample`: drop some pixels, then smooth over `window` x `window`.

    The dropped fraction `drop` has depth `background`, which the filter averages like any other.
    The original pads with zeros, which gives a dark rim; here the border is repeated.
    """
    dropped = drop_pixels(key, depth, drop, background)
    weights = np.asarray(_FILTERS[window], np.float32)
    weights /= weights.sum()
    height, width = depth.shape
    padded = jnp.pad(dropped, window // 2, mode="edge")
    terms = (w * padded[i : i + height, j : j + width] for (i, j), w in np.ndenumerate(weights))
    return sum(terms, jnp.zeros_like(depth))
