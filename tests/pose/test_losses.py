import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.pose import losses


@pytest.mark.parametrize(
    "loss, expected", [(losses.squared_error, [1, 0, 9]), (losses.absolute_error, [1, 0, 3])]
)
def test_elementwise_values_without_broadcasting(loss, expected):
    np.testing.assert_allclose(
        loss(jnp.asarray([1.0, 2.0, -1.0]), jnp.asarray([2.0, 2.0, 2.0])), expected
    )
    for shape in ((1,), (2, 3), ()):
        with pytest.raises((ValueError, TypeError)):
            loss(jnp.zeros(3), jnp.zeros(shape))


def test_the_shapes_are_in_the_message():
    with pytest.raises(ValueError, match=r"prediction \(3,\) and target \(1, 3\) differ in shape"):
        losses._same_shape(jnp.zeros(3), jnp.zeros((1, 3)))


def test_masked_mean_is_over_elements_of_masked_samples():
    values = jnp.asarray(np.random.default_rng(0).standard_normal((4, 2, 3)), jnp.float32)
    mask = jnp.asarray([True, False, True, True])
    np.testing.assert_allclose(
        losses.masked_mean(values, mask), np.mean(np.asarray(values)[np.asarray(mask)]), rtol=1e-5
    )
    np.testing.assert_allclose(
        losses.masked_mean(values, jnp.ones(4, bool)), np.mean(values), rtol=1e-5
    )
    np.testing.assert_allclose(
        losses.masked_mean(values[:, 0, 0], mask),
        np.mean(np.asarray(values)[np.asarray(mask), 0, 0]),
        rtol=1e-5,
    )
    assert losses.masked_mean(values, jnp.zeros(4, bool)) == 0


def test_content_of_padding_does_not_matter():
    mask = jnp.asarray([True, False])
    for value in (1e30, np.inf, np.nan):
        values = jnp.asarray([[1.0, 3.0], [value, value]])
        mean, gradient = jax.value_and_grad(losses.masked_mean)(values, mask)
        assert mean == 2
        np.testing.assert_array_equal(gradient, [[0.5, 0.5], [0, 0]])


def _random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_smooth_l1_is_quadratic_near_zero_then_linear():
    distance = jnp.asarray([0.0, 0.5, -1.0, 3.0])
    np.testing.assert_allclose(losses.smooth_l1(distance, jnp.zeros(4)), [0, 0.125, 0.5, 2.5])
    gradient = jax.grad(lambda d: losses.smooth_l1(d, jnp.zeros(4)).sum())(distance)
    np.testing.assert_allclose(gradient, [0, 0.5, -1, 1])


def test_masked_total_sums_elements_and_averages_samples():
    values, mask = _random(3, 2, 4), jnp.asarray([True, False, True])
    values[1] = np.nan
    np.testing.assert_allclose(
        losses.masked_total(jnp.asarray(values), mask), values[[0, 2]].sum() / 2, rtol=1e-5
    )
    assert losses.masked_total(jnp.asarray(values), jnp.zeros(3, bool)) == 0


def test_visible_mean():
    values, mask = (
        jnp.asarray([[1.0, 2.0], [4.0, 8.0], [np.nan, 7.0]]),
        jnp.asarray([True, True, False]),
    )
    assert losses.visible_mean(values, mask, None) == 15 / 4
    visible = jnp.asarray([[True, False], [False, True], [True, True]])
    mean, gradient = jax.value_and_grad(losses.visible_mean)(values, mask, visible)
    np.testing.assert_allclose(mean, (1 + 8) / 2.0001, rtol=1e-6)
    np.testing.assert_allclose(gradient, np.array([[1, 0], [0, 1], [0, 0]]) / 2.0001, rtol=1e-6)
    assert losses.visible_mean(values, mask, jnp.zeros_like(visible)) == 0


def test_stage_totals_are_the_originals_weighted_means():
    """46² cells, 14 joints and background; the original multiplies the mean by 46 · 46 · 15."""
    maps, target, mask = (
        _random(3, 2, 46, 46, 15),
        _random(3, 46, 46, 15, seed=1),
        np.array([True, True, False]),
    )
    maps[2] = np.inf
    totals = losses.stage_totals(jnp.asarray(maps), jnp.asarray(target), jnp.asarray(mask))
    expected = [np.mean((maps[:2, s] - target[:2]) ** 2) * 46 * 46 * 15 for s in range(2)]
    np.testing.assert_allclose(totals, expected, rtol=1e-5)

    weight = np.zeros((3, 15), np.float32)
    weight[0, 4] = 2.0
    totals = losses.stage_totals(
        jnp.asarray(maps), jnp.asarray(target), jnp.asarray(mask), jnp.asarray(weight)
    )
    np.testing.assert_allclose(
        totals[1], ((maps[0, 1, ..., 4] - target[0, ..., 4]) ** 2).sum(), rtol=1e-5
    )


def test_map_rms_has_no_infinite_gradient_at_zero():
    maps, target = _random(2, 5, 5, 3), _random(2, 5, 5, 3, seed=1)
    rms = losses.map_rms(jnp.asarray(maps), jnp.asarray(target))
    np.testing.assert_allclose(rms, np.sqrt(((maps - target) ** 2).mean((1, 2))), rtol=1e-5)
    gradient = jax.grad(lambda m: losses.map_rms(m, jnp.asarray(target)).sum())(jnp.asarray(target))
    np.testing.assert_array_equal(gradient, 0)


def test_jensen_shannon_ranges_from_zero_to_log_2():
    p = np.zeros((1, 4, 4, 2), np.float32)
    p[0, 1, 2] = 1
    q = np.roll(p, 1, axis=1)
    divergence, gradient = jax.value_and_grad(lambda p, q: losses.jensen_shannon(p, q).sum())(
        jnp.asarray(p), jnp.asarray(q)
    )
    np.testing.assert_allclose(divergence, 2 * np.log(2), rtol=1e-6)
    assert np.isfinite(gradient).all()
    np.testing.assert_allclose(losses.jensen_shannon(jnp.asarray(p), jnp.asarray(p)), 0, atol=1e-7)
    half = 0.5 * p + 0.5 * q
    expected = 0.5 * np.log(1 / 0.75) + 0.5 * (0.5 * np.log(0.5 / 0.75) + 0.5 * np.log(0.5 / 0.25))
    np.testing.assert_allclose(
        losses.jensen_shannon(jnp.asarray(p), jnp.asarray(half)), [[expected] * 2], rtol=1e-5
    )
