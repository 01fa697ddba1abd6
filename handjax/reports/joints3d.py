"""The report of 3D joints in camera mm: hand pose from depth images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from handjax.data.formats.predictions_npz import Predictions3d
from handjax.data.formats.uvd_text import UVD_FORMATS
from handjax.metrics.published import joints3d as published
from handjax.pose.skeleton import Skeleton
from handjax.reports import charts, own_rules, page
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
from handjax.reports.timeline import timeline

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
        """Every labelled joint counts, visible or hidden, as in papers."""
        return {
            "pred": rows["joints_xyz"],
            "true": rows["true_joints_xyz"],
            "counted": rows.get("true_labelled"),
        }

    def predictions(self) -> Predictions3d:
        return Predictions3d(tuple(self.ids), self.pred, self.true, self.skeleton.joints)

    def benchmark(self, name: str) -> Comparison:
        """The joint order identifies the data set, whatever the source is called (`name`)."""
        own = {"icvl16": "icvl", "itop15": "itop"}
        dataset = own.get(self.skeleton.name, "nyu")
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
        rows += own_rules.rows_of(metrics)
        for t, percent in metrics["success_max_percent"].items():
            rows.append((f"worst joint within {t} mm", f"{percent:.2f} %"))
        for joint, mm in metrics["per_joint_mm"].items():
            rows.append((joint.replace("_", " "), "-" if mm is None else f"{mm:.2f} mm"))
        return rows

    def panels(self, n: int, view: InputView | None) -> tuple[Panel, ...]:
        if view is None or "cube_mm" not in view[1]:  # the finder sees no crop
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
        own = []
        if "itop" in metrics:
            name, note = "itop.map_10cm_percent", "of all joints: ITOP's mean average precision"
            own = [
                page.Key("Within 10 cm", metrics["itop"]["map_10cm_percent"], "%", note, 2, name)
            ]
        return [
            page.keys(
                *own,
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
            sections.append(_over_the_years(self, others[0].dataset, comparable))
        return [*sections, *own_rules.sections_of(self.metrics), joints_section(self)]

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
    lines = [charts.Curve(report.name, curve["thresholds_mm"], curve["percent"], emphasis=True)]
    rivals = [row for row in others if not row.aligned]
    for rank, row in enumerate(rivals):
        faint = rank > 0 and row.method not in NAMED_METHODS
        if row.success_max is not None:
            lines.append(
                charts.Curve(
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
        charts.curves(
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
    unknown = (None,) * len(published.THRESHOLDS_MM)
    theirs = [
        (
            row.method + " *" * row.aligned + " †" * (not row.source),
            row.venue,
            row.mean_mm,
            row.median_mm,
            *(row.success_max or unknown),
        )
        for row in others
    ]
    sources = dict.fromkeys([published.SOURCE, *(row.source for row in others if row.source)])
    notes = [
        f"Recomputed from the prediction files in {', '.join(sources)} on GitHub; percent of "
        "frames by their worst joint."
    ]
    if not all(row.source for row in others):
        notes.append("† as published: there is no prediction file.")
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


def _over_the_years(report: Joints3dReport, dataset: str, comparable: bool) -> page.Section:
    title, records = UVD_FORMATS[dataset].title, published.records(dataset)
    spoken = ", ".join(f"{row.year} {row.method} {row.mean_mm:.2f} mm" for row in records)
    ours = (report.name, report.metrics["mpjpe_mm"]) if comparable else None
    rest = [(row.year, row.mean_mm) for row in published.results(dataset)]
    chart = timeline(
        [(row.year, row.mean_mm, row.method) for row in records],
        rest,
        ours,
        "mean error (mm)",
        f"Lowest mean errors on {title} by year of publication: {spoken}.",
        "Line: the lowest mean error up to each year. Dots: all methods of the table, but those "
        "marked with *.",
    )
    return page.section(f"The lowest errors on {title} over the years", chart)
