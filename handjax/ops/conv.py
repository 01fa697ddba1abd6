"""Convolutions of images and volumes, channels last, fast on CPUs as well.

    y = conv(x, kernel)                                      same size
    y = conv(x, kernel, strides=2, padding=((3, 3), (3, 3)))
    nn.Conv(64, (3, 3), conv_general_dilated=conv_general_dilated)

The definition is `lax.conv_general_dilated`, which also runs everywhere but on CPUs. XLA's CPU
backend is slow for 3D convolutions and for gradients of 2D ones, so there float32, and bfloat16 by
way of float32, is computed by our kernel (custom_ops/conv.cc). Other dtypes, empty arrays, dilation
and groups are left to XLA.

The kernel computes taps of 3 x 3, and of most larger sizes, without strides by Winograd's minimal
filtering (winograd.cc, winograd_wide.cc), whose products and rounding differ from direct
convolution: in float32 its error is up to four times that of XLA's sums, and a value that is not
finite reaches, beside the pixels whose windows contain it, others of the same 4 x 4.

A convolution is linear in its input and in its kernel, and so are both gradients: three functions,
each of which is the derivative of the others. Reverse-mode derivatives of any order are available.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AxisType
from jaxtyping import Array, Float

from handjax.ops import library
from handjax.ops.batching import per_sample, pvary, reduce_over_batch

Padding = str | Sequence[tuple[int, int]]


def conv(
    x: Float[Array, "b *space c"],
    kernel: Float[Array, "*taps c o"],
    *,
    strides: int | Sequence[int] = 1,
    padding: Padding = "SAME",
) -> Float[Array, "b *moved o"]:
    """Cross-correlation over one to three axes.

    `padding` with zeros is "SAME" or "VALID" as in XLA, or (low, high) per axis. ValueError for
    shapes, dtypes or options that do not fit.
    """
    return value(forward_window(x, kernel, strides, padding), x, for_each_device(kernel, x))


def forward_window(
    x: Array, kernel: Array, strides: int | Sequence[int], padding: Padding
) -> "Window":
    """The sizes of `conv`, which are checked."""
    axes = kernel.ndim - 2
    strides = (strides,) * axes if isinstance(strides, int) else tuple(strides)
    if not 1 <= axes <= 3 or x.ndim != axes + 2 or x.shape[-1] != kernel.shape[-2]:
        raise ValueError(
            f"convolving {x.shape} with {kernel.shape}: expected [b, 1 to 3 axes, c] and "
            "[as many axes, c, o]"
        )
    if x.dtype != kernel.dtype:
        raise ValueError(f"convolving {x.dtype} with {kernel.dtype}: expected the same dtype")
    if len(strides) != axes or min(strides) < 1:
        raise ValueError(f"strides {strides}: expected {axes} numbers of 1 or more, one per axis")
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(x.shape[1:-1], kernel.shape[:-2], strides, padding)
    elif [len(pair) for pair in padding] != [2] * axes:
        raise ValueError(f"padding {padding}: expected SAME, VALID or {axes} pairs, one per axis")
    return Window(
        x.shape[1:-1],
        kernel.shape[:-2],
        strides,
        tuple((int(low), int(high)) for low, high in padding),
    )


def conv_transpose(
    x: Float[Array, "b *space c"],
    kernel: Float[Array, "*taps c o"],
    *,
    strides: int,
    padding: int = 0,
) -> Float[Array, "b *moved o"]:
    """Transposed convolution, as in PyTorch.

    Tap k of an axis carries input i to output strides · i + k - padding; there are
    (n - 1) · strides + taps - 2 · padding outputs. ValueError if strides exceed the taps.
    """
    return to_input(
        transposed_window(x, kernel, strides, padding),
        x,
        jnp.swapaxes(for_each_device(kernel, x), -1, -2),
    )


def transposed_window(x: Array, kernel: Array, strides: int, padding: int) -> "Window":
    """The sizes of the convolution that `conv_transpose` transposes, which are checked."""
    taps = kernel.shape[:-2]
    space = tuple(
        (n - 1) * strides + k - 2 * padding for n, k in zip(x.shape[1:-1], taps, strict=True)
    )
    window = Window(space, taps, (strides,) * len(taps), ((padding, padding),) * len(taps))
    if window.moved != x.shape[1:-1]:
        raise ValueError(
            f"transposed convolution of {x.shape} with {kernel.shape}: {strides=} is more than the "
            "kernel's taps"
        )
    return window


def conv3d(
    x: Float[Array, "b d h w c"], kernel: Float[Array, "k k k c o"]
) -> Float[Array, "b d h w o"]:
    """`conv` of volumes with stride 1 and "SAME" padding; the side of the kernel is odd.

    A single channel in 16 bits, as in the first layer of a voxel network, is computed by
    `conv3d_of_blocks` except on CPUs.
    """
    if x.shape[-1] == 1 and x.dtype.itemsize == 2 and not any(n % 2 for n in x.shape[1:-1]):
        return lax.platform_dependent(x, kernel, cpu=conv, default=conv3d_of_blocks)
    return conv(x, kernel)


def conv3d_of_blocks(
    x: Float[Array, "b d h w c"], kernel: Float[Array, "k k k c o"]
) -> Float[Array, "b d h w o"]:
    """`conv3d` over blocks of 2³ voxels ("space to depth"), for grids with even sides.

    Matrix units need at least 8 input and output channels, and a grid has one; with blocks there
    are 8 inputs and 8 o outputs. (k + 3) / 2 or (k + 1) / 2 blocks per side, whichever is odd,
    cover k voxels for both places in a block. For k = 7 this makes 5³ · 64 products instead of 7³ ·
    8, most of them with zeros. It has not been timed on a GPU yet.
    """
    b, d, h, w, c = x.shape
    side, features = kernel.shape[0], kernel.shape[-1]
    reach = (side // 2 + 1) // 2  # blocks to either side
    # For output place `out`, tap `block` meets place `place` of a block with the kernel's tap
    # 2 block + place - out, counted from its middle.
    block, place, out = np.ogrid[-reach : reach + 1, :2, :2]
    tap = 2 * block + place - out + side // 2
    chosen = jnp.asarray(
        tap[..., None] == np.arange(side), kernel.dtype
    )  # [block, place, out, tap]
    taps = jnp.einsum(
        "dilx,ejmy,fknz,xyzco->defijkclmno", *[chosen] * 3, kernel, precision="highest"
    )
    taps = taps.reshape(*(2 * reach + 1,) * 3, 8 * c, 8 * features)
    blocks = x.reshape(b, d // 2, 2, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 5, 2, 4, 6, 7)
    blocks = blocks.reshape(*blocks.shape[:4], 8 * c)
    y = lax.conv_general_dilated(
        blocks, taps, (1, 1, 1), "SAME", dimension_numbers=_channels_last(3)
    )
    y = y.reshape(*y.shape[:4], 2, 2, 2, features).transpose(0, 1, 4, 2, 5, 3, 6, 7)
    return y.reshape(b, d, h, w, features)


def conv_general_dilated(
    lhs: Array,
    rhs: Array,
    window_strides: Sequence[int],
    padding: Padding,
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    **options: Any,
) -> Array:
    """Replaces `lax.conv_general_dilated` in flax's `nn.Conv`; uses `conv` where possible."""
    axes = rhs.ndim - 2
    numbers = options.get("dimension_numbers")
    last = (
        lax.conv_dimension_numbers(lhs.shape, rhs.shape, _channels_last(axes))
        if 1 <= axes <= 3
        else None
    )
    simple = (
        set(lhs_dilation or (1,)) | set(rhs_dilation or (1,)) == {1}
        and options.get("feature_group_count", 1) == options.get("batch_group_count", 1) == 1
        and options.get("precision") is options.get("preferred_element_type") is None
        and numbers is not None
        and last == lax.conv_dimension_numbers(lhs.shape, rhs.shape, numbers)
    )
    if simple:
        return conv(lhs, rhs, strides=tuple(window_strides), padding=padding)
    return lax.conv_general_dilated(
        lhs, rhs, window_strides, padding, lhs_dilation, rhs_dilation, **options
    )


def for_each_device(parameter: Array, x: Array) -> Array:
    """Inside shard_map, a replicated kernel marked as varying, so that JAX sums its gradient over
    the devices."""
    inside = AxisType.Manual in jax.sharding.get_abstract_mesh().axis_types
    if not inside:
        return parameter
    return pvary(parameter, like=x[(slice(1),) * x.ndim].reshape((1,) * parameter.ndim))


# ---- three bilinear functions --------------------------------------------------------------------


class Window(NamedTuple):
    """The sizes of a convolution, except for its channels."""

    space: tuple[int, ...]  # sizes of the input
    taps: tuple[int, ...]
    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]

    @property
    def moved(self) -> tuple[int, ...]:
        """Sizes of the output."""
        each = zip(self.space, self.taps, self.strides, self.padding, strict=True)
        return tuple(
            max(0, (n + low + high - taps) // stride + 1) for n, taps, stride, (low, high) in each
        )


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def value(window: Window, x: Array | np.ndarray, kernel: Array | np.ndarray) -> Array:
    """The convolution itself."""
    return _run(_kernel("handjax_conv", window), functools.partial(plain, window), x, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def to_input(window: Window, y: Array | np.ndarray, kernel: Array | np.ndarray) -> Array:
    """`value` transposed with respect to the input."""

    def reference(y, kernel):
        zeros = _zeros((y.shape[0], *window.space, kernel.shape[-2]), y)
        return jax.vjp(lambda x: plain(window, x, kernel), zeros)[1](y)[0]

    return _run(_kernel("handjax_conv_input", window), reference, y, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _to_kernel(window, x, y):
    """`value` transposed with respect to the kernel, summed over the batch."""

    def reference(x, y):
        zeros = _zeros((*window.taps, x.shape[-1], y.shape[-1]), x)
        return jax.vjp(lambda kernel: plain(window, x, kernel), zeros)[1](y)[0]

    return _run(_kernel("handjax_conv_kernel", window), reference, x, y)


def _derivative(function: jax.custom_vjp, left: Callable, right: Callable) -> None:
    """Define the gradients of function(window, a, b): left(window, g, a, b) to a, right(…) to b."""

    def forward(window, a, b):
        return function(window, a, b), (a, b)

    def backward(window, saved, gradient):
        return left(window, gradient, *saved), right(window, gradient, *saved)

    function.defvjp(forward, backward)


_derivative(
    value,
    lambda w, g, x, kernel: to_input(w, g, kernel),
    lambda w, g, x, kernel: _to_kernel(w, x, g),
)
_derivative(
    to_input,
    lambda w, g, y, kernel: value(w, g, kernel),
    lambda w, g, y, kernel: _to_kernel(w, g, y),
)
_derivative(_to_kernel, lambda w, g, x, y: to_input(w, y, g), lambda w, g, x, y: value(w, x, g))


def plain(
    window: Window, x: Float[Array, "b *space c"], kernel: Float[Array, "*taps c o"]
) -> Float[Array, "b *moved o"]:
    """The reference implementation of the kernel."""
    return lax.conv_general_dilated(
        x,
        kernel,
        window.strides,
        window.padding,
        dimension_numbers=_channels_last(len(window.space)),
    )


def _zeros(shape, like):
    """Zeros of the dtype of `like`, in shard_map of a type that varies over devices as it does."""
    return pvary(
        jnp.zeros(shape, like.dtype), like=like[(slice(1),) * like.ndim].reshape((1,) * len(shape))
    )


def _channels_last(axes: int) -> tuple[str, str, str]:
    space = "DHW"[3 - axes :]
    return f"N{space}C", f"{space}IO", f"N{space}C"


# ---- the kernel ----------------------------------------------------------------------------------


def _run(kernel, reference, a, b):
    a, b = jnp.asarray(a), jnp.asarray(b)
    made_for = a.dtype in (jnp.float32, jnp.bfloat16) and a.size and b.size
    if not made_for or "cpu" not in library.platforms():
        return reference(a, b)

    def cpu(a, b):
        return kernel(a.astype(jnp.float32), b.astype(jnp.float32)).astype(a.dtype)

    return lax.platform_dependent(a, b, cpu=cpu, default=reference)


@functools.cache
def _kernel(name: str, window: Window) -> Callable:
    """The custom call as a function of whole batches.

    It accepts one to three axes, without reshaping the arrays: even a free reshape would be fused
    with the operations that produce the array, which would then be computed twice.
    """
    options = dict(
        stride=np.array(window.strides, np.int64),
        low=np.array([low for low, _ in window.padding], np.int64),
    )
    rank = len(window.space) + 2

    def call(a, b, out):
        y = jax.ffi.ffi_call(name, jax.ShapeDtypeStruct(out, jnp.float32))(a, b, **options)
        return pvary(y, like=a[(slice(1),) * a.ndim].reshape((1,) * len(out)))

    def of_samples(a, b):
        to_output = name == "handjax_conv"
        return call(
            a,
            b,
            (
                a.shape[0],
                *(window.moved if to_output else window.space),
                b.shape[-1 if to_output else -2],
            ),
        )

    def of_sets(x, y):
        return call(x, y, (*x.shape[: x.ndim - rank], *window.taps, x.shape[-1], y.shape[-1]))

    if name == "handjax_conv_kernel":
        return lambda x, y: reduce_over_batch(of_sets, x, y)
    return lambda a, b: per_sample(of_samples, (rank, rank + 1), a, b)
