"""Convolutions: the kernel equals its reference, in values and gradients.

Also transformations, sharding and invalid arguments.
"""

import inspect
import os
import re
import subprocess
import sys
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jax.test_util import check_grads

from handjax.ops import conv, library
from tests.devices import xla_flags

# [b, space, c], [taps, c, o], strides, padding
CASES = {
    "a network's": ((2, 12, 14, 23, 32), (3, 3, 3, 32, 32), 1, "SAME"),
    "widths of no register": ((2, 5, 6, 7, 5), (3, 3, 3, 5, 21), 1, "SAME"),
    "several groups of columns": ((1, 3, 4, 11, 40), (3, 3, 3, 40, 77), 1, "SAME"),
    "an image's first layer": ((2, 21, 30, 3), (7, 7, 3, 64), 2, ((3, 3), (3, 3))),
    "strides of two": ((3, 13, 14, 16), (3, 3, 16, 24), 2, "SAME"),
    "one pixel, strided": ((2, 9, 8, 16), (1, 1, 16, 33), 2, "VALID"),
    "one pixel": ((2, 9, 8, 16), (1, 1, 16, 33), 1, "VALID"),
    "strides past the kernel, cropped": ((2, 13, 17, 8), (2, 3, 8, 5), (3, 4), ((-1, 2), (1, -2))),
    "uneven padding": ((3, 6, 5, 16), (3, 3, 16, 40), (1, 3), ((0, 2), (4, 1))),
    "an even kernel": ((2, 8, 9, 7, 4), (2, 4, 2, 4, 16), 1, "SAME"),
    "a grid smaller than the kernel": ((2, 2, 3, 2, 3), (5, 5, 5, 3, 2), 1, "SAME"),
    "few pixels": ((2, 8, 7, 40), (3, 3, 40, 77), 1, "SAME"),
    "few pixels, one tap": ((2, 8, 8, 40), (1, 1, 40, 77), 1, "VALID"),
    "one axis": ((2, 50, 5), (4, 5, 7), 3, "VALID"),
    "one channel, dense": ((2, 9, 8, 13, 1), (7, 7, 7, 1, 16), 1, "SAME"),
    "one channel, sparse": ((2, 9, 8, 13, 1), (7, 7, 7, 1, 16), 1, "SAME"),
    "one channel, sparse, odd columns": ((1, 9, 8, 13, 1), (3, 3, 3, 1, 21), 1, "SAME"),
    "one channel, sparse, cropped": (
        (2, 9, 12, 13, 1),
        (3, 5, 7, 1, 64),
        (2, 1, 1),
        ((3, 1), (2, -2), (-3, -1)),
    ),
    "one channel, sparse, an image": ((2, 40, 30, 1), (5, 5, 1, 48), 1, "SAME"),
    # By Winograd's patches (custom_ops/winograd.cc), like "a network's".
    "patches of a picture": ((3, 17, 22, 16), (3, 3, 16, 48), 1, "SAME"),
    "patches, two samples a block": ((5, 10, 18, 32), (3, 3, 32, 32), 1, "VALID"),
    "patches, padded and cropped": (
        (2, 9, 13, 18, 16),
        (3, 3, 3, 16, 32),
        1,
        ((2, -1), (0, 3), (-2, 1)),
    ),
    "patches, two planes deep": ((2, 15, 12, 11, 32), (2, 3, 3, 32, 16), 1, "VALID"),
    "patches, plane by plane": ((2, 4, 9, 10, 16), (1, 3, 3, 16, 16), 1, "SAME"),
    "patches, planes of zeros beside": (
        (2, 4, 9, 10, 16),
        (1, 3, 3, 16, 16),
        1,
        ((2, 1), (1, 1), (1, 1)),
    ),
    "patches between strides of planes": ((2, 5, 9, 10, 16), (2, 3, 3, 16, 16), (2, 1, 1), "VALID"),
    "patches between strides": ((2, 24, 27, 16), (6, 6, 16, 32), 2, ((2, 2), (2, 1))),
    "patches, widths of no register": ((2, 17, 22, 27), (3, 3, 27, 21), 1, "SAME"),
    # More than 3 x 3 taps, cut into blocks (custom_ops/winograd_wide.cc), like the one before.
    "wide patches": ((2, 23, 26, 16), (9, 9, 16, 48), 1, "SAME"),
    "wide patches, widths of no register": ((2, 20, 13, 27), (11, 11, 27, 39), 1, "SAME"),
    "wide patches, a picture hardly larger": ((3, 13, 10, 16), (11, 10, 16, 16), 1, "SAME"),
    "wide patches, two bands": ((1, 29, 130, 32), (7, 7, 32, 16), 1, "SAME"),
    "wide patches, many channels": ((2, 16, 18, 144), (5, 5, 144, 32), 1, "VALID"),
    "wide patches, longer than wide": ((2, 15, 16, 32), (8, 3, 32, 32), 1, ((2, 5), (1, 1))),
    "wide patches, padded and cropped": ((2, 15, 22, 16), (6, 13, 16, 16), 1, ((9, -2), (-1, 8))),
    "wide patches between strides": ((2, 24, 27, 16), (10, 10, 16, 21), 2, ((4, 4), (4, 4))),
    "wide patches, plane by plane": ((2, 3, 14, 15, 16), (1, 5, 5, 16, 16), 1, "SAME"),
    "one channel, empty": ((2, 4, 5, 6, 1), (5, 5, 5, 1, 16), 1, "SAME"),
}


def window(x, kernel, strides, padding):
    axes = kernel.ndim - 2
    strides = (strides,) * axes if isinstance(strides, int) else strides
    if isinstance(padding, str):
        padding = jax.lax.padtype_to_pads(x.shape[1:-1], kernel.shape[:-2], strides, padding)
    return conv.Window(x.shape[1:-1], kernel.shape[:-2], strides, tuple(padding))


def arrays(name):
    """A case: input, kernel, strides, padding."""
    shape, taps, strides, padding = CASES[name]
    rng = np.random.default_rng(len(name))
    x = rng.standard_normal(shape)
    if "sparse" in name or "empty" in name:
        x[rng.random(shape) < (1 if "empty" in name else 0.95)] = 0
    return (
        jnp.asarray(x, jnp.float32),
        jnp.asarray(rng.standard_normal(taps), jnp.float32),
        strides,
        padding,
    )


def all_of(convolve, x, kernel):
    """Value and both gradients, under weights that are a function of the value's shape."""
    y, pull = jax.vjp(convolve, x, kernel)
    weight = jnp.sin(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape).astype(y.dtype)
    return (y, *pull(weight))


def assert_close(ours, theirs, tolerance=5e-6):
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(
            a, b, rtol=0, atol=tolerance * max(1e-3, np.abs(np.asarray(b)).max())
        )


def kernel_and_reference(name):
    x, kernel, strides, padding = arrays(name)
    ours = jax.jit(partial(all_of, partial(conv.conv, strides=strides, padding=padding)))(x, kernel)
    theirs = jax.jit(partial(all_of, partial(conv.plain, window(x, kernel, strides, padding))))(
        x, kernel
    )
    return ours, theirs


@pytest.mark.parametrize(
    ("shape", "taps", "strides", "padding"),
    [((2, 5, 6, 3), 4, 2, 1), ((2, 3, 4, 5, 6), 2, 2, 0), ((1, 7, 4), 3, 1, 1)],
)
def test_transposed_it_is_xlas_transposed(shape, taps, strides, padding):
    axes = len(shape) - 2
    rng = np.random.default_rng(1)
    x, kernel = (
        jnp.asarray(rng.standard_normal(s), jnp.float32)
        for s in (shape, (taps,) * axes + (shape[-1], 7))
    )
    numbers = (("NWC", "WIO", "NWC"), ("NHWC", "HWIO", "NHWC"), ("NDHWC", "DHWIO", "NDHWC"))[
        axes - 1
    ]

    def plain(x, kernel):  # XLA expects the taps of the convolution that is transposed
        pads = [(taps - 1 - padding,) * 2] * axes
        return jax.lax.conv_transpose(
            x, jnp.flip(kernel, range(axes)), (strides,) * axes, pads, dimension_numbers=numbers
        )

    ours = jax.jit(partial(all_of, partial(conv.conv_transpose, strides=strides, padding=padding)))(
        x, kernel
    )
    assert ours[0].shape[1:-1] == tuple((n - 1) * strides + taps - 2 * padding for n in shape[1:-1])
    assert_close(ours, jax.jit(partial(all_of, plain))(x, kernel))


def test_by_hand():
    """One voxel and an asymmetric kernel: it is correlation, zeros are outside, axes in order."""
    x = jnp.zeros((1, 3, 4, 5, 1)).at[0, 0, 1, 2, 0].set(1.0)
    kernel = jnp.arange(27.0).reshape(3, 3, 3, 1, 1)
    y = conv.conv3d(x, kernel)[0, ..., 0]
    expected = np.zeros((3, 4, 5))
    for d in range(2):
        for h in range(3):
            for w in range(1, 4):
                expected[d, h, w] = kernel[0 - d + 1, 1 - h + 1, 2 - w + 1, 0, 0]
    np.testing.assert_array_equal(y, expected)


@pytest.mark.slow
@pytest.mark.parametrize("side", [1, 3, 5, 7])
def test_by_blocks_it_is_the_same(side):
    rng = np.random.default_rng(side)
    x, kernel = (
        jnp.asarray(rng.standard_normal(s), jnp.float32)
        for s in ((2, 6, 8, 10, 1), (side, side, side, 1, 3))
    )
    ours = jax.jit(partial(all_of, conv.conv3d_of_blocks))(x, kernel)
    assert_close(
        ours, jax.jit(partial(all_of, partial(conv.plain, window(x, kernel, 1, "SAME"))))(x, kernel)
    )


def test_16_bit_grids_are_convolved_by_blocks_except_on_cpus():
    x, kernel = jnp.zeros((2, 6, 8, 10, 1), jnp.bfloat16), jnp.zeros((7, 7, 7, 1, 16), jnp.bfloat16)

    def shapes(x, kernel):
        """What is convolved on a GPU: input, kernel."""
        text = jax.jit(conv.conv3d).trace(x, kernel).lower(lowering_platforms=("cuda",)).as_text()
        (line,) = (line for line in text.splitlines() if "stablehlo.convolution" in line)
        return re.findall(r"tensor<([\dx]+)x", line)[:2]

    assert shapes(x, kernel) == ["2x3x4x5x8", "5x5x5x8x128"]
    assert shapes(x[:, :5], kernel)[0] == "2x5x8x10x1"  # an odd side
    assert shapes(x.astype(jnp.float32), kernel.astype(jnp.float32))[0] == "2x6x8x10x1"
    assert calls(conv.conv3d, x, kernel) == (1, 0)
    gradient = jax.jit(
        jax.grad(lambda kernel: conv.conv3d(x + 1, kernel).sum().astype(jnp.float32))
    )(kernel)
    assert gradient[3, 3, 3, 0, 0] == 2 * 6 * 8 * 10


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_kernel_is_reference(name):
    assert_close(*kernel_and_reference(name))


@pytest.mark.slow
@pytest.mark.parametrize("tiles", ["avx2", "any"])
def test_kernel_is_reference_with_other_registers(tiles, repo):
    """As on machines without AVX-512."""
    names = [
        name
        for name in CASES
        if name.startswith(("widths", "several", "strides of", "one channel, s", "patches", "wide"))
    ]
    code = (
        f"from test_conv import *\nfor name in {names}: assert_close(*kernel_and_reference(name))"
        "\nprint('same')"
    )
    paths = os.pathsep.join([str(repo), str(repo / "tests" / "kernels")])
    env = {
        **os.environ,
        "HANDJAX_TILES": tiles,
        "PYTHONPATH": paths,
        "XLA_FLAGS": f"{xla_flags(1)} --xla_backend_optimization_level=0",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=repo, capture_output=True, text=True, timeout=300
    )
    assert done.stdout.strip() == "same", done.stderr[-3000:]


def test_only_zeros_are_skipped():
    """Values that are not finite reach exactly the pixels whose windows contain them."""
    x = jnp.zeros((1, 9, 9, 9, 1)).at[0, 4, 4, 4, 0].set(jnp.nan).at[0, 0, 0, 0, 0].set(jnp.inf)
    y = conv.conv3d(x, jnp.ones((3, 3, 3, 1, 16)))
    bad = np.zeros((9, 9, 9), bool)
    bad[3:6, 3:6, 3:6] = bad[:2, :2, :2] = True
    np.testing.assert_array_equal(
        ~np.isfinite(y[0]), np.broadcast_to(bad[..., None], (9, 9, 9, 16))
    )


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("taps", [(3, 3), (9, 7), (11, 5)])
@pytest.mark.parametrize("way", ["forward", "to input"])
def test_patches_spread_nonfinite_values_to_their_windows_only(way, taps, value):
    """Those of 4 x 4 pixels, under 3 x 3 taps, to all of a patch that meets the value."""
    rng = np.random.default_rng(7)
    x, kernel = (
        jnp.asarray(rng.standard_normal(s), jnp.float32) for s in ((3, 17, 22, 16), (*taps, 16, 16))
    )
    run = jax.jit(
        conv.conv
        if way == "forward"
        else lambda y, k: jax.vjp(lambda x: conv.conv(x, k), y)[1](y)[0]
    )
    good = run(x, kernel)
    # Positions in patches of 2 x 2 and of 4 x 4.
    for row, column in ((8, 8), (8, 9), (9, 8), (9, 9), (10, 11), (11, 10)):
        bad = run(x.at[1, row, column, 3].set(value), kernel)
        must, may = np.zeros(good.shape[:3], bool), np.zeros(good.shape[:3], bool)
        ends = [(at - n // 2, at + n // 2 + 1) for at, n in zip((row, column), taps, strict=True)]
        must[1, *(slice(*two) for two in ends)] = True
        if taps == (3, 3):
            ends = [(low // 4 * 4, -(-high // 4) * 4) for low, high in ends]
        may[1, *(slice(*two) for two in ends)] = True
        assert not np.isfinite(bad[must]).any()
        np.testing.assert_array_equal(bad[~may], good[~may])


@pytest.mark.parametrize(
    ("name", "times"),
    [
        ("patches, two samples a block", 1.5),  # 2 x 2 pixels
        ("a network's", 5.5),  # 4 x 4; XLA's sums have 8 parts with AVX2, 16 with AVX-512
        ("patches of a picture", 5.5),
        ("wide patches", 2.5),
    ],
)
def test_patches_round_little_more_than_plain_sums(name, times):
    """Compared with float64: at most `times` the rounding error of XLA, which sums in parts."""
    x, kernel, strides, padding = arrays(name)
    plain = partial(conv.plain, window(x, kernel, strides, padding))
    ours, xlas = (
        jax.jit(partial(all_of, f))(x, kernel) for f in (partial(conv.conv, padding=padding), plain)
    )
    with jax.enable_x64(True):
        y, pull = jax.vjp(plain, *(jnp.asarray(np.float64(a)) for a in (x, kernel)))
        weight = np.sin(np.arange(y.size, dtype=np.float32)).reshape(y.shape)
        exact = (y, *pull(jnp.asarray(np.float64(weight))))
    for a, b, c in zip(ours, xlas, exact, strict=True):
        error, plain_error = (
            np.sqrt(np.mean((np.float64(v) - np.asarray(c)) ** 2)) for v in (a, b)
        )
        assert error < times * plain_error


def test_two_runs_give_the_same_bits():
    x, kernel, *_ = arrays("a network's")
    run = jax.jit(partial(all_of, conv.conv))
    first = run(x, kernel)
    for _ in range(3):
        jax.tree.map(np.testing.assert_array_equal, run(x, kernel), first)
    wide, taps, *_ = arrays("wide patches")
    jax.tree.map(np.testing.assert_array_equal, run(wide, taps), run(wide, taps))
    sparse, taps, *_ = arrays("one channel, sparse")
    jax.tree.map(np.testing.assert_array_equal, run(sparse, taps), run(sparse, taps))


@pytest.mark.parametrize(
    "name",
    ["a network's", "patches, two samples a block", "wide patches"]
    # A single sample of these is packed, and tiled, in another way.
    + ["few pixels", "few pixels, one tap"],
)
def test_samples_do_not_depend_on_their_batch(name):
    x, kernel, *_ = arrays(name)
    run = jax.jit(conv.conv)
    np.testing.assert_array_equal(run(x, kernel)[1:], run(x[1:], kernel))


def test_transposed_samples_do_not_depend_on_their_batch():
    rng = np.random.default_rng(5)
    x = jnp.asarray(rng.standard_normal((2, 8, 8, 40)), jnp.float32)
    kernel = jnp.asarray(rng.standard_normal((4, 4, 40, 24)), jnp.float32)
    run = jax.jit(partial(conv.conv_transpose, strides=2, padding=1))
    np.testing.assert_array_equal(run(x, kernel)[1:], run(x[1:], kernel))


# ---- composition ---------------------------------------------------------------------------------


def small():
    rng = np.random.default_rng(3)
    x, kernel = rng.standard_normal((6, 5, 4, 6, 3)), rng.standard_normal((4, 3, 3, 3, 3, 5))
    return jnp.asarray(x, jnp.float32), jnp.asarray(kernel, jnp.float32)


@pytest.mark.slow
def test_vmap_in_every_way():
    x, kernels = small()
    run, plain = (
        jax.jit(partial(all_of, f))
        for f in (conv.conv3d, lambda x, k: conv.plain(window(x, k, 1, "SAME"), x, k))
    )
    assert_close(jax.vmap(run)(x[:4, None], kernels), jax.vmap(plain)(x[:4, None], kernels))
    for axes in ((0, None), (None, 0)):
        a, k = (x.reshape(2, 3, 5, 4, 6, 3), kernels[0]) if axes[1] is None else (x, kernels)
        assert_close(jax.jit(jax.vmap(run, axes))(a, k), jax.vmap(plain, axes)(a, k))
    nested = jax.vmap(jax.vmap(conv.conv3d, (0, None)), (0, 0))(
        x[:4].reshape(2, 2, 1, 5, 4, 6, 3), kernels[:2]
    )
    assert_close(nested.reshape(4, 5, 4, 6, 5)[2:], plain(x[2:4], kernels[1])[0])
    assert_close(
        jax.vmap(run, in_axes=(1, 0))(jnp.swapaxes(x[:4, None], 0, 1), kernels),
        jax.vmap(plain)(x[:4, None], kernels),
    )


def test_gradients_compose():
    x, kernels = small()
    kernel = kernels[0]

    def loss(convolve, x, kernel):
        return jnp.sum(jnp.sin(convolve(x, kernel)))

    def plain(x, kernel):
        return conv.plain(window(x, kernel, 1, "SAME"), x, kernel)

    expected = jax.jit(jax.grad(partial(loss, plain), argnums=(0, 1)))(x, kernel)
    assert_close(
        jax.jit(jax.grad(jax.checkpoint(partial(loss, conv.conv3d)), argnums=(0, 1)))(x, kernel),
        expected,
    )
    inside_scan = jax.lax.scan(
        lambda c, x: (c, jax.grad(partial(loss, conv.conv3d))(x[None], kernel)[0]), 0, x
    )[1]
    assert_close(inside_scan, expected[0])
    assert jax.eval_shape(conv.conv3d, x, kernel).shape == (6, 5, 4, 6, 5)

    def twice(convolve):
        """A gradient of gradients, both ways."""

        def slope(x, kernel):
            return sum(
                jnp.sum(g * jnp.cos(g))
                for g in jax.grad(partial(loss, convolve), argnums=(0, 1))(x, kernel)
            )

        return jax.jit(jax.grad(slope, argnums=(0, 1)))(x, kernel)

    assert_close(twice(conv.conv3d), twice(plain), 1e-4)


def test_sharded_without_a_collective():
    rng = np.random.default_rng(4)
    x, kernel = (
        jnp.asarray(rng.standard_normal(s), jnp.float32) for s in ((8, 4, 5, 6, 3), (3, 3, 3, 3, 5))
    )
    weight = jnp.asarray(rng.standard_normal((8, 4, 5, 6, 5)), jnp.float32)

    def to_input(x, kernel, weight):
        y, pull = jax.vjp(lambda x: conv.conv3d(x, kernel), x)
        return y, pull(weight)[0]

    def to_kernel(x, kernel, weight):
        return jax.vjp(lambda kernel: conv.conv3d(x, kernel), kernel)[1](weight)[0]

    mesh = Mesh(np.array(jax.devices()), ("data",), axis_types=(AxisType.Auto,))
    rows, whole = NamedSharding(mesh, PartitionSpec("data")), NamedSharding(mesh, PartitionSpec())
    for run, allowed in ((to_input, set()), (to_kernel, {"all-reduce"})):
        expected = jax.jit(run)(x, kernel, weight)
        with jax.set_mesh(mesh):
            placed = [
                jax.device_put(a, where)
                for a, where in ((x, rows), (kernel, whole), (weight, rows))
            ]
            compiled = jax.jit(run).lower(*placed).compile()
            got = compiled(*placed)
        found = re.findall(
            r"(all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter)(?:-start)?\(",
            compiled.as_text(),
        )
        assert (
            "handjax_conv" in compiled.as_text()
            and set(found) == allowed
            and len(found) == len(allowed)
        )
        assert_close(got, expected)


def test_inside_shard_map():
    rng = np.random.default_rng(5)
    x, kernel = (
        jnp.asarray(rng.standard_normal(s), jnp.float32) for s in ((8, 5, 6, 3), (3, 3, 3, 5))
    )
    mesh = Mesh(np.array(jax.devices()), ("data",), axis_types=(AxisType.Auto,))
    rows, whole = PartitionSpec("data"), PartitionSpec()
    mapped = jax.shard_map(conv.conv, mesh=mesh, in_specs=(rows, whole), out_specs=rows)
    assert_close(
        jax.jit(partial(all_of, mapped))(x, kernel), jax.jit(partial(all_of, conv.conv))(x, kernel)
    )


# ---- what runs where -----------------------------------------------------------------------------


def calls(function, *operands, platform="cpu"):
    """Kernels and convolutions in the compiled program."""
    text = jax.jit(function).trace(*operands).lower(lowering_platforms=(platform,)).as_text()
    return len(re.findall(r"custom_call @handjax_conv", text)), text.count("stablehlo.convolution")


@pytest.mark.slow
def test_unsupported_convolutions_are_left_to_xla():
    x, kernels = small()
    kernel = kernels[0]
    assert calls(conv.conv3d, x, kernel) == (1, 0)
    assert calls(conv.conv3d, x, kernel, platform="cuda") == (0, 1)
    half = x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16)
    assert calls(conv.conv3d, *half) == (1, 0)  # by way of float32
    assert conv.conv3d(*half).dtype == jnp.bfloat16
    rounded = tuple(a.astype(jnp.float32) for a in half)
    for a, b in zip(all_of(conv.conv3d, *half), all_of(conv.conv3d, *rounded), strict=True):
        np.testing.assert_allclose(
            a.astype(jnp.float32), b, rtol=0, atol=0.01 * np.abs(np.asarray(b)).max()
        )
    with jax.enable_x64(True):
        exact = np.float64(x), np.float64(kernel)
        check_grads(
            lambda *a: conv.conv(*map(jnp.asarray, a)),
            tuple(a[:1, :2] for a in exact),
            order=1,
            modes=["rev"],
        )
        assert calls(conv.conv3d, *exact) == (0, 1)
        y = conv.conv3d(*map(jnp.asarray, exact))
        assert y.dtype == jnp.float64
    np.testing.assert_allclose(conv.conv3d(x, kernel), y, atol=1e-4)
    assert conv.conv3d(x[:0], kernel).shape == (0, 5, 4, 6, 5)
    assert not np.any(conv.conv3d(x[..., :0], kernel[..., :0, :]))


def test_for_flax():
    x = jnp.asarray(np.random.default_rng(6).standard_normal((2, 9, 11, 6)), jnp.float32)
    for options, expected in [
        (dict(strides=(2, 1), padding=((1, 2), (0, 1))), (1, 0)),
        (dict(use_bias=False, padding="VALID"), (1, 0)),
        (dict(feature_group_count=2), (0, 1)),
        (dict(kernel_dilation=2), (0, 1)),
        (dict(precision="highest"), (0, 1)),
    ]:
        theirs = nn.Conv(8, (3, 3), **options)
        ours = nn.Conv(8, (3, 3), **options, conv_general_dilated=conv.conv_general_dilated)
        shapes = jax.eval_shape(theirs.init, jax.random.key(0), x)
        variables = jax.tree.map(
            lambda s: jnp.cos(jnp.arange(s.size, dtype=s.dtype)).reshape(s.shape), shapes
        )
        assert calls(ours.apply, variables, x) == expected
        assert_close(jax.jit(ours.apply)(variables, x), jax.jit(theirs.apply)(variables, x))


def test_switched_off_the_reference_runs(repo):
    code = """
import jax, jax.numpy as jnp
from handjax.ops import conv
text = jax.jit(conv.conv).lower(jnp.zeros((2, 8, 8, 3)), jnp.zeros((3, 3, 3, 4))).as_text()
print("handjax" in text, text.count("stablehlo.convolution"))
"""
    env = {**os.environ, "HANDJAX_OPS": "off", "PYTHONPATH": str(repo)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.split() == ["False", "1"], done.stderr


@pytest.mark.parametrize(
    ("x", "kernel", "options", "what"),
    [
        ((2, 5, 5, 3), (3, 3, 4, 5), {}, "convolving (2, 5, 5, 3) with (3, 3, 4, 5)"),
        ((2, 5, 5, 3), (3, 3, 3, 3, 5), {}, "expected [b, 1 to 3 axes, c]"),
        ((2, 5, 5, 3), (3, 3, 3, 5), dict(strides=(1, 2, 3)), "expected 2 numbers of 1 or more"),
        ((2, 5, 5, 3), (3, 3, 3, 5), dict(strides=0), "strides (0, 0): expected"),
        ((2, 5, 5, 3), (3, 3, 3, 5), dict(padding=((1, 1),)), "2 pairs, one per axis"),
    ],
)
def test_invalid_arguments_are_reported(x, kernel, options, what):
    with pytest.raises(ValueError, match=re.escape(what)):
        inspect.unwrap(conv.conv)(jnp.zeros(x), jnp.zeros(kernel), **options)


def test_the_kernel_rejects_invalid_shapes():
    library.platforms()
    options = dict(stride=np.ones(3, np.int64), low=np.zeros(3, np.int64))

    def call(name, a, b, out, **changed):
        op = jax.ffi.ffi_call(name, jax.ShapeDtypeStruct(out, jnp.float32))
        return jax.block_until_ready(op(jnp.zeros(a), jnp.zeros(b), **options | changed))

    x, kernel, y = (2, 1, 5, 6, 3), (1, 3, 3, 3, 4), (2, 1, 3, 4, 4)
    call("handjax_conv", x, kernel, y)
    call("handjax_conv_input", y, kernel, x)
    call("handjax_conv_kernel", x, y, kernel)
    call("handjax_conv_kernel", (1, *x), (1, *y), (1, *kernel))
    for name, a, b, out, changed, what in [
        ("handjax_conv", x[1:], kernel, y, {}, "input is"),
        (
            "handjax_conv",
            x,
            (3, *kernel),
            y,
            {},
            "kernel is",
        ),  # as with vmap_method="expand_dims"
        ("handjax_conv", x, (1, 3, 3, 2, 4), y, {}, "kernel is"),
        ("handjax_conv", x, kernel, (3, *y[1:]), {}, "output is"),
        ("handjax_conv", x, kernel, y, dict(stride=np.zeros(3, np.int64)), "strides are"),
        ("handjax_conv", x, kernel, y, dict(low=np.zeros(2, np.int64)), "strides and padding"),
        ("handjax_conv_input", y, kernel, (2, 1, 5, 6, 2), {}, "kernel is"),
        ("handjax_conv_kernel", (1, *x), y, kernel, {}, "input is"),
    ]:
        with pytest.raises(Exception, match=f"INVALID_ARGUMENT: {what}"):
            call(name, a, b, out, **changed)
