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
    found = protocols.by_name(pred, true, HAND.joints)
    assert list(found) == ["freihand"] and json.loads(json.dumps(found)) == found
    assert protocols.by_name(pred, true, HAND.joints[::-1]) == {}


def test_itop_counts_joints_within_10_cm():
    joints = SKELETONS["itop15"].joints
    true = np.zeros((4, 15, 3), np.float32)
    pred = true.copy()
    pred[0, 3, 0] = pred[1, 3, 1] = 101.0
    pred[2, 3, 2] = 99.0
    pred[:, 14, 0] = 500.0
    found = protocols.by_name(pred, true, joints)
    assert list(found) == ["itop"] and json.loads(json.dumps(found)) == found
    assert found["itop"]["map_10cm_percent"] == pytest.approx(100 * (13 + 0.5) / 15)
    per_joint = found["itop"]["per_joint_10cm_percent"]
    assert (per_joint["left_shoulder"], per_joint["left_foot"], per_joint["head"]) == (50, 0, 100)
