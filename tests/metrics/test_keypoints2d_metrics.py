"""Metrics of image joints: cases computed by hand, the rules of the originals, published curves."""

import csv
import math

import numpy as np
import pytest

from handjax.metrics import joints3d as metrics
from handjax.metrics import keypoints2d as metrics2d
from handjax.metrics.published import keypoints2d as published

NAMES = ("wrist", "thumb_tip", "index_tip")


def poses(errors, seed=0):
    """Predictions and ground truth [n, j, 2] with these distances [n, j], in random directions."""
    errors = np.asarray(errors, np.float64)
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0, 2 * np.pi, errors.shape)
    true = rng.uniform(50, 250, (*errors.shape, 2))
    return true + errors[..., None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1), true


def hand3d(errors, visible, thresholds):
    """EvalUtil's metrics as in its source, joint by joint: mean, median, area, curve."""
    each = [errors[visible[:, j], j] for j in range(errors.shape[1]) if visible[:, j].any()]
    curve = np.mean([[(e <= t).mean() for t in thresholds] for e in each], axis=0)
    area = sum(
        (b - a) * (y + z) / 2
        for a, b, y, z in zip(thresholds, thresholds[1:], curve, curve[1:], strict=False)
    )
    return (
        np.mean([e.mean() for e in each]),
        np.mean([np.median(e) for e in each]),
        area / thresholds[-1],
        curve,
    )


def test_by_hand():
    """Two hands, three joints; the last joint of the second hand is hidden and far away."""
    pred, true = poses([[0.0, 3.0, 6.0], [2.0, 9.0, 60.0]])
    visible = np.array([[True, True, True], [True, True, False]])
    box, image = np.array([50.0, 100.0]), np.array([100.0, 200.0])
    numbers = metrics2d.summarize(pred, true, NAMES, visible, box, image)
    assert (numbers["frames"], numbers["joints"], numbers["counted"]) == (2, 3, 6)
    assert numbers["epe_px"] == pytest.approx((0 + 3 + 6 + 2 + 9 + 60) / 6)
    assert numbers["median_px"] == pytest.approx((3 + 6) / 2)
    assert numbers["joint_mean_px"] == pytest.approx((1 + 6 + 33) / 3) == numbers["joint_median_px"]
    assert list(numbers["per_joint_px"].values()) == pytest.approx([1, 6, 33])
    # Within 0 px: one joint of six; 3.16 px: 0, 2, 3; 6.3: 6; 9.5: 9. 60 px are never within.
    curve = numbers["pck"]["fraction"]
    assert (
        curve[0] == pytest.approx(1 / 6)
        and curve[2] == pytest.approx(3 / 6)
        and curve[-1] == pytest.approx(5 / 6)
    )
    # Shares of 100 and 200 px: .0 .03 .06 .01 .045 .3; of 50 and 100 px: twice that.
    assert numbers["pck_image"] == {"0.05": pytest.approx(4 / 6), "0.2": pytest.approx(5 / 6)}
    assert numbers["pck_box"]["0.08"] == pytest.approx(3 / 6)
    assert numbers["pck_box"]["0.2"] == pytest.approx(5 / 6)
    seen = numbers["visible"]
    assert (
        seen["counted"] == 5
        and seen["epe_px"] == pytest.approx(4)
        and seen["median_px"] == pytest.approx(3)
    )
    assert seen["joint_mean_px"] == pytest.approx(
        (1 + 6 + 6) / 3
    )  # per joint, then averaged: not the mean of all
    assert seen["pck"]["fraction"][-1] == seen["pck_box"]["0.2"] == 1


@pytest.mark.parametrize("share", [1.0, 0.7])
def test_matches_hand3d_and_mmpose(share):
    rng = np.random.default_rng(1)
    errors = rng.gamma(2, 4, (40, 5))
    visible = rng.random(errors.shape) < share
    visible[:, 3] &= share == 1  # a joint that is never visible does not count
    summary = metrics2d.summarize(*poses(errors), "abcde", visible)
    for numbers, counted in ((summary, np.ones_like(visible)), (summary["visible"], visible)):
        mean, median, area, curve = hand3d(errors, counted, np.linspace(0, 30, 20))
        assert numbers["joint_mean_px"] == pytest.approx(mean)
        assert numbers["joint_median_px"] == pytest.approx(median)
        assert numbers["auc"] == pytest.approx(area)
        np.testing.assert_allclose(numbers["pck"]["fraction"], curve)
        np.testing.assert_allclose(numbers["pck"]["thresholds_px"], np.linspace(0, 30, 20))
        # mmpose: strictly below, at 20 distances without 30 px, averaged.
        each = [errors[counted[:, j], j] for j in range(5) if counted[:, j].any()]
        expected = np.mean([np.mean([(e / 30 < i / 20).mean() for e in each]) for i in range(20)])
        assert numbers["auc_mmpose"] == pytest.approx(expected)
    assert (summary["visible"]["per_joint_px"]["d"] is None) == (share < 1)


def test_perfect_and_hopeless():
    exact = metrics2d.summarize(*poses(np.zeros((3, 3))), NAMES)
    assert exact["epe_px"] == 0 and exact["auc"] == 1 and exact["pck"]["fraction"] == [1] * 20
    assert exact["auc_mmpose"] == pytest.approx(19 / 20)  # nothing is closer than 0 px
    far = metrics2d.summarize(*poses(np.full((3, 3), 1000.0)), NAMES)
    assert far["auc"] == far["auc_mmpose"] == 0


def test_thresholds_are_inclusive_or_strict():
    """A joint exactly at a threshold counts in hand3d's PCK, not in that of a side."""
    pred, true = np.array([[[10.0, 0.0]]]), np.zeros((1, 1, 2))
    numbers = metrics2d.summarize(
        pred, true, ["a"], image_px=np.array([50.0]), box_px=np.array([100.0])
    )
    assert (
        numbers["pck_image"]["0.2"] == 0
        and numbers["pck_box"]["0.1"] == 0
        and numbers["pck_box"]["0.12"] == 1
    )
    errors = np.array([[metrics2d.CURVE_PX[3]]])
    assert metrics2d.pck_curve(errors, metrics2d.CURVE_PX).tolist() == [0] * 3 + [1] * 17


def test_a_box_without_size_is_ignored():
    """The box of a hand with one labelled joint."""
    pred, true = poses(np.array([[1.0], [3.0]]))
    numbers = metrics2d.summarize(pred, true, ["a"], box_px=np.array([10.0, 0.0]))
    assert numbers["epe_px"] == pytest.approx(2) and set(numbers["pck_box"].values()) <= {0.0, 1.0}
    alone = metrics2d.summarize(pred[:1], true[:1], ["a"], box_px=np.array([10.0]))
    assert numbers["pck_box_curve"] == alone["pck_box_curve"]


def test_joints_without_a_label_are_ignored():
    errors = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    pred, true = poses(errors)
    labelled = np.array([[True, True, False], [True, False, False]])
    true[~labelled] = np.nan
    numbers = metrics2d.summarize(pred, true, NAMES, labelled=labelled)
    assert numbers["counted"] == 3 and numbers["epe_px"] == pytest.approx(7 / 3)
    assert numbers["per_joint_px"]["index_tip"] is None and numbers["visible"] == {
        key: numbers[key] for key in numbers if key not in ("frames", "joints", "visible")
    }
    hidden = metrics2d.summarize(pred, true, NAMES, np.zeros((2, 3), bool), labelled=labelled)
    assert hidden["visible"] is None and hidden["epe_px"] == numbers["epe_px"]


def test_fractions_of_a_side_are_scale_invariant():
    rng = np.random.default_rng(2)
    errors, side = rng.gamma(2, 4, (30, 4)), rng.uniform(60, 200, 30)
    once, doubled = (
        metrics2d.pck_of_side(errors * k, side * k, metrics2d.IMAGE_SHARES) for k in (1, 2)
    )
    np.testing.assert_array_equal(once, doubled)
    assert np.all(np.diff(once) >= 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda a: a["pred"].__setitem__((1, 2, 0), np.nan),
            "frame 1, joint index_tip: the predicted position is not finite",
        ),
        (
            lambda a: a["true"].__setitem__((0, 0, 1), np.inf),
            "frame 0, joint wrist: the true position is not finite",
        ),
        (lambda a: a.update(labelled=np.zeros((2, 3), bool)), "no labelled joint in any frame"),
        (
            lambda a: a.update(joints=("a", "b")),
            r"predictions are \[2, 3, 2\], .* is \[2, 3, 2\]: expected \[n, 2, 2\]",
        ),
        (
            lambda a: a.update(box_px=np.array([1.0, -1.0])),
            "frame 1: box_px is -1.0; expected the side of a square",
        ),
        (lambda a: a.update(image_px=np.array([np.nan, 1.0])), "frame 0: image_px is nan"),
    ],
)
def test_invalid_input(change, message):
    pred, true = poses(np.ones((2, 3)))
    arguments = {"pred": pred, "true": true, "joints": NAMES}
    change(arguments)
    with pytest.raises(ValueError, match=message) as caught:
        metrics2d.summarize(**arguments)
    assert "\n" not in str(caught.value)


def published_curves(real_data):
    """(name, data set, all or part, area, mean, median, curve) per row; rows without a name belong
    to the one before."""
    name = ""
    with (real_data / "curves" / "posenet2d_published_pck.csv").open(newline="") as file:
        head, *rows = csv.reader(file)
        assert [float(t) for t in head[10:]] == pytest.approx(metrics2d.CURVE_PX)
        for row in rows:
            name = row[0] or name
            yield (
                name,
                row[1],
                row[4],
                *(float(x) for x in row[5:8]),
                tuple(float(y) for y in row[10:]),
            )


def test_published_curves_have_their_published_areas(real_data):
    rows = list(published_curves(real_data))
    assert len(rows) == 11
    for *_, area, _, _, curve in rows:
        assert metrics.auc(metrics2d.CURVE_PX, np.array(curve)) == pytest.approx(area, abs=5.1e-4)


def test_errors_drawn_from_a_published_curve(real_data):
    """Errors distributed as in a curve, uniform between its distances, have its area and, within a
    step, its mean and median."""
    for _, _, _, area, mean, median, curve in published_curves(real_data):
        n = 4000
        within = np.round(np.array(curve) * n).astype(int)
        steps = np.repeat(np.arange(19), np.diff(within))
        width = metrics2d.CURVE_PX[1]
        near = np.concatenate(
            [
                np.zeros(within[0]),
                (steps + np.random.default_rng(0).uniform(1e-9, 1, len(steps))) * width,
            ]
        )
        errors = np.concatenate([near, np.full(n - within[-1], 1000.0)])[:, None]
        numbers = metrics2d.summarize(*poses(errors), ["a"])
        np.testing.assert_allclose(numbers["pck"]["fraction"], within / n)
        assert numbers["auc"] == pytest.approx(area, abs=1e-3)
        # The median of one joint's errors is close to the mean of the joints' medians.
        assert numbers["joint_median_px"] == pytest.approx(median, abs=0.5)
        # The curve bounds their mean, except for the errors beyond 30 px.
        assert (
            steps.sum() * width / n < mean < (steps + 1).sum() * width / n + (1 - curve[-1]) * 150
        )


def test_the_table_of_published_results(real_data):
    """Its curves and metrics are those of the file."""
    rows = {
        (row[1].removesuffix("_320").lower(), row[3]): row
        for row in published_curves(real_data)
        if row[2] == "all"
    }
    drawn = [row for row in published.RESULTS if row.curve]
    assert len(drawn) == 3
    for row in drawn:
        _, _, _, area, mean, median, curve = rows[row.dataset, row.auc]
        assert (row.auc, row.mean_px, row.median_px) == (area, mean, median)
        np.testing.assert_allclose(row.curve, curve, atol=5.1e-4)
    for row in published.RESULTS:
        assert row.dataset in published.TEST_HANDS and row.dataset in published.TITLES
        assert row.auc_visible is None or row.auc is None or row.auc <= row.auc_visible
    means = [row.mean_px for row in published.results("rhd")]
    assert means == sorted(means) and published.results("nyu") == ()


def test_plain_json():
    numbers = metrics2d.summarize(
        *poses(np.ones((2, 3))), NAMES, box_px=np.full(2, 9.0), image_px=np.full(2, 9.0)
    )

    def plain(value):
        if isinstance(value, dict):
            return all(isinstance(key, str) and plain(x) for key, x in value.items())
        if isinstance(value, list):
            return all(map(plain, value))
        return (
            value is None
            or type(value) in (int, str)
            or (type(value) is float and math.isfinite(value))
        )

    assert plain(numbers)


def test_similarity_of_coco_by_hand():
    """One object of 100 x 100 px; with sigma 0.05, a joint is 10 px away at exp(-1/2)."""
    pred, true = poses([[0.0, 10.0, 500.0], [20.0, 20.0, 20.0]])
    labelled = np.array([[True, True, False], [True, True, True]])
    area = np.array([10_000.0, 40_000.0])
    numbers = metrics2d.summarize(
        pred, true, NAMES, labelled=labelled, area_px=area, sigmas=(0.05, 0.05, 0.1)
    )
    each = (1 + math.exp(-0.5)) / 2, (2 * math.exp(-0.5) + math.exp(-1 / 8)) / 3
    assert numbers["oks"]["mean"] == pytest.approx(np.mean(each))
    assert numbers["oks"]["above"] == {"0.5": 1.0, "0.75": 0.5}
    assert "oks" not in metrics2d.summarize(pred, true, NAMES, labelled=labelled, area_px=area)
    lost = metrics2d.similarity(np.ones((2, 1)), np.array([0.0, 9.0]), (0.1,), np.eye(2, 1) < 1)
    assert np.isnan(lost[0]) and lost[1] == pytest.approx(math.exp(-1 / 0.72))
