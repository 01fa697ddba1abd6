"""HANDS 2017 (Yuan et al. 2017), frame based, and task 1 of HANDS 2019 (Armagan et al. 2020): hands
before a depth camera, with 21 joints.

Labels are camera mm, x right, y down, z forward, as in src/data/HANDS2017/data.lua of
mks0601/V2V-PoseNet_RELEASE, which also has the order of the joints (the wrist, then the bases of
all fingers, then each finger outward) and the camera. Those of 2019 have the same form, order and
camera in other files (utils/reader.py and visualize_task1_task2.py of its organizers'
anilarmagan/HANDS19-Challenge-Toolbox). Traps:

- Labels of the test frames were never published. Here their joints are 0, and `labelled` is False.
- Readers skip training labels without an image (PNG2BIN.m there), so copies lack some; how many is
  not documented. Up to 1 % are left out here; more are missing.
- Some joints are outside the image: `visible` says which are inside.
- Of BoundingBox.txt only the names are read: nothing public says what its numbers are. Those of
  2019's test_bbs.txt are corners in px, and some are no box; they are not read either.
- Lines of 2019 may end in a tab.
"""

from collections.abc import Collection, Iterator
from functools import partial
from pathlib import PurePosixPath

import numpy as np
from etils import epath

from handjax.data.formats.folders import names_in
from handjax.data.formats.label_text import read_optional_centers
from handjax.data.preparation.examples import Examples, LazyExamples
from handjax.data.sets import sr300_frames as frames

LAYOUT = """
manual_dir holds the two folders of the frame-based part of the HANDS 2017 challenge
(http://icvl.ee.ic.ac.uk/hands17/challenge/, on request):

  training/Training_Annotation.txt, training/images/image_D00000001.png ...
  frame/BoundingBox.txt, frame/images/image_D00000001.png ...

The refined centers of V2V-PoseNet (https://github.com/mks0601/V2V-PoseNet_RELEASE) are read as well
if they are in manual_dir:

  center_train_refined.txt, center_test_refined.txt

With --config hands2019, it is the folder of task 1 of the HANDS 2019 challenge
(https://sites.google.com/view/hands2019/challenge, on request):

  training_joint_annotation.txt, training_images/*.png
  test_bbs.txt, test_images/*.png
"""
# Configuration and split → list of its frames, and the folder of their images.
LISTS = {
    "hands2017": {
        "train": ("training/Training_Annotation.txt", "training/images"),
        "test": ("frame/BoundingBox.txt", "frame/images"),
    },
    "hands2019": {
        "train": ("training_joint_annotation.txt", "training_images"),
        "test": ("test_bbs.txt", "test_images"),
    },
}
CONFIGS = tuple(LISTS)
SKELETON: str | None = "hand21"
COUNTS = {"hands2017/train": 957032, "hands2017/test": 295510}
COUNTS |= {"hands2019/train": 175951, "hands2019/test": 124999}

_MAY_LACK = 0.01  # share of the training frames


def missing(
    root: epath.Path, config: str | None = None, only: Collection[str] | None = None
) -> list[str]:
    """Missing files, except for a few training frames that have a label but no image."""
    lines = []
    for split in only or splits(root, config):
        text, images = _places(root, split, config)
        if not text.exists():
            lines.append(f"{text}: the list of {split} frames")
            continue
        try:
            names = [name for _, name, _ in _lines(text)]
        except ValueError as error:
            lines.append(str(error))
            continue
        absent = _absent(images, names)
        if absent and (split == "test" or len(absent) > _MAY_LACK * len(names)):
            lines.append(
                f"{images / absent[0]}: {len(absent)} of {len(names)} depth frames, the first of "
                "them"
            )
    return lines


def holes(root: epath.Path, split: str, config: str | None = None) -> dict[str, str]:
    """Frames of the training set without an image, by key."""
    if split != "train":
        return {}
    text, images = _places(root, split, config)
    absent = _absent(images, [name for _, name, _ in _lines(text)])
    return {_key(split, name): "no image, as in other copies" for name in absent}


def splits(root: epath.Path, config: str | None = None) -> tuple[str, ...]:
    return tuple(LISTS[config or CONFIGS[0]])


def samples(root: epath.Path, split: str, config: str | None = None) -> Examples:
    """Frames in the order of the list, with the joints in the order "hand21"."""
    return Examples(_lazy(root, split, config))


def _lazy(root: epath.Path, split: str, config: str | None) -> LazyExamples:
    text, images = _places(root, split, config)
    names = [name for _, name, _ in _lines(text)]
    centers, valid = read_optional_centers(
        root / f"center_{split}_refined.txt", len(names), y_up=False
    )
    absent = set(_absent(images, names)) if split == "train" else set()
    for i, (number, name, words) in enumerate(_lines(text)):
        if name not in absent:
            where = (text, number, words) if split == "train" else None
            key = _key(split, name)
            yield key, partial(_sample, images / name, key, where, centers[i], valid[i])


def _sample(
    path: epath.Path,
    key: str,
    where: tuple[epath.Path, int, str] | None,
    center: np.ndarray,
    valid: np.bool_,
) -> dict:
    """`where` is the file, the line and the words of the label; None without a label."""
    xyz = frames.joints(where[0], where[1], where[2].split()) if where else None
    return {
        **frames.features(path, xyz),
        "labelled": np.bool_(where is not None),
        "center_xyz": center,
        "center_valid": valid,
        "id": key,
    }


def _places(root: epath.Path, split: str, config: str | None) -> tuple[epath.Path, epath.Path]:
    text, images = LISTS[config or CONFIGS[0]][split]
    return root / text, root / images


def _lines(path: epath.Path) -> Iterator[tuple[int, str, str]]:
    """Number of the line, name of the frame and what follows it. ValueError for names that are no
    file or stand twice."""
    seen = set()
    for number, line in frames.lines_of(path):
        name, _, rest = line.replace("\t", " ").partition(" ")
        if PurePosixPath(name).name != name or "\\" in name or not name.endswith(".png"):
            raise ValueError(
                f"{path}, line {number}: starts with {name[:40]!r}; expected the name of a .png"
            )
        if name in seen:
            raise ValueError(f"{path}, line {number}: {name} a second time; copy it again")
        seen.add(name)
        yield number, name, rest


def _absent(images: epath.Path, names: list[str]) -> list[str]:
    present = names_in(images)
    return [name for name in names if name not in present]


def _key(split: str, name: str) -> str:
    return f"{split}/{name.removesuffix('.png')}"
