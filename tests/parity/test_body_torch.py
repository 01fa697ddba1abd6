"""The heads, their losses and gradients equal PyTorch's for the same weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from handjax.engine import weights
from handjax.models.body import BodyNet
from handjax.models.resnet import STAGES, ResNet, from_torchvision
from handjax.pose import losses

torch = pytest.importorskip("torch")
import resnet_reference  # noqa: E402
from body_reference import Reference, joint_loss, randomize, to_flax  # noqa: E402

from scripts.convert_torch import main as convert_file  # noqa: E402

pytestmark = pytest.mark.slow

OPTIONS = dict(layers=18, joints=3, depth=5, width=4, deconvolutions=(6, 7, 8))


def shares(ours, theirs):
    """Largest difference per leaf, relative to its maximum or to 1e-3 of the overall maximum."""
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    floor = 1e-3 * max(np.abs(leaf).max() for leaf in jax.tree.leaves(theirs))
    return jax.tree.map(
        lambda a, b: np.abs(a - b).max() / max(np.abs(b).max(), floor), jax.device_get(ours), theirs
    )


@pytest.mark.parametrize(
    "head, layers, power", [("direct", 18, 1), ("integral", 50, 2), ("kinematic", 18, 1)]
)
def test_forward_loss_gradients_and_running_statistics(head, layers, power, monkeypatch):
    options = OPTIONS | dict(layers=layers)
    # One block per stage contains every kind of layer, and compiles in a quarter of the time.
    monkeypatch.setitem(STAGES, layers, ((1, 1, 1, 1), layers == 50))
    monkeypatch.setitem(resnet_reference.STAGES, layers, (1, 1, 1, 1))
    with jax.enable_x64(True):
        reference = randomize(Reference(head, **options), seed=1).double()
        net = BodyNet(head, **options, dtype=jnp.float64)
        variables = to_flax(reference.state_dict())
        rng = np.random.default_rng(0)
        x = jnp.asarray(rng.standard_normal((2, 64, 32, 3)))
        x_torch = torch.tensor(np.moveaxis(x, -1, 1).copy())
        theirs = reference.eval()(x_torch).detach().numpy()
        np.testing.assert_allclose(
            jax.jit(net.apply)(variables, x), theirs, rtol=0, atol=1e-5 * np.abs(theirs).max()
        )

        target, weight = rng.uniform(-0.5, 0.5, theirs.shape), rng.integers(0, 2, theirs.shape)
        weight = weight.astype(np.float64)
        error = losses.absolute_error if power == 1 else losses.squared_error

        def ours(params):
            outputs, updated = net.apply(
                {**variables, "params": params}, x, train=True, mutable=["batch_stats"]
            )
            return (
                error(outputs.astype(jnp.float64), jnp.asarray(target)) * weight
            ).sum() / 2, updated["batch_stats"]

        (loss, stats), gradient = jax.jit(jax.value_and_grad(ours, has_aux=True))(
            variables["params"]
        )
        loss_torch = joint_loss(
            reference.train()(x_torch), torch.tensor(target), torch.tensor(weight), power
        )
        loss_torch.backward()
        np.testing.assert_allclose(loss, loss_torch.item(), rtol=1e-5)
        named = {n: p.grad for n, p in reference.named_parameters() if p.grad is not None}
        worst = shares(gradient, to_flax(named)["params"])
        assert max(jax.tree.leaves(worst)) < 1e-3, worst
        means = {path: leaf for path, leaf in flatten_dict(stats).items() if path[-1] == "mean"}
        expected = flatten_dict(to_flax(reference.state_dict())["batch_stats"])
        for path, leaf in means.items():
            np.testing.assert_allclose(leaf, expected[path], atol=1e-6, err_msg=str(path))


@pytest.mark.parametrize("layers", STAGES)
def test_a_torchvision_state_dict_converts_by_name(layers):
    with torch.device("meta"):
        shapes = {
            name: tuple(tensor.shape)
            for name, tensor in resnet_reference.ResNet(layers).state_dict().items()
        }
    assert (
        shapes["fc.weight"] == (1000, 512 if layers < 50 else 2048)
        and "layer4.1.bn2.running_var" in shapes
    )
    state = {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}
    found = from_torchvision(state, ResNet(layers))
    body = jax.eval_shape(
        BodyNet("direct", layers=layers).init, jax.random.key(0), jnp.zeros((1, 32, 32, 3))
    )
    assert jax.tree.map(np.shape, found) == {
        kind: jax.tree.map(lambda s: s.shape, tree["backbone"]) for kind, tree in body.items()
    }
    counted = sum(
        np.size(tensor)
        for name, tensor in state.items()
        if "fc." not in name and "num_batches" not in name
    )
    assert sum(np.size(leaf) for leaf in jax.tree.leaves(found)) == counted


def test_converted_weights_give_the_same_features():
    torch.manual_seed(0)
    reference = randomize(resnet_reference.ResNet(50, width=4), seed=0).eval()
    net = ResNet(50, width=4)
    variables = from_torchvision(
        {name: tensor.numpy() for name, tensor in reference.state_dict().items()}, net
    )
    x = np.random.default_rng(0).standard_normal((1, 64, 64, 3), np.float32)
    theirs = reference(torch.tensor(x.transpose(0, 3, 1, 2))).detach().numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(
        jax.jit(net.apply)(variables, x), theirs, atol=2e-5 * np.abs(theirs).max()
    )


@pytest.mark.parametrize("layers", [18, 50])
def test_a_torchvision_file_becomes_the_backbone(layers, tmp_path, capsys):
    """Every name and number of the .npz is a leaf of the body network's tree."""
    reference = randomize(resnet_reference.ResNet(layers, width=4), seed=2)
    torch.save(reference.state_dict(), tmp_path / "resnet.pth")
    convert_file(["torchvision", str(tmp_path / "resnet.pth"), str(tmp_path / "resnet.npz")])
    assert "resnet.npz: " in capsys.readouterr().out
    found = flatten_dict(weights.load(tmp_path / "resnet.npz"), sep="/")
    body = jax.eval_shape(
        BodyNet("integral", layers, width=4).init, jax.random.key(0), jnp.zeros((1, 32, 32, 3))
    )
    expected = {
        name: leaf
        for name, leaf in flatten_dict(body, sep="/").items()
        if name.split("/")[1] == "backbone"
    }
    assert {name: (leaf.shape, leaf.dtype) for name, leaf in found.items()} == {
        n: (s.shape, s.dtype) for n, s in expected.items()
    }
    state = {name: tensor.numpy() for name, tensor in reference.state_dict().items()}
    np.testing.assert_array_equal(
        found["params/backbone/layer3_0/downsample_conv/kernel"][0, 0],
        state["layer3.0.downsample.0.weight"][:, :, 0, 0].T,
    )
    np.testing.assert_array_equal(
        found["batch_stats/backbone/layer4_1/bn2/var"], state["layer4.1.bn2.running_var"]
    )


def test_another_network_is_rejected_by_name(tmp_path, capsys):
    state = resnet_reference.ResNet(18, width=4).state_dict()
    for change, message in (
        (
            {"layer1.2.conv1.weight": torch.zeros(4, 4, 3, 3)},
            "this is no torchvision ResNet with 18, 34, 50, 101, 152 layers: its ",
        ),
        (
            {"layer2.1.conv1.weight": torch.zeros(8, 8, 1, 1)},
            "layer2.1.conv1.weight is (1, 1, 8, 8) (height, width, in, out)",
        ),
    ):
        torch.save(state | change, tmp_path / "other.pth")
        with pytest.raises(SystemExit):
            convert_file(["torchvision", str(tmp_path / "other.pth"), str(tmp_path / "other.npz")])
        assert message in capsys.readouterr().err and not (tmp_path / "other.npz").exists()
