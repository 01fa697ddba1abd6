"""The sphere hand's network: depth image → heat and depth map of every sphere (Wan et al. 2019,
github.com/melonwan/sphereHand)."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from handjax.models.layers import GroupNorm, max_pool2d, torch_uniform
from handjax.ops.conv import conv_general_dilated

_GROUPS = 16


class SphereNet(nn.Module):
    """Depth [b, n, n, 1] in 100 mm → maps of every stack [b, stacks, n/4, n/4, channels · spheres]
    and the narrowest features of each hourglass [b, stacks, n/16, n/16, 2 · width], float32.

    The first `spheres` channels are heat, the next depth in 100 mm; with `channels` of 4 per sphere
    the last are offsets (targets/spherehand.py). `n` must be divisible by 16,
    `width` by 32.

    A stacked hourglass (Newell et al. 2016) with group instead of batch normalization, so training
    and inference are the same function. As in the original, with 41 spheres and its width:
    2,308,946 parameters for one stack, 4,199,588 for two, initialized as PyTorch's convolutions.
    """

    spheres: int = 41
    stacks: int = 1
    width: int = 128
    dtype: Any = jnp.float32
    channels: int = 2  # per sphere

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n n 1"], train: bool = False
    ) -> tuple[
        Float[Array, "b {self.stacks} n/4 n/4 {self.channels}*{self.spheres}"],
        Float[Array, "b {self.stacks} n/16 n/16 2*{self.width}"],
    ]:
        if x.shape[1] % 16:
            raise ValueError(f"an image of {x.shape[1]} px is not divisible by the network's 16 px")

        def block(x, name, width=self.width):
            return Bottleneck(width, name=name)(x)

        def hourglass(x, level, name):
            skip = block(x, f"{name}_skip{level}")
            low = block(max_pool2d(x, 2), f"{name}_down{level}")
            if level > 1:
                low, latent = hourglass(low, level - 1, name)
            else:
                low = latent = block(low, f"{name}_bottom")
            low = block(low, f"{name}_up{level}")
            return skip + jax.image.resize(low, skip.shape, "bilinear"), latent

        x = _conv(x.astype(self.dtype), self.width // 2, 5, "stem", stride=2)
        x = nn.relu(_norm(x, "stem_norm", groups=4))
        x = max_pool2d(block(x, "front1", self.width // 2), 2)
        x = block(block(x, "front2"), "front3")

        maps, latents = [], []
        for stack in range(1, self.stacks + 1):
            y, latent = hourglass(x, 2, f"hourglass{stack}")
            y = _conv(block(y, f"out{stack}_block"), 2 * self.width, 1, f"out{stack}_conv")
            y = nn.relu(_norm(y, f"out{stack}_norm"))
            maps.append(_conv(y, self.channels * self.spheres, 1, f"out{stack}_maps"))
            latents.append(latent)
            if stack < self.stacks:
                x = (
                    x
                    + _conv(y, x.shape[-1], 1, f"back{stack}_features")
                    + _conv(maps[-1], x.shape[-1], 1, f"back{stack}_maps")
                )
        return jnp.stack(maps, axis=1).astype(jnp.float32), jnp.stack(latents, axis=1).astype(
            jnp.float32
        )


class Bottleneck(nn.Module):
    """Three times norm - ReLU - convolution, of sizes 1, 3 and 1, the last to 2 · width channels,
    plus the input, which has a convolution of its own if the number of channels changes."""

    width: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w 2*{self.width}"]:
        y = _conv(nn.relu(_norm(x, "norm1")), self.width, 1, "conv1")
        y = _conv(nn.relu(_norm(y, "norm2")), self.width, 3, "conv2")
        y = _conv(nn.relu(_norm(y, "norm3")), 2 * self.width, 1, "conv3")
        return y + (x if x.shape[-1] == y.shape[-1] else _conv(x, y.shape[-1], 1, "skip"))


def _norm(x, name, groups=_GROUPS):
    return GroupNorm(groups, name=name)(x)


def _conv(x, features, size, name, stride=1):
    """Convolution in the precision of the input, same-size but for its stride; flax's SAME would
    pad unevenly with a stride."""
    init = torch_uniform(size**2 * x.shape[-1])
    border = ((size // 2,) * 2,) * 2
    options = dict(
        dtype=x.dtype, kernel_init=init, bias_init=init, conv_general_dilated=conv_general_dilated
    )
    return nn.Conv(features, (size, size), (stride, stride), border, **options, name=name)(x)
