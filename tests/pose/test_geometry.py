import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from handjax.pose import geometry as g
from handjax.pose import pinhole

K = jnp.asarray([[588.0, 0.0, 320.0], [0.0, 587.0, 240.0], [0.0, 0.0, 1.0]])


def test_projection_has_the_known_value_and_comes_back():
    xyz = jnp.asarray([[[0.0, 0.0, 500.0], [100.0, -50.0, 800.0]]])
    uvd = pinhole.xyz_to_uvd(xyz, K[None])
    np.testing.assert_allclose(uvd[0, 0], [320, 240, 500])
    np.testing.assert_allclose(uvd[0, 1], [320 + 588 / 8, 240 - 587 / 16, 800], rtol=1e-6)
    np.testing.assert_allclose(pinhole.uvd_to_xyz(uvd, K[None]), xyz, atol=1e-3)


def test_depth_to_points_uses_integer_pixel_centres_and_leaves_out_what_is_missing():
    k = jnp.asarray([[2.0, 0.0, 1.0], [0.0, 4.0, 0.0], [0.0, 0.0, 1.0]])
    depth = jnp.asarray([[10.0, 0.0, 20.0], [40.0, 30.0, 0.0]])
    points, valid = pinhole.depth_to_points(depth, k)
    assert valid.tolist() == [True, False, True, True, True, False]
    expected = [[-5, 0, 10], [0, 0, 0], [10, 0, 20], [-20, 10, 40], [0, 7.5, 30], [0, 0, 0]]
    np.testing.assert_allclose(points, expected)
    np.testing.assert_allclose(
        pinhole.xyz_to_uvd(points[valid], k)[:, :2], [[0, 0], [2, 0], [0, 1], [1, 1]]
    )


def test_depth_to_points_takes_any_batch():
    depth = jax.random.uniform(jax.random.key(0), (2, 3, 4, 5))
    points, valid = pinhole.depth_to_points(depth, jnp.broadcast_to(K, (2, 3, 3, 3)))
    assert points.shape == (2, 3, 20, 3) and valid.shape == (2, 3, 20)
    np.testing.assert_array_equal(points[1, 2], pinhole.depth_to_points(depth[1, 2], K)[0])


def test_a_cloud_is_mapped_as_by_the_matrix_product():
    matrix, points = (
        jax.random.normal(jax.random.key(0), (2, 4, 3, 3)),
        jax.random.normal(jax.random.key(1), (2, 4, 50, 3)),
    )
    expected = np.einsum("...ij,...nj->...ni", np.float64(matrix), np.float64(points))
    np.testing.assert_allclose(g.map_points(matrix, points), expected, atol=2e-6)
    np.testing.assert_array_equal(
        g.map_points(matrix[1, 2], points[1, 2]), g.map_points(matrix, points)[1, 2]
    )


@pytest.mark.parametrize("axis", "xyz")
def test_rotations_are_scipys(axis):
    angles = jnp.asarray([[-2.0, 0.0], [0.3, 3.1]])
    ours = getattr(g, f"rotation_{axis}")(angles)
    np.testing.assert_allclose(
        ours.reshape(4, 3, 3),
        Rotation.from_euler(axis, np.reshape(angles, (4, 1))).as_matrix(),
        atol=1e-6,
    )


def test_homogeneous_moves_points():
    rotation, shift = g.rotation_z(jnp.asarray([np.pi / 2])), jnp.asarray([[1.0, 2.0, 3.0]])
    moved = g.transform_points(g.homogeneous(rotation, shift), jnp.asarray([[[1.0, 0.0, 0.0]]]))
    np.testing.assert_allclose(moved, [[[1, 3, 3]]], atol=1e-6)
    np.testing.assert_array_equal(g.homogeneous(rotation, shift)[0, 3], [0, 0, 0, 1])


def test_roots_have_finite_gradients_everywhere():
    x = jnp.asarray([-1.0, 0.0, 4.0])
    np.testing.assert_allclose(g.safe_sqrt(x), [0, 0, 2])
    np.testing.assert_allclose(jax.grad(lambda x: g.safe_sqrt(x).sum())(x), [0, 0, 0.25])
    v = jnp.asarray([[0.0, 0.0, 0.0], [3.0, 0.0, 4.0]])
    np.testing.assert_allclose(g.safe_norm(v), [0, 5], rtol=1e-6)
    np.testing.assert_allclose(
        jax.grad(lambda v: g.safe_norm(v).sum())(v), [[0, 0, 0], [0.6, 0, 0.8]], rtol=1e-6
    )
