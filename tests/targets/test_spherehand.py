from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.pose.cube import BACKGROUND_MM
from handjax.targets import spherehand

ENCODE, DECODE = jax.jit(spherehand.encode, static_argnums=1), jax.jit(spherehand.decode)


@pytest.fixture(scope="module")
def oracle(real_data):
    with np.load(real_data / "hand" / "sphere_hand_16poses.npz", allow_pickle=False) as file:
        return dict(file)


def test_agrees_with_the_original(oracle):
    """The original's heat maps, and the centers that it decodes from them and its depth maps."""
    centers = jnp.asarray(oracle["joints_mm"])
    heat, depth = ENCODE(centers)
    np.testing.assert_allclose(jnp.moveaxis(heat, -1, 1), oracle["uv_heatmap_16"], atol=2e-6)
    back = DECODE(heat, depth)
    np.testing.assert_allclose(back, oracle["recovered_xyz"], atol=1e-3)
    assert 4.5 < np.linalg.norm(back - centers, axis=-1).mean() < 6  # so coarse is the decoding


def test_depth_maps_are_where_the_heat_is(oracle):
    heat, depth = ENCODE(jnp.asarray(oracle["joints_mm"]))
    z = np.broadcast_to(oracle["joints_mm"][:, None, None, :, 2] / 100, depth.shape)
    np.testing.assert_allclose(depth, np.where(np.asarray(heat) > 0.05, z, 0.0), rtol=1e-6)


def test_cells_are_where_integers_are():
    """x = 0 is cell 8 of 16, x = 30 mm is 1.6 cells further; y is along rows. Cell c of 16 is pixel
    4c of 64."""
    xyz = jnp.asarray([[0.0, 0.0, 0.0], [30.0, -75.0, 0.0]])
    np.testing.assert_allclose(spherehand.xyz_to_uv(xyz, 16), [[8, 8], [9.6, 4]], rtol=1e-6)
    np.testing.assert_allclose(
        spherehand.xyz_to_uv(xyz, 64), 4 * spherehand.xyz_to_uv(xyz, 16), rtol=1e-6
    )
    np.testing.assert_allclose(
        spherehand.uv_to_xy(spherehand.xyz_to_uv(xyz, 16), 16), xyz[:, :2], atol=1e-5
    )
    heat, _ = ENCODE(jnp.asarray([[75.0, -37.5, 20.0]]))
    assert np.unravel_index(np.argmax(heat[..., 0]), (16, 16)) == (6, 12) and heat.max() == 1


def test_on_a_cell_decoding_is_exact():
    cells = jnp.asarray([[-75.0, 37.5, 30.0], [0.0, 0.0, -60.0]])
    back = DECODE(*ENCODE(cells))
    np.testing.assert_allclose(back[:, :2], cells[:, :2], atol=0.05)
    np.testing.assert_allclose(
        back[:, 2], cells[:, 2], rtol=0.05
    )  # heat beyond the depth map pulls to 0


def test_maps_without_heat_decode_to_the_middle():
    """With finite gradients."""
    zeros = jnp.zeros((16, 16, 3))
    np.testing.assert_allclose(
        DECODE(zeros, zeros + 1), [[-9.375, -9.375, 0]] * 3, atol=1e-4
    )  # the mean of cells 0 to 15
    gradient = jax.grad(lambda h: DECODE(h, zeros + 1).sum())(zeros)
    assert np.all(np.isfinite(gradient))


def test_split_and_any_batch(oracle):
    heat, depth = ENCODE(jnp.asarray(oracle["joints_mm"]).reshape(2, 8, 41, 3))
    assert heat.shape == (2, 8, 16, 16, 41)
    one, other = spherehand.split(jnp.concatenate([heat, depth], axis=-1))
    np.testing.assert_array_equal(one, heat)
    np.testing.assert_array_equal(other, depth)
    np.testing.assert_allclose(
        DECODE(heat, depth)[1, 3], DECODE(heat[1, 3], depth[1, 3]), atol=1e-3
    )


@pytest.mark.slow
def test_the_view_with_the_least_variance_is_used():
    sharp, _ = ENCODE(jnp.asarray([[0.0, 0.0, 0.0]]))
    blurred = sharp**0.1
    spread = jnp.stack([spherehand.variance(h) for h in (blurred, sharp, blurred)])
    assert spread[1, 0] < 0.3 * spread[0, 0]
    # Twice σ² = 1 cell² of 16² cells.
    np.testing.assert_allclose(spread[1, 0], 2 / 256, rtol=0.01)
    centers = jnp.arange(9.0).reshape(3, 1, 3)
    np.testing.assert_array_equal(spherehand.fuse_views(centers, spread), centers[1])


@pytest.mark.parametrize("scale_u, scale_v", [(0.8, 0.7), (1.0, 1.0)])
def test_positions_in_a_shrunken_image_scale_by_the_factors(scale_u, scale_v):
    """A block around (32.8 mm, -23.4 mm) of a 64 px image."""
    image = jnp.full((64, 64), 100.0).at[24:31, 36:43].set(-20.0)
    small = jax.jit(partial(spherehand.shrink))(image, jnp.asarray(scale_u), jnp.asarray(scale_v))
    v, u = np.nonzero(np.asarray(small) < 0)
    x, y = np.asarray(spherehand.uv_to_xy(jnp.asarray([[u.mean(), v.mean()]]), 64))[0]
    assert abs(x / scale_u - 7 * 300 / 64) < 3 and abs(y / scale_v + 5 * 300 / 64) < 3
    assert abs(len(u) - 49 * scale_u * scale_v) < 8 and small[0, 0] == 100
    if scale_u == scale_v == 1:
        np.testing.assert_array_equal(small, image)


def test_background_is_one():
    seen = spherehand.network_input(jnp.full((2, 4, 4), BACKGROUND_MM))
    assert seen.shape == (2, 4, 4, 1) and np.all(seen == 1)
