from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.pose.augment import random_affine

PAPER = dict(scale=(0.8, 1.2), rotation_deg=40.0, shift=4.0, probability=1.0, isotropic=True)
HPOES = dict(scale=(0.8, 1.2), rotation_deg=40.0, shift=8.0, probability=0.5, isotropic=False)
N = 4000


def draw(preset, seed=0):
    """[n, 3] factors, [n] degrees and [n, 3] shifts for many keys, and the matrices."""
    keys = jax.random.split(jax.random.key(seed), N)
    matrix, shift = (
        np.asarray(a, np.float64) for a in jax.jit(jax.vmap(partial(random_affine, **preset)))(keys)
    )
    factors = np.linalg.norm(matrix, axis=1)  # of the columns: scaling comes before rotation
    return factors, np.rad2deg(np.arctan2(matrix[:, 1, 0], matrix[:, 0, 0])), shift, matrix


@pytest.mark.parametrize("preset", [PAPER, HPOES], ids=["paper", "hpoes"])
def test_it_scales_then_rotates_in_the_image_plane(preset):
    factors, degrees, _, matrix = draw(preset)
    cos, sin, zero, one = (
        np.cos(np.deg2rad(degrees)),
        np.sin(np.deg2rad(degrees)),
        np.zeros(N),
        np.ones(N),
    )
    turn = np.array([[cos, -sin, zero], [sin, cos, zero], [zero, zero, one]]).transpose(2, 0, 1)
    np.testing.assert_allclose(matrix, turn * factors[:, None], atol=1e-5)
    # Points are scaled along the axes first, then rotated.
    point = np.array([1.0, 2.0, 3.0])
    np.testing.assert_allclose(
        matrix @ point, np.einsum("nij,nj->ni", turn, factors * point), atol=1e-5
    )


def uniform(values, low, high):
    """Check range, extremes and moments of a uniform distribution, to four standard errors."""
    width, n = high - low, values.size
    assert (
        low - 1e-4 <= values.min() < low + 0.01 * width
        and high - 0.01 * width < values.max() <= high + 1e-4
    )
    assert abs(values.mean() - (low + high) / 2) < 4 * width / np.sqrt(12 * n)
    assert abs(values.std() - width / np.sqrt(12)) < 0.03 * width


def test_the_papers_preset():
    factors, degrees, shift, _ = draw(PAPER)
    np.testing.assert_allclose(factors, np.broadcast_to(factors[:, :1], factors.shape), rtol=1e-5)
    uniform(factors[:, 0], 0.8, 1.2)
    uniform(degrees, -40, 40)
    for axis in range(3):
        uniform(shift[:, axis], -4, 4)
    drawn = np.column_stack([factors[:, 0], degrees, shift])
    assert np.abs(np.corrcoef(drawn.T) - np.eye(5)).max() < 4.5 / np.sqrt(N)


def test_the_hpoes_preset():
    factors, degrees, shift, _ = draw(HPOES)
    happened = np.column_stack(
        [(np.abs(factors - 1) > 1e-6).all(1), degrees != 0, (shift != 0).all(1)]
    )
    # One coin per transform, not per axis.
    np.testing.assert_array_equal(happened[:, 0], (np.abs(factors - 1) > 1e-6).any(1))
    np.testing.assert_array_equal(happened[:, 2], (shift != 0).any(1))
    combinations = np.bincount(happened @ [1, 2, 4], minlength=8) / N
    np.testing.assert_allclose(combinations, 1 / 8, atol=4 * np.sqrt(7 / 64 / N))
    for axis in range(3):
        uniform(factors[happened[:, 0], axis], 0.8, 1.2)
        uniform(shift[happened[:, 2], axis], -8, 8)
    uniform(degrees[happened[:, 1]], -40, 40)
    apart = np.corrcoef(factors[happened[:, 0]].T) - np.eye(3)
    assert np.abs(apart).max() < 4.5 / np.sqrt(N / 2)


def test_probability_zero_changes_nothing():
    _, _, shift, matrix = draw({**HPOES, "probability": 0.0})
    np.testing.assert_array_equal(matrix, np.broadcast_to(np.eye(3), matrix.shape))
    np.testing.assert_array_equal(shift, 0)


@pytest.mark.slow
def test_a_key_determines_the_transform():
    keys = jax.random.split(jax.random.key(3), 5)
    many = jax.vmap(partial(random_affine, **PAPER))(keys)
    for i, key in enumerate(keys):
        for a, b in zip(random_affine(key, **PAPER), many, strict=True):
            np.testing.assert_allclose(a, b[i], atol=1e-6)
    assert len(np.unique(many[1][:, 0])) == 5
    matrix, shift = random_affine(jax.random.key(3), **PAPER)
    assert matrix.dtype == shift.dtype == jnp.float32


def test_tilts_leave_the_plane_and_the_rest_as_it_was():
    plain, tilted = draw(PAPER), draw({**PAPER, "tilt_deg": 15.0})
    np.testing.assert_array_equal(plain[2], tilted[2])  # the shifts
    np.testing.assert_allclose(plain[0], tilted[0], atol=1e-5)  # the factors
    turns = np.einsum("nij,nkj->nik", tilted[3] / tilted[0][:, None], plain[3] / plain[0][:, None])
    np.testing.assert_allclose(turns @ turns.mT, np.tile(np.eye(3), (N, 1, 1)), atol=1e-5)
    about_x = np.rad2deg(np.arctan2(-turns[:, 1, 2], turns[:, 2, 2]))
    about_y = np.rad2deg(np.arcsin(turns[:, 0, 2]))
    uniform(about_x, -15, 15)
    uniform(about_y, -15, 15)
