"""At inference, networks with kernels that normalize, add and cut off equal those of plain JAX."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.models.body import BodyNet
from handjax.models.handfinder import HandFinder
from handjax.models.handnet import HandNet
from handjax.models.resnet import ResNet
from handjax.models.v2v import V2V
from handjax.ops import library

NETS = {  # with how many convolutions that have an epilogue
    "basic blocks": (ResNet(18, width=8), (2, 64, 64, 3), 20),
    "bottlenecks": (ResNet(50, width=8), (1, 64, 96, 3), 53),
    "deconvolutions": (
        BodyNet("integral", 18, joints=3, depth=5, width=8, deconvolutions=(12, 16)),
        (2, 64, 64, 3),
        22,
    ),
    "volumes": (V2V(joints=5, widths=(4, 8, 16, 20)), (2, 16, 16, 16, 1), 30),
    "crops": (HandNet(widths=(16, 24, 32), blocks=(1, 2, 1)), (2, 32, 32, 2), 24),
    "frames": (HandFinder(widths=(16, 24, 32), blocks=(1, 1, 1)), (1, 32, 48, 3), 20),
}


def random_variables(net, x):
    """Variables that differ from their initial values and keep activations of order one."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(partial(net.init, train=False), jax.random.key(0), x)

    def value(path, leaf):
        noise = rng.standard_normal(leaf.shape)
        if path[-1].key == "kernel":
            noise *= (2 / np.prod(leaf.shape[:-1])) ** 0.5
        else:
            noise = 0.2 * noise + (path[-1].key in ("scale", "var"))
        return jnp.asarray(np.abs(noise) if path[-1].key == "var" else noise, leaf.dtype)

    return jax.tree_util.tree_map_with_path(value, shapes)


def kernels(net, *arguments, **options):
    """How many convolutions with an epilogue are in the program."""
    text = jax.jit(partial(net.apply, **options)).lower(*arguments).as_text()
    return text.count("custom_call @handjax_conv_affine") + text.count(
        "custom_call @handjax_conv_input_affine"
    )


@pytest.mark.parametrize("name", NETS)
def test_networks_are_those_of_plain_jax(name):
    net, shape, count = NETS[name]
    x = jnp.asarray(np.random.default_rng(1).standard_normal(shape), jnp.float32)
    variables = random_variables(net, x)
    ours = jax.jit(partial(net.apply, train=False))(variables, x)
    with library.reference_implementations():
        theirs = jax.jit(lambda *a: net.apply(*a, train=False))(variables, x)
        assert kernels(net, variables, x, train=False) == 0
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert np.std(b) > 1e-3
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(np.asarray(b)).max())
    if library.platforms():
        assert kernels(net, variables, x, train=False) == count
        assert kernels(net, variables, x, train=True, mutable=["batch_stats"]) == 0


@pytest.mark.parametrize("name", ["bottlenecks", "volumes", "crops"])
def test_16_bits_are_rounded_after_every_layer(name):
    """As in training; the kernels would round once."""
    net, shape, _ = NETS[name]
    net = net.copy(dtype=jnp.bfloat16)
    x = jnp.zeros(shape, jnp.float32)
    variables = jax.eval_shape(net.init, jax.random.key(0), x)
    assert kernels(net, variables, x, train=False) == 0


def test_a_network_at_inference_has_the_gradients_of_plain_jax():
    net, shape, _ = NETS["bottlenecks"]
    x = jnp.asarray(np.random.default_rng(1).standard_normal(shape), jnp.float32)
    variables = random_variables(net, x)

    def loss(params, x):
        return jnp.mean(net.apply({**variables, "params": params}, x, train=False) ** 2)

    ours = jax.jit(jax.grad(loss))(variables["params"], x)
    with library.reference_implementations():
        theirs = jax.jit(lambda *a: jax.grad(loss)(*a))(variables["params"], x)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-4 * np.abs(np.asarray(b)).max())
