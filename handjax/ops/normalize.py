"""Batch and group normalization in training, with sums over pixels by `ops.sums`.

The mean is computed first, then the variance about it; the fast variance of XLA and flax,
E[x²] - E[x]², suffers from cancellation.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from handjax.ops.batching import number_of_devices, over_devices
from handjax.ops.dtypes import at_least_float32
from handjax.ops.sums import sums

Image = Float[Array, "b *space c"]
Channels = Float[Array, " c"]


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def normalize(
    x: Image, scale: Channels, bias: Channels, groups: int | None, epsilon: float
) -> tuple[Image, Float[Array, "_ c"], Float[Array, "_ c"]]:
    """(x - mean) / sqrt(variance + epsilon) · scale + bias, and the mean and the biased variance.

    Without `groups`, statistics are per channel over batch and pixels, [1, c] (Ioffe and Szegedy
    2015, arXiv 1502.03167); with `groups`, per sample over pixels and the channels of each group,
    [b, c] (Wu and He 2018, arXiv 1803.08494). They have at least float32.

    Inside `jit` over a sharded batch and inside `shard_map`, those over the batch are of the global
    batch. The returned mean and
    variance are for running averages and have no gradient.
    """
    return _forward(x, scale, bias, groups, epsilon)[0]


def _forward(x, scale, bias, groups, epsilon):
    count = _count(x, groups)
    pool, origin = partial(_pool, groups=groups), (lambda m: m[0] if groups is None else m)
    zero = jnp.zeros(x.shape[-1], at_least_float32(x.dtype))
    mean = pool(sums(x, x, zero, zero)[0]) / count
    left, square = (pool(s) / count for s in sums(x, x, origin(mean), origin(mean)))
    variance = square - left**2  # `left` is the rounding error of the mean
    inverse = lax.rsqrt(variance + epsilon)
    wide_scale, wide_bias = (a.astype(mean.dtype)[None] for a in (scale, bias))
    deviation = x.astype(mean.dtype) - _along(mean, x)
    y = deviation * _along(inverse * wide_scale, x) + _along(wide_bias, x)
    return (y.astype(x.dtype), mean, variance), (x, scale, mean, inverse)


def _backward(groups, epsilon, saved, gradients):
    x, scale, mean, inverse = saved
    g = gradients[0]
    count = _count(x, groups)
    origin = mean[0] if groups is None else mean
    to_bias, along_x = sums(g, x, jnp.zeros_like(mean[0]), origin)  # [b, c]
    to_scale, wide_scale = along_x * inverse, scale.astype(mean.dtype)[None]
    level = _pool(to_bias * wide_scale, groups) / count
    slope = _pool(to_scale * wide_scale, groups) / count
    deviation, g = x.astype(mean.dtype) - _along(mean, x), g.astype(mean.dtype)
    centered = deviation * _along(inverse * slope, x)
    to_x = (g * _along(wide_scale, x) - _along(level, x) - centered) * _along(inverse, x)
    return (
        to_x.astype(x.dtype),
        to_scale.sum(0).astype(scale.dtype),
        to_bias.sum(0).astype(scale.dtype),
    )


normalize.defvjp(_forward, _backward)


def _count(x: Image, groups: int | None) -> int:
    """How many numbers each mean is of."""
    if groups is None:
        return x.size // x.shape[-1] * number_of_devices()
    return x.size // x.shape[0] // groups


def _pool(each: Float[Array, "b c"], groups: int | None) -> Float[Array, "_ c"]:
    """Sums over the samples, [1, c], or over the channels of each group, [b, c]."""
    if groups is None:
        return over_devices(each.sum(0, keepdims=True))
    total = each.reshape(each.shape[0], groups, -1).sum(-1)
    return jnp.repeat(total, each.shape[1] // groups, axis=1)


def _along(a: Float[Array, "_ c"], x: Image) -> Array:
    return a.reshape(a.shape[0], *(1,) * (x.ndim - 2), a.shape[-1])
