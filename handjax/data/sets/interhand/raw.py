"""InterHand2.6M (Moon et al. 2020), version 1.0: color images of one or two hands, with 3D joints.

The files are those that data/InterHand2.6M/dataset.py of github.com/facebookresearch/InterHand2.6M
reads. Traps:

- Joints are mm in the frame of a capture's studio; a camera sees R (x - T) of them, where `campos`
  is T and `camrot` R. Pixels are projections: the set has no others.
- An image has 42 joints, the right hand's 21 first. Fingers run from tip to base, and the wrist is
  the last joint of a hand (its annotations/skeleton.txt, quoted in issue 27).
- `joint_valid` marks the joints of an image; those of a hand whose wrist is not valid are all taken
  as not valid, as there. Coordinates of joints that are not valid mean nothing, and become 0.
- Camera and joints are looked up by the numbers of capture, camera and frame, as texts.

Here a sample is one hand, so that an image of two gives two. Parameters of MANO are not read.
"""

import io
from collections.abc import Collection, Mapping
from functools import partial
from typing import Any

import numpy as np
from etils import epath

from handjax.data.formats.folders import names_in
from handjax.data.formats.image import below, read_image
from handjax.data.formats.json_labels import finite_numbers, identifier, read_json
from handjax.data.preparation.examples import Examples, LazyExamples
from handjax.pose.joint_orders import ORDERS
from handjax.pose.pinhole import project

LAYOUT = """
manual_dir holds InterHand2.6M 1.0, at 5 or 30 frames per second, as
https://mks0601.github.io/InterHand2.6M/ links it, unpacked:

  annotations/train/InterHand2.6M_train_data.json, InterHand2.6M_train_camera.json,
      InterHand2.6M_train_joint_3d.json, and likewise val and test
  images/train/Capture0/ROM01_No_Interaction_2_Finger/cam400262/image00000.jpg, ...
"""
CONFIGS: tuple[str, ...] = ()
SKELETON: str | None = "hand21"
COUNTS: Mapping[str, int | None] = {"train": None, "validation": None, "test": None}
JOINTS = 21

FOLDERS = {"train": "train", "validation": "val", "test": "test"}
_SIDES = ("right", "left")  # in the order of the 42 joints
_WRIST = ORDERS["interhand"].joints.index("wrist")
_HAND_TYPES = ("right", "left", "interacting")
_LARGEST_MM = 1e5  # from the middle of the studio


def missing(
    root: epath.Path, config: str | None = None, only: Collection[str] | None = None
) -> list[str]:
    """Missing annotations and images."""
    lines = []
    for folder in (FOLDERS[split] for split in only or COUNTS):
        files = [_annotation(root, folder, kind) for kind in ("data", "camera", "joint_3d")]
        if absent := [str(path.relative_to(root)) for path in files if not path.exists()]:
            lines += absent
            continue
        try:
            images, _ = _lists(files[0])
        except ValueError as error:
            lines.append(str(error))
            continue
        lines += _missing_images(root / "images" / folder, files[0], list(images.values()))
    return lines


def _missing_images(folder: epath.Path, file: epath.Path, images: list[dict]) -> list[str]:
    names: dict[str, list[str]] = {}
    for image in images:
        parent, _, name = image["file_name"].rpartition("/")
        names.setdefault(parent, []).append(name)
    lines = []
    for parent, wanted in sorted(names.items()):
        at = below(folder, parent, str(file)) if parent else folder
        present = names_in(at)
        if absent := [name for name in wanted if name not in present]:
            lines.append(
                f"images/{folder.name}/{parent}: {len(absent)} of {len(wanted)} images, the first "
                f"{absent[0]}"
            )
    return lines


def splits(root: epath.Path, config: str | None = None) -> tuple[str, ...]:
    return tuple(COUNTS)


def samples(root: epath.Path, split: str, config: str | None = None) -> Examples:
    """One sample per labelled hand, in the order of the annotations, right hands first."""
    return Examples(_lazy(root, FOLDERS[split]))


def _lazy(root: epath.Path, folder: str) -> LazyExamples:
    file = _annotation(root, folder, "data")
    images, hands = _lists(file)
    cameras = read_json(_annotation(root, folder, "camera"), "the cameras of every capture")
    joints = read_json(_annotation(root, folder, "joint_3d"), "the joints of every frame")
    for i, hand in enumerate(hands):
        where = f"{file}, annotation {i}"
        image = images.get(identifier(hand, "image_id", where))
        if image is None:
            raise ValueError(f"{where}: its image is not among the images; copy it again")
        valid = finite_numbers({"joint_valid": _flat(hand)}, "joint_valid", where, 2 * JOINTS) == 1
        if hand.get("hand_type") not in _HAND_TYPES:
            raise ValueError(f"{where}: hand_type is not {', '.join(_HAND_TYPES)}; copy it again")
        capture, view, frame = (str(image.get(key)) for key in ("capture", "camera", "frame_idx"))
        for number, side in enumerate(_SIDES):
            known = valid[number * JOINTS : (number + 1) * JOINTS]
            if not known[_WRIST]:
                continue
            labels = {
                "camera": {key: _within(cameras, capture, key, view) for key in _CAMERA},
                "world_coord": _within(joints, capture, frame, "world_coord"),
                "known": known,
                "number": number,
                "interacting": hand["hand_type"] == "interacting",
            }
            name = image["file_name"]
            key = f"{folder}/{name.rpartition('.')[0]}_{side}"
            what = f"{file.parent}: capture {capture}, camera {view}, frame {frame}"
            yield (
                key,
                partial(_sample, below(root / "images" / folder, name, where), key, what, labels),
            )


_CAMERA = {"campos": (3,), "camrot": (3, 3), "focal": (2,), "princpt": (2,)}


def _sample(path: epath.Path, key: str, where: str, labels: dict[str, Any]) -> dict:
    position, rotation, focal, middle = (
        finite_numbers(labels["camera"], name, where, *shape) for name, shape in _CAMERA.items()
    )
    number, known, world = labels["number"], labels["known"], labels["world_coord"]
    if isinstance(world, list) and len(world) == 2 * JOINTS:
        hand = world[number * JOINTS : (number + 1) * JOINTS]
        world = [row if given else (0, 0, 0) for row, given in zip(hand, known, strict=True)]
    own = finite_numbers({"world_coord": world}, "world_coord", where, JOINTS, 3, limit=_LARGEST_MM)
    own = (own - position) @ rotation.T
    if min(focal) <= 0 or (own[known, 2] <= 0).any():
        raise ValueError(
            f"{where}: a focal length below 0, or a joint behind the camera; copy the annotations "
            "again"
        )
    data, pixels = read_image(path)  # some cameras are monochrome
    to_common = ORDERS["interhand"].convert
    k = np.array([[focal[0], 0, middle[0]], [0, focal[1], middle[1]], [0, 0, 1]])
    labelled = to_common(known, axis=-1)
    xyz = np.where(labelled[:, None], to_common(own), 0)
    uv = project(np.where(labelled[:, None], xyz, 1), k)
    height, width = pixels.shape[:2]
    visible = labelled & np.all((uv > -0.5) & (uv < (width - 0.5, height - 0.5)), axis=-1)
    return {
        "image": io.BytesIO(data),
        "k": k.astype(np.float32),
        "joints_xyz": xyz.astype(np.float32),
        "joints_uv": np.where(visible[:, None], uv, 0).astype(np.float32),
        "visible": visible,
        "side": _SIDES[number],
        "root": ORDERS["interhand"].root,
        "interacting": np.bool_(labels["interacting"]),
        "id": key,
    }


def _lists(path: epath.Path) -> tuple[dict[int | str, dict], list[dict]]:
    """Images by id, and annotations."""
    content = read_json(path, "InterHand2.6M's images and annotations")
    parts = [content.get(part) if isinstance(content, dict) else None for part in _PARTS]
    for part in parts:
        if not isinstance(part, list) or not all(isinstance(entry, dict) for entry in part):
            raise ValueError(f"{path}: expected lists of images and annotations; copy it again")
    entries, hands = (part or [] for part in parts)
    if wrong := [entry for entry in entries if not isinstance(entry.get("file_name"), str)]:
        raise ValueError(f"{path}: {len(wrong)} images have no file_name; copy it again")
    return {
        identifier(entry, "id", f"{path}, image {i}"): entry for i, entry in enumerate(entries)
    }, hands


_PARTS = ("images", "annotations")


def _flat(hand: dict) -> object:
    """`joint_valid` as a list: some releases have one list per joint."""
    marks = hand.get("joint_valid")
    one_each = isinstance(marks, list) and all(isinstance(m, list) and len(m) == 1 for m in marks)
    return [m[0] for m in marks] if one_each and isinstance(marks, list) else marks


def _within(content: object, *keys: str) -> object:
    """The value at these keys of nested dicts; None where one is missing."""
    for key in keys:
        content = content.get(key) if isinstance(content, dict) else None
    return content


def _annotation(root: epath.Path, folder: str, kind: str) -> epath.Path:
    return root / "annotations" / folder / f"InterHand2.6M_{folder}_{kind}.json"
