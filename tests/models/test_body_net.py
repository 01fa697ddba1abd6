import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.models.body import BodyNet, Deconvolution, soft_argmax_volume


def shapes(net, size=(64, 64)):
    x = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
    return jax.eval_shape(net.init, jax.random.key(0), x)


def count(net):
    return sum(leaf.size for leaf in jax.tree.leaves(shapes(net)["params"]))


@pytest.mark.slow
def test_parameters_by_hand():
    backbone = 23_508_032
    assert count(BodyNet("direct")) == backbone + 2048 * 54 + 54
    assert count(BodyNet("kinematic")) == backbone + 2048 * 30 + 30
    head = 16 * 256 * (2048 + 256 + 256) + 3 * 2 * 256 + 256 * 18 * 64 + 18 * 64
    assert count(BodyNet("integral")) == backbone + head
    assert (
        count(BodyNet("integral", layers=152, depth=72)) == 58_143_808 + head + (256 + 1) * 18 * 8
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "head, out", [("direct", (18, 3)), ("integral", (18, 3)), ("kinematic", (30,))]
)
def test_shape_and_dtype_of_the_outputs(head, out):
    net = BodyNet(head, layers=18, width=4, depth=10, deconvolutions=(8, 8, 8), dtype=jnp.bfloat16)
    variables = shapes(net, (96, 64))
    found = jax.eval_shape(net.apply, variables, jax.ShapeDtypeStruct((2, 96, 64, 3), jnp.float32))
    assert found.shape == (2, *out) and found.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


def test_an_unknown_head_is_reported():
    with pytest.raises(
        ValueError, match="head 'volume' is unknown: use direct, integral, kinematic"
    ):
        shapes(BodyNet("volume"))


def test_deconvolution_is_a_transposed_convolution():
    x = jax.random.normal(jax.random.key(0), (2, 3, 5, 4))
    ours, theirs = (
        Deconvolution(6),
        nn.ConvTranspose(6, (4, 4), (2, 2), padding="SAME", use_bias=False),
    )
    variables = jax.jit(ours.init)(jax.random.key(1), x)
    turned = jax.tree.map(lambda kernel: kernel[::-1, ::-1], variables)
    np.testing.assert_allclose(
        jax.jit(ours.apply)(variables, x), jax.jit(theirs.apply)(turned, x), atol=1e-7
    )


def volume(shape=(2, 5, 7, 3, 4), seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(0, 2, shape), jnp.float32)


def test_expectation_of_a_volume_with_different_sides():
    heat = volume()
    p = np.exp(np.asarray(heat, np.float64))
    p /= p.sum((1, 2, 4), keepdims=True)
    cells = np.meshgrid(np.arange(5) / 5, np.arange(7) / 7, np.arange(4) / 4, indexing="ij")
    y, x, z = (np.einsum("bhwjd,hwd->bj", p, cell) - 0.5 for cell in cells)
    np.testing.assert_allclose(
        jax.jit(soft_argmax_volume)(heat), np.stack([x, y, z], -1), atol=1e-6
    )


def test_expectation_is_finite_for_large_heat():
    peak = jnp.zeros((5, 7, 1, 4), jnp.bfloat16).at[1, 2, 0, 3].set(30000.0)
    expectation = jax.jit(soft_argmax_volume)
    found, slope = jax.jit(jax.value_and_grad(lambda h: soft_argmax_volume(h).sum()))(peak)
    np.testing.assert_allclose(
        expectation(peak)[0], (2 / 7 - 0.5, 1 / 5 - 0.5, 3 / 4 - 0.5), atol=1e-6
    )
    assert np.isfinite(found) and np.isfinite(slope.astype(jnp.float32)).all()
    np.testing.assert_allclose(expectation(volume() + 5000), expectation(volume()), atol=1e-3)
