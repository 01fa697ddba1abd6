"""Normalization equals flax's in values and first and second gradients, also far from zero."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.ops.normalize import normalize

pytestmark = pytest.mark.optimized

EPSILON = 1e-5


def flax_norm(x, scale, bias, groups):
    if groups is None:
        return nn.BatchNorm(
            use_running_average=False, epsilon=EPSILON, use_fast_variance=False
        ).apply(
            {"params": {"scale": scale, "bias": bias}, "batch_stats": {"mean": bias, "var": scale}},
            x,
            mutable=["batch_stats"],
        )[0]
    return nn.GroupNorm(groups, epsilon=EPSILON, use_fast_variance=False).apply(
        {"params": {"scale": scale, "bias": bias}}, x
    )


def arrays(shape):
    rng = np.random.default_rng(0)
    x = rng.normal(2, 3, shape)
    return tuple(
        jnp.asarray(a, jnp.float32)
        for a in (x, rng.normal(1, 0.5, shape[-1]), rng.normal(size=shape[-1]))
    )


@pytest.mark.slow
@pytest.mark.parametrize("groups", [None, 4])
@pytest.mark.parametrize("shape", [(3, 5, 4, 8), (2, 3, 4, 5, 8)])
def test_values_and_two_gradients_are_flaxs(groups, shape):
    operands = arrays(shape)
    weight = jnp.sin(jnp.arange(operands[0].size, dtype=jnp.float32)).reshape(shape)

    def slopes(norm):
        return jax.value_and_grad(lambda a: jnp.sum(jnp.sin(norm(*a)) * weight))

    def twice(norm):
        return jax.grad(lambda a: sum(jnp.sum(jnp.cos(g)) for g in slopes(norm)(a)[1]))

    def ours(x, scale, bias):
        return normalize(x, scale, bias, groups, EPSILON)[0]

    def theirs(x, scale, bias):
        return flax_norm(x, scale, bias, groups)

    np.testing.assert_allclose(ours(*operands), theirs(*operands), atol=1e-5)
    for what, tolerance in ((slopes, 1e-5), (twice, 1e-4)):
        pairs = zip(
            *(jax.tree.leaves(jax.jit(what(norm))(operands)) for norm in (ours, theirs)),
            strict=True,
        )
        for a, b in pairs:
            np.testing.assert_allclose(a, b, atol=tolerance * max(1.0, np.abs(b).max()))


@pytest.mark.slow
@pytest.mark.parametrize("groups", [None, 2])
def test_mean_and_variance_are_numpys_far_from_zero(groups):
    """In float32, E[x²] - E[x]² would be lost next to a mean of a thousand deviations."""
    x, scale, bias = arrays((2, 6, 7, 4))
    x = x + 3000
    y, mean, variance = normalize(x, scale, bias, groups, EPSILON)
    exact = np.float64(x) if groups is None else np.float64(x).reshape(2, 6, 7, 2, 2)
    axes = (0, 1, 2) if groups is None else (1, 2, 4)
    spread = 1 if groups is None else 2
    np.testing.assert_allclose(
        mean, np.repeat(exact.mean(axes).reshape(-1, 4 // spread), spread, axis=1), rtol=1e-6
    )
    np.testing.assert_allclose(
        variance, np.repeat(exact.var(axes).reshape(-1, 4 // spread), spread, axis=1), rtol=1e-4
    )
    np.testing.assert_allclose(y, flax_norm(x, scale, bias, groups), atol=5e-3)


def test_bfloat16_is_kept_and_statistics_are_float32():
    x, scale, bias = arrays((2, 6, 7, 4))
    y, mean, variance = normalize(x.astype(jnp.bfloat16), scale, bias, None, EPSILON)
    assert (y.dtype, mean.dtype, variance.dtype) == (jnp.bfloat16, jnp.float32, jnp.float32)
    np.testing.assert_allclose(y.astype(jnp.float32), flax_norm(x, scale, bias, None), atol=0.05)
