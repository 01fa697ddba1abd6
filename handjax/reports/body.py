"""A person's joints held against the truth, in mm about the pelvis and in px of the picture: the figures and pages of bodies.

Of a mixture of sets each frame counts where it has a truth: in space, in the picture or in both (`metrics/body.py`).
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np

from handjax.data.formats.predictions import read_arrays
from handjax.metrics import body as measure
from handjax.metrics import joints3d as joint_metrics
from handjax.metrics.published.body import (
    CHALLENGE_VALIDATION,
    SOURCES,
    TITLES,
    by_action,
    published_body,
)
from handjax.pose.skeleton import SKELETONS, Skeleton
from handjax.reports import page as report
from handjax.reports.base import Evaluated, Pictures, frames_section, joints_section
from handjax.reports.drawing import View, front_and_side
from handjax.reports.keypoints2d import Joints2d

# Row → its name in predictions.npz.
_SAVED = {
    "joints_xyz": "joints_xyz",
    "joints_uv": "joints_uv",
    "true_joints_xyz": "truth",
    "true_joints_uv": "truth_uv",
    **{
        f"true_{name}": name
        for name in ("has_xyz", "has_uv", "labelled", "subject", "action", "camera", "head_px")
    },
}
_NEEDED = ("joints_xyz", "joints_uv", "truth", "truth_uv", "has_xyz", "has_uv", "labelled")
_ALIGNED = {
    "none": "as it is",
    "root": "pelvis",
    "rigid": "rigid",
    "similarity": "Procrustes",
    "mirror": "Procrustes or its mirror image",
}


@dataclass(frozen=True)
class BodyPredictions:
    """What `predictions.npz` holds of bodies: all that its metrics are made of."""

    ids: Sequence[str]
    rows: Mapping[str, np.ndarray]

    def arrays(self) -> dict[str, np.ndarray]:
        arrays = {
            "ids": np.array(self.ids, np.str_),
            **{name: self.rows[row] for row, name in _SAVED.items() if row in self.rows},
        }
        return arrays | {"joints": np.array(SKELETONS["body18"].joints, np.str_)}


@dataclass(frozen=True)
class Bodies(Evaluated):
    """Camera mm [n, 18, 3], compared from the pelvis; counted are the 17 joints of Human3.6M where a frame has them. `rows` are the
    task's, see `body_metrics.score`. Behind a frame is the patch u8 [h, w, 3] that the network sees and the affine map [2, 3] from
    its px to those of the source."""

    row: ClassVar[str] = "true_has_xyz"
    unit: ClassVar[str] = "mm"
    within: ClassVar[tuple[int, ...]] = (50, 100, 150)

    rows: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    @classmethod
    def of_rows(
        cls, name: str, ids: Sequence[str], rows: Mapping[str, np.ndarray], skeleton: Skeleton
    ) -> "Bodies":
        """A task's finished rows."""
        scored = np.isin(np.arange(len(skeleton.joints)), measure.JOINT_SETS["h36m17"])
        counted = rows["true_has_xyz"][:, None] & scored[None]
        return cls(
            name, ids, rows["joints_xyz"], rows["true_joints_xyz"], skeleton, counted, rows=rows
        )

    @classmethod
    def read(cls, path: str | Path) -> "Bodies":
        """From a run's predictions.npz."""
        arrays = read_arrays(path, ("ids", *_NEEDED), tuple(_SAVED.values()))
        n, skeleton = len(arrays["ids"]), SKELETONS["body18"]
        for name in _NEEDED:
            joints = () if name.startswith("has_") else (18,)
            shape = (
                n,
                *joints,
                *{"joints_xyz": (3,), "truth": (3,), "joints_uv": (2,), "truth_uv": (2,)}.get(
                    name, ()
                ),
            )
            if arrays[name].shape != shape:
                raise ValueError(
                    f"{path}: {name} is {list(arrays[name].shape)}; expected {list(shape)} for its {n} ids"
                )
        rows = {row: arrays[name] for row, name in _SAVED.items() if name in arrays}
        return cls.of_rows(Path(path).stem, tuple(map(str, arrays["ids"])), rows, skeleton)

    @cached_property
    def picture(self) -> Joints2d:
        """The same frames in px of the source picture."""
        labelled = self.rows["true_labelled"] & self.rows["true_has_uv"][:, None]
        return Joints2d(
            self.name,
            self.ids,
            self.rows["joints_uv"],
            self.rows["true_joints_uv"],
            self.skeleton,
            labelled,
        )

    def errors(self) -> np.ndarray:
        return joint_metrics.joint_errors(self.pred, self.true, root=self.skeleton.root)

    def drawn(self, n: int) -> None:
        return None  # the thorax too, on which the arms hang

    def metrics(self) -> dict:
        return measure.score(self.rows)

    def predictions(self) -> BodyPredictions:
        return BodyPredictions(self.ids, self.rows)

    def views(
        self, n: int, behind: tuple[tuple[np.ndarray, np.ndarray], dict] | None
    ) -> tuple[View, ...]:
        pred, true = (
            joints[n] - joints[n, self.skeleton.root] for joints in (self.pred, self.true)
        )
        space = front_and_side(pred, true)
        if behind is None:
            return space
        (patch,) = self.picture.views(n, behind)
        return (
            patch if self.rows["true_has_uv"][n] else dataclasses.replace(patch, true=None),
            *space,
        )

    def figures(self, metrics: dict) -> list[tuple[str, str]]:
        """Names and figures for a terminal."""
        rows = [("frames x joints", f"{metrics['frames']:,} x {metrics['joints']}")]
        if metrics["frames_3d"]:
            rows += [
                ("frames in space", f"{metrics['frames_3d']:,}"),
                ("mean error from the pelvis (MPJPE)", f"{metrics['mpjpe_mm']:.2f} mm"),
                ("mean after Procrustes (PA-MPJPE)", f"{metrics['pa_mpjpe_mm']:.2f} mm"),
                ("within 150 mm (PCK)", f"{metrics['pck3d_150mm_percent']:.2f} %"),
                ("PCK area, 0 to 150 mm", f"{metrics['auc3d']:.3f}"),
                *(
                    (f"mean along {axis}", f"{mm:.2f} mm")
                    for axis, mm in metrics["per_axis_mm"].items()
                ),
            ]
            if "root_mm" in metrics:
                rows.append(
                    (
                        "pelvis, along the depth",
                        f"{metrics['root_mm']:.2f}, {metrics['root_depth_mm']:.2f} mm",
                    )
                )
            rows += [
                (name.replace("_", " "), f"{mm:.2f} mm")
                for name, mm in metrics["per_joint_mm"].items()
            ]
        if "per_action_mm" in metrics:
            rows.append(
                (
                    "MPJPE, mean over actions",
                    f"{metrics['mean_over_actions_mm']['mpjpe_mm']:.2f} mm",
                )
            )
            rows.append(
                (
                    "PA-MPJPE, mean over actions",
                    f"{metrics['mean_over_actions_mm']['pa_mpjpe_mm']:.2f} mm",
                )
            )
            rows += [
                (f"{a.replace('_', ' ')}, MPJPE", f"{of['mpjpe_mm']:.2f} mm")
                for a, of in metrics["per_action_mm"].items()
            ]
        if metrics["frames_2d"]:
            rows += [
                ("frames in the picture", f"{metrics['frames_2d']:,}"),
                ("mean error (EPE)", f"{metrics['epe_px']:.2f} px"),
            ]
            rows += [("median error", f"{metrics['median_px']:.2f} px")]
        for group, percent in metrics.get("pckh_percent", {}).items():
            rows.append((f"PCKh @ 0.5, {group}", "-" if percent is None else f"{percent:.2f} %"))
        return rows

    def benchmark(self, name: str) -> tuple[str, bool]:
        """The data set of the published results to show beside ours, and whether ours were measured on the same frames: only of the
        challenge's validation that is known."""
        challenge = name == "human36m_challenge"
        return name if challenge else "human36m", challenge and len(
            self.ids
        ) == CHALLENGE_VALIDATION

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
        pages = [_overview(metrics)]
        if metrics["frames_3d"]:
            pages += [_protocols(metrics), _within(self, metrics), _axes(metrics)]
            pages += [_actions(metrics, compare, comparable)] if "per_action_mm" in metrics else []
            pages += [_beside_published(self, metrics, compare, comparable)] if compare else []
            pages.append(joints_section(self, metrics["mpjpe_mm"]))
        if metrics["frames_2d"]:
            pages.append(_in_the_picture(metrics))
        if metrics["frames_3d"]:
            seen_from = (
                f", {'in the picture, ' if pictures else ''}from the front and from the side"
            )
            pages.append(frames_section(self, pictures, apart, seen_from))
        elif metrics["frames_2d"]:
            pages += [
                joints_section(self.picture, metrics["epe_px"]),
                frames_section(self.picture, pictures, apart),
            ]
        return [*pages, _definitions(metrics)]


def challenge_frames(ids: Sequence[str]) -> list[int]:
    """Numbers of the challenge's frames by their names."""
    numbers = [re.search(r"(?:^|/)(\d{5})$", name) for name in ids]
    if None in numbers:
        raise ValueError(
            f"--submission: {ids[numbers.index(None)]} is no frame of the challenge, whose names end in five digits"
        )
    if len(found := {int(number[1]) for number in numbers}) < len(ids):
        raise ValueError(
            f"--submission: {len(ids)} frames have {len(found)} numbers; evaluate one split of the challenge by itself"
        )
    return [int(number[1]) for number in numbers]


def _overview(metrics: dict) -> report.Section:
    keys = []
    if metrics["frames_3d"]:
        keys += [
            report.Key(
                "MPJPE", metrics["mpjpe_mm"], "mm", "from the pelvis, 17 joints", 2, "mpjpe_mm"
            ),
            report.Key(
                "PA-MPJPE", metrics["pa_mpjpe_mm"], "mm", "after Procrustes", 2, "pa_mpjpe_mm"
            ),
            report.Key(
                "PCK",
                metrics["pck3d_150mm_percent"],
                "%",
                "of joints within 150 mm",
                2,
                "pck3d_150mm_percent",
            ),
            report.Key("PCK area", metrics["auc3d"], "", "0 to 150 mm, 1 is perfect", 3, "auc3d"),
        ]
    if "root_mm" in metrics:
        keys.append(
            report.Key(
                "Pelvis",
                metrics["root_mm"],
                "mm",
                f"{metrics['root_depth_mm']:.2f} mm along the depth",
                2,
                "root_mm",
            )
        )
    if metrics["frames_2d"]:
        keys.append(
            report.Key(
                "In the picture",
                metrics["epe_px"],
                "px",
                "mean over the labelled joints",
                2,
                "epe_px",
            )
        )
    if "pckh_percent" in metrics:
        keys.append(
            report.Key(
                "PCKh @ 0.5",
                metrics["pckh_percent"]["mean"],
                "%",
                "within half a head",
                2,
                "pckh_percent.mean",
            )
        )
    note = f"{metrics['frames_3d']:,} with a pose in space, {metrics['frames_2d']:,} in the picture"
    keys.append(report.Key("Frames", metrics["frames"], "", note, 0, "frames"))
    labelled = metrics["frames_3d"] or metrics["frames_2d"]
    return report.section(
        "Summary",
        report.keys(*keys),
        *(() if labelled else ("No frame has labels: there is nothing to measure.",)),
    )


def _protocols(metrics: dict) -> report.Section:
    found = metrics["protocols_mm"]
    shown = [align for align in measure.ALIGNMENTS if f"h36m17_{align}" in found]
    rows = [
        (name, len(joints), *(found[f"{name}_{align}"] for align in shown))
        for name, joints in measure.JOINT_SETS.items()
    ]
    return report.section(
        "The mean error by each protocol",
        report.table(("mm", "joints", *(_ALIGNED[align] for align in shown)), rows, emphasis=[0]),
        "Papers say MPJPE and PA-MPJPE and mean several of these: MPJPE is most often that of 17 joints in the column pelvis, "
        "PA-MPJPE that in the column Procrustes. What the words mean stands at the end of the page.",
    )


def _within(evaluated: Bodies, metrics: dict) -> report.Section:
    curve = metrics["pck3d"]
    percent = [100 * share for share in curve["fraction"]]
    spoken = f"{metrics['pck3d_150mm_percent']:.1f} % of the joints are within 150 mm, area {metrics['auc3d']:.3f}."
    shown = (25, 50, 75, 100, 125, 150)
    at = dict(zip(curve["thresholds_mm"], percent, strict=True))
    return report.section(
        "Joints within a distance",
        report.curves(
            [report.Curve(evaluated.name, curve["thresholds_mm"], percent, emphasis=True)],
            "distance to the truth, from the pelvis (mm)",
            "joints (%)",
            spoken,
            "All joints of all frames, at 31 distances from 0 to 150 mm: the curve of MPI-INF-3DHP.",
            ylim=(0, 101),
        ),
        report.table(
            ("joints (%)", *(f"≤ {t} mm" for t in shown)),
            [(evaluated.name, *(at[t] for t in shown))],
        ),
    )


def _axes(metrics: dict) -> report.Section:
    means = metrics["per_axis_mm"]
    spoken = ", ".join(f"{axis} {mm:.1f} mm" for axis, mm in means.items())
    return report.section(
        "Along each axis",
        report.bars(
            ("x, right", "y, down", "z, away"),
            list(means.values()),
            "mean of the absolute difference (mm)",
            f"Mean difference along each axis: {spoken}.",
            "From the pelvis. The depth is what a single picture says least about.",
        ),
    )


def _actions(metrics: dict, compare: str | None, comparable: bool) -> report.Section:
    found, over = metrics["per_action_mm"], metrics["mean_over_actions_mm"]
    theirs = by_action(compare) if compare else {}
    rivals = [row for row in published_body(compare) if row.by_action] if theirs else []
    rows = [
        (
            action.replace("_", " "),
            *mm.values(),
            *(
                number
                for pair in theirs.get(action, [(None, None)] * len(rivals))
                for number in pair
            ),
        )
        for action, mm in found.items()
    ]
    rows.append(
        (
            "mean over actions",
            *over.values(),
            *(number for row in rivals for number in (row.mpjpe_mm, row.pa_mpjpe_mm)),
        )
    )
    heads = (
        "MPJPE",
        "PA-MPJPE",
        *(f"{row.method}: {what}" for row in rivals for what in ("MPJPE", "PA-MPJPE")),
    )
    worst = max(found, key=lambda action: found[action]["mpjpe_mm"])
    said = f"{worst.replace('_', ' ')} is hardest, at {found[worst]['mpjpe_mm']:.1f} mm; mean over actions {over['mpjpe_mm']:.1f} mm."
    guide = (
        ["The published columns are of other frames of these actions: a guide, no comparison."]
        if rivals and not comparable
        else []
    )
    return report.section(
        "Error of each action",
        report.bars(
            list(found),
            [mm["mpjpe_mm"] for mm in found.values()],
            "MPJPE (mm)",
            f"MPJPE of each action: {said}",
            mean=over["mpjpe_mm"],
        ),
        report.table(("mm", *heads), rows, emphasis=[len(rows) - 1]),
        "Papers print the mean over actions, each weighing the same; above it is the mean over frames.",
        *guide,
    )


def _beside_published(
    evaluated: Bodies, metrics: dict, compare: str, comparable: bool
) -> report.Section:
    others, title = published_body(compare), TITLES[compare]
    ours = (evaluated.name, metrics["mpjpe_mm"], metrics["pa_mpjpe_mm"])
    notes = list(dict.fromkeys(row.note for row in others if row.note))
    marks = {note: f" [{number}]" for number, note in enumerate(notes, 1)}
    rows = sorted(
        [
            ours,
            *(
                (row.method + marks.get(row.note, ""), row.mpjpe_mm, row.pa_mpjpe_mm)
                for row in others
            ),
        ],
        key=lambda r: r[1],
    )
    said = [f"[{number}] {note}." for number, note in enumerate(notes, 1)]
    if not comparable:
        said.append(
            f"{evaluated.name} was not measured on the same frames as these of {title}: its row only shows the scale."
        )
    return report.section(
        f"Beside published results on {title}",
        report.table(("method", "MPJPE mm", "PA-MPJPE mm"), rows, emphasis=[rows.index(ours)]),
        SOURCES[compare],
        *said,
    )


def _in_the_picture(metrics: dict) -> report.Section:
    blocks = [
        report.table(
            ("px of the source picture", "mean", "median"),
            [("all labelled joints", metrics["epe_px"], metrics["median_px"])],
            f"{metrics['frames_2d']:,} frames",
        )
    ]
    if "pckh_percent" in metrics:
        found, curve = metrics["pckh_percent"], metrics["pckh"]
        line = report.Curve("all joints", curve["parts"], curve["percent"], emphasis=True)
        spoken = f"PCKh: {found['mean']:.1f} % of the joints are within half a head's size."
        caption = f"{metrics['frames_pckh']:,} frames in which the head's size is known (MPII)."
        blocks.append(
            report.curves(
                [line], "part of the head's size", "joints (%)", spoken, caption, ylim=(0, 101)
            )
        )
        blocks.append(
            report.table(("% within half a head", *found), [("PCKh @ 0.5", *found.values())])
        )
    return report.section("In the picture", *blocks)


def _definitions(metrics: dict) -> report.Section:
    said = []
    if metrics["frames_3d"]:
        said += [
            "Error: Euclidean distance between predicted and true joint, mm of the camera, after an alignment. As it is: none. "
            "Pelvis: that joint is the origin of both poses. Rigid: rotated and shifted by least squares over all 18 joints, then "
            "the pelvis is the origin again. Procrustes: rotated, shifted and scaled by least squares over the joints that are "
            "scored, mirror images excluded; in the last column admitted where they are nearer, as MATLAB and scipy do. A good "
            "figure there alone says that left and right are confused.",
            "h36m17: Human3.6M's joints, without our thorax. h36m16: with the thorax, without torso and nose. h36m14: of these "
            "without pelvis and thorax. h36m13: without the neck too.",
            "PCK: the share of all joints at most so far from the truth, the pelvis as origin, which counts too; "
            "its area is the mean over 0, 5, …, 150 mm (Mehta et al. 2017, arXiv 1611.09813).",
        ]
    if metrics["frames_2d"]:
        said.append(
            "In the picture: distance in px of the source file, over all joints that have a label, seen or hidden."
        )
    if "pckh_percent" in metrics:
        said.append(
            "PCKh: the share of labelled joints at most half the head's size from the truth, where the size is 0.6 of the diagonal "
            "of the head's box; pelvis and thorax do not count. A group is the mean of left and right."
        )
    return report.section("How the numbers are made", *said)
