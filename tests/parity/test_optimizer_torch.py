"""Our optimizers take torch.optim's steps with torch.optim's numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs.common import common
from handjax.engine.optimizer import make_optimizer

torch = pytest.importorskip("torch")

TOLERANCE = 1e-9
TORCH = {
    "rmsprop": torch.optim.RMSprop,
    "adam": torch.optim.Adam,
    "sgd": lambda parameters, **rest: torch.optim.SGD(parameters, momentum=0.9, **rest),
}


@pytest.fixture(autouse=True)
def float64():
    """In float32 Adam's 1 - 0.999^t alone is off by 6e-5, differently in each library; here it is the formula that counts."""
    with jax.enable_x64(True):
        yield


def _problem():
    """A quadratic whose curvatures reach over four decades, from a start where one gradient is exactly zero."""
    rng = np.random.default_rng(0)
    curvature = np.logspace(-3, 1, 12)
    start = rng.standard_normal(12)
    start[3] = 0
    return curvature, start


def _ours(config, curvature, start, steps):
    optimizer = make_optimizer(config, steps)
    params, path = jnp.asarray(start), []
    state = optimizer.init(params)
    for _ in range(steps):
        gradient = jax.grad(lambda p: 0.5 * jnp.sum(curvature * p**2))(params)
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        path.append(params)
    return np.stack(path)


def _theirs(make, curvature, start, steps, clip_norm=0.0, milestones=()):
    params = torch.tensor(start, requires_grad=True)
    optimizer = make([params])
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, list(milestones), gamma=0.1)
    path = []
    for _ in range(steps):
        optimizer.zero_grad()
        (0.5 * (torch.tensor(curvature) * params**2).sum()).backward()
        if clip_norm:
            torch.nn.utils.clip_grad_norm_([params], clip_norm)
        optimizer.step()
        schedule.step()
        path.append(params.detach().numpy().copy())
    return np.stack(path)


@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
@pytest.mark.parametrize("name", sorted(TORCH))
def test_five_steps(name, weight_decay):
    config = common().optimizer
    config.update(name=name, lr=2.5e-4 if name == "rmsprop" else 0.01, weight_decay=weight_decay)
    curvature, start = _problem()
    ours = _ours(config, curvature, start, 5)
    theirs = _theirs(lambda p: TORCH[name](p, lr=config.lr, weight_decay=weight_decay), curvature, start, 5)
    assert np.abs(theirs[-1] - start).max() > 1e-3
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE)
    if weight_decay:
        config.weight_decay = 0.0
        assert np.abs(_ours(config, curvature, start, 5) - theirs).max() > 1e-6


def test_clipping_comes_before_weight_decay():
    config = common().optimizer
    config.update(name="sgd", lr=0.05, weight_decay=0.5, clip_norm=0.3)
    curvature, start = _problem()
    ours = _ours(config, curvature, start, 5)
    theirs = _theirs(lambda p: TORCH["sgd"](p, lr=0.05, weight_decay=0.5), curvature, start, 5, clip_norm=0.3)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)  # torch adds 1e-6 to the norm


def test_step_schedule_is_multi_step_lr():
    config = common().optimizer
    config.update(name="sgd", lr=0.05, schedule="step", boundaries=(2, 5))
    curvature, start = _problem()
    ours = _ours(config, curvature, start, 8)
    theirs = _theirs(lambda p: TORCH["sgd"](p, lr=0.05), curvature, start, 8, milestones=(2, 5))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE)
