"""The hand finder: a whole depth image → where hands are, how far, how large, and of which side.

A detector of centers in the manner of Zhou et al. 2019 ("Objects as Points"), small enough for a
frame in milliseconds on a CPU. Where it is decoded: targets/handfinder.py.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from handjax.models.handnet import CELL_PX, BottleneckUnit, ConvNorm, hourglass, space_to_depth

CHANNELS = 3  # of the input: depth, its inverse, and where it was measured
OUTPUTS = 6  # of the maps: right and left hand (logits), x and y in the cell, depth, log size


class HandFinder(nn.Module):
    """x [b, h, w, 3] → maps [b, h/4, w/4, 6], float32; h and w must be divisible by 16."""

    widths: tuple[int, int, int] = (48, 96, 128)
    blocks: tuple[int, int, int] = (1, 2, 2)
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w 3"], train: bool = False
    ) -> Float[Array, "b h/4 w/4 6"]:
        conv = partial(ConvNorm, dtype=self.dtype, train=train)
        block = partial(BottleneckUnit, dtype=self.dtype, train=train)
        x = space_to_depth(x.astype(self.dtype), CELL_PX)
        x = conv(self.widths[0], 3, name="stem")(x, relu=True)
        x, _ = hourglass(x, self.widths, self.blocks, conv, block)
        maps = nn.Dense(OUTPUTS, dtype=self.dtype, bias_init=_rare, name="maps")(x)
        return maps.astype(jnp.float32)


def _rare(key: Any, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    """Logits of a hand start at -4: in nearly every cell there is none."""
    return jnp.zeros(shape, dtype).at[:2].set(-4.0)
