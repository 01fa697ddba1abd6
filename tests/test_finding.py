"""The figures of benchmarks/finding.py."""

import numpy as np
import pytest

from benchmarks.finding import KINDS, Answer, Shown, answers, area, cut, figures, spoilt
from handjax.prediction.base import Prediction


def test_the_area_under_the_curve():
    lost = np.array([False, False, True, True])
    assert area(np.array([0.1, 0.2, 0.3, 0.4]), lost) == 1
    assert area(np.array([0.4, 0.3, 0.2, 0.1]), lost) == 0
    assert area(np.array([0.1, 0.3, 0.2, 0.4]), lost) == 0.75
    assert area(np.full(4, 0.5), lost) == 0.5
    assert np.isnan(area(np.ones(2), np.array([True, True])))


def test_shares_of_right_and_wrong_answers():
    found = [
        Answer(10.0, 0.9, True, 5.0),
        Answer(30.0, 0.2, False, 50.0),
        Answer(70.0, 0.8, False, 90.0),
        Answer(np.inf, 0.1, False, np.inf),
    ]
    result = figures(found)
    assert result["right_and_sure"] == result["right_but_unsure"] == 0.25
    assert (result["wrong"], result["sure_and_wrong"]) == (0.5, 0.25)
    assert (result["side"], result["middle_40_mm"]) == (0.5, 0.25)
    assert result["mean_mm"] == pytest.approx(110 / 3) and result["median_mm"] == 30


def test_the_nearer_of_two_hands_counts():
    rng = np.random.default_rng(0)
    joints = rng.normal(size=(2, 21, 3)) * 30 + [[[-150, 0, 500]], [[150, 0, 500]]]
    shown = Shown(np.zeros((240, 320)), np.eye(3), joints, ("right", "left"))
    off = (joints[1] + [3, 0, 4]).astype(np.float32)
    found = Prediction(
        *(("j",) * 21, off), side="left", presence=np.asarray(0.7, np.float32), center=off.mean(0)
    )
    one = answers(shown, found)
    assert (
        one.error == pytest.approx(5, abs=1e-4) and one.side and one.presence == pytest.approx(0.7)
    )
    assert one.middle == pytest.approx(5, abs=1e-4)
    none = answers(shown._replace(joints=joints[:0], sides=()), found)
    assert none.error == none.middle == np.inf and not none.side


def test_what_is_cut_off_is_not_measured():
    k = np.array([[290, 0, 159.5], [0, 290, 119.5], [0, 0, 1]], np.float32)
    joints = np.zeros((1, 21, 3), np.float32)
    joints[..., 0], joints[..., 2] = np.linspace(-40, 40, 21), 500
    shown = Shown(np.full((240, 320), 500.0, np.float32), k, joints, ("right",))
    for whole, column in ((False, 159), (True, 185)):
        ended = cut(shown, whole)
        assert (ended.depth[:, :column] == 500).all() and not ended.depth[:, column:].any()
    joints[..., 0] += 300
    assert cut(shown, True) is None


@pytest.mark.slow
@pytest.mark.optimized
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_as_many_images_as_asked_for(kind):
    images = list(spoilt(kind, 2))
    assert len(images) == 2
    for one in images:
        assert one.depth.shape == (240, 320) and (one.depth > 0).any()
        assert len(one.joints) == len(one.sides)
        assert bool(len(one.joints)) == (kind not in ("no hand", "a rectangle"))
        assert (one.asked is not None) == (kind == "wrong side")
