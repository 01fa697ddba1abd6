"""HandDB (Simon et al. 2017): hands labelled by people, rendered, and of the Panoptic Studio.

The first two have a JSON file next to each image, the studio's 14,817 hands have one file.
"""

import io
from collections.abc import Collection
from functools import partial

import numpy as np
from etils import epath
from jaxtyping import Float

from handjax.data import plausible
from handjax.data.formats.image import below, read_image
from handjax.data.formats.json_labels import finite_numbers, read_json
from handjax.data.preparation.examples import NOTES, Examples, LazyExamples, unreadable
from handjax.pose.joint_orders import ORDERS

LAYOUT = """hand_labels.zip (config "manual"), hand_labels_synth.zip ("synth") and
hand143_panopticdb.tar ("studio") of HandDB, domedb.perception.cs.cmu.edu, unpacked into the folder.
The first two have the labels next to each image:
  hand_labels/manual_train/NAME.jpg, hand_labels/manual_train/NAME.json, hand_labels/manual_test/...
  hand_labels_synth/synth1/NAME.jpg, hand_labels_synth/synth1/NAME.json, ... synth2, synth3, synth4
  hand143_panopticdb/hands_v143_14817.json, hand143_panopticdb/imgs/00000000.jpg, ..."""
SKELETON: str | None = "hand21"
COUNTS = {"train": 1912, "test": 846, "synth": 14261, "studio": 14817}
CONFIGS = {"manual": ("train", "test"), "synth": ("synth",), "studio": ("studio",)}
STUDIO = "hand143_panopticdb/hands_v143_14817.json"

FOLDERS = {
    "train": ("hand_labels/manual_train",),
    "test": ("hand_labels/manual_test",),
    "synth": tuple(f"hand_labels_synth/synth{i}" for i in range(1, 5)),
}
_BOX = 2.2  # edge of the square that Simon et al. crop, as a multiple of the hand's size


def missing(
    root: epath.Path, config: str | None = None, only: Collection[str] | None = None
) -> list[str]:
    """Missing folders, and images and labels without each other."""
    if config == "studio":
        return _missing_of_studio(root)
    lines = []
    chosen = only or splits(root, config)
    for folder in (folder for split in chosen for folder in FOLDERS[split]):
        if not (root / folder).exists():
            lines.append(folder)
            continue
        images, labels = _stems(root / folder, ".jpg"), _stems(root / folder, ".json")
        for absent, wanted, suffix in (
            (labels - images, labels, ".jpg"),
            (images - labels, images, ".json"),
        ):
            if absent:
                lines.append(
                    f"{folder}: {len(absent)} of {len(wanted)} {suffix} files, "
                    f"the first {min(absent)}{suffix}"
                )
        if not images | labels:
            lines.append(f"{folder}: .jpg and .json files")
    return lines


def splits(root: epath.Path, config: str | None = None) -> tuple[str, ...]:
    return CONFIGS[config or "manual"]


def samples(root: epath.Path, split: str, config: str | None = None) -> Examples:
    """One sample per labelled hand; an image of several hands occurs once for each of them.

    The studio's file does not contain the handedness, so its samples have no `side`.
    """
    return Examples(_lazy_studio(root) if split == "studio" else _lazy(root, split))


def _lazy(root: epath.Path, split: str) -> LazyExamples:
    for folder in FOLDERS[split]:
        for stem in sorted(_stems(root / folder, ".json")):
            key = f"{folder.split('/')[-1]}/{stem}"
            yield key, partial(_sample, root / folder, stem, split != "synth")


def _sample(folder: epath.Path, stem: str, box_given: bool) -> dict:
    where = folder / f"{stem}.json"
    content = read_json(where, "a JSON object with hand_pts and is_left")
    left = finite_numbers(content, "is_left", where)
    if left not in (0, 1):
        raise ValueError(f"{where}: is_left is neither 0 nor 1; copy it again")
    given = box_given and isinstance(content, dict) and "hand_box_center" in content
    center = finite_numbers(content, "hand_box_center", where, 2) if given else None
    labels = _labels(finite_numbers(content, "hand_pts", where, 21, 3), center, where)
    return _with_image(f"{folder.name}/{stem}", folder / f"{stem}.jpg", labels) | {
        "side": ("right", "left")[int(left)]
    }


def _lazy_studio(root: epath.Path) -> LazyExamples:
    for i, (where, hand) in enumerate(_hands_of_studio(root)):
        try:
            path = _image_of_studio(root, where, hand)
        except ValueError as error:
            yield f"studio/hand {i}", unreadable(error)
            continue
        key = f"studio/{path.name.removesuffix('.jpg')}"
        points = {"joint_self": hand.get("joint_self")}
        yield key, partial(_sample_of_studio, path, key, where, points)


def _sample_of_studio(path: epath.Path, key: str, where: str, hand: dict) -> dict:
    return _with_image(
        key, path, _labels(finite_numbers(hand, "joint_self", where, 21, 3), None, where)
    )


def _missing_of_studio(root: epath.Path) -> list[str]:
    if not (root / STUDIO).exists():
        return [STUDIO]
    folder, present = (root / STUDIO).parent / "imgs", set()
    if folder.exists():
        present = {path.name for path in folder.iterdir()}
    try:
        paths = [_image_of_studio(root, where, hand) for where, hand in _hands_of_studio(root)]
    except ValueError as error:
        return [str(error)]
    absent = sorted(path.name for path in paths if path.name not in present)
    if not absent:
        return []
    at = folder.relative_to(root)
    return [f"{at}: {len(absent)} of {len(paths)} images, the first {absent[0]}"]


def _hands_of_studio(root: epath.Path) -> list[tuple[str, dict]]:
    """(location for messages, annotation) of each hand."""
    path = root / STUDIO
    content = read_json(path, "a JSON object with root, a list of hands")
    hands = content.get("root") if isinstance(content, dict) else None
    if (
        not isinstance(hands, list)
        or not hands
        or not all(isinstance(hand, dict) for hand in hands)
    ):
        raise ValueError(
            f"{path}: 'root' is not a list of hands; expected that of hand143_panopticdb.tar; "
            "copy it again"
        )
    return [(f"{path}, hand {i}", hand) for i, hand in enumerate(hands)]


def _image_of_studio(root: epath.Path, where: str, hand: dict) -> epath.Path:
    name = hand.get("img_paths")
    folder = (root / STUDIO).parent
    path = below(folder, name if isinstance(name, str) else "", where)
    if path.parent != folder / "imgs" or not path.name.endswith(".jpg"):
        raise ValueError(f"{where}: img_paths {name!r}; expected imgs/NAME.jpg; copy it again")
    return path


def _with_image(key: str, path: epath.Path, labels: dict) -> dict:
    data, _ = read_image(path)
    return {"id": key, "image": io.BytesIO(data), **labels, "root": ORDERS["handdb"].root}


def _labels(
    points: Float[np.ndarray, "21 3"], center: Float[np.ndarray, "2"] | None, where: object
) -> dict:
    """The box is centered on `center`, or without it on the box of the labelled points."""
    points = ORDERS["handdb"].convert(points)
    if not np.isin(points[:, 2], (0, 1, 2)).all():
        mark = points[~np.isin(points[:, 2], (0, 1, 2)), 2][0]
        raise ValueError(f"{where}: a point is marked {mark:g}; expected 0, 1 or as in COCO 2")
    visible = points[:, 2] > 0
    if not visible.any():
        raise ValueError(f"{where}: no point is labelled; copy it again")
    uv = np.where(visible[:, None], points[:, :2], 0)
    low, high = points[visible, :2].min(axis=0), points[visible, :2].max(axis=0)
    center = (low + high) / 2 if center is None else center
    side = _BOX * (high - low).max()
    box = np.array([*(center - side / 2), side, side])
    fault = plausible.box_fault(box, points[:, :2], visible)
    if fault:
        box = plausible.square_around(points[:, :2], visible, margin=(_BOX - 1) / 2)
    return {
        "joints_uv": uv.astype(np.float32),
        "visible": visible,
        "box": box.astype(np.float32),
        NOTES: (fault,) if fault else (),
    }


def _stems(folder: epath.Path, suffix: str) -> set[str]:
    """Names without the suffix; hidden files, which macOS leaves on other disks, are none."""
    names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    return {name.removesuffix(suffix) for name in names if name.endswith(suffix)}
