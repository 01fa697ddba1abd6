"""The hand network: depth crop → 3D joints with their uncertainty, and whether a right hand is
there. Sized for CPUs, 58 million floating-point operations a crop.

An encoder-decoder in the manner of Newell et al. 2016 with residual bottlenecks (He et al. 2016).
Where it is decoded: targets/handnet.py.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from handjax.models.layers import BatchNorm, NormAffine, add_and_relu
from handjax.ops.conv import conv_general_dilated
from handjax.ops.conv_affine import conv_affine, fuses

CHANNELS = 2  # of the input: depth, and where it was measured
CELL_PX = 4  # pixels of the input per cell of the maps, along each axis


class HandNet(nn.Module):
    """x [b, n, n, 2] → maps [b, n/4, n/4, 3 · joints] and presence [b], float32.

    The maps are heat, depth and log deviation of every joint; presence is a logit. `n` must be
    divisible by 16. `widths`: channels at n/4, n/8 and n/16; `blocks`: residual blocks there on the
    way down, of which one is repeated on the way up.
    """

    joints: int = 21
    widths: tuple[int, int, int] = (64, 128, 192)
    blocks: tuple[int, int, int] = (2, 2, 2)
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n n 2"], train: bool = False
    ) -> tuple[Float[Array, "b n/4 n/4 3*{self.joints}"], Float[Array, " b"]]:
        if x.shape[1] % (4 * CELL_PX):
            raise ValueError(f"a crop of {x.shape[1]} px is not divisible by {4 * CELL_PX} px")
        top = self.widths[0]
        conv = partial(ConvNorm, dtype=self.dtype, train=train)
        block = partial(BottleneckUnit, dtype=self.dtype, train=train)

        x = space_to_depth(x.astype(self.dtype), 2)
        x = conv(top // 4, 3, name="fine")(x, relu=True)
        x = conv(top, 1, name="stem")(space_to_depth(x, 2), relu=True)
        x, seen = hourglass(x, self.widths, self.blocks, conv, block)
        maps = nn.Dense(3 * self.joints, dtype=self.dtype, name="maps")(x)
        presence = nn.Dense(1, dtype=self.dtype, name="presence")(seen)
        return maps.astype(jnp.float32), presence[:, 0].astype(jnp.float32)


def hourglass(
    x: Float[Array, "b h w c"],
    widths: Sequence[int],
    blocks: Sequence[int],
    conv: Callable[..., nn.Module],
    block: Callable[..., nn.Module],
) -> tuple[Float[Array, "b h w c"], Float[Array, "b d"]]:
    """Down to a quarter of the size and up again, with a residual unit a level on the way up and
    sums across; and the mean of the features at the narrowest. Layers are those of the caller."""
    skips = []
    for level, (width, count) in enumerate(zip(widths, blocks, strict=True)):
        if level:
            skips.append(x)
            x = nn.relu(conv(width, 1, name=f"enter{level}")(mean_pool(x)))
        for i in range(count):
            x = block(width, name=f"down{level}_{i}")(x)
    narrowest = x.mean((1, 2))
    for level in reversed(range(len(widths) - 1)):
        width = widths[level]
        x = double(conv(width, 1, name=f"leave{level}")(x)) + skips.pop()
        x = block(width, name=f"up{level}")(nn.relu(x))
    return x, narrowest


class ConvNorm(nn.Module):
    """Same-size convolution without bias and batch normalization, perhaps plus a residual and
    through ReLU."""

    features: int
    size: int
    dtype: Any
    train: bool

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        residual: Float[Array, "b h w {self.features}"] | None = None,
        relu: bool = False,
    ) -> Float[Array, "b h w {self.features}"]:
        init = nn.initializers.he_normal()
        if not self.train and fuses(self.dtype):
            taps = () if self.size == 1 else (self.size,) * 2
            kernel = Kernel((*taps, x.shape[-1], self.features), init, name="conv")()
            x, kernel = nn.dtypes.promote_dtype(x, kernel, dtype=self.dtype)
            scale, shift = NormAffine(name="norm")(self.features)
            return conv_affine(
                x,
                kernel.reshape(self.size, self.size, *kernel.shape[-2:]),
                scale,
                shift,
                residual,
                relu=relu,
            )
        if self.size == 1:
            # As a product of matrices; as a convolution it takes XLA three times as long on a CPU.
            dense = nn.Dense(
                self.features, use_bias=False, dtype=self.dtype, kernel_init=init, name="conv"
            )
            y = dense(x.reshape(-1, x.shape[-1])).reshape(*x.shape[:-1], self.features)
        else:
            y = nn.Conv(
                self.features,
                (self.size, self.size),
                use_bias=False,
                dtype=self.dtype,
                kernel_init=init,
                conv_general_dilated=conv_general_dilated,
                name="conv",
            )(x)
        return add_and_relu(BatchNorm(self.dtype, name="norm")(y, self.train), residual, relu)


class Kernel(nn.Module):
    """The kernel of a layer whose name it is given."""

    shape: tuple[int, ...]
    kernel_init: nn.initializers.Initializer

    @nn.compact
    def __call__(self) -> Array:
        return self.param("kernel", self.kernel_init, self.shape)


class BottleneckUnit(nn.Module):
    """x + three convolutions of sizes 1, 3 and 1 with half the channels inside, then ReLU."""

    width: int
    dtype: Any
    train: bool

    @nn.compact
    def __call__(self, x: Float[Array, "b h w {self.width}"]) -> Float[Array, "b h w {self.width}"]:
        conv = partial(ConvNorm, dtype=self.dtype, train=self.train)
        y = conv(self.width // 2, 1, name="narrow")(x, relu=True)
        y = conv(self.width // 2, 3, name="look")(y, relu=True)
        return conv(self.width, 1, name="widen")(y, x, relu=True)


def space_to_depth(x: Float[Array, "b h w c"], n: int) -> Float[Array, "b h/{n} w/{n} {n}*{n}*c"]:
    """Blocks of n x n pixels as channels."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // n, n, w // n, n, c)
    return jnp.transpose(x, (0, 1, 3, 2, 4, 5)).reshape(b, h // n, w // n, n * n * c)


def mean_pool(x: Float[Array, "b h w c"]) -> Float[Array, "b h/2 w/2 c"]:
    """Mean of blocks of 2 x 2 pixels."""
    b, h, w, c = x.shape
    return x.reshape(b, h // 2, 2, w // 2, 2, c).mean((2, 4))


def double(x: Float[Array, "b h w c"]) -> Float[Array, "b 2*h 2*w c"]:
    """Every pixel becomes 2 x 2."""
    b, h, w, c = x.shape
    x = jnp.broadcast_to(x[:, :, None, :, None], (b, h, 2, w, 2, c))
    return x.reshape(b, 2 * h, 2 * w, c)
