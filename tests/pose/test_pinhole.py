"""Pinhole projections: known values, and properties for random cameras, points and batch shapes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from handjax.pose import pinhole
from handjax.pose.lens import project_through_lens

K = np.array([[588.0, 0.0, 320.0], [0.0, 587.0, 240.0], [0.0, 0.0, 1.0]])
BATCHES = st.sampled_from([(), (1,), (3,), (2, 3)])
quick = settings(max_examples=50, deadline=None)


def floats(low, high):
    return st.floats(low, high, allow_subnormal=False)


@st.composite
def scenes(draw, dtype=np.float64):
    """Intrinsics [*b 3 3], and points [*b n 3] in front of the camera or behind it."""
    batch = draw(BATCHES)
    focal = draw(hnp.arrays(np.float64, (*batch, 2), elements=floats(50, 2000)))
    center = draw(hnp.arrays(np.float64, (*batch, 2), elements=floats(-500, 1500)))
    k = np.zeros((*batch, 3, 3))
    k[..., (0, 1), (0, 1)], k[..., :2, 2], k[..., 2, 2] = focal, center, 1
    shape = (*batch, draw(st.integers(0, 5)), 3)
    xyz = draw(hnp.arrays(np.float64, shape, elements=floats(-2000, 2000)))
    xyz[..., 2] += np.where(xyz[..., 2] < 0, -1.0, 1.0)  # off the plane z = 0
    return k.astype(dtype), xyz.astype(dtype)


@quick
@given(scenes())
def test_projection_is_that_of_the_matrix(scene):
    k, xyz = scene
    homogeneous = np.einsum("...ij,...nj->...ni", k, xyz)
    expected = homogeneous[..., :2] / homogeneous[..., 2:]
    np.testing.assert_allclose(pinhole.project(xyz, k), expected, rtol=1e-9, atol=1e-6)


@quick
@given(scenes())
def test_round_trips_in_float64(scene):
    k, xyz = scene
    uvd = pinhole.xyz_to_uvd(xyz, k)
    assert uvd.dtype == np.float64 and isinstance(uvd, np.ndarray)
    np.testing.assert_array_equal(uvd[..., :2], pinhole.project(xyz, k))
    np.testing.assert_array_equal(uvd[..., 2], xyz[..., 2])
    scale = 1e-12 * (1 + np.abs(uvd).max(initial=0)) * 2000
    np.testing.assert_allclose(pinhole.uvd_to_xyz(uvd, k), xyz, rtol=1e-9, atol=scale)


@pytest.mark.slow
@settings(max_examples=8, deadline=None)
@given(scenes(np.float32))
def test_jax_and_numpy_agree_in_float32(scene):
    k, xyz = scene
    for function in (pinhole.xyz_to_uvd, pinhole.uvd_to_xyz, pinhole.project):
        ours = function(jnp.asarray(xyz), jnp.asarray(k))
        assert isinstance(ours, jax.Array) and ours.dtype == jnp.float32
        np.testing.assert_allclose(ours, function(xyz, k), rtol=1e-5, atol=1e-3)


@pytest.mark.slow
@settings(max_examples=5, deadline=None)
@given(scenes())
def test_jax_in_float64_agrees_to_its_precision(scene):
    k, xyz = scene
    with jax.enable_x64(True):
        ours = pinhole.xyz_to_uvd(jnp.asarray(xyz), jnp.asarray(k))
        assert ours.dtype == jnp.float64
        np.testing.assert_allclose(ours, pinhole.xyz_to_uvd(xyz, k), rtol=1e-12, atol=1e-9)


def test_jax_decides_where_arrays_are_mixed():
    xyz = np.float32([[1.0, 2.0, 3.0]])
    assert isinstance(pinhole.project(xyz, jnp.asarray(K, jnp.float32)), jax.Array)
    assert isinstance(pinhole.project(jnp.asarray(xyz), np.float32(K)), jax.Array)
    assert isinstance(jax.jit(pinhole.project)(xyz, np.float32(K)), jax.Array)


def test_one_camera_serves_a_batch():
    xyz = np.random.default_rng(0).normal(500, 50, (4, 2, 6, 3))
    many = np.broadcast_to(K, (4, 2, 3, 3))
    for function in (pinhole.project, pinhole.xyz_to_uvd, pinhole.uvd_to_xyz):
        np.testing.assert_array_equal(function(xyz, K), function(xyz, many))


@quick
@given(scenes(), st.integers(1, 4), st.integers(1, 4), floats(1, 3000))
def test_rays_pass_through_pixel_centers(scene, height, width, depth):
    k, _ = scene
    rays = pinhole.pixel_rays(k, height, width)
    assert rays.shape == (*k.shape[:-2], height * width, 3)
    v, u = np.indices((height, width)).reshape(2, -1)
    uv = np.broadcast_to(np.stack([u, v], axis=-1), (*rays.shape[:-1], 2))
    np.testing.assert_allclose(pinhole.project(depth * rays, k), uv, atol=1e-9)


def test_known_values():
    xyz = np.array([[0.0, 0.0, 500.0], [100.0, -50.0, 800.0]])
    uvd = pinhole.xyz_to_uvd(xyz, K)
    np.testing.assert_allclose(uvd, [[320, 240, 500], [320 + 588 / 8, 240 - 587 / 16, 800]])


@pytest.mark.parametrize("xp", [np, jnp])
def test_points_of_a_depth_image(xp):
    """Pixel centers are at integers, and pixels of depth 0 are missing."""
    k = xp.asarray([[2.0, 0.0, 1.0], [0.0, 4.0, 0.0], [0.0, 0.0, 1.0]])
    depth = xp.asarray([[10.0, 0.0, 20.0], [40.0, 30.0, 0.0]])
    points, valid = pinhole.depth_to_points(depth, k)
    assert isinstance(points, np.ndarray if xp is np else jax.Array)
    assert valid.tolist() == [True, False, True, True, True, False]
    expected = [[-5, 0, 10], [0, 0, 0], [10, 0, 20], [-20, 10, 40], [0, 7.5, 30], [0, 0, 0]]
    np.testing.assert_allclose(points, expected)
    np.testing.assert_allclose(pinhole.project(points[valid], k), [[0, 0], [2, 0], [0, 1], [1, 1]])


@pytest.mark.slow
def test_depth_images_of_any_batch():
    depth = jax.random.uniform(jax.random.key(0), (2, 3, 4, 5))
    k = jnp.asarray(K, jnp.float32)
    points, valid = pinhole.depth_to_points(depth, jnp.broadcast_to(k, (2, 3, 3, 3)))
    assert points.shape == (2, 3, 20, 3) and valid.shape == (2, 3, 20)
    np.testing.assert_array_equal(points[1, 2], pinhole.depth_to_points(depth[1, 2], k)[0])


def test_gradients_at_depth_zero():
    """Finite for back-projection, which is linear in d, and next to points that cannot project."""
    k = jnp.asarray(K, jnp.float32)
    slopes = jax.jacobian(lambda uvd: pinhole.uvd_to_xyz(uvd[None], k)[0])
    np.testing.assert_allclose(
        slopes(jnp.array([400.0, 100.0, 0.0])),
        [[0, 0, (400 - 320) / 588], [0, 0, (100 - 240) / 587], [0, 0, 1]],
        rtol=1e-6,
    )
    on_plane = jnp.array([[0.0, 1.0, 0.0], [0.0, 0.0, 500.0]])
    values, slopes = jax.value_and_grad(lambda xyz: pinhole.project(xyz, k)[1].sum())(on_plane)
    assert np.isfinite(values) and np.isfinite(slopes[1]).all()


@quick
@given(scenes())
def test_lens_without_distortion_is_the_pinhole(scene):
    k, xyz = scene
    k, xyz = k.reshape(-1, 3, 3)[0], xyz.reshape(-1, 3)
    found = project_through_lens(xyz, k, np.zeros(5))
    np.testing.assert_allclose(found, pinhole.project(xyz, k), rtol=1e-9, atol=1e-6)
