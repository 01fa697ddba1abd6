import itertools
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.ops import library
from handjax.pose import pinhole
from handjax.pose.skeleton import SKELETONS
from handjax.rigs import hand, poses, skinning, spheres
from handjax.rigs.skin_weights import HAND_LINKS
from handjax.synthetic import render

_SAMPLE, _PLACE = jax.jit(poses.sample_pose), jax.jit(render.hand_in_camera, static_argnums=2)


def test_window_just_contains_the_ball():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(200_000, 3))
    points *= 120 / np.linalg.norm(points, axis=-1, keepdims=True)
    for center in ([0.0, 0.0, 500.0], [150.0, -80.0, 600.0], [-100.0, 200.0, 400.0]):
        k = render.crop_intrinsics(jnp.asarray(center), jnp.asarray(240.0), 64)
        uv = pinhole.xyz_to_uvd(jnp.asarray(points + np.asarray(center), jnp.float32), k)[:, :2]
        assert uv.min() > -0.501 and uv.max() < 63.501  # the outer edges of the outer pixels
        np.testing.assert_allclose([uv.min(), uv.max()], [-0.5, 63.5], atol=0.02)
        np.testing.assert_allclose((uv.min(0) + uv.max(0)) / 2, 31.5, atol=0.05)


@pytest.mark.slow
def test_hand_is_at_its_position():
    pose = _SAMPLE(jax.random.key(0))
    position = jnp.asarray([30.0, -20.0, 700.0])
    here, radii, joints = _PLACE(pose, position, "nyu14")
    origin, _, joints_at_0 = _PLACE(pose, jnp.zeros(3), "nyu14")
    np.testing.assert_allclose(here - origin, np.broadcast_to(position, (41, 3)), atol=1e-3)
    np.testing.assert_allclose(joints - joints_at_0, np.broadcast_to(position, (14, 3)), atol=1e-3)
    assert radii.shape == (41,)


@pytest.mark.slow
def test_joint_behind_another_sphere_is_hidden():
    centers = jnp.asarray([[0.0, 0.0, 500.0], [3.0, 0.0, 560.0], [80.0, 0.0, 560.0]])
    seen = render.visible_among_spheres(centers, centers, jnp.full(3, 10.0), (0, 1, 2))
    assert seen.tolist() == [True, False, True]


@pytest.mark.slow
def test_rendered_skin_lies_on_the_spheres():
    pose = _SAMPLE(jax.random.key(4))
    centers, radii, _ = _PLACE(pose, jnp.asarray([50.0, 0.0, 600.0]), "hand21")
    k = render.crop_intrinsics(jnp.asarray([50.0, 0.0, 600.0]), jnp.asarray(300.0), 64)
    depth, winner = jax.jit(spheres.sphere_depth_pinhole, static_argnums=(3, 4))(
        centers, radii, k, 64, 64
    )
    points, valid = pinhole.depth_to_points(depth, k)
    assert 150 < valid.sum() < 2000
    distance = jnp.linalg.norm(points[:, None] - centers[None], axis=-1) - radii[None]
    assert jnp.max(jnp.abs(jnp.min(distance, axis=-1)[valid])) < 1e-2
    np.testing.assert_array_equal(winner.ravel() >= 0, valid)


# The skin lies on round cones between the spheres, so it bulges out between them.

_LINKS = np.asarray(
    [
        *HAND_LINKS.palm,
        *(p for chain in HAND_LINKS.fingers for p in itertools.pairwise(chain)),
    ]
)
# mm that linear blending removes at a visible joint when fingers bend as far as they are sampled.
_SHRINKS = {"palm": 0, "thumb": 4, "index": 5, "middle": 7, "ring": 8, "little": 10}


def _under(points, centers, radii):
    """How far points are outside of the union of balls, mm; below 0 inside."""
    return jnp.min(jnp.linalg.norm(points[:, None] - centers[None], axis=-1) - radii[None], axis=-1)


@cache
def _seen_at_joints(n, **options):
    """Depth of both renderers at each joint, in images of one pixel, so for any resolution."""

    def one(key):
        pose, position = poses.sample_pose(key, **options), jnp.asarray([20.0, -40.0, 600.0])
        centers, radii, joints = render.hand_in_camera(pose, position)
        rays = joints / joints[:, 2:]
        k = (
            jnp.zeros((21, 3, 3))
            .at[:, (0, 1, 2), (0, 1, 2)]
            .set(jnp.asarray([500.0, 500.0, 1.0])[None])
        )
        k = k.at[:, :2, 2].set(-500 * rays[:, :2])
        vertices = render.in_camera(skinning.hand_vertices(skinning.hand_skin(), pose), position)
        skin, covered = render.mesh_depth(
            jnp.broadcast_to(vertices, (21, *vertices.shape)),
            skinning.hand_skin().faces,
            k,
            1,
            1,
            projection="pinhole",
        )
        t = jnp.linspace(0.0, 1.0, 20)[:, None]
        (a, b), (ra, rb) = (tuple(x[_LINKS[:, i]][None] for i in (0, 1)) for x in (centers, radii))
        cones = ((a + t[..., None] * (b - a)).reshape(-1, 3), (ra + t * (rb - ra)).reshape(-1))
        own = hand.JOINT_SPHERES["hand21"]
        points = rays * skin[:, 0]
        return {
            "skin": skin[:, 0, 0],
            "covered": covered[:, 0, 0] > 0,
            "spheres": spheres.sphere_depth_along(rays, centers, radii)[0],
            "cones": spheres.sphere_depth_along(rays, *cones)[0],
            "above_spheres": _under(points, centers, radii),
            "above_cones": _under(points, *cones),
            "visible": render.visible_among_spheres(joints, centers, radii, own)
            & (joints[:, 2] - skin[:, 0, 0] <= radii[jnp.asarray(own)] + 10),
        }

    return jax.tree.map(
        np.asarray, jax.jit(partial(jax.lax.map, one))(jax.random.split(jax.random.key(5), n))
    )


@pytest.mark.slow
def test_skin_and_spheres_agree_at_joints_of_open_hands():
    """In open hands, close to the bind pose: within the bulge, at most 8 mm and mostly 2."""
    at = _seen_at_joints(120, modes=("open", "straight"))
    seen = at["visible"]
    assert np.all(at["covered"]) and seen.sum(0).min() > 15
    assert at["above_spheres"][seen].min() > -2.5 and at["above_spheres"][seen].max() < 8.5
    assert np.abs(at["above_cones"][seen]).max() < 4  # and this is where the bulge comes from
    for joint in range(21):
        closer = (at["spheres"] - at["skin"])[seen[:, joint], joint]
        bulge = (at["spheres"] - at["cones"])[seen[:, joint], joint]
        assert (
            -1 < np.median(closer) < 4
            and np.percentile(closer, 5) > -2
            and np.percentile(closer, 95) < 11
        )
        assert abs(np.median(closer) - np.median(bulge)) < 1.5


@pytest.mark.slow
def test_skin_is_behind_spheres_only_at_bent_knuckles():
    """Linear blending removes some volume at bent knuckles, and adds none anywhere."""
    at = _seen_at_joints(300)
    seen = at["visible"]
    assert np.all(at["covered"]) and seen.mean() > 0.5
    assert at["above_cones"][seen].max() < 4.5
    for joint, finger in enumerate(SKELETONS["hand21"].groups):
        assert at["above_cones"][seen[:, joint], joint].min() > -_SHRINKS[finger] - 0.5, finger
        closer = (at["spheres"] - at["skin"])[seen[:, joint], joint]
        assert -3.5 < np.median(closer) < 3.5
        assert np.percentile(closer, 90) < 10 and np.percentile(closer, 10) > (
            -15 if finger == "little" else -5
        )


def _camera(size=24, extent=60.0):
    return render.crop_intrinsics(jnp.asarray([10.0, 5.0, 500.0]), jnp.asarray(extent), size)


@cache
def _lying_hand():
    """Vertices of one posed skin, mm: half a metre away, and about 0."""
    vertices = jax.jit(skinning.hand_vertices, static_argnums=0)(
        skinning.hand_skin(), _SAMPLE(jax.random.key(1))
    )
    return vertices + jnp.asarray([[0.0, 0.0, 500.0]]), vertices


@pytest.mark.parametrize("projection", ["pinhole", "orthographic"])
def test_supersampling_averages_blocks_of_a_large_image(projection):
    faces, n = skinning.hand_skin().faces, 3
    before, centred = _lying_hand()
    vertices = before if projection == "pinhole" else centred
    k = (
        _camera(extent=200.0)
        if projection == "pinhole"
        else render.orthographic_intrinsics(24, 200.0)
    )
    mean, covered = jax.jit(
        partial(render.mesh_depth, projection=projection, supersampling=n), static_argnums=(3, 4)
    )(vertices, faces, k, 24, 24)
    # Pixel u of the small image are the pixels n u ... n u + n - 1 of the large one.
    large_k = jnp.asarray([[n, 0, (n - 1) / 2], [0, n, (n - 1) / 2], [0, 0, 1]]) @ k
    depth, there = jax.jit(
        partial(render.mesh_depth, projection=projection), static_argnums=(3, 4)
    )(vertices, faces, large_k, 24 * n, 24 * n)
    depth, there = (
        np.asarray(x, np.float64).reshape(24, n, 24, n).transpose(0, 2, 1, 3).reshape(24, 24, -1)
        for x in (depth, there)
    )
    assert 40 < np.sum((covered > 0) & (covered < 1)) and 50 < np.sum(covered == 1)
    np.testing.assert_allclose(covered, there.mean(-1), atol=1e-6)
    some = there.sum(-1) > 0
    np.testing.assert_allclose(
        np.asarray(mean)[some], ((depth * there).sum(-1)[some] / there.sum(-1)[some]), atol=2e-3
    )
    assert not np.any(np.asarray(mean)[~some])


def test_supersampling_stores_no_large_image():
    vertices = jax.ShapeDtypeStruct(_lying_hand()[0].shape, jnp.float32)
    k = jax.ShapeDtypeStruct((3, 3), jnp.float32)

    def memory(supersampling):
        draw = jax.jit(
            lambda v, k: render.mesh_depth(
                v,
                skinning.hand_skin().faces,
                k,
                64,
                64,
                projection="pinhole",
                supersampling=supersampling,
            )
        )
        return draw.lower(vertices, k).compile().memory_analysis().temp_size_in_bytes

    most = (
        20 * 64 * 64 * 4 if "cpu" in library.platforms() else (8 * 64) ** 2 * 4
    )  # the reference's: less than the large image
    assert memory(8) < memory(2) + 4096 < most


@pytest.mark.slow
@pytest.mark.parametrize("projection", ["pinhole", "orthographic"])
def test_mirrored_hand_and_camera_give_the_mirrored_image(projection):
    """A left hand is that, and which way its faces run does not matter."""
    pose, position = (
        _SAMPLE(jax.random.key(6)),
        jnp.asarray([30.0, -20.0, 600.0 if projection == "pinhole" else 0.0]),
    )
    mirrored = position * jnp.asarray([-1.0, 1.0, 1.0])
    skin, size = skinning.hand_skin(), 40
    k = (
        _camera(size, 250.0)
        if projection == "pinhole"
        else render.orthographic_intrinsics(size, 250.0)
    )
    flip = (
        jnp.asarray([[-1.0, 0.0, size - 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
        @ k
        @ jnp.diag(jnp.asarray([-1.0, 1.0, 1.0]))
    )
    bound = jax.jit(skinning.hand_vertices, static_argnums=0)(skin, pose)
    draw = jax.jit(partial(render.mesh_depth, projection=projection), static_argnums=(3, 4))
    left_skin = render.in_camera(bound, mirrored, -1.0)
    right, _ = draw(render.in_camera(bound, position), skin.faces, k, size, size)
    left, _ = draw(left_skin, skin.faces, flip, size, size)
    turned, _ = draw(left_skin, skin.faces[:, ::-1], flip, size, size)
    assert (right > -100).sum() > 100 and jnp.ptp(right) > 50
    differs = (
        np.abs(np.asarray(left)[:, ::-1] - right) > 1e-2
    )  # a pixel centre on an outline, by rounding
    assert differs.mean() < 0.003
    assert np.mean(np.abs(np.asarray(turned) - left) > 1e-3) < 0.002

    place = jax.jit(lambda pose, position, side: render.hand_in_camera(pose, position, side=side))
    centers, radii, joints = place(pose, position, jnp.asarray(1.0))
    *balls, left_joints = place(pose, mirrored, jnp.asarray(-1.0))
    back = np.asarray([-1.0, 1.0, 1.0], np.float32)
    np.testing.assert_allclose(left_joints * back[None], joints, atol=1e-4)
    np.testing.assert_allclose(balls[0] * back[None], centers, atol=1e-4)
    np.testing.assert_array_equal(balls[1], radii)


def test_parallel_rays_match_the_sphere_renderer():
    center = jnp.asarray([[12.0, -30.0, 5.0]])
    depth, winner = jax.jit(spheres.sphere_depth_orthographic, static_argnums=2)(
        center, jnp.asarray([20.0]), 64
    )
    u, v, _ = render.orthographic_intrinsics(64, 300.0) @ jnp.asarray([12.0, -30.0, 1.0])
    rows, columns = np.nonzero(np.asarray(winner) >= 0)
    assert abs(columns.mean() - u) < 0.3 and abs(rows.mean() - v) < 0.3
    # A square of 8 x 8 pixels at z = 7, a quarter of a pixel off the pixel centers.
    corners = (
        jnp.asarray([[-8.25, -8.25], [-0.25, -8.25], [-0.25, -0.25], [-8.25, -0.25]]) * 300 / 64
    )
    square = jnp.concatenate([corners, jnp.full((4, 1), 7.0)], axis=-1)
    faces = np.asarray([[0, 1, 2], [0, 2, 3]])
    drawn, covered = render.mesh_depth(
        square, faces, render.orthographic_intrinsics(64, 300.0), 64, 64, projection="orthographic"
    )
    rows, columns = np.nonzero(np.asarray(covered))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (24, 31, 24, 31) and len(
        rows
    ) == 64
    np.testing.assert_allclose(np.asarray(drawn)[24:32, 24:32], 7.0)


def test_joint_behind_another_sphere_is_hidden_from_parallel_rays():
    centers = jnp.asarray(
        [[0.0, 0.0, -50.0], [3.0, 0.0, 20.0], [80.0, 0.0, 20.0], [80.0, 0.0, 25.0]]
    )
    seen = render.visible_among_spheres(
        centers, centers, jnp.full(4, 10.0), (0, 1, 2, 3), "orthographic"
    )
    assert seen.tolist() == [True, False, True, True]


def test_joint_is_visible_if_the_surface_is_its_own():
    depth = jnp.full((4, 6), 500.0).at[2, 3].set(400.0)
    mask = jnp.ones((4, 6), bool).at[0].set(False)
    uvd = [
        ([1.4, 1.6, 519.0], True),  # a mm less than its flesh under the skin at row 2, column 1
        ([1.4, 1.6, 521.0], False),
        ([3.0, 2.0, 519.0], False),  # behind something
        ([3.49, 1.51, 419.0], True),
        ([3.0, 0.4, 510.0], False),  # no skin there
        ([-0.6, 2.0, 510.0], False),  # outside the image, on each side
        ([5.6, 2.0, 510.0], False),
        ([2.0, 3.6, 510.0], False),
        ([2.0, -0.6, 510.0], False),
        ([-0.4, 3.4, 510.0], True),
        ([5.4, 2.0, 400.0], True),  # before the skin: nothing hides it
    ]
    seen = render.visible_in_depth(
        jnp.asarray([at for at, _ in uvd]), depth, mask, jnp.full(len(uvd), 10.0)
    )
    assert seen.tolist() == [expected for _, expected in uvd]
