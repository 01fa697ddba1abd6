"""The fit that weighs a network's joints against the depth: derivatives, steps, frames."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.fitting import cones, frame_fit, hand_state, posed_hand, prior
from handjax.fitting.depth_cube import CubeFrame, crop_cube
from handjax.fitting.depth_fitter import DepthFitter, SeenJoints
from handjax.fitting.evidence import POINTS, gather
from handjax.fitting.hand_build import USUAL
from handjax.fitting.hand_state import HandParameters, hand_points
from handjax.fitting.levenberg_marquardt import fit, solve
from handjax.fitting.palm import hand_on_palm
from handjax.fitting.residuals import normal_equations
from handjax.pose import look_at
from handjax.rigs.spheres import sphere_depth_pinhole

DISTANCE, SIZE = 450.0, frame_fit.SIZE
K = jax.device_get(look_at.crop_camera(jnp.asarray(DISTANCE), SIZE))
MIDDLE = np.array([0, 0, DISTANCE], np.float32)


@jax.jit
def _facing() -> HandParameters:
    states = hand_state.hands_in_all_directions(jnp.zeros(3))
    return jax.tree.map(lambda leaf: leaf[0], hand_state.to_parameters(states))


def _hand(seed: int) -> HandParameters:
    """A hand towards the camera with a turn, fingers, size and wrist of its own."""
    rng = np.random.default_rng(seed)
    hand = _facing()._replace(
        rotation=np.float32(0.3 * rng.normal(size=3)),
        angles=prior.angle_prior().samples[seed],
        log_size=np.float32(np.log(0.86) + 0.05 * rng.normal()),
        log_fingers=np.float32(0.05 * rng.normal(size=5)),
        wrist=np.float32(0.2 * rng.normal(size=2)),
        log_flesh=np.float32(-0.25 + 0.1 * rng.normal(size=2)),
    )
    return _turned(hand, np.zeros(posed_hand.COUNT, np.float32))


_turned = jax.jit(posed_hand.turned)


@pytest.fixture(scope="module")
def scene():
    """A hand with its forearm, its true joints, and its depth as the crop's camera sees it."""
    points = jax.jit(hand_points)(_hand(5))
    centers = jnp.concatenate([points.centers, points.arm]) + MIDDLE[None]
    radii = jnp.concatenate([points.radii, points.arm_radii])
    render = jax.jit(lambda c, r: sphere_depth_pinhole(c, r, jnp.asarray(K), SIZE, SIZE)[0])
    return np.asarray(points.joints), np.asarray(render(centers, radii))


@pytest.fixture(scope="module")
def evidence(scene):
    joints, depth = scene
    rng = np.random.default_rng(0)
    off = (joints + rng.normal(size=joints.shape) * 12.0).astype(np.float32)
    std = jnp.full(21, 12.0)
    return jax.jit(gather)(depth, K, jnp.float32(DISTANCE), off, std)


@pytest.fixture(scope="module")
def system():
    return jax.jit(normal_equations)


def test_posed_hands_are_those_of_the_rig():
    hand = _hand(3)
    posed, expected = jax.jit(posed_hand.posed)(hand), jax.jit(hand_points)(hand)
    np.testing.assert_allclose(posed.joints, expected.joints, atol=1e-3)
    np.testing.assert_allclose(posed.spheres[:41, :3], expected.centers, atol=1e-3)
    np.testing.assert_allclose(posed.spheres[:41, 3], expected.radii, atol=1e-4)
    np.testing.assert_allclose(posed.spheres[41:, :3], expected.arm[np.array([0, -1])], atol=1e-3)


def test_slopes_are_the_derivatives():
    hand = _hand(7)

    def moved(step):
        # Without `turned`, whose new base is constant to a derivative.
        now = posed_hand.turned(hand, step)._replace(base=hand.base, rotation=step[:3])
        points = hand_points(now)
        ends = jnp.array([0, -1])
        centers = jnp.concatenate([points.centers, points.arm[ends]])
        radii = jnp.concatenate([points.radii, points.arm_radii[ends]])
        return jnp.concatenate([centers, radii[:, None]], axis=1), points.joints

    spheres, joints = jax.jit(jax.jacfwd(moved))(jnp.zeros(posed_hand.COUNT))
    posed = jax.jit(posed_hand.posed)(hand)
    np.testing.assert_allclose(posed.sphere_slopes, spheres, atol=1e-3)
    np.testing.assert_allclose(posed.joint_slopes, joints, atol=1e-3)


def test_points_of_the_front_touch_and_points_behind_belong_to_the_rim():
    spheres = np.asarray(jax.jit(posed_hand.posed)(_hand(5)).spheres)
    front = spheres[np.argmin(spheres[:, 2] - spheres[:, 3])]
    view = np.array([0.0, 0.0, 1.0], np.float32)
    off = np.array([-front[3], -front[3] - 4.0, 3.0], np.float32)
    asked = front[:3] + off[:, None] * view
    contacts = jax.jit(cones.contacts)
    touch = contacts(asked, np.broadcast_to(view, (3, 3)), spheres[:, :3], spheres[:, 3])
    np.testing.assert_allclose(touch.distance[:2], [0.0, 4.0], atol=0.1)
    # 3 mm behind the center: at a rim, or inside another part, and not deep inside this one.
    assert touch.distance[2] > -front[3] / 2


def test_gradient_is_that_of_the_objective(evidence, system):
    hand = _turned(_hand(5), np.full(posed_hand.COUNT, 0.02, np.float32))
    before, depth = evidence.joints + 5.0, jnp.ones(())
    whole = system(hand, evidence, before, depth)
    rng = np.random.default_rng(1)
    for _ in range(4):
        step = rng.normal(size=posed_hand.COUNT).astype(np.float32)
        step *= 2e-3 / np.linalg.norm(step)
        values = [
            float(system(_turned(hand, s * step), evidence, before, depth).value) for s in (1, -1)
        ]
        expected = 2 * float(whole.gradient @ step)
        assert values[0] - values[1] == pytest.approx(expected, rel=0.15, abs=0.02)


def test_solve_is_that_of_linear_algebra():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(34, 60))
    a = (root @ root.T * np.outer(*[10.0 ** rng.uniform(-1, 1, 34)] * 2)).astype(np.float32)
    b = rng.normal(size=(34, 3)).astype(np.float32)
    a = (a + a.T) / 2
    np.testing.assert_allclose(a @ np.asarray(jax.jit(solve)(a, b)), b, atol=2e-3)


def test_a_hand_starts_on_the_palm_of_its_joints(scene):
    joints, _ = scene
    start = jax.jit(lambda j: hand_points(hand_on_palm(j)).joints)(joints)
    palm = np.array([0, 5, 9, 13, 17])
    assert np.linalg.norm(start - joints, axis=-1)[palm].max() < 20


@pytest.fixture(scope="module")
def fitted(evidence):
    return jax.device_get(jax.jit(fit)(evidence.joints, evidence))


def test_the_fit_improves_on_a_noisy_network(scene, evidence, fitted):
    joints, _ = scene
    before = np.linalg.norm(evidence.joints - joints, axis=-1).mean()
    after = np.linalg.norm(fitted.joints - joints, axis=-1).mean()
    assert before > 15 and after < 0.5 * before
    assert fitted.value < fitted.start_value


def test_the_covariance_is_that_of_a_joint(fitted):
    own = np.linalg.eigvalsh(fitted.covariance)
    assert fitted.covariance.shape == (21, 3, 3) and (own > 0).all()
    assert np.sqrt(own).max() < 12  # the network's own deviation: the depth adds to it


def test_a_frame_without_depth_leaves_the_network_alone(scene):
    joints, depth = scene
    empty = jax.jit(gather)(
        np.zeros_like(depth), K, jnp.float32(DISTANCE), joints, jnp.full(21, 5.0)
    )
    assert not np.any(empty.weight)
    found = jax.jit(fit)(joints, empty)
    assert np.linalg.norm(found.joints - joints, axis=-1).mean() < 6


def test_evidence_is_of_the_hand(scene, evidence):
    joints, depth = scene
    assert evidence.points.shape == (POINTS, 3)
    # A thing beside the hand does not count, and a hole in the hand is no background.
    other = np.array(depth)
    other[:6] = DISTANCE
    beside = jax.jit(gather)(other, K, jnp.float32(DISTANCE), joints, jnp.full(21, 5.0))
    rows = beside.points[:, 1] < joints[:, 1].min() - 45
    assert rows.any() and np.asarray(beside.weight)[rows].max() < 0.1 * beside.weight.max()


@pytest.mark.slow
def test_frames_of_either_side_and_any_camera_agree(scene):
    joints, depth = scene
    run = frame_fit.fit_frame
    center = MIDDLE
    given = (joints, np.full(21, 8.0, np.float32), None, USUAL, 12)
    k = np.asarray(K)
    right = run(depth, k, center, np.asarray(False), *given)
    # The mirrored picture of the same camera, whose axis is in the middle.
    left = run(np.ascontiguousarray(depth[:, ::-1]), k, center, np.asarray(True), *given)
    np.testing.assert_allclose(left.joints, right.joints, atol=0.5)
    assert np.linalg.norm(right.joints - joints, axis=-1).mean() < 6
    assert right.value <= right.before


@pytest.mark.slow
def test_a_hand_that_does_not_lie_on_the_depth_is_not_taken(scene):
    """What was measured is a thing with holes, before the joints that the network has."""
    joints, depth = scene
    rng = np.random.default_rng(3)
    blocks = np.kron(rng.uniform(-90, 60, (8, 8)), np.ones((8, 8)))
    thing = np.where(np.abs(blocks) < 70, DISTANCE + blocks, 0).astype(np.float32)
    std, center = np.full(21, 8.0, np.float32), MIDDLE
    for left in (False, True):
        given = (np.asarray(K), center, np.asarray(left), joints, std, None, USUAL, 12)
        none = frame_fit.fit_frame(thing, *given)
        assert not none.holds
        np.testing.assert_array_equal(none.joints, joints)
        spread = frame_fit.UNDERSTATED**2 * none.covariance
        np.testing.assert_allclose(spread, np.tile(64 * np.eye(3), (21, 1, 1)), atol=1e-3)
        assert none.value == none.before
        jax.tree.map(np.testing.assert_array_equal, none.state, none.start)
    assert frame_fit.fit_frame(depth, np.asarray(K), center, np.asarray(False), *given[3:]).holds


@pytest.mark.slow
def test_the_prior_that_comes_along_is_that_of_the_sampler():
    for own, expected in zip(prior.angle_prior(), prior.estimated(), strict=True):
        np.testing.assert_allclose(own, expected, atol=2e-3)


@pytest.mark.slow
def test_a_sequence_remembers_the_frame_before(scene):
    joints, depth = scene
    rng = np.random.default_rng(2)
    cube = crop_cube(depth, K, center_xyz=MIDDLE)
    good, bad = (joints + MIDDLE + rng.normal(size=joints.shape) * mm for mm in (4.0, 25.0))
    errors = {}
    for sequence in (False, True):
        fitter = DepthFitter(sequence=sequence)
        for seen, std in ((good, 4.0), (bad, 25.0)):
            deviations = np.full(21, std, np.float32)
            frame = fitter("", cube, SeenJoints(seen.astype(np.float32), deviations, depth, K))
        errors[sequence] = np.linalg.norm(frame.after.joints - MIDDLE - joints, axis=-1).mean()
        assert frame.after.distance_mm < max(frame.before.distance_mm, 2.0)
        assert frame.std.shape == (21,) and (frame.std > 0).all()
    assert errors[True] < min(errors[False], 8.0)


def test_covariances_turn_with_the_side():
    """Those of a mirrored hand are mirrored; an ellipsoid drawn from them is the joint's."""
    spread = np.random.default_rng(0).normal(size=(21, 3, 3))
    own = spread @ np.swapaxes(spread, -1, -2)
    center = np.float32([10, 20, 500])
    np.testing.assert_array_equal(CubeFrame(center, False).spread_to_camera(own), own)
    mirror = np.diag([-1.0, 1.0, 1.0])
    turned = CubeFrame(center, True).spread_to_camera(own)
    np.testing.assert_allclose(turned, mirror @ own @ mirror)
