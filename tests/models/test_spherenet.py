import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.models import layers, spherenet
from handjax.models.spherenet import SphereNet


@pytest.mark.slow
@pytest.mark.parametrize("stacks, parameters", [(1, 2_308_946), (2, 4_199_588)])
def test_size_and_shapes(stacks, parameters):
    model = SphereNet(stacks=stacks)
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 64, 64, 1)))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == parameters
    assert list(variables) == ["params"]  # no running statistics
    maps, latents = jax.eval_shape(model.apply, variables, jnp.zeros((3, 64, 64, 1)))
    assert maps.shape == (3, stacks, 16, 16, 82) and latents.shape == (3, stacks, 4, 4, 256)


@pytest.mark.slow
def test_is_initialized_as_in_pytorch():
    """Kernels and biases from U(±1/√inputs), normalizations at one and zero."""

    @jax.jit
    def some(key):  # only what is returned is computed
        params = SphereNet().init(key, jnp.zeros((1, 64, 64, 1)))["params"]
        return [params["stem"], params["front1"]["conv2"], params["out1_maps"]], params["front1"][
            "norm1"
        ]

    convolutions, norm = some(jax.random.key(0))
    for layer, inputs in zip(convolutions, (25, 9 * 64, 256), strict=True):
        for leaf in layer.values():
            bound = inputs**-0.5
            assert 0.9 * bound < np.abs(leaf).max() <= bound
            assert abs(np.std(leaf) / (bound / 3**0.5) - 1) < 0.2
    assert np.all(norm["scale"] == 1) and np.all(norm["bias"] == 0)


@pytest.mark.slow
def test_bfloat16_is_for_the_arithmetic_only(monkeypatch):
    """Convolutions are in bfloat16; parameters, statistics and outputs are float32."""
    model = SphereNet(dtype=jnp.bfloat16)
    x = jnp.zeros((1, 64, 64, 1))
    variables = jax.eval_shape(model.init, jax.random.key(0), x)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    convolutions, convolve = [], spherenet.conv_general_dilated

    def noted(x, kernel, *options, **more):
        convolutions.extend((x.dtype, kernel.dtype))
        return convolve(x, kernel, *options, **more)

    monkeypatch.setattr(spherenet, "conv_general_dilated", noted)
    norms, normalize = [], layers.normalize

    def noted_norm(x, *options):
        y, mean, variance = normalize(x, *options)
        norms.extend((mean.dtype, variance.dtype))
        return y, mean, variance

    monkeypatch.setattr(layers, "normalize", noted_norm)
    computation = jax.make_jaxpr(model.apply)(variables, x)
    assert len(convolutions) == 2 * 38 and set(convolutions) == {jnp.dtype(jnp.bfloat16)}
    assert set(norms) == {jnp.dtype(jnp.float32)}
    assert {v.dtype for v in computation.out_avals} == {jnp.dtype(jnp.float32)}


def test_an_invalid_size_is_reported():
    with pytest.raises(ValueError, match="24 px is not divisible"):
        jax.eval_shape(SphereNet().init, jax.random.key(0), jnp.zeros((1, 24, 24, 1)))
