"""Sums over the pixels of each channel, for normalization and gradients of biases.

XLA's CPU backend compiles such sums and their gradients to code that takes several times as long as
reading the numbers. On CPUs our kernel runs instead (custom_ops/sums.cc), elsewhere plain JAX.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from handjax.ops import library
from handjax.ops.batching import per_sample, pvary
from handjax.ops.dtypes import at_least_float32

Image = Float[Array, "b *space c"]
Origin = Float[Array, " c"] | Float[Array, "b c"]


def sums(
    x: Image, y: Image, x0: Origin, y0: Origin
) -> tuple[Float[Array, "b c"], Float[Array, "b c"]]:
    """Sums of x - x0 and of (x - x0)(y - y0) over the pixels of each sample; at least float32."""
    exact = at_least_float32(x.dtype)
    both = _sums(*(a.astype(exact) for a in (x, y, x0, y0)))
    return both[:, 0], both[:, 1]


@jax.custom_vjp
def _sums(x, y, x0, y0):
    made_for = x.dtype == jnp.float32 and x.size and "cpu" in library.platforms()
    return per_sample(_either if made_for else _plain, (x.ndim, y.ndim, 2, 2), x, y, x0, y0)


def _forward(x, y, x0, y0):
    return _sums(x, y, x0, y0), (x, y, x0, y0)


def _backward(saved, gradient):
    """For gradients g and h of the two sums: to x, g + h (y - y0); to y, h (x - x0); and to the
    origins, minus the sums of these."""
    x, y, x0, y0 = saved
    g, h = (_along(a, x) for a in (gradient[:, 0], gradient[:, 1]))
    x, y = x - _along(x0, x), y - _along(y0, y)
    pixels = x.size // (x.shape[0] * x.shape[-1])
    each_x0 = -pixels * gradient[:, 0] - gradient[:, 1] * y.sum(range(1, y.ndim - 1))
    each_y0 = -gradient[:, 1] * x.sum(range(1, x.ndim - 1))
    to_x0, to_y0 = (
        each.sum(0) if a.ndim == 1 else each for a, each in ((x0, each_x0), (y0, each_y0))
    )
    return g + h * y, h * x, to_x0, to_y0


_sums.defvjp(_forward, _backward)


def _along(a, x):
    """One number per channel, or per sample and channel, broadcast against x [b, …, c]."""
    return a.reshape(*(a.shape[:1] if a.ndim == 2 else (1,)), *(1,) * (x.ndim - 2), a.shape[-1])


def _plain(x, y, x0, y0):
    x, y = x - _along(x0, x), y - _along(y0, y)
    pixels = range(1, x.ndim - 1)
    return jnp.stack([x.sum(pixels), (x * y).sum(pixels)], axis=1)


def _either(x, y, x0, y0):
    return lax.platform_dependent(x, y, x0, y0, cpu=_kernel, default=_plain)


def _kernel(x, y, x0, y0):
    out = jax.ShapeDtypeStruct((x.shape[0], 2, x.shape[-1]), jnp.float32)
    x0, y0 = (a.reshape(-1, a.shape[-1]) for a in (x0, y0))
    return pvary(
        jax.ffi.ffi_call("handjax_sums", out)(x, y, x0, y0),
        like=x[(slice(1),) * x.ndim].reshape(1, 1, 1),
    )
