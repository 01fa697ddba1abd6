"""The hand that is fitted to a depth image: its numbers there and back, what is observed, and what the objective says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.fitting import objective as fitting
from handjax.pose.cube import EXTENT_MM
from handjax.rigs import hand, poses
from handjax.rigs.spheres import sphere_depth_orthographic

SIZE = 32

spheres, forearm, free_from = (
    jax.jit(f) for f in (fitting.spheres, fitting.forearm, fitting.free_from)
)


@jax.jit
def render(fit, arm=False):
    centers, radii = fitting.spheres(fit)
    arm_centers, arm_radii = fitting.forearm(fit)
    arm_radii = jnp.where(arm, arm_radii, 0.0)
    both = jnp.concatenate([centers, arm_centers]), jnp.concatenate([radii, arm_radii])
    return sphere_depth_orthographic(*both, SIZE)[0]


@jax.jit
def judged(free, depth, render=1.0):
    """Value, terms and gradient."""

    def value(free, previous):
        return fitting.objective(
            free, fitting.observe(depth, points=256), previous, weights={"render": render}
        )

    (total, parts), grad = jax.value_and_grad(value, has_aux=True)(free, free)
    return total, parts, grad


@pytest.fixture(scope="module")
def fits():
    """Eight sampled hands of different build."""
    keys = jax.random.split(jax.random.key(5), 8)
    pose = jax.jit(jax.vmap(poses.sample_pose))(keys)
    u = np.random.default_rng(0).uniform(-1, 1, (8, 8)).astype(np.float32)
    return fitting.Fit(
        pose,
        jnp.asarray(-0.1 + 0.1 * u[:, 0]),
        jnp.asarray(0.1 * u[:, 1:6]),
        jnp.asarray(0.3 * u[:, 6:]),
    )


def one(fits, i=0):
    return jax.tree.map(lambda leaf: leaf[i], fits)


def test_a_fit_is_the_hand_of_its_pose(fits):
    sizes = jnp.broadcast_to(jnp.exp(fits.log_size)[:, None], (8, 3))
    centers, radii = hand.spheres(fits.pose, sizes, jnp.exp(fits.log_fingers))
    found = spheres(fits)
    np.testing.assert_allclose(found[0], centers, atol=1e-3)
    np.testing.assert_allclose(found[1], radii, rtol=1e-6)
    tips = jax.jit(fitting.joints21)(fits)[:, [4, 8, 12, 16, 20]]
    np.testing.assert_allclose(tips, centers[:, [39, 15, 21, 27, 33]], atol=1e-3)


def test_there_and_back(fits):
    @jax.jit
    def turned(fit):
        free = fitting.free_from(fit)
        free = free._replace(
            turn=free.turn + jnp.asarray([0.4, -0.2, 0.9])[None], move=free.move + 0.1
        )
        back = fitting.fit_from(free)
        return (
            free,
            back,
            fitting.fit_from(fitting.free_from(back)),
            fitting.shifted(back, jnp.full((8, 3), 7.0)),
        )

    free, fit, again, shifted = turned(fits)
    np.testing.assert_allclose(spheres(fit)[0], spheres(free)[0], atol=1e-3)
    np.testing.assert_allclose(spheres(again)[0], spheres(fit)[0], atol=1e-3)
    np.testing.assert_allclose(spheres(shifted)[0], spheres(fit)[0] + 7, atol=1e-3)
    np.testing.assert_array_equal(fit.log_fingers, fits.log_fingers)
    # The turn is one: of a hand's distances none changes.
    away = [
        np.linalg.norm(c[:, :, None] - c[:, None], axis=-1)
        for c in map(np.asarray, (spheres(fit)[0], spheres(fits)[0]))
    ]
    np.testing.assert_allclose(*away, atol=2e-3)


def test_the_forearm_goes_on_from_the_wrist(fits):
    arm, radii = forearm(fits)
    wrist, middle = spheres(fits)[0][:, 5], spheres(fits)[0][:, 18]
    size = np.exp(fits.log_size)
    np.testing.assert_allclose(np.linalg.norm(arm[:, 0] - wrist, axis=-1), 20 * size, rtol=1e-4)
    along = np.sum((arm[:, -1] - wrist) * (wrist - middle), -1)
    assert (
        along
        / np.linalg.norm(arm[:, -1] - wrist, axis=-1)
        / np.linalg.norm(wrist - middle, axis=-1)
        > 0.8
    ).all()
    assert (radii > 15).all()


def test_what_is_observed():
    depth = np.full((12, 12), 100.0, np.float32)
    depth[3:7, 4:10] = np.arange(24).reshape(4, 6)
    observe = jax.jit(fitting.observe, static_argnames="points")
    seen = observe(jnp.asarray(depth), points=8)
    cell = EXTENT_MM / 12
    assert seen.counted.all()
    cells = np.round(np.asarray(seen.points[:, :2]) / cell + 6).astype(int)
    np.testing.assert_array_equal(depth[cells[:, 1], cells[:, 0]], seen.points[:, 2])
    assert len(np.unique(seen.points[:, 2])) == 8
    # By hand: to the nearest cell of the other kind, less half a cell.
    rows, columns = np.indices(depth.shape)
    inside = depth < 99
    to = [
        np.hypot(rows[..., None] - rows[m], columns[..., None] - columns[m]).min(-1)
        for m in (inside, ~inside)
    ]
    np.testing.assert_allclose(
        seen.beside, np.where(inside, 0.5 - to[1], to[0] - 0.5) * cell, rtol=1e-5
    )
    few = observe(jnp.asarray(depth), points=40)
    assert few.counted.sum() == 24
    nothing = observe(jnp.full((12, 12), 100.0, jnp.float32), points=8)
    assert not nothing.counted.any()
    assert np.isfinite(nothing.beside).all()


def test_the_true_hand_explains_its_depth_and_another_does_not(fits):
    for i in (0, 1, 2):
        fit = one(fits, i)
        depth = render(fit)
        total, parts, grad = judged(free_from(fit), depth)
        assert parts["data"] < 0.5
        assert parts["render"] < 1e-3
        assert parts["smooth"] == 0
        assert set(parts) == set(fitting.WEIGHTS)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grad))
        np.testing.assert_array_equal(grad.base, 0)
        np.testing.assert_allclose(
            total, sum(fitting.WEIGHTS[name] * part for name, part in parts.items()), rtol=1e-5
        )
        moved = fit._replace(
            pose=fit.pose.at[3:6].add(jnp.asarray([12.0, -9.0, 10.0])).at[7].add(0.5)
        )
        worse, apart, _ = judged(free_from(moved), depth)
        assert worse > 1.5 * total
        assert apart["data"] > 10
        assert apart["outside"] > parts["outside"]


def test_the_gradient_is_the_slope(fits):
    """Along random ways; without `render`, whose value jumps with the silhouette, of which its gradient knows nothing."""
    depth = render(one(fits, 3))
    fit = one(fits, 3)
    free = free_from(fit._replace(pose=fit.pose.at[6:].add(0.1).at[3:6].add(5.0)))
    _, _, grad = judged(free, depth, 0.0)
    rng = np.random.default_rng(1)
    for _ in range(4):
        way = jax.tree.map(
            lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), jnp.float32), free
        )._replace(base=0 * free.base)
        ahead, behind = (
            judged(jax.tree.map(lambda f, w, s=s: f + s * w, free, way), depth, 0.0)[0]
            for s in (1e-3, -1e-3)
        )
        slope = sum(jax.tree.leaves(jax.tree.map(lambda g, w: (g * w).sum(), grad, way)))
        np.testing.assert_allclose(slope, (ahead - behind) / 2e-3, rtol=0.03, atol=10.0)


def test_a_forearm_is_explained_and_not_asked_for(fits):
    fit = one(fits, 0)
    with_arm = render(fit, True)
    assert (np.asarray(with_arm) < 99).sum() > (np.asarray(render(fit)) < 99).sum() + 10
    _, parts, _ = judged(free_from(fit), with_arm)
    assert parts["data"] < 0.5
    _, parts, _ = judged(free_from(fit), render(fit))  # no forearm there
    assert parts["render"] < 1e-3


def test_nothing_to_see_is_no_reason_for_nan(fits):
    total, parts, grad = judged(free_from(one(fits)), jnp.full((SIZE, SIZE), 100.0, jnp.float32))
    assert np.isfinite(total)
    assert parts["data"] == 0
    assert parts["outside"] > 100
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grad))


def test_starts_look_in_all_directions(fits):
    observed = jax.jit(fitting.observe)(render(one(fits, 1)))
    found = jax.jit(fitting.starts)(observed)
    points = np.asarray(observed.points)[np.asarray(observed.counted)]
    centers = np.asarray(spheres(found)[0])
    np.testing.assert_allclose(centers.mean(1), np.broadcast_to(points.mean(0), (24, 3)), atol=1e-2)
    # Where the palms point, against any rotation: the angle between rotations, from their trace.
    turns = np.asarray(free_from(found).base, np.float64)
    np.testing.assert_allclose(np.linalg.det(turns), 1, atol=1e-5)
    q = np.random.default_rng(2).normal(size=(500, 4))
    w, x, y, z = (q / np.linalg.norm(q, axis=1, keepdims=True)).T
    any_turn = np.stack(
        [
            np.stack([1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)], -1),
            np.stack([2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)], -1),
            np.stack([2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)], -1),
        ],
        -2,
    )
    trace = np.einsum("aij,bij->ab", any_turn, turns)
    assert np.degrees(np.arccos(np.clip((trace - 1) / 2, -1, 1))).min(1).max() < 63


def test_the_hand_of_given_centers(fits):
    find = jax.jit(jax.vmap(fitting.from_centers))
    true = spheres(fits)[0]
    off = np.linalg.norm(spheres(find(true))[0] - true, axis=-1).mean(-1)
    assert off.max() < 2.5
    assert np.median(off) < 1.2
    noise = jnp.asarray(np.random.default_rng(3).normal(0, 8, true.shape), jnp.float32)
    off = np.linalg.norm(spheres(find(true + noise))[0] - true, axis=-1).mean(-1)
    assert off.max() < 10  # of the noise's 12.8: a hand cannot follow it
