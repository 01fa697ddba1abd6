"""Files of predicted image joints: our `predictions.npz` and json, and json files of labels beside pictures.

The json of one picture is that of jiangxubin/hand_pose and of HandDB: {"img_name": NAME, "hand_pts": [[x, y, v], ...]}, px of the
picture; without `img_name` the file's own name tells the picture. v is 1 where a joint is seen, 0 where it is hidden, and 0 at
(0, 0) where it has no label. A file may also hold many of them, in a list, or under "hands" beside the names of their "joints",
as `handjax.predict` writes them: v is then the confidence. A .txt file has NAME and x y v of every joint on a line, the lists of
chrisliu54/Hand-Keypoint-Estimation.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from handjax.data.formats.depth import read_lines
from handjax.data.formats.predictions import read_arrays
from handjax.pose.skeleton import ORDERS, SKELETONS, Skeleton

LARGEST_PX = 1e6
ORDERS_2D = ("rhd", "stb", "handdb")  # joint orders that files without joint names may have
_MORE = ("confidence", "truth", "visible", "labelled", "box_px", "image_px")


@dataclass(frozen=True)
class Predictions2d:
    """What `predictions.npz` holds of image joints: px of the source picture, joints by name. The truth and what belongs to it are
    there only where the pictures were labelled; see metrics/keypoints2d.py for what they mean."""

    ids: tuple[str, ...]
    joints_uv: np.ndarray  # [n, j, 2]
    joints: tuple[str, ...]
    confidence: np.ndarray | None = None  # [n, j]
    truth: np.ndarray | None = None  # [n, j, 2]
    visible: np.ndarray | None = None  # bool [n, j]
    labelled: np.ndarray | None = None  # bool [n, j]
    box_px: np.ndarray | None = None  # [n]
    image_px: np.ndarray | None = None  # [n]

    def arrays(self) -> dict[str, np.ndarray]:
        arrays = {
            "ids": np.array(self.ids, np.str_),
            "joints_uv": np.asarray(self.joints_uv, np.float32),
        }
        arrays["joints"] = np.array(self.joints, np.str_)
        more = {name: getattr(self, name) for name in _MORE}
        kinds = {"visible": bool, "labelled": bool}
        return arrays | {
            name: np.asarray(x, kinds.get(name, np.float32))
            for name, x in more.items()
            if x is not None
        }


def read_predictions2d(path: str | Path) -> Predictions2d:
    """Read back what `write_predictions` wrote of a Predictions2d."""
    arrays = read_arrays(path, ("ids", "joints_uv", "joints"), _MORE)
    n, j = len(arrays["ids"]), len(arrays["joints"])
    shapes = {"joints_uv": (n, j, 2), "truth": (n, j, 2), "box_px": (n,), "image_px": (n,)}
    shapes |= dict.fromkeys(("confidence", "visible", "labelled"), (n, j))
    for name, shape in shapes.items():
        if name in arrays and arrays[name].shape != shape:
            raise ValueError(
                f"{path}: {name} is {list(arrays[name].shape)}; expected {list(shape)}, as ids and joints have it"
            )
    texts = {name: tuple(map(str, arrays.pop(name))) for name in ("ids", "joints")}
    return Predictions2d(**texts, **arrays)


def write_hands_json(path: Path, joints: Sequence[str], hands: Sequence[dict]) -> None:
    """`hands`: dicts with img_name, hand_pts and whatever else is plain JSON."""
    lines = ",\n".join(
        "  " + json.dumps(hand, ensure_ascii=False, allow_nan=False) for hand in hands
    )
    path.write_text(
        f'{{"joints": {json.dumps(list(joints))},\n "hands": [\n{lines}\n]}}\n', encoding="utf-8"
    )


def read_hands(
    path: str | Path, order: str = ""
) -> tuple[Skeleton, dict[str, Float[np.ndarray, "j 3"]]]:
    """x y v of the hand in each picture, by the picture's name; joints in the order of the skeleton.

    `path` is a file, or a folder of json files. `order`, one of ORDERS, says what each joint is; files that name their joints need
    none.
    """
    path = Path(path)
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    if not files or not files[0].is_file():
        raise FileNotFoundError(
            f"{path}: {'no .json file in it' if path.is_dir() else 'no such file'}; expected labels as json"
        )
    found, skeletons = {}, {}
    for file in files:
        names, hands = _hands(file)
        skeleton = skeletons[names] = skeletons.get(names) or _skeleton(file, names, order)
        for where, hand in hands:
            name, points = _hand(where, hand, file.stem, len(names or ORDERS[order].joints))
            if name in found:
                raise ValueError(f"{where}: another hand in {name}; expected one a picture")
            found[name] = points if names else ORDERS[order].convert(points)
    if len(skeletons) > 1 or not found:
        raise ValueError(
            f"{path}: {'files of several joint orders' if found else 'no hand in it'}; expected one hand a picture"
        )
    return skeleton, found


def _hands(file: Path) -> tuple[tuple[str, ...], list[tuple[str, Any]]]:
    """Names of the joints, if the file has them, and its hands with where they stand."""
    if file.suffix == ".txt":
        lines = ((f"{file}, line {number}", line.split()) for number, line in read_lines(file))
        return (), [
            (where, {"img_name": words[0], "hand_pts": _triples(words[1:])})
            for where, words in lines
        ]
    try:
        told = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: not json ({' '.join(str(error).split())[:120]})") from None
    names: tuple[str, ...] = ()
    if isinstance(told, dict) and isinstance(told.get("hands"), list):
        names, told = tuple(map(str, told.get("joints") or ())), told["hands"]
    if isinstance(told, dict):
        return names, [(str(file), told)]
    if not isinstance(told, list):
        raise ValueError(f"{file}: expected an object with hand_pts, or a list of them")
    return names, [(f"{file}, hand {number}", hand) for number, hand in enumerate(told)]


def _triples(words: list[str]) -> list[list[str]]:
    return [words[i : i + 3] for i in range(0, len(words), 3)]


def _hand(where: str, hand, stem: str, joints: int) -> tuple[str, np.ndarray]:
    try:
        points = np.array(hand["hand_pts"], np.float64)
        name = str(hand.get("img_name", stem))
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError):
        raise ValueError(
            f"{where}: no hand_pts of numbers in it; expected {joints} times [x, y, v]"
        ) from None
    if points.shape != (joints, 3) or not (np.abs(points) < LARGEST_PX).all():
        raise ValueError(
            f"{where}: hand_pts is {list(points.shape)}; expected {joints} times [x, y, v], finite px"
        )
    return name, points


def skeleton_of(joints: tuple[str, ...], where: str | Path) -> Skeleton:
    """The skeleton whose joints have these names."""
    fitting = [skeleton for skeleton in SKELETONS.values() if skeleton.joints == joints]
    if not fitting:
        raise ValueError(
            f"{where}: its joints, {', '.join(joints[:3])}, ..., are none of {', '.join(SKELETONS)}"
        )
    return fitting[0]


def _skeleton(file: Path, names: tuple[str, ...], order: str) -> Skeleton:
    if names:
        return skeleton_of(names, file)
    if order not in ORDERS:
        raise ValueError(
            f"{file}: does not say in which order its joints are; name it by --dataset rhd, stb or handdb"
        )
    return SKELETONS[ORDERS[order].common]
