"""V2V-PoseNet and its blocks."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.models import layers
from handjax.models.v2v import V2V

SMALL = dict(joints=5, widths=(2, 3, 4, 5))


def _volume(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


@pytest.mark.slow
@pytest.mark.parametrize(
    "joints, full_resolution, count",
    [(14, False, 3_410_222), (21, False, 3_410_453), (14, True, 3_418_510), (21, True, 3_418_741)],
)
def test_parameters_and_shapes_of_the_paper(joints, full_resolution, count):
    model = V2V(joints, full_resolution=full_resolution)
    x = jax.ShapeDtypeStruct((2, 88, 88, 88, 1), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), x)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == count
    side = 88 if full_resolution else 44
    assert jax.eval_shape(model.apply, variables, x).shape == (2, side, side, side, joints)


@pytest.mark.slow
def test_initial_weights_are_small_and_biases_zero():
    variables = jax.jit(V2V(**SMALL).init)(jax.random.key(0), jnp.zeros((1, 8, 8, 8, 1)))
    kernels = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables["params"]):
        if path[-1].key == "kernel":
            kernels.append(np.ravel(leaf))
        else:
            np.testing.assert_array_equal(leaf, 1.0 if path[-1].key == "scale" else 0.0)
    kernels = np.concatenate(kernels)
    np.testing.assert_allclose([kernels.mean(), kernels.std()], [0, 1e-3], atol=3e-5)


def _random_weights(model, x):
    """Weights that keep activations of order one."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), x)
    params = jax.tree.map(
        lambda p: jnp.asarray(rng.normal(0, 0.3, p.shape), p.dtype), shapes["params"]
    )
    return params, jax.tree.map(lambda p: jnp.ones(p.shape, p.dtype), shapes["batch_stats"])


def _trained(model, params, batch_stats, x):
    """((loss against ones, outputs, updated statistics), gradient)"""

    def loss(params):
        variables = {"params": params, "batch_stats": batch_stats}
        outputs, updated = model.apply(variables, x, train=True, mutable=["batch_stats"])
        return ((outputs.astype(jnp.float32) - 1) ** 2).mean(), (outputs, updated)

    return jax.value_and_grad(loss, has_aux=True)(params)


@pytest.mark.slow
def test_half_precision_is_for_the_arithmetic_only():
    """Parameters, statistics, gradients and heat maps stay float32."""
    x = jnp.zeros((2, 16, 16, 16, 1))
    model = V2V(**SMALL, dtype=jnp.bfloat16)
    params, batch_stats = _random_weights(model, x)
    (loss, (outputs, updated)), gradient = jax.eval_shape(
        partial(_trained, model), params, batch_stats, x
    )
    leaves = jax.tree.leaves((params, batch_stats, loss, outputs, updated, gradient))
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype(jnp.float32)}

    x = _volume(2, 4, 4, 4, 3)
    params, batch_stats = _random_weights(layers.Residual3D(5), x)
    (_, (expected, _)), _ = jax.jit(partial(_trained, layers.Residual3D(5)))(params, batch_stats, x)
    (_, (outputs, _)), gradient = jax.jit(partial(_trained, layers.Residual3D(5, jnp.bfloat16)))(
        params, batch_stats, x
    )
    assert outputs.dtype == jnp.bfloat16 and all(
        np.isfinite(g).all() for g in jax.tree.leaves(gradient)
    )
    expected, difference = (
        np.asarray(expected),
        np.asarray(outputs, np.float32) - np.asarray(expected),
    )
    assert 1e-4 < np.abs(difference).mean() / np.abs(expected).mean() < 0.02


@pytest.mark.slow
def test_gradient_is_finite_on_an_empty_grid():
    """Without points all activations are ties, and every variance comes from the rim only."""
    model, x = V2V(**SMALL), jnp.zeros((2, 16, 16, 16, 1))
    (loss, _), gradient = jax.jit(partial(_trained, model))(*_random_weights(model, x), x)
    assert np.isfinite(loss) and all(np.isfinite(g).all() for g in jax.tree.leaves(gradient))
    assert np.mean([np.any(np.asarray(g) != 0) for g in jax.tree.leaves(gradient)]) > 0.5


def test_grid_must_divide_by_eight():
    with pytest.raises((TypeError, ValueError)):
        jax.eval_shape(V2V(**SMALL).init, jax.random.key(0), jnp.zeros((1, 12, 12, 12, 1)))


def test_max_pool_gives_ties_to_the_first_voxel():
    x = _volume(2, 4, 6, 8, 3)
    pooled = jax.jit(layers.max_pool3d)(x)
    expected = np.asarray(x).reshape(2, 2, 2, 3, 2, 4, 2, 3).max((2, 4, 6))
    np.testing.assert_array_equal(pooled, expected)

    tied = jnp.zeros((1, 2, 2, 4, 1)).at[0, 0, 1, 2:, 0].set(1.0).at[0, 1, 0, 3, 0].set(1.0)
    gradient = np.asarray(jax.jit(jax.grad(lambda x: layers.max_pool3d(x).sum()))(tied))[0, ..., 0]
    # The left block is all zeros: its first voxel. The right one has three equal peaks, of which
    # (0, 1, 2) is the first in memory.
    np.testing.assert_array_equal(np.argwhere(gradient), [[0, 0, 0], [0, 1, 2]])
    np.testing.assert_array_equal(gradient[gradient != 0], 1)


def test_upsample_is_a_transposed_convolution():
    """lax takes the kernel of the forward convolution that it transposes, so ours needs no flip."""
    x = _volume(2, 3, 4, 5, 6)
    module = layers.Upsample3D(7)
    kernel, bias = _volume(2, 2, 2, 6, 7, seed=1), _volume(7, seed=2)
    ours, apart = jax.jit(module.apply)({"params": {"kernel": kernel, "bias": bias}}, x)
    numbers = ("NDHWC", "DHWIO", "NDHWC")
    theirs = jax.jit(
        lambda x, k: jax.lax.conv_transpose(x, k, (2, 2, 2), "VALID", dimension_numbers=numbers)
    )
    dilated = np.zeros((2, 6, 8, 10, 7), np.float32)
    for i, j, k in np.ndindex(2, 2, 2):
        dilated[:, i::2, j::2, k::2] = np.einsum(
            "bdhwc,co->bdhwo", np.asarray(x), np.asarray(kernel)[i, j, k]
        )
    np.testing.assert_allclose(ours, dilated, atol=1e-5)
    np.testing.assert_array_equal(apart, bias)
    np.testing.assert_allclose(ours, theirs(x, np.asarray(kernel)[::-1, ::-1, ::-1]), atol=1e-5)


def test_convolution_of_size_one():
    x = _volume(1, 3, 2, 4, 3)
    variables = {"params": {"kernel": _volume(1, 1, 1, 3, 5, seed=1), "bias": _volume(5, seed=2)}}
    kernel, bias = (np.asarray(variables["params"][name]) for name in ("kernel", "bias"))
    expected = np.einsum("bdhwc,co->bdhwo", np.asarray(x), kernel[0, 0, 0]) + bias
    np.testing.assert_allclose(
        jax.jit(layers.Conv3D(5, 1).apply)(variables, x), expected, atol=1e-5
    )


@pytest.mark.slow
def test_batch_norm_in_training_and_evaluation():
    x = 3 + 2 * _volume(2, 4, 4, 4, 3)
    norm = layers.BatchNorm()
    variables = norm.init(jax.random.key(0), x, train=True)
    y, updated = norm.apply(variables, x, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(y.mean((0, 1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(y.std((0, 1, 2, 3)), 1, atol=1e-4)
    x = np.asarray(x)
    mean, var = x.mean((0, 1, 2, 3)), x.var((0, 1, 2, 3))
    np.testing.assert_allclose(updated["batch_stats"]["mean"], 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(updated["batch_stats"]["var"], 0.9 + 0.1 * var, rtol=1e-5)
    evaluated = norm.apply({**variables, **updated}, jnp.asarray(x), train=False)
    np.testing.assert_allclose(
        evaluated, (x - 0.1 * mean) / np.sqrt(0.9 + 0.1 * var + 1e-5), rtol=1e-4, atol=1e-5
    )


def test_offset_of_batch_norm_is_an_added_bias():
    x, bias = _volume(2, 4, 4, 4, 3), jnp.array([1.0, -2.0, 30.0])
    norm = layers.BatchNorm()
    variables = norm.init(jax.random.key(0), x, train=True)
    for train in (True, False):
        apart, stats = norm.apply(variables, x, train, bias, mutable=["batch_stats"])
        added, wanted = norm.apply(
            variables, x + bias[None, None, None, None], train, mutable=["batch_stats"]
        )
        np.testing.assert_allclose(apart, added, atol=2e-5)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), stats, wanted)


@pytest.mark.slow
def test_variance_of_batch_norm_is_exact_far_from_zero():
    """E[x²] - E[x]² in float32 would lose the variance if the mean is a thousand deviations."""
    x = 1000 + _volume(2, 4, 4, 4, 1)
    norm = layers.BatchNorm()
    y, _ = norm.apply(
        norm.init(jax.random.key(0), x, train=True), x, train=True, mutable=["batch_stats"]
    )
    np.testing.assert_allclose(y.std(), 1, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("features", [3, 5])
def test_residual_block_adds_its_input(features):
    """With zero scale in the last normalization only the input remains, or its convolution if the
    width changes."""
    x = _volume(1, 2, 3, 4, 3)
    block = layers.Residual3D(features)
    variables = jax.jit(partial(block.init, train=False))(jax.random.key(0), x)
    params = variables["params"]
    assert ("skip" in params) == (features != 3)
    params["conv2"]["norm"]["scale"] = jnp.zeros(features)
    expected = x
    if features != 3:
        params["skip"]["conv"]["kernel"] = _volume(1, 1, 1, 3, features, seed=1)
        expected = jnp.einsum(
            "bdhwc,co->bdhwo", x, params["skip"]["conv"]["kernel"][0, 0, 0]
        ) / np.sqrt(1 + 1e-5)
    np.testing.assert_allclose(
        jax.jit(partial(block.apply, train=False))(variables, x), jax.nn.relu(expected), atol=1e-5
    )
