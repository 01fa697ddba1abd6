"""Keypoints in JSON as COCO has them (cocodataset.org/#format-data), and as tools write them.

CVAT (2023, through cvat-ai/datumaro) writes decimals, edges from 1, a category without keypoints
  for every label that is a box, and `keypoints: []` for tracks (its issues 7021 and 7501); before
  datumaro's pull request 114 (2025) a point that is missing could be left out of the list.
Label Studio (label-studio-sdk, converter/keypoints.py at 41b7f7c) writes one object per picture, of
  a category `default`, ids from 0, whole px, no `area`, `skeleton: []`, and a `bbox` of the points.
coco-annotator (webserver/util/coco_util.py and database/annotations.py at 0dba42b) writes `iscrowd`
  as true or false, a `bbox` of zeros and `area` 0 for points alone, and outlines without
  `keypoints`; edges may name points that are gone (its issue 304).

So `area`, `iscrowd`, `bbox` and `num_keypoints` may lack, ids may be text, and what has no labelled
point, or is a crowd, is not an object.
"""

from typing import Any

import numpy as np
from etils import epath

from handjax.data.formats.json_labels import read_json
from handjax.data.formats.labelled_objects import LabelFile, LabelledObject, with_marks
from handjax.pose.skeleton_file import check_names

_PARTS = ("images", "annotations", "categories")


def read_coco(path: epath.Path, category: str = "", own_edges: bool = False) -> LabelFile:
    """The objects of one category: the one named `category`, or the only one with keypoints.

    `own_edges`: the bones come from elsewhere, so those of the file are not read. ValueError or
    FileNotFoundError, one line, for a file that cannot be read; what is wrong with single objects
    is raised by `LabelledObject.checked`.
    """
    content = read_json(path, "keypoints as COCO has them")
    fields = content if isinstance(content, dict) else {}
    images, annotations, categories = (fields.get(part, []) for part in _PARTS)
    for part in (images, annotations, categories):
        if not isinstance(part, list) or not all(isinstance(entry, dict) for entry in part):
            images = annotations = []
    if not images or not annotations:
        raise ValueError(
            f"{path}: not COCO's keypoints; expected lists of images, annotations and categories"
        )
    chosen = _category(path, categories, annotations, category)
    joints: tuple[str, ...] = ()
    where = f"{path}: category {chosen.get('name')!r}"
    if chosen.get("keypoints"):
        joints = check_names(chosen["keypoints"], where)
    edges: tuple[tuple[int, int], ...] = ()
    if joints and not own_edges:
        edges = _edges(chosen.get("skeleton"), len(joints), where)
    objects = _objects(path, images, annotations, chosen, len(joints))
    if not objects:
        raise ValueError(
            f"{where}: no annotation with a labelled point; expected keypoints x, y, v of all "
            "points of an object in one annotation"
        )
    return LabelFile(joints, with_marks(objects), edges)


def _category(
    path: epath.Path, categories: list[dict], annotations: list[dict], wanted: str
) -> dict[str, Any]:
    """The category of the objects; empty if the file has none."""
    if wanted:
        if named := [one for one in categories if one.get("name") == wanted]:
            return named[0]
        names = ", ".join(repr(one.get("name")) for one in categories)
        raise ValueError(f"{path}: no category {wanted!r}; it has {names or 'none'}")
    used = {_key(one.get("category_id")) for one in annotations if one.get("keypoints")}
    with_names = [one for one in categories if one.get("keypoints")]
    fits = [one for one in with_names or categories if _key(one.get("id")) in used]
    if len(fits) > 1:
        names = ", ".join(repr(one.get("name")) for one in fits)
        raise ValueError(
            f"{path}: categories {names} have keypoints; choose one, as in "
            f'{{"category": "{fits[0].get("name")}"}} in landmarks.json'
        )
    return (fits or with_names or [{}])[0]


def _edges(value: Any, count: int, where: str) -> tuple[tuple[int, int], ...]:
    """A category's `skeleton`: pairs of joints counted from 1, or from 0 if there is a 0."""
    pairs = value or []
    whole = isinstance(pairs, list) and all(
        isinstance(pair, list) and len(pair) == 2 and all(type(i) is int for i in pair)
        for pair in pairs
    )
    first = 0 if whole and any(0 in pair for pair in pairs) else 1
    if not whole or not all(first <= i < count + first for pair in pairs for i in pair):
        raise ValueError(
            f"{where}: skeleton {str(value)[:60]}; expected pairs of whole numbers from 1 to "
            f"{count}; edges in landmarks.json take its place"
        )
    found: dict[tuple[int, int], None] = {}
    for a, b in pairs:
        if a != b and (b - first, a - first) not in found:
            found[a - first, b - first] = None
    return tuple(found)


def _objects(
    path: epath.Path, images: list[dict], annotations: list[dict], category: dict, joints: int
) -> list[LabelledObject]:
    by_id = {_key(image.get("id")): image for image in images}
    objects = []
    for number, one in enumerate(annotations):
        if "id" in category and _key(one.get("category_id")) != _key(category["id"]):
            continue
        if one.get("iscrowd") or not one.get("keypoints"):
            continue
        where = f"{path}, annotation {one.get('id', number)}"
        image = by_id.get(_key(one.get("image_id")))
        if image is None or not isinstance(image.get("file_name"), str):
            raise ValueError(
                f"{where}: image_id {one.get('image_id')!r}; expected the id of one of the images, "
                "with a file_name"
            )
        one = {**one, "keypoints": _flat(one["keypoints"])}
        joints = joints or len(one["keypoints"]) // 3
        found = _object(where, image, one, joints)
        if found.problem or (found.points[:, 2] != 0).any():
            objects.append(found)
    return objects


def _object(where: str, image: dict, one: dict, joints: int) -> LabelledObject:
    name, size = image["file_name"], None
    if all(type(image.get(key)) is int and image[key] > 0 for key in ("height", "width")):
        size = image["height"], image["width"]
    points, box = _numbers(one["keypoints"]), _numbers(one.get("bbox") or [0, 0, 0, 0])
    area = _numbers([one.get("area") or 0])
    problem = ""
    if points is None or points.shape != (3 * joints,):
        count = len(one["keypoints"])
        problem = f"{count} values in keypoints; expected x, y, v of {joints} points, as numbers"
    elif box is None or box.shape != (4,) or not np.isfinite(box).all():
        problem = f"bbox {str(one.get('bbox'))[:60]}; expected left, top, width, height, px"
    elif area is None or not np.isfinite(area).all() or area[0] < 0:
        problem = f"area {str(one.get('area'))[:60]}; expected px², or none"
    if problem or points is None or box is None or area is None:
        return LabelledObject(where, name, np.zeros((joints, 3)), problem=problem)
    return LabelledObject(
        where,
        name,
        points.reshape(joints, 3),
        box if box.any() else None,
        float(area[0]),
        size,
    )


def _flat(keypoints: object) -> list[Any]:
    """x, y, v of all points in a row; some files (mmpose's of RHD) have a list per point."""
    if not isinstance(keypoints, list):
        return []
    return [
        value for point in keypoints for value in (point if isinstance(point, list) else [point])
    ]


def _numbers(values: object) -> np.ndarray | None:
    """A list of numbers; None for anything else. NumPy would take texts and true for numbers."""
    if not isinstance(values, list) or not all(type(value) in (int, float) for value in values):
        return None
    try:
        return np.array(values, np.float64)
    except OverflowError:
        return None


def _key(value: object) -> str:
    """An id, whether it is a number or a text."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
