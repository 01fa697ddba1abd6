import jax
import jax.numpy as jnp
import numpy as np

from handjax.figures import poses, render
from handjax.ops import spheres
from handjax.pose import geometry

_SAMPLE, _PLACE = jax.jit(poses.sample_pose), jax.jit(render.hand_in_camera, static_argnums=2)


def test_the_window_just_holds_the_ball():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(200_000, 3))
    points *= 120 / np.linalg.norm(points, axis=-1, keepdims=True)
    for center in ([0.0, 0.0, 500.0], [150.0, -80.0, 600.0], [-100.0, 200.0, 400.0]):
        k = render.crop_intrinsics(jnp.asarray(center), jnp.asarray(240.0), 64)
        uv = geometry.xyz_to_uvd(jnp.asarray(points + np.asarray(center), jnp.float32), k)[:, :2]
        assert uv.min() > -0.501 and uv.max() < 63.501  # the outer edges of the outer pixels
        np.testing.assert_allclose([uv.min(), uv.max()], [-0.5, 63.5], atol=0.02)
        np.testing.assert_allclose((uv.min(0) + uv.max(0)) / 2, 31.5, atol=0.05)


def test_the_hand_stands_where_it_was_put():
    pose = _SAMPLE(jax.random.key(0))
    position = jnp.asarray([30.0, -20.0, 700.0])
    here, radii, joints = _PLACE(pose, position, "nyu14")
    origin, _, joints_at_0 = _PLACE(pose, jnp.zeros(3), "nyu14")
    np.testing.assert_allclose(here - origin, np.broadcast_to(position, (41, 3)), atol=1e-3)
    np.testing.assert_allclose(joints - joints_at_0, np.broadcast_to(position, (14, 3)), atol=1e-3)
    assert radii.shape == (41,)


def test_a_joint_behind_another_ball_is_hidden():
    centers = jnp.asarray([[0.0, 0.0, 500.0], [3.0, 0.0, 560.0], [80.0, 0.0, 560.0]])
    seen = render.visible_joints(centers, centers, jnp.full(3, 10.0), (0, 1, 2))
    assert seen.tolist() == [True, False, True]


def test_noise_does_not_move_the_image_and_invents_nothing():
    ramp = 500 + jnp.broadcast_to(jnp.arange(200.0), (200, 200))
    shift = render.sensor_noise(jax.random.key(0), ramp, 0.0, 0.5) - ramp
    inner = np.asarray(shift)[5:-5, 5:-5]
    assert set(np.unique(inner)) <= {-3, -2, -1, 0, 1, 2, 3} and abs(inner.mean()) < 0.01
    assert 0.25 < np.mean(inner != 0) < 0.38  # 2 (1 - Φ(1)) = 0.317
    noise = render.sensor_noise(jax.random.key(1), ramp, 2.0, 0.0) - ramp
    assert abs(noise.mean()) < 0.05 and abs(noise.std() - 2) < 0.05
    np.testing.assert_array_equal(render.sensor_noise(jax.random.key(2), ramp, 0.0, 0.0), ramp)
    assert not np.any(render.sensor_noise(jax.random.key(3), jnp.zeros((8, 8)), 2.0, 0.5))


def test_rendered_skin_lies_on_the_spheres():
    pose = _SAMPLE(jax.random.key(4))
    centers, radii, _ = _PLACE(pose, jnp.asarray([50.0, 0.0, 600.0]), "hand21")
    k = render.crop_intrinsics(jnp.asarray([50.0, 0.0, 600.0]), jnp.asarray(300.0), 64)
    depth, winner = jax.jit(spheres.sphere_depth_pinhole, static_argnums=(3, 4))(centers, radii, k, 64, 64)
    points, valid = geometry.depth_to_points(depth, k)
    assert 150 < valid.sum() < 2000
    distance = jnp.linalg.norm(points[:, None] - centers[None], axis=-1) - radii[None]
    assert jnp.max(jnp.abs(jnp.min(distance, axis=-1)[valid])) < 1e-2
    np.testing.assert_array_equal(winner.ravel() >= 0, valid)
