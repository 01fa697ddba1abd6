import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from handjax.models import resnet
from handjax.models.resnet import ResNet, from_torchvision

# Parameters of torchvision's networks without their classifiers: for 18 layers
# 11,689,512 - (512 · 1000 + 1000), and so on.
PARAMETERS = {18: 11_176_512, 34: 21_284_672, 50: 23_508_032, 101: 42_500_160, 152: 58_143_808}


def shapes(net, size=64):
    return jax.eval_shape(lambda: net.init(jax.random.key(0), jnp.zeros((1, size, size, 3))))


@pytest.mark.slow
@pytest.mark.parametrize("layers", PARAMETERS)
def test_number_of_parameters_is_torchvisions(layers):
    found = shapes(ResNet(layers))
    assert sum(leaf.size for leaf in jax.tree.leaves(found["params"])) == PARAMETERS[layers]
    out = jax.eval_shape(
        ResNet(layers).apply, found, jax.ShapeDtypeStruct((2, 96, 64, 3), jnp.float32)
    )
    assert out.shape == (2, 3, 2, 512 if layers < 50 else 2048)


def test_invalid_networks_are_reported():
    with pytest.raises(
        ValueError, match="60 x 64 px is not divisible by the network's stride of 32"
    ):
        jax.eval_shape(lambda: ResNet(18).init(jax.random.key(0), jnp.zeros((1, 64, 60, 3))))
    with pytest.raises(
        ValueError, match="ResNet of 49 layers is unknown: use 18, 34, 50, 101, 152"
    ):
        shapes(ResNet(49))


def torch_state(net):
    """Random numbers with torchvision's names and layout, written out for the first and last layers
    of a ResNet-18."""
    rng = np.random.default_rng(0)
    state = {
        "fc.weight": np.zeros((1000, 8)),
        "fc.bias": np.zeros(1000),
        "bn1.num_batches_tracked": np.zeros(()),
    }
    kinds = {
        "kernel": "weight",
        "scale": "weight",
        "bias": "bias",
        "mean": "running_mean",
        "var": "running_var",
    }
    for (_, *modules, leaf), of in flatten_dict(shapes(net)).items():
        name = ".".join(
            m.replace("_conv", ".0").replace("_bn", ".1").replace("_", ".") for m in modules
        )
        shape = tuple(of.shape[i] for i in (3, 2, 0, 1)) if of.ndim == 4 else of.shape
        state[f"{name}.{kinds[leaf]}"] = rng.standard_normal(shape)
    return state


def test_weights_in_torchvisions_layout_are_loaded():
    net = ResNet(18, width=2)
    state = torch_state(net)
    assert state["layer2.0.downsample.0.weight"].shape == (4, 2, 1, 1) and state[
        "conv1.weight"
    ].shape == (2, 3, 7, 7)
    found = from_torchvision(state, net)
    assert jax.tree.map(np.shape, found) == jax.tree.map(lambda s: s.shape, shapes(net))
    np.testing.assert_array_equal(
        found["params"]["layer4_1"]["conv2"]["kernel"][1, 2],
        np.float32(state["layer4.1.conv2.weight"][:, :, 1, 2].T),
    )
    np.testing.assert_array_equal(
        found["batch_stats"]["layer3_0"]["downsample_bn"]["var"],
        np.float32(state["layer3.0.downsample.1.running_var"]),
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "change, message",
    [
        (
            lambda s: s.pop("layer1.0.conv1.weight"),
            "lack layer1.0.conv1.weight and 0 more: expected those of a ResNet-18",
        ),
        (
            lambda s: s.update({"layer1.2.conv1.weight": 0, "module.conv1.weight": 0}),
            "layer1.2.conv1.weight and 1 more",
        ),
        (
            lambda s: s.update({"conv1.weight": np.zeros((2, 1, 7, 7))}),
            "conv1.weight is .7, 7, 1, 2. .*in a ResNet-18 it is .7, 7, 3, 2.",
        ),
    ],
)
def test_weights_that_do_not_fit_are_reported(change, message):
    state = torch_state(ResNet(18, width=2))
    change(state)
    with pytest.raises(ValueError, match=message):
        from_torchvision(state, ResNet(18, width=2))


@pytest.mark.slow
def test_remat_and_half_precision_keep_names_and_outputs(monkeypatch):
    monkeypatch.setitem(resnet.STAGES, 18, ((1, 1, 1, 1), False))
    x = jax.random.normal(jax.random.key(1), (2, 32, 32, 3))
    plain, remat, half = ResNet(18, 4), ResNet(18, 4, remat=True), ResNet(18, 4, dtype=jnp.bfloat16)
    variables = jax.jit(plain.init)(jax.random.key(0), x)
    assert jax.tree.map(lambda a: a.dtype, variables) == jax.tree.map(
        lambda a: a.dtype, shapes(half)
    )
    assert jax.tree.structure(variables) == jax.tree.structure(shapes(remat))

    def gradient(net):
        def loss(params):
            out, _ = net.apply(
                {**variables, "params": params}, x, train=True, mutable=["batch_stats"]
            )
            return (out**2).sum()

        return jax.value_and_grad(loss)

    (one, slope), (two, other) = (
        jax.jit(gradient(net))(variables["params"]) for net in (plain, remat)
    )
    np.testing.assert_allclose(one, two, rtol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(
            a, b, rtol=2e-3, atol=2e-4 * np.abs(a).max() + 1e-6
        ),
        slope,
        other,
    )
    jaxprs = [str(jax.make_jaxpr(gradient(net))(variables["params"])) for net in (plain, remat)]
    assert ["optimization_barrier" in one for one in jaxprs] == [False, True]
    exact, rough = (jax.jit(net.apply)(variables, x) for net in (plain, half))
    assert rough.dtype == jnp.bfloat16
    assert 1e-4 < np.abs(exact - rough.astype(jnp.float32)).max() / np.abs(exact).max() < 0.1
