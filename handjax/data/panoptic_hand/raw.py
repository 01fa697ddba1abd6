"""HandDB (Simon et al. 2017): pictures of hands labelled by people, and rendered ones, each with a json file beside it."""

import io
import json
from collections.abc import Iterator

import numpy as np
from etils import epath

from handjax.data.image_files import read_image
from handjax.pose.skeleton import ORDERS

LAYOUT = """hand_labels.zip (config "manual") and hand_labels_synth.zip (config "synth") of HandDB, domedb.perception.cs.cmu.edu,
unpacked into the folder; every picture has its labels beside it:
  hand_labels/manual_train/NAME.jpg, hand_labels/manual_train/NAME.json, hand_labels/manual_test/...
  hand_labels_synth/synth1/NAME.jpg, hand_labels_synth/synth1/NAME.json, ... synth2, synth3, synth4"""
COUNTS = {"train": 1912, "test": 846, "synth": 14261}
CONFIGS = {"manual": ("train", "test"), "synth": ("synth",)}

FOLDERS = {
    "train": ("hand_labels/manual_train",),
    "test": ("hand_labels/manual_test",),
    "synth": tuple(f"hand_labels_synth/synth{i}" for i in range(1, 5)),
}
_BOX = 2.2  # the square that Simon et al. crop, in sizes of the hand
_LARGEST_PX = 1e5


def missing(root: epath.Path, config: str = "manual") -> list[str]:
    lines = []
    for folder in (folder for split in CONFIGS[config] for folder in FOLDERS[split]):
        if not (root / folder).exists():
            lines.append(folder)
            continue
        pictures, labels = _stems(root / folder, ".jpg"), _stems(root / folder, ".json")
        for lacking, there, what in ((labels - pictures, labels, ".jpg"), (pictures - labels, pictures, ".json")):
            if lacking:
                lines.append(f"{folder}: {len(lacking)} of {len(there)} {what} files, the first {min(lacking)}{what}")
        if not pictures | labels:
            lines.append(f"{folder}: .jpg and .json files")
    return lines


def samples(root: epath.Path, split: str) -> Iterator[tuple[str, dict]]:
    """A sample a labelled hand. A picture of several hands is there once for each, as in the files."""
    for folder in FOLDERS[split]:
        for stem in sorted(_stems(root / folder, ".json")):
            key = f"{folder.split('/')[-1]}/{stem}"
            data, _ = read_image(root / folder / f"{stem}.jpg")
            labels = _labels(root / folder / f"{stem}.json", box_given=split != "synth")
            yield key, {"id": key, "image": io.BytesIO(data), **labels, "root": ORDERS["handdb"].root}


def _labels(path: epath.Path, box_given: bool) -> dict:
    try:
        told = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        what = " ".join(str(error).split())
        raise ValueError(f"{path}: {what}; expected a json object with hand_pts and is_left; copy it anew") from None

    def numbers(key: str, *shape: int) -> np.ndarray:
        try:
            value = np.array(told.get(key) if isinstance(told, dict) else None, np.float64)
        except (TypeError, ValueError, OverflowError):
            value = np.array(np.nan)
        if value.shape != shape or not (np.abs(value) < _LARGEST_PX).all():
            what = " x ".join(str(n) for n in shape) + " finite numbers" if shape else "a number"
            raise ValueError(f"{path}: {key!r} is not {what}; copy it anew")
        return value

    points = ORDERS["handdb"].convert(numbers("hand_pts", 21, 3))
    visible = points[:, 2] == 1
    left = numbers("is_left")
    if left not in (0, 1) or not visible.any():
        raise ValueError(f"{path}: is_left is neither 0 nor 1, or no point is labelled; copy it anew")
    uv = np.where(visible[:, None], points[:, :2], 0)
    low, high = points[visible, :2].min(axis=0), points[visible, :2].max(axis=0)
    middle = numbers("hand_box_center", 2) if box_given else (low + high) / 2
    side = _BOX * (high - low).max()
    return {
        "joints_uv": uv.astype(np.float32),
        "visible": visible,
        "side": ("right", "left")[int(left)],
        "box": np.array([*(middle - side / 2), side, side], np.float32),
    }


def _stems(folder: epath.Path, suffix: str) -> set[str]:
    return {path.name.removesuffix(suffix) for path in folder.iterdir() if path.name.endswith(suffix)}
