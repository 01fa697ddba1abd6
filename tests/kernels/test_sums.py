"""Sums over pixels: values, gradients, transformations, sharding and invalid arguments."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from handjax.ops import library, sums

pytestmark = pytest.mark.optimized

# [b, pixels, c]; several pieces, odd widths, one pixel, no space at all
SHAPES = [(2, 5, 7, 6, 16), (3, 17, 21), (2, 90, 101, 5), (1, 1, 1, 70), (4, 33)]


def arrays(shape):
    rng = np.random.default_rng(sum(shape))
    x, y = (jnp.asarray(rng.normal(1, 2, shape), jnp.float32) for _ in range(2))
    return (
        x,
        y,
        jnp.asarray(rng.normal(size=shape[-1]), jnp.float32),
        jnp.asarray(rng.normal(size=(shape[0], shape[-1])), jnp.float32),
    )


def exact(x, y, x0, y0):
    x, y, x0, y0 = (np.float64(a) for a in (x, y, x0, y0))
    space = (1,) * (x.ndim - 2)
    x = x - x0.reshape(-1, *space, x.shape[-1])
    y = y - y0.reshape(-1, *space, x.shape[-1])
    pixels = tuple(range(1, x.ndim - 1))
    return x.sum(pixels), (x * y).sum(pixels)


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("swap", [False, True])
def test_kernel_is_the_exact_sum(shape, swap):
    """With one origin for all samples and one per sample, in either order."""
    x, y, one, each = arrays(shape)
    origins = (each, one) if swap else (one, each)
    for ours, theirs in zip(jax.jit(sums.sums)(x, y, *origins), exact(x, y, *origins), strict=True):
        assert ours.shape == (shape[0], shape[-1]) and ours.dtype == jnp.float32
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.sqrt(x.size))


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_all_gradients_are_those_of_the_reference(shape):
    operands = arrays(shape)

    def loss(both):
        return jnp.sum(both * jnp.sin(jnp.arange(both.size, dtype=jnp.float32)).reshape(both.shape))

    ours = jax.jit(jax.grad(lambda a: loss(sums._sums(*a))))(operands)
    theirs = jax.jit(jax.grad(lambda a: loss(sums._plain(*a))))(operands)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4 * np.abs(b).max())


def test_vmap_is_a_loop():
    x, y, one, each = arrays((6, 5, 4, 3))
    x, y, each = x.reshape(2, 3, 5, 4, 3), y.reshape(2, 3, 5, 4, 3), each.reshape(2, 3, 3)
    for axes in ((0, 0, None, 0), (0, None, None, 0), (0, 0, 0, None)):
        wide = (x, y, jnp.stack([one, 2 * one]), each)
        operands = [a if axis == 0 else a[0] for a, axis in zip(wide, axes, strict=True)]
        mapped = jax.jit(jax.vmap(sums.sums, axes))(*operands)
        for n in range(2):
            alone = sums.sums(
                *(a[n] if axis == 0 else a for a, axis in zip(operands, axes, strict=True))
            )
            jax.tree.map(
                lambda a, b, n=n: np.testing.assert_allclose(a[n], b, rtol=1e-6), mapped, alone
            )


def test_same_bits_in_any_batch_and_every_time():
    x, y, one, _ = arrays((3, 90, 101, 5))
    run = jax.jit(sums.sums)
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(a[1:], b),
        run(x, y, one, one),
        run(x[1:], y[1:], one, one),
    )
    jax.tree.map(np.testing.assert_array_equal, run(x, y, one, one), run(x, y, one, one))


def test_each_device_sums_its_own_samples():
    x, y, one, each = arrays((8, 5, 6, 7))
    mesh = Mesh(np.array(jax.devices()), ("data",), axis_types=(AxisType.Auto,))
    rows, whole = NamedSharding(mesh, PartitionSpec("data")), NamedSharding(mesh, PartitionSpec())
    with jax.set_mesh(mesh):
        placed = [
            jax.device_put(a, where)
            for a, where in ((x, rows), (y, rows), (one, whole), (each, rows))
        ]
        compiled = jax.jit(sums.sums).lower(*placed).compile()
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6),
            compiled(*placed),
            sums.sums(x, y, one, each),
        )
    assert "handjax_sums" in compiled.as_text()
    assert not re.findall(
        r"(all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter)", compiled.as_text()
    )
    split, alike = PartitionSpec("data"), PartitionSpec()
    mapped = jax.jit(
        jax.shard_map(sums.sums, mesh=mesh, in_specs=(split, split, alike, split), out_specs=split)
    )(x, y, one, each)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), mapped, sums.sums(x, y, one, each)
    )


def test_unsupported_sums_are_left_to_xla():
    x, y, one, _ = arrays((2, 4, 3, 5))

    def kernels(*operands, platform="cpu"):
        return (
            jax.jit(sums.sums)
            .trace(*operands)
            .lower(lowering_platforms=(platform,))
            .as_text()
            .count("custom_call @handjax_sums")
        )

    assert kernels(x, y, one, one) == 1 and kernels(x, y, one, one, platform="cuda") == 0
    half = x.astype(jnp.bfloat16)
    assert (
        kernels(half, y, one, one) == 1 and sums.sums(half, half, one, one)[0].dtype == jnp.float32
    )
    with jax.enable_x64(True):
        wide = tuple(jnp.asarray(np.float64(a)) for a in (x, y, one, one))
        assert kernels(*wide) == 0 and sums.sums(*wide)[0].dtype == jnp.float64
    np.testing.assert_array_equal(sums.sums(x[:, :0], y[:, :0], one, one), np.zeros((2, 2, 5)))


def test_the_kernel_rejects_invalid_shapes():
    library.platforms()

    def call(x, y, x0, y0, out):
        operands = (jnp.zeros(shape) for shape in (x, y, x0, y0))
        return jax.block_until_ready(
            jax.ffi.ffi_call("handjax_sums", jax.ShapeDtypeStruct(out, jnp.float32))(*operands)
        )

    x, origin, out = (2, 4, 5, 3), (1, 3), (2, 2, 3)
    assert not call(x, x, origin, (2, 3), out).any()
    for shapes, what in [
        ((x, x[:3], origin, origin, out), "x is"),
        ((x, x, (3,), origin, out), "origins are"),
        ((x, x, origin, (3, 3), out), "origins are"),
        ((x, x, origin, origin, (2, 3)), "sums are"),
    ]:
        with pytest.raises(Exception, match=f"INVALID_ARGUMENT: {what}"):
            call(*shapes)
