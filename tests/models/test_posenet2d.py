"""PoseNet2D."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.models.posenet2d import PoseNet2D

SMALL = dict(joints=3, widths=(4, 5, 6, 7, 8), kernel=3)


def test_parameters_and_shapes_of_the_original():
    model = PoseNet2D()
    x = jax.ShapeDtypeStruct((2, 256, 256, 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), x)
    convolutions = [(3, 3, 64), (3, 64, 64), (3, 64, 128), (3, 128, 128), (3, 128, 256)] + [
        (3, 256, 256)
    ] * 3
    convolutions += (
        [(3, 256, 512), (3, 512, 512), (3, 512, 256)] + [(3, 256, 256)] * 3 + [(3, 256, 128)]
    )
    convolutions += [(1, 128, 512), (1, 512, 21)]
    convolutions += 2 * ([(7, 149, 128)] + [(7, 128, 128)] * 4 + [(1, 128, 128), (1, 128, 21)])
    count = sum(size**2 * inside * outside + outside for size, inside, outside in convolutions)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == count == 17_518_847
    assert jax.eval_shape(model.apply, variables, x).shape == (2, 3, 32, 32, 21)


@pytest.mark.parametrize("pools, refinements", [(3, 2), (2, 0), (1, 3)])
def test_size_of_the_maps_follows_the_stride(pools, refinements):
    model = PoseNet2D(**SMALL, pools=pools, refinements=refinements)
    x = jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.float32)
    maps, _ = jax.eval_shape(model.init_with_output, jax.random.key(0), x)
    assert maps.shape == (1, 1 + refinements, 16 // model.stride, 16 // model.stride, 3)


@pytest.fixture(scope="module")
def variables():
    return jax.jit(PoseNet2D(**SMALL).init)(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))


@pytest.mark.slow
def test_initial_weights_are_xaviers_and_biases_1e_4(variables):
    for name, leaf in variables["params"].items():
        *size, inside, outside = leaf["kernel"].shape
        bound = (6 / (np.prod(size) * (inside + outside))) ** 0.5
        assert 0.8 * bound < np.abs(leaf["kernel"]).max() <= bound, name
        np.testing.assert_array_equal(leaf["bias"], np.float32(1e-4), err_msg=name)


@pytest.mark.slow
def test_bfloat16_is_for_the_arithmetic_only(variables):
    x = jnp.asarray(np.random.default_rng(0).uniform(-0.5, 0.5, (1, 8, 8, 3)), jnp.float32)
    exact, rounded = (
        jax.jit(PoseNet2D(**SMALL, dtype=d).apply)(variables, x)
        for d in (jnp.float32, jnp.bfloat16)
    )
    assert rounded.dtype == jnp.float32
    assert 0 < np.abs(exact - rounded).max() < 0.05 * np.abs(exact).max()


def test_a_size_that_does_not_fit_the_stride_is_reported():
    with pytest.raises(
        ValueError, match="an image of 20 px is not divisible by the network's stride of 8 px"
    ):
        jax.eval_shape(PoseNet2D(**SMALL).init, jax.random.key(0), jnp.zeros((1, 20, 20, 3)))
