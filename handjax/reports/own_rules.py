"""A data set's own metrics, by its name: rows for a terminal, and a section of the report."""

from collections.abc import Mapping
from typing import Any

from handjax.reports import page

TITLES = {
    "freihand": "FreiHAND",
    "dexycb": "DexYCB",
    "ho3d": "HO-3D",
    "hands2017": "HANDS 2017",
    "itop": "ITOP",
    "mpi_inf_3dhp": "MPI-INF-3DHP",
}
NOTES = {
    "freihand": "After Procrustes (pa) a hand may be mirrored, as in the set's own program. Its "
    "F-scores at 5 and 15 mm are of the vertices of a mesh: they are here only if the files have "
    "vertices, since joints have none.",
    "ho3d": "By FreiHAND's program, as the set's own.",
    "dexycb": "Absolute, relative to the wrist, and after Procrustes, each with its area from 0 to "
    "50 mm.",
    "hands2017": "The challenge averages over all test frames, and over those of people who are "
    "seen in training and of the others. Which those are comes with the ground truth, in its array "
    "seen; the labels of the test frames were not published.",
    "itop": "Percent of the joints within 10 cm: the mean average precision of the set's paper.",
    "mpi_inf_3dhp": "14 joints relative to the pelvis: percent within 150 mm, and the mean of that "
    "over 0, 5, …, 150 mm.",
}
_WORDS = {"mpjpe": "mean", "pa": "Procrustes", "map": "mAP", "auc": "area", "pck": "PCK"}
_WORDS |= {"10cm": "10 cm", "150mm": "150 mm", "f5": "F at 5 mm", "f15": "F at 15 mm"}
_UNITS = {"mm": ("mm", 3), "percent": ("%", 2), "frames": ("frames", 0)}


def rows_of(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values, of every set whose metrics there are."""
    return [(f"{TITLES[name]}: {label}", text) for name, label, text in _values(metrics)]


def sections_of(metrics: Mapping[str, Any]) -> list[page.Section]:
    """One section, if there are any."""
    found = _values(metrics)
    if not found:
        return []
    table = page.table(
        ("data set", "metric", "value"),
        [(TITLES[name], label, text) for name, label, text in found],
    )
    notes = [f"{TITLES[name]}: {NOTES[name]}" for name in dict.fromkeys(n for n, *_ in found)]
    return [page.section("By the data set's own rules", table, *notes)]


def _values(metrics: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    found = []
    for name in TITLES:
        for key, value in metrics.get(name, {}).items():
            if not isinstance(value, int | float):  # a table per joint
                continue
            *words, last = key.split("_")
            unit, digits = _UNITS.get(last, ("", 3))
            words = words if unit else [*words, last]
            label = " ".join(_WORDS.get(word, word) for word in words)
            found.append((name, label, f"{value:.{digits}f} {unit}".strip()))
    return found
