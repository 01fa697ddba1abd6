"""Convolutional Pose Machines, and the pooling of the 2D networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from handjax.models import layers
from handjax.models.cpm import CPM

SMALL = dict(joints=3, stages=3, widths=(8, 6, 10), kernels=(3, 3, 3), pools=2)


def _image(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


@pytest.mark.slow
@pytest.mark.parametrize(
    "joints, variant, count, shape",
    [
        (21, {}, 31_770_052, (2, 6, 46, 46, 22)),
        (14, {}, 31_219_866, (2, 6, 46, 46, 15)),
        (21, dict(background=False, pool_padding=0), 31_691_454, (2, 6, 45, 45, 21)),
    ],
)
def test_parameters_and_shapes_of_the_originals(joints, variant, count, shape):
    model = CPM(joints, **variant)
    x = jax.ShapeDtypeStruct((2, 368, 368, 4), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), x)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == count
    assert jax.eval_shape(model.apply, variables, x).shape == shape


@pytest.mark.slow
@pytest.mark.parametrize("pools", [1, 2, 3])
@pytest.mark.parametrize("pool_padding", [0, 1])
def test_size_of_the_maps_follows_the_stride(pools, pool_padding):
    model = CPM(**SMALL | dict(pools=pools, pool_padding=pool_padding))
    x = jax.ShapeDtypeStruct((1, 32, 32, 4), jnp.float32)
    maps, _ = jax.eval_shape(model.init_with_output, jax.random.key(0), x)
    side = 32 // model.stride - (not pool_padding)
    assert maps.shape == (1, 3, side, side, 4)


@pytest.fixture(scope="module")
def small():
    """Initial weights, and the network compiled for one shape."""
    model = CPM(**SMALL)
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((2, 16, 16, 4)))
    return variables, jax.jit(model.apply)


@pytest.mark.slow
def test_weights_and_biases_are_initialized_as_in_pytorch(small):
    for name, leaf in small[0]["params"].items():
        bound = np.prod(leaf["kernel"].shape[:3]) ** -0.5
        assert np.abs(leaf["kernel"]).max() <= bound and np.abs(leaf["bias"]).max() <= bound, name
        np.testing.assert_allclose(np.std(leaf["kernel"]), bound / 3**0.5, rtol=0.3, err_msg=name)
        assert np.std(leaf["bias"]) > 0.2 * bound, name


@pytest.mark.slow
def test_the_center_map_reaches_every_stage_but_the_first(small):
    variables, apply = small
    x = _image(2, 16, 16, 4)
    maps, moved = apply(variables, x), apply(variables, x.at[0, 8, 8, 3].add(5.0))
    assert maps.shape == (2, 3, 4, 4, 4)
    changed = np.abs(moved - maps).max((2, 3, 4))
    assert (changed[0, 1:] > 1e-4).all()
    np.testing.assert_array_equal(changed[0, 0], 0)
    np.testing.assert_array_equal(changed[1], 0)  # another sample's has no effect


def test_bfloat16_is_for_the_arithmetic_only(small):
    variables, apply = small
    x = _image(2, 16, 16, 4)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    maps = jax.jit(CPM(**SMALL, dtype=jnp.bfloat16).apply)(variables, x)
    assert maps.dtype == jnp.float32
    assert 0 < np.abs(maps - apply(variables, x)).max() < 0.05


def test_invalid_sizes_are_reported():
    for changed, side, complaint in (
        ({}, 18, "an image of 18 px is not divisible by the network's stride of 4 px"),
        (dict(pools=4), 32, "CPM's trunk has one to three poolings, not 4"),
    ):
        with pytest.raises(ValueError, match=complaint):
            jax.eval_shape(
                CPM(**SMALL | changed).init, jax.random.key(0), jnp.zeros((1, side, side, 4))
            )


@pytest.mark.slow
@pytest.mark.parametrize("size, padding", [(3, 1), (3, 0), (2, 0)])
def test_max_pool_and_its_gradient_are_those_of_xla(size, padding):
    x = jnp.round(_image(1, 9, 8, 2))  # many ties

    def window(x):
        pads = ((0, 0), (padding, padding), (padding, padding), (0, 0))
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, size, size, 1), (1, 2, 2, 1), pads)

    weight = _image(*window(x).shape, seed=1)
    ours, ours_back = jax.vjp(lambda x: layers.max_pool2d(x, size, padding), x)
    theirs, theirs_back = jax.vjp(window, x)
    np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_allclose(ours_back(weight)[0], theirs_back(weight)[0], rtol=1e-6, atol=1e-6)
