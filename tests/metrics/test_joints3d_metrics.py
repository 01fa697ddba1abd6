"""Metrics of 3D joints: cases computed by hand, SciPy, and published tables."""

import csv
import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from handjax.data.formats.uvd_text import UVD_FORMATS, read_pair
from handjax.metrics import joints3d as metrics
from handjax.metrics.published import joints3d as published

# (data set, file, method); the expected metrics are in `published.all_results()`.
FILES = [
    ("nyu", "CVPR18_NYU_V2V_PoseNet.txt", "V2V-PoseNet"),
    ("nyu", "NEUCOM18_NYU_Pose_REN.txt", "Pose-REN"),
    ("icvl", "CVPR18_ICVL_V2V_PoseNet.txt", "V2V-PoseNet"),
    ("icvl", "NEUCOM18_ICVL_Pose_REN.txt", "Pose-REN"),
]
PER_JOINT = {
    "nyu": [9.53, 7.02, 9.77, 6.70, 10.08, 6.76, 11.00, 7.40, 9.84, 7.78, 6.87, 8.94, 9.94, 6.25],
    "icvl": [
        5.42,
        6.88,
        6.52,
        6.66,
        6.40,
        5.54,
        6.36,
        5.46,
        6.21,
        7.53,
        5.26,
        5.98,
        7.07,
        6.41,
        6.02,
        6.83,
    ],
}

# Three frames of three joints.
ERRORS = np.array([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0], [0.0, 0.0, 50.0]])
VISIBLE = np.array([[True, True, False], [True, False, False], [False, False, False]])


def poses(seed: int = 0, frames: int = 20, joints: int = 14) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    true = rng.normal(0, 40, (frames, joints, 3)) + [0, 0, 700]
    return true + rng.normal(0, 8, true.shape), true


def test_joint_errors_by_hand():
    pred, true = np.array([[3.0, 4.0, 0.0], [1.0, 0.0, 0.0]]), np.zeros((2, 3))
    np.testing.assert_array_equal(metrics.joint_errors(pred, true), [5.0, 1.0])
    np.testing.assert_allclose(metrics.joint_errors(pred, true, root=1), [np.hypot(2, 4), 0.0])
    assert metrics.joint_errors(pred[None, None], true[None, None]).shape == (1, 1, 2)
    np.testing.assert_array_equal(
        metrics.joint_errors(pred[:, :2], true[:, :2]), [5.0, 1.0]
    )  # pixels


def test_mean_and_median_by_hand():
    assert metrics.mpjpe(ERRORS) == pytest.approx(116 / 9)
    assert metrics.median(ERRORS) == 3.0
    np.testing.assert_allclose(metrics.per_joint(ERRORS), [11 / 3, 22 / 3, 83 / 3])
    np.testing.assert_allclose(metrics.per_joint(ERRORS, of="median"), [1.0, 2.0, 30.0])


def test_only_visible_joints_count():
    assert metrics.mpjpe(ERRORS, VISIBLE) == pytest.approx(13 / 3)
    assert metrics.median(ERRORS, VISIBLE) == 2.0
    np.testing.assert_allclose(metrics.per_joint(ERRORS, VISIBLE), [5.5, 2.0, np.nan])
    np.testing.assert_allclose(metrics.frame_errors(ERRORS, VISIBLE), [2.0, 10.0, np.nan])
    np.testing.assert_allclose(
        metrics.frame_errors(ERRORS, VISIBLE, of="mean"), [1.5, 10.0, np.nan]
    )
    np.testing.assert_allclose(metrics.success(ERRORS, (2, 10), VISIBLE), [50.0, 100.0])
    np.testing.assert_allclose(
        metrics.pck(ERRORS, (1, 2), VISIBLE), [[0.5, 0.5], [0.0, 1.0], [np.nan, np.nan]]
    )
    with pytest.raises(ValueError, match="no visible joint"):
        metrics.mpjpe(ERRORS, np.zeros_like(VISIBLE))


def test_success_by_hand():
    np.testing.assert_allclose(metrics.success(ERRORS, (3, 30, 50)), [100 / 3, 200 / 3, 100])
    np.testing.assert_allclose(
        metrics.success(ERRORS, (3, 30, 50), strict=True), [0, 100 / 3, 200 / 3]
    )
    np.testing.assert_allclose(
        metrics.success(ERRORS, (2, 17, 20), of="mean"), [100 / 3, 200 / 3, 100]
    )


def test_pck_and_auc_by_hand():
    curve = metrics.pck(ERRORS, (0, 1, 2, 10))
    np.testing.assert_allclose(curve[0], [1 / 3, 2 / 3, 2 / 3, 1])
    np.testing.assert_allclose(
        metrics.pck(ERRORS, (0, 1, 2, 10), strict=True)[0], [0, 1 / 3, 2 / 3, 2 / 3]
    )
    areas = metrics.auc((0, 1, 2, 10), curve)
    assert areas.shape == (3,)
    assert areas[0] == pytest.approx((1 / 2 + 2 / 3 + 8 * 5 / 6) / 10)
    assert metrics.auc((0, 1, 2, 10), curve, rule="mean")[0] == pytest.approx(2 / 3)
    assert metrics.auc((20, 30, 50), np.ones(3)) == pytest.approx(1.0)


def test_auc_of_posenet2d_published_curves(real_data):
    with open(real_data / "curves" / "posenet2d_published_pck.csv", newline="") as file:
        header, *rows = csv.reader(file)
    thresholds = [float(t) for t in header[10:]]
    assert (len(rows), len(thresholds)) == (11, 20)
    for row in rows:
        curve = np.array([float(p) for p in row[10:]])
        assert metrics.auc(thresholds, curve) == pytest.approx(float(row[5]), abs=5.1e-4)
        assert (
            abs(metrics.auc(thresholds, curve, rule="mean") - float(row[5])) > 0.01
        )  # the other rule differs


@pytest.mark.parametrize("scale", [True, False])
def test_procrustes_undoes_a_motion(scale):
    _, true = poses()
    turned = (1.7 if scale else 1.0) * true @ Rotation.random(20, random_state=1).as_matrix() + [
        5.0,
        -30.0,
        9.0,
    ]
    np.testing.assert_allclose(metrics.procrustes(turned, true, scale=scale), true, atol=1e-9)
    assert metrics.pa_mpjpe(turned, true, scale=scale) < 1e-9
    if not scale:
        assert metrics.pa_mpjpe(1.7 * true, true, scale=False) > 10.0


def test_procrustes_is_scipys():
    pred, true = poses()
    rng = np.random.default_rng(2)
    visible = rng.random(pred.shape[:2]) > 0.3
    rigid = metrics.procrustes(pred, true, visible, scale=False)
    similar = metrics.procrustes(pred, true, visible)
    for p, t, v, r, s in zip(pred, true, visible, rigid, similar, strict=True):
        p0, t0 = p - p[v].mean(0), t - t[v].mean(0)
        turned = Rotation.align_vectors(t0[v], p0[v])[0].apply(p0)
        np.testing.assert_allclose(r, turned + t[v].mean(0), atol=1e-6)
        factor = (turned[v] * t0[v]).sum() / (
            turned[v] ** 2
        ).sum()  # least squares over the scale alone
        np.testing.assert_allclose(s, factor * turned + t[v].mean(0), atol=1e-6)


def test_procrustes_never_mirrors():
    true = np.array([[0.0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3]])
    mirrored = true * [-1, 1, 1]
    assert metrics.pa_mpjpe(mirrored, true) > 0.1
    flat = true * [1, 1, 0]  # the mirror image of a planar pose is a rotation
    assert metrics.pa_mpjpe(flat * [-1, 1, 1], flat) < 1e-9


def test_procrustes_of_a_collapsed_prediction():
    _, true = poses(frames=2)
    aligned = metrics.procrustes(np.full_like(true, 3.0), true)
    np.testing.assert_allclose(
        aligned, np.broadcast_to(true.mean(axis=1, keepdims=True), true.shape)
    )


@pytest.mark.slow
@pytest.mark.parametrize(("dataset", "file", "method"), FILES)
def test_published_predictions(real_data, dataset, file, method):
    folder = real_data / "metrics"
    pred, true = read_pair(folder / file, folder / f"{dataset}_test_groundtruth_uvd.txt", dataset)
    skeleton = UVD_FORMATS[dataset].skeleton
    found = metrics.summarize(pred, true, skeleton.joints, root=skeleton.root)
    (row,) = (
        row for row in published.all_results() if (row.dataset, row.method) == (dataset, method)
    )
    assert found["mpjpe_mm"] == pytest.approx(row.mean_mm, abs=5.1e-4)
    assert found["median_mm"] == pytest.approx(row.median_mm, abs=5.1e-4)
    assert list(found["success_max_percent"].values()) == pytest.approx(row.success_max, abs=5.1e-3)
    if method == "V2V-PoseNet":
        assert list(found["per_joint_mm"].values()) == pytest.approx(PER_JOINT[dataset], abs=5.1e-3)
    assert found["frames"] == {"nyu": 8252, "icvl": 1596}[dataset]
    curve = dict(
        zip(
            found["success_max_curve"]["thresholds_mm"],
            found["success_max_curve"]["percent"],
            strict=True,
        )
    )
    assert [curve[t] for t in published.THRESHOLDS_MM] == list(
        found["success_max_percent"].values()
    )
    assert found["pa_mpjpe_mm"] <= found["pa_mpjpe_rigid_mm"] < found["mpjpe_mm"]


def test_published_table_is_sane():
    assert len([row for row in published.all_results() if row.dataset == "nyu"]) == 35
    assert len([row for row in published.all_results() if row.dataset == "icvl"]) == 22
    for row in published.all_results():
        if row.source:
            assert list(row.success_max) == sorted(row.success_max) and row.median_mm < row.mean_mm
        else:
            assert row.success_max is None and row.median_mm is None
        assert 2014 <= row.year <= 2026
    assert {row.method for row in published.all_results() if row.aligned} == {
        "LieX",
        "Feedback",
        "Generalized-Feedback",
    }
    assert (
        not any(row.aligned for row in published.results("nyu"))
        and len(published.results("nyu", aligned=True)) == 35
    )
    assert [row.mean_mm for row in published.results("icvl")] == sorted(
        row.mean_mm for row in published.all_results() if row.dataset == "icvl"
    )


def test_records_fall_from_year_to_year():
    for dataset in ("nyu", "icvl"):
        found = published.records(dataset)
        years, errors = [row.year for row in found], [row.mean_mm for row in found]
        assert years == sorted(set(years)) and errors == sorted(set(errors), reverse=True)
        assert errors[-1] == published.results(dataset)[0].mean_mm
        assert not any(row.aligned for row in found)


def test_summary_is_plain_json():
    pred, true = poses(joints=3)
    visible = np.ones((20, 3), dtype=bool)
    visible[:, 2] = visible[4] = False
    pred[~visible] = np.nan  # invisible joints may hold any value
    found = metrics.summarize(pred, true, ("a", "b", "c"), visible, root=0)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["frames"] == 19
    assert found["per_joint_mm"]["c"] is None
    assert found["root_relative_mpjpe_mm"] is not None
    errors = np.linalg.norm(pred - true, axis=-1)
    assert found["mpjpe_mm"] == pytest.approx(errors[visible].mean())
    seen = np.delete(errors[:, :2], 4, axis=0)
    assert found["success_max_percent"]["20"] == pytest.approx(
        100 * (seen.max(axis=1) <= 20).mean()
    )
    without = metrics.summarize(pred[:, :2][visible[:, 0]], true[:, :2][visible[:, 0]], ("a", "b"))
    assert without["root_relative_mpjpe_mm"] is None
    assert without["pa_mpjpe_mm"] == pytest.approx(found["pa_mpjpe_mm"])


def test_summary_refuses_nan():
    pred, true = poses(joints=3)
    pred[7, 1, 2] = np.nan
    with pytest.raises(ValueError, match="frame 7, joint b"):
        metrics.summarize(pred, true, ("a", "b", "c"))
