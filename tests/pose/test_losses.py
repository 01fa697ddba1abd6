import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.pose import losses


@pytest.mark.parametrize("loss, expected", [(losses.squared_error, [1, 0, 9]), (losses.absolute_error, [1, 0, 3])])
def test_elementwise_values_without_broadcasting(loss, expected):
    np.testing.assert_allclose(loss(jnp.asarray([1.0, 2.0, -1.0]), jnp.asarray([2.0, 2.0, 2.0])), expected)
    for shape in ((1,), (2, 3), ()):
        with pytest.raises((ValueError, TypeError)):
            loss(jnp.zeros(3), jnp.zeros(shape))


def test_the_shapes_are_in_the_message():
    with pytest.raises(ValueError, match=r"prediction \(3,\) and target \(1, 3\) differ in shape"):
        losses._same_shape(jnp.zeros(3), jnp.zeros((1, 3)))


def test_masked_mean_counts_every_element_of_the_samples_that_count():
    values = jnp.asarray(np.random.default_rng(0).standard_normal((4, 2, 3)), jnp.float32)
    mask = jnp.asarray([True, False, True, True])
    np.testing.assert_allclose(losses.masked_mean(values, mask), np.mean(np.asarray(values)[np.asarray(mask)]), rtol=1e-5)
    np.testing.assert_allclose(losses.masked_mean(values, jnp.ones(4, bool)), np.mean(values), rtol=1e-5)
    np.testing.assert_allclose(
        losses.masked_mean(values[:, 0, 0], mask), np.mean(np.asarray(values)[np.asarray(mask), 0, 0]), rtol=1e-5
    )
    assert losses.masked_mean(values, jnp.zeros(4, bool)) == 0


def test_padding_weighs_nothing_whatever_is_in_it():
    mask = jnp.asarray([True, False])
    for value in (1e30, np.inf, np.nan):
        values = jnp.asarray([[1.0, 3.0], [value, value]])
        mean, gradient = jax.value_and_grad(losses.masked_mean)(values, mask)
        assert mean == 2
        np.testing.assert_array_equal(gradient, [[0.5, 0.5], [0, 0]])
