"""Random views of a picture, from a key, on the device: where the crop lies, and its colours."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

GREY = (0.299, 0.587, 0.114)  # of R, G, B in luma (ITU-R BT.601)


@dataclass(frozen=True)
class Augment:
    """What is random about a crop; every field's default changes nothing.

    scale            the hand's size beside that in evaluation, from U(scale)
    rotation_deg     about the crop's middle, from U(±)
    shift_px         of the crop's middle, px of the crop, each from U(±)
    flip             how often the crop is mirrored
    center_sigma_px  of the middle that the crop's rule finds, px of the picture, normal, cut at two sigma
    joint_sigma_px   of the labels themselves, likewise
    brightness       added to all colours, as a part of white, from U(±)
    contrast, saturation   factors about the crop's mean grey and about each pixel's own, from U(1 ±)
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
    """Middle and side of a square in the picture, then the angle (radians) it is turned by and whether it is mirrored."""
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
    """Normal, drawn again beyond two sigma, as TensorFlow's `truncated_normal`."""
    return sigma * jax.random.truncated_normal(key, -2.0, 2.0, shape)


def jitter_colours(
    key: Key[Array, ""], image: Float[Array, "h w 3"], augment: Augment
) -> Float[Array, "h w 3"]:
    """RGB in 0..255 → the same under another light: saturation, then contrast, then brightness, cut to 0..255."""
    if not (augment.brightness or augment.contrast or augment.saturation):
        return image
    most = jnp.array([augment.brightness, augment.contrast, augment.saturation])
    brightness, contrast, saturation = jax.random.uniform(key, (3,), minval=-most, maxval=most)
    grey = sum(image[..., i : i + 1] * part for i, part in enumerate(GREY))
    image = grey + (1 + saturation) * (image - grey)
    mean = grey.mean()
    return jnp.clip(mean + (1 + contrast) * (image - mean) + 255 * brightness, 0.0, 255.0)
