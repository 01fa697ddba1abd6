"""Convolutional Pose Machines: heat maps, refined stage by stage (Wei et al. 2016, arXiv
1602.00134)."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from handjax.models.layers import conv2d, max_pool2d, torch_uniform
from handjax.ops.dtypes import at_least_float32


class CPM(nn.Module):
    """Image and center map [b, n, n, 3 + 1] → heat maps of every stage
    [b, stages, m, m, joints (+ 1)], float32 or higher. `n` must be divisible by the stride.

    The center map marks the hand or person; it has the size of the image and is averaged down here.
    With `background`, channel 0 of the heat maps stands for no joint.

    The default is the network of namedBen/Convolutional-Pose-Machines-Pytorch, with m = n / stride:
    31,770,052 parameters for 21 joints, 31,219,866 for 14. HowieMa/CPM_Pytorch has no `background`
    for hands and no `pool_padding`, so m = n / stride - 1: 31,691,454 for 21. Parameters are
    initialized as PyTorch's convolutions are.

    widths   of the trunk and the refinement, of the image features of a stage, and of the first
             stage's head
    kernels  of the trunk and the first head, of those features, and of the refinement
    pools    each halves the resolution
    """

    joints: int
    stages: int = 6
    background: bool = True
    widths: tuple[int, int, int] = (128, 32, 512)
    kernels: tuple[int, int, int] = (9, 5, 11)
    pools: int = 3
    pool_padding: int = 1
    dtype: Any = jnp.float32

    @property
    def stride(self) -> int:
        """Image pixels from one cell of the heat maps to the next."""
        return 2**self.pools

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n n 4"], train: bool = False
    ) -> Float[Array, "b {self.stages} m m c"]:
        if not 1 <= self.pools <= 3:
            raise ValueError(f"CPM's trunk has one to three poolings, not {self.pools}")
        if x.shape[1] % self.stride:
            raise ValueError(
                f"an image of {x.shape[1]} px is not divisible by the network's stride of "
                f"{self.stride} px"
            )
        width, features, head = self.widths
        large, middle, wide = self.kernels
        channels = self.joints + self.background
        image, center = x[..., :3].astype(self.dtype), x[..., 3:]

        def trunk(x, name):
            for i in (1, 2, 3):
                x = nn.relu(_conv(x, width, large, f"{name}_conv{i}"))
                if i <= self.pools:
                    x = max_pool2d(x, 3, self.pool_padding)
            return x

        border = ((self.pool_padding,) * 2,) * 2
        window = self.stride + 1
        center = nn.pool(center, 0.0, lax.add, (window,) * 2, (self.stride,) * 2, border)
        center = (center / window**2).astype(self.dtype)

        x = trunk(image, "stage1")
        x = nn.relu(_conv(x, features, middle, "stage1_conv4"))
        x = nn.relu(_conv(x, head, large, "stage1_conv5"))
        x = nn.relu(_conv(x, head, 1, "stage1_conv6"))
        maps = [_conv(x, channels, 1, "stage1_out")]

        shared = trunk(image, "middle")
        for stage in range(2, self.stages + 1):
            x = nn.relu(_conv(shared, features, middle, f"stage{stage}_features"))
            x = jnp.concatenate([x, maps[-1], center], axis=-1)
            for i in (1, 2, 3):
                x = nn.relu(_conv(x, width, wide, f"stage{stage}_conv{i}"))
            x = nn.relu(_conv(x, width, 1, f"stage{stage}_conv4"))
            maps.append(_conv(x, channels, 1, f"stage{stage}_out"))
        full = at_least_float32(self.dtype)
        return jnp.stack([heat.astype(full) for heat in maps], axis=1)


def _conv(x, features, size, name):
    """Same-size convolution in the precision of the input."""
    init = torch_uniform(size**2 * x.shape[-1])
    return conv2d(features, size, x.dtype, init, init, name)(x)
