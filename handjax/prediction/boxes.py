"""Square boxes around the hands of an image: read from files, and cut out of the image."""

import json
from collections.abc import Callable
from itertools import count, takewhile
from pathlib import Path
from typing import NamedTuple

import cv2
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8
from ml_collections import ConfigDict

from handjax.data.formats.hand_labels import read_hands
from handjax.pose import crop2d
from handjax.pose.skeleton import Skeleton

OUTSIDE = 128  # grey level outside the image, as in training
_LARGEST_PX = 1e6


class Box(NamedTuple):
    """A square of an image, px: its center and its side."""

    u: float
    v: float
    side: float


# An image's name, its height and width → boxes. ValueError: the image has none.
Boxes = Callable[[str, tuple[int, int]], list[Box]]


def whole_image(name: str, size: tuple[int, int]) -> list[Box]:
    """The square around the whole image of (height, width) `size`."""
    height, width = size
    return [Box((width - 1) / 2, (height - 1) / 2, max(size))]


def read_boxes(path: str, order: str, config: ConfigDict, skeleton: Skeleton) -> Boxes:
    """Boxes by image from a JSON file {NAME: [x, y, side], or several of them}, or from joints.

    Joints (see `read_hands`; `order` names their order where the file does not) become boxes by
    the crop rule of the run's config, as in its evaluation. A second hand of NAME is NAME#2.
    """
    squares = _read_squares(Path(path))
    if squares is not None:
        return _from_squares(squares, path)
    found, joints = read_hands(path, order)
    if found != skeleton:
        raise ValueError(
            f"--boxes {path}: joints of {found.name}; the run predicts those of {skeleton.name}"
        )
    rule = crop2d.Crop(**config.crop, center_joint=skeleton.joints.index("middle_base"))

    def boxes(name: str, size: tuple[int, int]) -> list[Box]:
        key = _key(name, joints, path)
        more = (f"{key}#{n}" for n in count(2))
        hands = [key, *takewhile(joints.__contains__, more)]
        return [_around(joints[hand], size, rule) for hand in hands]

    return boxes


def _from_squares(squares: dict[str, list[list[float]]], path: str) -> Boxes:
    def boxes(name: str, size: tuple[int, int]) -> list[Box]:
        found = squares[_key(name, squares, path)]
        return [Box(x + side / 2, y + side / 2, side) for x, y, side in found]

    return boxes


def _key(name: str, given: dict, path: str) -> str:
    """The image's name in the file, where it may lack .png or .jpg."""
    key = name if name in given else Path(name).with_suffix("").as_posix()
    if key not in given:
        raise ValueError(f"{name}: {path} has no box for it")
    return key


def _around(hand: Float[np.ndarray, "j 3"], size: tuple[int, int], rule: crop2d.Crop) -> Box:
    """The box of joints x, y, v: of all joints that have a place, and where the rule looks at
    visible joints alone, of those; if none is visible, of all."""
    uv, seen = jnp.asarray(hand[:, :2], jnp.float32), jnp.asarray(hand[:, 2] > 0)
    center, side = crop2d.square(rule, uv, (uv != 0).any(-1), size, seen=seen | ~seen.any())
    u, v = center.tolist()
    return Box(u, v, float(side))


def _read_squares(path: Path) -> dict[str, list[list[float]]] | None:
    """{name: [[x, y, side], …]} of a JSON file of boxes; None if the file holds joints."""
    if path.suffix != ".json" or not path.is_file():
        return None
    try:
        data = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:120]
        raise ValueError(f"--boxes {path}: not JSON ({reason})") from None
    if not isinstance(data, dict) or "hands" in data or "hand_pts" in data:
        return None
    return {name: _squares(path, name, value) for name, value in data.items()}


def _squares(path: Path, name: str, value: object) -> list[list[float]]:
    try:
        squares = np.array(value, np.float64)
        squares = squares[None] if squares.ndim == 1 else squares
        good = (
            squares.shape[1:] == (3,)
            and len(squares) > 0
            and bool((np.abs(squares) < _LARGEST_PX).all() and (squares[:, 2] > 0).all())
        )
    except (TypeError, ValueError, OverflowError):
        good = False
    if not good:
        raise ValueError(
            f"--boxes {path}: {name!r} is {str(value)[:60]}; "
            "expected [x, y, side] in px with side above 0, or several of them"
        )
    return squares.tolist()


def cut(
    pixels: UInt8[np.ndarray, "h w 3"], box: Box, size: int, name: str
) -> tuple[UInt8[np.ndarray, "s s 3"], Float[np.ndarray, "2 3"]]:
    """The box, rounded to whole pixels, resized to `size` px per side, and the affine map of its
    pixels to those of the image. Raises ValueError if the box does not fit the image `name`."""
    height, width = pixels.shape[:2]
    side = max(round(box.side), 1)
    left, top = round(box.u - side / 2 + 0.5), round(box.v - side / 2 + 0.5)
    outside = left >= width or top >= height or left + side <= 0 or top + side <= 0
    if outside or side > 3 * max(height, width):
        raise ValueError(
            f"{name}: its box of {side} px at ({left}, {top}) "
            f"does not fit its {width} x {height} pixels"
        )
    square = np.full((side, side, 3), OUTSIDE, np.uint8)
    u0, v0, u1, v1 = max(left, 0), max(top, 0), min(left + side, width), min(top + side, height)
    square[v0 - top : v1 - top, u0 - left : u1 - left] = pixels[v0:v1, u0:u1]
    step = side / size
    rows = [[step, 0, left + (step - 1) / 2], [0, step, top + (step - 1) / 2]]
    how = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
    return cv2.resize(square, (size, size), interpolation=how), np.array(rows, np.float32)
