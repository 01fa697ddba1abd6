"""Reports of people whose frames have 3D labels, image labels, both or none."""

import json
from dataclasses import replace

import numpy as np
import pytest

from handjax import evaluate
from handjax.data.formats.predictions_npz import write_predictions
from handjax.metrics import body as body_metrics
from handjax.metrics.published import body as published
from handjax.pose.skeleton import SKELETONS
from handjax.reports import KINDS, results
from handjax.reports.base import Comparison, Report
from handjax.reports.body import BodyReport
from handjax.reports.drawing import DrawnFrame, draw_frame
from handjax.run import combine

SKELETON = SKELETONS["body18"]
REST = 100.0 * np.array(  # a person, dm: x right, y down, z away
    [
        (0, 0, 0),
        (-1, 0, 0),
        (-1, 4, 0),
        (-1, 8, 0),
        (1, 0, 0),
        (1, 4, -1),
        (1, 8, 0),
        (0, -2.5, 0),
        (0, -5, 0),
    ]
    + [
        (0, -5.6, -1),
        (0, -7, 0),
        (1.7, -4.7, 0),
        (2, -2, 0),
        (2, 0, -1),
        (-1.7, -4.7, 0),
        (-4, -5, 0),
        (-6, -6, 0),
        (0, -4.7, 0),
    ]
)


def rows_of(n=8, has_3d=True, has_2d=True, heads=False, action=False, seed=0) -> dict:
    rng = np.random.default_rng(seed)
    true = (
        REST + rng.normal(0, 30, (n, 18, 3)) + [0, 0, 4500] + rng.normal(0, 200, (n, 1, 3))
    ).astype(np.float32)
    pred = (
        true
        + rng.normal(0, 1, (n, 18, 3)).astype(np.float32) * np.linspace(5, 60, n)[:, None, None]
    )
    uv, found = (1145 * joints[..., :2] / joints[..., 2:] + 500 for joints in (true, pred))
    labelled = np.full((n, 18), has_2d)
    labelled[0, 3] = False
    return {
        **{"joints_xyz": np.float32(pred), "joints_uv": found, "index": np.arange(n)},
        "true_joints_xyz": true if has_3d else np.zeros_like(true),
        "true_joints_uv": np.where(labelled[..., None], uv, 0).astype(np.float32),
        **{"true_visible": labelled, "true_labelled": labelled},
        **{"true_has_xyz": np.full(n, has_3d), "true_has_uv": np.full(n, has_2d)},
        "true_action": np.arange(n) % 3 if action else np.full(n, -1),
        "true_head_px": np.full(n, 30.0 if heads else 0.0),
    }


def report_of(rows: dict, ids=None) -> BodyReport:
    ids = ids or [f"frame {n}" for n in range(len(rows["index"]))]
    return KINDS["body"].of_rows("ours", ids, rows, SKELETON, body_metrics.summarize(rows))


def view_of(n):
    """A patch of 64 x 48 px around the person, and the map of its px to those of the source."""
    pixels = np.full((64, 48, 3), 40 + n, np.uint8)
    return (pixels, np.float32([[12, 0, 220], [0, 12, 120]])), {}


def headings(pages) -> list[str]:
    return [page.heading for page in pages]


def keys(pages) -> dict:
    return {key.name: key.value for key in pages[0].blocks[0].items}


@pytest.mark.slow
def test_3d_and_image_labels(tmp_path):
    report = report_of(rows_of(action=True))
    metrics = report.metrics
    pages = report.sections(report.benchmark(""), view_of)
    assert headings(pages) == [
        "Summary",
        "Mean error by protocol",
        "Joints within a distance",
        "Error along each axis",
        "Error of each action",
        "Comparison with published results on Human3.6M",
        "Error of each joint",
        "In the image",
        "Best and worst frames",
        "How the numbers are computed",
    ]
    assert keys(pages) == {name: metrics[name] for name in keys(pages)} and len(keys(pages)) == 7
    protocols = pages[1].blocks[0]
    assert [row[0] for row in protocols.rows] == list(body_metrics.JOINT_SETS)
    assert len(protocols.columns) == 7 and protocols.rows[0][3] == metrics["mpjpe_mm"]
    assert protocols.rows[2][5] == metrics["protocols_mm"]["h36m14_similarity"]
    actions = pages[4].blocks[1]
    names = ["directions", "discussion", "eating", "mean over actions"]
    assert [row[0] for row in actions.rows] == names
    assert actions.rows[0][3:] == (47.5, 36.9, 50.8, 39.0)
    assert actions.rows[-1][3:] == (49.6, 40.6, 53.9, 41.5)
    assert actions.rows[1][1:3] == tuple(metrics["per_action_mm"]["discussion"].values())
    joints = {row[0]: row[1] for row in pages[6].blocks[1].rows}
    assert joints["right ankle"] == pytest.approx(metrics["per_joint_mm"]["right_ankle"])
    assert joints["thorax"] is None
    page = results.write_results(tmp_path, metrics, pages, "Body", "test", report.predictions())
    html = page.read_text()
    assert "only indicates the scale" in html and f"{metrics['mpjpe_mm']:.2f}" in html
    text = results.as_text(report.summary_rows())
    for words in (f"{metrics['pa_mpjpe_mm']:.2f} mm", "PA-MPJPE, mean over actions", "median"):
        assert words in text


@pytest.mark.slow
def test_predictions_npz_reproduces_metrics_json(tmp_path, capsys):
    """predictions.npz contains everything that metrics.json is computed from."""
    report = report_of(rows_of(action=True, heads=True))
    first = report.metrics
    path = write_predictions(tmp_path / "predictions.npz", report.predictions())
    evaluate.main(["--predictions", str(path), "--workdir", str(tmp_path / "w")])
    again = json.loads((tmp_path / "w" / "metrics.json").read_text())
    assert {name: again[name] for name in first} == first and "pckh_percent" in first
    assert f"{first['mpjpe_mm']:.2f} mm" in capsys.readouterr().out
    with np.load(path) as arrays:
        assert arrays["joints"].tolist() == list(SKELETON.joints)
        assert arrays["truth"].shape == (8, 18, 3) and arrays["kind"] == "body"
        broken = dict(arrays) | {"labelled": arrays["labelled"][:3]}
    np.savez(tmp_path / "broken.npz", **broken)
    for flags, message in (
        (
            ["--predictions", str(tmp_path / "broken.npz")],
            r"broken.npz: labelled is \[3, 18\]; expected \[8, 18\] for its 8 ids",
        ),
        (["--predictions", str(path), "--dataset", "rhd"], "contains its ground truth"),
        (
            ["--predictions", str(path), "--submission", str(tmp_path / "s")],
            "frame 0 is no frame of the challenge, whose ids end in five",
        ),
        (
            ["--predictions", str(path), "--submission", str(tmp_path)],
            "not empty, has .*; name a new folder",
        ),
    ):
        with pytest.raises((ValueError, OSError), match=message):
            evaluate.main([*flags, "--workdir", str(tmp_path / "v")])
    assert not (tmp_path / "v").exists() and not (tmp_path / "s").exists()


def test_image_labels_alone():
    report = report_of(rows_of(has_3d=False, heads=True))
    metrics = report.metrics
    pages = report.sections(report.benchmark(""), view_of)
    assert headings(pages) == [
        *(
            "Summary",
            "In the image",
            "Error of each joint",
            "Best and worst frames",
            "How the numbers are computed",
        )
    ]
    assert set(keys(pages)) == {"epe_px", "pckh_percent.mean", "frames"}
    assert "MPJPE" not in results.as_text(report.summary_rows()) and "PCKh @ 0.5, mean" in dict(
        report.summary_rows()
    )
    # A joint without a label does not count.
    right = {row[0]: row[1] for row in pages[2].blocks[1].rows}["right ankle"]
    assert right == pytest.approx(metrics["per_joint_px"]["right_ankle"])
    assert not report.image.drawn(0)[3] and report.image.drawn(1).all()


def test_3d_labels_alone_and_no_labels():
    """The challenge has no image joints, and its test set no ground truth."""
    rows = rows_of(has_2d=False)
    rows["true_joints_xyz"] -= rows["true_joints_xyz"][:, :1]
    report = report_of(rows, [f"validation/{n:05d}" for n in range(8)])
    assert report.benchmark("human36m_challenge") == ("human36m_challenge", False)
    pages = report.sections(Comparison("human36m_challenge", False))
    assert "In the image" not in headings(pages) and "root_mm" not in keys(pages)
    rivals = next(page for page in pages if page.heading.startswith("Comparison")).blocks[0].rows
    assert len(rivals) == 9 and sorted(row[1] for row in rivals) == [row[1] for row in rivals]
    patch, front, side = report.panels(0, view_of(0))
    assert patch.true is None and front.true is not None and side.unit == "mm"
    rows = rows_of(has_3d=False, has_2d=False)
    blind = report_of(rows, report.ids)
    pages = blind.sections(blind.benchmark(""))
    assert (
        headings(pages)[0] == "Summary"
        and "nothing to evaluate" in pages[0].blocks[1]
        and len(pages) == 2
    )
    assert dict(blind.summary_rows()) == {"frames x joints": "8 x 18"}


def test_frames_are_drawn_in_patch_and_from_pelvis():
    rows = rows_of()
    report = report_of(rows)
    patch, front, side = report.panels(2, view_of(2))
    np.testing.assert_allclose(12 * patch.pred + (220, 120), rows["joints_uv"][2], atol=1e-3)
    np.testing.assert_allclose(front.true, (report.true[2] - report.true[2, 0])[:, :2])
    np.testing.assert_allclose(side.pred, (report.pred[2] - report.pred[2, 0])[:, [2, 1]])
    assert patch.background.pixels[0, 0, 0] == 42 and len(report.panels(2, None)) == 2
    panels = report.panels(2, view_of(2))
    far = panels[0].pred + 1e4  # outside of the patch; does not affect the other panels
    shapes = []
    for first in (panels[0], replace(panels[0], pred=far)):
        figure = draw_frame(DrawnFrame((first, *panels[1:])), SKELETON)
        shapes.append([axes.get_xlim() for axes in figure.axes])
    assert shapes[0] == shapes[1] and shapes[0][0] == (-0.5, 47.5)


def test_checkpoints_are_averaged_in_3d_and_in_the_image():
    runs = [rows_of(seed=seed) for seed in range(2)]
    merged = combine(runs, "mean")
    for name in ("joints_xyz", "joints_uv"):
        np.testing.assert_allclose(merged[name], (runs[0][name] + runs[1][name]) / 2)
    with pytest.raises(
        ValueError, match="--ensemble max needs a confidence, which this system does not predict"
    ):
        combine(runs, "max")


def test_published_results_are_consistent():
    """The published mean is close to the mean of the actions."""
    for row in published.results("human36m"):
        means = np.mean(row.by_action, axis=0)
        np.testing.assert_allclose(means, (row.mpjpe_mm, row.pa_mpjpe_mm), atol=0.35)
    assert (
        set(published.by_action("human36m")) == set(body_metrics.ACTIONS)
        and published.by_action("human36m_challenge") == {}
    )


def test_every_kind_implements_a_report():
    zeros = np.zeros((1, 18, 3))
    with pytest.raises(TypeError, match="abstract"):
        Report("ours", ["a"], zeros, zeros, SKELETON, {})
