"""HandDB (Simon et al. 2017): pictures of hands labelled by people, rendered ones, and those of the Panoptic Studio itself.

The first two have a json file beside each picture; the studio's 14,817 are told in one.
"""

import io
import json
from functools import partial

import numpy as np
from etils import epath
from jaxtyping import Float

from handjax.data.formats.image import below, read_image
from handjax.data.preparation.examples import Examples, LazyExamples, unreadable
from handjax.pose.skeleton import ORDERS

LAYOUT = """hand_labels.zip (config "manual"), hand_labels_synth.zip ("synth") and hand143_panopticdb.tar ("studio") of HandDB,
domedb.perception.cs.cmu.edu, unpacked into the folder. Of the first two every picture has its labels beside it:
  hand_labels/manual_train/NAME.jpg, hand_labels/manual_train/NAME.json, hand_labels/manual_test/...
  hand_labels_synth/synth1/NAME.jpg, hand_labels_synth/synth1/NAME.json, ... synth2, synth3, synth4
  hand143_panopticdb/hands_v143_14817.json, hand143_panopticdb/imgs/00000000.jpg, ..."""
COUNTS = {"train": 1912, "test": 846, "synth": 14261, "studio": 14817}
CONFIGS = {"manual": ("train", "test"), "synth": ("synth",), "studio": ("studio",)}
STUDIO = "hand143_panopticdb/hands_v143_14817.json"

FOLDERS = {
    "train": ("hand_labels/manual_train",),
    "test": ("hand_labels/manual_test",),
    "synth": tuple(f"hand_labels_synth/synth{i}" for i in range(1, 5)),
}
_BOX = 2.2  # the square that Simon et al. crop, in sizes of the hand
_LARGEST_PX = 1e5


def missing(root: epath.Path, config: str = "manual") -> list[str]:
    if config == "studio":
        return _missing_of_studio(root)
    lines = []
    for folder in (folder for split in CONFIGS[config] for folder in FOLDERS[split]):
        if not (root / folder).exists():
            lines.append(folder)
            continue
        pictures, labels = _stems(root / folder, ".jpg"), _stems(root / folder, ".json")
        for lacking, there, what in (
            (labels - pictures, labels, ".jpg"),
            (pictures - labels, pictures, ".json"),
        ):
            if lacking:
                lines.append(
                    f"{folder}: {len(lacking)} of {len(there)} {what} files, the first {min(lacking)}{what}"
                )
        if not pictures | labels:
            lines.append(f"{folder}: .jpg and .json files")
    return lines


def samples(root: epath.Path, split: str) -> Examples:
    """A sample a labelled hand. A picture of several hands is there once for each, as in the files. The studio's json does not
    say which hand it is: its samples have no `side`."""
    return Examples(_lazy_studio(root) if split == "studio" else _lazy(root, split))


def _lazy(root: epath.Path, split: str) -> LazyExamples:
    for folder in FOLDERS[split]:
        for stem in sorted(_stems(root / folder, ".json")):
            yield (
                f"{folder.split('/')[-1]}/{stem}",
                partial(_sample, root / folder, stem, split != "synth"),
            )


def _sample(folder: epath.Path, stem: str, box_given: bool) -> dict:
    where = folder / f"{stem}.json"
    told = _json(where, "hand_pts and is_left")
    left = _numbers(told, "is_left", where)
    if left not in (0, 1):
        raise ValueError(f"{where}: is_left is neither 0 nor 1; copy it anew")
    middle = _numbers(told, "hand_box_center", where, 2) if box_given else None
    labels = _labels(_numbers(told, "hand_pts", where, 21, 3), middle, where)
    return _made(f"{folder.name}/{stem}", folder / f"{stem}.jpg", labels) | {
        "side": ("right", "left")[int(left)]
    }


def _lazy_studio(root: epath.Path) -> LazyExamples:
    for i, (where, hand) in enumerate(_hands_of_studio(root)):
        try:
            path = _picture_of_studio(root, where, hand)
        except ValueError as error:
            yield f"studio/hand {i}", unreadable(error)
            continue
        key = f"studio/{path.name.removesuffix('.jpg')}"
        yield (
            key,
            partial(_sample_of_studio, path, key, where, {"joint_self": hand.get("joint_self")}),
        )


def _sample_of_studio(path: epath.Path, key: str, where: str, told: dict) -> dict:
    return _made(key, path, _labels(_numbers(told, "joint_self", where, 21, 3), None, where))


def _missing_of_studio(root: epath.Path) -> list[str]:
    if not (root / STUDIO).exists():
        return [STUDIO]
    folder, there = (root / STUDIO).parent / "imgs", set()
    if folder.exists():
        there = {path.name for path in folder.iterdir()}
    try:
        paths = [_picture_of_studio(root, where, hand) for where, hand in _hands_of_studio(root)]
    except ValueError as error:
        return [str(error)]
    absent = sorted(path.name for path in paths if path.name not in there)
    at = folder.relative_to(root)
    return (
        [f"{at}: {len(absent)} of {len(paths)} pictures, the first {absent[0]}"] if absent else []
    )


def _hands_of_studio(root: epath.Path) -> list[tuple[str, dict]]:
    """Where each hand stands, in words, and what is said of it."""
    path = root / STUDIO
    told = _json(path, "root, a list of hands")
    hands = told.get("root") if isinstance(told, dict) else None
    if (
        not isinstance(hands, list)
        or not hands
        or not all(isinstance(hand, dict) for hand in hands)
    ):
        raise ValueError(
            f"{path}: 'root' is no list of hands; expected that of hand143_panopticdb.tar; copy it anew"
        )
    return [(f"{path}, hand {i}", hand) for i, hand in enumerate(hands)]


def _picture_of_studio(root: epath.Path, where: str, hand: dict) -> epath.Path:
    name = hand.get("img_paths")
    folder = (root / STUDIO).parent
    path = below(folder, name if isinstance(name, str) else "", where)
    if path.parent != folder / "imgs" or not path.name.endswith(".jpg"):
        raise ValueError(f"{where}: img_paths {name!r}; expected imgs/NAME.jpg; copy it anew")
    return path


def _made(key: str, picture: epath.Path, labels: dict) -> dict:
    data, _ = read_image(picture)
    return {"id": key, "image": io.BytesIO(data), **labels, "root": ORDERS["handdb"].root}


def _labels(
    points: Float[np.ndarray, "21 3"], middle: Float[np.ndarray, "2"] | None, where: object
) -> dict:
    """The box is about `middle`, or else about that of the labelled points."""
    points = ORDERS["handdb"].convert(points)
    visible = points[:, 2] == 1
    if not visible.any():
        raise ValueError(f"{where}: no point is labelled; copy it anew")
    uv = np.where(visible[:, None], points[:, :2], 0)
    low, high = points[visible, :2].min(axis=0), points[visible, :2].max(axis=0)
    middle = (low + high) / 2 if middle is None else middle
    side = _BOX * (high - low).max()
    return {
        "joints_uv": uv.astype(np.float32),
        "visible": visible,
        "box": np.array([*(middle - side / 2), side, side], np.float32),
    }


def _json(path: epath.Path, what: str) -> object:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path}: no such file; expected a json object with {what}"
        ) from None
    except (ValueError, RecursionError) as error:
        why = " ".join(str(error).split())
        raise ValueError(
            f"{path}: {why}; expected a json object with {what}; copy it anew"
        ) from None


def _numbers(told: object, key: str, where: object, *shape: int) -> Float[np.ndarray, "..."]:
    try:
        value = np.array(told.get(key) if isinstance(told, dict) else None, np.float64)
    except (TypeError, ValueError, OverflowError):
        value = np.array(np.nan)
    if value.shape != shape or not (np.abs(value) < _LARGEST_PX).all():
        what = " x ".join(str(n) for n in shape) + " finite numbers" if shape else "a number"
        raise ValueError(f"{where}: {key!r} is not {what}; copy it anew")
    return value


def _stems(folder: epath.Path, suffix: str) -> set[str]:
    return {
        path.name.removesuffix(suffix) for path in folder.iterdir() if path.name.endswith(suffix)
    }
