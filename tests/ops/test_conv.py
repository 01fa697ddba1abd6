"""conv3d is the plain 3D convolution, whatever it is made of."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jax.test_util import check_grads

from handjax.ops.conv import conv3d

# side of the kernel, [b, d, h, w], channels in and out
CASES = [
    (1, (2, 4, 5, 3), 3, 4),
    (3, (1, 7, 4, 9), 2, 3),
    (3, (3, 1, 6, 2), 1, 5),
    (5, (2, 3, 8, 5), 3, 2),  # a grid smaller than the kernel
    (7, (1, 9, 6, 7), 1, 4),
    (7, (2, 2, 3, 9), 2, 2),
]


def plain(x, kernel):
    return jax.lax.conv_general_dilated(x, kernel, (1, 1, 1), "SAME", dimension_numbers=("NDHWC", "DHWIO", "NDHWC"))


def arrays(k, shape, c, o, dtype=jnp.float32):
    rng = np.random.default_rng(k)
    kernel = rng.standard_normal((k, k, k, c, o)) / k**1.5
    drawn = rng.standard_normal((*shape, c)), kernel, rng.standard_normal((*shape, o))
    return tuple(jnp.asarray(array, dtype) for array in drawn)


def value_and_gradients(convolution):
    def of(x, kernel, weight):
        value, pull = jax.vjp(convolution, x, kernel)
        return value, *pull(weight)

    return of


@pytest.mark.parametrize("k, shape, c, o", CASES)
def test_values_and_gradients(k, shape, c, o):
    ours, theirs = (jax.jit(value_and_gradients(f))(*arrays(k, shape, c, o)) for f in (conv3d, plain))
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=0, atol=3e-6 * np.abs(np.asarray(b)).max())


def test_by_hand():
    """A voxel in the corner and an asymmetric kernel: correlation, not convolution, zeros outside, axes in their order."""
    x = jnp.zeros((1, 3, 4, 5, 1)).at[0, 0, 1, 2, 0].set(1.0)
    kernel = jnp.arange(27.0).reshape(3, 3, 3, 1, 1)
    y = conv3d(x, kernel)[0, ..., 0]
    expected = np.zeros((3, 4, 5))
    for d in range(2):
        for h in range(3):
            for w in range(1, 4):
                expected[d, h, w] = kernel[0 - d + 1, 1 - h + 1, 2 - w + 1, 0, 0]
    np.testing.assert_array_equal(y, expected)


def test_under_transformations():
    x, kernel, weight = arrays(3, (2, 4, 5, 3), 2, 3)
    expected = jax.jit(value_and_gradients(plain))(x, kernel, weight)

    def close(ours, tolerance=1e-5):
        for a, b in zip(ours, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(np.asarray(b)).max())

    close(value_and_gradients(conv3d)(x, kernel, weight))
    close(jax.jit(value_and_gradients(jax.checkpoint(conv3d)))(x, kernel, weight))
    each = jax.jit(jax.vmap(value_and_gradients(conv3d), in_axes=(0, None, 0)))(x[:, None], kernel, weight[:, None])
    close((each[0][:, 0], each[1][:, 0], each[2].sum(0)))
    kernels = jnp.stack([kernel, 2 * kernel])
    many = jax.jit(jax.vmap(value_and_gradients(conv3d), in_axes=(None, 0, None)))(x, kernels, weight)
    close((many[0][0], many[1][0], many[2][0]))
    close((many[0][1] / 2, many[1][1] / 2, many[2][1]))


def test_gradient_is_the_finite_difference():
    with jax.enable_x64(True):
        x, kernel, _ = arrays(3, (1, 3, 2, 4), 2, 2, jnp.float64)
        check_grads(lambda *a: conv3d(*map(jnp.asarray, a)), (x, kernel), order=1, modes=["rev"], atol=1e-6, rtol=1e-6)


def test_bfloat16_stays_bfloat16():
    x, kernel, weight = arrays(3, (2, 6, 5, 4), 8, 8, jnp.bfloat16)
    ours = jax.jit(value_and_gradients(conv3d))(x, kernel, weight)
    theirs = jax.jit(value_and_gradients(plain))(*(jnp.asarray(np.asarray(a), jnp.float32) for a in (x, kernel, weight)))
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == jnp.bfloat16
        np.testing.assert_allclose(np.asarray(a, np.float32), b, rtol=0, atol=0.01 * np.abs(np.asarray(b)).max())


@pytest.mark.parametrize("kind", ["value", "gradients"])
def test_each_platform_gets_its_own_way(kind):
    """Compiled for CUDA, also from here, it is the plain convolution alone; for the CPU it has no 3D convolution at all."""
    x, kernel, weight = arrays(3, (2, 4, 4, 4), 2, 3)
    if kind == "value":
        traced, count = jax.jit(conv3d).trace(x, kernel), 1
    else:  # without its value, which XLA would drop
        traced, count = jax.jit(lambda *a: value_and_gradients(conv3d)(*a)[1:]).trace(x, kernel, weight), 2

    def ranks(platform):
        """Spatial rank of every convolution that anything still calls, and whether slices are put side by side."""
        text = traced.lower(lowering_platforms=(platform,)).as_text()
        found = [len(spatial.split("x")) - 2 for spatial in re.findall(r"stablehlo\.convolution.*-> tensor<([\dx]+)xf32>", text)]
        return found, "stablehlo.concatenate" in text

    cuda, folded = ranks("cuda")
    assert len(cuda) >= count and set(cuda) == {3} and not folded
    if kind == "value":
        assert len(cuda) == 1
    cpu, folded = ranks("cpu")
    assert len(cpu) >= count and set(cpu) == {2} and folded


def test_a_sharded_batch_stays_where_it_is():
    """No device needs another's samples: nothing is communicated but the sum of the kernel's gradient."""
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    rows, whole = (NamedSharding(mesh, PartitionSpec(*spec)) for spec in (("data",), ()))
    x, kernel, weight = arrays(3, (8, 4, 4, 4), 2, 3)
    expected = jax.jit(value_and_gradients(plain))(x, kernel, weight)
    x, weight, kernel = jax.device_put(x, rows), jax.device_put(weight, rows), jax.device_put(kernel, whole)

    def collectives(compiled):
        return re.findall(r"(all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter)(?:-start)?\(", compiled.as_text())

    forward = jax.jit(conv3d, out_shardings=rows).lower(x, kernel).compile()
    assert collectives(forward) == []
    np.testing.assert_allclose(forward(x, kernel), expected[0], atol=1e-5)
    both = jax.jit(value_and_gradients(conv3d), out_shardings=(rows, rows, whole)).lower(x, kernel, weight).compile()
    assert collectives(both) == ["all-reduce"]
    for a, b in zip(both(x, kernel, weight), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(np.asarray(b)).max())
