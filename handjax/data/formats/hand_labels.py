"""Files of hand joints in images: labels that users bring, and our own `predictions.json`.

The json of one image is that of jiangxubin/hand_pose and of HandDB: {"img_name": NAME, "hand_pts":
[[x, y, v], ...]}, in px of the image; without `img_name` the image is named by the file itself. v
is 1 for a visible joint, 0 for a hidden one, and 0 at (0, 0) for one without a label.

A file may also hold many of them, in a list, or under "hands" next to the names of their "joints".
`handjax predict` writes the latter; its v is the confidence. A .txt file has NAME and x y v of
every joint on a line, as the lists of chrisliu54/Hand-Keypoint-Estimation.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from handjax.data import plausible
from handjax.data.formats.keypoint_text import read_keypoint_rows
from handjax.engine.files import write_atomic
from handjax.pose.joint_orders import ORDERS
from handjax.pose.skeleton import SKELETONS, Skeleton
from handjax.pose.skeleton_file import parse

MAX_PX = 1e6
ORDERS_2D = ("rhd", "stb", "handdb")  # joint orders that files without joint names may have


def write_hands_json(path: Path, joints: Sequence[str], hands: Sequence[dict[str, Any]]) -> None:
    """Writes `hands`: dicts with img_name, hand_pts and other plain JSON values."""
    lines = ",\n".join(
        "  " + json.dumps(hand, ensure_ascii=False, allow_nan=False) for hand in hands
    )
    names = json.dumps(list(joints))
    write_atomic(path, f'{{"joints": {names},\n "hands": [\n{lines}\n]}}\n')


def read_hands(
    path: str | Path, order: str = ""
) -> tuple[Skeleton, dict[str, Float[np.ndarray, "j 3"]]]:
    """The skeleton, and x y v of the hand in each image by the image's name, in its joint order.

    `path` is a file, or a folder of json files. `order`, a key of ORDERS, is the joint order of
    files that do not name their joints. ValueError or FileNotFoundError, one line, for invalid
    files and for two hands in one image.
    """
    path = Path(path)
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    if not files or not files[0].is_file():
        problem = "no .json file in it" if path.is_dir() else "no such file"
        raise FileNotFoundError(f"{path}: {problem}; expected labels as json")
    result: dict[str, np.ndarray] = {}
    skeletons: dict[tuple[str, ...], Skeleton] = {}
    for file in files:
        names, hands = _hands(file)
        if names not in skeletons:
            skeletons[names] = _skeleton(file, names, order)
        for where, hand in hands:
            joints = len(names or ORDERS[order].joints)
            name, points = _hand(where, hand, file.stem, joints, labels=not names)
            if name in result:
                raise ValueError(f"{where}: another hand in {name}; expected one per image")
            result[name] = points if names else ORDERS[order].convert(points)
    _check_px(path, list(result.values()))
    if len(skeletons) > 1 or not result:
        problem = "files of several joint orders" if result else "no hand in it"
        raise ValueError(f"{path}: {problem}; expected one hand per image")
    return next(iter(skeletons.values())), result


def _check_px(path: Path, hands: list[Float[np.ndarray, "_ 3"]]) -> None:
    faults = [
        plausible.joints_uv_fault(hand[:, :2], np.asarray(hand[:, :2].any(-1))) for hand in hands
    ]
    if 2 * faults.count("fractions") > len(faults):
        raise ValueError(
            f"{path}: {faults.count('fractions')} of {len(faults)} hands: "
            f"{plausible.FAULTS['fractions']}"
        )


def skeleton_of(joints: tuple[str, ...], where: str | Path) -> Skeleton:
    """The skeleton whose joints have these names; ValueError, which begins with `where`, if there
    is none."""
    for skeleton in SKELETONS.values():
        if skeleton.joints == joints:
            return skeleton
    raise ValueError(
        f"{where}: its joints, {', '.join(joints[:3])}, ..., match none of {', '.join(SKELETONS)}"
    )


def named_joints(joints: tuple[str, ...], where: str | Path) -> Skeleton:
    """The skeleton of these names; users' own are joints without bones."""
    known = next((one for one in SKELETONS.values() if one.joints == joints), None)
    return known or parse({"joints": list(joints)}, where)


def _hands(file: Path) -> tuple[tuple[str, ...], list[tuple[str, Any]]]:
    """Names of the joints, if the file has them, and its hands, each with its place in the file."""
    if file.suffix == ".txt":
        rows = read_keypoint_rows(file)
        return (), [(row.where, {"img_name": row.name, "hand_pts": row.values()}) for row in rows]
    try:
        data = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: not json ({' '.join(str(error).split())[:120]})") from None
    names: tuple[str, ...] = ()
    if isinstance(data, dict) and isinstance(data.get("hands"), list):
        names, data = tuple(map(str, data.get("joints") or ())), data["hands"]
    if isinstance(data, dict):
        return names, [(str(file), data)]
    if not isinstance(data, list):
        raise ValueError(f"{file}: expected an object with hand_pts, or a list of them")
    return names, [(f"{file}, hand {number}", hand) for number, hand in enumerate(data)]


def _hand(where: str, hand: Any, stem: str, joints: int, labels: bool) -> tuple[str, np.ndarray]:
    """The image's name and x y v. The v of `labels` is a mark, not a confidence."""
    try:
        points = np.array(hand["hand_pts"], np.float64)
        name = str(hand.get("img_name", stem))
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError):
        raise ValueError(
            f"{where}: no hand_pts of numbers in it; expected {joints} times [x, y, v]"
        ) from None
    if labels and points.shape == (joints, 3) and not np.isin(points[:, 2], (0, 1, 2)).all():
        odd = points[~np.isin(points[:, 2], (0, 1, 2)), 2][0]
        raise ValueError(
            f"{where}: v of a joint is {odd:g}; expected 0, 1 or 2: a column too many?"
        )
    if points.shape != (joints, 3) or not (np.abs(points) < MAX_PX).all():
        raise ValueError(
            f"{where}: hand_pts is {list(points.shape)}; "
            f"expected {joints} times [x, y, v], finite px"
        )
    return name, points


def _skeleton(file: Path, names: tuple[str, ...], order: str) -> Skeleton:
    if names:
        return named_joints(names, file)
    if order not in ORDERS:
        raise ValueError(
            f"{file}: does not name the order of its joints; "
            f"use --dataset {', '.join(ORDERS_2D[:-1])} or {ORDERS_2D[-1]}"
        )
    return SKELETONS[ORDERS[order].common]
