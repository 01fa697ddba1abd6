"""PoseNet2D: one score map per joint, refined twice (jiangxubin/hand_pose after
lmb-freiburg/hand3d: Zimmermann and Brox 2017, arXiv 1705.01389)."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from handjax.models.layers import conv2d, max_pool2d
from handjax.ops.dtypes import at_least_float32

leaky_relu = partial(nn.leaky_relu, negative_slope=0.01)


class PoseNet2D(nn.Module):
    """Image [b, n, n, 3] → score maps [b, 1 + refinements, m, m, joints], float32 or higher, with
    m = n / stride. The original has n = 256 and m = 32.

    widths  channels of the four blocks and of the encoding
    kernel  size of the kernels of the refinements
    pools   how many of the first three blocks halve the resolution
    """

    joints: int = 21
    refinements: int = 2
    widths: tuple[int, int, int, int, int] = (64, 128, 256, 512, 128)
    kernel: int = 7
    pools: int = 3
    dtype: Any = jnp.float32

    @property
    def stride(self) -> int:
        """Image pixels from one cell of the score maps to the next."""
        return 2**self.pools

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n n 3"], train: bool = False
    ) -> Float[Array, "b s m m {self.joints}"]:
        if x.shape[1] % self.stride:
            raise ValueError(
                f"an image of {x.shape[1]} px is not divisible by the network's stride of "
                f"{self.stride} px"
            )
        one, two, three, four, encoded = self.widths
        blocks = (one,) * 2, (two,) * 2, (three,) * 4, (four,) * 2 + (three,) * 4 + (encoded,)

        x = x.astype(self.dtype)
        for block, widths in enumerate(blocks, 1):
            for i, width in enumerate(widths, 1):
                x = leaky_relu(_conv(x, width, 3, f"conv{block}_{i}"))
            if block <= self.pools:
                x = max_pool2d(x, 2)
        encoding = x

        x = leaky_relu(_conv(encoding, four, 1, "conv5_1"))
        maps = [_conv(x, self.joints, 1, "conv5_2")]
        for block in range(6, 6 + self.refinements):
            x = jnp.concatenate([maps[-1], encoding], axis=-1)
            for i in range(1, 6):
                x = leaky_relu(_conv(x, encoded, self.kernel, f"conv{block}_{i}"))
            x = leaky_relu(_conv(x, encoded, 1, f"conv{block}_6"))
            maps.append(_conv(x, self.joints, 1, f"conv{block}_7"))
        wide = at_least_float32(self.dtype)
        return jnp.stack([heat.astype(wide) for heat in maps], axis=1)


def _conv(x, features, size, name):
    """Same-size convolution in the precision of the input, initialized with Xavier's kernel and a
    bias of 1e-4."""
    kernel, bias = nn.initializers.xavier_uniform(), nn.initializers.constant(1e-4)
    return conv2d(features, size, x.dtype, kernel, bias, name)(x)
