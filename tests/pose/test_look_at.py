"""Cameras that look at a point: geometry, and images that another camera took."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handjax.pose import look_at
from handjax.rigs.spheres import sphere_depth_pinhole

K = jnp.array([[300.0, 0, 159.5], [0, 300.0, 119.5], [0, 0, 1]])
coordinate = st.floats(-800, 800, width=32)


@settings(max_examples=50, deadline=None)
@given(x=coordinate, y=coordinate, z=st.floats(50, 1500, width=32))
def test_the_point_comes_to_lie_on_the_axis(x, y, z):
    point = jnp.array([x, y, z], jnp.float32)
    rotation = np.asarray(look_at.towards(point), np.float64)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=2e-6)
    assert np.linalg.det(rotation) == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(rotation @ point, [0, 0, np.linalg.norm(point)], atol=2e-3)


def test_a_point_on_the_axis_turns_nothing():
    np.testing.assert_array_equal(look_at.towards(jnp.array([0.0, 0, 400])), np.eye(3))


def test_the_same_camera_sees_the_same_image():
    depth = jnp.asarray(np.random.default_rng(0).uniform(300, 900, (240, 320)), jnp.float32)
    seen = jax.jit(look_at.resample, static_argnums=(4, 5))(depth, K, jnp.eye(3), K, 240, 320)
    np.testing.assert_allclose(seen, depth, rtol=1e-6)


def test_an_image_resampled_is_the_image_of_the_turned_camera():
    """Spheres far off the axis, rendered by a crop's own camera and resampled from the whole
    picture."""
    rng = np.random.default_rng(1)
    middle = jnp.array([180.0, -90.0, 520.0])
    centers = middle[None] + jnp.asarray(rng.normal(0, 40, (12, 3)), jnp.float32)
    radii = jnp.asarray(rng.uniform(8, 25, 12), jnp.float32)
    picture, _ = sphere_depth_pinhole(centers, radii, K, 240, 320)
    rotation, distance = look_at.towards(middle), jnp.linalg.norm(middle)
    own = look_at.crop_camera(distance, 64)
    seen = np.asarray(look_at.resample(picture, K, rotation, own, 64, 64))
    turned = jnp.matmul(centers, rotation.T, precision="highest")
    true = np.asarray(sphere_depth_pinhole(turned, radii, own, 64, 64)[0])
    both = (seen > 0) & (true > 0)
    assert both.sum() > 0.93 * (true > 0).sum() and both.sum() > 0.85 * (seen > 0).sum()
    apart = np.abs(seen - true)[both]
    assert np.median(apart) < 0.6 and np.quantile(apart, 0.9) < 5


def test_holes_and_what_is_beyond_the_image_are_missing():
    depth = jnp.full((240, 320), 500.0).at[100:140, 100:200].set(0.0)
    own = look_at.crop_camera(jnp.asarray(500.0), 64)
    seen = np.asarray(look_at.resample(depth, K, jnp.eye(3), own, 64, 64))
    assert seen[32, 32] == 0 and seen[5, 32] == pytest.approx(500)
    aside = look_at.towards(jnp.array([400.0, 0.0, 400.0]))
    assert (np.asarray(look_at.resample(depth, K, aside, own, 64, 64))[:, 40:] == 0).all()


def test_roll_is_the_angle_to_the_right_of_up():
    joints = np.zeros((4, 21, 3), np.float32)
    joints[:, 9, :2] = [[0, -80], [80, 0], [0, 80], [-80, -80]]
    found = np.rad2deg(look_at.roll(jnp.asarray(joints)))
    np.testing.assert_allclose(np.abs(found), [0, 90, 180, 45], atol=0.1)
    assert found[1] > 0 > found[3]
