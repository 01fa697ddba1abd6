"""One frame as a picture: its depth, the labels, the prediction, and red lines between them."""

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from handjax.pose.skeleton import Skeleton
from handjax.prediction import common
from handjax.realframes.joints import Pairs
from handjax.realframes.measure import Answer, counterpart

PANEL_PX = 360
_SMALLEST_MM, _LARGEST_MM = 300.0, 1500.0
_RED, _WHITE, _BLUE = (255, 0, 0), (255, 255, 255), (90, 160, 255)


def picture(
    answer: Answer, pairs: Pairs, skeleton: Skeleton, kind: str
) -> UInt8[np.ndarray, "h w 3"]:
    """The frame around its hand, one panel per stage of the prediction.

    Labels are white rings, the middle of the crop a blue cross; `skeleton` is that of the
    prediction. The window is around the labels and widened until it holds the prediction, at most
    to 1.5 m; without either it is the whole image.
    """
    labels = answer.frame.xyz[list(pairs.labelled)]
    known = np.isfinite(labels).all(-1)
    k = answer.frame.k.astype(np.float64)
    middle, extent = _window(answer, labels[known])
    panels = []
    for stage in tuple(answer.joints) or ("",):
        pixels, affine = common.depth_window(answer.depth, k, middle, extent, PANEL_PX)
        pixels = np.ascontiguousarray(pixels)
        if stage:
            joints = answer.joints[stage].astype(np.float64)
            ahead, uv = common.to_window(joints, k, affine)
            common.draw_bones(pixels, uv, skeleton, 2, visible=ahead)
            for joint in np.flatnonzero(ahead):
                _disc(pixels, uv[joint], 2.5, skeleton.rgb[joint])
            _, ends = common.to_window(counterpart(joints, pairs, kind), k, affine)
            _, starts = common.to_window(labels, k, affine)
            for i in np.flatnonzero(known):
                if ahead[pairs.predicted[i]]:
                    _line(pixels, starts[i], ends[i], _RED)
        _, at = common.to_window(labels, k, affine)
        for i in np.flatnonzero(known):
            cv2.circle(pixels, common.sixteenths(at[i]), 16 * 4, _WHITE, 1, cv2.LINE_AA, 4)
        if answer.prediction is not None and answer.prediction.center is not None:
            crop = np.asarray(answer.prediction.center, np.float64)[None]
            _, at = common.to_window(crop, k, affine)
            _cross(pixels, at[0], 6, _BLUE)
        panels.append(pixels)
    return np.concatenate(panels, axis=1)


def _window(
    answer: Answer, labels: Float[np.ndarray, "n 3"]
) -> tuple[Float[np.ndarray, "3"], float]:
    """Middle (camera mm) and width of the window."""
    parts = [labels, *(joints.astype(np.float64) for joints in answer.joints.values())]
    points = np.concatenate([part for part in parts if len(part)] or [np.zeros((0, 3))])
    if answer.middle is not None:
        middle = answer.middle.xyz
    elif len(labels):
        middle = labels.mean(0)
    elif len(points):
        middle = points.mean(0)
    else:
        return _whole_image(answer)
    across = np.abs(points[:, :2] - middle[:2]).max() if len(points) else 0.0
    return middle, float(np.clip(2.2 * across, _SMALLEST_MM, _LARGEST_MM))


def _whole_image(answer: Answer) -> tuple[Float[np.ndarray, "3"], float]:
    depth, k = answer.depth, answer.frame.k.astype(np.float64)
    measured = depth[depth > 0]
    z = float(np.median(measured)) if measured.size else 1000.0
    height, width = depth.shape
    u, v = (width - 1) / 2, (height - 1) / 2
    middle = np.array([(u - k[0, 2]) * z / k[0, 0], (v - k[1, 2]) * z / k[1, 1], z])
    return middle, max(width, height) * z / float(k[0, 0])


def _disc(pixels: np.ndarray, at: np.ndarray, radius: float, colour: tuple[int, int, int]) -> None:
    cv2.circle(pixels, common.sixteenths(at), round(16 * radius), colour, -1, cv2.LINE_AA, 4)


def _cross(pixels: np.ndarray, at: np.ndarray, size: int, colour: tuple[int, int, int]) -> None:
    for step in (np.array([size, 0.0]), np.array([0.0, size])):
        _line(pixels, at - step, at + step, colour)


def _line(
    pixels: np.ndarray, start: np.ndarray, end: np.ndarray, colour: tuple[int, int, int]
) -> None:
    ends = common.sixteenths(start), common.sixteenths(end)
    cv2.line(pixels, *ends, colour, 2, cv2.LINE_AA, 4)
