"""The body in RGB by MediaPipe's pose, which runs in an environment of its own, as its hands do
(mediapipe_hands.py)."""

import numpy as np

from handjax.pose.skeleton import Skeleton
from handjax.prediction import arguments, mediapipe_hands
from handjax.prediction.arguments import ArrayLike
from handjax.prediction.base import Prediction, Predictor

# MediaPipe's 33 landmarks in its order: name, parent, group. Its trunk is a frame of four joints,
# and it has no pelvis: the nose is the root.
_ROWS: tuple[tuple[str, int, str], ...] = (
    ("nose", -1, "trunk"),
    ("left_eye_inner", 0, "trunk"),
    ("left_eye", 1, "trunk"),
    ("left_eye_outer", 2, "trunk"),
    ("right_eye_inner", 0, "trunk"),
    ("right_eye", 4, "trunk"),
    ("right_eye_outer", 5, "trunk"),
    ("left_ear", 3, "trunk"),
    ("right_ear", 6, "trunk"),
    ("left_mouth", 0, "trunk"),
    ("right_mouth", 0, "trunk"),
    ("left_shoulder", 0, "left_arm"),
    ("right_shoulder", 0, "right_arm"),
    ("left_elbow", 11, "left_arm"),
    ("right_elbow", 12, "right_arm"),
    ("left_wrist", 13, "left_arm"),
    ("right_wrist", 14, "right_arm"),
    ("left_little", 15, "left_arm"),
    ("right_little", 16, "right_arm"),
    ("left_index", 15, "left_arm"),
    ("right_index", 16, "right_arm"),
    ("left_thumb", 15, "left_arm"),
    ("right_thumb", 16, "right_arm"),
    ("left_hip", 11, "left_leg"),
    ("right_hip", 12, "right_leg"),
    ("left_knee", 23, "left_leg"),
    ("right_knee", 24, "right_leg"),
    ("left_ankle", 25, "left_leg"),
    ("right_ankle", 26, "right_leg"),
    ("left_heel", 27, "left_leg"),
    ("right_heel", 28, "right_leg"),
    ("left_toes", 27, "left_leg"),
    ("right_toes", 28, "right_leg"),
)
_JOINTS, _PARENTS, _GROUPS = zip(*_ROWS, strict=True)
_BONES = tuple((parent, child) for child, parent in enumerate(_PARENTS) if parent > 0)
SKELETON = Skeleton(
    "mediapipe33",
    _JOINTS,
    _PARENTS,
    _GROUPS,
    edges=(*_BONES, (0, 1), (0, 4), (9, 10), (11, 12), (23, 24)),
)


class MediaPipeBodyPredictor(Predictor):
    """MediaPipe's pose in RGB images: one person, 33 joints in px and in mm from the pelvis.

    It is another process, which ends with this one or by `close()`.
    """

    reads = "RGB images [h, w, 3]"

    def __init__(self, python: str | None = None, video: bool = False):
        """`python`: of the environment that has MediaPipe; by default as
        `mediapipe_hands.find_python`. `video`: pictures are frames, so that it follows the person
        from one to the next.

        ValueError, one line, if MediaPipe does not run there.
        """
        super().__init__("body-rgb", SKELETON)
        python = python or mediapipe_hands.find_python()
        if python is None:
            raise ValueError(
                "body-rgb: handjax includes no network for people in RGB; it uses MediaPipe, which "
                f"needs an environment of its own: {mediapipe_hands.INSTALL}"
            )
        self._worker = mediapipe_hands.worker(python, "people", video)
        self.name = f"body-rgb (MediaPipe {self._worker.version})"

    def __call__(self, image: ArrayLike) -> Prediction:
        """`uv` in px of the image [n, 33, 2], `xyz` in mm from the middle of the hips, along the
        camera's axes, and `confidence`, MediaPipe's visibility, 0 to 1, of the n people in it; n is
        0 or 1. Its mm are those of a typical person: it does not see how large somebody is.

        image  RGB, uint8, [h, w, 3]
        """
        picture = arguments.rgb_image(image)
        people = self._worker(picture).get("people", [])
        count = len(SKELETON.joints)
        found: dict[str, np.ndarray | None] = {
            "uv": np.reshape([one["uv"] for one in people], (-1, count, 2)),
            "xyz": np.reshape([one["xyz"] for one in people], (-1, count, 3)) * 1000.0,
            "confidence": np.reshape([one["visibility"] for one in people], (-1, count)),
        }
        if not people:
            found["box"] = np.zeros((0, 4))
        return self.named(found, True, "pelvis", pictures=[picture] * max(len(people), 1))

    def close(self) -> None:
        """Ends the process."""
        self._worker.close()
