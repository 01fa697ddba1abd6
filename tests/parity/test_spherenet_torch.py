"""The sphere hand's network, decoding, renderer, losses and gradients equal PyTorch's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.fitting import losses
from handjax.models.spherenet import SphereNet
from handjax.rigs import hand
from handjax.rigs.spheres import sphere_depth_orthographic
from handjax.targets import spherehand

torch = pytest.importorskip("torch")
import spherenet_reference as reference  # noqa: E402

from scripts.convert_torch import convert  # noqa: E402

pytestmark = pytest.mark.slow


def _state(module):
    return {name: tensor.detach().numpy() for name, tensor in module.state_dict().items()}


def _close(ours, theirs, share):
    """Equal up to `share` of the largest entry."""
    theirs = theirs.detach().numpy() if isinstance(theirs, torch.Tensor) else np.asarray(theirs)
    assert np.abs(theirs).max() > 0
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=share * np.abs(theirs).max())


def test_network_decoding_and_all_gradients():
    """Two stacks; maps, features and decoded centers enter the loss.

    In float64, otherwise some ReLUs flip.
    """
    with jax.enable_x64(True):
        other = reference.randomize(reference.Reference(stacks=2, width=32), seed=1).double()
        variables = convert(
            {f"hg.{name}": value for name, value in _state(other).items()}, "sphere_net"
        )
        model = SphereNet(stacks=2, width=32, dtype=jnp.float64)
        rng = np.random.default_rng(0)
        x = rng.uniform(-0.5, 1.0, (2, 64, 64, 1))
        x[rng.random(x.shape) < 0.6] = 1.0
        aims = rng.normal(0, 50, (2, 2, 41, 3))

        @jax.jit
        def ours(variables, x):
            def loss(variables, x):
                maps, latents = model.apply(variables, x)
                centers = spherehand.decode(*spherehand.split(maps.astype(jnp.float64)))
                extra = ((maps**2).mean() + latents.mean()).astype(jnp.float64)
                return ((centers - aims) ** 2).mean() + extra, (
                    maps,
                    latents,
                    centers,
                )

            return jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(variables, x)

        (loss, (maps, latents, centers)), (gradient, by_input) = jax.device_get(ours(variables, x))

    x_torch = torch.tensor(np.moveaxis(x, -1, 1).copy(), requires_grad=True)
    maps_torch, latents_torch = other(x_torch)
    heat, depth = maps_torch.split(41, dim=2)
    centers_torch = reference.decode(heat.flatten(0, 1), depth.flatten(0, 1)).view(2, 2, 41, 3)
    loss_torch = (
        ((centers_torch - torch.tensor(aims)) ** 2).mean()
        + (maps_torch**2).mean()
        + latents_torch.mean()
    )
    loss_torch.backward()

    assert (
        maps.shape == (2, 2, 16, 16, 82)
        and latents.shape == (2, 2, 4, 4, 64)
        and maps.dtype == jnp.float32
    )
    _close(np.moveaxis(maps, -1, 2), maps_torch, 1e-6)  # the output is float32
    _close(np.moveaxis(latents, -1, 2), latents_torch, 1e-6)
    _close(centers, centers_torch, 1e-6)
    np.testing.assert_allclose(loss, loss_torch.item(), rtol=1e-6)
    _close(np.moveaxis(by_input, -1, 1), x_torch.grad, 1e-5)
    expected = convert({name: p.grad.numpy() for name, p in other.named_parameters()}, "sphere_net")
    assert jax.tree.structure(gradient) == jax.tree.structure(expected)
    floor = 1e-3 * max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected))
    for (path, a), b in zip(
        jax.tree_util.tree_leaves_with_path(gradient), jax.tree.leaves(expected), strict=True
    ):
        error = np.abs(a - b).max() / max(np.abs(b).max(), floor)
        assert error < 1e-5, (jax.tree_util.keystr(path), error)


@pytest.fixture(scope="module")
def scene():
    """Two frames of three views in float64; predictions are some mm off the visible hand."""
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        centers, radii = jax.jit(hand.spheres)(jnp.asarray(rng.normal(0, 0.4, (2, 26))))
    q, _ = np.linalg.qr(rng.normal(size=(2, 3, 3, 3)))
    cameras = np.tile(np.eye(4), (2, 3, 1, 1))
    cameras[..., :3, :3] = q * np.sign(np.linalg.det(q))[..., None, None]
    cameras[..., :3, 3] = rng.normal(0, 20, (2, 3, 3))
    seen = np.einsum(
        "bvji,bvsj->bvsi",
        cameras[..., :3, :3],
        np.asarray(centers)[:, None] - cameras[..., None, :3, 3],
    )
    found = seen + rng.normal(0, 6, seen.shape)
    radii = np.asarray(radii)
    depth = [
        [reference.render(*map(torch.tensor, (c, r)), 32).numpy() for c in v]
        for v, r in zip(seen, radii, strict=True)
    ]
    return {"depth": np.array(depth), "centers": found, "radii": radii, "cameras": cameras}


def _compare(ours, theirs, centers, weights=None):
    """Values of both, [b], and gradients of a weighted sum of them to the centers."""
    with jax.enable_x64(True):
        values, pull = jax.vjp(jax.jit(ours), jnp.asarray(centers))
        weights = np.arange(1.0, 1.0 + values.size).reshape(values.shape)
        (gradient,) = pull(jnp.asarray(weights))
    leaf = torch.tensor(centers, requires_grad=True)
    values_torch = theirs(leaf)
    (values_torch * torch.tensor(weights)).sum().backward()
    assert values.dtype == jnp.float64
    np.testing.assert_allclose(values, values_torch.detach().numpy(), rtol=1e-10)
    _close(gradient, leaf.grad, 1e-9)


def test_renderer(scene):
    """With gradients to centers and radii."""
    c, r = scene["centers"][0, 0], scene["radii"][0]
    weights = np.random.default_rng(1).normal(size=(32, 32))
    with jax.enable_x64(True):
        image, pull = jax.vjp(
            lambda c, r: sphere_depth_orthographic(c, r, 32)[0], jnp.asarray(c), jnp.asarray(r)
        )
        gradients = pull(jnp.asarray(weights))
    leaves = [torch.tensor(a, requires_grad=True) for a in (c, r)]
    image_torch = reference.render(*leaves, 32)
    (image_torch * torch.tensor(weights)).sum().backward()
    assert 100 < np.sum(np.asarray(image) < 100) < 900
    np.testing.assert_allclose(image, image_torch.detach().numpy(), atol=1e-9)
    for ours, leaf in zip(gradients, leaves, strict=True):
        _close(ours, leaf.grad, 1e-9)


@pytest.mark.parametrize("across", [True, False])
def test_projection(scene, across):
    """Both terms, weighted as in mv_projection; PyTorch inverts the cameras as full matrices."""
    with jax.enable_x64(True):
        depth, cameras = jnp.asarray(scene["depth"]), jnp.asarray(scene["cameras"])
        radii = jnp.broadcast_to(scene["radii"][:, None], scene["centers"].shape[:-1])

    def ours(centers):
        rendered, near = losses.projection(depth, centers, radii, cameras, across=across)
        return rendered + losses.SURFACE_WEIGHT * near

    def theirs(centers):
        values = []
        for depth, found, r, cameras in zip(
            scene["depth"], centers, scene["radii"], scene["cameras"], strict=True
        ):
            rendered, near = reference.projection(
                torch.tensor(depth), found, torch.tensor(r), torch.tensor(cameras), across
            )
            values.append(rendered + 500 * near)
        return torch.stack(values)

    _compare(ours, theirs, scene["centers"])


def test_consistency(scene):
    _compare(
        lambda c: losses.multiview_consistency(c, jnp.asarray(scene["cameras"])),
        lambda c: torch.stack(
            [
                reference.consistency(*one)
                for one in zip(c, torch.tensor(scene["cameras"]), strict=True)
            ]
        ),
        scene["centers"],
    )


def test_collision_and_bone_length(scene):
    """Hands are shrunk, so that fingers touch, and stretched, so that bones are too long."""
    for size in (0.4, 1.3):
        centers = size * scene["centers"][:, 0]
        _compare(
            losses.bone_length,
            lambda c: torch.stack([reference.bone_length(h[None], hand.BONE_LENGTHS) for h in c]),
            centers,
        )
    _compare(
        losses.collision,
        lambda c: torch.stack([reference.collision(h[None]) for h in c]),
        0.2 * scene["centers"][:, 0],
    )


def test_prior():
    """Our mean over hands is the original's value of a batch, with all its gradients."""
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=shape) for shape in ((5, 41, 3), (5, 41, 3), (5, 32), (5, 32))]
    with jax.enable_x64(True):
        value, gradients = jax.value_and_grad(
            lambda *a: losses.pose_prior(*a, batch=5).mean(), argnums=(0, 1, 2, 3)
        )(*map(jnp.asarray, arrays))
    leaves = [torch.tensor(a, requires_grad=True) for a in arrays]
    expected = reference.prior(leaves[0].flatten(1) / 100, leaves[1].flatten(1) / 100, *leaves[2:])
    expected.backward()
    np.testing.assert_allclose(value, expected.item(), rtol=1e-12)
    for ours, leaf in zip(gradients, leaves, strict=True):
        _close(ours, leaf.grad, 1e-12)
