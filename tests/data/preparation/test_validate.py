import io
import json

import cv2
import numpy as np
import pytest

from handjax.data.preparation import validate
from handjax.data.preparation.examples import unreadable
from handjax.data.preparation.validate import Findings, examine
from handjax.pose.lens import project_through_lens

K = np.array([[300, 0, 80], [0, 300, 60], [0, 0, 1]], np.float32)


def jpeg(height=120, width=160):
    return io.BytesIO(cv2.imencode(".jpg", np.full((height, width, 3), 90, np.uint8))[1].tobytes())


def sample(**change):
    """A wall at 500 mm with 21 joints 5 mm behind its surface."""
    x, y = np.meshgrid(np.linspace(-90, 90, 7), np.linspace(-60, 60, 3))
    xyz = np.stack([x.ravel(), y.ravel(), np.full(21, 505.0)], -1).astype(np.float32)
    uv = xyz[:, :2] / xyz[:, 2:] * 300 + K[:2, 2]
    depth = np.full((120, 160, 1), 500, np.uint16)
    known = {
        "image": jpeg(),
        "depth": depth,
        "k": K,
        "joints_xyz": xyz,
        "joints_uv": uv,
        "visible": np.ones(21, bool),
    }
    return {**known, "id": "a", "side": "left", **change}


def given(*samples):
    """Lazy examples of existing samples."""
    return [(key, lambda value=value: value) for key, value in samples]


def faults(**change):
    findings = examine(given(("a", sample(**change))))
    assert findings.counts["frames"] == 1
    assert all(findings.named[fault] == ["a"] for fault in findings.named)
    return {fault for fault in validate.FAULTS if findings.counts[fault]}


def moved(key, by, joint=slice(None)):
    value = sample()[key].copy()
    value[joint] = value[joint] + by
    return {key: value}


def test_consistent_sample():
    summary = examine(given(("a", sample()))).summary(published=2)
    assert (
        summary["frames"] == 1
        and summary["published_frames"] == 2
        and not any(summary["frames_with"].values())
    )
    assert (
        summary["visible_joints"]
        == summary["surface_joints"]
        == summary["reprojected_joints"]
        == 21
    )
    assert summary["surface_share_within_mm"] == {"10": 1, "20": 1, "50": 1}
    assert summary["reprojection_largest_px"] < 1e-4


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"image": io.BytesIO(b"no image")}, "undecodable"),
        ({"image": io.BytesIO(b"")}, "undecodable"),
        (moved("joints_xyz", np.nan, 3), "not_finite"),
        (moved("joints_uv", np.inf, 3), "not_finite"),
        (moved("joints_xyz", (0, 0, -600), 3), "behind"),
        ({"depth": np.zeros((120, 160, 1), np.uint16)}, "empty_depth"),
        ({"depth": np.full((120, 160, 1), 560, np.uint16)}, "off_surface"),
        (moved("joints_uv", (1.2, 0), 20), "reprojection"),
        (moved("joints_xyz", (4, 0, 0)), "reprojection"),
        ({"k": K + np.float32([[0, 0, 2], [0, 0, 0], [0, 0, 0]])}, "reprojection"),
    ],
)
def test_each_fault_is_found_and_no_other(change, fault):
    assert faults(**change) == {fault}


def test_joints_outside():
    xyz = sample()["joints_xyz"] + np.float32([60, 0, 0])
    uv = xyz[:, :2] / xyz[:, 2:] * 300 + K[:2, 2]
    change = {"joints_xyz": xyz, "joints_uv": uv}
    assert faults(**change) == {"outside"}
    out = uv[:, 0] > 159.5
    assert 0 < out.sum() < 21 and faults(**change, visible=~out) == set()
    assert examine(given(("a", sample(**change)))).counts["joints_outside"] == out.sum()
    # The outer edges of the outer pixels are still inside the image.
    corners = sample(joints_uv=np.resize(np.float32([[-0.5, -0.5], [159.4, 119.4]]), (21, 2)))
    del corners["joints_xyz"]
    assert not examine(given(("a", corners))).named


def test_lens_distortion():
    lens = np.float32([-0.2, 0.2, 0, -0.001, 0.002])
    uv = project_through_lens(sample()["joints_xyz"], K, lens)
    assert np.abs(uv - sample()["joints_uv"]).max() > 0.3
    findings = examine(given(("a", sample(distortion=lens, joints_uv=uv))))
    assert findings.largest_px < 1e-3


def test_several_images():
    one, other = sample(), sample(**moved("joints_uv", (2, 0)))
    both = {
        key: np.stack([one[key], other[key]])
        for key in ("depth", "k", "joints_xyz", "joints_uv", "visible")
    }
    findings = examine(given(("two", both)))
    assert (
        findings.named == {"reprojection": ["two"]} and findings.counts["reprojected_joints"] == 42
    )
    sensor = {f"sensor_{key}": other[key] for key in ("depth", "k", "joints_xyz", "joints_uv")}
    findings = examine(
        given(("s", {**{k: one[k] for k in ("image", "k", "joints_xyz", "joints_uv")}, **sensor}))
    )
    assert findings.named == {"reprojection": ["s"]} and findings.counts["surface_joints"] == 21
    right = {"image_right": io.BytesIO(b"-"), "joints_uv_right": one["joints_uv"]}
    assert examine(given(("r", {**one, **right}))).named == {"undecodable": ["r"]}


def test_findings_add_up_and_round_trip():
    bad = sample(**moved("joints_uv", (3, 0), 0))
    chunks = [[("a", sample())], [(f"b{i}", bad) for i in range(4)], [("c", bad), ("d", bad)]]
    whole, summed = examine(given(*sum(chunks, []))), Findings()
    for chunk in chunks:
        summed += Findings.from_dict(json.loads(json.dumps(examine(given(*chunk)).to_dict())))
    summed.px = pytest.approx(summed.px)
    assert summed == whole
    assert whole.summary(None)["named"] == {"reprojection": ["b0", "b1", "b2", "b3", "c"]}
    assert whole.summary(None)["frames_with"]["reprojection"] == 6
    np.testing.assert_allclose(whole.summary(None)["reprojection_mean_px"], 18 / 147, rtol=1e-4)


def test_unreadable_samples_hide_nothing():
    def examples(kinds):
        errors = {"f": FileNotFoundError("x.png: gone"), "v": ValueError("bad\nline")}
        return [
            (f"{i}", unreadable(errors[kind]) if kind in errors else sample)
            for i, kind in enumerate(kinds)
        ]

    findings = examine(examples("svsfvs"))
    summary = findings.summary(None)
    assert (summary["frames"], summary["unreadable_frames"]) == (3, 3) and findings.counts[
        "joints"
    ] == 63
    assert summary["unreadable"] == {"bad line": 2, "x.png: gone": 1}
    both = examine(examples("vs"))
    both += Findings.from_dict(json.loads(json.dumps(findings.to_dict())))
    assert both.unreadable == {"bad line": 3, "x.png: gone": 1} and both.counts["frames"] == 4
    many = examine([(f"{i}", unreadable(ValueError(f"line {i}"))) for i in range(300)])
    assert many.counts["unreadable"] == 300 and list(many.unreadable) == [
        f"line {i}" for i in range(200)
    ]
    with pytest.raises(KeyError):  # our own bug is not the file's fault
        examine([("a", unreadable(KeyError("joints")))])
