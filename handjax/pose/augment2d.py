"""Random crops and colours of an image, on the device."""

from dataclasses import dataclass
from typing import cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

GREY = (0.299, 0.587, 0.114)  # weights of R, G, B in luma (ITU-R BT.601)


@dataclass(frozen=True)
class Augment:
    """Ranges of the random changes; the defaults change nothing.

    scale            size of the hand relative to evaluation, from U(scale)
    rotation_deg     rotation about the crop's center, from U(±)
    shift_px         shift of the crop's center, px of the crop, each component from U(±)
    flip             probability that the crop is mirrored
    center_sigma_px  noise of the center given by the crop's rule, px of the image: normal,
                     truncated at two sigma
    joint_sigma_px   noise of the labels themselves, likewise
    brightness       offset of all colours, as a fraction of white, from U(±)
    contrast, saturation   factors about the crop's mean grey and about each pixel's own grey,
                     from U(1 ±)
    """

    scale: tuple[float, float] = (1.0, 1.0)
    rotation_deg: float = 0.0
    shift_px: float = 0.0
    flip: float = 0.0
    center_sigma_px: float = 0.0
    joint_sigma_px: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0


def random_square(
    key: Key[Array, ""],
    center: Float[Array, " 2"],
    side: Float[Array, ""],
    size: int,
    augment: Augment,
) -> tuple[Float[Array, " 2"], Float[Array, ""], Float[Array, ""], Bool[Array, ""]]:
    """Randomize a square: center and side in the image, rotation (rad), and mirroring."""
    scale_key, angle_key, shift_key, flip_key = jax.random.split(key, 4)
    side = side / jax.random.uniform(scale_key, minval=augment.scale[0], maxval=augment.scale[1])
    angle = jnp.deg2rad(
        jax.random.uniform(angle_key, minval=-augment.rotation_deg, maxval=augment.rotation_deg)
    )
    shift = (
        jax.random.uniform(shift_key, (2,), minval=-augment.shift_px, maxval=augment.shift_px)
        * side
        / size
    )
    return center + shift, side, angle, jax.random.bernoulli(flip_key, augment.flip)


def noise(key: Key[Array, ""], shape: tuple[int, ...], sigma: float) -> Float[Array, "..."]:
    """Normal noise truncated at two sigma, like TensorFlow's `truncated_normal`."""
    return sigma * jax.random.truncated_normal(key, -2.0, 2.0, shape)


def jitter_colours(
    key: Key[Array, ""], image: Float[Array, "h w 3"], augment: Augment
) -> Float[Array, "h w 3"]:
    """Change saturation, then contrast, then brightness of RGB in 0..255, and clip to 0..255."""
    if not (augment.brightness or augment.contrast or augment.saturation):
        return image
    limits = jnp.array([augment.brightness, augment.contrast, augment.saturation])
    brightness, contrast, saturation = jax.random.uniform(key, (3,), minval=-limits, maxval=limits)
    channels = (image[..., i : i + 1] * weight for i, weight in enumerate(GREY))
    grey = cast(Array, sum(channels))
    image = grey + (1 + saturation) * (image - grey)
    mean = grey.mean()
    return jnp.clip(mean + (1 + contrast) * (image - mean) + 255 * brightness, 0.0, 255.0)
