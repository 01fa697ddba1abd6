"""FreiHAND, version 2 (Zimmermann et al. 2019), unpacked: photographs of one right hand each.

Labels are lists in the order of the images; the n hands of the training set have 4 n images, whose
numbers go through all hands with one background before the next begins (`sample_version` in
utils/fh_utils.py of github.com/lmb-freiburg/freihand). So image i shows hand i % n.

Joints are metres in the camera's frame, x right, y down, z forward, in the common order
(`plot_hand` there). Their pixels are projections by K: the set has no others, and marks no joint as
hidden. Version 1 has the same files for another hand model and is off by up to 6 mm; nothing in the
files tells which it is. Masks, scales, vertices and parameters of MANO are not read.
"""

import io
from collections.abc import Collection
from functools import partial

import numpy as np
from etils import epath

from handjax.data.formats.folders import names_in
from handjax.data.formats.image import read_image
from handjax.data.formats.json_labels import finite_numbers, read_json
from handjax.data.preparation.examples import Examples, LazyExamples
from handjax.pose.joint_orders import ORDERS
from handjax.pose.pinhole import project

LAYOUT = """FreiHAND_pub_v2.zip and, for the split test, FreiHAND_pub_v2_eval.zip of
lmb.informatik.uni-freiburg.de/resources/datasets/FreihandDataset.en.html, unpacked into one folder:
  training_K.json, training_xyz.json, training/rgb/00000000.jpg ... 00130239.jpg
  evaluation_K.json, evaluation_xyz.json, evaluation/rgb/00000000.jpg ... 00003959.jpg"""
CONFIGS: tuple[str, ...] = ()
SKELETON: str | None = "hand21"
COUNTS = {"train": 130240, "test": 3960}
SIZE = 224

FOLDERS = {"train": "training", "test": "evaluation"}
# How the background of an image was made, in the order of the numbers; evaluation has the first.
VERSIONS = ("gs", "hom", "sample", "auto")
_FARTHEST_M = 10.0  # from the camera


def missing(
    root: epath.Path, config: str | None = None, only: Collection[str] | None = None
) -> list[str]:
    """Missing labels and images, and images beyond the labels."""
    lines = []
    for split in only or COUNTS:
        folder = FOLDERS[split]
        absent = [
            path.name for kind in ("K", "xyz") if not (path := _json(root, folder, kind)).exists()
        ]
        if absent:
            lines += absent
            continue
        try:
            count = len(_labels(root, folder)) * _copies(split)
        except ValueError as error:
            lines.append(str(error))
            continue
        images = root / folder / "rgb"
        present = names_in(images)
        names = [_name(number) for number in range(count)]
        if gone := [name for name in names if name not in present]:
            lines.append(f"{folder}/rgb: {len(gone)} of {count} images, the first {gone[0]}")
        if _name(count) in present:
            lines.append(
                f"{folder}_xyz.json: a label of {folder}/rgb/{_name(count)}; it has those of "
                f"{count} images"
            )
    return lines


def splits(root: epath.Path, config: str | None = None) -> tuple[str, ...]:
    return tuple(COUNTS)


def samples(root: epath.Path, split: str, config: str | None = None) -> Examples:
    """One sample per image, in the order of their numbers."""
    return Examples(_lazy(root, split))


def _lazy(root: epath.Path, split: str) -> LazyExamples:
    folder = FOLDERS[split]
    labels = _labels(root, folder)
    for copy in range(_copies(split)):
        for i, (k, xyz) in enumerate(labels):
            number = copy * len(labels) + i
            path = root / folder / "rgb" / _name(number)
            where = f"{_json(root, folder, 'xyz').parent}: {folder}_K.json and _xyz.json, hand {i}"
            key = f"{folder}/{number:08d}"
            yield key, partial(_sample, path, where, key, k, xyz, VERSIONS[copy], i)


def _sample(
    path: epath.Path, where: str, key: str, k: object, xyz: object, version: str, hand: int
) -> dict:
    numbers = finite_numbers({"K": k}, "K", where, 3, 3)
    metres = finite_numbers({"xyz": xyz}, "xyz", where, 21, 3, limit=_FARTHEST_M)
    if min(numbers[0, 0], numbers[1, 1]) <= 0 or (metres[:, 2] <= 0).any():
        raise ValueError(
            f"{where}: a focal length below 0, or a joint behind the camera; copy them again"
        )
    data, pixels = read_image(path)
    if pixels.shape != (SIZE, SIZE, 3):
        raise ValueError(f"{path}: pixels of shape {pixels.shape}; expected {(SIZE, SIZE, 3)}")
    joints = ORDERS["freihand"].convert(1000 * metres)
    uv = project(joints, numbers)
    return {
        "id": key,
        "image": io.BytesIO(data),
        "k": numbers.astype(np.float32),
        "joints_xyz": joints.astype(np.float32),
        "joints_uv": uv.astype(np.float32),
        "visible": np.all((uv > -0.5) & (uv < SIZE - 0.5), axis=-1),
        "side": "right",
        "root": ORDERS["freihand"].root,
        "version": version,
        "hand": np.int32(hand),
    }


def _labels(root: epath.Path, folder: str) -> list[tuple[object, object]]:
    """K and joints of every hand, as they are in the files."""
    lists = []
    for kind in ("K", "xyz"):
        path = _json(root, folder, kind)
        content = read_json(path, "a list with one entry per hand")
        if not isinstance(content, list) or not content:
            raise ValueError(f"{path}: not a list with one entry per hand; copy it again")
        lists.append(content)
    intrinsics, joints = lists
    if len(intrinsics) != len(joints):
        raise ValueError(
            f"{_json(root, folder, 'xyz')}: {len(joints)} hands, and {len(intrinsics)} in "
            f"{folder}_K.json; expected the same number: copy both again"
        )
    return list(zip(intrinsics, joints, strict=True))


def _copies(split: str) -> int:
    return len(VERSIONS) if split == "train" else 1


def _json(root: epath.Path, folder: str, kind: str) -> epath.Path:
    return root / f"{folder}_{kind}.json"


def _name(number: int) -> str:
    return f"{number:08d}.jpg"
