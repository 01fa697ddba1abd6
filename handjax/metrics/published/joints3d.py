"""Published results on NYU and ICVL, for comparison.

Recomputed from prediction files, by the rules of awesome-hand-pose-estimation
(https://github.com/xinghaochen/awesome-hand-pose-estimation): 14 joints and 8,252 frames on NYU, 16
joints and 1,596 frames on ICVL. Most files are from there, where the means equal its table to the
printed digit; `source` names the repositories of the others. HandDiff and the
structure-aware 3D hourglass have no file: their means are those of their papers (arXiv 2404.03159
and 1812.10320).

`method` is the name of the file without venue and data set. DeepPrior's ICVL files cover 702 of the
frames and are left out.
"""

import csv
from functools import cache
from pathlib import Path
from typing import NamedTuple

SOURCE = "xinghaochen/awesome-hand-pose-estimation"
THRESHOLDS_MM = (10, 20, 30, 40, 50)
TEST_FRAMES = {"nyu": 8252, "icvl": 1596, "itop": 4863}  # in the test sets; of ITOP no results


class PublishedJoints3d(NamedTuple):
    """One method on one test set; NYU and ICVL, mm.

    `success_max`: percent of frames whose worst joint is within each of THRESHOLDS_MM. `aligned`:
    the method uses, or was aligned to, the true root joint, so it is not comparable with others.
    `source`: the repository of the prediction file on GitHub; without one there is the paper's mean
    alone.
    """

    dataset: str
    venue: str  # ends in the year
    method: str
    mean_mm: float
    median_mm: float | None
    success_max: tuple[float, ...] | None
    aligned: bool = False
    source: str = SOURCE

    @property
    def year(self) -> int:
        """The year of publication."""
        return 2000 + int(self.venue[-2:])


@cache
def all_results() -> tuple[PublishedJoints3d, ...]:
    """The rows of joints3d.csv. It has empty cells where nothing is known; a row without a source
    is from SOURCE's file, one of the source "paper" from none."""
    with Path(__file__).with_suffix(".csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found = []
    for row in rows:
        success = [row[f"within_{t}"] for t in THRESHOLDS_MM]
        found.append(
            PublishedJoints3d(
                row["dataset"],
                row["venue"],
                row["method"],
                float(row["mean_mm"]),
                float(row["median_mm"]) if row["median_mm"] else None,
                tuple(map(float, success)) if all(success) else None,
                row["aligned"] == "yes",
                "" if row["source"] == "paper" else row["source"] or SOURCE,
            )
        )
    return tuple(found)


def results(dataset: str, aligned: bool = False) -> tuple[PublishedJoints3d, ...]:
    """The results on one data set, lowest mean first; with `aligned`, aligned ones too."""
    rows = (row for row in all_results() if row.dataset == dataset and (aligned or not row.aligned))
    return tuple(sorted(rows, key=lambda row: row.mean_mm))


def records(dataset: str) -> tuple[PublishedJoints3d, ...]:
    """The results with a lower mean than all of the years before and their own, oldest first."""
    found: list[PublishedJoints3d] = []
    for row in sorted(results(dataset), key=lambda row: (row.year, row.mean_mm)):
        if not found or row.mean_mm < found[-1].mean_mm:
            found.append(row)
    return tuple(found)
