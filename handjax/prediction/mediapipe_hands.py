"""Hands in RGB by MediaPipe, which runs in an environment of its own.

The last MediaPipe whose wheel holds its networks, 0.10.21, needs older versions of NumPy and JAX
than handjax, so it is another process (mediapipe_worker.py) of another Python.
"""

import importlib.util
import os
import sys
from pathlib import Path

import numpy as np

from handjax.pose.skeleton import SKELETONS
from handjax.prediction import arguments
from handjax.prediction.arguments import ArrayLike
from handjax.prediction.base import Prediction, Predictor
from handjax.prediction.worker import Worker

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
        self._worker = worker(python, "hands", video)
        self.name = f"hand-rgb (MediaPipe {self._worker.version})"

    def __call__(self, image: ArrayLike) -> Prediction:
        """`uv` in px of the image [n, 21, 2], `side` and `box` of the n hands in it,
        from left to right; n may be 0.

        image  RGB, uint8, [h, w, 3]
        """
        picture = arguments.rgb_image(image)
        answer = self._worker(picture)
        hands = sorted(answer.get("hands", []), key=lambda one: np.mean(one["uv"], 0)[0])
        found: dict[str, np.ndarray | None] = {
            "uv": np.reshape([one["uv"] for one in hands], (-1, 21, 2)),
        }
        if not hands:
            found["box"] = np.zeros((0, 4))
        sides = [_SIDES[one["side"]] for one in hands]
        return self.named(found, True, side=sides, pictures=[picture] * max(len(hands), 1))

    def close(self) -> None:
        """Ends the process."""
        self._worker.close()


def worker(python: str, what: str, video: bool) -> Worker:
    """The process that finds "hands" or "people"; ValueError, one line, if it does not start."""
    arguments = (str(_MOST), "video" if video else "images", what)
    return Worker(python, _WORKER, arguments, "MediaPipe", INSTALL)
