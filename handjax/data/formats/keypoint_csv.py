"""Keypoints in CSV: a row is an object, the columns are named. Two forms are read:

    image,nose_x,nose_y,tail_x,tail_y            one header line; NAME_v is optional, and so are
    img/1.png,12.5,30,40,31                      left,top,width,height of the object's box

    scorer,me,me,me,me                           DeepLabCut's labels, CollectedData_me.csv, as
    bodyparts,nose,nose,tail,tail                talmolab/sleap reads them (1.3: io/format/
    coords,x,y,x,y                               deeplabcut.py), with the path in one column or in
    labeled-data/clip/img1.png,12.5,30,,         three, and with `individuals`, each an object

Empty cells, NaN and v = 0 are joints without a label. Commas, semicolons and tabs separate; with
semicolons and tabs, decimals may have a comma.
"""

import csv
import math

import numpy as np
from etils import epath

from handjax.data.formats.label_text import decode_text
from handjax.data.formats.labelled_objects import LabelFile, LabelledObject, with_marks
from handjax.pose.skeleton_file import check_names

_BOX = ("left", "top", "width", "height")
_EXPECTED = "expected image, then NAME_x and NAME_y (and NAME_v) of every joint"
# Joint → the columns of its x, y and v, -1 without one.
_Columns = dict[str, list[int]]


def read_keypoint_csv(path: epath.Path) -> LabelFile:
    """The objects of a file. FileNotFoundError or ValueError, one line, for a file that cannot be
    read; what is wrong with single rows is raised by `LabelledObject.checked`."""
    lines = _lines(path)
    if lines[0][1][0] in ("scorer", "bodyparts"):
        joints, objects = _deeplabcut(path, lines)
    else:
        joints, objects = _named(path, lines)
    objects = [one for one in objects if one.problem or (one.points[:, 2] != 0).any()]
    if not objects:
        raise ValueError(f"{path}: no row with a labelled joint; {_EXPECTED}")
    return LabelFile(joints, with_marks(objects))


def _lines(path: epath.Path) -> list[tuple[int, list[str]]]:
    """(line, its cells) of all lines that are not empty."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected CSV")
    try:
        text = decode_text(path.read_bytes())
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not UTF-8 text; expected CSV") from None
    first = text.lstrip().split("\n", 1)[0]
    mark = max(",;\t", key=first.count)
    try:
        rows = csv.reader(text.splitlines(), delimiter=mark, strict=True)
        lines = [(rows.line_num, [cell.strip() for cell in row]) for row in rows]
    except csv.Error as error:
        raise ValueError(f"{path}: not CSV ({error}); {_EXPECTED}") from None
    lines = [(number, row) for number, row in lines if any(row)]
    if len(lines) < 2:
        raise ValueError(f"{path}: {len(lines)} lines; {_EXPECTED}, and a row per object")
    if mark != ",":
        lines = [
            (number, [row[0], *(cell.replace(",", ".") for cell in row[1:])])
            for number, row in lines
        ]
    return lines


def _named(
    path: epath.Path, lines: list[tuple[int, list[str]]]
) -> tuple[tuple[str, ...], list[LabelledObject]]:
    """One header line."""
    _, header = lines[0]
    if header[0] != "image":
        raise ValueError(f"{path}: the first column is {header[0]!r}; {_EXPECTED}")
    columns: _Columns = {}
    boxes = {}
    for i, name in enumerate(header[1:], 1):
        joint, _, axis = name.rpartition("_")
        own = columns.get(joint, [-1, -1, -1])
        if name in _BOX and name not in boxes:
            boxes[name] = i
        elif joint and axis in ("x", "y", "v") and own["xyv".index(axis)] < 0:
            own["xyv".index(axis)] = i
            columns[joint] = own
        else:
            raise ValueError(f"{path}: column {name!r}; {_EXPECTED}, or {', '.join(_BOX)}")
    joints = check_names(list(columns), path)
    if half := [joint for joint, (x, y, _) in columns.items() if min(x, y) < 0]:
        raise ValueError(f"{path}: joint {half[0]!r} without x or y; {_EXPECTED}")
    if boxes and len(boxes) < len(_BOX):
        raise ValueError(f"{path}: a box needs all of {', '.join(_BOX)}; it has {', '.join(boxes)}")
    objects = []
    for number, row in lines[1:]:
        where = f"{path}, line {number}"
        if len(row) != len(header):
            problem = f"{len(row)} cells; expected {len(header)}, as in the header"
            objects.append(LabelledObject(where, row[0], np.zeros((1, 3)), problem=problem))
            continue
        box = None
        if boxes and any(row[boxes[name]] for name in _BOX):
            box = np.array([_number(row[boxes[name]]) for name in _BOX])
        found = _object(where, row[0], row, columns)
        if box is not None and not np.isfinite(box).all():
            problem = "a box that is not finite; expected four numbers of px, or empty cells"
            found = LabelledObject(where, row[0], found.points, problem=problem)
        elif box is not None and (box[2:] > 0).all() and not found.problem:
            found = LabelledObject(where, row[0], found.points, box)
        objects.append(found)
    return joints, objects


def _deeplabcut(
    path: epath.Path, lines: list[tuple[int, list[str]]]
) -> tuple[tuple[str, ...], list[LabelledObject]]:
    """Three or four header lines, each named in its first cell."""
    heads = {}
    while lines and lines[0][1][0] in ("scorer", "individuals", "bodyparts", "coords"):
        heads[lines[0][1][0]] = lines[0][1]
        lines = lines[1:]
    if not {"bodyparts", "coords"} <= heads.keys() or not lines:
        raise ValueError(f"{path}: expected lines of bodyparts and coords, and a row per picture")
    parts, axes = heads["bodyparts"], heads["coords"]
    # The path is in the first cells, of which all but the first have no header.
    begin = next((i for i in range(1, len(axes)) if axes[i]), len(axes))
    animals = heads.get("individuals", ["one"] * len(axes))
    columns: dict[str, _Columns] = {}
    if not len(parts) == len(axes) == len(animals) or not set(axes[begin:]) <= {"x", "y"}:
        raise ValueError(f"{path}: expected as many bodyparts as coords, and x and y below each")
    for i in range(begin, len(axes)):
        own = columns.setdefault(animals[i], {}).setdefault(parts[i], [-1, -1, -1])
        own["xy".index(axes[i])] = i
    first = next(iter(columns.values()))
    joints = check_names(list(first), path)
    for name, theirs in columns.items():
        if tuple(theirs) != joints or any(min(x, y) < 0 for x, y, _ in theirs.values()):
            raise ValueError(
                f"{path}: {name} has other bodyparts than the first; expected the same"
            )
    objects = []
    for number, row in lines:
        where, name = f"{path}, line {number}", "/".join(filter(None, row[:begin]))
        if len(row) != len(axes):
            problem = f"{len(row)} cells; expected {len(axes)}, as in the header"
            objects.append(LabelledObject(where, name, np.zeros((1, 3)), problem=problem))
            continue
        objects += [_object(where, name, row, own) for own in columns.values()]
    return joints, objects


def _object(where: str, picture: str, row: list[str], columns: _Columns) -> LabelledObject:
    points = np.zeros((len(columns), 3))
    for i, (joint, (x, y, v)) in enumerate(columns.items()):
        words = [row[x], row[y], row[v] if v >= 0 else ""]
        mark = _number(words[2]) if words[2] else 2.0
        if mark == 0 or all(word.lower() in ("", "nan") for word in words[:2]):
            continue
        points[i] = _number(words[0]), _number(words[1]), mark
        if not np.isfinite(points[i]).all():
            problem = f"{joint} is {', '.join(words)}; expected x and y, px, or empty cells"
            return LabelledObject(where, picture, np.zeros_like(points), problem=problem)
    return LabelledObject(where, picture, points)


def _number(word: str) -> float:
    """NaN for a word that is no number. Python reads 1_0 as ten."""
    try:
        return float(word) if word.isascii() and "_" not in word else math.nan
    except ValueError:
        return math.nan
