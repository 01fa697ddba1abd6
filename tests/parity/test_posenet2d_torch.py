"""The network, its losses, gradients and optimizer equal PyTorch's for the same weights."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs.common import common
from handjax.engine.optimizer import make_optimizer
from handjax.models.posenet2d import PoseNet2D
from handjax.pose import losses
from handjax.targets import keypoints2d

torch = pytest.importorskip("torch")
import posenet2d_reference  # noqa: E402
from cpm_reference import channels_first, channels_last, gradients, randomize, to_flax  # noqa: E402
from posenet2d_reference import Reference  # noqa: E402

pytestmark = pytest.mark.slow

# All sizes differ, so that no two axes can be confused.
SMALL = dict(joints=3, refinements=1, widths=(4, 5, 6, 7, 8), kernel=5, pools=2)
BATCH, SIZE = 2, 16


def _input(size, dtype):
    return np.random.default_rng(0).uniform(-0.5, 0.5, (BATCH, size, size, 3)).astype(dtype)


def _heatmap_loss(maps, uv, visible):
    mask = jnp.ones(BATCH, bool)
    target = keypoints2d.posenet_heatmaps(uv, jnp.ones(uv.shape[:2], bool), SIZE, 4.0)
    stages = [
        losses.map_rms(keypoints2d.resize(maps[:, s], SIZE), target) for s in range(maps.shape[1])
    ]
    return sum(losses.visible_mean(rms, mask, visible) for rms in stages)


def _dsnt_loss(maps, uv, visible):
    mask = jnp.ones(BATCH, bool)
    probability, found = keypoints2d.dsnt(maps[:, -1])
    gaussians = keypoints2d.dsnt_gaussians(uv / SIZE, maps.shape[-2])
    coordinate = losses.visible_mean(losses.squared_error(found, uv / SIZE).mean(-1), mask, visible)
    return coordinate + losses.visible_mean(
        losses.jensen_shannon(probability, gaussians), mask, visible
    )


def _reference_loss(name, maps, uv, visible):
    if name == "dsnt":
        return posenet2d_reference.dsnt_loss(maps, torch.tensor(uv / SIZE))
    pixel = torch.arange(SIZE, dtype=torch.float64)
    squared = (pixel - torch.tensor(np.trunc(uv))[..., None, :1]) ** 2
    squared = squared + (pixel[:, None] - torch.tensor(np.trunc(uv))[..., 1:, None]) ** 2
    target = torch.exp(-squared / 4.0**2)
    return posenet2d_reference.heatmap_loss(maps, target, torch.tensor(visible).double())


@pytest.mark.parametrize("name", ["visible", "dsnt"])
def test_loss_gradients_and_three_steps_of_adam(name):
    """In float64, where the two differ only by its rounding."""
    with jax.enable_x64(True):
        reference = randomize(Reference(**SMALL), seed=1).double()
        model = PoseNet2D(dtype=jnp.float64, **SMALL)
        rng = np.random.default_rng(1)
        x, uv = _input(SIZE, np.float64), rng.uniform(1.5, SIZE - 2, (BATCH, SMALL["joints"], 2))
        visible = np.array([[True, False, True], [False, True, True]])
        x_torch = channels_first(x)

        config = common().optimizer
        config.update(name="adam", lr=1e-3, schedule="multistep", boundaries=(1, 2), factor=0.1)
        optimizer = make_optimizer(config, 3)
        adam = torch.optim.Adam(reference.parameters(), lr=1e-3)
        schedule = torch.optim.lr_scheduler.MultiStepLR(adam, [1, 2], 0.1)

        @jax.jit
        def update(params, state, x, uv):
            def loss_of(params):
                maps = model.apply({"params": params}, x, train=True)
                loss = _dsnt_loss if name == "dsnt" else _heatmap_loss
                return loss(maps, uv, jnp.asarray(visible) if name == "visible" else None), maps

            (loss, maps), gradient = jax.value_and_grad(loss_of, has_aux=True)(params)
            updates, state = optimizer.update(gradient, state, params)
            return optax.apply_updates(params, updates), state, loss, maps, gradient

        params = jax.tree.map(jnp.asarray, to_flax(reference.state_dict()))
        start, state = params, optimizer.init(params)
        for _ in range(3):
            params, state, loss, maps, gradient = update(
                params, state, jnp.asarray(x), jnp.asarray(uv)
            )
            adam.zero_grad(set_to_none=False)
            maps_torch = reference(x_torch)
            loss_torch = _reference_loss(name, maps_torch, uv, visible)
            loss_torch.backward()
            np.testing.assert_allclose(maps, channels_last(maps_torch), rtol=0, atol=1e-11)
            np.testing.assert_allclose(loss, loss_torch.item(), rtol=1e-12)
            expected = gradients(reference)
            scale = max(np.abs(g).max() for g in jax.tree.leaves(expected))
            jax.tree.map(
                partial(np.testing.assert_allclose, rtol=0, atol=1e-11 * scale), gradient, expected
            )
            adam.step()
            schedule.step()
        jax.tree.map(
            partial(np.testing.assert_allclose, rtol=0, atol=1e-8),
            params,
            to_flax(reference.state_dict()),
        )
        moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), params, start)
        assert max(jax.tree.leaves(moved)) > 1e-3


def test_forward_at_full_width():
    """The network of the original, on a small image."""
    reference = randomize(Reference(), seed=2)
    x = _input(32, np.float32)[:1]
    with torch.no_grad():
        theirs = channels_last(reference(channels_first(x)))
    ours = jax.jit(PoseNet2D().apply)({"params": to_flax(reference.state_dict())}, x)
    assert (
        ours.shape == (1, 3, 4, 4, 21) and ours.dtype == jnp.float32 and theirs[:, -1].std() > 0.01
    )
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())


def test_trees_have_the_shapes_of_the_reference():
    """All weights are converted, at full width, and none is left over on either side."""
    model = PoseNet2D()
    ours = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))["params"]
    with torch.device("meta"):
        theirs = Reference().state_dict()
    assert sum(tensor.numel() for tensor in theirs.values()) == 17_518_847
    theirs = to_flax({name: torch.empty(tensor.shape) for name, tensor in theirs.items()})
    assert jax.tree.map(lambda a: a.shape, dict(ours)) == jax.tree.map(lambda a: a.shape, theirs)


def test_resizing_is_that_of_tensorflow_1():
    maps = np.random.default_rng(0).standard_normal((2, 8, 8, 3)).astype(np.float32)
    ours = keypoints2d.resize(jnp.asarray(maps), 64)
    np.testing.assert_allclose(
        ours, channels_last(posenet2d_reference.resize(channels_first(maps), 64)), rtol=0, atol=1e-6
    )
