"""The network, its loss, gradients and optimizer equal PyTorch's for the same weights."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs.common import common
from handjax.engine.optimizer import make_optimizer
from handjax.models.v2v import V2V
from handjax.pose import losses

torch = pytest.importorskip("torch")
from v2v_reference import Reference, channels_first, channels_last, randomize, to_flax  # noqa: E402

pytestmark = pytest.mark.slow

WIDTHS = (4, 6, 8, 10)  # all different, so that no two axes can be confused
JOINTS, SIZE, BATCH = 3, 16, 2
RUNNING = 0.1  # a batch's weight in the running statistics
STEPS = 5


def _data(full_resolution, dtype):
    """Occupancy, mostly empty, so that max pooling meets ties, and arbitrary heat maps."""
    rng = np.random.default_rng(0)
    side = SIZE if full_resolution else SIZE // 2
    x = rng.random((BATCH, SIZE, SIZE, SIZE, 1)) < 0.05
    return x.astype(dtype), rng.standard_normal((BATCH, side, side, side, JOINTS), np.float32)


def _before_norm(path):
    """Biases that a batch normalization cancels: their gradient is zero except for rounding."""
    return path[-1].key == "bias" and path[-2].key in ("conv", "up1", "up2", "up3")


def _worst(ours, theirs):
    """Largest relative difference and its leaf.

    Relative to the leaf's largest entry, or to 1e-3 of the largest of all.
    """
    ours, theirs = (
        dict(jax.tree_util.tree_leaves_with_path(jax.device_get(tree))) for tree in (ours, theirs)
    )
    assert ours.keys() == theirs.keys()
    floor = 1e-3 * max(np.abs(leaf).max() for leaf in theirs.values())
    share = {
        p: np.abs(ours[p] - theirs[p]).max() / max(np.abs(theirs[p]).max(), floor)
        for p in ours
        if not _before_norm(p)
    }
    path = max(share, key=share.get)
    return share[path], jax.tree_util.keystr(path)


def _unbiased(old, new, samples):
    """Our running variances, with PyTorch's factor n / (n - 1) for the batch's part."""

    def correct(path, old, new):
        if path[-1].key != "var":
            return new
        n = samples[tuple(p.key for p in path[:-1])]
        return (new - (1 - RUNNING) * old) * (n / (n - 1)) + (1 - RUNNING) * old

    return jax.tree_util.tree_map_with_path(correct, old, jax.device_get(new))


def _samples_by_norm(reference, x):
    """How many voxels each batch normalization averages over."""
    found, hooks = {}, []
    for name, module in reference.named_modules():
        if isinstance(module, torch.nn.BatchNorm3d):

            def note(module, args, name=name):
                found[tuple(name.split("."))] = args[0].numel() // args[0].shape[1]

            hooks.append(module.register_forward_pre_hook(note))
    reference(x)
    for hook in hooks:
        hook.remove()
    return found


# In float64 the two differ only by its rounding; heat maps are float32 there as well, but equal.
@pytest.mark.parametrize("full_resolution, dtype", [(True, jnp.float32), (False, jnp.float64)])
def test_forward_gradients_statistics_and_steps_of_rmsprop(full_resolution, dtype):
    exact = dtype == jnp.float64
    with jax.enable_x64(exact):
        reference = randomize(Reference(JOINTS, WIDTHS, full_resolution), seed=1).to(
            torch.float64 if exact else torch.float32
        )
        model = V2V(JOINTS, WIDTHS, full_resolution=full_resolution, dtype=dtype)
        params, batch_stats = (
            to_flax(reference.state_dict())[name] for name in ("params", "batch_stats")
        )
        x, target = _data(full_resolution, dtype)
        x_torch, target_torch = channels_first(x), channels_first(target)

        reference.eval()
        theirs = channels_last(reference(x_torch))
        ours = jax.jit(model.apply)({"params": params, "batch_stats": batch_stats}, x)
        assert ours.dtype == jnp.float32 and theirs.std() > 0.1
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-6 * np.abs(theirs).max())
        samples = _samples_by_norm(reference, x_torch)

        optimizer = make_optimizer(common().optimizer, STEPS)
        rmsprop = torch.optim.RMSprop(reference.parameters(), lr=2.5e-4)

        @jax.jit
        def update(params, batch_stats, state, x, target):
            def loss_of(params):
                variables = {"params": params, "batch_stats": batch_stats}
                outputs, updated = model.apply(variables, x, train=True, mutable=["batch_stats"])
                loss = losses.masked_mean(
                    losses.squared_error(outputs, target), jnp.ones(BATCH, bool)
                )
                return loss, (outputs, updated["batch_stats"])

            (loss, (outputs, new_stats)), gradient = jax.value_and_grad(loss_of, has_aux=True)(
                params
            )
            updates, state = optimizer.update(gradient, state, params)
            return optax.apply_updates(params, updates), new_stats, state, (loss, outputs, gradient)

        start = params
        params, batch_stats = jax.tree.map(jnp.asarray, (params, batch_stats))
        state = optimizer.init(params)
        reference.train()
        # In float32, rounding eventually flips a ReLU or a maximum of equal values, and the runs
        # diverge.
        for step in range(STEPS if exact else 2):
            old_stats = jax.device_get(batch_stats)
            params, batch_stats, state, (loss, outputs, gradient) = update(
                params, batch_stats, state, x, target
            )
            rmsprop.zero_grad()
            outputs_torch = reference(x_torch)
            loss_torch = torch.nn.functional.mse_loss(outputs_torch, target_torch)
            loss_torch.backward()
            rmsprop.step()
            np.testing.assert_allclose(
                loss, loss_torch.item(), rtol=2e-6 if exact or step == 0 else 2e-5
            )
            if step == 0:
                theirs = channels_last(outputs_torch)
                np.testing.assert_allclose(
                    outputs, theirs, rtol=0, atol=5e-6 * np.abs(theirs).max()
                )
                expected = to_flax({name: p.grad for name, p in reference.named_parameters()})[
                    "params"
                ]
                worst, where = _worst(gradient, expected)
                assert worst < (1e-11 if exact else 5e-5), where
                expected = to_flax(reference.state_dict())["batch_stats"]
                worst, where = _worst(_unbiased(old_stats, batch_stats, samples), expected)
                assert worst < (1e-11 if exact else 5e-6), where
                assert _worst(batch_stats, expected)[0] > 1e-3  # the factor n / (n - 1) matters

        params, expected = jax.device_get(params), to_flax(reference.state_dict())["params"]
        assert (
            np.abs(params["stem"]["conv"]["kernel"] - start["stem"]["conv"]["kernel"]).max() > 4e-3
        )
        error = jax.tree_util.tree_leaves_with_path(
            jax.tree.map(lambda a, b: np.abs(a - b).ravel(), params, expected)
        )
        # RMSprop takes full steps, 2.5e-3 at first, along any gradient, even rounding errors. In
        # float32, biases before a normalization therefore drift, without effect on outputs in
        # training. In float64 these gradients are below its epsilon, so everything is compared.
        error = np.concatenate([e for path, e in error if exact or not _before_norm(path)])
        assert np.quantile(error, 0.99) < (1e-11 if exact else 1e-4) and error.max() < (
            1e-8 if exact else 2e-3
        )


def test_full_width_forward():
    """The network of the paper at its own size."""
    reference = randomize(Reference(14), seed=2).eval()
    x = (np.random.default_rng(0).random((1, 88, 88, 88, 1)) < 0.01).astype(np.float32)
    with torch.no_grad():
        theirs = channels_last(reference(channels_first(x)))
    ours = jax.jit(V2V(14).apply)(to_flax(reference.state_dict()), x)
    assert ours.shape == (1, 44, 44, 44, 14) and theirs.std() > 0.1
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.parametrize("full_resolution", [False, True])
def test_trees_have_the_shapes_of_the_reference(full_resolution):
    """All weights are converted, at full width, and none is left over on either side."""
    model = V2V(21, full_resolution=full_resolution)
    ours = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 88, 88, 88, 1)))
    theirs = to_flax(Reference(21, full_resolution=full_resolution).state_dict())
    assert jax.tree.map(lambda a: a.shape, dict(ours)) == jax.tree.map(lambda a: a.shape, theirs)
