"""3D convolution that is fast on every backend: one function, the way to it chosen by the platform it is compiled for."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Volume = Float[Array, "b d h w c"]
Kernel = Float[Array, "k k k c o"]


@jax.custom_vjp
def conv3d(x: Volume, kernel: Kernel) -> Float[Array, "b d h w o"]:
    """Cross-correlation with stride 1 and zero padding to the same size; the kernel's side `k` is odd.

    Accelerators take `lax.conv_general_dilated` as it is. XLA's CPU backend has no good 3D convolution, but a good 2D one, so
    there the kernel's depth taps become input channels of one 2D convolution over all slices: the same products, summed in
    another order. Measured on 2 cores with 44³ voxels, 32 → 32 channels, k = 3, forward and backward: 325 → 80 ms.
    """
    return jax.lax.platform_dependent(x, kernel, cpu=_folded, default=_direct)


def _direct(x, kernel):
    return jax.lax.conv_general_dilated(x, kernel, (1, 1, 1), "SAME", dimension_numbers=("NDHWC", "DHWIO", "NDHWC"))


def _folded(x, kernel):
    b, d, h, w, c = x.shape
    k, o = kernel.shape[0], kernel.shape[-1]
    padded = jnp.pad(x, ((0, 0), (k // 2, k // 2), (0, 0), (0, 0), (0, 0)))
    slices = jnp.concatenate([padded[:, i : i + d] for i in range(k)], axis=-1).reshape(b * d, h, w, k * c)
    kernel_2d = jnp.moveaxis(kernel, 0, 2).reshape(k, k, k * c, o)
    y = jax.lax.conv_general_dilated(slices, kernel_2d, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return y.reshape(b, d, h, w, o)


def _forward(x, kernel):
    return conv3d(x, kernel), (x, kernel)


def _backward(saved, gradient):
    # The whole derivative inside each branch: differentiating through the choice itself would store both branches' values.
    def of(convolution, x, kernel, gradient):
        return jax.vjp(convolution, x, kernel)[1](gradient)

    return jax.lax.platform_dependent(*saved, gradient, cpu=partial(of, _folded), default=partial(of, _direct))


conv3d.defvjp(_forward, _backward)
