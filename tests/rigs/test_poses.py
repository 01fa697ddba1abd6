from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.pose.skeleton import SKELETONS
from handjax.rigs import hand, poses


def _draw(n=2000, seed=0, **options):
    return np.asarray(
        jax.jit(jax.vmap(partial(poses.sample_pose, **options)))(
            jax.random.split(jax.random.key(seed), n)
        )
    )


def _flexion(pose):
    """[n, finger, joint] of index, middle, ring, little."""
    return pose[:, 6:22].reshape(-1, 4, 4)[..., 1:]


def test_ranges_match_the_original():
    """Over many draws the ranges of the original are never exceeded and almost filled."""
    pose = _draw(50_000)
    flexion, abduction = _flexion(pose), pose[:, 6:22:4]
    for i, (low, high) in enumerate([(-0.25, 1.90), (-0.40, 2.05), (-0.46, 2.63)]):
        assert low <= flexion[..., i].min() + 0.01 and flexion[..., i].max() <= high
        assert flexion[..., i].min() < low + 0.1 and flexion[..., i].max() > high - 0.2
    for i, (low, high) in enumerate(
        [(-0.485, 0.785), (-0.235, 0.38), (-0.38, 0.235), (-1.115, 0.69)]
    ):
        assert (
            low <= abduction[:, i].min() < low + 0.05
            and high - 0.05 < abduction[:, i].max() <= high
        )
    for i, (low, high) in enumerate(
        [*poses.ROTATION_ANY, *poses.TRANSLATION, (-0.5, 0.5), (-0.25, 0.7)]
    ):
        value = pose[:, i] if i < 6 else pose[:, 22 + i - 6]
        assert low <= value.min() < low + 0.1 and high - 0.1 < value.max() <= high
    np.testing.assert_allclose(pose[:, 24], 0.25 * pose[:, 23], rtol=1e-6)
    assert -1.7 <= pose[:, 25].min() < -1.6 and 0.2 < pose[:, 25].max() <= 0.3
    assert abs((pose[:, 23] < 0.1).mean() - 0.5) < 0.02


@pytest.mark.slow
def test_flexion_of_states():
    """Flexion at the knuckle and beyond it, of all four fingers alike."""
    mean = {mode: _flexion(_draw(500, modes=(mode,))).mean((0, 1)) for mode in poses.STATES}
    assert max(mean["straight"]) < 0 < min(mean["open"]) and max(mean["open"]) < 0.15
    assert mean["half_open"][0] < 0.5 and mean["half_open"][1] > 1
    assert mean["pinching"][0] > 1 and mean["pinching"][1] < 0.5
    assert min(mean["closed"]) > 1


@pytest.mark.slow
@pytest.mark.parametrize("mode", [m for m in poses.MODES if m != "any"])
def test_fingers_are_open_or_folded_as_in_the_mode(mode):
    """Open knuckles are below 0.85 rad, folded ones above 0.65: they hardly overlap."""
    knuckle = _flexion(_draw(500, modes=(mode,)))[..., 0]
    for finger, group in enumerate(poses.MODES[mode]):
        if group in ("pinching", "closed", "folded"):
            assert knuckle[:, finger].min() > 0.65
        else:
            assert knuckle[:, finger].max() < 0.86 and np.median(knuckle[:, finger]) < 0.4


def test_open_fingers_reach_further_than_closed_ones():
    joints = SKELETONS["hand21"].joints
    reach = {}
    for mode in ("straight", "closed"):
        xyz = np.asarray(jax.jit(hand.joints21)(jnp.asarray(_draw(300, modes=(mode,)))))
        tips = [joints.index(f"{finger}_tip") for finger in ("index", "middle", "ring", "little")]
        reach[mode] = np.linalg.norm(xyz[:, tips] - xyz[:, :1], axis=-1)
    assert np.all(reach["straight"].min(0) > reach["closed"].max(0) + 20)


def test_all_modes_are_drawn_even_the_originals_lost_one():
    """Index and little open, middle and ring folded: 1 in 11, in the original almost never."""

    def horns(pose):
        knuckle = _flexion(pose)[..., 0]
        return np.mean((knuckle[:, [0, 3]].max(1) < 0.6) & (knuckle[:, [1, 2]].min(1) > 0.655))

    assert len(poses.ALL_MODES) == 11 and len(poses.ORIGINAL_MODES) == 10
    assert 0.08 < horns(_draw(10_000)) < 0.11
    assert horns(_draw(10_000, modes=poses.ORIGINAL_MODES)) < 0.01
    assert horns(_draw(500, modes=("index_little",))) > 0.8


def test_modes_are_equally_likely():
    """All four knuckles extended backward: always in mode "straight", 1 of 625 times in "any"."""
    back = np.mean(_flexion(_draw(20_000)).max((1, 2)) < 0)
    assert abs(back - (1 + 1 / 625) / 11) < 0.008


def test_sampler_options():
    pose = _draw(500, rotation=poses.ROTATION_FRONTAL, translation=((0.0, 0.0),) * 3)
    for i, (low, high) in enumerate(poses.ROTATION_FRONTAL):
        assert low <= pose[:, i].min() and pose[:, i].max() <= high
    assert np.all(pose[:, 3:6] == 0)
    with pytest.raises(ValueError, match=r"\['fist'\].*straight, open"):
        poses.sample_pose(jax.random.key(0), modes=("fist",))
    with pytest.raises(ValueError, match="empty"):
        poses.sample_pose(jax.random.key(0), modes=())


@pytest.mark.slow
def test_sampler_is_deterministic():
    key = jax.random.key(7)
    np.testing.assert_array_equal(poses.sample_pose(key), poses.sample_pose(key))
    assert np.all(poses.sample_pose(key) != poses.sample_pose(jax.random.key(8)))


# Numbers of `poses.natural` that change nothing but the spread, then those of a flat hand.
AS_IT_IS = np.float32([0.9, 0.5, 0.5, 0.9, 0.5, 0.5] + [0.9] * 8)
FLAT = np.float32([0.9, 0.5, 0.5, 0.9, 0.5, 0.5, 0.1, 5 / 6, 0.1, 5 / 6, 0.5, 0.5, 0.5, 0.5])


@jax.jit
def natural(pose, numbers):
    return poses.natural(pose, numbers)


def from_the_palm(pose):
    """mm from the plane of the wrist and of index and little finger: joints of fingers, thumb."""
    joints = np.asarray(hand.joints21(jnp.asarray(pose)))
    out = np.cross(joints[5] - joints[0], joints[17] - joints[0])
    off = (joints - joints[0]) @ (out / np.linalg.norm(out))
    return np.abs(off[5:]), np.abs(off[2:5])


def test_a_flat_hand_is_flat():
    open_hand = np.zeros(26, np.float32)
    fingers, thumb = from_the_palm(natural(open_hand, FLAT))
    assert fingers.max() < 12 and thumb.max() < 26
    fingers, thumb = from_the_palm(natural(open_hand, AS_IT_IS))
    assert fingers.max() > 45 and thumb.max() > 45
    np.testing.assert_array_equal(natural(open_hand, AS_IT_IS), open_hand)


def test_bent_fingers_of_a_flat_hand_stay_bent():
    pose = np.zeros(26, np.float32)
    names = [poses.POSE_NAMES.index(f"ring_flexion_{i}") for i in (1, 2, 3)]
    pose[names] = 1.2
    changed = np.asarray(natural(pose, FLAT))
    np.testing.assert_array_equal(changed[names], pose[names])
    middle = poses.POSE_NAMES.index("middle_flexion_2")
    assert changed[middle] == pytest.approx(-0.77, abs=1e-5)


def test_a_thumb_stays_where_it_is_in_half_of_the_flat_hands():
    pose = np.zeros(26, np.float32)
    thumb = [i for i, name in enumerate(poses.POSE_NAMES) if name.startswith("thumb")]
    numbers = FLAT.copy()
    numbers[8] = 0.9
    np.testing.assert_array_equal(np.asarray(natural(pose, numbers))[thumb], 0)
    assert np.abs(np.asarray(natural(pose, FLAT))[thumb]).max() > 0.3
