"""Rendered Hand pose Dataset 1.1 (Zimmermann & Brox 2017), unpacked.

Both hands of a rendered person, 320 x 320.
"""

import io
from collections.abc import Collection
from functools import partial
from typing import cast

import numpy as np
from etils import epath
from jaxtyping import UInt8

from handjax.data.formats import unpickle
from handjax.data.formats.folders import names_in
from handjax.data.formats.image import read_image
from handjax.data.preparation.examples import Examples, LazyExamples, unreadable
from handjax.pose.joint_orders import ORDERS

LAYOUT = """RHD_v1-1.zip of lmb.informatik.uni-freiburg.de, unpacked: its RHD_published_v2 with
  training/anno_training.pickle, training/color/00000.png, training/mask/00000.png,
  training/depth/00000.png, ...
  evaluation/anno_evaluation.pickle, evaluation/color/00000.png, ..."""
CONFIGS: tuple[str, ...] = ()
SKELETON: str | None = "hand21"
COUNTS = {"train": 41258, "test": 2728}
SIZE = 320

FOLDERS = {"train": "training", "test": "evaluation"}
IMAGES = ("color", "mask", "depth")
# Mask codes: 0 background, 1 person, then 16 parts of the left hand and 16 of the right.
_MASK_RIGHT, _MASK_LAST = 18, 33
DEPTH_UNIT_MM = 5000 / 65535  # the data set's view_samples.py: (R * 256 + G) / 65535 * 5 m


def missing(
    root: epath.Path, config: str | None = None, only: Collection[str] | None = None
) -> list[str]:
    """Missing annotations and images."""
    lines = []
    for folder in (FOLDERS[split] for split in only or COUNTS):
        if not _pickle(root, folder).exists():
            lines.append(f"{folder}/{_pickle(root, folder).name}")
            continue
        try:
            names = {_name(number) for number in _annotations(root, folder)}
        except ValueError as error:
            lines.append(str(error))
            continue
        for images in IMAGES:
            at = root / folder / images
            present = names_in(at)
            if absent := sorted(names - present):
                lines.append(
                    f"{folder}/{images}: {len(absent)} of {len(names)} images, "
                    f"the first {absent[0]}"
                )
    return lines


def splits(root: epath.Path, config: str | None = None) -> tuple[str, ...]:
    return tuple(COUNTS)


def samples(root: epath.Path, split: str, config: str | None = None) -> Examples:
    """One sample per image, with the labels of its dominant hand and of both, order "hand21"."""
    return Examples(_lazy(root, FOLDERS[split]))


def _lazy(root: epath.Path, folder: str) -> LazyExamples:
    for number, annotation in sorted(_annotations(root, folder).items()):
        key = f"{folder}/{number:05d}"
        try:
            hands = _labels(annotation, root, folder, number)
        except ValueError as error:
            yield key, unreadable(error)
            continue
        yield key, partial(_sample, root / folder, number, key, hands)


def _sample(folder: epath.Path, number: int, key: str, hands: dict) -> dict:
    images, side = _images(folder, _name(number))
    return {
        "id": key,
        **images,
        **hands,
        "joints_xyz": hands["hands_xyz"][side],
        "joints_uv": hands["hands_uv"][side],
        "visible": hands["hands_visible"][side],
        "side": ("left", "right")[side],
        "root": ORDERS["rhd"].root,
    }


def dominant_side(mask: UInt8[np.ndarray, "h w"]) -> int:
    """0 (left) or 1 (right): the hand with more pixels, right if equal; the rule of hand3d."""
    return int(np.sum(mask >= _MASK_RIGHT) >= np.sum((mask > 1) & (mask < _MASK_RIGHT)))


def _images(folder: epath.Path, name: str) -> tuple[dict, int]:
    files = {}
    for kind in IMAGES:
        path = folder / kind / name
        data, pixels = read_image(path)
        channels = () if kind == "mask" else (3,)
        if pixels.shape != (SIZE, SIZE, *channels):
            raise ValueError(
                f"{path}: pixels of shape {pixels.shape}; expected {(SIZE, SIZE, *channels)}"
            )
        files[kind] = data, pixels
    mask = files["mask"][1]
    if mask.max() > _MASK_LAST:
        raise ValueError(
            f"{folder / 'mask' / name}: has the code {mask.max()}; expected 0 to {_MASK_LAST}; "
            "copy it again"
        )
    packed = files["depth"][1].astype(np.uint16)
    depth = np.round((packed[..., :1] * 256 + packed[..., 1:2]) * DEPTH_UNIT_MM)
    images = {
        "image": io.BytesIO(files["color"][0]),
        "segmentation": io.BytesIO(files["mask"][0]),
        "depth": depth.astype(np.uint16),
    }
    return images, dominant_side(mask)


def _labels(annotation: object, root: epath.Path, folder: str, number: int) -> dict:
    def array(key: str, shape: tuple[int, int]) -> np.ndarray:
        value = np.asarray(annotation.get(key)) if isinstance(annotation, dict) else np.empty(0)
        if value.shape != shape or value.dtype.kind not in "biuf" or not np.isfinite(value).all():
            raise ValueError(
                f"{where}: {key!r} is not {shape[0]} x {shape[1]} finite numbers; "
                "copy the pickle again"
            )
        return value

    where = f"{_pickle(root, folder)}, sample {number}"
    uv_vis, xyz, k = array("uv_vis", (42, 3)), array("xyz", (42, 3)), array("K", (3, 3))
    if not np.isin(uv_vis[:, 2], (0, 1)).all() or min(k[0, 0], k[1, 1]) <= 0:
        raise ValueError(
            f"{where}: visibility other than 0 and 1, or a focal length below 0; "
            "copy the pickle again"
        )
    to_common = ORDERS["rhd"].convert
    return {
        "k": k.astype(np.float32),
        "hands_xyz": to_common(xyz.reshape(2, 21, 3).astype(np.float32) * np.float32(1000)),
        "hands_uv": to_common(uv_vis[:, :2].reshape(2, 21, 2).astype(np.float32)),
        "hands_visible": to_common(uv_vis[:, 2].reshape(2, 21) == 1, axis=-1),
    }


def _annotations(root: epath.Path, folder: str) -> dict[int, object]:
    path = _pickle(root, folder)
    content = unpickle.read(path)
    numbers = [_number(key) for key in content] if isinstance(content, dict) else []
    if not isinstance(content, dict) or not numbers or min(numbers) < 0:
        raise ValueError(f"{path}: expected a dict with sample numbers as keys; copy it again")
    if len(set(numbers)) < len(numbers):
        raise ValueError(f"{path}: two keys are the same number; expected one per sample")
    return dict(zip(numbers, content.values(), strict=True))


def _number(key: object) -> int:
    """A sample's number: an integer of Python or NumPy, or its digits; -1 for other keys."""
    if isinstance(key, str) and key.isdecimal() and len(key) < 19:
        return int(key)
    whole = isinstance(key, int | np.integer) and not isinstance(key, bool)
    return int(cast(int, key)) if whole else -1


def _pickle(root: epath.Path, folder: str) -> epath.Path:
    return root / folder / f"anno_{folder}.pickle"


def _name(number: int) -> str:
    return f"{number:05d}.png"
