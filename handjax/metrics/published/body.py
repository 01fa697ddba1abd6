"""Published results on Human3.6M, for comparison: 17 joints, root alignment and Procrustes, mm.

Integral regression: Sun et al. 2018, arXiv 1711.08229, and its re-implementation, whose README has
both by action: github.com/mks0601/Integral-Human-Pose-Regression-for-3D-Human-Pose-Estimation. The
challenge: README of github.com/JimmySuen/integral-human-pose (Sun et al., arXiv 1809.06079). No
result of the kinematic head has been published.
"""

from typing import NamedTuple

from handjax.metrics.body import ACTIONS

TITLES = {"human36m": "Human3.6M", "human36m_challenge": "the Human3.6M challenge of ECCV 2018"}
SOURCES = {
    "human36m": "From Sun et al. 2018 (arXiv 1711.08229) and mks0601's re-implementation: "
    "subjects 9 and 11, mean over actions.",
    "human36m_challenge": "From the README of JimmySuen/integral-human-pose (arXiv 1809.06079): "
    "the validation set; each row adds to the one before.",
}
CHALLENGE_VALIDATION = 19312  # frames of the challenge's validation set, all evaluated


class PublishedBody(NamedTuple):
    """One model on one test set; `by_action` has (MPJPE, PA-MPJPE) in the order of ACTIONS."""

    dataset: str
    method: str
    mpjpe_mm: float
    pa_mpjpe_mm: float | None = None
    note: str = ""
    by_action: tuple[tuple[float, float], ...] = ()


_PAPERS_PA = (
    "Its PA-MPJPE is of subject 11 alone, every 64th frame, after training on subject 9 as well"
)
# fmt: off
_PAPER = (
    (47.5, 36.9), (47.7, 36.2), (49.5, 40.6), (50.2, 40.4), (51.4, 41.9),
    (43.8, 34.9), (46.4, 35.7), (58.9, 50.1), (65.7, 59.4), (49.4, 40.4),
    (55.8, 44.9), (47.8, 39.0), (38.9, 30.8), (49.0, 39.8), (43.8, 36.7),
)
_MKS0601 = (
    (50.8, 39.0), (52.3, 38.6), (54.8, 44.1), (57.9, 42.5), (52.8, 40.6),
    (47.0, 35.3), (52.1, 38.2), (62.0, 49.9), (73.7, 59.4), (52.6, 41.0),
    (58.3, 46.1), (50.4, 37.6), (40.9, 30.3), (54.1, 40.8), (45.1, 35.5),
)
# fmt: on
_CHALLENGE = (
    ("ResNet-50, Human3.6M, no box", 115.9),
    ("and a detected box, 256 x 256", 86.5),
    ("and MPII", 62.2),
    ("and ResNet-152", 61.2),
    ("and 288 x 384", 58.5),
    ("and COCO", 57.5),
    ("and flip test", 56.9),
    ("and an ensemble", 55.3),
)

RESULTS = (
    PublishedBody(
        "human36m", "Integral regression, the paper", 49.6, 40.6, _PAPERS_PA, by_action=_PAPER
    ),
    PublishedBody("human36m", "Integral regression, by mks0601", 53.9, 41.5, by_action=_MKS0601),
    *(
        PublishedBody("human36m_challenge", f"Integral regression: {method}", mm)
        for method, mm in _CHALLENGE
    ),
)


def results(dataset: str) -> tuple[PublishedBody, ...]:
    """The results on one test set, lowest error first."""
    rows = (row for row in RESULTS if row.dataset == dataset)
    return tuple(sorted(rows, key=lambda row: row.mpjpe_mm))


def by_action(dataset: str) -> dict[str, tuple[tuple[float, float], ...]]:
    """Action → both means of each model that reports them, lowest error first."""
    rows = [row.by_action for row in results(dataset) if row.by_action]
    return dict(zip(ACTIONS, zip(*rows, strict=True), strict=True)) if rows else {}
