from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.pose.skeleton import SKELETONS
from handjax.rigs import body, spheres
from handjax.synthetic import cones, people
from handjax.synthetic.render import mesh_depth

N, SIZE = 48, 64
NAMES = SKELETONS["body18"].joints


draw = jax.jit(jax.vmap(lambda key: people.body_sample(key, image_size=SIZE)))


@cache
def drawn():
    return jax.tree.map(np.asarray, draw(jax.random.split(jax.random.key(0), N)))


@pytest.mark.slow
def test_body_sample_keeps_the_contract():
    sample = drawn()
    assert {key: (value.shape[1:], value.dtype.name) for key, value in sample.items()} == {
        "image": ((SIZE, SIZE, 3), "uint8"),
        "depth": ((SIZE, SIZE), "float32"),
        "mask": ((SIZE, SIZE), "bool"),
        "k": ((3, 3), "float32"),
        "joints_xyz": ((18, 3), "float32"),
        "joints_uv": ((18, 2), "float32"),
        "visible": ((18,), "bool"),
    }
    assert all(np.isfinite(value).all() for value in sample.values())
    np.testing.assert_array_equal(sample["mask"], sample["depth"] > 0)
    assert sample["mask"].mean((1, 2)).min() > 0.02 and 0.05 < sample["mask"].mean() < 0.25
    box = sample["k"][:, 0, 0] * 2000 / sample["joints_xyz"][:, 0, 2] / SIZE
    assert 0.75 <= box.min() < 0.8 and 0.95 < box.max() <= 1.001
    assert sample["image"].std((1, 2)).min() > 5


@pytest.mark.slow
def test_camera_projects_joints_and_surface_is_in_front():
    sample = drawn()
    at = np.einsum("nij,nkj->nki", sample["k"].astype(np.float64), sample["joints_xyz"])
    np.testing.assert_allclose(at[..., :2] / at[..., 2:], sample["joints_uv"], atol=2e-3)
    u, v = (np.clip(np.rint(sample["joints_uv"][..., i]).astype(int), 0, SIZE - 1) for i in (0, 1))
    rows, seen = np.arange(N)[:, None], sample["visible"]
    assert sample["mask"][rows, v, u][seen].all()
    before = (sample["joints_xyz"][..., 2] - sample["depth"][rows, v, u])[seen]
    assert -60 < before.min() and before.max() < 250 and np.mean(before > 0) > 0.9
    assert 0.55 < seen.mean() < 0.9


def test_people_have_many_sizes_and_directions():
    at = dict(zip(NAMES, drawn()["joints_xyz"].astype(float).swapaxes(0, 1), strict=True))
    up, ahead, left = (
        at["neck"] - at["torso"],
        at["nose"] - at["neck"],
        at["left_shoulder"] - at["right_shoulder"],
    )
    assert (
        np.einsum("ni,ni->n", np.cross(up, ahead), left) > 0
    ).mean() > 0.85  # heads turn, and so not all
    thigh = np.linalg.norm(at["left_knee"] - at["left_hip"], axis=-1)
    assert 330 < thigh.min() < 400 and 440 < thigh.max() < 520
    facing = left[:, 0]  # left is at the right of the image where the person faces the camera
    assert 0.25 < (facing > 100).mean() and 0.25 < (facing < -100).mean()
    assert (at["head"][:, 1] < at["pelvis"][:, 1]).all()  # y is down


def test_poses_stay_within_the_limits():
    keys = jax.random.split(jax.random.key(1), 300)
    motion = jax.jit(
        jax.vmap(
            lambda k: people.sample_motion(k, (-3.0, 3.0), (-0.3, 0.2), (-0.1, 0.1), (0.2, 1.0))
        )
    )(keys)
    assert not np.any(body.beyond_limits(motion)) and not np.any(motion[:, :3])
    root = np.asarray(motion[:, 3:6])
    assert (np.abs(root) <= (0.1001, 0.3001, 3.001)).all() and np.ptp(root[:, 2]) > 5
    high = np.minimum(np.array(body.LIMITS), 9)[6:, 1]
    reached = np.asarray(motion[:, 6:]).max(0)
    assert np.all(reached <= high + 1e-6) and (reached > 0.3 * high).mean() > 0.8


def test_body_samples_are_deterministic_and_all_differ():
    assert len(np.unique(drawn()["joints_xyz"][:, 5, 0])) == N
    backwards = draw(jax.random.split(jax.random.key(0), N)[::-1])
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[::-1], b), drawn(), backwards)


def cone(radii=(60.0, 30.0), length=300.0):
    ends = jnp.array([[[-length / 2, 20.0, 1000.0], [length / 2, -10.0, 1050.0]]])
    return ends, jnp.array([radii])


def balls(ends, radii, count):
    """Centers and radii of closely spaced balls from one end of a cone to the other."""
    (first, last), (a, b), parts = (
        np.asarray(ends[0]),
        np.asarray(radii[0]),
        np.linspace(0, 1, count, dtype=np.float32),
    )
    return first + parts[:, None] * (last - first), a + parts * (b - a)


@pytest.mark.slow
def test_a_cone_is_the_hull_of_its_balls():
    ends, radii = cone()
    vertices, normals = (np.asarray(a, np.float64) for a in cones.cone_surfaces(ends, radii))
    np.testing.assert_allclose(np.linalg.norm(normals, axis=-1), 1, atol=1e-5)
    middles, sizes = balls(ends, radii, 401)
    distance = np.linalg.norm(vertices[:, None] - middles[None], axis=-1) - sizes[None]
    np.testing.assert_allclose(distance.min(1), 0, atol=0.05)
    faces = cones.cone_faces(1)
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    outward = np.einsum("fi,fi->f", np.cross(b - a, c - a), (normals[faces]).sum(1))
    assert (outward > 0).all()
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()  # closed
    assert (
        len(cones.cone_faces(3)) == 3 * len(faces)
        and cones.cone_faces(3).max() == 3 * len(vertices) - 1
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "radii, length, off_mm", [((60.0, 30.0), 300.0, 4), ((80.0, 40.0), 80.0, 12)]
)
def test_a_cone_renders_like_many_spheres(radii, length, off_mm):
    ends, radii = cone(radii, length)
    k = jnp.array([[200.0, 0, 31.5], [0, 200.0, 31.5], [0, 0, 1]])
    vertices, _ = cones.cone_surfaces(ends, radii)
    depth, _ = mesh_depth(vertices, cones.cone_faces(1), k, 64, 64, projection="pinhole")
    exact, _ = spheres.sphere_depth_pinhole(*map(jnp.asarray, balls(ends, radii, 200)), k, 64, 64)
    depth, exact = np.asarray(depth), np.asarray(exact)
    both = (depth > 0) & (exact > 0)
    assert ((depth > 0) != (exact > 0)).sum() < 0.12 * both.sum() and both.sum() > 300
    assert np.abs(depth - exact)[both].mean() < off_mm and np.all(
        (depth - exact)[both] > -0.5
    )  # flat sides lie inside
