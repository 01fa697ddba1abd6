"""Boxes of people in RGB images, found by MediaPipe's pose or by rtmlib's detector.

Each runs in another process, which may be another Python: MediaPipe for its older NumPy, rtmlib
since it brings a second OpenCV.
"""

import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Float

from handjax.prediction import arguments, mediapipe_hands
from handjax.prediction.arguments import ArrayLike
from handjax.prediction.worker import Worker

VARIABLE = "HANDJAX_RTMLIB"  # environment variable: the Python that has rtmlib
INSTALL = (
    "python3 -m venv rtm && rtm/bin/pip install rtmlib onnxruntime && "
    f"export {VARIABLE}=$PWD/rtm/bin/python"
)
_MARGIN = 1.25  # sides of a box relative to those of the joints
_RTMLIB = Path(__file__).with_name("rtmlib_worker.py")

# RGB [h, w, 3] → boxes (left, top, width, height), px, of the n people in it; n may be 0.
PeopleDetector = Callable[[ArrayLike], Float[np.ndarray, "n 4"]]


class MediaPipePeople:
    """The person in an image, by MediaPipe's pose: at most one."""

    def __init__(self, video: bool = False):
        """ValueError, one line, if MediaPipe does not run."""
        python = mediapipe_hands.find_python()
        if python is None:
            raise ValueError(f"MediaPipe is not installed: {mediapipe_hands.INSTALL}")
        self._worker = mediapipe_hands.worker(python, "people", video)
        self.name = f"MediaPipe {self._worker.version}"

    def __call__(self, image: ArrayLike) -> Float[np.ndarray, "n 4"]:
        """The box around its joints, larger by a quarter."""
        (picture,) = arguments.rgb_images(image)
        found = [np.array(one["uv"]) for one in self._worker(picture).get("people", [])]
        return np.reshape([_around(uv) for uv in found], (-1, 4)).astype(np.float32)


class RtmlibPeople:
    """The people in an image, by the detector of rtmlib's Body."""

    def __init__(self, video: bool = False):
        """ValueError, one line, if rtmlib does not run, or cannot download its network."""
        there = importlib.util.find_spec("rtmlib") is not None
        python = os.environ.get(VARIABLE) or (sys.executable if there else None)
        if python is None:
            raise ValueError(f"rtmlib is not installed: {INSTALL}")
        self._worker = Worker(python, _RTMLIB, (), "rtmlib", INSTALL)
        self.name = f"rtmlib {self._worker.version}".strip()

    def __call__(self, image: ArrayLike) -> Float[np.ndarray, "n 4"]:
        """Its boxes."""
        (picture,) = arguments.rgb_images(image)
        corners = np.reshape(self._worker(picture).get("boxes", []), (-1, 4))
        return np.column_stack([corners[:, :2], corners[:, 2:] - corners[:, :2]]).astype(np.float32)


DETECTORS: dict[str, type[MediaPipePeople] | type[RtmlibPeople]] = {
    "mediapipe": MediaPipePeople,
    "rtmlib": RtmlibPeople,
}


def _around(uv: Float[np.ndarray, "j 2"]) -> Float[np.ndarray, "4"]:
    low, high = uv.min(0), uv.max(0)
    sides = np.maximum((high - low) * _MARGIN, 1.0)
    return np.concatenate([(low + high - sides) / 2, sides])
