"""The report of 3D joints in camera mm: hand pose from depth images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from handjax.data.formats.predictions_npz import Predictions3d
from handjax.data.formats.uvd_text import UVD_FORMATS
from handjax.metrics.published import joints3d as published
from handjax.pose.skeleton import Skeleton
from handjax.reports import page
from handjax.reports.base import (
    Comparison,
    InputView,
    InputViews,
    Report,
    frames_section,
    joints_section,
    published_section,
)
from handjax.reports.drawing import Background, Panel, front_and_side

# Methods with a color in the chart, besides the best one; the others are faint.
NAMED_METHODS = ("V2V-PoseNet", "Pose-REN", "HandPointNet", "DeepPrior++")


@dataclass(frozen=True)
class Joints3dReport(Report):
    """Camera-space mm [n, j, 3].

    The view of a sample is its crop's occupancy from the front and from the side, f [h, w] each:
    the fraction of occupied cells along the line of sight.
    """

    unit: ClassVar[str] = "mm"
    mean_metric: ClassVar[str] = "mpjpe_mm"
    within: ClassVar[tuple[int, ...]] = (10, 20, 30)

    @classmethod
    def fields_of(cls, rows: Mapping[str, np.ndarray], skeleton: Skeleton) -> dict[str, Any]:
        """Every joint counts, visible or hidden, as in papers."""
        return {"pred": rows["joints_xyz"], "true": rows["true_joints_xyz"]}

    def predictions(self) -> Predictions3d:
        return Predictions3d(tuple(self.ids), self.pred, self.true)

    def benchmark(self, name: str) -> Comparison:
        """The joint order identifies the data set, whatever the source is called (`name`)."""
        dataset = "icvl" if self.skeleton.name == "icvl16" else "nyu"
        complete = len(self.ids) == published.TEST_FRAMES[dataset]
        return Comparison(dataset, self.skeleton.name.startswith(dataset) and complete)

    def summary_rows(self) -> list[tuple[str, str]]:
        metrics = self.metrics
        rows = [
            ("frames x joints", f"{metrics['frames']:,} x {metrics['joints']}"),
            ("mean error", f"{metrics['mpjpe_mm']:.3f} mm"),
            ("median error", f"{metrics['median_mm']:.3f} mm"),
            ("mean after Procrustes", f"{metrics['pa_mpjpe_mm']:.3f} mm"),
            ("PCK area, 0 to 50 mm", f"{metrics['auc']:.3f}"),
        ]
        for t, percent in metrics["success_max_percent"].items():
            rows.append((f"worst joint within {t} mm", f"{percent:.2f} %"))
        for joint, mm in metrics["per_joint_mm"].items():
            rows.append((joint.replace("_", " "), "-" if mm is None else f"{mm:.2f} mm"))
        return rows

    def panels(self, n: int, view: InputView | None) -> tuple[Panel, ...]:
        if view is None:
            return front_and_side(self.pred[n], self.true[n])
        occupancy, cube = view
        front, side = (np.where(share > 0, 1.0 - share, np.nan) for share in occupancy)
        left, top, near = (cube["center_xyz"] - cube["cube_mm"] / 2).tolist()
        right, bottom, far = (cube["center_xyz"] + cube["cube_mm"] / 2).tolist()
        return front_and_side(
            self.pred[n],
            self.true[n],
            Background(front, (left, right, top, bottom)),
            Background(side, (near, far, top, bottom)),
        )

    def overview(self) -> list[page.Block]:
        metrics = self.metrics
        every, good = "over all joints and frames", metrics["success_max_percent"]["20"]
        per_frame = f"of {metrics['joints']} joints each"
        return [
            page.keys(
                page.Key("Mean error", metrics["mpjpe_mm"], "mm", every, 3, "mpjpe_mm"),
                page.Key("Median error", metrics["median_mm"], "mm", every, 3, "median_mm"),
                page.Key(
                    "After Procrustes",
                    metrics["pa_mpjpe_mm"],
                    "mm",
                    "mean error of the pose alone",
                    3,
                    "pa_mpjpe_mm",
                ),
                page.Key(
                    "Good frames", good, "%", "all joints ≤ 20 mm", 2, "success_max_percent.20"
                ),
                page.Key("PCK area", metrics["auc"], "", "0 to 50 mm, 1 is perfect", 3, "auc"),
                page.Key("Frames", metrics["frames"], "", per_frame, 0, "frames"),
            )
        ]

    def evaluation(self, comparison: Comparison | None) -> list[page.Section]:
        others: Sequence[published.PublishedJoints3d] = ()
        if comparison is not None:
            others = published.results(comparison.dataset, aligned=True)
        comparable = comparison is not None and comparison.comparable
        sections = [_success(self, others, comparable)]
        if others:
            sections.append(_published(self, others, comparable))
        return [*sections, joints_section(self)]

    def frames(self, views: InputViews | None, apart: int) -> list[page.Section]:
        return [frames_section(self, views, apart, ", from the front and from the side")]

    def definitions(self) -> list[str]:
        return [
            "Error: Euclidean distance between predicted and true joint in camera space, in mm, "
            "without any alignment. Mean and median are over all joints of all frames.",
            "Frames within a distance: a frame counts if the largest (or the mean) error of its "
            "joints is at most the distance.",
            "After Procrustes: the mean error after each predicted pose has been rotated, "
            "translated and scaled onto the true one, without mirror images. What remains is the "
            "error of the pose itself.",
            "PCK area: the fraction of frames in which a joint is within t, averaged over the "
            "joints, integrated over t from 0 to 50 mm in steps of 1 mm by the trapezoid rule, "
            "and divided by 50 mm.",
        ]


def _success(
    report: Joints3dReport, others: Sequence[published.PublishedJoints3d], comparable: bool
) -> page.Section:
    metrics = report.metrics
    curve = metrics["success_max_curve"]
    lines = [page.Curve(report.name, curve["thresholds_mm"], curve["percent"], emphasis=True)]
    rivals = [row for row in others if not row.aligned]
    for rank, row in enumerate(rivals):
        faint = rank > 0 and row.method not in NAMED_METHODS
        lines.append(
            page.Curve(
                row.method, published.THRESHOLDS_MM, row.success_max, faint=faint, markers=True
            )
        )
    percent = ", ".join(f"{p:.2f} % at {t} mm" for t, p in metrics["success_max_percent"].items())
    caption = "A frame counts if its worst joint is within the distance."
    if rivals:
        title = UVD_FORMATS[rivals[0].dataset].title
        caption += f" Dots: published methods on {title}; the table below names the grey ones."
        if not comparable:
            caption += " Our result is on other data: a rough guide, not a comparison."
    return page.section(
        "Frames with every joint within a distance",
        page.curves(
            lines,
            "distance to the ground truth (mm)",
            "frames (%)",
            f"Success curve of {report.name}: {percent}.",
            caption,
            ylim=(0, 101),
        ),
        page.table(
            ("frames (%) with", *(f"≤ {t} mm" for t in metrics["thresholds_mm"])),
            [
                ("worst joint", *metrics["success_max_percent"].values()),
                ("mean over the joints", *metrics["success_mean_percent"].values()),
            ],
        ),
    )


def _published(
    report: Joints3dReport, others: Sequence[published.PublishedJoints3d], comparable: bool
) -> page.Section:
    title, metrics = UVD_FORMATS[others[0].dataset].title, report.metrics
    ours = (report.name, "", metrics["mpjpe_mm"], metrics["median_mm"])
    theirs = [
        (row.method + " *" * row.aligned, row.venue, row.mean_mm, row.median_mm, *row.success_max)
        for row in others
    ]
    notes = [
        f"Recomputed from the prediction files collected in {published.SOURCE}; "
        "percent of frames by their worst joint."
    ]
    if any(row.aligned for row in others):
        notes.append(
            "* uses, or was aligned to, the true root joint: not comparable with the others."
        )
    if not comparable:
        notes.append(
            f"{report.name} was not evaluated on {title}: its row only indicates the scale."
        )
    within = tuple(f"≤ {t} mm" for t in published.THRESHOLDS_MM)
    return published_section(
        title,
        ("method", "venue", "mean mm", "median mm", *within),
        (*ours, *metrics["success_max_percent"].values()),
        theirs,
        by=2,
        paragraphs=notes,
        digits=(0, 0, 3, 3, 2, 2, 2, 2, 2),
    )
