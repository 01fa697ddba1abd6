"""3D pose of a person from one image: a ResNet and one of three heads (Sun et al. 2018, arXiv
1711.08229, and its forks)."""

import math
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from handjax.models.layers import BatchNorm, NormAffine, conv2d, torch_uniform
from handjax.models.recompute import keep, recomputed
from handjax.models.resnet import ResNet
from handjax.ops.conv import conv_transpose
from handjax.ops.conv_affine import conv_transpose_affine
from handjax.ops.dtypes import at_least_float32

HEADS = ("direct", "integral", "kinematic")
SLICES = 16  # of a batch whose heat volumes are computed one after the other, with `remat`
MOTION = 29  # parameters of a pose of rigs/body.py; the kinematic head also predicts a scale
_KERNEL_INIT = nn.initializers.normal(0.001)


class BodyNet(nn.Module):
    """Normalized image [b, h, w, 3] → outputs of the head, float32; h and w divisible by 32.

    direct     [b, joints, 3] in label units: x and y from -1/2 to 1/2 across the image, z in the
               unit of x. The mean over all pixels of the features, then a fully connected layer.
    integral   the same, as the expectation of a heat volume [h/4, w/4, depth] per joint:
               `deconvolutions` of 4x4 with stride 2, then 1x1. `depth` is 64 for 256 px and 72 for
               the 384 x 288 px of the ECCV 2018 challenge.
    kinematic  [b, 30]: 29 pose parameters and a scale for rigs/body.py. The original's layer has
               523 outputs, 29 · 18 + 1, and uses the first 29 and the last; the other 493, which
               get no gradient, are left out here.
    """

    head: str
    layers: int = 50
    joints: int = 18
    depth: int = 64
    width: int = 64
    deconvolutions: tuple[int, ...] = (256, 256, 256)
    remat: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w 3"], train: bool = False) -> Float[Array, "b ..."]:
        if self.head not in HEADS:
            raise ValueError(f"head {self.head!r} is unknown: use {', '.join(HEADS)}")
        x = ResNet(self.layers, self.width, self.remat, self.dtype, name="backbone")(x, train)

        def part(function, x):
            return recomputed(function, self, x) if self.remat and train else function(self, x)

        def deconvolution(net, x, features, name):
            layer = Deconvolution(features, self.dtype, name=name)
            if not train:
                return layer(x, NormAffine(name=f"{name}_bn"))
            x = keep(layer(x))
            return nn.relu(BatchNorm(self.dtype, name=f"{name}_bn")(x, train))

        def coordinates(net, x):
            volume = conv2d(
                self.joints * self.depth, 1, self.dtype, _KERNEL_INIT, nn.initializers.zeros, "out"
            )(x)
            return soft_argmax_volume(volume.reshape(*volume.shape[:-1], self.joints, self.depth))

        if self.head == "integral":
            for i, features in enumerate(self.deconvolutions):
                x = part(partial(deconvolution, features=features, name=f"deconv{i}"), x)
            if not (self.remat and train):
                return coordinates(self, x)
            # Volumes are the largest arrays. None has statistics, so a few samples are enough.
            slices = math.gcd(x.shape[0], SLICES)
            x = jnp.moveaxis(x.reshape(-1, slices, *x.shape[1:]), 1, 0)  # devices keep their rows
            _, joints = nn.scan(
                nn.remat(lambda net, carry, x: (carry, coordinates(net, x)), prevent_cse=False),
                variable_broadcast="params",
                split_rngs={"params": False},
            )(self, (), x)
            return jnp.moveaxis(joints, 0, 1).reshape(-1, *joints.shape[2:])
        x = x.astype(at_least_float32(x.dtype)).mean((1, 2))
        outputs = 3 * self.joints if self.head == "direct" else MOTION + 1
        start = torch_uniform(x.shape[-1])
        x = nn.Dense(outputs, kernel_init=start, bias_init=start, name="fc")(x)
        return x.reshape(-1, self.joints, 3) if self.head == "direct" else x


class Deconvolution(nn.Module):
    """Transposed convolution with kernel 4, stride 2 and no bias, which doubles the size (PyTorch's
    padding 1). With a `norm`, it is normalized and goes through ReLU.

    As in PyTorch, tap k of a row of the kernel [4, 4, in, out] maps input i to output 2i + k - 1.
    """

    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], norm: NormAffine | None = None
    ) -> Float[Array, "b 2*h 2*w o"]:
        kernel = self.param("kernel", _KERNEL_INIT, (4, 4, x.shape[-1], self.features))
        x, kernel = nn.dtypes.promote_dtype(x, kernel, dtype=self.dtype)
        if norm is None:
            return conv_transpose(x, kernel, strides=2, padding=1)
        scale, shift = norm(self.features)
        return conv_transpose_affine(x, kernel, scale, shift, relu=True, strides=2, padding=1)


def soft_argmax_volume(heat: Float[Array, "*b h w j d"]) -> Float[Array, "*b j 3"]:
    """Expectation of (x, y, z) under a softmax over the volume of each joint, with cell i of n at
    i/n - 1/2 (Sun et al. 2018, eq. 3 and 4). Computed in float32, by the marginal of each axis.
    """
    heat = heat.astype(jnp.float32)
    top = jax.lax.stop_gradient(heat.max((-4, -3, -1), keepdims=True))
    weight = jnp.exp(heat - top)
    # [*b, w, j], [*b, h, j], [*b, j, d]
    x, y, z = weight.sum((-4, -1)), weight.sum((-3, -1)), weight.sum((-4, -3))
    total = z.sum(-1)

    def mean(marginal):  # [*b, j, n]
        n = marginal.shape[-1]
        cells = (jnp.arange(n, dtype=jnp.float32) / n - 0.5).reshape(
            (1,) * (marginal.ndim - 1) + (n,)
        )
        return (marginal * cells).sum(-1) / total

    return jnp.stack(
        [mean(jnp.swapaxes(x, -1, -2)), mean(jnp.swapaxes(y, -1, -2)), mean(z)], axis=-1
    )
