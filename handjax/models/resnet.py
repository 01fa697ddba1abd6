"""ResNet (He et al. 2016, arXiv 1512.03385) as in torchvision, so that its ImageNet weights fit."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float

from handjax.models.layers import BatchNorm, NormAffine, add_and_relu, max_pool2d
from handjax.models.recompute import recomputed
from handjax.ops.conv import conv
from handjax.ops.conv_affine import conv_affine

# Layers → number of blocks of each of the four stages, and whether they are bottlenecks.
STAGES = {
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
    152: ((3, 8, 36, 3), True),
}
_KERNEL_INIT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class Conv(nn.Module):
    """Convolution without bias, kernel [k, k, in, out], with equal padding on both sides; "SAME"
    with a stride pads one side more. With a `norm`, it is normalized, perhaps plus a residual, and
    through ReLU."""

    features: int
    size: int
    stride: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        norm: NormAffine | None = None,
        residual: Float[Array, "b m n o"] | None = None,
        relu: bool = False,
    ) -> Float[Array, "b m n o"]:
        kernel = self.param(
            "kernel", _KERNEL_INIT, (self.size, self.size, x.shape[-1], self.features)
        )
        x, kernel = nn.dtypes.promote_dtype(x, kernel, dtype=self.dtype)
        pads, strides = [(self.size // 2,) * 2] * 2, (self.stride,) * 2
        if norm is None:
            return conv(x, kernel, strides=strides, padding=pads)
        scale, shift = norm(self.features)
        return conv_affine(
            x, kernel, scale, shift, residual, relu=relu, strides=strides, padding=pads
        )


def normed(
    x: Array,
    conv: Conv,
    norm: str,
    train: bool,
    residual: Array | None = None,
    relu: bool = True,
) -> Array:
    """Convolution and the batch normalization named `norm`, perhaps plus a residual, and through
    ReLU."""
    if not train:
        return conv(x, NormAffine(name=norm), residual, relu)
    return add_and_relu(BatchNorm(conv.dtype, name=norm)(conv(x), train), residual, relu)


class Block(nn.Module):
    """3x3 - 3x3, or as a bottleneck 1x1 - 3x3 - 1x1 to four times the `features`, each with batch
    normalization, plus the input.

    The (first) 3x3 has the stride, as in torchvision ("v1.5"); in the paper's bottleneck the first
    1x1 has it.
    """

    features: int
    stride: int
    bottleneck: bool
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b m n o"]:
        sizes = (1, 3, 1) if self.bottleneck else (3, 3)
        outside = self.features * (4 if self.bottleneck else 1)

        def conv(features, size, stride, name):
            return Conv(features, size, stride, self.dtype, name=name)

        *inner, last = enumerate(sizes, 1)
        y = x
        for i, size in inner:
            stride = self.stride if i == sizes.index(3) + 1 else 1
            y = normed(y, conv(self.features, size, stride, f"conv{i}"), f"bn{i}", train)
        if x.shape != (*y.shape[:3], outside):
            down = conv(outside, 1, self.stride, "downsample_conv")
            x = normed(x, down, "downsample_bn", train, relu=False)
        i, size = last
        return normed(y, conv(outside, size, 1, f"conv{i}"), f"bn{i}", train, x)


class ResNet(nn.Module):
    """Image [b, h, w, 3] → features [b, h/32, w/32, c], without the classifier. h and w must be
    divisible by 32.

    c is 8 `width` for 18 and 34 layers, 32 `width` for more; the original's width is 64. `remat`
    recomputes every block in the backward pass instead of storing its activations.
    """

    layers: int = 50
    width: int = 64
    remat: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w 3"], train: bool = False
    ) -> Float[Array, "b h//32 w//32 c"]:
        if x.shape[1] % 32 or x.shape[2] % 32:
            raise ValueError(
                f"an image of {x.shape[2]} x {x.shape[1]} px is not divisible by the network's "
                "stride of 32 px"
            )
        if self.layers not in STAGES:
            raise ValueError(
                f"a ResNet of {self.layers} layers is unknown: use {', '.join(map(str, STAGES))}"
            )
        blocks, bottleneck = STAGES[self.layers]

        def start(net, x):
            conv = Conv(self.width, 7, 2, self.dtype, name="conv1")
            return max_pool2d(normed(x, conv, "bn1", train), 3, padding=1)

        def block(net, x, stage, stride, name):
            features = self.width * 2**stage
            return Block(features, stride, bottleneck, self.dtype, name=name)(x, train)

        def step(part, x):
            return recomputed(part, self, x) if self.remat and train else part(self, x)

        x = step(start, x.astype(self.dtype))
        for stage, count in enumerate(blocks):
            for i in range(count):
                stride = 2 if stage and not i else 1
                name = f"layer{stage + 1}_{i}"
                x = step(partial(block, stage=stage, stride=stride, name=name), x)
        return x


def from_torchvision(tensors: Mapping[str, np.ndarray], net: ResNet) -> dict[str, Any]:
    """A state dict in torchvision's layout, as numpy arrays, → `params` and `batch_stats` of `net`.

    The classifier (`fc`) and the batch counters are ignored. Raises ValueError for any other name
    or shape that does not fit.
    """
    shapes = jax.eval_shape(lambda: net.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3))))
    wanted = {_torch_name(path): (path, leaf.shape) for path, leaf in flatten_dict(shapes).items()}
    given = {
        n: t
        for n, t in tensors.items()
        if not n.startswith("fc.") and not n.endswith("num_batches_tracked")
    }
    if lacking := sorted(wanted.keys() - given.keys()):
        raise ValueError(
            f"weights lack {lacking[0]} and {len(lacking) - 1} more: expected those of a "
            f"ResNet-{net.layers}"
        )
    if others := sorted(given.keys() - wanted.keys()):
        raise ValueError(
            f"weights have {others[0]} and {len(others) - 1} more that a ResNet-{net.layers} lacks"
            ": use another one"
        )
    found = {}
    for name, (path, shape) in wanted.items():
        value = np.asarray(given[name], np.float32)
        value = value.transpose(2, 3, 1, 0) if value.ndim == 4 else value  # O I H W → H W I O
        if value.shape != shape:
            raise ValueError(
                f"{name} is {value.shape} (height, width, in, out), in a ResNet-{net.layers} it is "
                f"{shape}"
            )
        found[path] = value
    return unflatten_dict(found)


def _torch_name(path: tuple[str, ...]) -> str:
    """("params", "layer1_0", "downsample_bn", "scale") → layer1.0.downsample.1.weight"""
    _, *modules, leaf = path
    name = (
        ".".join(modules)
        .replace("downsample_conv", "downsample.0")
        .replace("downsample_bn", "downsample.1")
    )
    kind = {
        "kernel": "weight",
        "scale": "weight",
        "bias": "bias",
        "mean": "running_mean",
        "var": "running_var",
    }[leaf]
    return f"{name.replace('_', '.')}.{kind}"
