"""People of COCO 2017 (Lin et al. 2014) with their keypoints, selected as in Sun et al. 2018."""

import io
from functools import partial

import numpy as np
from etils import epath
from jaxtyping import Float

from handjax.data.formats.image import below, read_image
from handjax.data.formats.json_labels import LARGEST_PX, finite_numbers, read_json
from handjax.data.preparation.examples import Examples, LazyExamples
from handjax.pose.joint_orders import ORDERS

LAYOUT = """\
images/train2017/*.jpg                              train2017.zip
images/val2017/*.jpg                                val2017.zip
annotations/person_keypoints_train2017.json         annotations_trainval2017.zip
annotations/person_keypoints_val2017.json
from https://cocodataset.org/#download"""

FOLDERS = {"train": "train2017", "validation": "val2017"}
CONFIGS: tuple[str, ...] = ()
SKELETON: str | None = None
# Not published for the selection rule of `_is_sample`.
COUNTS: dict[str, int | None] = {"train": None, "validation": None}
JOINTS = 17
MIN_LABELLED = 2
_PERSON = 1  # category number
_LARGEST_AREA = LARGEST_PX**2


def missing(root: epath.Path, config: str | None = None) -> list[str]:
    """Missing annotations and folders, and how many images of an annotation are missing."""
    lines = []
    for split, name in FOLDERS.items():
        folder, present = root / "images" / name, set()
        if folder.exists():
            present = {path.name for path in folder.iterdir()}
        else:
            lines.append(f"images/{name}")
        if not _annotation(root, split).exists():
            lines.append(f"annotations/{_annotation(root, split).name}")
        elif present:
            try:
                wanted = sorted({image["file_name"] for _, image, _ in _chosen(root, split)})
            except ValueError as error:
                lines.append(str(error))
                continue
            if absent := [image for image in wanted if image not in present]:
                lines.append(
                    f"images/{name}/{absent[0]}: {len(absent)} of {len(wanted)} images with people"
                )
    return lines


def splits(root: epath.Path, config: str | None = None) -> tuple[str, ...]:
    return tuple(COUNTS)


def samples(root: epath.Path, split: str, config: str | None = None) -> Examples:
    """People in the order of the image numbers, then of their annotation numbers."""
    return Examples(_lazy(root, split))


def _lazy(root: epath.Path, split: str) -> LazyExamples:
    for where, image, person in _chosen(root, split):
        key = f"{split}/{image['id']:012d}_{person['id']}"
        fields = ("id", "keypoints", "bbox", "area")  # not the outline, which is large
        labels = {field: person[field] for field in fields}
        yield key, partial(_sample, root / "images" / FOLDERS[split], key, where, image, labels)


def _sample(folder: epath.Path, key: str, where: str, image: dict, person: dict) -> dict:
    path = below(folder, image["file_name"], where)
    data, pixels = read_image(path)
    if pixels.shape[:2] != (image["height"], image["width"]):
        height, width = pixels.shape[:2]
        raise ValueError(
            f"{path}: {width} x {height}; expected {image['width']} x {image['height']} "
            f"as in {where}"
        )
    marks = finite_numbers(person, "keypoints", where, 3 * JOINTS).reshape(JOINTS, 3)
    visible = marks[:, 2] > 0
    return {
        "image": io.BytesIO(data),
        "joints_uv": np.where(visible[:, None], marks[:, :2], 0).astype(np.float32),
        "visible": visible,
        "hidden": marks[:, 2] == 1,
        "box": _inside(person, image, where).astype(np.float32),
        "area": np.float32(finite_numbers(person, "area", where, limit=_LARGEST_AREA)),
        "image_id": image["id"],
        "person_id": person["id"],
        "id": key,
    }


def _chosen(root: epath.Path, split: str) -> list[tuple[str, dict, dict]]:
    """(location for messages, image entry, annotation) of every person that is a sample, sorted."""
    path = _annotation(root, split)
    content = read_json(path, "COCO's keypoints")
    fields = content if isinstance(content, dict) else {}
    parts = [fields.get(part) for part in ("images", "annotations", "categories")]
    for part in parts:
        if not isinstance(part, list) or not all(isinstance(entry, dict) for entry in part):
            raise ValueError(
                f"{path}: not a COCO annotation; "
                "expected lists of images, annotations and categories"
            )
    entries, people, categories = (part or [] for part in parts)
    _check_order(path, categories)
    for i, image in enumerate(entries):
        _check_whole(image, ("id", "height", "width"), f"{path}, image {i}")
    images = {image["id"]: image for image in entries}
    chosen = []
    for i, person in enumerate(people):
        where = f"{path}, annotation {i}"
        _check_whole(person, ("id", "image_id", "category_id", "iscrowd"), where)
        if (image := images.get(person["image_id"])) is None:
            raise ValueError(
                f"{where}: image {person['image_id']} is not among the images; "
                "copy the annotation again"
            )
        if not isinstance(image.get("file_name"), str):
            raise ValueError(
                f"{where}: image {image['id']} has no file_name; copy the annotation again"
            )
        if _is_sample(person, image, where):
            chosen.append((where, image, person))
    chosen.sort(key=lambda entry: (entry[1]["id"], entry[2]["id"]))
    if len({person["id"] for _, _, person in chosen}) < len(chosen):
        raise ValueError(f"{path}: two annotations have the same id; copy it again")
    return chosen


def _is_sample(person: dict, image: dict, where: str) -> bool:
    """Is this one person with an area, a box in the image and MIN_LABELLED labelled joints?"""
    if person["category_id"] != _PERSON or person["iscrowd"]:
        return False
    marks = finite_numbers(person, "keypoints", where, 3 * JOINTS)[2::3]
    if not np.isin(marks, (0, 1, 2)).all():
        raise ValueError(
            f"{where}: a keypoint is marked {marks[~np.isin(marks, (0, 1, 2))][0]:g}; "
            "expected 0, 1 or 2"
        )
    enough = (marks > 0).sum() >= MIN_LABELLED
    return bool(
        enough
        and finite_numbers(person, "area", where, limit=_LARGEST_AREA) > 0
        and (_inside(person, image, where)[2:] >= 0).all()
    )


def _inside(person: dict, image: dict, where: str) -> Float[np.ndarray, "4"]:
    """left, top, width, height of the box in the image, px between pixel centers (Sun et al.)."""
    left, top, width, height = finite_numbers(person, "bbox", where, 4)
    left, top = max(left, 0.0), max(top, 0.0)
    right = min(image["width"] - 1, left + max(width - 1, 0.0))
    bottom = min(image["height"] - 1, top + max(height - 1, 0.0))
    return np.array([left, top, right - left, bottom - top])


def _check_order(path: epath.Path, categories: list[dict]) -> None:
    named = next(
        (category.get("keypoints") for category in categories if category.get("id") == _PERSON),
        None,
    )
    if named != list(ORDERS["coco17"].joints):
        raise ValueError(
            f"{path}: category {_PERSON} is not a person with COCO's {JOINTS} keypoints; "
            "expected nose, left_eye, ..."
        )


def _annotation(root: epath.Path, split: str) -> epath.Path:
    return root / "annotations" / f"person_keypoints_{FOLDERS[split]}.json"


def _check_whole(entry: dict, keys: tuple[str, ...], where: str) -> None:
    for key in keys:
        if type(entry.get(key)) is not int or not 0 <= entry[key] < 1 << 63:
            raise ValueError(
                f"{where}: {key} {entry.get(key)!r}; expected a whole number, "
                "copy the annotation again"
            )
