"""Labels ↔ predictions: common joints, points of the skin, and the middle of a hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.pose.skeleton import SKELETONS
from handjax.realframes.joints import pairs
from handjax.rigs import hand, poses
from handjax.rigs.hand_middle import hand_middle, inner_points, skin_points

HAND21, NYU14 = SKELETONS["hand21"], SKELETONS["nyu14"]


def test_joints_of_one_order_are_all_common():
    common = pairs(HAND21, HAND21.joints, "model")
    assert common.names == HAND21.joints
    assert common.labelled == common.predicted == tuple(range(21))


def test_nyu_labels_meet_the_joints_in_the_same_spheres():
    common = pairs(NYU14, HAND21.joints, "model")
    met = {
        name: HAND21.joints[index]
        for name, index in zip(common.names, common.predicted, strict=True)
    }
    assert len(met) == 11  # not the palm and the two sides of the wrist
    assert met["index_tip"] == "index_tip" and met["little_mid"] == "little_mid"
    assert met["thumb_mid"] == "thumb_end" and met["thumb_base"] == "thumb_mid"
    # The joints of one pose lie within a few mm of their counterparts.
    rest = jnp.zeros(26)
    nyu, own = (np.asarray(hand.JOINTS[name](rest)) for name in ("nyu14", "hand21"))
    off = np.linalg.norm(nyu[list(common.labelled)] - own[list(common.predicted)], axis=-1)
    assert off.max() < 8, dict(zip(common.names, off, strict=True))


def test_unknown_joints_are_refused():
    with pytest.raises(ValueError, match="icvl16 is not among hand21, nyu14"):
        pairs(SKELETONS["icvl16"], HAND21.joints, "model")
    with pytest.raises(ValueError, match="model: its joints, peak_0, .* match none"):
        pairs(HAND21, ("peak_0", "peak_1"), "model")


def test_skin_is_one_radius_nearer_to_the_camera():
    joints, radii = np.array([[0.0, 0, 500], [300, 0, 400]]), np.array([10.0, 5.0])
    skin = skin_points(joints, radii)
    np.testing.assert_allclose(skin, [[0, 0, 490], [297, 0, 396]])
    np.testing.assert_allclose(inner_points(skin, radii), joints)


@pytest.fixture(scope="module")
def drawn():
    """Joints of 10 hands that were not sampled for the estimate, mm."""
    keys = jax.random.split(jax.random.key(7), 10)
    sample = jax.jit(jax.vmap(lambda key: hand.joints21(poses.sample_pose(key), 0.88)))
    return np.asarray(sample(keys), np.float64) + [20, -30, 600]


@pytest.mark.parametrize(("side", "mirror"), [("right", 1), ("left", -1), ("unknown", -1)])
def test_middle_from_fingertips(drawn, side, mirror):
    tips = np.array([joint.endswith("_tip") for joint in HAND21.joints])
    off, plain = [], []
    for joints in drawn * [mirror, 1, 1]:
        found = hand_middle(np.where(tips[:, None], joints, np.nan), tips, HAND21, side)
        assert 0 < found.std_mm < 40
        off.append(np.linalg.norm(found.xyz - joints.mean(0)))
        plain.append(np.linalg.norm(joints[tips].mean(0) - joints.mean(0)))
    assert np.mean(off) < 18 < 20 < np.mean(plain)


def test_middle_of_all_joints_is_their_mean(drawn):
    found = hand_middle(drawn[0], np.ones(21, bool), HAND21)
    np.testing.assert_allclose(found.xyz, drawn[0].mean(0))
    assert found.std_mm == 0
    assert hand_middle(drawn[0], np.arange(21) < 2, HAND21) is None
