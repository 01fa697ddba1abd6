"""How long a frame takes: from its file in memory to a picture with its joints."""

import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np

from handjax.exporter.contents import Arrays, Contents
from handjax.exporter.runtimes import Runner
from handjax.prediction import drawing
from handjax.prediction.base import Prediction

REST_SECONDS = 0.05  # before each turn: threads of the runtime before spin until then
_UNIT_MM = 0.1  # of depth in the encoded frames
_PARTS = ("read", "joints", "draw")


class Turn(NamedTuple):
    """Seconds of one turn: by the clock, and of all cores together."""

    read: float
    joints: float
    draw: float
    cpu: float

    @property
    def whole(self) -> float:
        return self.read + self.joints + self.draw


def encoded(arrays: Arrays) -> list[bytes]:
    """The frames as PNG files: RGB, or depth of 16 bits."""
    files = []
    for frame in arrays["image"] if "image" in arrays else arrays["depth"]:
        if frame.ndim == 2:
            steps = np.rint(np.nan_to_num(frame, nan=0.0) / _UNIT_MM)
            pixels = np.where(steps < 2**16, steps, 0).astype(np.uint16)
        else:
            pixels = np.ascontiguousarray(frame[..., ::-1])
        files.append(cv2.imencode(".png", pixels)[1].tobytes())
    return files


def decoded(file: bytes) -> np.ndarray:
    """RGB, or depth in mm."""
    pixels = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_UNCHANGED)
    assert pixels is not None
    if pixels.ndim == 2:
        return pixels.astype(np.float32) * np.float32(_UNIT_MM)
    return np.ascontiguousarray(pixels[..., ::-1])


def turn(run: Runner, contents: Contents, files: Sequence[bytes], others: Arrays) -> Turn:
    """Reads the frames, finds their joints, and draws each."""
    start, cpu = time.perf_counter(), time.process_time()
    frames = np.stack([decoded(file) for file in files])
    read = time.perf_counter()
    kind = "image" if "image" in contents.inputs else "depth"
    found = {name: np.asarray(value) for name, value in run({kind: frames, **others}).items()}
    joints = time.perf_counter()
    for i, frame in enumerate(frames):
        _drawn(contents, frame, found["uv"][i])
    end = time.perf_counter()
    return Turn(read - start, joints - read, end - joints, time.process_time() - cpu)


def _drawn(contents: Contents, frame: np.ndarray, uv: np.ndarray) -> None:
    if np.isfinite(uv).all():
        skeleton = contents.skeleton
        sample = Prediction(skeleton.joints, uv=uv, pictures=(frame,), skeleton=skeleton)
        drawing.over_frame([sample])


def measure(
    running: Mapping[str, Runner], contents: Contents, arrays: Arrays, rounds: int
) -> dict[str, dict[str, float]]:
    """Runtime → medians over `rounds` of its ms per frame, and how many times the first runtime's
    time for the joints it takes: the median of the rounds' ratios. They take turns, and rest
    between, so that all meet the same machine."""
    files = encoded(arrays)
    others = {name: value for name, value in arrays.items() if name not in ("image", "depth")}
    turns: dict[str, list[Turn]] = {name: [] for name in running}
    for number in range(rounds + 1):
        for name, run in running.items():
            time.sleep(REST_SECONDS)
            one = turn(run, contents, files, others)
            if number:  # the first compiles
                turns[name].append(one)
    first = next(iter(turns))
    return {name: _summary(own, turns[first], len(files)) for name, own in turns.items()}


def _summary(own: Sequence[Turn], base: Sequence[Turn], count: int) -> dict[str, float]:
    found: dict[str, Any] = {
        f"{part}_ms": 1e3 * statistics.median(getattr(one, part) for one in own) / count
        for part in (*_PARTS, "whole", "cpu")
    }
    ratios = [a.joints / b.joints for a, b in zip(own, base, strict=True)]
    return found | {"joints_ratio": statistics.median(ratios)}
