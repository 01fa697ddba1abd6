"""Losses: elementwise values, and one mean that knows the mask."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def squared_error(prediction: Float[Array, "*s"], target: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """(prediction - target)², no broadcasting."""
    _same_shape(prediction, target)
    return (prediction - target) ** 2


def absolute_error(prediction: Float[Array, "*s"], target: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """|prediction - target|, no broadcasting."""
    _same_shape(prediction, target)
    return jnp.abs(prediction - target)


def masked_mean(values: Float[Array, "b ..."], mask: Bool[Array, " b"]) -> Float[Array, ""]:
    """Mean over every element of the samples whose mask is true; zero where there is none."""
    per_sample = values.reshape(values.shape[0], -1).mean(axis=1)
    return jnp.where(mask, per_sample, 0.0).sum() / jnp.maximum(mask.sum(), 1)


def _same_shape(prediction, target):
    if prediction.shape != target.shape:
        raise ValueError(f"prediction {prediction.shape} and target {target.shape} differ in shape")
