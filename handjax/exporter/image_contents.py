"""From an RGB image and a box to joints, as functions that can be exported."""

from typing import Any

import numpy as np
from jaxtyping import Array

from handjax.exporter import contents
from handjax.exporter.contents import Arrays, Contents, Port, all_finite, visibly
from handjax.prediction.image_predictors import BodyPredictor, ImagePredictor
from handjax.prediction.saving import UNITS

_FIELDS = {"uv": "joints_uv", "xyz": "joints_xyz", "confidence": "confidence"}
_HAND = {name: UNITS[name] for name in ("uv", "confidence")}
_BODY = {
    "uv": UNITS["uv"],
    "xyz": "mm from the pelvis: x right, y down, z forward; all bones together of a fixed length",
}


def image_contents(predictor: ImagePredictor, size: tuple[int, int]) -> Contents:
    """The contents of a predictor of RGB images, for images of this height and width, px."""
    network = predictor.network
    contents.check_weights(network.variables, predictor.name)
    outputs = _BODY if isinstance(predictor, BodyPredictor) else _HAND
    system = network.config.model.name if "name" in network.config.model else "body"
    box = "left, top, width, height of the crop, px of the image"
    if network.config.crop.get("rule") == "labelled":
        box = (
            "left, top, width, height of the object, px of the image; the crop is a square of "
            f"{network.config.crop.scale:g} times its longer side"
        )
    inputs = {
        "image": Port((*size, 3), np.uint8, "RGB, 0 to 255"),
        "box": Port((4,), np.float32, box),
    }
    if network.config.task.get("mirror_left", False):
        inputs["left"] = Port((), np.bool_, "whether it is a left hand")

    def function(image: Array, box: Array, **more: Array) -> dict[str, Array]:
        rows = contents.network_rows(network, {"image": image, "box": box, **more})
        return visibly(all_finite(box), {name: rows[_FIELDS[name]] for name in outputs})

    def ours(arrays: Arrays) -> dict[str, np.ndarray]:
        rows: dict[str, Any] = network(arrays)
        return {name: rows[_FIELDS[name]] for name in outputs}

    return Contents(
        system=system,
        model=predictor.name,
        skeleton=predictor.skeleton,
        inputs=inputs,
        outputs=outputs,
        function=function,
        ours=ours,
    )
