"""Batched minimization by Adam and L-BFGS of functions with known minima."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.fitting.solver import METHODS, minimizer


def bowl(params, middle):
    return ((params["x"] - middle) ** 2).sum() + 3.0


STARTS = {"x": jnp.asarray([[4.0, -3.0], [0.5, 0.5], [1.0, 2.0]])}
MIDDLE = jnp.asarray([1.0, 2.0])


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_start_reaches_the_minimum(method):
    run = minimizer(bowl, method=method, rate=0.3, chunk=20)
    found = list(run(STARTS, 185, MIDDLE))
    assert [f.step for f in found] == [*range(0, 181, 20), 185]
    np.testing.assert_array_equal(found[0].params["x"], STARTS["x"])
    np.testing.assert_allclose(found[0].values, [37.0, 5.5, 3.0], rtol=1e-6)
    for before, after in zip(found, found[1:], strict=False):
        assert (after.values <= before.values).all()
    np.testing.assert_allclose(found[-1].params["x"], np.broadcast_to(MIDDLE, (3, 2)), atol=0.1)
    # The values are those of the params.
    np.testing.assert_allclose(
        [bowl({"x": x}, MIDDLE) for x in found[-1].params["x"]], found[-1].values, rtol=1e-6
    )


def test_number_of_steps():
    run = minimizer(bowl, chunk=20)
    assert [f.step for f in run(STARTS, 0, MIDDLE)] == [0]
    assert [f.step for f in run(STARTS, 7, MIDDLE)] == [0, 7]
    assert [f.step for f in run(STARTS, 40, MIDDLE)] == [0, 20, 40]


def test_values_that_are_not_finite_are_never_best():
    # Left of 0 the root is not a number, and the descent leads there.
    run = minimizer(lambda x: jnp.sqrt(x), rate=0.4, chunk=5)
    *_, last = run(jnp.asarray([1.0, 0.3]), 5)
    assert np.isfinite(last.values).all()
    assert (last.values < np.sqrt([1.0, 0.301])).all()
    assert (np.asarray(last.params) >= 0).all()


def test_adam_steps_are_those_of_optax():
    import optax

    run = minimizer(bowl, rate=0.1, chunk=1)
    params, adam = STARTS["x"][0], optax.scale_by_adam()
    state = adam.init(params)
    for i, found in enumerate(run(STARTS, 4, MIDDLE)):
        np.testing.assert_allclose(found.params["x"][0], params, rtol=1e-6)
        with jax.numpy_dtype_promotion("standard"):  # optax multiplies integers by floats
            updates, state = adam.update(2 * (params - MIDDLE), state)
        params = params - 0.1 * (0.55 + 0.45 * np.cos(np.pi * i / 4)) * updates


def test_unknown_method_is_an_error():
    with pytest.raises(ValueError, match="method 'newton' is unknown: use adam or lbfgs"):
        minimizer(bowl, method="newton")
