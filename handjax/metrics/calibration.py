"""Reliability of predicted standard deviations: are errors as large as they are said to be?

The model is an error that is normal with the same standard deviation, `std`, along x, y and z. Its
length e is then below std · q(p) with probability p, q(p)² being the quantile of the chi-squared
distribution with three degrees of freedom. Reliability compares p with the share of the joints for
which it holds, after Kuleshov, Fenner and Ermon 2018 (Accurate uncertainties for deep learning
using calibrated regression).
"""

import math
from typing import Any

import numpy as np
from jaxtyping import Float

LEVELS = tuple(i / 20 for i in range(1, 20))
_BINS = 5
_MEAN_LENGTH = math.sqrt(8 / math.pi)  # of a normal vector in space with standard deviation 1


def coverage(
    errors: Float[np.ndarray, " n"],
    std: Float[np.ndarray, " n"],
    levels: tuple[float, ...] = LEVELS,
) -> Float[np.ndarray, " p"]:
    """Share of the errors within the radius that should hold each share `levels` of them.

    `errors`: lengths, `std`: per coordinate, in the same unit. ValueError without errors, or for a
    std that is not above 0.
    """
    if not len(errors) or not (std > 0).all():
        raise ValueError("calibration: expected at least one error, and every std above 0")
    # The probability with which an error is at most this large.
    own = np.array([_within(float(ratio)) for ratio in errors / std])
    return np.array([(own <= level).mean() for level in levels])


def expected_calibration_error(
    errors: Float[np.ndarray, " n"], std: Float[np.ndarray, " n"]
) -> float:
    """Mean distance of `coverage` from its `LEVELS`: 0 if calibrated, at most about 0.5."""
    return float(np.abs(coverage(errors, std) - np.array(LEVELS)).mean())


def reliability(errors: Float[np.ndarray, " n"], std: Float[np.ndarray, " n"]) -> dict[str, Any]:
    """Plain JSON values: the expected calibration error, its curve, and a table over five bins of
    equally many joints by their std: mean std, the mean error that it stands for, mean error."""
    order = np.argsort(std, kind="stable")
    parts = [part for part in np.array_split(order, min(_BINS, len(order))) if len(part)]
    return {
        "joints": len(errors),
        "ece": expected_calibration_error(errors, std),
        "levels": list(LEVELS),
        "coverage": coverage(errors, std).tolist(),
        "bins": [
            {
                "joints": len(part),
                "std_mm": float(std[part].mean()),
                "expected_mm": float(_MEAN_LENGTH * std[part].mean()),
                "error_mm": float(errors[part].mean()),
            }
            for part in parts
        ],
    }


def _within(ratio: float) -> float:
    """Probability that a normal vector in space of standard deviation 1 is at most this long."""
    density = math.sqrt(2 / math.pi) * ratio * math.exp(-(ratio**2) / 2)
    return math.erf(ratio / math.sqrt(2)) - density
