"""The size and thickness of a hand and its fingers, estimated over frames and then kept."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.fitting import hand_state, posed_hand, prior
from handjax.fitting.depth_cube import CubeFrame, crop_cube
from handjax.fitting.depth_fitter import DepthFitter, SeenJoints, weigh
from handjax.fitting.hand_build import USUAL, Build, SeenBuild, build_of
from handjax.fitting.hand_state import USUAL_FLESH, HandParameters, HandState, hand_points
from handjax.pose import look_at
from handjax.rigs.spheres import sphere_depth_pinhole

DISTANCE, SIZE, CHILD = 450.0, 64, float(np.log(0.7))
K = jax.device_get(look_at.crop_camera(jnp.asarray(DISTANCE), SIZE))
MIDDLE = np.array([0, 0, DISTANCE], np.float32)


def state_of(sizes):
    sizes = np.asarray(sizes, np.float32)
    wrist = np.zeros(2, np.float32)
    return HandState(np.zeros(26, np.float32), sizes[0], sizes[1:6], wrist, sizes[6:])


def test_it_is_surer_with_every_frame_until_it_stays():
    seen, own = SeenBuild(), np.array([-0.4, 0.1, 0, 0, 0, -0.1, -0.1, -0.4])
    for ours, usual in zip(seen.known(), USUAL, strict=True):
        np.testing.assert_allclose(ours, usual)
    off, deviations = [], []
    for _ in range(400):
        known = seen.known()
        off.append(np.abs(known.mean - own).max())
        deviations.append(known.std)
        seen = seen.after(state_of(own))
    assert (np.diff(off) < 0).all() and off[-1] < 0.005
    assert (np.diff(deviations, axis=0) <= 0).all() and deviations[-1] == pytest.approx(0.02)


def hand(seed: int) -> HandParameters:
    """The same child's hand in another pose."""
    rng = np.random.default_rng(seed)
    facing = hand_state.to_parameters(hand_state.hands_in_all_directions(jnp.zeros(3)))
    posed = jax.tree.map(lambda leaf: leaf[0], facing)._replace(
        rotation=np.float32(0.3 * rng.normal(size=3)),
        angles=prior.angle_prior().samples[seed],
        log_size=np.float32(CHILD),
        log_fingers=np.float32([0.08, 0, 0, 0, -0.08]),
        log_flesh=USUAL_FLESH + np.float32([0.1, -0.1]),
    )
    return jax.jit(posed_hand.turned)(posed, np.zeros(posed_hand.COUNT, np.float32))


@jax.jit
def show(one):
    """Its joints, and its depth with the forearm."""
    points = hand_points(one)
    centers = jnp.concatenate([points.centers, points.arm]) + MIDDLE[None]
    radii = jnp.concatenate([points.radii, points.arm_radii])
    depth = sphere_depth_pinhole(centers, radii, jnp.asarray(K), SIZE, SIZE)[0]
    return points.joints, depth


@pytest.mark.slow
@pytest.mark.optimized
def test_the_size_of_a_childs_hand_is_found_over_frames():
    frame, seen = CubeFrame(MIDDLE, False), SeenBuild()
    std, rng = np.full(21, 9.0, np.float32), np.random.default_rng(1)
    alone, known = [], []
    for number in range(24):
        joints, depth = jax.device_get(show(hand(number)))
        # The network takes every hand for one of usual size.
        larger = joints.mean(0) + (joints - joints.mean(0)) * np.exp((USUAL.mean[0] - CHILD) / 2)
        off = (larger + rng.normal(0, 6, joints.shape) + MIDDLE).astype(np.float32)
        given = SeenJoints(off, std, depth, np.asarray(K))
        with_it = weigh(given, frame, build=seen.known())
        seen = seen.after(with_it.fit.state)
        for errors, found in ((alone, weigh(given, frame)), (known, with_it)):
            errors.append(np.linalg.norm(found.joints - joints - MIDDLE, axis=-1).mean())
    assert abs(seen.known().mean[0] - CHILD) < 0.5 * abs(USUAL.mean[0] - CHILD)
    # Once the size is known; in one frame of sixteen the fit ends at another hand.
    better = np.array(alone[8:]) - np.array(known[8:])
    assert np.median(better) > 0 and (better > -0.1).mean() > 0.85, (known, alone)
    # What is known for sure is kept.
    sure = Build(USUAL.mean + np.float32(0.3), np.full(8, 0.002, np.float32))
    kept = weigh(given, frame, build=sure).fit.state
    np.testing.assert_allclose(build_of(kept), sure.mean, atol=0.02)


@pytest.mark.slow
def test_a_sequence_keeps_the_size_of_one_hand():
    """The other hand is another one's until it is known."""
    joints, depth = jax.device_get(show(hand(3)))
    given = SeenJoints(
        (joints + MIDDLE).astype(np.float32), np.full(21, 5, np.float32), depth, np.asarray(K)
    )
    fitter, frames = DepthFitter(sequence=True), []
    for left in (False, False, False, True, True):
        cube = crop_cube(depth, np.asarray(K), (150.0, 1500.0), left, MIDDLE, SIZE)
        fitter("", cube, given)
        frames.append(fitter.build.frames)
    assert frames[:3] == [1, 2, 3] and frames[3] <= 1 and frames[4] <= frames[3] + 1
    alone = DepthFitter()
    alone("", crop_cube(depth, np.asarray(K), (150.0, 1500.0), False, MIDDLE, SIZE), given)
    assert alone.build.frames == 0
