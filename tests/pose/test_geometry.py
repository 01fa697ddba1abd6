"""Rotations and rigid motions against scipy and NumPy, and gradients where roots are singular."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.transform import Rotation

from handjax.pose import geometry as g

few = settings(max_examples=20, deadline=None)
BATCHES = st.sampled_from([(), (2,), (2, 3)])


def floats(low, high):
    return st.floats(low, high, allow_subnormal=False)


@pytest.mark.parametrize("axis", "xyz")
@few
@given(data=st.data())
def test_rotations_are_scipys(axis, data):
    shape = data.draw(BATCHES)
    angles = data.draw(hnp.arrays(np.float64, shape, elements=floats(-10, 10)))
    with jax.enable_x64(True):
        found = np.asarray(getattr(g, f"rotation_{axis}")(jnp.asarray(angles)))
    assert found.dtype == np.float64 and found.shape == (*shape, 3, 3)
    expected = Rotation.from_euler(axis, angles.reshape(-1, 1)).as_matrix()
    np.testing.assert_allclose(found.reshape(-1, 3, 3), expected, atol=1e-12)


@few
@given(
    hnp.arrays(np.float64, 3, elements=floats(-3, 3)),
    hnp.arrays(np.float64, 3, elements=floats(-500, 500)),
    hnp.arrays(np.float64, (7, 3), elements=floats(-1000, 1000)),
)
def test_rigid_motions_keep_distances_and_invert(angles, shift, points):
    with jax.enable_x64(True):
        x, y, z = jnp.asarray(angles)
        rotation = g.matmul(g.matmul(g.rotation_z(z), g.rotation_y(y)), g.rotation_x(x))
        np.testing.assert_allclose(jnp.linalg.det(rotation), 1, atol=1e-12)
        moved = g.transform_points(g.homogeneous(rotation, jnp.asarray(shift)), jnp.asarray(points))
        back = g.homogeneous(rotation.T, -rotation.T @ shift)
        np.testing.assert_allclose(g.transform_points(back, moved), points, atol=1e-9)
    apart = [np.linalg.norm(p[:, None] - p[None], axis=-1) for p in (points, np.asarray(moved))]
    np.testing.assert_allclose(*apart, atol=1e-9)


def test_points_are_mapped_as_by_the_matrix_product():
    matrix, points = (
        jax.random.normal(jax.random.key(0), (2, 4, 3, 3)),
        jax.random.normal(jax.random.key(1), (2, 4, 50, 3)),
    )
    expected = np.einsum("...ij,...nj->...ni", np.float64(matrix), np.float64(points))
    np.testing.assert_allclose(g.map_points(matrix, points), expected, atol=2e-6)
    np.testing.assert_array_equal(
        g.map_points(matrix[1, 2], points[1, 2]), g.map_points(matrix, points)[1, 2]
    )


def test_homogeneous_moves_points():
    rotation, shift = g.rotation_z(jnp.asarray([np.pi / 2])), jnp.asarray([[1.0, 2.0, 3.0]])
    moved = g.transform_points(g.homogeneous(rotation, shift), jnp.asarray([[[1.0, 0.0, 0.0]]]))
    np.testing.assert_allclose(moved, [[[1, 3, 3]]], atol=1e-6)
    np.testing.assert_array_equal(g.homogeneous(rotation, shift)[0, 3], [0, 0, 0, 1])


@few
@given(hnp.arrays(np.float64, (5, 3), elements=floats(-1e6, 1e6)))
def test_norms_are_numpys(vectors):
    vectors[0] = 0
    with jax.enable_x64(True):
        norms, slopes = jax.vmap(jax.value_and_grad(g.safe_norm))(jnp.asarray(vectors))
    expected = np.linalg.norm(vectors, axis=-1)
    tiny = 1e-100  # squares of smaller ones underflow: XLA has 0 where NumPy has a denormal number
    np.testing.assert_allclose(norms, expected, rtol=1e-12, atol=tiny)
    large = expected > tiny
    units = vectors[large] / expected[large, None]
    np.testing.assert_allclose(np.asarray(slopes)[large], units, atol=1e-12)
    assert (np.asarray(slopes)[0] == 0).all() and np.isfinite(slopes).all()


def test_roots_have_finite_gradients_everywhere():
    x = jnp.asarray([-1.0, 0.0, 4.0])
    np.testing.assert_allclose(g.safe_sqrt(x), [0, 0, 2])
    np.testing.assert_allclose(jax.grad(lambda x: g.safe_sqrt(x).sum())(x), [0, 0, 0.25])
    v = jnp.asarray([[0.0, 0.0, 0.0], [3.0, 0.0, 4.0]])
    np.testing.assert_allclose(g.safe_norm(v), [0, 5], rtol=1e-6)
    np.testing.assert_allclose(
        jax.grad(lambda v: g.safe_norm(v).sum())(v), [[0, 0, 0], [0.6, 0, 0.8]], rtol=1e-6
    )
