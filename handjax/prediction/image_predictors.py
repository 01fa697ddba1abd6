"""Predictors of joints from RGB images: CPM, PoseNet2D and body pose."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from handjax.prediction import arguments
from handjax.prediction.arguments import ArrayLike
from handjax.prediction.base import Prediction, Predictor, named
from handjax.prediction.network import TrainedNetwork


class ImagePredictor(Predictor):
    """Joints in boxes of RGB images."""

    reads = "RGB images [h, w, 3] or [n, h, w, 3], boxes"
    frame = "camera"

    def __init__(self, name: str, network: TrainedNetwork):
        super().__init__(name, network.skeleton.joints)
        self.network = network

    @classmethod
    def of_run(cls, name: str, network: TrainedNetwork) -> "ImagePredictor":
        return cls(name, network)

    def _predict(
        self, image: ArrayLike, boxes: ArrayLike | Sequence[Any] | None, more: dict[str, Any]
    ) -> Prediction:
        """`boxes`: one per image, or several for one image; `more`: keys of the batch, scalars."""
        images = arguments.samples("image", image, 3, "[h, w, 3] or [n, h, w, 3] uint8")
        if images.dtype != np.uint8 or images.shape[3] != 3:
            raise ValueError(
                f"image: {images.dtype} {list(np.shape(image))}; expected RGB as uint8, "
                "[h, w, 3] or [n, h, w, 3]"
            )
        single = np.ndim(image) == 3
        height, width = images.shape[1:3]
        several = boxes is not None and np.ndim(boxes) == 2
        box = arguments.boxes([-0.5, -0.5, width, height] if boxes is None else boxes)
        if several and single:
            images = np.repeat(images, len(box), axis=0)
        if several and len(box) != len(images):
            raise ValueError(f"boxes: {len(box)} for {len(images)} images; expected one per image")
        batch = {"image": images, "box": np.repeat(box, len(images) // len(box), axis=0)}
        rows = self.network(batch | {key: np.full(len(images), v) for key, v in more.items()})
        fields = {"xyz": "joints_xyz", "uv": "joints_uv", "confidence": "confidence"}
        found = {field: rows.get(name) for field, name in fields.items()}
        return named(self.joints, found, batched=several or not single, frame=self.frame)


class HandPredictor(ImagePredictor):
    """CPM and PoseNet2D on RGB images of hands."""

    def __call__(
        self,
        image: ArrayLike,
        boxes: ArrayLike | Sequence[Any] | None = None,
        side: str | None = None,
    ) -> Prediction:
        """`uv` in px of the image and `confidence`.

        image  RGB, uint8, [h, w, 3] or [n, h, w, 3]
        boxes  squares (left, top, side) or boxes (left, top, width, height), of which the longer
               side counts, px: one, or one per image, or for one image several, one per hand; by
               default the whole image. The network was trained on boxes of `config.crop.rule`
        side   "left" or "right", required by runs with `task.mirror_left`, ignored by others
        """
        more: dict[str, Any] = {}
        if self.network.config.task.mirror_left:
            if side not in ("left", "right"):
                raise ValueError(
                    f"side={side!r}: this run mirrors left hands (config.task.mirror_left); "
                    "expected left or right"
                )
            more["left"] = side == "left"
        return self._predict(image, boxes, more)


class BodyPredictor(ImagePredictor):
    """Body pose from RGB images, without a camera."""

    frame = "pelvis"

    def __call__(
        self, image: ArrayLike, boxes: ArrayLike | Sequence[Any] | None = None
    ) -> Prediction:
        """`uv` in px of the image, and `xyz` in mm from the pelvis.

        Without a camera the person is taken to be far away (weak perspective) and all bones
        together to be `config.task.skeleton_mm` long. An evaluation on labelled samples uses their
        camera and the depth of their pelvis instead, so its `xyz` differ.

        image  RGB, uint8, [h, w, 3] or [n, h, w, 3]
        boxes  of the person, (left, top, width, height) or squares (left, top, side), px: one, or
               one per image, or for one image several; by default the whole image. They are
               enlarged to the aspect ratio of the network's input
        """
        return self._predict(image, boxes, {})
