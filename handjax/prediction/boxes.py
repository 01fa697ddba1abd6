"""Square boxes around the hands of an image: read from files, and cut out of the image."""

import json
from collections.abc import Callable
from itertools import count, takewhile
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8
from ml_collections import ConfigDict

from handjax.data.formats.hand_labels import read_hands
from handjax.pose import crop2d
from handjax.pose.skeleton import Skeleton
from handjax.prediction.windows import square_part

_LARGEST_PX = 1e6
_LEAST_PX = 4.0  # side of a box; nothing is seen in a smaller one


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
    """Boxes by image from a JSON file {NAME: [x, y, side] or [left, top, width, height], or several
    of them}, from annotations as COCO's, or from joints.

    Joints (see `read_hands`; `order` names their order where the file does not) become boxes by
    the crop rule of the run's config, as in its evaluation. A second hand of NAME is NAME#2.
    """
    rectangles = _read_rectangles(Path(path))
    palm = config.crop.rule == "palm"
    rule = crop2d.Crop(
        **config.crop, center_joint=skeleton.joints.index("middle_base") if palm else 0
    )
    if rectangles is not None:
        return _from_rectangles(rectangles, path, rule)
    found, joints = read_hands(path, order)
    if found.joints != skeleton.joints:
        raise ValueError(
            f"--boxes {path}: joints of {found.name}; the run predicts those of {skeleton.name}"
        )

    def boxes(name: str, size: tuple[int, int]) -> list[Box]:
        key = _key(name, joints, path)
        more = (f"{key}#{n}" for n in count(2))
        hands = [key, *takewhile(joints.__contains__, more)]
        return [_around(joints[hand], size, rule) for hand in hands]

    return boxes


def _from_rectangles(
    rectangles: dict[str, list[list[float]]], path: str, rule: crop2d.Crop
) -> Boxes:
    """The squares around the middles of the rectangles, as long as their longer sides, or as the
    rule for labelled boxes makes them."""
    wider = crop2d.scale_of_boxes(rule)

    def boxes(name: str, size: tuple[int, int]) -> list[Box]:
        found = rectangles[_key(name, rectangles, path)]
        return [Box(x + w / 2, y + h / 2, max(w, h) * wider) for x, y, w, h in found]

    return boxes


def rectangles_of(path: str) -> Callable[[str], Float[np.ndarray, "n 4"]]:
    """Boxes (left, top, width, height) by image, px, from a JSON file as `read_boxes` takes it or
    from annotations as COCO's. ValueError: the file has none, or none of that image."""
    found = _read_rectangles(Path(path))
    if found is None:
        raise ValueError(f"--boxes {path}: no boxes in it; expected JSON, {{NAME: [x, y, w, h]}}")

    def boxes(name: str) -> Float[np.ndarray, "n 4"]:
        return np.array(found[_key(name, found, path)], np.float32)

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


def _read_rectangles(path: Path) -> dict[str, list[list[float]]] | None:
    """{name: [[left, top, width, height], …]} of a JSON file of boxes, or of COCO's annotations;
    None if the file holds joints."""
    if path.suffix != ".json" or not path.is_file():
        return None
    try:
        data = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:120]
        raise ValueError(f"--boxes {path}: not JSON ({reason})") from None
    if not isinstance(data, dict) or "hands" in data or "hand_pts" in data:
        return None
    if isinstance(data.get("images"), list) and isinstance(data.get("annotations"), list):
        data = _coco(path, data)
    return {name: _rectangles(path, name, value) for name, value in data.items()}


def _coco(path: Path, data: dict) -> dict[str, list[Any]]:
    """The `bbox` of all annotations by the names of their images."""
    try:
        names = {one["id"]: str(one["file_name"]) for one in data["images"]}
        found: dict[str, list[Any]] = {}
        for one in data["annotations"]:
            if "bbox" in one:
                found.setdefault(names[one["image_id"]], []).append(list(one["bbox"]))
    except (TypeError, KeyError) as error:
        raise ValueError(
            f"--boxes {path}: COCO annotations without {error}; expected images with id and "
            "file_name, and annotations with image_id and bbox"
        ) from None
    return found


def _rectangles(path: Path, name: str, value: object) -> list[list[float]]:
    try:
        boxes = np.array(value, np.float64)
        boxes = boxes[None] if boxes.ndim == 1 else boxes
        good = (
            boxes.shape[1:] in ((3,), (4,))
            and len(boxes) > 0
            and bool((np.abs(boxes) < _LARGEST_PX).all() and (boxes[:, 2:] > 0).all())
        )
    except (TypeError, ValueError, OverflowError):
        good = False
    if not good:
        raise ValueError(
            f"--boxes {path}: {name!r} is {str(value)[:60]}; expected [x, y, side] or "
            "[left, top, width, height] in px with sizes above 0, or several of them"
        )
    if boxes[:, 2:].min() < _LEAST_PX:
        hint = ": fractions of the picture?" if np.abs(boxes).max() <= 1 else ""
        raise ValueError(
            f"--boxes {path}: {name!r} is {str(value)[:60]}{hint} Expected px, and sides of at "
            f"least {_LEAST_PX:g}"
        )
    return boxes[:, [0, 1, 2, -1]].tolist()


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
    square = square_part(pixels, left, top, side)
    step = side / size
    rows = [[step, 0, left + (step - 1) / 2], [0, step, top + (step - 1) / 2]]
    how = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
    return cv2.resize(square, (size, size), interpolation=how), np.array(rows, np.float32)
