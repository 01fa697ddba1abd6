"""Pictures of predictions: joints and boxes over the frame that they were found in."""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from handjax.pose.skeleton import Skeleton
from handjax.prediction.base import Prediction

SIDES_PX = (480, 1280)  # smallest and largest longer side of a picture
SHEET = 16  # pictures of a sheet
_SHEET_PX = 360  # longer side of one of them
_ZOOM = 1.3  # sides of the part that is shown, relative to the box
_NEAR_MM = 150.0  # depth around the joints that is shown in full contrast
_FAR_MM = 3000.0  # where the rest of the depth is darkest
_WHITE = (255, 255, 255)


def picture(prediction: Prediction, zoom: bool = False) -> UInt8[np.ndarray, "h w 3"]:
    """The samples over their frames, RGB; of several frames a sheet, of one frame all its boxes.

    ValueError if the prediction has no joints in px.
    """
    if prediction.uv is None:
        raise ValueError("no picture: this prediction has no joints in px (uv)")
    samples = list(prediction)
    if not samples and prediction.pictures:
        return resized(rgb_of(prediction.pictures[0]), SIDES_PX)[0]
    one_frame = len({id(frame) for frame in prediction.pictures}) == 1
    if len(samples) == 1 or (one_frame and not zoom):
        return over_frame(samples, zoom)
    drawn = [over_frame([one], zoom, (_SHEET_PX, _SHEET_PX)) for one in samples[:SHEET]]
    return sheet(drawn)


def over_frame(
    samples: Sequence[Prediction],
    zoom: bool = False,
    sides_px: tuple[int, int] = SIDES_PX,
    labels: Sequence[str] | None = None,
) -> UInt8[np.ndarray, "h w 3"]:
    """The frame of the first sample with all samples, its longer side within `sides_px`. `labels`:
    what is written at each box; by default side and presence."""
    frame = _frame(samples)
    left, top, right, bottom = _shown(samples, frame.shape, zoom)
    part = frame[top:bottom, left:right]
    drawn, scale = resized(part, sides_px)
    given = labels if labels is not None else [label(one) for one in samples]
    for one, text in zip(samples, given, strict=True):
        assert one.uv is not None
        joints = (np.asarray(one.uv, np.float64) - (left, top) + 0.5) * scale - 0.5
        box = None if one.box is None else _corners(one.box, left, top, scale)
        draw_sample(drawn, joints, one.skeleton, box, text)
    return drawn


def resized(
    pixels: UInt8[np.ndarray, "h w 3"], sides_px: tuple[int, int]
) -> tuple[UInt8[np.ndarray, "a b 3"], float]:
    """The picture with its longer side within `sides_px`, and by how much it was enlarged."""
    longer = max(pixels.shape[:2])
    scale = min(max(longer, sides_px[0]), sides_px[1]) / longer
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=how), scale


def rgb_of(frame: np.ndarray, middle_mm: float | None = None) -> UInt8[np.ndarray, "h w 3"]:
    """A frame of RGB as it is, one of depth as `depth_picture`."""
    return frame if frame.ndim == 3 else depth_picture(frame, middle_mm)


def draw_sample(
    pixels: UInt8[np.ndarray, "h w 3"],
    uv: Float[np.ndarray, "j 2"],
    skeleton: Skeleton | None,
    box: Float[np.ndarray, "4"] | None = None,
    text: str = "",
) -> None:
    """Draw into `pixels` bones, joints, a box by its corners, and text at the box; px of them."""
    # Of a small hand lines are thin, so that it is seen below them.
    size = np.ptp(uv, axis=0).max() * 3 if len(uv) > 1 else max(pixels.shape[:2])
    width = int(max(np.rint(min(max(pixels.shape[:2]), size) / 320), 1))
    if box is not None:
        first, last = sixteenths(box[:2]), sixteenths(box[2:])
        cv2.rectangle(pixels, first, last, _WHITE, 1, cv2.LINE_AA, 4)
    colours = skeleton.rgb if skeleton else (_WHITE,) * len(uv)
    for a, b in skeleton.bones if skeleton else ():
        cv2.line(pixels, sixteenths(uv[a]), sixteenths(uv[b]), colours[b], width, cv2.LINE_AA, 4)
    own = skeleton is not None and skeleton.palette  # a colour per joint, perhaps without bones
    for joint, colour in zip(uv, colours if own else (_WHITE,) * len(uv), strict=True):
        cv2.circle(pixels, sixteenths(joint), 16 * width, colour, -1, cv2.LINE_AA, 4)
    if text and box is not None:
        _write(pixels, text, box)


def _write(pixels: UInt8[np.ndarray, "h w 3"], text: str, box: Float[np.ndarray, "4"]) -> None:
    """White text with a dark outline above the box, or in it where there is no room."""
    size = max(max(pixels.shape[:2]) / 1000, 0.35)
    font, thick = cv2.FONT_HERSHEY_SIMPLEX, max(round(2 * size), 1)
    (wide, high), below = cv2.getTextSize(text, font, size, thick)
    u = int(np.clip(box[0], 2, max(pixels.shape[1] - wide - 2, 2)))
    v = int(box[1]) - below if box[1] > high + 2 * below else int(max(box[1], 0)) + high + below
    for colour, width in (((0, 0, 0), thick + 2), (_WHITE, thick)):
        cv2.putText(pixels, text, (u, v), font, size, colour, width, cv2.LINE_AA)


def label(sample: Prediction) -> str:
    """What is known of a hand in a few letters: its side, and its presence."""
    parts = [str(sample.side)] if sample.side is not None else []
    if sample.presence is not None:
        parts.append(f"{float(sample.presence):.2f}")
    return " ".join(parts)


def depth_picture(
    depth: Float[np.ndarray, "h w"], middle_mm: float | None = None
) -> UInt8[np.ndarray, "h w 3"]:
    """Depth in mm, 0 = missing, as a grey picture: nearer is lighter. What is within 150 mm of
    `middle_mm` has most of the contrast."""
    depth = np.nan_to_num(np.asarray(depth, np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    measured = depth > 0
    middle = float(np.median(depth[measured])) if middle_mm is None and measured.any() else 0.0
    middle = middle if middle_mm is None else middle_mm
    near = np.clip((middle + _NEAR_MM - depth) / (2 * _NEAR_MM), 0, 1)
    light = np.where(depth < middle + _NEAR_MM, 90 + 140 * near, 0)
    beyond = np.clip((depth - middle - _NEAR_MM) / _FAR_MM, 0, 1)
    light = np.where(depth >= middle + _NEAR_MM, 75 - 45 * beyond, light)
    grey = np.where(measured, light, 8).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


def sheet(pictures: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> UInt8[np.ndarray, "h w 3"]:
    """Pictures side by side in rows, about as many of them as in a row."""
    columns = math.ceil(math.sqrt(len(pictures)))
    height, width = (max(one.shape[axis] for one in pictures) for axis in (0, 1))
    rows = math.ceil(len(pictures) / columns)
    page = np.full((rows * (height + 4), columns * (width + 4), 3), 255, np.uint8)
    for number, one in enumerate(pictures):
        top, left = (number // columns) * (height + 4), (number % columns) * (width + 4)
        page[top : top + one.shape[0], left : left + one.shape[1]] = one
    return page[:-4, :-4]


def png(pixels: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """RGB pixels as a PNG."""
    return cv2.imencode(".png", pixels[..., ::-1])[1].tobytes()


def sixteenths(uv: Float[np.ndarray, "2"]) -> tuple[int, int]:
    """A position in px for OpenCV's `shift=4`; positions far outside are clipped."""
    u, v = np.rint(np.clip(np.float64(uv), -1e4, 1e4) * 16)
    return int(u), int(v)


def _frame(samples: Sequence[Prediction]) -> UInt8[np.ndarray, "h w 3"]:
    """The frame of the first sample as RGB, or black of the joints' size where it was not kept."""
    first = samples[0]
    if not first.pictures:
        reach = max(float(np.max(one.uv)) for one in samples if one.uv is not None)
        side = int(np.clip(reach + 20, 64, 4000))
        return np.zeros((side, side, 3), np.uint8)
    middle = None if first.xyz is None else float(np.median(first.xyz[:, 2]))
    return rgb_of(first.pictures[0], middle)


def _shown(
    samples: Sequence[Prediction], shape: tuple[int, ...], zoom: bool
) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the part of the frame that is shown."""
    height, width = shape[:2]
    boxes = [one.box for one in samples if one.box is not None]
    if not zoom or not boxes:
        return 0, 0, width, height
    corners = np.stack([np.concatenate([box[:2], box[:2] + box[2:]]) for box in boxes])
    low, high = corners[:, :2].min(0), corners[:, 2:].max(0)
    half = max((high - low).max() * _ZOOM / 2, 8)
    middle = np.clip((low + high) / 2, 0, (width - 1, height - 1))
    left, top = (int(x) for x in np.maximum(middle - half, 0))
    right, bottom = (int(x) for x in np.ceil(np.minimum(middle + half, (width, height))))
    return left, top, right, bottom


def _corners(
    box: Float[np.ndarray, "4"], left: int, top: int, scale: float
) -> Float[np.ndarray, "4"]:
    corners = np.concatenate([box[:2], box[:2] + box[2:]])
    return (np.asarray(corners, np.float64) - (left, top, left, top) + 0.5) * scale - 0.5
