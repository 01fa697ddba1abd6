"""The report of image joints in px of the source image: 2D keypoints."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from handjax.data.formats.predictions_npz import Predictions2d
from handjax.metrics.keypoints2d import CURVE_PX
from handjax.metrics.published import keypoints2d as published
from handjax.pose.skeleton import Skeleton
from handjax.pose.skeleton_file import NAME as OWN
from handjax.reports import charts, page
from handjax.reports.base import (
    Comparison,
    InputView,
    Report,
    footnotes,
    joints_section,
    published_section,
)
from handjax.reports.drawing import Background, Panel

# Its published results are shown for data sets that have none.
DEFAULT_COMPARISON = "rhd"


@dataclass(frozen=True)
class Keypoints2dReport(Report):
    """Px of the source image [n, j, 2]; `counted` are the labelled joints.

    The view of a sample is the crop that the network sees, u8 [h, w, 3], and the affine map [2, 3]
    from its px to those of the source image.
    """

    unit: ClassVar[str] = "px"
    mean_metric: ClassVar[str] = "epe_px"
    within: ClassVar[tuple[int, ...]] = (5, 10, 20)

    visible: np.ndarray | None = None  # bool [n, j]
    confidence: np.ndarray | None = None  # [n, j]
    box_px: np.ndarray | None = None  # [n], see metrics/keypoints2d.py
    image_px: np.ndarray | None = None  # [n]

    @classmethod
    def fields_of(cls, rows: Mapping[str, np.ndarray], skeleton: Skeleton) -> dict[str, Any]:
        return {
            "pred": rows["joints_uv"],
            "true": rows["true_joints_uv"],
            "counted": rows.get("true_labelled"),
            "visible": rows.get("true_visible"),
            "confidence": rows.get("confidence"),
            "box_px": rows.get("true_box_px"),
            "image_px": rows.get("true_image_px"),
        }

    def predictions(self) -> Predictions2d:
        return Predictions2d(
            tuple(self.ids),
            self.pred,
            self.skeleton.joints,
            self.confidence,
            self.true,
            self.visible,
            self.counted,
            self.box_px,
            self.image_px,
        )

    @property
    def thing(self) -> str:
        """What the joints belong to, in words."""
        return "object" if self.skeleton.name == OWN else "hand"

    def benchmark(self, name: str) -> Comparison | None:
        if self.skeleton.name == OWN:
            return None
        complete = len(self.ids) == published.TEST_HANDS.get(name)
        return Comparison(name or DEFAULT_COMPARISON, complete)

    def summary_rows(self) -> list[tuple[str, str]]:
        metrics, visible = self.metrics, self.metrics["visible"]
        joint_errors = f"{metrics['joint_mean_px']:.3f}, {metrics['joint_median_px']:.3f} px"
        rows = [
            ("frames x joints", f"{metrics['frames']:,} x {metrics['joints']}"),
            ("mean error (EPE)", f"{metrics['epe_px']:.3f} px"),
            ("median error", f"{metrics['median_px']:.3f} px"),
            ("mean, median per joint, averaged", joint_errors),
            ("PCK area, 0 to 30 px", f"{metrics['auc']:.3f}"),
        ]
        if visible:
            rows.append(("mean error, visible", f"{visible['epe_px']:.3f} px"))
            rows.append(("PCK area, visible", f"{visible['auc']:.3f}"))
        if oks := metrics.get("oks"):
            rows.append(("COCO's similarity (OKS)", f"{oks['mean']:.3f}"))
        for key, side in (("pck_image", "crop"), ("pck_box", self.thing)):
            for share, fraction in metrics.get(key, {}).items():
                rows.append((f"within {share} of the {side}'s side", f"{100 * fraction:.2f} %"))
        for joint, px in metrics["per_joint_px"].items():
            rows.append((joint.replace("_", " "), "-" if px is None else f"{px:.2f} px"))
        return rows

    def panels(self, n: int, view: InputView | None) -> tuple[Panel, ...]:
        if view is None:
            return (Panel(self.pred[n], self.true[n], None, "x right, y down"),)
        (pixels, source_from_crop), _ = view
        linear = np.float64(source_from_crop[:, :2])
        shift = np.float64(source_from_crop[:, 2])
        pred, true = (
            np.linalg.solve(linear, (joints - shift).T).T for joints in (self.pred[n], self.true[n])
        )
        height, width = pixels.shape[:2]
        crop = Background(pixels, (-0.5, width - 0.5, -0.5, height - 0.5))
        return (Panel(pred, true, crop, "input of the network"),)

    def overview(self) -> list[page.Block]:
        metrics, visible = self.metrics, self.metrics["visible"]
        every, per_frame = "over all labelled joints", f"of {metrics['joints']} joints each"
        keys = [
            page.Key("Mean error (EPE)", metrics["epe_px"], "px", every, 3, "epe_px"),
            page.Key("Median error", metrics["median_px"], "px", every, 3, "median_px"),
            page.Key("PCK area", metrics["auc"], "", "0 to 30 px, 1 is perfect", 3, "auc"),
        ]
        if visible:
            keys.append(
                page.Key("PCK area", visible["auc"], "", "of visible joints", 3, "visible.auc")
            )
        if "pck_box" in metrics:
            share = metrics["pck_box"]["0.2"]
            keys.append(
                page.Key("PCK @ 0.2", share, "", f"of the {self.thing}'s box", 3, "pck_box@0.2")
            )
        keys.append(page.Key("Frames", metrics["frames"], "", per_frame, 0, "frames"))
        return [page.keys(*keys)]

    def evaluation(self, comparison: Comparison | None) -> list[page.Section]:
        others: Sequence[published.PublishedKeypoints2d] = ()
        if comparison is not None:
            others = published.results(comparison.dataset)
        comparable = comparison is not None and comparison.comparable
        sections = [_within(self, others, comparable)]
        if sides := [key for key in ("pck_image", "pck_box") if key in self.metrics]:
            sections.append(_of_side(self, sides))
        if others:
            sections.append(_published(self, others, comparable))
        return [*sections, joints_section(self)]

    def definitions(self) -> list[str]:
        thing = self.thing
        lines = [
            "Error: Euclidean distance between predicted and true joint in px of the source image, "
            "whatever the size of the network's input. All labelled joints count, visible or "
            "hidden, unless stated otherwise.",
            f"Mean and median are over all joints of all {thing}s. hand3d and PoseNet2D compute "
            "them per joint and then average over the joints: the joints' means and medians.",
            f"PCK area: the fraction of {thing}s in which a joint is at most t from the ground "
            "truth, averaged over the joints, at 20 distances from 0 to 30 px, integrated by the "
            "trapezoid rule and divided by 30 px, as hand3d and PoseNet2D do. mmpose averages the "
            "fractions below 0, 1.5, ..., 28.5 px.",
            "Fractions of a side: a joint counts if its error is less than that fraction of the "
            f"side of the network's input square (Kwai's metric), or of the {thing}'s box, the "
            "longer side of the bounding box of its joints (NSRMhand's metric, and mmpose's at "
            "0.2).",
        ]
        if "oks" in self.metrics:
            lines.append(
                "COCO's similarity (OKS): the mean over the labelled joints of an object of "
                "exp(-error² / (8 sigma² area)), with the sigmas of the skeleton and the area of "
                "the labels, else of the box."
            )
        return lines


def _within(
    report: Keypoints2dReport, others: Sequence[published.PublishedKeypoints2d], comparable: bool
) -> page.Section:
    """hand3d's PCK curve, and the metrics of all labelled and of the visible joints."""
    metrics, visible = report.metrics, report.metrics["visible"]
    x = metrics["pck"]["thresholds_px"]
    lines = [charts.Curve(report.name, x, metrics["pck"]["fraction"], emphasis=True)]
    if visible and visible["counted"] < metrics["counted"]:
        lines.append(charts.Curve("visible joints only", x, visible["pck"]["fraction"]))
    drawn = [row for row in others if row.curve]
    lines += [charts.Curve(row.method, CURVE_PX, row.curve, markers=True) for row in drawn]
    caption = (
        f"The fraction of {report.thing}s in which a joint is within the distance, averaged over "
        "the joints."
    )
    if drawn:
        caption += f" Dots: published results on {published.TITLES[drawn[0].dataset]}, all joints."
        if not comparable:
            caption += " Our result is on other data: a rough guide, not a comparison."
    columns = {
        "mean": "epe_px",
        "median": "median_px",
        "mean of joints' means": "joint_mean_px",
        "mean of joints' medians": "joint_median_px",
        "area": "auc",
        "area by mmpose": "auc_mmpose",
    }
    groups = {"all labelled joints": metrics} | ({"visible joints": visible} if visible else {})
    rows = [
        (name, of["counted"], *(of[key] for key in columns.values())) for name, of in groups.items()
    ]
    chart = charts.curves(
        lines,
        "distance to the ground truth (px)",
        f"fraction of {report.thing}s",
        f"PCK curve of {report.name}: area {metrics['auc']:.3f}, "
        f"mean error {metrics['epe_px']:.2f} px.",
        caption,
        ylim=(0, 1.01),
    )
    return page.section(
        "Joints within a distance",
        chart,
        page.table(("px, areas 0 to 30 px", "joints", *columns), rows, digits=3),
    )


def _of_side(report: Keypoints2dReport, sides: Sequence[str]) -> page.Section:
    metrics, visible = report.metrics, report.metrics["visible"]
    names = {"pck_image": "the network's input square", "pck_box": f"the {report.thing}'s box"}
    lines: list[charts.Curve] = []
    rows: list[tuple[str, float, float | None]] = []
    for key in sides:
        curve = metrics[key + "_curve"]
        first = key == sides[0]
        lines.append(
            charts.Curve(
                names[key], curve["shares"], curve["fraction"], emphasis=first, markers=True
            )
        )
        for share, fraction in metrics[key].items():
            of_visible = 100 * visible[key][share] if visible else None
            rows.append((f"{share} of {names[key]}", 100 * fraction, of_visible))
    spoken = ", ".join(f"{percent:.1f} % within {name}" for name, percent, _ in rows)
    chart = charts.curves(
        lines,
        "fraction of the side",
        f"fraction of {report.thing}s",
        f"PCK by the side of a square: {spoken}.",
        "All labelled joints.",
        ylim=(0, 1.01),
    )
    return page.section(
        "Joints within a fraction of a side",
        chart,
        page.table(("% closer than", "all labelled joints", "visible joints"), rows),
    )


def _published(
    report: Keypoints2dReport, others: Sequence[published.PublishedKeypoints2d], comparable: bool
) -> page.Section:
    metrics, visible = report.metrics, report.metrics["visible"]
    title = published.TITLES[others[0].dataset]
    marks, notes = footnotes(row.note for row in others)
    ours = (
        report.name,
        metrics["auc"],
        visible["auc"] if visible else None,
        metrics["joint_mean_px"],
        metrics["joint_median_px"],
    )
    theirs = [
        (row.method + marks[row.note], row.auc, row.auc_visible, row.mean_px, row.median_px)
        for row in others
    ]
    paragraphs = [
        "jiangxubin/hand_pose (PoseNet2D), lmb-freiburg/hand3d and mmpose, as reported by their "
        "authors, in crops around the true hand. Mean and median are per joint, averaged over the "
        "joints, unless a note states otherwise.",
        *notes,
    ]
    if not comparable:
        paragraphs.append(
            f"{report.name} was not evaluated on {title}'s test set: its row only indicates the "
            "scale, as errors in px depend on the size of the images."
        )
    return published_section(
        title,
        ("method", "area", "area, visible", "mean px", "median px"),
        ours,
        theirs,
        by=3,
        paragraphs=paragraphs,
        digits=(0, 3, 3, 3, 3),
    )
