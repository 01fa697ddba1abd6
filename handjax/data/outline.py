"""How well labelled joints fit what their picture shows: do the colours along the limbs differ from
those around them?

Of one picture it says little. Over a data set it tells labels from the same labels with x and y
swapped or counted from another side, which no geometry can: any view of a hand, mirrored, is the
view of another hand.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

_SIDE_PX = 96  # to which the surroundings of the joints are reduced
_NEAR, _FAR = 0.1, 0.3  # of the joints' extent: where the surroundings begin, and end
_POINTS = 9  # along a limb
_LEAST = 20  # px of surroundings


def outline_share(
    image: UInt8[np.ndarray, "h w *c"],
    uv: Float[np.ndarray, "j 2"],
    known: Bool[np.ndarray, " j"],
    limbs: Sequence[tuple[int, int]],
) -> float | None:
    """Share of pairs (point on a limb, pixel around all `known` joints) of which the pixel is
    farther from the limbs' median colour: 1 for a hand on a plain wall, about 0.5 for joints that
    lie anywhere. None where joints lie outside of the picture or leave nothing around them.

    `image` is grey, BGR or BGRA; `limbs` are pairs of joints.
    """
    points = _along(uv, known, limbs)
    low, high = uv[known].min(0), uv[known].max(0)
    extent = float((high - low).max())
    size = np.array(image.shape[1::-1])
    if extent < 2 or (low < -0.5).any() or (high > size - 0.5).any() or not len(points):
        return None
    first = np.maximum(np.floor(low - _FAR * extent), 0).astype(int)
    last = np.minimum(np.ceil(high + _FAR * extent) + 1, size).astype(int)
    scale = min(1.0, _SIDE_PX / float((last - first).max()))
    cut = _bgr(image[first[1] : last[1], first[0] : last[0]])
    width, height = np.maximum(np.rint((last - first) * scale), 1).astype(int).tolist()
    small = cv2.resize(cut, (width, height), interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small, cv2.COLOR_BGR2LAB).astype(np.float32)
    end = np.array(small.shape[1::-1]) - 1
    corners = np.rint((uv[known] - first) * scale).astype(np.int32)
    within = np.zeros(small.shape[:2], np.uint8)
    cv2.fillConvexPoly(within, cv2.convexHull(corners), 1)
    near = cv2.dilate(within, _disk(_NEAR * extent * scale))
    around = lab[(cv2.dilate(within, _disk(_FAR * extent * scale)) > 0) & (near == 0)]
    if len(around) < _LEAST:
        return None
    u, v = np.clip(np.rint((points - first) * scale).astype(int), 0, end).T
    on = lab[v, u]
    middle = np.median(on, axis=0)
    distances = np.sort(np.linalg.norm(on - middle, axis=-1))
    away = np.linalg.norm(around - middle, axis=-1)
    return float(np.searchsorted(distances, away).mean() / len(distances))


def other_readings(
    uv: Float[np.ndarray, "j 2"], size: tuple[int, int]
) -> dict[str, Float[np.ndarray, "j 2"]]:
    """The joints of a picture of (height, width), read in ways that keep them inside: by name."""
    height, width = size
    return {
        "x and y swapped": uv[:, ::-1],
        "y counted from below": np.stack([uv[:, 0], height - 1 - uv[:, 1]], axis=-1),
        "x counted from the right": np.stack([width - 1 - uv[:, 0], uv[:, 1]], axis=-1),
    }


def _bgr(image: UInt8[np.ndarray, "h w *c"]) -> UInt8[np.ndarray, "h w 3"]:
    if image.ndim == 2 or image.shape[2] == 1:
        image = np.repeat(image.reshape(*image.shape[:2], 1), 3, axis=2)
    return np.ascontiguousarray(image[..., :3])


def _along(
    uv: Float[np.ndarray, "j 2"], known: Bool[np.ndarray, " j"], limbs: Sequence[tuple[int, int]]
) -> Float[np.ndarray, "n 2"]:
    """Points along the limbs whose joints are both known, or the known joints if none is."""
    share = np.linspace(0, 1, _POINTS)[:, None]
    lines = [uv[a] + share * (uv[b] - uv[a]) for a, b in limbs if known[a] and known[b]]
    return np.concatenate(lines) if lines else uv[known]


def _disk(radius: float) -> UInt8[np.ndarray, "n n"]:
    size = 2 * max(round(radius), 1) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)).astype(np.uint8)
