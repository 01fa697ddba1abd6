"""The data sets' own protocols, recomputed in other words."""

import json

import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes

from handjax.metrics import joints3d, protocols
from handjax.pose.skeleton import SKELETONS

HAND = SKELETONS["hand21"]


def hands(frames=6):
    rng = np.random.default_rng(3)
    true = rng.normal(0, 40, (frames, 21, 3)) + [0, 0, 600]
    true[-1, :, 2] = 600 + 0.1 * true[-1, :, 0]  # flat: a mirror image is a rotation
    true = true.astype(np.float32)
    return true + rng.normal(0, 12, true.shape).astype(np.float32), true


def test_freihand_aligns_as_scipy_does():
    """Also where only a mirror image fits."""
    pred, true = hands()
    pred[2] = pred[2] * [-1, 1, 1]
    distances = []
    for p, t in zip(pred.astype(float), true.astype(float), strict=True):
        p, t = p - p.mean(0), t - t.mean(0)
        sizes = np.linalg.norm(p), np.linalg.norm(t)
        rotation, scale = orthogonal_procrustes(t / sizes[1], p / sizes[0])
        aligned = (p / sizes[0]) @ rotation.T * scale * sizes[1]
        distances.append(np.linalg.norm(aligned - t, axis=-1))
    distances = np.array(distances)
    found = protocols.freihand(pred, true)
    assert found["pa_mpjpe_mm"] == pytest.approx(distances.mean(), abs=1e-6)
    steps = [(distances <= t).mean() for t in np.linspace(0, 50, 100)]
    area = (np.sum(steps) - (steps[0] + steps[-1]) / 2) / 99
    assert found["pa_auc"] == pytest.approx(area)
    # Without mirror images the third hand does not fit.
    assert joints3d.pa_mpjpe(pred, true) > found["pa_mpjpe_mm"] + 3


def test_freihand_by_hand():
    """One joint of 21 is off by 21 mm: as predicted, and the others too if it is the root."""
    _, true = hands(1)
    pred = true.copy()
    pred[0, 4, 1] += 21
    found = protocols.freihand(pred, true)
    assert found["mpjpe_mm"] == pytest.approx(1, abs=1e-5)
    assert found["root_relative_mpjpe_mm"] == pytest.approx(1, abs=1e-5)
    # 42 of 100 thresholds are below 21 mm; the curve rises after the last of them.
    assert found["auc"] == pytest.approx(1 - 41.5 / 99 / 21)
    pred = true.copy()
    pred[0, 0, 1] += 21
    assert protocols.freihand(pred, true)["root_relative_mpjpe_mm"] == pytest.approx(20, abs=1e-4)


def test_protocols_are_found_by_the_names_of_joints():
    pred, true = hands()
    found = protocols.of_set("", pred, true, HAND.joints)
    assert list(found) == ["freihand"] and json.loads(json.dumps(found)) == found
    assert protocols.of_set("", pred, true, HAND.joints[::-1]) == {}
    assert protocols.of_set("nyu_hand", pred, true, HAND.joints) == {}
    for name, skeleton in protocols.SKELETON_OF.items():
        joints = SKELETONS[skeleton].joints
        some = np.random.default_rng(0).normal(0, 50, (3, len(joints), 3))
        assert list(protocols.of_set(name, some, some + 1, joints)) == [name]


def test_itop_counts_joints_within_10_cm():
    joints = SKELETONS["itop15"].joints
    true = np.zeros((4, 15, 3), np.float32)
    pred = true.copy()
    pred[0, 3, 0] = pred[1, 3, 1] = 101.0
    pred[2, 3, 2] = 99.0
    pred[:, 14, 0] = 500.0
    found = protocols.of_set("", pred, true, joints)
    assert list(found) == ["itop"] and json.loads(json.dumps(found)) == found
    assert found["itop"]["map_10cm_percent"] == pytest.approx(100 * (13 + 0.5) / 15)
    per_joint = found["itop"]["per_joint_10cm_percent"]
    assert (per_joint["left_shoulder"], per_joint["left_foot"], per_joint["head"]) == (50, 0, 100)


def test_dexycb_has_its_three_errors():
    """A shift costs only the absolute one, a turn about the wrist not the one after Procrustes."""
    _, true = hands()
    found = protocols.dexycb(true + np.float32([30, 0, 40]), true)
    assert found["absolute_mm"] == pytest.approx(50, abs=1e-4)
    assert found["root_relative_mm"] == pytest.approx(0, abs=1e-4)
    turned = (true - true[:, :1]) @ np.float32([[0, 1, 0], [-1, 0, 0], [0, 0, 1]]) + true[:, :1]
    found = protocols.dexycb(turned, true)
    assert found["root_relative_mm"] > 20 and found["procrustes_mm"] < 1e-3
    assert found["procrustes_auc"] == pytest.approx(1, abs=0.01)
    assert set(found) == {
        f"{kind}_{what}"
        for kind in ("absolute", "root_relative", "procrustes")
        for what in ("mm", "auc")
    }


def test_hands2017_by_seen_and_unseen():
    _, true = hands(4)
    pred = true + np.float32([[[3, 0, 0]], [[5, 0, 0]], [[0, 10, 0]], [[0, 0, 30]]])
    assert protocols.hands2017(pred, true) == {"mpjpe_mm": pytest.approx(12, abs=1e-4)}
    found = protocols.hands2017(pred, true, np.array([True, True, False, False]))
    assert found["seen_mpjpe_mm"] == pytest.approx(4, abs=1e-4) and found["seen_frames"] == 2
    assert found["unseen_mpjpe_mm"] == pytest.approx(20, abs=1e-4)
    assert "unseen_mpjpe_mm" not in protocols.hands2017(pred, true, np.ones(4, bool))


def test_3dhp_counts_14_joints_from_the_pelvis():
    joints = SKELETONS["body18"].joints
    true = np.random.default_rng(0).normal(0, 300, (5, 18, 3)).astype(np.float32)
    pred = true + np.float32([0, 0, 700])  # gone with the pelvis
    pred[:, joints.index("thorax")] += 900  # not scored
    pred[:, joints.index("nose")] += 900
    pred[:, joints.index("left_wrist"), 0] += 151
    pred[:, joints.index("right_knee"), 0] += 72
    found = protocols.mpi_inf_3dhp(pred, true)
    assert found["pck_150mm_percent"] == pytest.approx(100 * 13 / 14)
    # At 0 mm none is strictly within; the knee is from 75 mm on, at 16 of 31 thresholds.
    assert found["auc"] == pytest.approx((12 * 30 + 16) / 31 / 14)
    assert found["mpjpe_mm"] == pytest.approx((151 + 72) / 14, abs=1e-3)


def test_f_scores_of_vertices():
    """Half of the predicted vertices are 10 mm off, away from all others."""
    true = np.stack([np.arange(20.0) * 100, np.zeros(20), np.zeros(20)], -1)[None]
    pred = true.copy()
    pred[0, 10:, 1] = 10
    found = protocols.f_scores(pred, true)
    assert found["f5"] == pytest.approx(0.5) and found["f15"] == 1
    assert protocols.f_scores(true * 2 + 7, true)["pa_f5"] == 1
    assert protocols.f_scores(true + 1000 * np.array([0, 1, 0]), true)["f15"] == 0
    doubled = np.concatenate([true[:, :10], true[:, :10]], 1)  # exact, but half is missing
    assert protocols.f_scores(doubled, true)["f5"] == pytest.approx(2 * 0.5 / 1.5)
