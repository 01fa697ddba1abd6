"""The hand fitted to a depth image: conversions, observation, objective, inverse kinematics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.fitting import hand_state
from handjax.fitting.hand_state import HandState
from handjax.fitting.inverse_kinematics import hand_from_centers
from handjax.fitting.objective import WEIGHTS, initial_hands, objective
from handjax.fitting.observation import observe
from handjax.pose.cube import EXTENT_MM
from handjax.rigs import hand, poses
from handjax.rigs.spheres import sphere_depth_orthographic

SIZE = 32

spheres, forearm, to_parameters = (
    jax.jit(f) for f in (hand_state.spheres, hand_state.forearm, hand_state.to_parameters)
)


@jax.jit
def render(fit, arm=False):
    centers, radii = hand_state.spheres(fit)
    arm_centers, arm_radii = hand_state.forearm(fit)
    arm_radii = jnp.where(arm, arm_radii, 0.0)
    both = jnp.concatenate([centers, arm_centers]), jnp.concatenate([radii, arm_radii])
    return sphere_depth_orthographic(*both, SIZE)[0]


@jax.jit
def judged(free, depth, render=1.0):
    """Value, terms and gradient."""

    def value(free, previous):
        return objective(free, observe(depth, points=256), previous, weights={"render": render})

    (total, parts), grad = jax.value_and_grad(value, has_aux=True)(free, free)
    return total, parts, grad


@pytest.fixture(scope="module")
def fits():
    """Eight sampled hands with different sizes."""
    keys = jax.random.split(jax.random.key(5), 8)
    pose = jax.jit(jax.vmap(poses.sample_pose))(keys)
    u = np.random.default_rng(0).uniform(-1, 1, (8, 10)).astype(np.float32)
    return HandState(
        pose,
        jnp.asarray(-0.1 + 0.1 * u[:, 0]),
        jnp.asarray(0.1 * u[:, 1:6]),
        jnp.asarray(0.3 * u[:, 6:8]),
        jnp.asarray(-0.2 + 0.1 * u[:, 8:]),
    )


def one(fits, i=0):
    return jax.tree.map(lambda leaf: leaf[i], fits)


@pytest.mark.slow
def test_spheres_are_those_of_the_pose(fits):
    sizes = jnp.broadcast_to(jnp.exp(fits.log_size)[:, None], (8, 3))
    centers, radii = hand.spheres(fits.pose, sizes, jnp.exp(fits.log_fingers))
    found = spheres(fits)
    np.testing.assert_allclose(found[0], centers, atol=1e-3)
    of_palm = np.array([bone < 2 for bone in hand.HAND.sphere_bones])
    thick = np.exp(np.where(of_palm, fits.log_flesh[:, 1:], fits.log_flesh[:, :1]))
    np.testing.assert_allclose(found[1], radii * thick, rtol=1e-6)
    tips = jax.jit(hand_state.joints21)(fits)[:, [4, 8, 12, 16, 20]]
    np.testing.assert_allclose(tips, centers[:, [39, 15, 21, 27, 33]], atol=1e-3)


@pytest.mark.slow
def test_parameters_and_state_are_the_same_hand(fits):
    @jax.jit
    def turned(fit):
        free = hand_state.to_parameters(fit)
        free = free._replace(
            rotation=free.rotation + jnp.asarray([0.4, -0.2, 0.9])[None],
            translation=free.translation + 0.1,
        )
        back = hand_state.from_parameters(free)
        return (
            free,
            back,
            hand_state.from_parameters(hand_state.to_parameters(back)),
            hand_state.translated(back, jnp.full((8, 3), 7.0)),
        )

    free, fit, again, shifted = turned(fits)
    np.testing.assert_allclose(spheres(fit)[0], spheres(free)[0], atol=1e-3)
    np.testing.assert_allclose(spheres(again)[0], spheres(fit)[0], atol=1e-3)
    np.testing.assert_allclose(spheres(shifted)[0], spheres(fit)[0] + 7, atol=1e-3)
    np.testing.assert_array_equal(fit.log_fingers, fits.log_fingers)
    # It is a rigid motion: distances within a hand do not change.
    away = [
        np.linalg.norm(c[:, :, None] - c[:, None], axis=-1)
        for c in map(np.asarray, (spheres(fit)[0], spheres(fits)[0]))
    ]
    np.testing.assert_allclose(*away, atol=2e-3)


def test_forearm_extends_from_the_wrist(fits):
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


def test_observation_of_a_small_image():
    depth = np.full((12, 12), 100.0, np.float32)
    depth[3:7, 4:10] = np.arange(24).reshape(4, 6)
    observed = jax.jit(observe, static_argnames="points")
    seen = observed(jnp.asarray(depth), points=8)
    cell = EXTENT_MM / 12
    assert seen.valid.all()
    cells = np.round(np.asarray(seen.points[:, :2]) / cell + 6).astype(int)
    np.testing.assert_array_equal(depth[cells[:, 1], cells[:, 0]], seen.points[:, 2])
    assert len(np.unique(seen.points[:, 2])) == 8
    # By brute force: to the nearest cell of the other kind, less half a cell.
    rows, columns = np.indices(depth.shape)
    inside = depth < 99
    to = [
        np.hypot(rows[..., None] - rows[m], columns[..., None] - columns[m]).min(-1)
        for m in (inside, ~inside)
    ]
    np.testing.assert_allclose(
        seen.outside, np.where(inside, 0.5 - to[1], to[0] - 0.5) * cell, rtol=1e-5
    )
    few = observed(jnp.asarray(depth), points=40)
    assert few.valid.sum() == 24
    nothing = observed(jnp.full((12, 12), 100.0, jnp.float32), points=8)
    assert not nothing.valid.any()
    assert np.isfinite(nothing.outside).all()


@pytest.mark.slow
def test_only_the_true_hand_explains_its_depth(fits):
    for i in (0, 1, 2):
        fit = one(fits, i)
        depth = render(fit)
        total, parts, grad = judged(to_parameters(fit), depth)
        assert parts["data"] < 0.5
        assert parts["render"] < 1e-3
        assert parts["smooth"] == 0
        assert set(parts) == set(WEIGHTS)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grad))
        np.testing.assert_array_equal(grad.base, 0)
        np.testing.assert_allclose(
            total, sum(WEIGHTS[name] * part for name, part in parts.items()), rtol=1e-5
        )
        moved = fit._replace(
            pose=fit.pose.at[3:6].add(jnp.asarray([12.0, -9.0, 10.0])).at[7].add(0.5)
        )
        worse, apart, _ = judged(to_parameters(moved), depth)
        assert worse > 1.5 * total
        assert apart["data"] > 10
        assert apart["outside"] > parts["outside"]


@pytest.mark.slow
def test_gradient_matches_finite_differences(fits):
    """Along random directions, without `render`, whose value jumps at silhouettes."""
    depth = render(one(fits, 3))
    fit = one(fits, 3)
    free = to_parameters(fit._replace(pose=fit.pose.at[6:].add(0.1).at[3:6].add(5.0)))
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


@pytest.mark.slow
def test_forearm_is_optional(fits):
    fit = one(fits, 0)
    with_arm = render(fit, True)
    assert (np.asarray(with_arm) < 99).sum() > (np.asarray(render(fit)) < 99).sum() + 10
    _, parts, _ = judged(to_parameters(fit), with_arm)
    assert parts["data"] < 0.5
    _, parts, _ = judged(to_parameters(fit), render(fit))  # no forearm there
    assert parts["render"] < 1e-3


def test_empty_depth_gives_no_nan(fits):
    total, parts, grad = judged(
        to_parameters(one(fits)), jnp.full((SIZE, SIZE), 100.0, jnp.float32)
    )
    assert np.isfinite(total)
    assert parts["data"] == 0
    assert parts["outside"] > 100
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grad))


def test_initial_hands_cover_all_directions(fits):
    observed = jax.jit(observe)(render(one(fits, 1)))
    found = jax.jit(initial_hands)(observed)
    points = np.asarray(observed.points)[np.asarray(observed.valid)]
    centers = np.asarray(spheres(found)[0])
    np.testing.assert_allclose(centers.mean(1), np.broadcast_to(points.mean(0), (24, 3)), atol=1e-2)
    # The angle of any rotation to those of the palms, from their trace.
    turns = np.asarray(to_parameters(found).base, np.float64)
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


@pytest.mark.slow
def test_hand_from_centers_and_noisy_centers(fits):
    find = jax.jit(jax.vmap(hand_from_centers))
    true = spheres(fits)[0]
    off = np.linalg.norm(spheres(find(true))[0] - true, axis=-1).mean(-1)
    assert off.max() < 2.5
    assert np.median(off) < 1.2
    noise = jnp.asarray(np.random.default_rng(3).normal(0, 8, true.shape), jnp.float32)
    off = np.linalg.norm(spheres(find(true + noise))[0] - true, axis=-1).mean(-1)
    assert off.max() < 10  # of 12.8 mm of noise, which a hand cannot follow
