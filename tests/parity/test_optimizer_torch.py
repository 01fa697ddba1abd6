"""Our optimizers take the steps of torch.optim with the same hyperparameters."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs.common import common
from handjax.engine.optimizer import make_optimizer

pytestmark = pytest.mark.slow

torch = pytest.importorskip("torch")

TOLERANCE = 1e-9
TORCH = {
    "rmsprop": torch.optim.RMSprop,
    "adam": torch.optim.Adam,
    "sgd": lambda parameters, **rest: torch.optim.SGD(parameters, momentum=0.9, **rest),
}


@pytest.fixture(autouse=True)
def float64():
    """In float32, Adam's 1 - 0.999^t is off by 6e-5, differently in each library."""
    with jax.enable_x64(True):
        yield


def _problem():
    """A quadratic with curvatures over four decades; one gradient is exactly zero at the start."""
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


def _theirs(make, curvature, start, steps, clip_norm=0.0, scheduler=None):
    params = torch.tensor(start, requires_grad=True)
    optimizer = make([params])
    schedule = scheduler and scheduler(optimizer)
    path = []
    for _ in range(steps):
        optimizer.zero_grad()
        (0.5 * (torch.tensor(curvature) * params**2).sum()).backward()
        if clip_norm:
            torch.nn.utils.clip_grad_norm_([params], clip_norm)
        optimizer.step()
        if schedule:
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
    theirs = _theirs(
        lambda p: TORCH[name](p, lr=config.lr, weight_decay=weight_decay), curvature, start, 5
    )
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
    theirs = _theirs(
        lambda p: TORCH["sgd"](p, lr=0.05, weight_decay=0.5), curvature, start, 5, clip_norm=0.3
    )
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)  # torch adds 1e-6 to the norm


@pytest.mark.parametrize(
    "schedule, numbers",
    [
        ("multistep", dict(boundaries=(2, 5), factor=0.1)),
        ("step", dict(step_size=3, factor=0.333)),
        ("exp", dict(factor=0.8)),
        ("poly", dict(power=2.0)),
    ],
)
def test_schedules_that_torch_has(schedule, numbers):
    """Eight steps with momentum; a changed rate does not change what has accumulated."""
    schedulers = torch.optim.lr_scheduler
    theirs_by_name = {
        "multistep": lambda o: schedulers.MultiStepLR(o, [2, 5], 0.1),
        "step": lambda o: schedulers.StepLR(o, 3, 0.333),
        "exp": lambda o: schedulers.ExponentialLR(o, 0.8),
        "poly": lambda o: schedulers.PolynomialLR(o, 8, 2.0),
    }
    config = common().optimizer
    config.update(name="sgd", lr=0.05, schedule=schedule, **numbers)
    curvature, start = _problem()
    ours = _ours(config, curvature, start, 8)
    theirs = _theirs(
        lambda p: TORCH["sgd"](p, lr=0.05), curvature, start, 8, scheduler=theirs_by_name[schedule]
    )
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", sorted(TORCH))
def test_multipliers_are_torchs_parameter_groups(name):
    """Learning rates of CPM's groups, with weight decay, which they do not affect."""
    config = common().optimizer
    config.update(name=name, lr=0.01, weight_decay=0.05, schedule="step", step_size=2, factor=0.333)
    config.multipliers = (("first/kernel", 1.0), ("first/.*", 2.0), (".*kernel", 4.0), (".*", 8.0))
    groups = {"first": {"kernel": 1, "bias": 2}, "later": {"kernel": 4, "bias": 8}}
    curvature, start = _problem()

    params = jax.tree.map(lambda _: jnp.asarray(start), groups)
    optimizer = make_optimizer(config, 5)
    state = optimizer.init(params)
    for _ in range(5):
        updates, state = optimizer.update(
            jax.tree.map(lambda p: curvature * p, params), state, params
        )
        params = optax.apply_updates(params, updates)

    tensors = jax.tree.map(lambda _: torch.tensor(start, requires_grad=True), groups)
    lists = jax.tree.map(lambda factor, p: {"params": [p], "lr": 0.01 * factor}, groups, tensors)
    theirs = TORCH[name](
        [group for part in lists.values() for group in part.values()], lr=0.01, weight_decay=0.05
    )
    schedule = torch.optim.lr_scheduler.StepLR(theirs, 2, 0.333)
    for _ in range(5):
        for tensor in jax.tree.leaves(tensors):
            tensor.grad = torch.tensor(curvature) * tensor.detach()
        theirs.step()
        schedule.step()
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b.detach(), rtol=0, atol=TOLERANCE),
        params,
        tensors,
    )
    assert np.abs(params["first"]["kernel"] - params["later"]["bias"]).max() > 1e-3


def test_momentum_can_be_another():
    config = common().optimizer
    config.update(name="sgd", lr=0.05, momentum=0.5)
    curvature, start = _problem()
    theirs = _theirs(lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.5), curvature, start, 5)
    np.testing.assert_allclose(_ours(config, curvature, start, 5), theirs, rtol=0, atol=TOLERANCE)
