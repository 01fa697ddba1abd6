"""What the reports of all kinds of results share: `Report`, and the sections common to all of them.

A kind of result is one of joints3d.py, keypoints2d.py and body.py.
"""

import abc
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, ClassVar, NamedTuple

import numpy as np

from handjax.metrics import joints3d as measure
from handjax.pose.skeleton import Skeleton
from handjax.reports import charts, page
from handjax.reports.drawing import DrawnFrame, Panel, draw_frame

SHOWN_FRAMES = 4  # best ones, and as many worst ones

# One sample as the network sees it: what `Task.visualize` returns, and `center_xyz` and `cube_mm`
# (mm, each [3]) of a crop in space.
InputView = tuple[tuple[np.ndarray, np.ndarray], Mapping[str, np.ndarray]]
InputViews = Callable[[int], InputView]  # row → its view


class Comparison(NamedTuple):
    """The data set whose published results are shown, and whether ours are of the same frames."""

    dataset: str
    comparable: bool


@dataclass(frozen=True)
class Report(abc.ABC):
    """Predictions compared with the ground truth; joints in the order of the skeleton.

    `name` labels the predictions in charts. `metrics` is the content of metrics.json, computed by
    the task or, for files of predictions, in metrics/. Joints that are not `counted` are neither
    evaluated nor drawn.
    """

    unit: ClassVar[str]
    mean_metric: ClassVar[str]  # name of the mean error over all joints
    within: ClassVar[tuple[int, ...]]  # distances in the table of joints

    name: str
    ids: Sequence[str]
    pred: np.ndarray  # [n, j, d]
    true: np.ndarray  # [n, j, d]
    skeleton: Skeleton
    metrics: Mapping[str, Any]
    counted: np.ndarray | None = None  # bool [n, j]; None: all joints

    @classmethod
    def of_rows(
        cls,
        name: str,
        ids: Sequence[str],
        rows: Mapping[str, np.ndarray],
        skeleton: Skeleton,
        metrics: Mapping[str, Any],
    ) -> "Report":
        """From a task's postprocessed rows; those of the ground truth have the prefix `true_`."""
        fields = cls.fields_of(rows, skeleton)
        return cls(name, ids, skeleton=skeleton, metrics=metrics, **fields)

    @classmethod
    @abc.abstractmethod
    def fields_of(cls, rows: Mapping[str, np.ndarray], skeleton: Skeleton) -> dict[str, Any]:
        """`pred`, `true` and the other fields that come from a task's rows."""

    @abc.abstractmethod
    def predictions(self) -> Any:
        """The content of predictions.npz, for `write_predictions`."""

    @abc.abstractmethod
    def benchmark(self, name: str) -> Comparison | None:
        """The published results to compare with, for the split of the data set called `name`, if
        there are any of such joints."""

    @abc.abstractmethod
    def summary_rows(self) -> list[tuple[str, str]]:
        """Names and values of the metrics, for a terminal."""

    @abc.abstractmethod
    def panels(self, n: int, view: InputView | None) -> tuple[Panel, ...]:
        """Drawings of frame n, over what the network sees of it if that is given."""

    @abc.abstractmethod
    def overview(self) -> list[page.Block]:
        """The blocks of the first section: the key figures."""

    @abc.abstractmethod
    def evaluation(self, comparison: Comparison | None) -> list[page.Section]:
        """The sections between the overview and the frames."""

    @abc.abstractmethod
    def definitions(self) -> list[str]:
        """How the metrics are defined, a paragraph each."""

    def errors(self) -> np.ndarray:
        """Distances in `unit`, [n, j]; undefined for joints that do not count."""
        return measure.joint_errors(self.pred, self.true)

    def drawn(self, n: int) -> np.ndarray | None:
        """Which joints of frame n are drawn, bool [j]; None: all."""
        return None if self.counted is None else self.counted[n]

    def in_space(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Predicted and true joints of frame n as they are compared, [j, d]."""
        return self.pred[n], self.true[n]

    def frames(self, views: InputViews | None, apart: int) -> list[page.Section]:
        """The section of drawn frames, if there is any."""
        return [frames_section(self, views, apart)]

    def sections(
        self,
        comparison: Comparison | None = None,
        views: InputViews | None = None,
        apart: int = 1,
    ) -> list[page.Section]:
        """The sections of report.html.

        Drawn frames are at least `apart` frames from each other, because neighbouring frames of a
        video look alike.
        """
        return [
            page.section("Summary", *self.overview()),
            *self.evaluation(comparison),
            *self.frames(views, apart),
            page.section("How the numbers are computed", *self.definitions()),
        ]


def joints_section(report: Report) -> page.Section:
    """Error of each joint, and how often it is within a few distances."""
    unit, skeleton = report.unit, report.skeleton
    errors = report.errors()
    means = measure.per_joint(errors, report.counted, of="mean")
    medians = measure.per_joint(errors, report.counted, of="median")
    within = 100 * measure.pck(errors, report.within, report.counted)
    rows: list[tuple[page.Cell, ...]] = [
        (name.replace("_", " "), *((None,) * len(row) if np.isnan(row[0]) else row))
        for name, row in zip(
            skeleton.joints, np.column_stack([means, medians, within]).tolist(), strict=True
        )
    ]
    spoken = ", ".join(
        f"{name} {'–' if mean is None else format(mean, '.2f')}" for name, mean, *_ in rows
    )
    chart = charts.bars(
        skeleton.joints,
        [None if np.isnan(mean) else mean for mean in means.tolist()],
        f"mean error ({unit})",
        f"Mean error of each joint in {unit}: {spoken}.",
        colours=skeleton.colours,
        mean=report.metrics[report.mean_metric],
    )
    columns = ("joint", f"mean {unit}", f"median {unit}")
    shares = tuple(f"% ≤ {t} {unit}" for t in report.within)
    return page.section("Error of each joint", chart, page.table((*columns, *shares), rows))


def frames_section(
    report: Report, views: InputViews | None, apart: int, seen_from: str = ""
) -> page.Section:
    """Drawings of the best and the worst frames, at least `apart` frames from each other."""
    errors = report.errors()
    worst = measure.frame_errors(errors, report.counted, "max")
    mean = measure.frame_errors(errors, report.counted, "mean")
    order = np.argsort(worst)
    order = order[~np.isnan(worst[order])]
    note = f", at least {apart} frames apart" if apart > 1 else ""

    def title(n: int) -> str:
        return f"{report.ids[n]}: mean {mean[n]:.1f}, worst {worst[n]:.1f} {report.unit}"

    def drawn(chosen: Sequence[int], which: str) -> page.Frames:
        images = []
        for n in chosen:
            panels = report.panels(n, views(n) if views else None)
            frame = DrawnFrame(panels, report.drawn(n))
            alt = f"Predicted and true skeleton{seen_from}. {title(n)}."
            uri = charts.svg_uri(draw_frame(frame, report.skeleton))
            images.append(page.Image(uri, alt, title(n), width=0))
        caption = f"The {which} frames by the error of their worst joint{note}."
        return page.frames(images, caption)

    best, last = pick_frames(order, apart), pick_frames(order[::-1], apart)
    blocks: list[page.Block] = [
        "Solid: the prediction, with one color per finger, limb or joint. "
        "Dashed with open circles: the ground truth.",
        page.legend(report.skeleton, truth=True),
        drawn(best, "best"),
        drawn(last, "worst"),
    ]
    if report.pred.shape[-1] == 3 and best:
        blocks.append(turning_frames(report, {n: title(n) for n in (*last, *best)}))
    return page.section("Best and worst frames", *blocks)


def turning_frames(report: Report, titles: Mapping[int, str]) -> page.Turning:
    """The view that turns, of the frames that are drawn."""

    poses = []
    for n, title in titles.items():
        drawn = report.drawn(n)
        pred, true = report.in_space(n)
        if drawn is not None:
            pred, true = (np.where(drawn[:, None], joints, np.nan) for joints in (pred, true))
        poses.append((title, pred, true))
    alt = "The same frames in space: prediction in colors, ground truth dashed."
    return page.turning(poses, report.skeleton, f"{alt} Drag it, or use the arrow keys.")


def pick_frames(order: np.ndarray, apart: int) -> list[int]:
    """The first SHOWN_FRAMES of `order` that are at least `apart` from all those before."""
    taken: list[int] = []
    for n in order:
        if all(abs(n - other) >= apart for other in taken):
            taken.append(int(n))
        if len(taken) == SHOWN_FRAMES:
            break
    return taken


def published_section(
    title: str,
    columns: Sequence[str],
    ours: Sequence[page.Cell],
    theirs: Iterable[Sequence[page.Cell]],
    by: int,
    paragraphs: Sequence[str],
    digits: int | Sequence[int] = 2,
) -> page.Section:
    """A table of our result, highlighted, among published ones, sorted by column `by`."""
    rows = sorted([ours, *theirs], key=itemgetter(by))
    return page.section(
        f"Comparison with published results on {title}",
        page.table(columns, rows, digits=digits, emphasis=[rows.index(ours)]),
        *paragraphs,
    )


def footnotes(notes: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Marks as in " [1]" by note ("" for the empty note), and the lines that explain them."""
    distinct = list(dict.fromkeys(note for note in notes if note))
    marks = {note: f" [{number}]" for number, note in enumerate(distinct, 1)}
    return marks | {"": ""}, [f"{mark.strip()} {note}." for note, mark in marks.items()]
