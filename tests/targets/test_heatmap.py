"""Heat maps of any dimension: the formula, and every way of decoding them."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.targets import heatmap

# Compiled, as in use; running them operation by operation is slow.
gaussian_heatmaps = jax.jit(heatmap.gaussian_heatmaps, static_argnums=(1, 2, 3))
soft_argmax = jax.jit(heatmap.soft_argmax, static_argnums=(1, 2, 3))
peaks = jax.jit(heatmap.peaks, static_argnums=(1, 2, 3))


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("cell_center", [0.0, 0.5])
def test_gaussian_is_its_formula(n, cell_center):
    coords = np.random.default_rng(n).uniform(-1, 8, (2, 3, 4, n))
    heat = gaussian_heatmaps(jnp.asarray(coords, jnp.float32), 7, 1.7, cell_center)
    cells = np.stack(np.meshgrid(*[np.arange(7) + cell_center] * n, indexing="ij"), -1)
    squared = ((cells[..., None, :] - coords.reshape(2, 3, *(1,) * n, 4, n)) ** 2).sum(-1)
    assert heat.shape == (2, 3, *(7,) * n, 4)
    np.testing.assert_allclose(heat, np.exp(-squared / (2 * 1.7**2)), rtol=1e-5, atol=1e-7)


def test_the_peak_is_one_in_the_cell_of_the_joint():
    heat = gaussian_heatmaps(jnp.asarray([[2.5, 0.5]]), 4, 1.0, 0.5)
    assert heat[2, 0, 0] == heat.max() == 1
    np.testing.assert_allclose(heat[2, 1, 0], np.exp(-0.5), rtol=1e-6)


def _brute_centroid(heat, cell_center):
    """Loops over the cells around the highest one."""
    peak = np.unravel_index(heat.argmax(), heat.shape)
    total, moment = 0.0, np.zeros(heat.ndim)
    for offset in itertools.product((-1, 0, 1), repeat=heat.ndim):
        cell = np.add(peak, offset)
        if (
            all(0 <= i < size for i, size in zip(cell, heat.shape, strict=True))
            and heat[tuple(cell)] > 0
        ):
            total += heat[tuple(cell)]
            moment += heat[tuple(cell)] * cell
    return (moment / total if total > 0 else np.asarray(peak, float)) + cell_center


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 2, 3])
def test_centroid_is_the_loop_over_neighbours(n):
    """On noise, with peaks everywhere, even in corners, and negative heat around them; and on maps
    without heat."""
    heat = np.random.default_rng(n).standard_normal((40, *(4,) * n, 3)).astype(np.float32)
    heat[:5] -= 10  # nothing positive: the cell itself
    heat[5] = 0
    found = jax.jit(partial(heatmap.refined_argmax, n=n, cell_center=0.5))(jnp.asarray(heat))
    expected = [[_brute_centroid(heat[b, ..., j], 0.5) for j in range(3)] for b in range(40)]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    highest = jax.jit(partial(heatmap.argmax, n=n, cell_center=0.5))(jnp.asarray(heat))
    flat = np.moveaxis(heat, -1, 1).reshape(40, 3, -1).argmax(-1)
    np.testing.assert_array_equal(highest, np.stack(np.unravel_index(flat, (4,) * n), -1) + 0.5)
    np.testing.assert_array_equal(
        heatmap.confidence(jnp.asarray(heat), n), heat.reshape(40, -1, 3).max(1)
    )


@pytest.mark.parametrize("n", [1, 2, 3])
def test_soft_argmax_is_the_expectation(n):
    heat = np.random.default_rng(n).standard_normal((2, *(5,) * n, 3)).astype(np.float32)
    found = soft_argmax(jnp.asarray(heat), n, 0.5, 2.0)
    weight = np.exp(2.0 * heat.astype(np.float64)).reshape(2, -1, 3)
    weight /= weight.sum(1, keepdims=True)
    cells = np.stack(np.meshgrid(*[np.arange(5) + 0.5] * n, indexing="ij"), -1).reshape(-1, n)
    np.testing.assert_allclose(found, np.einsum("bcj,cn->bjn", weight, cells), atol=1e-5)
    # A cell that exceeds all others takes all the weight; equal cells average to the middle.
    sharp = jnp.zeros((*(5,) * n, 1)).at[(1,) * n].set(200.0)
    np.testing.assert_allclose(soft_argmax(sharp, n, 0.0), np.ones((1, n)), atol=1e-6)
    np.testing.assert_allclose(
        soft_argmax(jnp.zeros((*(5,) * n, 1)), n, 0.0), np.full((1, n), 2.0), atol=1e-5
    )


def test_soft_argmax_has_a_finite_gradient_at_large_heat():
    heat = jnp.zeros((4, 4, 1)).at[1, 2, 0].set(1e4)
    gradient = jax.jit(jax.grad(lambda h: soft_argmax(h, 2, 0.5).sum()))(heat)
    assert np.isfinite(gradient).all()
    gradient = np.asarray(
        jax.jit(jax.grad(lambda h: soft_argmax(h, 2, 0.5)[0, 0]))(jnp.zeros((4, 4, 1)))
    )
    assert (gradient[3] > 0).all() and (
        gradient[0] < 0
    ).all()  # more heat at the far end moves the mean there


def test_peaks_are_the_local_maxima_highest_first():
    """Three peaks of different heights in one map, one in a corner; a shoulder is not a peak."""
    joints = jnp.asarray([[5.3, 12.8, 3.0], [12.2, 4.4, 9.6], [0.5, 15.5, 15.5]])
    heights = jnp.asarray([0.7, 1.0, 0.5])
    heat = (gaussian_heatmaps(joints, 16, 1.2, 0.5) * heights[None, None, None]).max(
        -1, keepdims=True
    )
    found = peaks(heat, 3, 0.5, 3)
    assert found.shape == (3, 3)
    np.testing.assert_allclose(found[:2], joints[jnp.asarray([1, 0])], atol=0.5)
    corner = np.where(np.arange(16)[:, None, None] > 1, 0, heat[..., 0])
    np.testing.assert_allclose(found[2], _brute_centroid(corner, 0.5), atol=1e-5)
    both = peaks(jnp.stack([heat, heat[::-1]]), 3, 0.5, 3)
    np.testing.assert_allclose(both[0], found, atol=1e-5)
    np.testing.assert_allclose(
        both[1] * jnp.asarray([[-1.0, 1, 1]]) + jnp.asarray([[16.0, 0, 0]]), found, atol=1e-5
    )


def test_a_joint_between_cells_is_one_peak():
    """Two, four or eight equal neighbouring cells; and a constant map."""
    for joint in ([4.0, 4.5, 4.5], [4.0, 4.5, 4.0], [4.0, 4.0, 4.0]):
        joints = jnp.asarray([joint, [9.5, 9.5, 9.5]])
        heat = gaussian_heatmaps(joints, 12, 1.0, 0.5).max(-1, keepdims=True)
        assert (heat == heat[3:5, 3:5, 3:5].max()).sum() > 1
        found = peaks(heat, 3, 0.5, 2)
        np.testing.assert_allclose(found[found[:, 0].argsort()], joints, atol=0.5)
    found = peaks(jnp.ones((12, 12, 1)), 2, 0.5, 1)
    np.testing.assert_allclose(found, [[1, 1]], atol=1e-6)  # the corner and its three neighbours


def test_peaks_of_negative_maps_and_with_too_few_maxima():
    heat = jnp.full((5, 5, 1), -3.0).at[2, 3, 0].set(-1.0)
    found = peaks(heat, 2, 0.0, 2)
    np.testing.assert_array_equal(found[0], [2, 3])
    slope = jnp.arange(25.0).reshape(5, 5, 1)
    found = peaks(slope, 2, 0.0, 3)
    assert found.shape == (3, 2) and np.isfinite(found).all()
    np.testing.assert_allclose(found[0], _brute_centroid(np.asarray(slope[..., 0]), 0.0), atol=1e-5)
    assert (found[1:] < 2).all()  # the first cells
