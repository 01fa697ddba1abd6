"""Users' own labelled pictures: what a file of labels says, whichever form it has.

The forms are COCO's JSON (coco_keypoints.py), CSV (keypoint_csv.py), and lists in text
(keypoint_text.py).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
from etils import epath
from jaxtyping import Float

LARGEST_PX = 1e5  # limit of the absolute value of coordinates


@dataclass(frozen=True)
class LabelledObject:
    """One object in one picture.

    where    file and entry, for messages
    picture  name of the picture, as the file has it
    points   x, y (px) and v of every joint: 0 no label, 1 hidden, 2 visible
    box      left, top, width, height, px, if the file has one
    area     px², if the file has it, else 0
    size     height and width of the picture, if the file has them
    problem  what is wrong with the entry, in words; then the rest does not count
    """

    where: str
    picture: str
    points: Float[np.ndarray, "j 3"]
    box: Float[np.ndarray, "4"] | None = None
    area: float = 0.0
    size: tuple[int, int] | None = None
    problem: str = ""

    def checked(self) -> "LabelledObject":
        """Itself; ValueError, one line, if it has a `problem`, or numbers that cannot be."""
        if self.problem:
            raise ValueError(f"{self.where}: {self.problem}")
        if not (np.abs(self.points) < LARGEST_PX).all():
            raise ValueError(f"{self.where}: a point is not finite, or beyond {LARGEST_PX:g} px")
        marks = self.points[:, 2]
        if not np.isin(marks, (0, 1, 2)).all():
            mark = marks[~np.isin(marks, (0, 1, 2))][0]
            raise ValueError(
                f"{self.where}: v of a point is {mark:g}; expected 0 without a label, else 1 or 2"
            )
        return self


@dataclass(frozen=True)
class LabelFile:
    """The objects of one file of labels, and what it says about their joints.

    `joints` is empty if the file does not name them, `edges` if it has no bones.
    """

    joints: tuple[str, ...]
    objects: list[LabelledObject]
    edges: tuple[tuple[int, int], ...] = ()


def with_marks(objects: Sequence[LabelledObject]) -> list[LabelledObject]:
    """The objects of a file, with v as COCO has it: where no point of the whole file has v = 2, a
    file has 1 for each label, and they become 2."""
    if any((one.points[:, 2] == 2).any() for one in objects):
        return list(objects)
    found = []
    for one in objects:
        points = one.points.copy()
        points[:, 2] = np.where(points[:, 2] == 1, 2, points[:, 2])
        found.append(replace(one, points=points))
    return found


def find_picture(roots: Sequence[epath.Path], name: str) -> epath.Path | None:
    """The picture `name` of a file of labels below one of `roots`; None if there is none.

    Tools write paths of the machine where the labels were made, and addresses: Label Studio
    `images\\\\1/a.jpg`, `..\\\\media\\\\upload\\\\4\\\\a.png` and `/data/local-files/?d=set/a.png`
    (issues 7294 and 4903 of HumanSignal/label-studio, 139 of its converter), X-AnyLabeling
    `..\\\\label\\\\12.jpg` (its issue 700). So the longest end of the path that exists counts.
    """
    parts = picture_parts(name)
    for start in range(len(parts)):
        for root in roots:
            path = root.joinpath(*parts[start:])
            if path.is_file():
                return path
    return None


def picture_parts(name: str) -> list[str]:
    """The folders and the name of a path or an address, without what leads out of a folder."""
    if "://" in name or name.startswith("/data/local-files/"):
        address = urlsplit(name)
        name = parse_qs(address.query).get("d", [unquote(address.path)])[0]
    parts = name.replace("\\", "/").split("/")
    drive = re.fullmatch("[A-Za-z]:", parts[0])
    return [part for part in parts[1 if drive else 0 :] if part not in ("", ".", "..")]
