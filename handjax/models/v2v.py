"""V2V-PoseNet: occupancy → one heat map per joint (Moon, Chang, Lee 2018, arXiv 1711.07399,
figure 3)."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from handjax.models.layers import (
    BatchNorm,
    Conv3D,
    ConvNorm3D,
    NormAffine,
    Residual3D,
    Upsample3D,
    max_pool3d,
)
from handjax.models.recompute import recomputed


class V2V(nn.Module):
    """Occupancy [b, n, n, n, 1] → heat maps [b, n/2, n/2, n/2, joints], float32. `n` must be
    divisible by 8.

    With the paper's widths: 3,410,222 parameters for 14 joints, 3,410,453 for 21.
    `full_resolution` is the variant of mhruz/hpoes_pytorch with one more transposed convolution,
    whose heat maps are [b, n, n, n, joints]: 3,418,510 and 3,418,741 parameters.
    """

    joints: int
    widths: tuple[int, int, int, int] = (16, 32, 64, 128)
    stem_size: int = 7
    full_resolution: bool = False
    remat: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n n n 1"], train: bool = False
    ) -> Float[Array, "b m m m {self.joints}"]:
        stem, top, middle, bottom = self.widths

        def residual(x, features, name):
            return Residual3D(features, self.dtype, name=name)(x, train)

        def upsample(x, features, name):
            layer = Upsample3D(features, self.dtype, name=name)
            if not train:
                return layer(x, NormAffine(name=f"{name}_norm"))
            x, bias = layer(x)
            return nn.relu(BatchNorm(self.dtype, name=f"{name}_norm")(x, train, bias))

        def start(net, x):
            stem_layer = ConvNorm3D(stem, self.stem_size, self.dtype, name="stem")
            return max_pool3d(stem_layer(x, train, relu=True))

        def front(net, x):
            for i in (1, 2, 3):
                x = step(net, partial(block, name=f"front{i}"), x)
            return x

        def block(net, x, name):
            return residual(x, top, name)

        def inner(net, x):
            x = residual(max_pool3d(x), middle, "encode1")
            skip_middle = residual(x, middle, "skip_middle")
            x = residual(max_pool3d(x), bottom, "encode2")
            x = residual(x, bottom, "bottom")
            x = residual(x, bottom, "decode1")
            return residual(upsample(x, middle, "up1") + skip_middle, middle, "decode2")

        def back(net, x, skip_top):
            x = upsample(x, top, "up2") + skip_top
            return residual(x, top, "back")

        def last(net, x, name):
            return ConvNorm3D(top, 1, self.dtype, name=name)(x, train, relu=True)

        def step(net, part, *inputs, keeps=True):
            if self.remat and train:
                return recomputed(part, net, *inputs, keeps=keeps)
            return part(net, *inputs)

        # What is kept takes memory, what is not takes time: a third of the kept convolutions'.
        x = step(self, front, step(self, start, x.astype(self.dtype)))
        skip_top = step(self, partial(block, name="skip_top"), x, keeps=False)
        x = step(self, back, step(self, inner, x), skip_top, keeps=False)
        if self.full_resolution:
            x = upsample(x, top, "up3")
        for i in (1, 2):
            x = step(self, partial(last, name=f"back_conv{i}"), x)
        return Conv3D(self.joints, 1, self.dtype, name="out")(x).astype(jnp.float32)
