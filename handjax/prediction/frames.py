"""Frames of videos, webcams, recordings, folders and streams, one after another."""

import contextlib
import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from handjax.data.cameras import Camera
from handjax.data.formats import depth as depth_files
from handjax.data.formats import image as image_files
from handjax.data.formats import kinds, recording
from handjax.data.formats.headers import read_header
from handjax.data.formats.image_stream import images_of
from handjax.prediction import common

VIDEOS = tuple(".mp4 .avi .mkv .mov .webm .m4v .mpg .mpeg .wmv".split())
_CAMERAS = 1000  # numbers that OpenCV takes; it adds the kind of driver to them
USUAL_FPS = 30.0  # of folders and streams, whose frames have no time


class Frame(NamedTuple):
    """A picture and when it was taken."""

    name: str  # number in its video, or name of its file
    pixels: np.ndarray  # RGB, uint8 [h, w, 3], or depth, float32 [h, w], mm, 0 = missing
    seconds: float  # from the first frame
    camera: Camera | None = None  # if the recording says


@dataclass(frozen=True)
class FrameSource:
    """Frames in the order of their time; `frames()` starts from the first."""

    name: str
    frames: Callable[[], Iterator[Frame]]
    depth: bool
    fps: float
    total: int | None = None  # None: not known before the end


def open_source(text: str, depth: bool | None, unit_mm: float = 1.0) -> FrameSource:
    """The frames of a video file, a recording (.bag, .db3), a folder of images, or "-", images one
    after another on the standard input.

    depth    whether folders and streams hold depth; None: as the files say, else RGB
    unit_mm  mm per unit of depth files

    Raises FileNotFoundError or ValueError, one line, for what has no frames.
    """
    path = Path(text)
    if text == "-":
        return FrameSource("stdin", lambda: _stdin(bool(depth), unit_mm), bool(depth), USUAL_FPS)
    if path.is_dir():
        return _folder(path, bool(depth), unit_mm)
    if not path.is_file():
        raise FileNotFoundError(
            f"{text}: no such file or folder; expected a video, a recording or a folder of frames"
        )
    if path.suffix.lower() in recording.ENDINGS:
        if depth is False:
            raise ValueError(f"{path}: a recording of depth; expected RGB for this model")
        return _recording(path)
    if (what := kinds.kind_at(path).name).endswith(" image"):
        raise ValueError(
            f"{path}: {what}, not a video; expected a folder of frames, or for single pictures "
            "handjax predict images, for depth handjax predict depth"
        )
    if depth:
        raise ValueError(
            f"{path}: a video has colors, no depth; expected a recording (.bag, .db3), a folder of "
            "depth images, or a model for RGB"
        )
    return _video(path)


def open_webcam(number: int) -> FrameSource:
    """The frames of a camera by its number; ValueError, one line, if there is none."""
    if not 0 <= number < _CAMERAS:
        raise ValueError(f"camera {number}: expected its number, 0 for the first")
    with _quiet():
        capture = cv2.VideoCapture(number)
        ok, _ = capture.read() if capture.isOpened() else (False, None)
    if not ok:
        capture.release()
        there = sorted(path.name for path in Path("/dev").glob("video*"))
        seen = f"this machine has {', '.join(there)}" if there else "this machine has no camera"
        raise ValueError(f"camera {number}: no picture comes from it; {seen}")
    fps = capture.get(cv2.CAP_PROP_FPS)

    def frames() -> Iterator[Frame]:
        start = time.perf_counter()
        try:
            for index in itertools.count():
                ok, pixels = capture.read()
                if not ok:
                    print(f"camera {number}: the stream ended", file=sys.stderr)
                    return
                yield Frame(f"{index:06}", _rgb(pixels), time.perf_counter() - start)
        finally:
            capture.release()

    return FrameSource(f"camera {number}", frames, False, fps if fps > 0 else USUAL_FPS)


def _video(path: Path) -> FrameSource:
    with _quiet():
        capture = cv2.VideoCapture(str(path))
        ok, _ = capture.read() if capture.isOpened() else (False, None)
        fps, total = (capture.get(one) for one in (cv2.CAP_PROP_FPS, cv2.CAP_PROP_FRAME_COUNT))
        capture.release()
    if not ok:
        what = kinds.kind_at(path).name
        raise ValueError(f"{path}: {what} of which no frame can be read; expected a video")
    fps = fps if 0 < fps < 1000 else USUAL_FPS

    def frames() -> Iterator[Frame]:
        reader = cv2.VideoCapture(str(path))
        try:
            for index in itertools.count():
                ok, pixels = reader.read()
                if not ok:
                    _tell_if_cut(path, index, total)
                    return
                milliseconds = reader.get(cv2.CAP_PROP_POS_MSEC)  # of the frame just read
                # Some containers have no times.
                seconds = milliseconds / 1000 if milliseconds > 0 else index / fps
                yield Frame(f"{index:06}", _rgb(pixels), seconds)
        finally:
            reader.release()

    return FrameSource(path.name, frames, False, fps, int(total) if total > 0 else None)


def _tell_if_cut(path: Path, count: int, total: float) -> None:
    """One line on stderr if far fewer frames came than the file's header promises. No error: some
    containers only estimate their number."""
    if count < 0.95 * total - 2:
        print(
            f"{path}: {count} of the {total:.0f} frames that its header names could be read; if it "
            "is cut short, copy it again",
            file=sys.stderr,
        )


def _recording(path: Path) -> FrameSource:
    found = recording.open_recording(path)

    def frames() -> Iterator[Frame]:
        for index, (depth, seconds) in enumerate(found):
            yield Frame(f"{index:06}", depth, seconds, found.camera)

    first = list(itertools.islice(found, 2))
    if not first:
        raise ValueError(f"{path}: {found.topic} has no frames")
    step = first[1].seconds if len(first) > 1 else 0.0
    fps = 1 / step if step > 1e-3 else USUAL_FPS
    return FrameSource(path.name, frames, True, fps, found.count)


def _folder(path: Path, depth: bool, unit_mm: float) -> FrameSource:
    endings = depth_files.ENDINGS if depth else image_files.ENDINGS
    files = common.list_images(path, endings, exclude=path / "overlays")
    name, first = next(iter(files.items()))
    if not depth and _is_deep(first):
        raise ValueError(
            f"{path}: {name} is a depth image; depth needs --camera CAMERA, or a model or run for "
            "depth"
        )

    def frames() -> Iterator[Frame]:
        for index, (name, file) in enumerate(files.items()):
            if depth:
                pixels = depth_files.read_depth(file, form="png16", scale=unit_mm)
            else:
                pixels = image_files.rgb_pixels(image_files.read_image(file)[1])
            yield Frame(name, pixels, index / USUAL_FPS)

    return FrameSource(str(path), frames, depth, USUAL_FPS, len(files))


def _is_deep(path: Path) -> bool:
    """Whether it is a picture of one channel of more than 8 bits, as depth is."""
    try:
        header = read_header(path.read_bytes(), "")
    except (OSError, ValueError):
        return False  # reading it tells what is wrong
    return header.channels == 1 and header.bits > 8


def _stdin(depth: bool, unit_mm: float) -> Iterator[Frame]:
    count = 0
    for count, data in enumerate(images_of(sys.stdin.buffer), 1):
        try:
            read_header(data, "PNG or JPEG images")  # OpenCV trusts any size that one claims
        except ValueError as error:
            raise ValueError(f"stdin: image {count}: {error}") from None
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        name = f"{count - 1:06}"
        if pixels is None:
            raise ValueError(f"stdin: image {count} does not decode")
        if depth:
            if pixels.dtype != np.uint16 or pixels.ndim != 2:
                raise ValueError(
                    f"stdin: image {count} is {pixels.dtype} {list(pixels.shape)}; expected depth "
                    "as 16-bit PNG of one channel"
                )
            yield Frame(name, pixels * np.float32(unit_mm), (count - 1) / USUAL_FPS)
        elif pixels.dtype != np.uint8:
            raise ValueError(
                f"stdin: image {count} has 16 bits per channel, as depth has; expected RGB of 8"
            )
        else:
            pixels = pixels if pixels.ndim == 2 else pixels[..., :3]
            grey = pixels.ndim == 2
            color = cv2.COLOR_GRAY2RGB if grey else cv2.COLOR_BGR2RGB
            yield Frame(name, cv2.cvtColor(pixels, color), (count - 1) / USUAL_FPS)
    if not count:
        raise ValueError("stdin: it ended without an image; expected PNG or JPEG images")


def _rgb(pixels: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(pixels[..., ::-1])


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without OpenCV's own messages about a file or a camera that cannot be opened."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # read when FFmpeg is first used
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)
