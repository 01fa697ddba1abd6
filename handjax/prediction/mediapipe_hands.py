"""Hands in RGB by MediaPipe, which runs in an environment of its own.

The last MediaPipe whose wheel holds its networks, 0.10.21, needs older versions of NumPy and JAX
than handjax, so it is another process (mediapipe_worker.py) of another Python.
"""

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from handjax.pose.skeleton import SKELETONS
from handjax.prediction import arguments
from handjax.prediction.arguments import ArrayLike
from handjax.prediction.base import Prediction, Predictor

VARIABLE = "HANDJAX_MEDIAPIPE"  # environment variable: the Python that has MediaPipe
INSTALL = (
    "python3 -m venv mp && mp/bin/pip install mediapipe==0.10.21 && "
    f"export {VARIABLE}=$PWD/mp/bin/python"
)
_WORKER = Path(__file__).with_name("mediapipe_worker.py")
_MOST = 4  # hands per picture
# It calls the hands of a mirrored picture, as of a selfie camera, by their sides.
_SIDES = {"Left": "right", "Right": "left"}


def find_python() -> str | None:
    """The Python that has MediaPipe: that of the variable, else this one, if it has it."""
    if given := os.environ.get(VARIABLE):
        return given
    return sys.executable if importlib.util.find_spec("mediapipe") else None


class MediaPipePredictor(Predictor):
    """MediaPipe's hands in RGB images: it finds all of them and their sides.

    It is another process, which ends with this one or by `close()`.
    """

    reads = "RGB images [h, w, 3]"

    def __init__(self, python: str | None = None, video: bool = False):
        """`python`: of the environment that has MediaPipe; by default as `find_python`. `video`:
        pictures are frames, so that it follows hands from one to the next.

        ValueError, one line, if MediaPipe does not run there.
        """
        super().__init__("hand-rgb", SKELETONS["hand21"])
        python = python or find_python()
        if python is None:
            raise ValueError(
                "hand-rgb: handjax includes no network for hands in RGB; it uses MediaPipe, which "
                f"needs an environment of its own: {INSTALL}"
            )
        command = [python, str(_WORKER), str(_MOST), "video" if video else "images"]
        environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
            )
        except OSError as error:
            raise ValueError(f"{VARIABLE}={python}: {error.strerror}; expected a Python") from None
        self._end = weakref.finalize(self, _end, self._process)
        started = self._answer()
        if "error" in started:
            self.close()
            raise ValueError(f"{python}: {started['error']}; it needs MediaPipe: {INSTALL}")
        self.name = f"hand-rgb (MediaPipe {started['version']})"

    def __call__(self, image: ArrayLike) -> Prediction:
        """`uv` in px of the image [n, 21, 2], `side` and `box` of the n hands in it,
        from left to right; n may be 0.

        image  RGB, uint8, [h, w, 3]
        """
        pictures = arguments.rgb_images(image)
        if np.ndim(image) != 3:
            raise ValueError(
                f"image: {list(np.shape(image))}; expected one picture [h, w, 3] per call"
            )
        (picture,) = pictures
        height, width = picture.shape[:2]
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"height": height, "width": width}).encode())
            self._process.stdin.write(b"\n" + np.ascontiguousarray(picture).tobytes())
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError):
            raise OSError("MediaPipe's process ended; load hand-rgb again") from None
        hands = sorted(self._answer().get("hands", []), key=lambda one: np.mean(one["uv"], 0)[0])
        found: dict[str, np.ndarray | None] = {
            "uv": np.reshape([one["uv"] for one in hands], (-1, 21, 2)),
        }
        if not hands:
            found["box"] = np.zeros((0, 4))
        sides = [_SIDES[one["side"]] for one in hands]
        return self.named(found, True, side=sides, pictures=[picture] * max(len(hands), 1))

    def close(self) -> None:
        """Ends the process."""
        self._end()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        return json.loads(line) if line else {"error": "it printed nothing"}


def _end(process: subprocess.Popen) -> None:
    """The worker ends when there is nothing more to read."""
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
    process.wait()
