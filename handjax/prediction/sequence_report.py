"""What is told of predictions over frames: figures, a moving picture, and the report of both."""

import base64
import io
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from handjax.prediction.base import Prediction
from handjax.reports import charts
from handjax.reports import page as report

_PREVIEW = 40  # frames of the report's moving picture, at most
_PREVIEW_PX = 480


@dataclass
class Track:
    """One hand or person over the frames, for the report."""

    first_s: float
    last_s: float = 0.0
    frames: int = 0
    sides: dict[str, int] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    distance_mm: list[float] = field(default_factory=list)


@dataclass
class Summary:
    """What a sequence was."""

    frames: int = 0
    with_hands: int = 0
    tracks: dict[int, Track] = field(default_factory=dict)
    working_s: float = 0.0  # without the first frame, which compiles
    problem: str = ""

    @property
    def per_second(self) -> float:
        """Frames per second, drawing and writing included, without the first."""
        return (self.frames - 1) / self.working_s if self.working_s > 0 else 0.0

    def add(self, hands: list[tuple[int, Prediction]], seconds: float) -> None:
        self.frames += 1
        self.with_hands += bool(hands)
        for number, hand in hands:
            track = self.tracks.setdefault(number, Track(seconds))
            track.frames, track.last_s = track.frames + 1, seconds
            if isinstance(hand.side, str):
                track.sides[hand.side] = track.sides.get(hand.side, 0) + 1
            if hand.xyz is not None and hand.frame == "camera":
                track.seconds.append(seconds)
                track.distance_mm.append(float(hand.xyz[:, 2].mean()))


def fitted(drawn: UInt8[np.ndarray, "_ _ 3"], size: tuple[int, int]) -> UInt8[np.ndarray, "h w 3"]:
    """A picture in one of another size (width, height), with grey beside it."""
    if drawn.shape[1::-1] == size:
        return drawn
    scale = min(size[0] / drawn.shape[1], size[1] / drawn.shape[0])
    width, height = (max(int(side * scale), 1) for side in drawn.shape[1::-1])
    page = np.full((size[1], size[0], 3), 40, np.uint8)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    small = cv2.resize(drawn, (width, height), interpolation=cv2.INTER_AREA)
    page[top : top + height, left : left + width] = small
    return page


class Preview:
    """Small copies of at most _PREVIEW frames, evenly spread over all so far."""

    def __init__(self) -> None:
        self.kept: list[np.ndarray] = []
        self.step, self.count = 1, 0
        self.size = (0, 0)  # of all, that of the first

    def add(self, drawn: UInt8[np.ndarray, "h w 3"]) -> None:
        if self.count % self.step == 0:
            if not self.kept:
                scale = min(_PREVIEW_PX / max(drawn.shape[:2]), 1.0)
                height, width = (max(int(side * scale), 1) for side in drawn.shape[:2])
                self.size = (width, height)
            self.kept.append(fitted(drawn, self.size))
        self.count += 1
        if len(self.kept) > _PREVIEW:
            self.kept, self.step = self.kept[::2], 2 * self.step

    def webp(self) -> bytes:
        """A moving picture that every browser plays."""
        from PIL import Image

        first, *others = [Image.fromarray(one) for one in self.kept]
        buffer = io.BytesIO()
        first.save(
            buffer, "WEBP", save_all=True, append_images=others, duration=120, loop=0, quality=60
        )
        return buffer.getvalue()


def write_report(folder: Path, name: str, summary: Summary, preview: Preview) -> None:
    """report.html, with all that it shows inside."""
    share = 100 * summary.with_hands / summary.frames
    cards = report.keys(
        report.Key("Frames", summary.frames),
        report.Key("With a hand or person", share, "%", digits=1),
        report.Key("Followed", len(summary.tracks)),
        report.Key("Frames per second", summary.per_second, digits=1, note="without the first"),
    )
    uri = "data:image/webp;base64," + base64.b64encode(preview.webp()).decode()
    moving = report.Image(uri, "the joints over the frames", "", width=2 * _PREVIEW_PX)
    blocks: list[report.Block] = [cards, moving]
    if summary.problem:
        blocks.insert(0, summary.problem)
    sections = [report.section("Summary", *blocks)]
    if summary.tracks:
        sections.append(report.section("Followed", _table(summary), *_distances(summary)))
    path = report.write_report(
        folder / "report.html", "Joints over frames", name, sections, footer="handjax"
    )
    print(f"report: {path.resolve()}")


def _table(summary: Summary) -> report.Table:
    rows = [
        (
            f"#{number}",
            ", ".join(f"{side} {count}" for side, count in track.sides.items()) or None,
            track.frames,
            track.first_s,
            track.last_s,
        )
        for number, track in sorted(summary.tracks.items())
    ]
    return report.table(("id", "side, frames", "frames", "first, s", "last, s"), rows)


def _distances(summary: Summary) -> list[report.Block]:
    """A chart of how far the hands were, where that is known."""
    lines = [
        charts.Curve(f"#{number}", track.seconds, track.distance_mm)
        for number, track in sorted(summary.tracks.items())
        if len(track.seconds) > 1
    ]
    if not lines:
        return []
    return [
        charts.curves(lines, "s", "mm", "distance of each hand over time", "Mean z of the joints")
    ]
