"""The labels of users' own joints, and landmarks.json beside them; raw.py describes both."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from etils import epath

from handjax.data.formats.coco_keypoints import read_coco
from handjax.data.formats.json_labels import read_json
from handjax.data.formats.keypoint_csv import read_keypoint_csv
from handjax.data.formats.keypoint_text import Row, read_keypoint_rows
from handjax.data.formats.labelled_objects import LabelFile, LabelledObject, with_marks
from handjax.data.sets.keypoint_list.raw import named
from handjax.pose.skeleton import Skeleton
from handjax.pose.skeleton_file import KEYS, check_names, parse

SETTINGS = "landmarks.json"
DIVIDED = "labels"
_ENDINGS = (".json", ".csv", ".txt")
_HELD_OUT = 0.2


@dataclass(frozen=True)
class Settings:
    """The content of landmarks.json."""

    where: str
    skeleton: dict[str, Any] = field(default_factory=dict)  # without joints: those of the labels
    category: str = ""
    held_out: float = _HELD_OUT

    @property
    def joints(self) -> tuple[str, ...]:
        return tuple(self.skeleton.get("joints", ()))


def read_settings(root: epath.Path) -> Settings:
    """landmarks.json, or its defaults without one. ValueError, one line, if it is wrong."""
    path = root / SETTINGS
    if not path.exists():
        return Settings(str(path))
    content = read_json(path, "a skeleton, category and held_out")
    keys = (*KEYS, "category", "held_out")
    if not isinstance(content, dict) or (unknown := [key for key in content if key not in keys]):
        what = f"unknown {unknown[0]!r}" if isinstance(content, dict) else "not an object"
        raise ValueError(f"{path}: {what}; expected {', '.join(keys)}")
    category, share = content.pop("category", ""), content.pop("held_out", _HELD_OUT)
    if not isinstance(category, str):
        raise ValueError(f"{path}: category {category!r}; expected a name")
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < 1:
        raise ValueError(f"{path}: held_out {share!r}; expected a share between 0 and 1")
    if "joints" in content:
        check_names(content["joints"], path)
    return Settings(str(path), content, category, float(share))


def label_files(root: epath.Path) -> dict[str, epath.Path]:
    """The files of labels by the names of their splits."""
    files: dict[str, epath.Path] = {}
    for ending in _ENDINGS:
        for stem in named(root, ending):
            if stem + ending == SETTINGS:
                continue
            if stem in files:
                raise ValueError(
                    f"{root / stem}{ending}: {files[stem].name} is there, too; keep one of them"
                )
            files[stem] = root / f"{stem}{ending}"
    if DIVIDED in files and len(files) > 1:
        other = next(path.name for stem, path in files.items() if stem != DIVIDED)
        raise ValueError(
            f"{files[DIVIDED]}: is divided into train and test, but {other} is there, too; "
            "keep one of them, or give the first another name"
        )
    return dict(sorted(files.items(), key=lambda file: (file[0] != "train", file[0])))


def labelled_skeleton(root: epath.Path, settings: Settings) -> Skeleton:
    """The joints of landmarks.json, else of the first file of labels; with the bones of the file
    where landmarks.json has none."""
    files = label_files(root)
    joints = settings.joints
    edges: tuple[tuple[int, int], ...] = ()
    if not joints or not {"edges", "parents"} & settings.skeleton.keys():
        found = [_parsed(path, settings) for path in list(files.values())[:1]]
        names = found[0].joints if found else ()
        if not joints and not names:
            raise ValueError(
                f"{settings.where}: no joints, which {' and '.join(f.name for f in files.values())}"
                " does not name; expected their names in the order of the labels"
            )
        if found and set(joints) <= set(names):
            place = {name: i for i, name in enumerate(joints or names)}
            edges = tuple(
                (place[names[a]], place[names[b]])
                for a, b in found[0].edges
                if names[a] in place and names[b] in place
            )
        joints = joints or names
    return parse({**settings.skeleton, "joints": list(joints)}, settings.where, edges)


def _parsed(path: epath.Path, settings: Settings) -> LabelFile:
    """A file of labels in its own order of joints."""
    if path.suffix == ".json":
        own_edges = bool({"edges", "parents"} & settings.skeleton.keys())
        return read_coco(path, settings.category, own_edges)
    if path.suffix == ".csv":
        return read_keypoint_csv(path)
    if not settings.joints:
        return LabelFile((), [])
    rows = read_keypoint_rows(path, len(settings.joints))
    return LabelFile((), with_marks([_of_row(row, len(settings.joints)) for row in rows]))


def _of_row(row: Row, joints: int) -> LabelledObject:
    try:
        return LabelledObject(row.where, row.name, row.values())
    except ValueError as error:
        problem = str(error).removeprefix(f"{row.where}: ")
        return LabelledObject(row.where, row.name, np.zeros((joints, 3)), problem=problem)


def read_objects(
    path: epath.Path, settings: Settings, joints: tuple[str, ...]
) -> list[LabelledObject]:
    """The objects of a file, their joints in this order."""
    file = _parsed(path, settings)
    names = file.joints or joints
    if lacking := [name for name in joints if name not in names]:
        raise ValueError(
            f"{path}: no joint {lacking[0]!r}; it has {', '.join(names[:8])}"
            f"{', ...' if len(names) > 8 else ''}"
        )
    if not settings.joints and len(names) > len(joints):
        more = next(name for name in names if name not in joints)
        raise ValueError(
            f"{path}: joint {more!r} is not in the other files; name the joints to use in "
            f"{settings.where}"
        )
    order = [names.index(name) for name in joints]
    objects = []
    for one in file.objects:
        if one.problem:
            objects.append(one)
            continue
        if len(one.points) != len(names):
            problem = f"{len(one.points)} points; expected {len(names)}: {', '.join(names[:8])}"
            objects.append(replace(one, problem=problem))
            continue
        chosen = replace(one, points=one.points[order])
        if (chosen.points[:, 2] != 0).any():
            objects.append(chosen)
    return objects
