"""Building blocks: channels last, float32 parameters, arithmetic in `dtype`."""

from functools import partial
from typing import Any, Literal, overload

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from handjax.models.recompute import keep
from handjax.ops.batching import number_of_devices, over_devices
from handjax.ops.conv import conv3d, conv_general_dilated, conv_transpose
from handjax.ops.conv_affine import affine, conv_affine, conv_transpose_affine
from handjax.ops.normalize import normalize

# Moon et al. 2018: kernels are initialized from N(0, 0.001), biases with zero.
KERNEL_INIT = nn.initializers.normal(0.001)


class Conv3D(nn.Module):
    """Same-size convolution with bias; kernel [k, k, k, in, out]."""

    features: int
    size: int
    dtype: Any = jnp.float32

    @overload
    def __call__(
        self,
        x: Array,
        apart: Literal[False] = False,
        norm: "NormAffine | None" = None,
        residual: Array | None = None,
        relu: bool = False,
    ) -> Array: ...
    @overload
    def __call__(self, x: Array, apart: Literal[True]) -> tuple[Array, Array]: ...
    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b d h w c"],
        apart: bool = False,
        norm: "NormAffine | None" = None,
        residual: Float[Array, "b d h w o"] | None = None,
        relu: bool = False,
    ) -> Array | tuple[Array, Array]:
        """→ [b, d, h, w, o]; with `apart`, the output without the bias, and the bias. With a
        `norm`, the output is normalized, perhaps plus a residual, and through ReLU."""
        kernel = self.param("kernel", KERNEL_INIT, (self.size,) * 3 + (x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x, kernel = nn.dtypes.promote_dtype(x, kernel, dtype=self.dtype)
        if apart:
            return conv3d(x, kernel), bias
        if norm is None:
            y = conv3d(x, kernel)
            return y + bias[None, None, None, None].astype(y.dtype)
        scale, shift = norm(self.features, bias)
        return conv_affine(x, kernel, scale, shift, residual, relu=relu)


class Upsample3D(nn.Module):
    """Transposed convolution with kernel 2 and stride 2: every voxel becomes 2³ voxels. Without a
    `norm` the bias is returned separately, for the batch normalization that follows; with it, which
    is that normalization at inference, ReLU follows."""

    features: int
    dtype: Any = jnp.float32

    @overload
    def __call__(self, x: Array, norm: None = None) -> tuple[Array, Array]: ...
    @overload
    def __call__(self, x: Array, norm: "NormAffine") -> Array: ...
    @nn.compact
    def __call__(
        self, x: Float[Array, "b d h w c"], norm: "NormAffine | None" = None
    ) -> (
        tuple[Float[Array, "b 2*d 2*h 2*w o"], Float[Array, " o"]] | Float[Array, "b 2*d 2*h 2*w o"]
    ):
        kernel = self.param("kernel", KERNEL_INIT, (2, 2, 2, x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x, kernel = nn.dtypes.promote_dtype(x, kernel, dtype=self.dtype)
        if norm is None:
            return conv_transpose(x, kernel, strides=2), bias
        return conv_transpose_affine(x, kernel, *norm(self.features, bias), relu=True, strides=2)


def max_pool3d(x: Float[Array, "b d h w c"]) -> Float[Array, "b d//2 h//2 w//2 c"]:
    """Maximum over 2³ voxels. At ties, of which empty space consists, the gradient goes to the
    first voxel in memory order, as in PyTorch."""
    with jax.named_scope("max_pool_2_0"):  # by which an export knows it
        return _max_pool3d(x)


@jax.jit
def _max_pool3d(x: Float[Array, "b d h w c"]) -> Float[Array, "b d//2 h//2 w//2 c"]:
    for axis in (3, 2, 1):
        x = x.reshape(*x.shape[:axis], x.shape[axis] // 2, 2, *x.shape[axis + 1 :])
        first, second = jnp.take(x, 0, axis=axis + 1), jnp.take(x, 1, axis=axis + 1)
        x = jnp.where(first >= second, first, second)
    return x


class ConvNorm3D(nn.Module):
    """Convolution and batch normalization, perhaps plus a residual and through ReLU.

    Inside `jit` over a sharded batch the statistics are those of the global batch; PyTorch's
    DistributedDataParallel uses those of each GPU. The running variance is the biased one;
    PyTorch's is larger by n / (n - 1) for the n voxels of a batch, at most by 1e-4 here.
    """

    features: int
    size: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b d h w c"],
        train: bool,
        residual: Float[Array, "b d h w o"] | None = None,
        relu: bool = False,
    ) -> Float[Array, "b d h w o"]:
        conv = Conv3D(self.features, self.size, self.dtype, name="conv")
        if not train:
            return conv(x, norm=NormAffine(name="norm"), residual=residual, relu=relu)
        x, bias = conv(x, apart=True)
        if self.size == 3:
            x = keep(x)
        return add_and_relu(BatchNorm(self.dtype, name="norm")(x, train, bias), residual, relu)


def add_and_relu(y: Array, residual: Array | None, relu: bool) -> Array:
    y = y if residual is None else residual + y
    return nn.relu(y) if relu else y


class BatchNorm(nn.Module):
    """Batch normalization with PyTorch's defaults: running average 0.9 old + 0.1 new, epsilon 1e-5.
    Parameters and statistics have flax's names.

    `offset` is the bias of the preceding layer. Normalization cancels it, so in training it only
    enters the running mean and its gradient is 0. If it were added to x, its gradient would be
    rounding noise, which RMSprop and Adam scale up to steps of full size.
    """

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b *space c"], train: bool, offset: Float[Array, " c"] | float = 0.0
    ) -> Array:
        scale, bias, mean, var = _norm_variables(self, x.shape[-1])
        offset = jnp.asarray(offset, mean.value.dtype)
        if train:
            y, new_mean, new_var = normalize(x, scale, bias, None, 1e-5)
            if not self.is_initializing():
                # Parameters are the same on all devices, which shard_map has to be told.
                alike = over_devices(lax.stop_gradient(offset)) / number_of_devices()
                mean.value = 0.9 * mean.value + 0.1 * (new_mean[0] + alike)
                var.value = 0.9 * var.value + 0.1 * new_var[0]
            return y.astype(self.dtype)
        factor, shift = _scale_and_shift(scale, bias, mean, var, offset)
        return affine(x.astype(factor.dtype), factor, shift).astype(self.dtype)


class NormAffine(nn.Module):
    """A `BatchNorm` at inference as scale and shift, for a convolution that applies them. It has
    the variables of a BatchNorm, whose name it is given."""

    @nn.compact
    def __call__(
        self, channels: int, offset: Float[Array, " c"] | float = 0.0
    ) -> tuple[Float[Array, " c"], Float[Array, " c"]]:
        scale, bias, mean, var = _norm_variables(self, channels)
        return _scale_and_shift(scale, bias, mean, var, jnp.asarray(offset, mean.value.dtype))


def _norm_variables(norm: nn.Module, channels: int) -> tuple[Array, Array, Any, Any]:
    """Scale and bias, and the running mean and variance, which are variables."""
    return (
        norm.param("scale", nn.initializers.ones, (channels,)),
        norm.param("bias", nn.initializers.zeros, (channels,)),
        norm.variable("batch_stats", "mean", jnp.zeros, (channels,)),
        norm.variable("batch_stats", "var", jnp.ones, (channels,)),
    )


def _scale_and_shift(scale, bias, mean, var, offset):
    factor = lax.rsqrt(var.value + 1e-5) * scale
    return factor, bias + (offset - mean.value) * factor


class GroupNorm(nn.Module):
    """flax.linen.GroupNorm with two-pass variance, PyTorch's epsilon, and statistics in float32
    or higher."""

    groups: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        with jax.named_scope(f"group_norm_{self.groups}"):  # by which an export knows it
            return normalize(x, scale, bias, self.groups, 1e-5)[0]


class Residual3D(nn.Module):
    """conv3 - BN - ReLU - conv3 - BN, plus the input (through conv1 - BN if the width changes),
    then ReLU."""

    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b d h w c"], train: bool) -> Float[Array, "b d h w o"]:
        y = ConvNorm3D(self.features, 3, self.dtype, name="conv1")(x, train, relu=True)
        if x.shape[-1] != self.features:
            x = ConvNorm3D(self.features, 1, self.dtype, name="skip")(x, train)
        return ConvNorm3D(self.features, 3, self.dtype, name="conv2")(y, train, x, relu=True)


def conv2d(
    features: int,
    size: int,
    dtype: Any,
    kernel_init: nn.initializers.Initializer,
    bias_init: nn.initializers.Initializer,
    name: str,
) -> nn.Conv:
    """Same-size convolution of an image with a square kernel of `size`, by `ops.conv`, which has
    fast gradients on CPUs."""
    return nn.Conv(
        features,
        (size, size),
        dtype=dtype,
        kernel_init=kernel_init,
        bias_init=bias_init,
        conv_general_dilated=conv_general_dilated,
        name=name,
    )


def torch_uniform(fan_in: int) -> nn.initializers.Initializer:
    """U(-1/√fan_in, 1/√fan_in): PyTorch's default for kernels and biases of convolutions."""

    def init(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -(fan_in**-0.5), fan_in**-0.5)

    return init


def max_pool2d(x: Float[Array, "b h w c"], size: int, padding: int = 0) -> Float[Array, "b y x c"]:
    """Maximum over size² pixels at every second pixel, with `padding` empty pixels around it.

    Computed along rows, then columns: the gradient of XLA's window maximum takes three to six
    times as long on a CPU. At ties the gradient goes to the first pixel in memory order, as in XLA
    and PyTorch.
    """
    with jax.named_scope(f"max_pool_{size}_{padding}"):  # by which an export knows it
        return _max_pool2d(x, size, padding)


@partial(jax.jit, static_argnums=(1, 2))
def _max_pool2d(x: Float[Array, "b h w c"], size: int, padding: int) -> Float[Array, "b y x c"]:
    for axis in (2, 1):
        border = [(padding, padding) if a == axis else (0, 0) for a in range(4)]
        x = jnp.pad(x, border, constant_values=-jnp.inf)
        last = (x.shape[axis] - size) // 2 * 2 + 1
        highest, *others = (
            lax.slice_in_dim(x, start, start + last, 2, axis) for start in range(size)
        )
        for other in others:
            highest = jnp.where(other > highest, other, highest)
        x = highest
    return x
