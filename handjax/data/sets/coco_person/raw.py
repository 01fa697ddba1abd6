"""People of COCO 2017 (Lin et al. 2014) with their keypoints, selected as in Sun et al. 2018."""

import io
from collections.abc import Collection
from functools import partial
from pathlib import PurePosixPath

import numpy as np
from etils import epath
from jaxtyping import Float

from handjax.data import plausible
from handjax.data.formats.image import below, read_image
from handjax.data.formats.json_labels import LARGEST_PX, finite_numbers, identifier, read_json
from handjax.data.preparation.examples import NOTES, Examples, LazyExamples
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


def missing(
    root: epath.Path, config: str | None = None, only: Collection[str] | None = None
) -> list[str]:
    """Missing annotations and folders, and how many images of an annotation are missing."""
    lines = []
    for split in only or COUNTS:
        name = FOLDERS[split]
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
            here = {PurePosixPath(image) for image in wanted}
            if absent := [
                str(image)
                for image in sorted(here)
                if str(image) not in present and not (folder / image).exists()
            ]:
                lines.append(
                    f"images/{name}/{absent[0]}: {len(absent)} of {len(here)} images with people"
                )
    return lines


def splits(root: epath.Path, config: str | None = None) -> tuple[str, ...]:
    return tuple(COUNTS)


def samples(root: epath.Path, split: str, config: str | None = None) -> Examples:
    """People in the order of the image numbers, then of their annotation numbers."""
    return Examples(_lazy(root, split))


def _lazy(root: epath.Path, split: str) -> LazyExamples:
    for where, image, person in _chosen(root, split):
        key = f"{split}/{_key(image['id'])}_{person['id']}"
        fields = ("id", "keypoints", "bbox", "area")  # not the outline, which is large
        labels = {field: person.get(field) for field in fields}
        yield key, partial(_sample, root / "images" / FOLDERS[split], key, where, image, labels)


def _key(number: int | str) -> str:
    return f"{number:012d}" if isinstance(number, int) else number


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
    box, faults = _box(person, image, where, marks[:, :2], visible)
    area = box[2] * box[3] if person["area"] is None else _area(person, where)
    return {
        "image": io.BytesIO(data),
        "joints_uv": np.where(visible[:, None], marks[:, :2], 0).astype(np.float32),
        "visible": visible,
        "hidden": marks[:, 2] == 1,
        "box": box.astype(np.float32),
        "area": np.float32(area),
        "image_id": image["id"] if isinstance(image["id"], int) else -1,
        "person_id": person["id"] if isinstance(person["id"], int) else -1,
        "id": key,
        NOTES: faults,
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
    category = _person_category(path, categories)
    for i, image in enumerate(entries):
        image["id"] = identifier(image, "id", f"{path}, image {i}")
        _check_whole(image, ("height", "width"), f"{path}, image {i}")
    images = {image["id"]: image for image in entries}
    chosen = []
    for i, person in enumerate(people):
        where = f"{path}, annotation {i}"
        number = identifier(person, "image_id", where)
        person["id"] = identifier(person, "id", where)
        if (image := images.get(number)) is None:
            raise ValueError(
                f"{where}: image {number} is not among the images; copy the annotation again"
            )
        if not isinstance(image.get("file_name"), str):
            raise ValueError(
                f"{where}: image {image['id']} has no file_name; copy the annotation again"
            )
        if identifier(person, "category_id", where) == category and _is_sample(person, where):
            chosen.append((where, image, person))
    # Numbers first: a file may mix them with texts.
    chosen.sort(key=lambda entry: [(isinstance(part["id"], str), part["id"]) for part in entry[1:]])
    if len({person["id"] for _, _, person in chosen}) < len(chosen):
        raise ValueError(f"{path}: two annotations have the same id; copy it again")
    return chosen


def _is_sample(person: dict, where: str) -> bool:
    """Is this one person with an area and MIN_LABELLED labelled joints? As for COCO's own tools,
    people without `iscrowd` are no crowd, and those without `keypoints` have none."""
    crowd = person.get("iscrowd")
    if crowd not in (None, False, True, 0, 1):
        raise ValueError(f"{where}: iscrowd {crowd!r}; expected 0 or 1, or none")
    if crowd or person.get("keypoints") is None:
        return False
    marks = finite_numbers(person, "keypoints", where, 3 * JOINTS)[2::3]
    if not np.isin(marks, (0, 1, 2)).all():
        raise ValueError(
            f"{where}: a keypoint is marked {marks[~np.isin(marks, (0, 1, 2))][0]:g}; "
            "expected 0, 1 or 2"
        )
    enough = (marks > 0).sum() >= MIN_LABELLED
    return bool(enough and (person.get("area") is None or _area(person, where) > 0))


def _area(person: dict, where: str) -> Float[np.ndarray, ""]:
    return finite_numbers(person, "area", where, limit=_LARGEST_AREA)


def _box(
    person: dict, image: dict, where: str, uv: Float[np.ndarray, "17 2"], known: np.ndarray
) -> tuple[Float[np.ndarray, "4"], tuple[str, ...]]:
    """left, top, width, height in the image, px between pixel centers (Sun et al.), and its faults.
    The labelled joints' own box takes the place of a missing one, of one without size and of one
    elsewhere."""
    size = (image["height"], image["width"])
    if person["bbox"] is None:
        return _inside(plausible.box_around(uv, known), size), ()
    box = finite_numbers(person, "bbox", where, 4)
    fault = plausible.corners_fault(box, uv, known, size)
    if fault := fault or plausible.centers_fault(box, uv, known):
        return _inside(plausible.box_around(uv, known), size), (fault,)
    inside = _inside(box, size)
    if fault := plausible.box_fault(inside, uv, known):
        return _inside(plausible.box_around(uv, known), size), (fault,)
    return inside, ()


def _inside(box: Float[np.ndarray, "4"], size: tuple[int, int]) -> Float[np.ndarray, "4"]:
    left, top, width, height = box
    right = min(size[1] - 1, max(left, 0.0) + max(width - 1, 0.0))
    bottom = min(size[0] - 1, max(top, 0.0) + max(height - 1, 0.0))
    left, top = max(left, 0.0), max(top, 0.0)
    return np.array([left, top, right - left, bottom - top])


def _person_category(path: epath.Path, categories: list[dict]) -> int | str:
    """The id of the category of people: 1, or the one named "person"."""
    own = [c for c in categories if c.get("id") == _PERSON] or [
        c for c in categories if c.get("name") == "person"
    ]
    joints = own[0].get("keypoints") if own else []
    # Without names, 17 keypoints per person are taken to be COCO's.
    if joints is not None and joints != list(ORDERS["coco17"].joints):
        raise ValueError(
            f"{path}: category {_PERSON} is not a person with COCO's {JOINTS} keypoints; "
            "expected nose, left_eye, ..."
        )
    return identifier(own[0], "id", str(path))


def _annotation(root: epath.Path, split: str) -> epath.Path:
    return root / "annotations" / f"person_keypoints_{FOLDERS[split]}.json"


def _check_whole(entry: dict, keys: tuple[str, ...], where: str) -> None:
    for key in keys:
        if type(entry.get(key)) is not int or not 0 <= entry[key] < 1 << 63:
            raise ValueError(
                f"{where}: {key} {entry.get(key)!r}; expected a whole number, "
                "copy the annotation again"
            )
