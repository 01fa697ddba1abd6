"""Your own joints in your own pictures: any points of hands, bodies and objects.

Labels are COCO's JSON, CSV, or a list in text (data/formats/: coco_keypoints.py, keypoint_csv.py,
keypoint_text.py). The joints are those that the labels name, or those of landmarks.json.
"""

import hashlib
import io
from collections import Counter
from collections.abc import Collection
from functools import partial
from typing import Any

import numpy as np
from etils import epath

from handjax.data import plausible
from handjax.data.formats.image import read_image
from handjax.data.formats.labelled_objects import LabelledObject, find_picture, picture_parts
from handjax.data.preparation.examples import NOTES, Examples, LazyExamples
from handjax.data.sets.landmarks.labels import (
    DIVIDED,
    label_files,
    labelled_skeleton,
    read_objects,
    read_settings,
)
from handjax.pose.skeleton import Skeleton

LAYOUT = """Any pictures, and their labels; every file of labels is a split, named in small letters,
digits and _:
  train.json, test.json    COCO's keypoints, as CVAT, Label Studio and coco-annotator write them; or
  train.csv, ...           a line image,NOSE_x,NOSE_y,NOSE_v,TAIL_x,..., then a row per object (_v
                           is optional; so are left,top,width,height); or DeepLabCut's labels; or
  train.txt, ...           a row per object: the picture, then x y v of every joint
A file labels.json, labels.csv or labels.txt is divided into train and test by its pictures.
Pictures are looked for in train/, images/train/, images/default/, images/ and here; of a path or an
address that is not there the longest end counts that is. v is 0 without a label, 1 hidden, 2
visible; in a file without any 2, 1 is visible.
landmarks.json is optional; all of its keys are:
  joints, edges or parents, flip, colours, sigmas   the skeleton: docs/landmarks.md. Lists in text
                           need joints; with other labels they choose and order those of the file
  category                 of COCO's JSON, by its name, if several have keypoints
  held_out                 the share of the pictures of labels.* in test; 0.2 without it"""
SKELETON: str | None = None
COUNTS: dict[str, int | None] = {}  # the pictures are your own
CONFIGS: tuple[str, ...] = ()


def splits(root: epath.Path, config: str | None = None) -> tuple[str, ...]:
    """train and test of labels.*, else the names of all files of labels."""
    files = label_files(root)
    return ("train", "test") if DIVIDED in files else tuple(files)


def skeleton(root: epath.Path, config: str | None = None) -> Skeleton:
    """The joints in the order of the samples: those of landmarks.json, else of the first file."""
    return labelled_skeleton(root, read_settings(root))


def choices(root: epath.Path) -> dict[str, Any]:
    """What landmarks.json chooses among the labels, as plain JSON values."""
    settings = read_settings(root)
    return {"category": settings.category, "held_out": settings.held_out}


def missing(
    root: epath.Path, config: str | None = None, only: Collection[str] | None = None
) -> list[str]:
    """Missing pictures, or labels. ValueError, one line, if two splits have a picture, or the
    labels name a picture in two ways."""
    files, settings = label_files(root), read_settings(root)
    if not files:
        return ["labels: NAME.json, NAME.csv or NAME.txt"]
    joints = labelled_skeleton(root, settings).joints
    lines: list[str] = []
    owners: dict[epath.Path, tuple[str, str]] = {}  # picture → its first file and name there
    for stem, path in files.items():
        if only and stem not in (*only, DIVIDED):
            continue
        names = sorted({one.picture for one in read_objects(path, settings, joints) if one.picture})
        absent = []
        for name in names:
            if (picture := find_picture(_roots(root, stem), name)) is None:
                absent.append(name)
                continue
            other = owners.setdefault(picture, (stem, name))
            if other != (stem, name):
                raise ValueError(
                    f"{picture}: {other[1]!r} of {other[0]} and {name!r} of {stem}; expected a "
                    "file of its own for each picture, in one split"
                )
        if absent:
            lines.append(f"{absent[0]}: {len(absent)} of {len(names)} pictures of {path.name}")
    return lines


def samples(root: epath.Path, split: str, config: str | None = None) -> Examples:
    """One sample per object with a labelled joint. The key is the picture's path; that of its
    second object ends in #2, and so on."""
    return Examples(_lazy(root, split))


def _lazy(root: epath.Path, split: str) -> LazyExamples:
    settings, files = read_settings(root), label_files(root)
    stem = DIVIDED if DIVIDED in files else split
    found = [
        (one, find_picture(_roots(root, stem), one.picture) or _absent(root / stem, one.picture))
        for one in read_objects(files[stem], settings, labelled_skeleton(root, settings).joints)
    ]
    if stem == DIVIDED:
        held_out = {path: _held_out(root, path, settings.held_out) for _, path in found}
        if len(set(held_out.values())) < 2:
            raise ValueError(
                f"{files[stem]}: {len(held_out)} pictures and held_out={settings.held_out:g} leave "
                "none for train or for test; write train and test as files of their own"
            )
        found = [pair for pair in found if held_out[pair[1]] == (split == "test")]
    before: Counter[epath.Path] = Counter()
    for one, path in found:
        before[path] += 1
        number = f"#{before[path]}" if before[path] > 1 else ""
        key = (path.relative_to(root).as_posix() if one.picture else one.where) + number
        yield key, partial(_sample, path, key, one)


def _absent(folder: epath.Path, name: str) -> epath.Path:
    """Where a picture should be."""
    return folder.joinpath(*picture_parts(name))


def _sample(path: epath.Path, key: str, one: LabelledObject) -> dict[str, Any]:
    one.checked()
    data, pixels = read_image(path)
    size = pixels.shape[0], pixels.shape[1]
    if one.size and one.size != size:
        raise ValueError(
            f"{path}: {size[1]} x {size[0]} px; expected {one.size[1]} x {one.size[0]} as in "
            f"{one.where}"
        )
    labelled = one.points[:, 2] > 0
    box, faults = _box(one, labelled, size)
    return {
        "image": io.BytesIO(data),
        "joints_uv": np.where(labelled[:, None], one.points[:, :2], 0).astype(np.float32),
        "visible": labelled,
        "hidden": one.points[:, 2] == 1,
        "box": box.astype(np.float32),
        "area": np.float32(one.area or box[2] * box[3]),
        "id": key,
        NOTES: faults,
    }


def _box(
    one: LabelledObject, labelled: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """left, top, width, height, px, and its faults. The joints' own box takes the place of a
    missing one, of one without size and of one elsewhere; a single point has the picture's."""
    uv = one.points[:, :2]
    own = plausible.box_around(uv, labelled, margin=0.0)
    if np.ptp(uv[labelled], axis=0).max() < 1:
        own = np.array([-0.5, -0.5, size[1], size[0]])
    if one.box is None:
        return own, ()
    fault = plausible.corners_fault(one.box, uv, labelled, size)
    fault = fault or plausible.centers_fault(one.box, uv, labelled)
    fault = fault or plausible.box_fault(one.box, uv, labelled)
    return (own, (fault,)) if fault else (one.box, ())


def _roots(root: epath.Path, stem: str) -> tuple[epath.Path, ...]:
    """Where pictures are looked for; CVAT's subset of a task without any is called default."""
    images = root / "images"
    return root / stem, images / stem, images / "default", images, root


def _held_out(root: epath.Path, path: epath.Path, share: float) -> bool:
    """Whether a picture is in test: by its path alone, so that more pictures change no other."""
    name = path.relative_to(root).as_posix()
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * 2**64
