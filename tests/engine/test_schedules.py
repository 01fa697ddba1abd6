import math

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from handjax.engine.schedules import SCHEDULES, make_schedule

LR, STEPS = 0.1, 40
NUMBERS = dict(
    warmup=10,
    factor=0.5,
    step_size=6,
    power=1.5,
    boundaries=(5, 8, 20),
    rates=(0.3, 0.2, 0.05, 0.01),
)


def options(schedule, **changed):
    return ConfigDict({"schedule": schedule, "lr": LR, **NUMBERS, **changed})


def rates(schedule, steps=STEPS, **changed):
    return np.asarray(
        jax.jit(jax.vmap(make_schedule(options(schedule, **changed), steps)))(np.arange(steps + 1))
    )


def _reached(i):
    return sum(i >= boundary for boundary in NUMBERS["boundaries"])


def _multistep_poly(i):
    """Step by step through the boundaries, as in the original."""
    rate, start, end = LR, 0, STEPS
    for boundary in NUMBERS["boundaries"]:
        if i < boundary:
            end = boundary
            break
        rate, start = rate * 0.5, boundary
    return max(rate * 0.5, rate * (1 - (i - start) / (end - start)) ** 1.5)


FORMULAS = {
    "constant": lambda i: LR,
    "fixed": lambda i: LR,
    "step": lambda i: LR * 0.5 ** (i // 6),
    "exp": lambda i: LR * 0.5**i,
    "inv": lambda i: LR * (1 + 0.5 * i) ** -1.5,
    "multistep": lambda i: LR * 0.5 ** _reached(i),
    "poly": lambda i: LR * (1 - i / STEPS) ** 1.5,
    "sigmoid": lambda i: LR / (1 + math.exp(-0.5 * (i - 6))),
    "multistep-poly": _multistep_poly,
    "piecewise": lambda i: NUMBERS["rates"][_reached(i)],
}


@pytest.mark.parametrize("name", sorted(SCHEDULES.keys() - {"cosine"}))
def test_rates_follow_their_formulas(name):
    np.testing.assert_allclose(
        rates(name), [FORMULAS[name](i) for i in range(STEPS + 1)], rtol=2e-6, atol=1e-12
    )


def test_rates_of_posenet2d():
    """A rate applies from the step of its boundary on."""
    schedule = make_schedule(
        options("multistep", lr=1e-4, boundaries=(10_000, 20_000), factor=0.1), 30_000
    )
    steps = (0, 9_999, 10_000, 19_999, 20_000, 29_999)
    np.testing.assert_allclose(
        [schedule(s) for s in steps], [1e-4, 1e-4, 1e-5, 1e-5, 1e-6, 1e-6], rtol=1e-6
    )


def test_cosine_rises_then_falls_to_zero():
    values = rates("cosine", 110)
    np.testing.assert_allclose(values[[0, 5, 10, 60, 110]], [0, 0.05, 0.1, 0.05, 0], atol=1e-7)
    assert (np.diff(values[10:]) < 0).all()


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_cosine_of_a_run_shorter_than_its_warmup(steps):
    values = rates("cosine", steps)
    assert np.isfinite(values).all() and (values >= 0).all() and (values <= LR + 1e-7).all()
    assert steps == 1 or values[steps - 1] > 0


@pytest.mark.parametrize("name", ["poly", "multistep-poly"])
def test_rates_stay_constant_after_the_last_step(name):
    schedule = make_schedule(options(name), STEPS)
    assert float(schedule(STEPS)) == float(schedule(STEPS + 9)) and np.isfinite(schedule(STEPS + 9))


def test_invalid_numbers_are_named():
    missing = ConfigDict(dict(schedule="inv", lr=LR, factor=0.5))
    for config, complaint in (
        (
            options("linear"),
            "schedule 'linear' is unknown: use one of constant, fixed, cosine, step, exp, inv",
        ),
        (missing, "schedule=inv needs config.optimizer.power"),
        (options("step", step_size=0), "step_size=0: expected steps, more than 0"),
        (
            options("multistep", boundaries=(8, 5)),
            r"boundaries=\(8, 5\): expected steps in ascending order",
        ),
        (
            options("piecewise", rates=(0.1,)),
            r"rates=\(0.1,\): expected one more than the boundaries \(5, 8, 20\)",
        ),
    ):
        with pytest.raises(ValueError, match=complaint):
            make_schedule(config, STEPS)
