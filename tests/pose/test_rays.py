"""Joints and rays combined, and the pose of the wrist."""

import jax.numpy as jnp
import numpy as np
import pytest

from handjax.pose.rays import fuse_rays, wrist_pose

RNG = np.random.default_rng(0)


def unit(vector):
    return vector / np.linalg.norm(vector, axis=-1, keepdims=True)


def ball(std):
    return std[..., None, None] ** 2 * np.eye(3)


def test_a_joint_goes_to_its_ray_by_how_sure_both_are():
    xyz = np.array([[[10.0, 0, 500], [10, 0, 500], [10, 0, 500], [10, 0, 500]]])
    rays = np.array([[[0.0, 0, 1], [0, 0, 7], [0, 0, 1], [np.nan, 0, 1]]])
    std, ray_std = np.array([[6.0, 6, 6, 6]]), np.array([[6.0, 1e-6, 1e6, 1e-6]])
    moved, left = fuse_rays(xyz, ball(std), rays, ray_std)
    np.testing.assert_allclose(moved[0, :, 0], [5, 0, 10, 10], atol=1e-6)
    np.testing.assert_allclose(moved[..., 1:], xyz[..., 1:])
    # Half the variance across; none across; all; all.
    expected = [[18, 18, 36], [0, 0, 36], [36, 36, 36], [36, 36, 36]]
    np.testing.assert_allclose(left[0], [np.diag(one) for one in expected], atol=1e-6)
    again, _ = fuse_rays(
        *map(jnp.asarray, (np.float32(xyz), np.float32(ball(std)))),
        *map(jnp.asarray, (np.float32(rays), np.float32(ray_std))),
    )
    np.testing.assert_allclose(again, moved, atol=1e-3)


def test_errors_become_as_small_as_the_new_std_says():
    truth = RNG.uniform(-80, 80, (4000, 1, 3)) + [0, 0, 500]
    std, ray_std = np.full((4000, 1), 12.0), np.full((4000, 1), 4.0)
    found = truth + RNG.normal(0, 12, truth.shape)
    aside = np.cross(unit(truth), unit(RNG.normal(size=truth.shape)))
    aside = unit(aside) * RNG.normal(0, 4, (4000, 1, 1)) * np.sqrt(2)
    moved, left = fuse_rays(found, ball(std), truth + aside, ray_std)
    before, after = (np.sqrt(((x - truth) ** 2).mean()) for x in (found, moved))
    assert after < 0.7 * before
    trace = np.trace(left, axis1=-2, axis2=-1)
    assert after == pytest.approx(np.sqrt(trace.mean() / 3), rel=0.05)


def test_a_long_covariance_is_weighed_by_its_direction():
    """As the product of the two Gaussians by their inverse covariances says."""
    base = RNG.normal(size=(50, 3, 3)) * 8
    covariance = base @ base.mT + np.eye(3)
    xyz = RNG.uniform(-80, 80, (50, 3)) + [0, 0, 500]
    rays, ray_std = xyz + RNG.normal(0, 20, (50, 3)), RNG.uniform(1, 9, 50)
    moved, left = fuse_rays(xyz, covariance, rays, ray_std)
    ahead = unit(rays)
    shown = (np.eye(3) - ahead[:, :, None] * ahead[:, None]) / ray_std[:, None, None] ** 2
    known = np.linalg.inv(covariance)
    wanted = np.linalg.inv(known + shown)
    np.testing.assert_allclose(left, wanted, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(moved, (wanted @ known @ xyz[..., None])[..., 0], rtol=1e-6)


@pytest.mark.parametrize("left", [False, True])
def test_the_wrists_axes(left):
    """The back of a hand that points up is seen: x is up, z comes to the camera."""
    xyz = np.zeros((21, 3))
    side = 1 if left else -1  # of the index finger in the picture, seen from the back
    xyz[5], xyz[9], xyz[17] = (30 * side, -90, 0), (0, -95, 0), (-30 * side, -80, 0)
    xyz += [5, 6, 400]
    pose = wrist_pose(xyz, left)
    np.testing.assert_allclose(pose[:3, 3], [5, 6, 400])
    np.testing.assert_allclose(pose[:3, 0], [0, -1, 0], atol=1e-9)
    np.testing.assert_allclose(pose[:3, 2], [0, 0, -1], atol=1e-9)
    assert np.linalg.det(pose[:3, :3]) == pytest.approx(1)
    both = wrist_pose(np.stack([xyz, xyz]), np.array([left, not left]))
    np.testing.assert_allclose(both[0], pose)
    np.testing.assert_allclose(both[1, :3, 2], [0, 0, 1], atol=1e-9)
