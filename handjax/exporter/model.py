"""A model as contents of a file, whatever its kind, and what the file says of it."""

from typing import Any

from ml_collections import ConfigDict

from handjax.exporter.contents import Contents
from handjax.exporter.depth_contents import Options, depth_contents
from handjax.exporter.image_contents import image_contents
from handjax.prediction.base import Predictor
from handjax.prediction.depth_base import DepthPredictor
from handjax.prediction.image_predictors import ImagePredictor

DEPTH_SIZE = (480, 640)  # height, width


def contents_of(
    predictor: Predictor,
    config: ConfigDict | None,
    size: tuple[int, int] | None = None,
    center: str | None = None,
    side: str | None = None,
) -> Contents:
    """The contents of a model; `config` is that of a run. `size`: of the images, (height, width);
    by default DEPTH_SIZE, and for RGB as in training. `center` and `side` as in
    `depth_contents.Options`. ValueError for a model without export."""
    if isinstance(predictor, DepthPredictor):
        return depth_contents(predictor, Options(size or DEPTH_SIZE, center, side))
    if not isinstance(predictor, ImagePredictor):
        raise ValueError(f"{predictor.name}: it reads {predictor.reads}; there is no export of it")
    if center or side:
        raise ValueError("--center and --side are for models of depth images")
    assert config is not None
    own = config.data.get("image_size", 256)
    default = (own, own) if isinstance(own, int) else (int(own[0]), int(own[1]))
    return image_contents(predictor, size or default)


def describe(contents: Contents, version: str, command: str, weights: str) -> dict[str, Any]:
    """What a reader of the file must know."""
    skeleton = contents.skeleton
    return {
        "handjax": version,
        "command": command,
        "system": contents.system,
        "model": contents.model,
        "joints": list(skeleton.joints),
        "parents": list(skeleton.parents),
        "bones": [list(bone) for bone in skeleton.bones],
        "colours": list(skeleton.colours),
        "inputs": {name: port.meaning for name, port in contents.inputs.items()},
        "outputs": dict(contents.outputs),
        "weights": weights,
    }


def image_size(text: str | None) -> tuple[int, int] | None:
    """Height and width of `--size WIDTHxHEIGHT`; None: the default."""
    if text is None:
        return None
    width, x, height = text.partition("x")
    if not (x and width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise ValueError(f"--size {text}: expected WIDTHxHEIGHT in px, as 640x480")
    return int(height), int(width)
