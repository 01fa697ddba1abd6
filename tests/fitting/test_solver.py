"""Minimizing from several starts: Adam and L-BFGS on functions whose least value is known."""

import jax.numpy as jnp
import numpy as np
import pytest

from handjax.fitting.solver import METHODS, minimizer


def bowl(params, middle):
    return ((params["x"] - middle) ** 2).sum() + 3.0


STARTS = {"x": jnp.asarray([[4.0, -3.0], [0.5, 0.5], [1.0, 2.0]])}
MIDDLE = jnp.asarray([1.0, 2.0])


@pytest.mark.parametrize("method", METHODS)
def test_every_start_goes_to_the_least_value(method):
    run = minimizer(bowl, method=method, rate=0.3, chunk=20)
    found = list(run(STARTS, 185, MIDDLE))
    assert [f.step for f in found] == [*range(0, 181, 20), 185]
    np.testing.assert_array_equal(found[0].params["x"], STARTS["x"])
    np.testing.assert_allclose(found[0].values, [37.0, 5.5, 3.0], rtol=1e-6)
    for before, after in zip(found, found[1:], strict=False):
        assert (after.values <= before.values).all()
    np.testing.assert_allclose(found[-1].params["x"], np.broadcast_to(MIDDLE, (3, 2)), atol=0.1)
    # What is given is the value of what is given.
    np.testing.assert_allclose(
        [bowl({"x": x}, MIDDLE) for x in found[-1].params["x"]], found[-1].values, rtol=1e-6
    )


def test_no_steps_are_the_starts_and_few_steps_are_counted():
    run = minimizer(bowl, chunk=20)
    assert [f.step for f in run(STARTS, 0, MIDDLE)] == [0]
    assert [f.step for f in run(STARTS, 7, MIDDLE)] == [0, 7]
    assert [f.step for f in run(STARTS, 40, MIDDLE)] == [0, 20, 40]


def test_a_step_over_the_edge_is_not_the_best():
    # To the left of 0 the root is not a number; the way down leads there.
    run = minimizer(lambda x: jnp.sqrt(x), rate=0.4, chunk=5)
    *_, last = run(jnp.asarray([1.0, 0.3]), 5)
    assert np.isfinite(last.values).all()
    assert (last.values < np.sqrt([1.0, 0.301])).all()
    assert (np.asarray(last.params) >= 0).all()


def test_adams_steps_are_optax_adams():
    import optax

    run = minimizer(bowl, rate=0.1, chunk=1)
    params, adam = STARTS["x"][0], optax.scale_by_adam()
    state = adam.init(params)
    for i, found in enumerate(run(STARTS, 4, MIDDLE)):
        np.testing.assert_allclose(found.params["x"][0], params, rtol=1e-6)
        updates, state = adam.update(2 * (params - MIDDLE), state)
        params = params - 0.1 * (0.55 + 0.45 * np.cos(np.pi * i / 4)) * updates


def test_an_unknown_method():
    with pytest.raises(ValueError, match="method 'newton' is unknown: use adam or lbfgs"):
        minimizer(bowl, method="newton")
