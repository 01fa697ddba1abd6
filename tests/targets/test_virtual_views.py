"""A depth image seen from elsewhere, compared with the surface it was made of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.targets import virtual_views

SIZE, EXTENT = 48, 300.0


def bump(x, y):
    """A smooth surface, mm."""
    return 20.0 * np.sin(x / 40.0) + 10.0 * np.cos(y / 30.0)


def image(valid=None):
    at = (np.arange(SIZE) - SIZE / 2) * EXTENT / SIZE
    y, x = np.meshgrid(at, at, indexing="ij")
    shown = np.ones((SIZE, SIZE), bool) if valid is None else valid
    return jnp.asarray(bump(x, y), jnp.float32), jnp.asarray(shown)


@jax.jit
def seen(depth, valid, rotation):
    points = virtual_views.parallel_points(depth, EXTENT)
    faces = virtual_views.surface(depth, valid)
    return virtual_views.seen_from(points, faces, rotation, SIZE, EXTENT)


def test_the_view_of_the_camera_is_the_image():
    depth, valid = image()
    again, covered = seen(depth, valid, jnp.eye(3))
    inside = np.asarray(covered)[1:-1, 1:-1]
    assert inside.all()
    np.testing.assert_allclose(again[1:-1, 1:-1], depth[1:-1, 1:-1], atol=1e-3)


@pytest.mark.parametrize("angles", [(20, 0, 0), (0, -15, 0), (10, 10, 0), (0, 0, 30)])
def test_what_is_seen_lies_on_the_turned_surface(angles):
    rotation = virtual_views.about_axes(np.deg2rad(angles)).astype(np.float32)
    depth, covered = seen(*image(), jnp.asarray(rotation))
    points = np.asarray(virtual_views.parallel_points(depth, EXTENT))
    back = (points @ rotation)[np.asarray(covered).reshape(-1)]  # R⁻¹ of each point
    assert len(back) > 0.6 * SIZE**2
    away = np.abs(back[:, 2] - bump(back[:, 0], back[:, 1]))
    assert away.max() < 0.7  # of triangles 6 mm wide


def test_no_surface_across_jumps_and_holes():
    depth, _ = image()
    jump = depth.at[:, SIZE // 2 :].add(60.0)
    hole = np.ones((SIZE, SIZE), bool)
    hole[10:12, 30:32] = False
    faces = np.asarray(virtual_views.surface(jump, jnp.asarray(hole)))
    drawn = faces[(faces >= 0).all(1)]
    assert len(faces) - len(drawn) == 2 * (SIZE - 1) + (2 * 9 - 2)
    columns = drawn % SIZE
    assert not ((columns < SIZE // 2).any(1) & (columns >= SIZE // 2).any(1)).any()


def test_a_turned_surface_hides_what_is_behind_it():
    """A plate 100 mm in front of another: from the side it hides other pixels than before."""
    depth = jnp.full((SIZE, SIZE), 50.0).at[16:32, 16:32].set(-50.0)
    rotation = jnp.asarray(virtual_views.about_axes(np.deg2rad((0.0, 30.0, 0.0))), jnp.float32)
    found, covered = seen(depth, jnp.ones((SIZE, SIZE), bool), rotation)
    middle = np.asarray(found)[24][np.asarray(covered)[24]]
    assert middle.min() < -20 and middle.max() > 20


def test_fusion_keeps_the_most_confident():
    joints = jnp.arange(2 * 3 * 1 * 3, dtype=jnp.float32).reshape(2, 3, 1, 3)
    confidence = jnp.asarray([[0.1, 0.9, 0.5], [0.9, 0.1, 0.2]])
    np.testing.assert_allclose(virtual_views.fuse(joints, confidence, 1)[0], joints[0, 1])
    np.testing.assert_allclose(
        virtual_views.fuse(joints, confidence, 2)[1], (joints[1, 0] + joints[1, 2]) / 2
    )
    np.testing.assert_allclose(virtual_views.fuse(joints, confidence, 3), joints.mean(1))


def test_options():
    assert virtual_views.of_options({}) is None
    views = virtual_views.of_options(dict(rotations_deg=(15.0,), views=9, view_deg=30.0))
    assert views.rotations.shape == (10, 3, 3) and views.keep == 10
    assert views.rendered == (False, False, *(True,) * 8)
    np.testing.assert_allclose(
        views.rotations @ views.rotations.mT, np.tile(np.eye(3), (10, 1, 1)), atol=1e-6
    )
    np.testing.assert_array_equal(views.rotations[0], np.eye(3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(views=4), "config.task.views=4: expected 1, 9, 25 or another odd square"),
        (dict(views=0), "config.task.views=0: expected 1, 9, 25 or another odd square"),
        (dict(views=9, view_deg=90.0), "config.task.view_deg=90: expected more than 0, less than"),
        (dict(views=9, keep_views=10), "config.task.keep_views=10: expected 0, for all, to 9"),
    ],
)
def test_invalid_options(options, message):
    with pytest.raises(ValueError, match=message):
        virtual_views.of_options(options)
