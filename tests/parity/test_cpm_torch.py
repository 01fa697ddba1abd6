"""The network, its loss, gradients and optimizer equal PyTorch's for the same weights."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs.common import common
from handjax.engine.optimizer import make_optimizer
from handjax.models.cpm import CPM
from handjax.pose import losses

torch = pytest.importorskip("torch")
import cpm_reference  # noqa: E402
from cpm_reference import Reference, channels_first, channels_last, randomize, to_flax  # noqa: E402

pytestmark = pytest.mark.slow

# All sizes differ, so that no two axes can be confused.
SMALL = dict(widths=(6, 5, 7), kernels=(5, 3, 7), pools=2)
BATCH, SIZE, JOINTS, LR = 2, 20, 3, 1e-4


def _input(size, dtype):
    return np.random.default_rng(0).standard_normal((BATCH, size, size, 4)).astype(dtype)


@pytest.mark.parametrize("background, pool_padding, stages", [(True, 1, 3), (False, 0, 2)])
def test_loss_gradients_and_three_steps_of_sgd(background, pool_padding, stages):
    """In float64, where the two differ only by its rounding."""
    with jax.enable_x64(True):
        variant = dict(stages=stages, background=background, pool_padding=pool_padding, **SMALL)
        reference = randomize(Reference(JOINTS, **variant), seed=1).double()
        model = CPM(JOINTS, dtype=jnp.float64, **variant)
        x, m = _input(SIZE, np.float64), SIZE // 4 - (not pool_padding)
        target = np.random.default_rng(1).standard_normal((BATCH, m, m, JOINTS + background))
        x_torch, target_torch = channels_first(x), channels_first(target)
        x, target = jnp.asarray(x), jnp.asarray(target)

        config = common().optimizer
        config.update(
            name="sgd", lr=LR, weight_decay=0.02, schedule="step", step_size=2, factor=0.333
        )
        config.multipliers = (
            ("stage1_.*kernel", 1.0),
            ("stage1_.*bias", 2.0),
            (".*kernel", 4.0),
            (".*bias", 8.0),
        )
        optimizer = make_optimizer(config, 3)
        sgd = torch.optim.SGD(
            cpm_reference.parameter_groups(reference, LR), momentum=0.9, weight_decay=0.02
        )
        schedule = torch.optim.lr_scheduler.StepLR(sgd, 2, 0.333)

        @jax.jit
        def update(params, state):
            def loss_of(params):
                maps = model.apply({"params": params}, x, train=True)
                stages = losses.stage_totals(maps, target, jnp.ones(BATCH, bool))
                return stages.sum(), maps

            (loss, maps), gradient = jax.value_and_grad(loss_of, has_aux=True)(params)
            updates, state = optimizer.update(gradient, state, params)
            return optax.apply_updates(params, updates), state, loss, maps, gradient

        params = jax.tree.map(jnp.asarray, to_flax(reference.state_dict()))
        start, state = params, optimizer.init(params)
        for _ in range(3):
            params, state, loss, maps, gradient = update(params, state)
            sgd.zero_grad()
            maps_torch = reference(x_torch)
            loss_torch = cpm_reference.loss(maps_torch, target_torch)
            loss_torch.backward()
            np.testing.assert_allclose(maps, channels_last(maps_torch), rtol=0, atol=1e-11)
            np.testing.assert_allclose(loss, loss_torch.item(), rtol=1e-12)
            scale = max(
                np.abs(g).max() for g in jax.tree.leaves(cpm_reference.gradients(reference))
            )
            jax.tree.map(
                partial(np.testing.assert_allclose, rtol=0, atol=1e-12 * scale),
                gradient,
                cpm_reference.gradients(reference),
            )
            sgd.step()
            schedule.step()
        jax.tree.map(
            partial(np.testing.assert_allclose, rtol=0, atol=1e-11),
            params,
            to_flax(reference.state_dict()),
        )
        moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), params, start)
        assert min(jax.tree.leaves(moved)) > 1e-6


def test_forward_at_full_width():
    """The network of the original, on a small image."""
    reference = randomize(Reference(21), seed=2)
    x = _input(32, np.float32)[:1]
    with torch.no_grad():
        theirs = channels_last(reference(channels_first(x)))
    ours = jax.jit(CPM(21).apply)({"params": to_flax(reference.state_dict())}, x)
    assert (
        ours.shape == (1, 6, 4, 4, 22) and ours.dtype == jnp.float32 and theirs[:, -1].std() > 0.01
    )
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.parametrize(
    "joints, background, count",
    [(21, True, 31_770_052), (14, True, 31_219_866), (21, False, 31_691_454)],
)
def test_trees_have_the_shapes_of_the_reference(joints, background, count):
    """All weights are converted, at full width, and none is left over on either side."""
    model = CPM(joints, background=background)
    ours = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 64, 64, 4)))["params"]
    with torch.device("meta"):
        theirs = Reference(joints, background=background).state_dict()
    assert sum(tensor.numel() for tensor in theirs.values()) == count
    theirs = to_flax({name: torch.empty(tensor.shape) for name, tensor in theirs.items()})
    assert jax.tree.map(lambda a: a.shape, dict(ours)) == jax.tree.map(lambda a: a.shape, theirs)
