import importlib.util
import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import sparse

from handjax.rigs import hand, kinematics, poses
from handjax.rigs import skinning as mesh

FINGERS = {
    name: [i for i, bone in enumerate(hand.HAND.bones) if bone.startswith(name)]
    for name in hand.FINGERS
}


@pytest.fixture(scope="module")
def skin():
    return mesh.hand_skin()


@pytest.fixture(scope="module")
def sampled():
    """32 sampled poses, mm and rad."""
    return jax.jit(jax.vmap(poses.sample_pose))(jax.random.split(jax.random.key(0), 32))


@pytest.fixture(scope="module")
def script(repo):
    spec = importlib.util.spec_from_file_location("make_skin", repo / "scripts" / "make_skin.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


VERTICES, SPHERES = jax.jit(mesh.hand_vertices, static_argnums=0), jax.jit(hand.spheres)


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
    """The links as rows of balls, centres and radii: round cones without their formula."""
    fingers = [pair for chain in mesh.HAND_LINKS.fingers for pair in itertools.pairwise(chain)]
    pairs = np.asarray([*mesh.HAND_LINKS.palm, *fingers])
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


def closed(faces):
    """Whether every edge is in just two faces, once in each direction, and vertices' faces hang together."""
    directed = {tuple(edge) for edge in edges(faces).tolist()}
    fans = np.bincount(
        faces.ravel()
    )  # as many faces as neighbours about a vertex whose faces form one fan
    neighbours = np.bincount([a for a, _ in directed])
    return (
        len(directed) == 3 * len(faces)
        and all((b, a) in directed for a, b in directed)
        and np.array_equal(fans, neighbours)
    )


def test_is_one_closed_surface_without_handles(skin):
    v, f = len(skin.vertices), len(skin.faces)
    assert closed(skin.faces)
    assert np.array_equal(np.unique(skin.faces), np.arange(v))
    assert v - len(edges(skin.faces)) // 2 + f == 2
    graph = sparse.coo_matrix((np.ones(3 * f), tuple(edges(skin.faces).T)), (v, v))
    assert sparse.csgraph.connected_components(graph)[0] == 1


def test_an_open_or_pinched_surface_is_not_closed(skin):
    assert not closed(skin.faces[1:])
    assert not closed(np.concatenate([skin.faces[:1, ::-1], skin.faces[1:]]))


def test_sizes(skin, script):
    assert 3000 <= len(skin.faces) <= 7000
    assert script.OUT.stat().st_size < 200_000
    assert skin.weights.shape == (len(skin.vertices), 17) and skin.unbind.shape == (17, 4, 4)
    assert (
        2 < lengths(skin.vertices, skin.faces).min()
        and lengths(skin.vertices, skin.faces).max() < 14
    )
    angles = script.corner_angles(skin.vertices, skin.faces)
    assert angles.min() > 15 and np.percentile(angles.min(axis=1), 1) > 30


def test_is_read_once(skin):
    assert mesh.hand_skin() is skin and hash(skin) == hash(mesh.hand_skin())


def test_lies_on_the_cones(skin):
    """Nowhere inside, and outside by no more than what melting adds: a quarter of 4 mm in the palm, and again at a root."""
    off = outside(skin.vertices.astype(np.float64), *balls(bind_centers(skin)))
    assert -0.05 < off.min() and off.max() < 2.1 and np.mean(off) < 1
    # Triangles cut through the round a little.
    middles = skin.vertices[skin.faces].mean(axis=1).astype(np.float64)
    assert outside(middles, *balls(bind_centers(skin))).min() > -1.6


def test_looks_outward(skin):
    assert volume(skin.vertices, skin.faces) > 7e5
    a, b, c = np.moveaxis(skin.vertices[skin.faces].astype(np.float64), 1, 0)
    normals = np.cross(b - a, c - a)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    rows = balls(bind_centers(skin))
    rises = outside((a + b + c) / 3 + normals, *rows) - outside((a + b + c) / 3, *rows)
    # A step of 1 mm leads out by as much, but from the bottom of a cleft, where it ends at the other side.
    assert np.percentile(rises, 1) > 0.8 and np.mean(rises > 0) > 0.998


def test_weights(skin):
    np.testing.assert_allclose(skin.weights.sum(axis=1), 1, atol=1e-6)
    assert skin.weights.min() >= 0 and np.count_nonzero(skin.weights, axis=1).max() <= 4
    assert not skin.weights[:, 1].any()  # the carpals are the palm
    pulled = {name: skin.weights[:, bones].sum(axis=1) for name, bones in FINGERS.items()}
    # Beyond its first bone a finger is its own, but for a trace in the cleft.
    for name, bones in FINGERS.items():
        mine = skin.weights[:, bones[1:]].sum(axis=1) > 0.5
        assert (
            mine.any()
            and max(pulled[other][mine].max() for other in FINGERS if other != name) < 0.1
        )
    assert np.mean(np.sum([p > 0.05 for p in pulled.values()], axis=0) > 1) < 0.1


def test_bind_pose_gives_the_skin_as_made(skin):
    again = mesh.skin_vertices(skin, jnp.asarray(bind_transforms(skin), jnp.float32))
    np.testing.assert_allclose(again, skin.vertices, atol=1e-3)
    np.testing.assert_allclose(
        hand.bone_transforms(jnp.asarray(mesh.BIND_POSE)), bind_transforms(skin), atol=1e-4
    )


def test_blending_is_the_weighted_mean_of_rigid_motions(skin, sampled):
    transforms = hand.bone_transforms(sampled[:2])
    t = np.asarray(transforms, np.float64) @ skin.unbind.astype(np.float64)
    each = np.einsum("pnij,vj->pvni", t[..., :3, :3], skin.vertices) + t[:, None, :, :3, 3]
    np.testing.assert_allclose(
        mesh.skin_vertices(skin, transforms),
        np.einsum("vn,pvni->pvi", skin.weights, each),
        atol=1e-3,
    )


def test_the_palm_carries_all_of_it(skin, sampled):
    still = np.concatenate([np.zeros((32, 6), np.float32), sampled[:, 6:]], axis=1)
    palm = np.concatenate([sampled[:, :6], np.zeros((32, 20), np.float32)], axis=1)
    move = np.asarray(hand.bone_transforms(jnp.asarray(palm))[:, 0])
    unmirrored = np.asarray(VERTICES(skin, jnp.asarray(still))) * np.float32([-1, 1, 1])
    moved = np.einsum("pij,pvj->pvi", move[:, :3, :3], unmirrored) + move[:, None, :3, 3]
    np.testing.assert_allclose(VERTICES(skin, sampled), moved * np.float32([-1, 1, 1]), atol=2e-3)


def test_reaches_as_far_as_the_spheres(skin, sampled):
    """How far the hand reaches in each of 100 directions: the outline, in all views at once."""
    directions = np.random.default_rng(0).normal(size=(100, 3))
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    centers, radii = map(np.asarray, SPHERES(sampled))
    reach = np.max(centers @ directions.T + radii[..., None], axis=1)
    off = np.max(np.asarray(VERTICES(skin, sampled)) @ directions.T, axis=1) - reach
    assert abs(np.mean(off)) < 1 and np.percentile(np.abs(off), 95) < 3
    assert off.max() < 4 and off.min() > -10  # what linear blending shaves off a closed knuckle


def test_stays_about_the_spheres(skin, sampled):
    centers, vertices = (
        np.asarray(SPHERES(sampled[:12])[0]),
        np.asarray(VERTICES(skin, sampled[:12])),
    )
    off = [outside(v, *balls(c, 20)) for v, c in zip(vertices, centers, strict=True)]
    assert np.percentile(off, 99) < 3 and np.max(off) < 12
    assert 0 < np.median(off) < 1.5


def test_neither_collapses_nor_tears(skin, sampled):
    vertices = np.asarray(VERTICES(skin, sampled))
    ratio = volume(vertices, mesh.right_hand_faces(skin)) / volume(skin.vertices, skin.faces)
    assert 0.85 < ratio.min() and ratio.max() < 1.1
    stretch = lengths(vertices, skin.faces) / lengths(skin.vertices, skin.faces)
    assert (
        np.percentile(stretch, 99) < 2.5 and np.percentile(stretch, 1) > 0.3 and stretch.max() < 12
    )


def test_right_and_left(skin):
    pose = jnp.zeros(26)
    right = np.asarray(VERTICES(skin, pose))
    assert (
        volume(right, mesh.right_hand_faces(skin)) > 0
        and volume(right * [-1, 1, 1], skin.faces) > 0
    )
    # As the spheres do: the thumb lies on the same side.
    thumb = skin.weights[:, FINGERS["thumb"][-1]] > 0.5
    assert (
        np.linalg.norm(right[thumb].mean(axis=0) - np.asarray(SPHERES(pose)[0])[39:41].mean(axis=0))
        < 8
    )


def test_scale_stretches_the_posed_hand(skin, sampled):
    scale = jnp.asarray([0.8, 0.9, 1.1])
    stretched = mesh.hand_vertices(skin, sampled[:2], jnp.broadcast_to(scale, (2, 3)))
    np.testing.assert_allclose(
        stretched, VERTICES(skin, sampled[:2]) * scale[None, None], rtol=1e-5, atol=1e-4
    )


def test_vmap_and_batch_agree(skin, sampled):
    one_by_one = jax.jit(jax.vmap(partial(mesh.hand_vertices, skin)))(sampled)
    assert one_by_one.dtype == jnp.float32
    np.testing.assert_allclose(
        VERTICES(skin, sampled.reshape(4, 8, 26)).reshape(one_by_one.shape), one_by_one, atol=1e-4
    )


def test_gradient_meets_finite_differences(skin, sampled):
    weigh = jax.random.normal(jax.random.key(1), skin.vertices.shape) / len(skin.vertices)
    value = jax.jit(lambda pose: jnp.sum(weigh * mesh.hand_vertices(skin, pose)))
    gradient, h = jax.grad(value)(sampled[0]), 1e-2
    steps = [(value(sampled[0] + h * e) - value(sampled[0] - h * e)) / (2 * h) for e in jnp.eye(26)]
    np.testing.assert_allclose(gradient, jnp.stack(steps), atol=2e-3)
    assert np.all(np.asarray(gradient) != 0)


def test_ones_own_mesh_gets_our_weights(skin):
    again = mesh.skin_from(skin.vertices, skin.faces, unbind=skin.unbind)
    np.testing.assert_allclose(again.weights, skin.weights, atol=1e-3)
    np.testing.assert_array_equal(again.unbind, skin.unbind)
    rest = mesh.skin_vertices(skin, jnp.broadcast_to(jnp.eye(4), (17, 4, 4)))
    bound_at_rest = mesh.skin_from(np.asarray(rest), skin.faces, skin.weights)
    np.testing.assert_allclose(
        mesh.hand_vertices(bound_at_rest, jnp.zeros(26)), VERTICES(skin, jnp.zeros(26)), atol=1e-3
    )


@pytest.mark.parametrize("cell_mm", [9.0, 10.0])
def test_is_closed_whatever_the_cell(cell_mm):
    skin = mesh.build_hand_skin(cell_mm)
    assert closed(skin.faces) and volume(skin.vertices, skin.faces) > 7e5


@pytest.mark.slow
def test_the_packaged_skin_is_the_one_that_is_made(skin):
    made = mesh.build_hand_skin()
    np.testing.assert_array_equal(made.faces, skin.faces)
    np.testing.assert_allclose(made.vertices, skin.vertices, atol=1e-3)
    np.testing.assert_allclose(made.weights, skin.weights, atol=1e-4)
    np.testing.assert_allclose(made.unbind, skin.unbind, atol=1e-4)


def test_script_writes_what_is_made_and_never_over_a_file(script, tmp_path, capsys):
    out = tmp_path / "skin.npz"
    script.main(["--out", str(out), "--cell-mm", "10"])
    assert "faces" in capsys.readouterr().out
    with np.load(out, allow_pickle=False) as file:
        assert set(file) == {"vertices", "faces", "weights", "unbind"} and closed(file["faces"])
    before = out.read_bytes()
    with pytest.raises(SystemExit):
        script.main(["--out", str(out)])
    assert "--force" in capsys.readouterr().err and out.read_bytes() == before
    for wrong in (
        ["--out", str(tmp_path / "a" / "skin.npz")],
        ["--out", str(tmp_path / "b.obj")],
        ["--cell-mm", "0", "--force"],
    ):
        with pytest.raises(SystemExit):
            script.main(wrong)
