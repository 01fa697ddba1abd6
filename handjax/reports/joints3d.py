"""Camera-space joints held against the truth, in mm: the figures and pages of depth-based hand pose."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from handjax.data.formats.predictions import FORMATS, Predictions
from handjax.metrics import joints3d as measure
from handjax.metrics.published.joints3d import SOURCE, TEST_FRAMES, THRESHOLDS_MM, published
from handjax.pose.skeleton import Skeleton
from handjax.reports import page as report
from handjax.reports.base import Evaluated, Pictures, frames_section, joints_section
from handjax.reports.drawing import Picture, View, front_and_side

NAMED_METHODS = (
    "V2V-PoseNet",
    "Pose-REN",
    "HandPointNet",
    "DeepPrior++",
)  # and the best; the rest are faint


@dataclass(frozen=True)
class Joints3d(Evaluated):
    """Camera-space mm [n, j, 3]. Behind a frame is what the network sees of a cube: the shares [h, w] of occupied cells on the way
    from the front and from the side; and where the cube is."""

    row: ClassVar[str] = "joints_xyz"
    unit: ClassVar[str] = "mm"
    within: ClassVar[tuple[int, ...]] = (10, 20, 30)

    @classmethod
    def of_rows(cls, name: str, ids: Sequence[str], rows: dict, skeleton: Skeleton) -> "Joints3d":
        """A task's finished rows. Every joint counts, seen or hidden, as in the papers."""
        return cls(name, ids, rows["joints_xyz"], rows["true_joints_xyz"], skeleton)

    def metrics(self) -> dict:
        return measure.summarize(
            self.pred, self.true, self.skeleton.joints, self.counted, self.skeleton.root
        )

    def predictions(self) -> Predictions:
        return Predictions(tuple(self.ids), self.pred, self.true)

    def views(
        self, n: int, behind: tuple[tuple[np.ndarray, np.ndarray], dict] | None
    ) -> tuple[View, ...]:
        if behind is None:
            return front_and_side(self.pred[n], self.true[n])
        shares, cube = behind
        front, side = (np.where(share > 0, 1.0 - share, np.nan) for share in shares)
        left, top, near = (cube["center_xyz"] - cube["cube_mm"] / 2).tolist()
        right, bottom, far = (cube["center_xyz"] + cube["cube_mm"] / 2).tolist()
        pictures = (
            Picture(front, (left, right, top, bottom)),
            Picture(side, (near, far, top, bottom)),
        )
        return front_and_side(self.pred[n], self.true[n], *pictures)

    def figures(self, metrics: dict) -> list[tuple[str, str]]:
        """Names and figures for a terminal."""
        rows = [
            ("frames x joints", f"{metrics['frames']:,} x {metrics['joints']}"),
            ("mean error", f"{metrics['mpjpe_mm']:.3f} mm"),
            ("median error", f"{metrics['median_mm']:.3f} mm"),
            ("mean after Procrustes", f"{metrics['pa_mpjpe_mm']:.3f} mm"),
            ("PCK area, 0 to 50 mm", f"{metrics['auc']:.3f}"),
        ]
        rows += [
            (f"worst joint within {t} mm", f"{p:.2f} %")
            for t, p in metrics["success_max_percent"].items()
        ]
        joints = metrics["per_joint_mm"].items()
        return rows + [
            (joint.replace("_", " "), "-" if mm is None else f"{mm:.2f} mm") for joint, mm in joints
        ]

    def benchmark(self, name: str) -> tuple[str, bool]:
        """The data set of the published results to show beside ours, and whether ours were measured on all of its test frames.
        The order of the joints tells the sets apart, whatever a source is called (`name`)."""
        dataset = "icvl" if self.skeleton.name == "icvl16" else "nyu"
        return dataset, self.skeleton.name.startswith(dataset) and len(self.ids) == TEST_FRAMES[
            dataset
        ]

    def sections(
        self,
        metrics: dict,
        compare: str | None = None,
        comparable: bool = True,
        pictures: Pictures | None = None,
        apart: int = 1,
    ) -> list[report.Section]:
        """The report's sections. `compare` names the data set of published results to show beside ours, `comparable` says whether
        ours were measured on it too; frames of a video that are drawn lie `apart` frames from each other."""
        others = published(compare, aligned=True) if compare else ()
        pages = [_overview(metrics), _success(self, metrics, others, comparable)]
        if others:
            pages.append(_beside_published(self, metrics, others, comparable))
        drawn = frames_section(self, pictures, apart, ", from the front and from the side")
        return [*pages, joints_section(self, metrics["mpjpe_mm"]), drawn, _definitions()]


def _overview(metrics: dict) -> report.Section:
    return report.section(
        "Summary",
        report.keys(
            report.Key(
                "Mean error", metrics["mpjpe_mm"], "mm", "over all joints and frames", 3, "mpjpe_mm"
            ),
            report.Key(
                "Median error",
                metrics["median_mm"],
                "mm",
                "over all joints and frames",
                3,
                "median_mm",
            ),
            report.Key(
                "After Procrustes",
                metrics["pa_mpjpe_mm"],
                "mm",
                "pose alone, mean error",
                3,
                "pa_mpjpe_mm",
            ),
            report.Key(
                "Good frames",
                metrics["success_max_percent"]["20"],
                "%",
                "no joint worse than 20 mm",
                2,
                "success_max_percent.20",
            ),
            report.Key("PCK area", metrics["auc"], "", "0 to 50 mm, 1 is perfect", 3, "auc"),
            report.Key(
                "Frames", metrics["frames"], "", f"of {metrics['joints']} joints each", 0, "frames"
            ),
        ),
    )


def _success(
    evaluated: Evaluated, metrics: dict, others: Sequence, comparable: bool
) -> report.Section:
    curve = metrics["success_max_curve"]
    lines = [report.Curve(evaluated.name, curve["thresholds_mm"], curve["percent"], emphasis=True)]
    rivals = [row for row in others if not row.aligned]
    for rank, row in enumerate(rivals):
        named = rank == 0 or row.method in NAMED_METHODS
        lines.append(
            report.Curve(row.method, THRESHOLDS_MM, row.success_max, faint=not named, markers=True)
        )
    percent = ", ".join(f"{p:.2f} % at {t} mm" for t, p in metrics["success_max_percent"].items())
    caption = "A frame counts when its worst joint is within the distance."
    if rivals:
        caption += f" Dots: published methods on {FORMATS[rivals[0].dataset].title}; the faint ones are in the table below."
        if not comparable:
            caption += " They were measured on that data set, ours were not: a guide to the eye, no comparison."
    return report.section(
        "Frames with every joint within a distance",
        report.curves(
            lines,
            "distance to the truth (mm)",
            "frames (%)",
            f"Success curve of {evaluated.name}: {percent}.",
            caption,
            ylim=(0, 101),
        ),
        report.table(
            ("frames (%) with", *(f"≤ {t} mm" for t in metrics["thresholds_mm"])),
            [
                ("worst joint", *metrics["success_max_percent"].values()),
                ("mean over the joints", *metrics["success_mean_percent"].values()),
            ],
        ),
    )


def _beside_published(
    evaluated: Evaluated, metrics: dict, others: Sequence, comparable: bool
) -> report.Section:
    title = FORMATS[others[0].dataset].title
    ours = (
        evaluated.name,
        "",
        metrics["mpjpe_mm"],
        metrics["median_mm"],
        *metrics["success_max_percent"].values(),
    )
    theirs = [
        (row.method + " *" * row.aligned, row.venue, row.mean_mm, row.median_mm, *row.success_max)
        for row in others
    ]
    rows = sorted([ours, *theirs], key=lambda row: row[2])
    notes = [
        f"Recomputed from the prediction files collected in {SOURCE}; percent of frames by their worst joint."
    ]
    if any(row.aligned for row in others):
        notes.append(
            "* uses, or was aligned to, the true root joint: not comparable with the others."
        )
    if not comparable:
        notes.append(f"{evaluated.name} was not measured on {title}: its row only shows the scale.")
    return report.section(
        f"Beside published methods on {title}",
        report.table(
            ("method", "venue", "mean mm", "median mm", *(f"≤ {t} mm" for t in THRESHOLDS_MM)),
            rows,
            digits=(0, 0, 3, 3, 2, 2, 2, 2, 2),
            emphasis=[rows.index(ours)],
        ),
        *notes,
    )


def _definitions() -> report.Section:
    return report.section(
        "How the numbers are made",
        "Error: Euclidean distance between predicted and true joint in camera space, in mm, without any alignment. "
        "Mean and median run over all joints of all frames.",
        "Frames within a distance: a frame counts when the largest (or the mean) error of its joints is at most the distance.",
        "After Procrustes: the mean error once every predicted pose has been rotated, shifted and scaled onto the true "
        "one, mirror images excluded. What remains is the error of the pose itself.",
        "PCK area: the share of frames in which a joint is within t, averaged over the joints, integrated over t from "
        "0 to 50 mm in steps of 1 mm by the trapezoid rule, and divided by 50 mm.",
    )
