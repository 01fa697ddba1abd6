"""From a frame to the hands or the person in it: a predictor, and what says where to look."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from handjax.data.cameras import Camera
from handjax.pose import crop2d
from handjax.prediction import people
from handjax.prediction.base import Prediction, Predictor
from handjax.prediction.depth_base import DepthPredictor
from handjax.prediction.frames import Frame
from handjax.prediction.hand_depth import HandDepthPredictor
from handjax.prediction.hand_following import SEARCH_EVERY
from handjax.prediction.hand_search import CANDIDATES, UNSURE
from handjax.prediction.image_predictors import BodyPredictor, HandPredictor, ImagePredictor
from handjax.prediction.mediapipe_body import MediaPipeBodyPredictor
from handjax.prediction.mediapipe_hands import MediaPipePredictor
from handjax.prediction.predictor import load

# A frame → single samples, with joints in px of the frame.
Recognizer = Callable[[Frame], list[Prediction]]
# RGB → the hands in it; of each `side` and joints or a box count.
Detector = Callable[[np.ndarray], Prediction]

HANDS = CANDIDATES + 1  # that are followed in depth: as many places as a search looks at
DETECTORS = ("mediapipe", "rtmlib", "none")
_BODY_MARGIN = 1.25  # sides of the box around a person, relative to its joints


class DepthRecognizer:
    """The hands of the next depth frame: those that the hand network finds and follows, or the one
    of other networks."""

    def __init__(
        self,
        predictor: DepthPredictor,
        camera: Camera | None,
        side: str | None = None,
        presence: float = UNSURE,
        search_every: int = SEARCH_EVERY,
    ):
        """`camera`: of frames that do not know theirs; `presence`: what a hand must have
        to be found; `search_every`: frames between searches while hands are followed."""
        self.predictor, self.camera, self.side, self.presence = predictor, camera, side, presence
        self.follower = None
        if isinstance(predictor, HandDepthPredictor):
            self.follower = predictor.follower(None, side, HANDS, presence, search_every)

    def __call__(self, frame: Frame) -> list[Prediction]:
        camera = self.camera if self.camera is not None else frame.camera
        if camera is None:
            raise ValueError("--camera: these frames do not say which camera took them")
        if self.follower is not None:
            return list(self.follower(frame.pixels, camera))
        near, far = self.predictor.range_mm
        if not ((frame.pixels >= near) & (frame.pixels <= far)).any():
            return []
        found = self.predictor(frame.pixels, camera, side=self.side)
        unsure = found.presence is not None and float(found.presence) < self.presence
        return [] if unsure else [found]


class FoundPeople:
    """The people of an RGB frame that MediaPipe finds: at most one."""

    def __init__(self, predictor: MediaPipeBodyPredictor):
        self.predictor = predictor

    def __call__(self, frame: Frame) -> list[Prediction]:
        return list(self.predictor(frame.pixels))


class DetectedHands:
    """All hands of an RGB frame: by MediaPipe, or by a network of one's own in the boxes that a
    detector finds."""

    def __init__(
        self,
        detector: MediaPipePredictor,
        predictor: HandPredictor | None = None,
        side: str | None = None,
    ):
        self.detector, self.predictor, self.side = detector, predictor, side

    def __call__(self, frame: Frame) -> list[Prediction]:
        hands = list(self.detector(frame.pixels))
        if self.predictor is None:
            return hands
        around = functools.partial(hand_box, self.predictor, frame.pixels.shape[:2])
        return [
            self.predictor(frame.pixels, around(hand.uv), side=self.side or str(hand.side))
            for hand in hands
            if hand.uv is not None
        ]


class DetectedPeople:
    """All people of an RGB frame: by a run of body, in the boxes that a detector finds."""

    def __init__(self, detector: people.PeopleDetector, predictor: BodyPredictor):
        self.detector, self.predictor = detector, predictor

    def __call__(self, frame: Frame) -> list[Prediction]:
        boxes = self.detector(frame.pixels)
        return list(self.predictor(frame.pixels, boxes)) if len(boxes) else []


class FollowedBoxes:
    """One hand or person per given box, followed from frame to frame: the box of the next frame is
    that of the joints of this one. It starts with the whole picture where no box is given."""

    def __init__(
        self,
        predictor: ImagePredictor,
        boxes: Sequence[Sequence[float]] = (),
        side: str | None = None,
    ):
        """`boxes`: (left, top, width, height) in the first frame, px."""
        self.predictor, self.first, self.side = predictor, boxes, side
        self.boxes: list[np.ndarray] | None = None

    def __call__(self, frame: Frame) -> list[Prediction]:
        height, width = frame.pixels.shape[:2]
        whole = np.array(self.predictor.whole(width, height), np.float32)
        if self.boxes is None:
            self.boxes = [np.array(box, np.float32) for box in self.first] or [whole]
        more = {} if isinstance(self.predictor, BodyPredictor) else {"side": self.side}
        found = list(self.predictor(frame.pixels, np.stack(self.boxes), **more))
        self.boxes = [self._next(one, (height, width), whole) for one in found]
        return found

    def _next(
        self, found: Prediction, size: tuple[int, int], whole: Float[np.ndarray, "4"]
    ) -> Float[np.ndarray, "4"]:
        """The box around the joints, or `whole` if it is not in the picture of (height, width)."""
        assert found.uv is not None
        if isinstance(self.predictor, HandPredictor):
            box = hand_box(self.predictor, size, found.uv)
        else:
            low, high = found.uv.min(0), found.uv.max(0)
            sides = (high - low) * _BODY_MARGIN
            box = np.concatenate([(low + high - sides) / 2, sides])
        inside = (box[:2] < size[::-1]).all() and (box[:2] + box[2:] > 0).all()
        good = inside and (box[2:] > 4).all() and (box[2:] <= 3 * max(size)).all()
        return np.asarray(box, np.float32) if good else whole


def hand_box(
    predictor: HandPredictor, size: tuple[int, int], uv: Float[np.ndarray, "j 2"]
) -> Float[np.ndarray, "4"]:
    """The square around joints, px of a picture of (height, width) `size`, with which the run's own
    rule cuts (`config.crop`): left, top, width, height."""
    joints = predictor.skeleton.joints
    middle = joints.index("middle_base") if "middle_base" in joints else 0
    rule = crop2d.Crop(**predictor.network.config.crop, center_joint=middle)
    if rule.rule in ("image", "file"):
        rule = crop2d.Crop("box", rule.size, scale=1.5)
    if rule.rule == "labelled":  # the predictor enlarges boxes itself
        rule = dataclasses.replace(rule, scale=1.0)
    known = jnp.ones(len(uv), bool)
    center, side = crop2d.square(rule, jnp.asarray(uv, jnp.float32), known, size)
    corner = np.asarray(center) - float(side) / 2
    return np.array([*corner, float(side), float(side)], np.float32)


def image_recognizer(
    predictor: Predictor,
    detector: str | None,
    boxes: Sequence[Sequence[float]] = (),
    side: str | None = None,
) -> Recognizer:
    """The recognizer of a predictor of RGB. `detector`: one of DETECTORS; by default none, and what
    is in the `boxes` of the first frame is followed. ValueError for what the predictor ignores."""
    if isinstance(predictor, MediaPipePredictor | MediaPipeBodyPredictor):
        if detector not in (None, "mediapipe") or boxes or side:
            raise ValueError(
                f"--detector {detector}, --box and --side are for --workdir RUN; MediaPipe finds "
                "people, and hands with their sides, itself"
            )
        if isinstance(predictor, MediaPipeBodyPredictor):
            return FoundPeople(predictor)
        return DetectedHands(predictor)
    assert isinstance(predictor, ImagePredictor)
    if side and isinstance(predictor, BodyPredictor):
        raise ValueError("--side is for hands; this run predicts people")
    finder = people.DETECTORS.get(detector or "")
    if finder is not None:
        if boxes:
            raise ValueError("--box and --detector both say where to look: give one")
        if isinstance(predictor, BodyPredictor):
            return DetectedPeople(finder(video=True), predictor)
        check_hand_detector(detector)
        assert isinstance(predictor, HandPredictor)
        return DetectedHands(MediaPipePredictor(video=True), predictor, side)
    if isinstance(predictor, HandPredictor) and predictor.network.config.task.mirror_left:
        if side is None:
            raise ValueError(
                f"{predictor.name}: config.task.mirror_left needs the handedness: add --side left, "
                "--side right or --detector mediapipe"
            )
    return FollowedBoxes(predictor, boxes, side)


def check_hand_detector(detector: str | None) -> None:
    """ValueError for a detector that finds people only."""
    if detector == "rtmlib":
        raise ValueError("--detector rtmlib: it finds people; for hands use mediapipe")


def load_for_frames(model: str | None, workdir: str | None, depth: bool | None) -> Predictor:
    """The predictor for frames: that of a run, a model by name, or by default hand-depth for depth
    and hand-rgb for RGB. ValueError if it does not read such frames."""
    name = workdir or model or ("hand-depth" if depth else "hand-rgb")
    installed = {"hand-rgb": MediaPipePredictor, "body-rgb": MediaPipeBodyPredictor}
    if workdir or name not in installed:
        predictor = load(Path(workdir) if workdir else name)
    else:
        predictor = installed[name](video=True)
    if depth is not None and depth != isinstance(predictor, DepthPredictor):
        reads = "depth" if isinstance(predictor, DepthPredictor) else "RGB"
        raise ValueError(f"{name} reads {reads}; these frames are {'depth' if depth else 'RGB'}")
    return predictor
