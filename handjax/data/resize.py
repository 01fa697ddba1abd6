"""Frames of any size → frames of one size, in tf.data, per sample before batching."""

import functools
from collections.abc import Callable

import tensorflow as tf

PADDING_GREY = 128  # as around the crops of the tasks
Features = dict[str, tf.Tensor]
# Features → center (x, y) and size (width, height) of the window of the frame to keep, px.
Window = Callable[[Features], tuple[tf.Tensor, tf.Tensor]]


def around_joints(boxes: float) -> Window:
    """A square around the box of the visible joints, or of all joints if none is visible; `boxes`
    times as large as the larger side of the box."""

    def window(features: Features) -> tuple[tf.Tensor, tf.Tensor]:
        visible = features["visible"] | ~tf.reduce_any(features["visible"])
        uv = tf.boolean_mask(features["joints_uv"], visible)
        low, high = tf.reduce_min(uv, 0), tf.reduce_max(uv, 0)
        return (low + high) / 2, tf.repeat(boxes * tf.reduce_max(high - low), 2)

    return window


def around_box(boxes: float) -> Window:
    """A square around the feature `box`; `boxes` times as large as its larger side."""

    def window(features: Features) -> tuple[tf.Tensor, tf.Tensor]:
        corner, sides = features["box"][:2], features["box"][2:]
        return corner + sides / 2, tf.repeat(boxes * tf.reduce_max(sides), 2)

    return window


def resize_pad(
    height: int, width: int, window: Window | None = None
) -> Callable[[Features], Features]:
    """A function that scales `image` and `depth` down to fit into height x width, and pads them.

    The frame, or the part of it inside `window`, goes into the upper left corner and is never
    enlarged: a window smaller than the new frame is widened to its size. A part of the window
    outside the frame is left out. Padding is grey in images and 0 in depth.

    Depth takes the nearest pixel, images the mean over the pixels that a new one covers. `k`,
    `joints_uv` and `box` are mapped along, and `source_from_image` [2, 3] maps px of the new frame
    to px of the old. ValueError if there is neither image nor depth.
    """

    def resize(features: Features) -> Features:
        features = dict(features)
        frames = [key for key in ("image", "depth") if key in features]
        if not frames:
            raise ValueError(
                f"resize_pad({height}, {width}): no image and no depth "
                f"among the features {', '.join(features)}"
            )
        limit = tf.constant([width, height], tf.float32)  # (x, y), as everything below
        start, size = _visible_part(features, frames[0], limit, window)
        scale = tf.minimum(1.0, tf.reduce_min(limit / tf.cast(size, tf.float32)))
        new = tf.maximum(1, tf.cast(tf.round(tf.cast(size, tf.float32) * scale), tf.int32))
        for key in frames:
            frame = features[key] if features[key].shape.rank == 3 else features[key][..., None]
            frame = frame[start[1] : start[1] + size[1], start[0] : start[0] + size[0]]
            scaled = tf.cond(
                scale < 1,
                functools.partial(_scale_down, frame, new[::-1], key == "image"),
                lambda same=frame: same,
            )
            padding = [[0, height - new[1]], [0, width - new[0]], [0, 0]]
            grey = PADDING_GREY if key == "image" else 0
            padded = tf.pad(scaled, padding, constant_values=grey)
            padded = tf.ensure_shape(padded, [height, width, frame.shape[-1]])
            features[key] = padded if features[key].shape.rank == 3 else padded[..., 0]
        return _map_labels(features, start, size, new)

    return resize


def body_box(features: Features, size_mm: float) -> Features:
    """Adds the `box` of Human3.6M: a square of `size_mm`, centered at the pelvis, which is joint 0
    (Sun et al. 2018)."""
    pelvis, k = features["joints_xyz"][0], features["k"]
    middle = tf.linalg.matvec(k, pelvis)[:2] / pelvis[2]
    sides = tf.linalg.diag_part(k)[:2] * size_mm / pelvis[2]
    return {**features, "box": tf.concat([middle - sides / 2, sides], 0)}


def image_box(features: Features) -> Features:
    """Adds the entire image as `box`, from edge to edge of its pixels."""
    size = tf.cast(tf.shape(features["image"])[1::-1], tf.float32)
    return {**features, "box": tf.concat([[-0.5, -0.5], size], 0)}


def _visible_part(
    features: Features, key: str, limit: tf.Tensor, window: Window | None
) -> tuple[tf.Tensor, tf.Tensor]:
    """First pixel and size of the part of the frame to keep, (x, y)."""
    start, size = tf.zeros(2, tf.int32), tf.shape(features[key])[1::-1]
    if window is not None:
        middle, side = window(features)
        half = tf.maximum(side, limit) / 2
        low, high = (tf.cast(tf.round(middle + 0.5 + sign * half), tf.int32) for sign in (-1, 1))
        start = tf.clip_by_value(low, 0, size - 1)
        size = tf.maximum(tf.minimum(high, size) - start, 1)
    return start, size


def _scale_down(frame: tf.Tensor, size: tf.Tensor, mean: bool) -> tf.Tensor:
    # "area" takes a third of the time of antialias=True.
    scaled = tf.image.resize(frame, size, "area" if mean else "nearest")
    return tf.cast(tf.round(scaled), frame.dtype)


def _map_labels(features: Features, start: tf.Tensor, size: tf.Tensor, new: tf.Tensor) -> Features:
    """Maps k, joints_uv and box to the new frame and adds source_from_image."""
    # Pixel centers are integers: u → (u + 1/2 - start) · scale - 1/2, with the scale in whole
    # pixels.
    scale = tf.cast(new, tf.float32) / tf.cast(size, tf.float32)
    shift = (0.5 - tf.cast(start, tf.float32)) * scale - 0.5
    if "joints_uv" in features:
        features["joints_uv"] = features["joints_uv"] * scale + shift
    if "box" in features:
        box = features["box"]
        features["box"] = tf.concat([box[:2] * scale + shift, box[2:] * scale], 0)
    if "k" in features:
        k = features["k"]
        features["k"] = tf.concat([k[:2] * scale[:, None] + shift[:, None] * k[2:], k[2:]], 0)
    features["source_from_image"] = tf.concat(
        [tf.linalg.diag(1 / scale), (-shift / scale)[:, None]], 1
    )
    return features
