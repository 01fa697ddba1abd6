"""handjax evaluate on predictions.npz of 3D joints: its own truth, another file, other forms."""

import json
import warnings

import numpy as np
import pytest

from handjax import evaluate
from handjax.data.formats.predictions_npz import Predictions3d, write_predictions
from handjax.metrics import joints3d
from handjax.pose.skeleton import SKELETONS
from handjax.reports import prediction_files
from handjax.reports.joints3d import Joints3dReport
from handjax.reports.joints3d_files import npz_report

NYU = SKELETONS["nyu14"]
IDS = tuple(f"frame_{n}" for n in range(12))


@pytest.fixture(scope="module")
def hands():
    """True and predicted joints [12, 14, 3], about 10 mm apart."""
    rng = np.random.default_rng(0)
    true = rng.uniform([-100, -100, 500], [100, 100, 900], (12, 1, 3)) + rng.normal(
        0, 45, (12, 14, 3)
    )
    pred = true + rng.normal(0, 6, true.shape)
    return true.astype(np.float32), pred.astype(np.float32)


def written(path, pred, true=None, ids=IDS, joints=()):
    return str(write_predictions(path, Predictions3d(ids, pred, true, joints)))


def test_the_metrics_of_a_run_again(hands, tmp_path):
    """What a run's report writes is evaluated to the same numbers."""
    true, pred = hands
    first = joints3d.summarize(pred, true, NYU.joints, root=NYU.root)
    rows = {"joints_xyz": pred, "true_joints_xyz": true}
    report = Joints3dReport.of_rows("ours", IDS, rows, NYU, first)
    path = str(write_predictions(tmp_path / "predictions.npz", report.predictions()))
    evaluate.main(["--predictions", path, "--output", str(tmp_path / "out")])
    again = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert {key: again[key] for key in first} == json.loads(json.dumps(first))
    assert "Comparison with published results" in (tmp_path / "out" / "report.html").read_text()


def test_files_without_kind_or_names_of_joints(hands, tmp_path):
    true, pred = hands
    np.savez(tmp_path / "old.npz", ids=np.array(IDS), joints_xyz=pred, truth=true)
    assert prediction_files.kind_of(str(tmp_path / "old.npz")) == "joints3d"
    unnamed = npz_report(str(tmp_path / "old.npz"), None, None)
    named = npz_report(str(tmp_path / "old.npz"), None, "nyu")
    assert unnamed.skeleton.joints[0] == "joint_0" and named.skeleton is NYU
    assert unnamed.metrics["mpjpe_mm"] == named.metrics["mpjpe_mm"]


def test_ground_truth_in_another_file(hands, tmp_path):
    """Frames are matched by ids, whatever their order; `truth` goes before joints_xyz."""
    true, pred = hands
    path = written(tmp_path / "p.npz", pred, joints=NYU.joints)
    other = written(tmp_path / "t.npz", true[::-1], ids=IDS[::-1])
    run = written(tmp_path / "r.npz", pred, true)
    expected = joints3d.mpjpe(joints3d.joint_errors(pred, true))
    for file in (other, run):
        report = npz_report(path, file, None)
        assert report.metrics["mpjpe_mm"] == pytest.approx(expected)
        assert report.skeleton is NYU
    for file, text in (
        (written(tmp_path / "few.npz", true[:5], ids=IDS[:5]), r"p.npz has .* \(7 such frames\)"),
        (written(tmp_path / "twice.npz", true, ids=IDS[:-1] + IDS[:1]), "an id stands twice"),
        (written(tmp_path / "j.npz", true[:, :9]), "9 joints, .*p.npz has 14"),
        (written(tmp_path / "n.npz", true, joints=NYU.joints[::-1]), "in another order"),
        ("t.txt", "t.txt: expected an .npz"),
    ):
        with pytest.raises(ValueError, match=text):
            npz_report(path, file, None)
    with pytest.raises(ValueError, match="p.npz: contains no ground truth; name a file"):
        npz_report(path, None, None)
    for dataset, text in (("rhd", "is for image joints"), ("icvl", "14 joints of nyu14; .*icvl")):
        with pytest.raises(ValueError, match=text):
            npz_report(path, other, dataset)


@pytest.mark.parametrize(
    ("change", "form"),
    [
        (lambda p: p * 1e-3, "joints in m;"),
        (lambda p: p * 0.1, "joints in cm;"),
        (lambda p: p * [1, -1, 1], "in mm, y up;"),
        (lambda p: p * [-1e-3, 1e-3, 1e-3], "in m, x mirrored;"),
        (lambda p: p - p[:, :1], "relative to joint 0;"),
        (lambda p: p - p.mean(1, keepdims=True), "relative to their mean;"),
        (lambda p: p[:, ::-1], "in another order of the joints, joint_13, joint_12"),
    ],
)
def test_predictions_in_another_form(hands, tmp_path, change, form):
    true, pred = hands
    path = written(tmp_path / "p.npz", change(pred), true)
    with pytest.raises(ValueError, match=form):
        prediction_files.evaluate(path, None, None, str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("scale", "unit"), [(1e-3, "metres"), (0.1, "centimetres"), (10, "tenths")]
)
def test_a_ground_truth_that_is_no_hand(hands, tmp_path, scale, unit):
    true, pred = (x * np.float32(scale) for x in hands)
    path = written(tmp_path / "p.npz", pred, true)
    with pytest.raises(ValueError, match=f"p.npz: 1. of 12 frames: the joints span .*in {unit}"):
        npz_report(path, None, None)


def test_predictions_that_are_only_bad_are_evaluated(hands, tmp_path):
    """As those of an untrained network: all joints in the middle of the crop."""
    true, pred = hands
    middle = true.mean(1, keepdims=True) + np.random.default_rng(1).normal(0, 9, pred.shape)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = npz_report(
            written(tmp_path / "p.npz", middle.astype(np.float32), true), None, None
        )
    assert report.metrics["mpjpe_mm"] > 50


def test_own_rules_of_a_data_set(tmp_path):
    """--dataset adds its metrics; seen and vertices come from the files, matched by ids."""
    joints = SKELETONS["hand21"].joints
    rng = np.random.default_rng(1)
    true = (rng.normal(0, 45, (4, 21, 3)) + [0, 0, 600]).astype(np.float32)
    pred = true + np.float32([0, 3, 4])
    mesh = rng.normal(0, 60, (4, 30, 3)).astype(np.float32)
    ids = np.array(["a", "b", "c", "d"])
    np.savez(tmp_path / "p.npz", ids=ids, joints_xyz=pred, joints=np.array(joints), vertices=mesh)
    back = slice(None, None, -1)
    seen = np.array([True, True, True, False])
    np.savez(
        tmp_path / "t.npz",
        ids=ids[back],
        joints_xyz=true[back],
        joints=np.array(joints),
        vertices=mesh[back] + 2,
        seen=seen[back],
    )
    files = (str(tmp_path / "p.npz"), str(tmp_path / "t.npz"))
    found = npz_report(*files, "hands2017")
    own = found.metrics["hands2017"]
    assert own["seen_frames"] == 3 and own["unseen_mpjpe_mm"] == pytest.approx(5, abs=1e-3)
    assert ("HANDS 2017: unseen mean", "5.000 mm") in found.summary_rows()
    assert "freihand" not in found.metrics
    freihand = npz_report(*files, "freihand").metrics["freihand"]
    assert freihand["f5"] == 1 and freihand["pa_mpjpe_mm"] < 0.01
    assert "f5" not in npz_report(files[0], files[1], "dexycb").metrics["dexycb"]
    evaluate.main(
        ["--predictions", files[0], "--groundtruth", files[1], "--dataset", "dexycb"]
        + ["--output", str(tmp_path / "out")]
    )
    assert "own rules" in (tmp_path / "out" / "report.html").read_text()
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["dexycb"]["absolute_mm"] == pytest.approx(5, abs=1e-3)
    np.savez(tmp_path / "s.npz", ids=ids, joints_xyz=true, joints=np.array(joints), seen=seen[:2])
    with pytest.raises(ValueError, match=r"s.npz: seen is \[2\]; expected \[n\] for its 4 ids"):
        npz_report(files[0], str(tmp_path / "s.npz"), "hands2017")
