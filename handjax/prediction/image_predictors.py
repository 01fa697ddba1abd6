"""Predictors of joints from RGB images: CPM and PoseNet2D, of hands and of users' own joints, and
body pose."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from handjax.prediction import arguments
from handjax.prediction.arguments import ArrayLike
from handjax.prediction.base import Prediction, Predictor
from handjax.prediction.network import TrainedNetwork
from handjax.prediction.windows import window

_MARGIN = 1.4  # sides of a window, relative to its box; crops of people are up to 4/3 as long


class ImagePredictor(Predictor):
    """Joints in boxes of RGB images."""

    reads = "RGB images [h, w, 3] or [n, h, w, 3], boxes"
    frame = "camera"

    def __init__(self, name: str, network: TrainedNetwork):
        super().__init__(name, network.skeleton)
        self.network = network

    @classmethod
    def of_run(cls, name: str, network: TrainedNetwork) -> "ImagePredictor":
        return cls(name, network)

    def _predict(
        self, image: ArrayLike, boxes: ArrayLike | Sequence[Any] | None, more: dict[str, Any]
    ) -> Prediction:
        """`boxes`: one per image, or several for one image; `more`: keys of the batch, scalars."""
        images = arguments.rgb_images(image)
        single = np.ndim(image) == 3
        height, width = images.shape[1:3]
        several = boxes is not None and np.ndim(boxes) == 2
        box = arguments.boxes(self.whole(width, height) if boxes is None else boxes)
        count = len(box) if several and single else len(images)
        if several and len(box) != count:
            raise ValueError(f"boxes: {len(box)} for {count} images; expected one per image")
        own = [images[0]] * count if single else list(images)
        box = np.repeat(box, count // len(box), axis=0)
        rows = self._in_windows(own, box, {key: np.full(count, v) for key, v in more.items()})
        fields = {"xyz": "joints_xyz", "uv": "joints_uv", "confidence": "confidence"}
        found = {field: rows.get(name) for field, name in fields.items()} | {"box": box}
        sides = None
        if "left" in more:
            sides = ["left" if more["left"] else "right"] * count
        return self.named(found, several or not single, self.frame, sides, own)

    def whole(self, width: int, height: int) -> list[float]:
        """The box with which the network sees the whole image."""
        part = 1 / self._wider()
        return [
            (1 - part) * width / 2 - 0.5,
            (1 - part) * height / 2 - 0.5,
            part * width,
            part * height,
        ]

    def _wider(self) -> float:
        """Side of the crop relative to a box's longer side."""
        crop = self.network.config.crop
        return float(crop.scale) if crop.get("rule") == "labelled" else 1.0

    def _in_windows(
        self,
        pictures: Sequence[UInt8[np.ndarray, "_ _ 3"]],
        boxes: Float[np.ndarray, "n 4"],
        more: dict[str, np.ndarray],
    ) -> dict[str, np.ndarray]:
        """Rows of the network for a box of each picture. It sees windows around the boxes, so that
        it is compiled for few sizes, whatever those of the pictures."""
        least = float(self.network.config.crop.get("side_px", (1.0,))[0])
        margin = _MARGIN * self._wider()
        cut = [
            window(picture, box, margin * max(float(box[2:].max()), least))
            for picture, box in zip(pictures, boxes, strict=True)
        ]
        sizes = np.array([len(one.pixels) for one in cut])
        rows: dict[str, np.ndarray] = {}
        for size in np.unique(sizes):
            chosen = np.flatnonzero(sizes == size)
            batch = {
                "image": np.stack([cut[i].pixels for i in chosen]),
                "box": np.stack([cut[i].box for i in chosen]),
                "source_from_image": np.stack([cut[i].picture_from_window for i in chosen]),
            }
            found = self.network(batch | {name: values[chosen] for name, values in more.items()})
            for name, values in found.items():
                if name not in rows:
                    rows[name] = np.zeros((len(cut), *values.shape[1:]), values.dtype)
                rows[name][chosen] = values
        return rows


class HandPredictor(ImagePredictor):
    """CPM and PoseNet2D on RGB images of hands, or of anything with a user's own joints."""

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
               default the whole image. The network was trained on boxes of `config.crop.rule`;
               with `labelled`, users' own joints, they are enlarged by `config.crop.scale`
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
