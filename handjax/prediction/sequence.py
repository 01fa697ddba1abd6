"""Predictions over frames: the loop, what it writes while it runs, and the report at its end."""

import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import cv2
import numpy as np
from jaxtyping import UInt8
from tqdm import tqdm

from handjax.engine.files import new_path
from handjax.prediction import drawing, saving
from handjax.prediction.base import Prediction
from handjax.prediction.frames import Frame, FrameSource
from handjax.prediction.recognizers import Recognizer
from handjax.prediction.sequence_report import Preview, Summary, fitted, write_report
from handjax.prediction.tracks import HandTracks

OUTPUTS = ("predictions.jsonl", "predictions.csv", "predictions.npz", "overlay.mp4", "report.html")


class SequenceError(ValueError):
    """Frames that ended with an error; what came before is written."""


def run_sequence(
    source: FrameSource,
    recognizer: Recognizer,
    tracks: HandTracks,
    folder: Path,
    video: bool = True,
    limit: int | None = None,
) -> Summary:
    """Recognizes the hands of all frames, at most `limit`, and writes OUTPUTS to `folder`; without
    `video` no overlay.mp4.

    predictions.jsonl grows by a line per frame. After the first frame Ctrl+C ends the frames, not
    the writing. ValueError if there is no frame; SequenceError for an error after some frames, of
    the source or the recognizer, when all is written.
    """
    summary, rows, preview = Summary(), _Rows(), Preview()
    for name in OUTPUTS:
        (folder / name).unlink(missing_ok=True)
    with contextlib.ExitStack() as stack:
        lines: TextIO | None = None
        overlay = stack.enter_context(_Overlay(folder / "overlay.mp4", source.fps, video))
        bar = stack.enter_context(tqdm(total=limit or source.total, unit="frame", leave=False))
        stack.enter_context(_until_ctrl_c(summary))
        for frame, found, began in _recognized(source, recognizer, limit, summary):
            hands = tracks(found, frame.seconds)
            if lines is None:
                folder.mkdir(parents=True, exist_ok=True)
                path = folder / "predictions.jsonl"
                lines = stack.enter_context(path.open("x", encoding="utf-8"))
            lines.write(_line(frame, hands) + "\n")
            lines.flush()
            rows.add(frame, hands)
            drawn = _draw(frame, hands)
            overlay.add(drawn)
            preview.add(drawn)
            summary.add(hands, frame.seconds)
            summary.working_s += 0 if summary.frames == 1 else time.perf_counter() - began
            bar.update()
    if not summary.frames:
        raise ValueError(summary.problem or f"{source.name}: it has no frames")
    rows.write(folder)
    write_report(folder, source.name, summary, preview)
    if summary.problem:
        raise SequenceError(
            f"{summary.problem}; what came before is written, {summary.frames} frames"
        )
    return summary


@contextlib.contextmanager
def _until_ctrl_c(summary: Summary) -> Iterator[None]:
    """Ends the block at Ctrl+C, and nothing else if there was a frame before."""
    try:
        yield
    except KeyboardInterrupt:
        if not summary.frames:
            raise
        print(f"stopped after {summary.frames} frames", file=sys.stderr)


def _recognized(
    source: FrameSource, recognizer: Recognizer, limit: int | None, summary: Summary
) -> Iterator[tuple[Frame, list[Prediction], float]]:
    """The frames, what is in them, and when they were there, s, until their end, an error, or the
    limit."""
    frames = source.frames()
    try:
        while limit is None or summary.frames < limit:
            try:
                frame = next(frames)
                began = time.perf_counter()
                found = recognizer(frame)
            except StopIteration:
                return
            except (ValueError, OSError) as error:
                summary.problem = " ".join(str(error).split())
                return
            yield frame, found, began
    finally:
        if hasattr(frames, "close"):
            frames.close()


# ---------------------------------------------------------------- files


def _line(frame: Frame, hands: list[tuple[int, Prediction]]) -> str:
    bare = [(number, dataclasses.replace(hand, covariance=None)) for number, hand in hands]
    found = [{"id": number, **saving.sample(hand)} for number, hand in bare]
    values = {"frame": frame.name, "seconds": round(frame.seconds, 4), "hands": found}
    return json.dumps(values, ensure_ascii=False, allow_nan=False)


class _Rows:
    """The hands of all frames, one after another."""

    def __init__(self) -> None:
        self.frames: list[str] = []
        self.seconds: list[float] = []
        self.ids: list[int] = []
        self.hands: list[Prediction] = []

    def add(self, frame: Frame, hands: list[tuple[int, Prediction]]) -> None:
        for number, hand in hands:
            self.frames.append(frame.name)
            self.seconds.append(frame.seconds)
            self.ids.append(number)
            self.hands.append(hand)

    def write(self, folder: Path) -> None:
        """predictions.npz and predictions.csv, with a row per hand and frame."""
        arrays = saving.joined(self.hands)
        arrays |= {"frame": np.array(self.frames, np.str_), "id": np.array(self.ids, np.int32)}
        with new_path(folder / "predictions.npz") as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **arrays, seconds=np.array(self.seconds, np.float64))
        times = [f"{seconds:.4f}" for seconds in self.seconds]
        keys = list(zip(self.frames, times, self.ids, strict=True))
        names = ("frame", "seconds", "id")
        saving.write_csv(folder / "predictions.csv", names, keys, self.hands)


def _draw(frame: Frame, hands: list[tuple[int, Prediction]]) -> UInt8[np.ndarray, "h w 3"]:
    if not hands:
        return drawing.resized(drawing.rgb_of(frame.pixels), drawing.SIDES_PX)[0]
    labels = [f"#{number} {drawing.label(hand)}".strip() for number, hand in hands]
    return drawing.over_frame([hand for _, hand in hands], labels=labels)


class _Overlay:
    """A video of the drawn frames, of the size of the first."""

    def __init__(self, path: Path, fps: float, wanted: bool):
        self.path, self.fps, self.wanted = path, fps, wanted
        self.writer: cv2.VideoWriter | None = None
        self.size = (0, 0)

    def __enter__(self) -> "_Overlay":
        return self

    def __exit__(self, *error: object) -> None:
        if self.writer is not None:
            self.writer.release()

    def add(self, drawn: UInt8[np.ndarray, "h w 3"]) -> None:
        if not self.wanted:
            return
        if self.writer is None:
            self.size = (drawn.shape[1] // 2 * 2, drawn.shape[0] // 2 * 2)
            codec = cv2.VideoWriter.fourcc(*"mp4v")
            self.writer = cv2.VideoWriter(str(self.path), codec, self.fps, self.size)
            if not self.writer.isOpened():
                raise OSError(f"{self.path}: OpenCV cannot write it; use --no_video")
        self.writer.write(np.ascontiguousarray(fitted(drawn, self.size)[..., ::-1]))
