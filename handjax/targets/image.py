"""Images as networks see them."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped


def normalize_image(
    image: Shaped[Array, "*b h w 3"], mean: tuple[float, ...], std: tuple[float, ...], bgr: bool
) -> Float[Array, "*b h w 3"]:
    """RGB in 0..255 → (value - mean) / std, in the network's channel order, which is also that of
    `mean` and `std`.

    CPM: (BGR - 128) / 256. PoseNet2D: RGB / 255 - 1/2. Kwai's version of CPM: BGR, with the mean
    and deviation of its own training images.
    """
    image = image[..., ::-1] if bgr else image
    shape = (1,) * (image.ndim - 1) + (3,)
    offset, scale = (np.asarray(values, np.float32).reshape(shape) for values in (mean, std))
    return (image.astype(jnp.float32) - offset) / scale
