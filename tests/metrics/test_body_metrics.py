"""Metrics of people: cases computed by hand, SciPy, and the joint sets of the originals."""

import json

import numpy as np
import pytest
import scipy.spatial
from scipy.spatial.transform import Rotation

from handjax.data.sets.human36m import raw as human36m
from handjax.metrics import body as metrics
from handjax.pose.skeleton import SKELETONS

NAMES, FLIP = SKELETONS["body18"].joints, list(SKELETONS["body18"].flip)


def poses(frames=6, seed=0):
    rng = np.random.default_rng(seed)
    true = rng.normal(0, 300, (frames, 18, 3)) + [0, 0, 4000]
    return true + rng.normal(0, 40, true.shape), true


def test_joint_sets_match_the_originals():
    assert {name: len(joints) for name, joints in metrics.JOINT_SETS.items()} == {
        "h36m17": 17,
        "h36m16": 16,
        "h36m14": 14,
        "h36m13": 13,
    }
    assert metrics.JOINT_SETS["h36m16"] == (0, 1, 2, 3, 4, 5, 6, 8, 10, 11, 12, 13, 14, 15, 16, 17)
    assert metrics.JOINT_SETS["h36m14"] == (1, 2, 3, 4, 5, 6, 8, 10, 11, 12, 13, 14, 15, 16)
    assert metrics.JOINT_SETS["h36m13"] == (1, 2, 3, 4, 5, 6, 10, 11, 12, 13, 14, 15, 16)


def test_alignments_are_invariant_as_documented():
    _, true = poses()
    turn = Rotation.from_euler("xyz", (0.3, 1.2, -0.5)).as_matrix()
    moved, turned = true + [30, 40, 0], (true - 4000) @ turn.T + 70
    scaled, reflected = 0.4 * turned, turned * (1, 1, -1)
    for pred, exact in (
        (true, {"none", "root", "rigid", "similarity", "mirror"}),
        (moved, {"root", "rigid", "similarity", "mirror"}),
        (turned, {"rigid", "similarity", "mirror"}),
        (scaled, {"similarity", "mirror"}),
        (reflected, {"mirror"}),
    ):
        for joints in metrics.JOINT_SETS:
            small = {
                align
                for align in metrics.ALIGNMENTS
                if metrics.errors(pred, true, align, joints).max() < 1e-6
            }
            assert small == exact, joints
    np.testing.assert_allclose(metrics.errors(moved, true, "none"), 50)
    with pytest.raises(ValueError, match="alignment 'procrustes' is unknown: use none, root"):
        metrics.aligned(true, true, "procrustes", (0,))


def test_alignment_by_hand():
    """A cross of four joints; the prediction is rotated, scaled by 2, one arm 4 too long."""
    true = np.zeros((18, 3))
    true[1], true[2], true[4], true[5] = (1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0)
    pred = np.stack([-2 * true[:, 1], 2 * true[:, 0], 0 * true[:, 0]], axis=-1) + 5
    np.testing.assert_allclose(
        metrics.aligned(pred, true, "similarity", (1, 2, 4, 5))[0], true[[1, 2, 4, 5]], atol=1e-12
    )
    rigid, _ = metrics.aligned(pred, true, "rigid", range(18))
    np.testing.assert_allclose(rigid, 2 * true, atol=1e-9)  # no scale: twice as large
    pred[1] = (5, 11, 5)
    # By hand: center (1, 0); spread of pred 36 - 4 + 4 + 8 = 44; correlation 6 + 2 + 2 + 2 = 12.
    moved, kept = metrics.aligned(pred, true, "similarity", (1, 2, 4, 5))
    np.testing.assert_allclose(
        np.linalg.norm(moved - moved.mean(0))
        / np.linalg.norm(pred[[1, 2, 4, 5]] - pred[[1, 2, 4, 5]].mean(0)),
        12 / 44,
    )
    np.testing.assert_allclose(((moved - kept) ** 2).sum(), 4 - 12**2 / 44)


@pytest.mark.parametrize("reflected", [False, True])
def test_mirror_alignment_matches_scipy(reflected):
    pred, true = poses(seed=3)
    pred = pred * (1, -1, 1) if reflected else pred
    for p, t in zip(pred, true, strict=True):
        joints = list(metrics.JOINT_SETS["h36m14"])
        # SciPy's is the squared error for a true pose of unit size, at the optimal scale.
        *_, theirs = scipy.spatial.procrustes(t[joints], p[joints])
        for align in ("similarity", "mirror"):
            moved, kept = metrics.aligned(p, t, align, joints)
            ours = ((moved - kept) ** 2).sum() / ((kept - kept.mean(0)) ** 2).sum()
            if align == "mirror" or not reflected:
                np.testing.assert_allclose(ours, theirs, rtol=1e-9)
            else:
                assert ours > 5 * theirs


def test_swapped_sides_are_a_reflection():
    rng = np.random.default_rng(0)
    true = rng.normal(0, 300, (5, 18, 3))
    symmetric = (true + true[:, FLIP] * (-1, 1, 1)) / 2
    confused = symmetric[:, FLIP]
    assert (
        metrics.errors(confused, symmetric, "mirror").max()
        < 1e-6
        < metrics.errors(confused, symmetric, "similarity").mean()
    )


def test_summarize_by_hand():
    _, true = poses(4)
    pred = true.copy()
    pred[:, 3] += (3, 4, 0)
    pred[2:, 6] += (0, 0, -200)
    found = metrics.summarize_3d(pred, true, ["walk", "sit", "walk", "walk"])
    mean = (4 * 5 + 2 * 200) / (4 * 17)
    assert len(found["protocols_mm"]) == 4 * 5
    assert found["mpjpe_mm"] == found["protocols_mm"]["h36m17_root"] == pytest.approx(mean)
    assert found["protocols_mm"]["h36m14_root"] == pytest.approx(mean * 17 / 14)
    assert (
        found["pa_mpjpe_mm"]
        == found["protocols_mm"]["h36m17_similarity"]
        == pytest.approx(metrics.errors(pred, true, "similarity").mean())
    )
    assert (
        found["per_joint_mm"]["left_ankle"] == pytest.approx(100)
        and "thorax" not in found["per_joint_mm"]
    )
    np.testing.assert_allclose(list(found["per_axis_mm"].values()), np.array([12, 16, 400]) / 68)
    assert found["pck3d_150mm_percent"] == pytest.approx(100 * 66 / 68)
    # Errors of 0 count at all 31 thresholds, those of 5 from the second on, those of 200 never.
    assert found["auc3d"] == pytest.approx((62 * 31 + 4 * 30) / 68 / 31)
    np.testing.assert_allclose(found["pck3d"]["fraction"], [62 / 68] + [66 / 68] * 30)
    rows = found["per_action_mm"]
    assert rows["sit"]["mpjpe_mm"] == pytest.approx(5 / 17) and rows["walk"][
        "mpjpe_mm"
    ] == pytest.approx(415 / 51)
    assert found["mean_over_actions_mm"]["mpjpe_mm"] == pytest.approx((5 / 17 + 415 / 51) / 2)
    assert "per_action_mm" not in metrics.summarize_3d(pred, true)
    pred[1, 5] = np.nan
    with pytest.raises(ValueError, match="frame 1, joint left_knee: a coordinate is not finite"):
        metrics.summarize_3d(pred, true)
    with pytest.raises(ValueError, match="2 actions for 4 frames"):
        metrics.summarize_3d(true, true, ["a", "b"])


def test_pelvis_position_and_pose_are_separate():
    _, true = poses(4)
    pred = true + np.array([[30, 0, 40], [0, 0, -80], [0, 0, 0], [0, 0, 0]])[:, None]
    found = metrics.summarize_3d(pred, true)
    assert found["mpjpe_mm"] < 1e-9 and found["root_mm"] == pytest.approx(130 / 4)
    assert found["root_depth_mm"] == pytest.approx(120 / 4)
    assert found["protocols_mm"]["h36m17_none"] == pytest.approx(130 / 4)
    # Relative to the pelvis, as in the challenge: no position, no metric of it.
    found = metrics.summarize_3d(pred, true - true[:, :1])
    assert found["mpjpe_mm"] < 1e-9 and not {"root_mm", "root_depth_mm"} & found.keys()
    assert len(found["protocols_mm"]) == 4 * 4 and "h36m17_none" not in found["protocols_mm"]


def rows(has_3d, has_2d, head_px=None):
    """Postprocessed rows of a task: one frame per flag."""
    n, rng = len(has_3d), np.random.default_rng(7)
    pred, true = poses(n, seed=5)
    uv = rng.uniform(0, 500, (n, 18, 2))
    found = {
        "joints_xyz": pred,
        "true_joints_xyz": np.where(np.array(has_3d)[:, None, None], true, 0),
    }
    found |= {
        "joints_uv": uv + (3, 4),
        "true_joints_uv": uv,
        "true_visible": np.ones((n, 18), bool),
    }
    found |= {"true_labelled": np.array(has_2d)[:, None] & np.ones((n, 18), bool)}
    found |= {
        "true_has_xyz": np.array(has_3d),
        "true_has_uv": np.array(has_2d),
        "true_action": np.full(n, -1),
    }
    return found | {"true_head_px": np.zeros(n) if head_px is None else np.array(head_px)}


def test_frames_count_where_they_have_labels():
    found = rows([True, False, True, False], [True, True, False, False], [0, 9.0, 0, 0])
    found["true_labelled"][1, 7] = False
    found["joints_uv"][1, 7] = 1e6  # without a label
    numbers = metrics.summarize(found)
    assert [numbers[name] for name in ("frames", "frames_3d", "frames_2d", "frames_pckh")] == [
        4,
        2,
        2,
        1,
    ]
    chosen = [0, 2]
    alone = metrics.summarize_3d(found["joints_xyz"][chosen], found["true_joints_xyz"][chosen])
    assert {name: numbers[name] for name in alone} == alone and "per_action_mm" not in numbers
    assert numbers["epe_px"] == pytest.approx(5) and numbers["median_px"] == pytest.approx(5)
    np.testing.assert_allclose(list(numbers["per_joint_px"].values()), 5)
    # 5 px are more than half of 9 px and at most 0.6 of it.
    assert numbers["pckh_percent"]["mean"] == 0
    assert numbers["pckh"]["percent"] == [
        100.0 * (9 * part >= 5) for part in numbers["pckh"]["parts"]
    ]
    assert json.loads(json.dumps(numbers)) == numbers


def test_metrics_without_a_frame_are_left_out():
    none = metrics.summarize(rows([False] * 2, [False] * 2))
    assert none == {"frames": 2, "joints": 18, "frames_3d": 0, "frames_2d": 0}
    flat = metrics.summarize(rows([False] * 2, [True] * 2))
    assert "epe_px" in flat and not {"mpjpe_mm", "pckh_percent", "root_mm"} & flat.keys()
    found = rows([False] * 2, [True] * 2)
    found["true_labelled"][:, 3] = False
    found["true_joints_uv"][:, 3] = np.nan  # without a label
    assert metrics.summarize(found)["per_joint_px"]["right_ankle"] is None
    found["joints_uv"][1, 4] = np.inf
    with pytest.raises(ValueError, match="frame 1, joint left_hip: a coordinate is not finite"):
        metrics.summarize(found)


def test_action_names_are_the_data_sets():
    assert metrics.ACTIONS == tuple(human36m.ACTIONS.values())
    found = rows([True] * 3, [False] * 3)
    found["true_action"] = np.array([13, 0, 13])
    numbers = metrics.summarize(found)
    assert set(numbers["per_action_mm"]) == {"walking_dog", "directions"}
    found["true_action"] = np.array([13, -1, 13])
    assert set(metrics.summarize(found)["per_action_mm"]) == {"walking_dog", "other"}


def test_rigid_alignment_moves_the_pelvis_back():
    """JimmySuen's: over all 18 joints, then relative to the pelvis, whose error is 0."""
    pred, true = poses()
    found = metrics.errors(pred, true, "rigid")
    assert found[:, 0].max() == 0 and found[:, 1:].min() > 0


def test_pckh_by_hand():
    true = np.zeros((3, 18, 2))
    pred, visible = true.copy(), np.ones((3, 18), bool)
    head = np.array([10.0, 20.0, 40.0])
    pred[:, NAMES.index("left_knee"), 0] = 10  # half of 20: found in the second and third
    pred[:, NAMES.index("pelvis")] = 1000  # does not count
    pred[0, NAMES.index("neck")] = 1000
    visible[1, NAMES.index("head")] = False
    pred[1, NAMES.index("head")] = 1000
    visible[:, NAMES.index("left_wrist")] = visible[:, NAMES.index("right_wrist")] = False
    found = metrics.pckh(pred, true, visible, head)
    assert (
        found["knee"] == pytest.approx((100 * 2 / 3 + 100) / 2)
        and found["head"] == 100
        and found["wrist"] is None
    )
    assert found["mean"] == pytest.approx(100 * (1 - 2 / (3 * 14 - 1)))
    with pytest.raises(ValueError, match="PCKh needs a labelled joint"):
        metrics.pckh(pred, true, ~visible & False, head)
