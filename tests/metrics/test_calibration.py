"""Reliability of standard deviations: known answers on normal errors."""

import numpy as np
import pytest

from handjax.metrics import calibration


def normal_errors(std, factor=1.0):
    """Lengths of normal vectors whose standard deviation is `factor` times the one claimed."""
    rng = np.random.default_rng(0)
    return np.linalg.norm(rng.normal(size=(len(std), 3)) * (factor * std)[:, None], axis=-1)


STD = np.random.default_rng(1).uniform(2, 20, 5_000)


def test_normal_errors_are_calibrated():
    errors = normal_errors(STD)
    np.testing.assert_allclose(calibration.coverage(errors, STD), calibration.LEVELS, atol=0.02)
    assert calibration.expected_calibration_error(errors, STD) < 0.01
    figures = calibration.reliability(errors, STD)
    assert [b["joints"] for b in figures["bins"]] == [1000] * 5
    for b in figures["bins"]:
        assert b["error_mm"] == pytest.approx(b["expected_mm"], rel=0.05)


def test_radii_of_the_docstring():
    """Half of all errors are below 1.54 std, 95 % below 2.80 std."""
    assert calibration._within(1.5382) == pytest.approx(0.5, abs=1e-4)
    assert calibration._within(2.7955) == pytest.approx(0.95, abs=1e-4)


def test_overconfidence_shows():
    errors = normal_errors(STD, factor=2.0)
    assert calibration.expected_calibration_error(errors, STD) > 0.25
    assert (calibration.coverage(errors, STD) < calibration.LEVELS).all()
    assert (calibration.coverage(normal_errors(STD, 0.5), STD) > calibration.LEVELS).all()


def test_few_joints_and_invalid_std():
    figures = calibration.reliability(np.array([1.0, 30.0]), np.array([1.0, 1.0]))
    assert len(figures["bins"]) == 2
    for errors, std in ((np.zeros(0), np.zeros(0)), (np.ones(2), np.array([1.0, 0.0]))):
        with pytest.raises(ValueError, match="every std above 0"):
            calibration.coverage(errors, std)
