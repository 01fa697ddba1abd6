"""`load`: trained networks as functions of arrays."""

from collections.abc import Callable
from pathlib import Path

from handjax.prediction.base import Predictor
from handjax.prediction.depth_predictors import SpherePredictor, VoxelPredictor
from handjax.prediction.hand_depth import HandDepthPredictor
from handjax.prediction.hand_voxels import HandVoxelPredictor
from handjax.prediction.image_predictors import BodyPredictor, HandPredictor
from handjax.prediction.mediapipe_body import MediaPipeBodyPredictor
from handjax.prediction.mediapipe_hands import MediaPipePredictor
from handjax.prediction.network import check_unambiguous, open_network
from handjax.run import read_config

# Networks that come with handjax, by the name that `load` takes.
MODELS = {
    "hand-depth": "hand network: finds a hand in a depth image; 21 joints in camera mm with their "
    "deviations",
    "v2v": "V2V-PoseNet around the hand that the hand network finds: 21 joints in camera mm",
    "spherehand": "sphere hand: 21 joints of the nearest hand in a depth image, camera mm",
    "hand-rgb": "MediaPipe, from an environment of its own: 21 joints in px and sides of all hands "
    "in an RGB image",
    "body-rgb": "MediaPipe, from an environment of its own: 33 joints of a person in an RGB image, "
    "px and mm from the pelvis",
}

_BY_NAME: dict[str, Callable[[], Predictor]] = {
    "hand-depth": HandDepthPredictor.included,
    "v2v": HandVoxelPredictor.included,
    "spherehand": SpherePredictor.included,
    "hand-rgb": MediaPipePredictor,
    "body-rgb": MediaPipeBodyPredictor,
}

# System of a run, `config.task.name` → its predictor.
PREDICTORS: dict[str, type[Predictor]] = {
    "v2v": VoxelPredictor,
    "spherehand": SpherePredictor,
    "handnet": HandDepthPredictor,
    "keypoints2d": HandPredictor,
    "body": BodyPredictor,
}


def list_models() -> dict[str, str]:
    """The models that `load` takes by name, and what they predict."""
    return dict(MODELS)


def load(name_or_folder: str | Path, checkpoint: str = "last") -> Predictor:
    """A predictor: a function from arrays to named joints.

    `name_or_folder`: a name of `list_models()`, or the folder of a trained run of any system, of
    which `checkpoint` is "last", "best" or a step; a `Path` is always a folder. The class that is
    returned documents the call:

    HandDepthPredictor  depth images → xyz, uv, std, covariance, presence, side  (hand-depth, runs
                     of handnet)
    SpherePredictor  depth images → xyz and uv    (spherehand, and its runs)
    HandVoxelPredictor  depth images → xyz, uv, presence, side  (v2v, runs of v2v:camera)
    VoxelPredictor   depth images → xyz and uv    (other runs of v2v)
    HandPredictor    RGB images → uv              (runs of cpm and posenet2d)
    BodyPredictor    RGB images → uv and xyz      (runs of body)
    MediaPipePredictor  an RGB image → uv, side   (hand-rgb: docs/predict.md says what it needs)
    MediaPipeBodyPredictor  an RGB image → uv, xyz  (body-rgb, likewise)

    The first call for an image size compiles; loading again does not. Raises FileNotFoundError if
    there is no such model or run, ValueError if it cannot be read, or if there is a run's folder of
    a model's name.
    """
    path = Path(name_or_folder)
    if isinstance(name_or_folder, str) and name_or_folder in MODELS:
        check_unambiguous(name_or_folder)
        return _BY_NAME[name_or_folder]()
    kind = predictor_of(path)
    network = open_network(path, checkpoint)
    return kind.of_run(f"{path}, step {network.step}", network)


def predictor_of(folder: Path) -> type[Predictor]:
    """The class that predicts with the trained run in `folder`; errors as of `load`."""
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(
            f"{folder}: expected a model ({', '.join(MODELS)}) or the folder of a trained run, "
            "which has a config.json"
        )
    config = read_config(folder)
    task = config.task.name
    if task not in PREDICTORS:
        raise ValueError(
            f"{folder}: a run of {task} predicts no joints; expected one of {', '.join(PREDICTORS)}"
        )
    if task == "v2v" and config.data.name == "handnet_world":
        return HandVoxelPredictor
    return PREDICTORS[task]
