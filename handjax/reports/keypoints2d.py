"""Image joints held against the truth, in px of the source picture: the figures and pages of 2D keypoints."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from handjax.data.formats.predictions2d import Predictions2d
from handjax.metrics import keypoints2d as measure
from handjax.metrics.published.keypoints2d import TEST_HANDS, TITLES, published2d
from handjax.pose.skeleton import Skeleton
from handjax.reports import page as report
from handjax.reports.base import Evaluated, Pictures, frames_section, joints_section
from handjax.reports.drawing import Picture, View

UNMEASURED = "rhd"  # whose published results stand beside those of a set without any


@dataclass(frozen=True)
class Joints2d(Evaluated):
    """Px of the source picture [n, j, 2]; `counted` are the labelled joints. Behind a frame is the crop u8 [h, w, 3] that the
    network sees and the affine map [2, 3] from its px to those of the source."""

    row: ClassVar[str] = "joints_uv"
    unit: ClassVar[str] = "px"
    within: ClassVar[tuple[int, ...]] = (5, 10, 20)

    visible: np.ndarray | None = None  # bool [n, j]
    confidence: np.ndarray | None = None  # [n, j]
    box_px: np.ndarray | None = None  # [n], see metrics2d
    image_px: np.ndarray | None = None  # [n]

    @classmethod
    def of_rows(cls, name: str, ids: Sequence[str], rows: dict, skeleton: Skeleton) -> "Joints2d":
        """A task's finished rows."""
        more = {
            "counted": "labelled",
            "visible": "visible",
            "box_px": "box_px",
            "image_px": "image_px",
        }
        given = {field: rows.get(f"true_{row}") for field, row in more.items()}
        joints = (rows["joints_uv"], rows["true_joints_uv"])
        return cls(name, ids, *joints, skeleton, confidence=rows.get("confidence"), **given)

    def metrics(self) -> dict:
        held = (self.visible, self.box_px, self.image_px, self.counted)
        return measure.summarize2d(self.pred, self.true, self.skeleton.joints, *held)

    def predictions(self) -> Predictions2d:
        more = (self.confidence, self.true, self.visible, self.counted, self.box_px, self.image_px)
        return Predictions2d(tuple(self.ids), self.pred, self.skeleton.joints, *more)

    def views(
        self, n: int, behind: tuple[tuple[np.ndarray, np.ndarray], dict] | None
    ) -> tuple[View, ...]:
        if behind is None:
            return (View(self.pred[n], self.true[n], None, "x right, y down"),)
        (pixels, source_from_view), _ = behind
        turn, shift = np.float64(source_from_view[:, :2]), np.float64(source_from_view[:, 2])
        pred, true = (
            np.linalg.solve(turn, (joints - shift).T).T for joints in (self.pred[n], self.true[n])
        )
        height, width = pixels.shape[:2]
        picture = Picture(pixels, (-0.5, width - 0.5, -0.5, height - 0.5))
        return (View(pred, true, picture, "what the network sees"),)

    def figures(self, metrics: dict) -> list[tuple[str, str]]:
        """Names and figures for a terminal."""
        rows = [
            ("frames x joints", f"{metrics['frames']:,} x {metrics['joints']}"),
            ("mean error (EPE)", f"{metrics['epe_px']:.3f} px"),
            ("median error", f"{metrics['median_px']:.3f} px"),
            (
                "mean, median of each joint",
                f"{metrics['joint_mean_px']:.3f}, {metrics['joint_median_px']:.3f} px",
            ),
            ("PCK area, 0 to 30 px", f"{metrics['auc']:.3f}"),
        ]
        if metrics["visible"]:
            rows += [("mean error, visible", f"{metrics['visible']['epe_px']:.3f} px")]
            rows += [("PCK area, visible", f"{metrics['visible']['auc']:.3f}")]
        for key, side in (("pck_image", "picture"), ("pck_box", "hand")):
            rows += [
                (f"within {share} of the {side}'s side", f"{100 * x:.2f} %")
                for share, x in metrics.get(key, {}).items()
            ]
        joints = metrics["per_joint_px"].items()
        return rows + [
            (joint.replace("_", " "), "-" if px is None else f"{px:.2f} px") for joint, px in joints
        ]

    def benchmark(self, name: str) -> tuple[str, bool]:
        """The data set of the published results to show beside ours, and whether ours were measured on all of its test hands."""
        return name or UNMEASURED, len(self.ids) == TEST_HANDS.get(name)

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
        others = published2d(compare) if compare else ()
        pages = [_overview(metrics), _within(self, metrics, others, comparable)]
        if sides := [key for key in ("pck_image", "pck_box") if key in metrics]:
            pages.append(_of_side(self, metrics, sides))
        if others:
            pages.append(_beside_published(self, metrics, others, comparable))
        return [
            *pages,
            joints_section(self, metrics["epe_px"]),
            frames_section(self, pictures, apart),
            _definitions(),
        ]


def _overview(metrics: dict) -> report.Section:
    keys = [
        report.Key(
            "Mean error (EPE)", metrics["epe_px"], "px", "over all labelled joints", 3, "epe_px"
        ),
        report.Key(
            "Median error", metrics["median_px"], "px", "over all labelled joints", 3, "median_px"
        ),
        report.Key("PCK area", metrics["auc"], "", "0 to 30 px, 1 is perfect", 3, "auc"),
    ]
    if metrics["visible"]:
        keys.append(
            report.Key(
                "PCK area", metrics["visible"]["auc"], "", "of visible joints", 3, "visible.auc"
            )
        )
    if "pck_box" in metrics:
        keys.append(
            report.Key(
                "PCK @ 0.2", metrics["pck_box"]["0.2"], "", "of the hand's box", 3, "pck_box@0.2"
            )
        )
    keys.append(
        report.Key(
            "Frames", metrics["frames"], "", f"of {metrics['joints']} joints each", 0, "frames"
        )
    )
    return report.section("Summary", report.keys(*keys))


def _within(
    evaluated: Joints2d, metrics: dict, others: Sequence, comparable: bool
) -> report.Section:
    """The curve of jiangxubin and hand3d, and the figures of all joints beside those of the visible ones."""
    x = metrics["pck"]["thresholds_px"]
    counted = {"all labelled joints": metrics} | (
        {"visible joints": metrics["visible"]} if metrics["visible"] else {}
    )
    lines = [report.Curve(evaluated.name, x, metrics["pck"]["fraction"], emphasis=True)]
    if metrics["visible"] and metrics["visible"]["counted"] < metrics["counted"]:
        lines.append(report.Curve("visible joints alone", x, metrics["visible"]["pck"]["fraction"]))
    drawn = [row for row in others if row.curve]
    lines += [report.Curve(row.method, measure.CURVE_PX, row.curve, markers=True) for row in drawn]
    caption = (
        "The share of hands in which a joint is within the distance, averaged over the joints."
    )
    if drawn:
        caption += f" Dots: published results on {TITLES[drawn[0].dataset]}, all joints."
        if not comparable:
            caption += " They were measured on that data set, ours were not: a guide to the eye, no comparison."
    columns = {"mean": "epe_px", "median": "median_px", "mean of joints' means": "joint_mean_px"}
    columns |= {
        "mean of joints' medians": "joint_median_px",
        "area": "auc",
        "area by mmpose": "auc_mmpose",
    }
    spoken = f"PCK curve of {evaluated.name}: area {metrics['auc']:.3f}, mean error {metrics['epe_px']:.2f} px."
    return report.section(
        "Joints within a distance",
        report.curves(
            lines,
            "distance to the truth (px)",
            "share of hands",
            spoken,
            caption,
            ylim=(0, 1.01),
        ),
        report.table(
            ("px, areas 0 to 30 px", "joints", *columns),
            [
                (name, figures["counted"], *(figures[key] for key in columns.values()))
                for name, figures in counted.items()
            ],
            digits=3,
        ),
    )


def _of_side(evaluated: Joints2d, metrics: dict, sides: Sequence[str]) -> report.Section:
    names = {"pck_image": "the square that the network sees", "pck_box": "the hand's box"}
    lines, rows = [], []
    for key in sides:
        curve = metrics[key + "_curve"]
        lines.append(
            report.Curve(
                names[key],
                curve["shares"],
                curve["fraction"],
                emphasis=key == sides[0],
                markers=True,
            )
        )
        for share, fraction in metrics[key].items():
            seen = metrics["visible"][key][share] if metrics["visible"] else None
            rows.append(
                (f"{share} of {names[key]}", 100 * fraction, None if seen is None else 100 * seen)
            )
    spoken = ", ".join(f"{row[1]:.1f} % within {row[0]}" for row in rows)
    return report.section(
        "Joints within a share of a side",
        report.curves(
            lines,
            "share of the side",
            "share of hands",
            f"PCK by the side of a square: {spoken}.",
            "All joints.",
            ylim=(0, 1.01),
        ),
        report.table(("% nearer than", "all labelled joints", "visible joints"), rows),
    )


def _beside_published(
    evaluated: Joints2d, metrics: dict, others: Sequence, comparable: bool
) -> report.Section:
    title = TITLES[others[0].dataset]
    notes = list(dict.fromkeys(row.note for row in others if row.note))
    marks = {note: f" [{number}]" for number, note in enumerate(notes, 1)}
    seen = metrics["visible"] or {}
    ours = (
        evaluated.name,
        metrics["auc"],
        seen.get("auc"),
        metrics["joint_mean_px"],
        metrics["joint_median_px"],
    )
    theirs = [
        (row.method + marks.get(row.note, ""), row.auc, row.auc_visible, row.mean_px, row.median_px)
        for row in others
    ]
    rows = sorted([ours, *theirs], key=lambda row: row[3])
    said = [
        "jiangxubin/hand_pose (PoseNet2D), lmb-freiburg/hand3d and mmpose, as their authors give them, in crops about the true "
        "hand. Mean and median are those of each joint, averaged over the joints, where a note says nothing else."
    ]
    said += [f"[{number}] {note}." for number, note in enumerate(notes, 1)]
    if not comparable:
        said.append(
            f"{evaluated.name} was not measured on {title}'s test set: its row only shows the scale, and in pictures of another "
            f"size a pixel is another length."
        )
    return report.section(
        f"Beside published results on {title}",
        report.table(
            ("method", "area", "area, visible", "mean px", "median px"),
            rows,
            digits=(0, 3, 3, 3, 3),
            emphasis=[rows.index(ours)],
        ),
        *said,
    )


def _definitions() -> report.Section:
    return report.section(
        "How the numbers are made",
        "Error: Euclidean distance between predicted and true joint in px of the source picture, whatever size the network saw. "
        "All labelled joints count, seen or hidden, where it does not say visible.",
        "Mean and median run over all joints of all hands. hand3d and PoseNet2D take them of each joint by itself and then average "
        "over the joints: the joints' means and medians.",
        "PCK area: the share of hands in which a joint is at most t from the truth, averaged over the joints, at 20 distances "
        "from 0 to 30 px, integrated by the trapezoid rule and divided by 30 px, as hand3d and PoseNet2D do. mmpose averages the "
        "shares below 0, 1.5, ..., 28.5 px.",
        "Shares of a side: a joint counts when its error is less than that part of the side of the square that the network "
        "sees (Kwai's measure), or of the hand's box, the larger side of the rectangle about its joints (NSRMhand's, and mmpose's "
        "at 0.2).",
    )
