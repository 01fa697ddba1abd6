"""Frames of any size → frames of one size, in tf.data: every record for itself, before it is batched."""

import functools
from collections.abc import Callable

import tensorflow as tf

OUTSIDE = 128  # grey, as beside what the tasks cut out
Features = dict[str, tf.Tensor]
# Features → middle (x, y) and sides (width, height) of the part of a frame that is wanted, px.
Window = Callable[[Features], tuple[tf.Tensor, tf.Tensor]]


def around_joints(boxes: float) -> Window:
    """A square about the box of the joints that are `visible`, of all where none is, `boxes` times its larger side."""

    def window(features: Features) -> tuple[tf.Tensor, tf.Tensor]:
        seen = features["visible"] | ~tf.reduce_any(features["visible"])
        uv = tf.boolean_mask(features["joints_uv"], seen)
        low, high = tf.reduce_min(uv, 0), tf.reduce_max(uv, 0)
        return (low + high) / 2, tf.repeat(boxes * tf.reduce_max(high - low), 2)

    return window


def around_box(boxes: float) -> Window:
    """A square about the feature `box`, `boxes` times its larger side."""

    def window(features: Features) -> tuple[tf.Tensor, tf.Tensor]:
        corner, sides = features["box"][:2], features["box"][2:]
        return corner + sides / 2, tf.repeat(boxes * tf.reduce_max(sides), 2)

    return window


def fit(height: int, width: int, window: Window | None = None) -> Callable[[Features], Features]:
    """Frames of any size → one: whole, or what `window` asks for of them, scaled down until it fits, never up, into the upper left
    corner; the rest is grey, of depth 0. Depth takes the nearest pixel, colour the mean of those that a new pixel covers.

    `k`, `joints_uv` and `box` move along; `source_from_image` [2, 3] takes px of the new frame to px of the old. Of a window
    that leaves the frame only what is in the frame is there, and one smaller than the new frame is widened to its size.
    """

    def sample(features: Features) -> Features:
        features = dict(features)
        frames = [key for key in ("image", "depth") if key in features]
        if not frames:
            raise ValueError(
                f"fit({height}, {width}) of {', '.join(features)}: no image and no depth among them"
            )
        room = tf.constant([width, height], tf.float32)
        start, size = (
            tf.zeros(2, tf.int32),
            tf.shape(features[frames[0]])[1::-1],
        )  # (x, y), as everything below
        if window is not None:
            middle, side = window(features)
            half = tf.maximum(side, room) / 2
            low, high = (tf.cast(tf.round(middle + 0.5 + way * half), tf.int32) for way in (-1, 1))
            start = tf.clip_by_value(low, 0, size - 1)
            size = tf.maximum(tf.minimum(high, size) - start, 1)
        scale = tf.minimum(1.0, tf.reduce_min(room / tf.cast(size, tf.float32)))
        new = tf.maximum(1, tf.cast(tf.round(tf.cast(size, tf.float32) * scale), tf.int32))
        for key in frames:
            frame = features[key] if features[key].shape.rank == 3 else features[key][..., None]
            frame = frame[start[1] : start[1] + size[1], start[0] : start[0] + size[0]]
            scaled = tf.cond(
                scale < 1,
                functools.partial(_smaller, frame, new[::-1], key == "image"),
                lambda same=frame: same,
            )
            beside = OUTSIDE if key == "image" else 0
            padded = tf.pad(
                scaled, [[0, height - new[1]], [0, width - new[0]], [0, 0]], constant_values=beside
            )
            padded = tf.ensure_shape(padded, [height, width, frame.shape[-1]])
            features[key] = padded if features[key].shape.rank == 3 else padded[..., 0]
        # Pixel centers are integers: u → (u + 1/2 - start) · scale - 1/2, by the scale that it came to in whole pixels.
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

    return sample


def _smaller(frame: tf.Tensor, size: tf.Tensor, smooth: bool) -> tf.Tensor:
    scaled = tf.image.resize(
        frame, size, "area" if smooth else "nearest"
    )  # a third of the time of antialias=True
    return tf.cast(tf.round(scaled), frame.dtype)


def body_box(features: Features, size_mm: float) -> Features:
    """Adds the `box` of Human3.6M: a square of `size_mm` at the pelvis, joint 0, which is its middle (Sun et al. 2018)."""
    pelvis, k = features["joints_xyz"][0], features["k"]
    middle = tf.linalg.matvec(k, pelvis)[:2] / pelvis[2]
    sides = tf.linalg.diag_part(k)[:2] * size_mm / pelvis[2]
    return {**features, "box": tf.concat([middle - sides / 2, sides], 0)}


def whole_box(features: Features) -> Features:
    """Adds as `box` the whole picture, from edge to edge of its pixels."""
    size = tf.cast(tf.shape(features["image"])[1::-1], tf.float32)
    return {**features, "box": tf.concat([[-0.5, -0.5], size], 0)}
