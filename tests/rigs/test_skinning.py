import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.rigs import hand, kinematics, poses, skinning
from handjax.rigs.skin_weights import HAND_LINKS

FINGERS = {
    name: [i for i, bone in enumerate(hand.HAND.bones) if bone.startswith(name)]
    for name in hand.FINGERS
}


@pytest.fixture(scope="module")
def skin():
    return skinning.hand_skin()


@pytest.fixture(scope="module")
def sampled():
    """32 sampled poses, mm and rad."""
    return jax.jit(jax.vmap(poses.sample_pose))(jax.random.split(jax.random.key(0), 32))


VERTICES, SPHERES = jax.jit(skinning.hand_vertices, static_argnums=0), jax.jit(hand.spheres)


def volume(vertices, faces):
    """mm³, above 0 where faces are counter-clockwise seen from outside."""
    a, b, c = np.moveaxis(np.asarray(vertices, np.float64)[..., faces, :], -2, 0)
    return np.sum(np.cross(a, b) * c, axis=(-2, -1)) / 6


def edges(faces):
    return np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])


def lengths(vertices, faces):
    a, b = np.moveaxis(np.asarray(vertices)[..., edges(faces), :], -2, 0)
    return np.linalg.norm(a - b, axis=-1)


def balls(centers, steps=40):
    """The links as rows of balls, centers and radii: round cones without their formula."""
    fingers = [pair for chain in HAND_LINKS.fingers for pair in itertools.pairwise(chain)]
    pairs = np.asarray([*HAND_LINKS.palm, *fingers])
    t, radii = np.linspace(0, 1, steps)[:, None], np.asarray(hand.HAND.sphere_radii)
    a, b = centers[pairs[:, 0]], centers[pairs[:, 1]]
    rows = a + t[..., None] * (b - a)
    return rows.reshape(-1, 3), (
        radii[pairs[:, 0]] + t * (radii[pairs[:, 1]] - radii[pairs[:, 0]])
    ).reshape(-1)


def outside(points, centers, radii):
    """Distance from points to the union of balls."""
    return np.min(np.linalg.norm(points[:, None] - centers, axis=-1) - radii, axis=-1)


def bind_transforms(skin):
    return np.linalg.inv(skin.unbind.astype(np.float64))


def bind_centers(skin):
    t = jnp.asarray(bind_transforms(skin), jnp.float32)
    return np.asarray(
        kinematics.attached_points(t, hand.HAND.sphere_bones, hand.HAND.sphere_centers), np.float64
    )


def test_file_is_read_once(skin):
    assert skinning.hand_skin() is skin and hash(skin) == hash(skinning.hand_skin())


@pytest.mark.slow
def test_lies_on_the_cones(skin):
    """Nowhere inside, and outside by what blending adds: 4 mm / 4 in the palm, again at roots."""
    off = outside(skin.vertices.astype(np.float64), *balls(bind_centers(skin)))
    assert -0.05 < off.min() and off.max() < 2.1 and np.mean(off) < 1
    # Triangles cut a little into the curvature.
    middles = skin.vertices[skin.faces].mean(axis=1).astype(np.float64)
    assert outside(middles, *balls(bind_centers(skin))).min() > -1.6


@pytest.mark.slow
def test_faces_point_outward(skin):
    assert volume(skin.vertices, skin.faces) > 7e5
    a, b, c = np.moveaxis(skin.vertices[skin.faces].astype(np.float64), 1, 0)
    normals = np.cross(b - a, c - a)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    rows = balls(bind_centers(skin))
    rises = outside((a + b + c) / 3 + normals, *rows) - outside((a + b + c) / 3, *rows)
    # A step of 1 mm leads out by as much, except in a cleft, where it reaches the other side.
    assert np.percentile(rises, 1) > 0.8 and np.mean(rises > 0) > 0.998


def test_weights_of_fingers_and_palm(skin):
    np.testing.assert_allclose(skin.weights.sum(axis=1), 1, atol=1e-6)
    assert skin.weights.min() >= 0 and np.count_nonzero(skin.weights, axis=1).max() <= 4
    assert not skin.weights[:, 1].any()  # the palm has them instead of the carpals
    pulled = {name: skin.weights[:, bones].sum(axis=1) for name, bones in FINGERS.items()}
    # Beyond its first bone a finger has no share of another, except for a trace in the cleft.
    for name, bones in FINGERS.items():
        mine = skin.weights[:, bones[1:]].sum(axis=1) > 0.5
        assert (
            mine.any()
            and max(pulled[other][mine].max() for other in FINGERS if other != name) < 0.1
        )
    assert np.mean(np.sum([p > 0.05 for p in pulled.values()], axis=0) > 1) < 0.1


def test_bind_pose_gives_the_stored_vertices(skin):
    again = skinning.skin_vertices(skin, jnp.asarray(bind_transforms(skin), jnp.float32))
    np.testing.assert_allclose(again, skin.vertices, atol=1e-3)


@pytest.mark.slow
def test_blending_is_the_weighted_mean_of_rigid_motions(skin, sampled):
    transforms = hand.bone_transforms(sampled[:2])
    t = np.asarray(transforms, np.float64) @ skin.unbind.astype(np.float64)
    each = np.einsum("pnij,vj->pvni", t[..., :3, :3], skin.vertices) + t[:, None, :, :3, 3]
    np.testing.assert_allclose(
        skinning.skin_vertices(skin, transforms),
        np.einsum("vn,pvni->pvi", skin.weights, each),
        atol=1e-3,
    )


@pytest.mark.slow
def test_palm_moves_the_whole_skin(skin, sampled):
    still = np.concatenate([np.zeros((32, 6), np.float32), sampled[:, 6:]], axis=1)
    palm = np.concatenate([sampled[:, :6], np.zeros((32, 20), np.float32)], axis=1)
    move = np.asarray(hand.bone_transforms(jnp.asarray(palm))[:, 0])
    unmirrored = np.asarray(VERTICES(skin, jnp.asarray(still))) * np.float32([-1, 1, 1])
    moved = np.einsum("pij,pvj->pvi", move[:, :3, :3], unmirrored) + move[:, None, :3, 3]
    np.testing.assert_allclose(VERTICES(skin, sampled), moved * np.float32([-1, 1, 1]), atol=2e-3)


def test_reaches_as_far_as_the_spheres(skin, sampled):
    """The extent of the hand along 100 directions: its outline in all views at once."""
    directions = np.random.default_rng(0).normal(size=(100, 3))
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    centers, radii = map(np.asarray, SPHERES(sampled))
    reach = np.max(centers @ directions.T + radii[..., None], axis=1)
    off = np.max(np.asarray(VERTICES(skin, sampled)) @ directions.T, axis=1) - reach
    assert abs(np.mean(off)) < 1 and np.percentile(np.abs(off), 95) < 3
    assert off.max() < 4 and off.min() > -10  # what linear blending shaves off a closed knuckle


@pytest.mark.slow
def test_stays_close_to_the_spheres(skin, sampled):
    centers, vertices = (
        np.asarray(SPHERES(sampled[:12])[0]),
        np.asarray(VERTICES(skin, sampled[:12])),
    )
    off = [outside(v, *balls(c, 20)) for v, c in zip(vertices, centers, strict=True)]
    assert np.percentile(off, 99) < 3 and np.max(off) < 12
    assert 0 < np.median(off) < 1.5


def test_skin_neither_collapses_nor_tears(skin, sampled):
    vertices = np.asarray(VERTICES(skin, sampled))
    ratio = volume(vertices, skinning.right_hand_faces(skin)) / volume(skin.vertices, skin.faces)
    assert 0.85 < ratio.min() and ratio.max() < 1.1
    stretch = lengths(vertices, skin.faces) / lengths(skin.vertices, skin.faces)
    assert (
        np.percentile(stretch, 99) < 2.5 and np.percentile(stretch, 1) > 0.3 and stretch.max() < 12
    )


def test_right_and_left(skin):
    pose = jnp.zeros(26)
    right = np.asarray(VERTICES(skin, pose))
    assert (
        volume(right, skinning.right_hand_faces(skin)) > 0
        and volume(right * [-1, 1, 1], skin.faces) > 0
    )
    # The thumb is on the same side as that of the spheres.
    thumb = skin.weights[:, FINGERS["thumb"][-1]] > 0.5
    assert (
        np.linalg.norm(right[thumb].mean(axis=0) - np.asarray(SPHERES(pose)[0])[39:41].mean(axis=0))
        < 8
    )


@pytest.mark.slow
def test_scale_stretches_the_posed_hand(skin, sampled):
    scale = jnp.asarray([0.8, 0.9, 1.1])
    stretched = skinning.hand_vertices(skin, sampled[:2], jnp.broadcast_to(scale, (2, 3)))
    np.testing.assert_allclose(
        stretched, VERTICES(skin, sampled[:2]) * scale[None, None], rtol=1e-5, atol=1e-4
    )


def test_vmap_and_batch_agree(skin, sampled):
    one_by_one = jax.jit(jax.vmap(partial(skinning.hand_vertices, skin)))(sampled)
    assert one_by_one.dtype == jnp.float32
    np.testing.assert_allclose(
        VERTICES(skin, sampled.reshape(4, 8, 26)).reshape(one_by_one.shape), one_by_one, atol=1e-4
    )


@pytest.mark.slow
def test_gradient_matches_finite_differences(skin, sampled):
    weigh = jax.random.normal(jax.random.key(1), skin.vertices.shape) / len(skin.vertices)
    value = jax.jit(lambda pose: jnp.sum(weigh * skinning.hand_vertices(skin, pose)))
    gradient, h = jax.grad(value)(sampled[0]), 1e-2
    steps = [(value(sampled[0] + h * e) - value(sampled[0] - h * e)) / (2 * h) for e in jnp.eye(26)]
    np.testing.assert_allclose(gradient, jnp.stack(steps), atol=2e-3)
    assert np.all(np.asarray(gradient) != 0)


@pytest.mark.slow
def test_bound_mesh_gets_our_weights(skin):
    again = skinning.bind_mesh(skin.vertices, skin.faces, unbind=skin.unbind)
    np.testing.assert_allclose(again.weights, skin.weights, atol=1e-3)
    np.testing.assert_array_equal(again.unbind, skin.unbind)
    rest = skinning.skin_vertices(skin, jnp.broadcast_to(jnp.eye(4), (17, 4, 4)))
    bound_at_rest = skinning.bind_mesh(np.asarray(rest), skin.faces, skin.weights)
    np.testing.assert_allclose(
        skinning.hand_vertices(bound_at_rest, jnp.zeros(26)),
        VERTICES(skin, jnp.zeros(26)),
        atol=1e-3,
    )
