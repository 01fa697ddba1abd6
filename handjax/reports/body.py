"""The report of a person's joints: 3D in mm relative to the pelvis, and 2D in px of the image.

In a mixture of data sets, each frame counts where it has ground truth: in 3D, in the image, or in
both (metrics/body.py).
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from handjax.data.formats.predictions_npz import BodyPredictions
from handjax.metrics.body import JOINT_SETS
from handjax.metrics.joints3d import joint_errors
from handjax.metrics.published.body import CHALLENGE_VALIDATION
from handjax.pose.skeleton import Skeleton
from handjax.reports import body_sections as sections
from handjax.reports import own_rules, page
from handjax.reports.base import (
    Comparison,
    InputView,
    InputViews,
    Report,
    frames_section,
    joints_section,
)
from handjax.reports.drawing import Panel, front_and_side
from handjax.reports.keypoints2d import Keypoints2dReport


@dataclass(frozen=True)
class BodyReport(Report):
    """Camera mm [n, 18, 3], compared relative to the pelvis.

    `counted` are the 17 joints of Human3.6M in the frames with a 3D pose. `rows` are a task's, see
    `metrics.body.summarize`. The view of a sample is that of `Keypoints2dReport`.
    """

    unit: ClassVar[str] = "mm"
    mean_metric: ClassVar[str] = "mpjpe_mm"
    within: ClassVar[tuple[int, ...]] = (50, 100, 150)

    rows: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    @classmethod
    def fields_of(cls, rows: Mapping[str, np.ndarray], skeleton: Skeleton) -> dict[str, Any]:
        scored = np.isin(np.arange(len(skeleton.joints)), JOINT_SETS["h36m17"])
        counted = rows["true_has_xyz"][:, None] & scored[None]
        joints = {"pred": rows["joints_xyz"], "true": rows["true_joints_xyz"]}
        return {**joints, "counted": counted, "rows": rows}

    def predictions(self) -> BodyPredictions:
        return BodyPredictions(self.ids, self.rows)

    def benchmark(self, name: str) -> Comparison:
        """Results are comparable only on the validation set of the challenge, evaluated completely.

        Which frames of Human3.6M were evaluated is not known here.
        """
        challenge = name == "human36m_challenge"
        complete = challenge and len(self.ids) == CHALLENGE_VALIDATION
        return Comparison(name if challenge else "human36m", complete)

    @cached_property
    def image(self) -> Keypoints2dReport:
        """The same frames in px of the source image."""
        labelled = self.rows["true_labelled"] & self.rows["true_has_uv"][:, None]
        pred, true = self.rows["joints_uv"], self.rows["true_joints_uv"]
        return Keypoints2dReport(
            self.name, self.ids, pred, true, self.skeleton, self.metrics, labelled
        )

    def errors(self) -> np.ndarray:
        return joint_errors(self.pred, self.true, root=self.skeleton.root)

    def drawn(self, n: int) -> None:
        """All joints: the arms are connected to the thorax, which does not count."""
        return None

    def in_space(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        root = self.skeleton.root
        return self.pred[n] - self.pred[n, root], self.true[n] - self.true[n, root]

    def panels(self, n: int, view: InputView | None) -> tuple[Panel, ...]:
        front, side = front_and_side(*self.in_space(n))
        if view is None:
            return front, side
        (patch,) = self.image.panels(n, view)
        if not self.rows["true_has_uv"][n]:
            patch = dataclasses.replace(patch, true=None)
        return patch, front, side

    def summary_rows(self) -> list[tuple[str, str]]:
        metrics = self.metrics
        rows = [("frames x joints", f"{metrics['frames']:,} x {metrics['joints']}")]
        if metrics["frames_3d"]:
            rows += _rows_3d(metrics)
        rows += own_rules.rows_of(metrics)
        if "per_action_mm" in metrics:
            over = metrics["mean_over_actions_mm"]
            rows.append(("MPJPE, mean over actions", f"{over['mpjpe_mm']:.2f} mm"))
            rows.append(("PA-MPJPE, mean over actions", f"{over['pa_mpjpe_mm']:.2f} mm"))
            for action, means in metrics["per_action_mm"].items():
                rows.append((f"{action.replace('_', ' ')}, MPJPE", f"{means['mpjpe_mm']:.2f} mm"))
        if metrics["frames_2d"]:
            rows.append(("frames in the image", f"{metrics['frames_2d']:,}"))
            rows.append(("mean error (EPE)", f"{metrics['epe_px']:.2f} px"))
            rows.append(("median error", f"{metrics['median_px']:.2f} px"))
        for group, percent in metrics.get("pckh_percent", {}).items():
            rows.append((f"PCKh @ 0.5, {group}", "-" if percent is None else f"{percent:.2f} %"))
        return rows

    def overview(self) -> list[page.Block]:
        return sections.overview(self.metrics)

    def evaluation(self, comparison: Comparison | None) -> list[page.Section]:
        metrics = self.metrics
        found = []
        if metrics["frames_3d"]:
            found += [
                *own_rules.sections_of(metrics),
                sections.protocols(metrics),
                sections.within(self.name, metrics),
                sections.axes(metrics),
            ]
            if "per_action_mm" in metrics:
                found.append(sections.actions(metrics, comparison))
            if comparison is not None:
                found.append(sections.published_results(self.name, metrics, comparison))
            found.append(joints_section(self))
        if metrics["frames_2d"]:
            found.append(sections.in_image(metrics))
            if not metrics["frames_3d"]:
                found.append(joints_section(self.image))
        return found

    def frames(self, views: InputViews | None, apart: int) -> list[page.Section]:
        if self.metrics["frames_3d"]:
            over_image = "in the image, " if views else ""
            seen_from = f", {over_image}from the front and from the side"
            return [frames_section(self, views, apart, seen_from)]
        return [frames_section(self.image, views, apart)] if self.metrics["frames_2d"] else []

    def definitions(self) -> list[str]:
        return sections.definitions(self.metrics)


def _rows_3d(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = [
        ("frames with a 3D pose", f"{metrics['frames_3d']:,}"),
        ("mean error from the pelvis (MPJPE)", f"{metrics['mpjpe_mm']:.2f} mm"),
        ("mean after Procrustes (PA-MPJPE)", f"{metrics['pa_mpjpe_mm']:.2f} mm"),
        ("within 150 mm (PCK)", f"{metrics['pck3d_150mm_percent']:.2f} %"),
        ("PCK area, 0 to 150 mm", f"{metrics['auc3d']:.3f}"),
    ]
    for axis, mm in metrics["per_axis_mm"].items():
        rows.append((f"mean along {axis}", f"{mm:.2f} mm"))
    if "root_mm" in metrics:
        offsets = f"{metrics['root_mm']:.2f}, {metrics['root_depth_mm']:.2f} mm"
        rows.append(("pelvis, along the depth", offsets))
    for name, mm in metrics["per_joint_mm"].items():
        rows.append((name.replace("_", " "), f"{mm:.2f} mm"))
    return rows
