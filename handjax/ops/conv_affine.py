"""Convolutions with batch normalization, a residual sum and ReLU at their end, for inference.

    y = act(conv(x, kernel) · scale + shift [+ residual])

On CPUs our kernel does all of it while a piece of the output is in registers or in the cache
(custom_ops/conv.cc); after a convolution of its own, XLA passes over the whole output once more.
The definition is the plain sequence, which runs everywhere else, in other dtypes than float32, and
where gradients are taken.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from handjax.ops import conv as convolutions
from handjax.ops import library
from handjax.ops.batching import per_sample, pvary
from handjax.ops.conv import Padding, Window

Channels = Float[Array, " o"]


def conv_affine(
    x: Float[Array, "b *space c"],
    kernel: Float[Array, "*taps c o"],
    scale: Channels,
    shift: Channels,
    residual: Float[Array, "b *moved o"] | None = None,
    *,
    relu: bool = False,
    strides: int | Sequence[int] = 1,
    padding: Padding = "SAME",
) -> Float[Array, "b *moved o"]:
    """`ops.conv.conv`, then `affine`, in the dtype of x."""
    if not _all_fuse(x, kernel, scale, shift, residual):
        # A grid's first layer in 16 bits has a way of its own.
        grid = x.ndim == 5 and strides == 1 and padding == "SAME"
        options = {} if grid else dict(strides=strides, padding=padding)
        function = convolutions.conv3d if grid else convolutions.conv
        return affine(function(x, kernel, **options), scale, shift, residual, relu=relu)
    window = convolutions.forward_window(x, kernel, strides, padding)
    return _run(_Form(window, False, relu), x, kernel, scale, shift, residual)


def conv_transpose_affine(
    x: Float[Array, "b *space c"],
    kernel: Float[Array, "*taps c o"],
    scale: Channels,
    shift: Channels,
    *,
    relu: bool = False,
    strides: int,
    padding: int = 0,
) -> Float[Array, "b *moved o"]:
    """`ops.conv.conv_transpose`, then `affine`, in the dtype of x."""
    if not _all_fuse(x, kernel, scale, shift):
        y = convolutions.conv_transpose(x, kernel, strides=strides, padding=padding)
        return affine(y, scale, shift, relu=relu)
    window = convolutions.transposed_window(x, kernel, strides, padding)
    kernel = jnp.swapaxes(kernel, -1, -2)
    return _run(_Form(window, True, relu), x, kernel, scale, shift, None)


def affine(
    y: Float[Array, "b *space o"],
    scale: Channels,
    shift: Channels,
    residual: Float[Array, "b *space o"] | None = None,
    *,
    relu: bool = False,
) -> Float[Array, "b *space o"]:
    """y · scale + shift in their dtype, then rounded to that of y; plus the residual; with `relu`
    0 in place of negative numbers."""
    lead = (1,) * (y.ndim - 1)
    wide = y.astype(scale.dtype)
    y = (wide * scale.reshape(*lead, -1) + shift.reshape(*lead, -1)).astype(y.dtype)
    if residual is not None:
        y = residual + y
    return jax.nn.relu(y) if relu else y


def fuses(dtype: DTypeLike) -> bool:
    """Whether there is a kernel for arrays of the dtype, on CPUs."""
    return np.dtype(dtype) == np.float32 and "cpu" in library.platforms()


def _all_fuse(*operands):
    return all(a is None or (a.size and fuses(a.dtype)) for a in operands)


class _Form(NamedTuple):
    """What is static."""

    window: Window
    transposed: bool
    relu: bool


def _run(form, x, kernel, scale, shift, residual):
    kernel, scale, shift = (convolutions.for_each_device(a, x) for a in (kernel, scale, shift))
    return _fused(form, x, kernel, scale, shift, residual)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _fused(form, x, kernel, scale, shift, residual):
    operands = (x, kernel, scale, shift) + (() if residual is None else (residual,))
    plain = functools.partial(_unfused, form)
    return lax.platform_dependent(*operands, cpu=_kernel(form), default=plain)


def _unfused(form, x, kernel, scale, shift, residual=None):
    function = convolutions.to_input if form.transposed else convolutions.value
    return affine(function(form.window, x, kernel), scale, shift, residual, relu=form.relu)


def _forward(form, *operands):
    # Where a gradient is taken, the sums before the epilogue are needed.
    return jax.vjp(functools.partial(_unfused, form), *operands)


def _backward(form, pull, gradient):
    return pull(gradient)


_fused.defvjp(_forward, _backward)


@functools.cache
def _kernel(form: _Form) -> Callable:
    """The custom call as a function of whole batches."""
    window, transposed, relu = form
    name = "handjax_conv_input" if transposed else "handjax_conv"
    options = dict(
        stride=np.array(window.strides, np.int64),
        low=np.array([low for low, _ in window.padding], np.int64),
    )
    space, rank = window.space if transposed else window.moved, len(window.space) + 2

    def of_samples(x, kernel, scale, shift, *residual):
        shared = kernel.ndim == rank and scale.ndim == shift.ndim == 1
        shape = (x.shape[0], *space, kernel.shape[-2 if transposed else -1])
        out = jax.ShapeDtypeStruct(shape, jnp.float32)
        if shared:
            call = jax.ffi.ffi_call(f"{name}_affine", out)
            y = call(x, kernel, scale, shift, *residual, **options, relu=relu)
        else:  # as under vmap over networks
            y = jax.ffi.ffi_call(name, out)(x, kernel, **options)
            scale, shift = (a.reshape(-1, *(1,) * (rank - 2), a.shape[-1]) for a in (scale, shift))
            y = sum(residual, y * scale + shift)
            y = jax.nn.relu(y) if relu else y
        return pvary(y, like=x[(slice(1),) * rank])

    ranks = (rank, rank + 1, 2, 2, rank)
    return lambda *operands: per_sample(of_samples, ranks[: len(operands)], *operands)
