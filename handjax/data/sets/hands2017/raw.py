"""HANDS 2017 (Yuan et al. 2017), frame based: hands before a depth camera, with 21 joints.

Labels are camera mm, x right, y down, z forward, as in src/data/HANDS2017/data.lua of
mks0601/V2V-PoseNet_RELEASE, which also has the order of the joints (the wrist, then the bases of
all fingers, then each finger outward) and the camera. Traps:

- Labels of the test frames were never published. Here their joints are 0, and `labelled` is False.
- Readers skip training labels without an image (PNG2BIN.m there), so copies lack some; how many is
  not documented. Up to 1 % are left out here; more are missing.
- Some joints are outside the image: `visible` says which are inside.
- Of BoundingBox.txt only the names are read: nothing public says what its numbers are.
"""

import io
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import PurePosixPath

import numpy as np
from etils import epath

from handjax.data.formats.depth import read_depth_png
from handjax.data.formats.folders import names_in
from handjax.data.formats.label_text import parse_numbers, read_optional_centers
from handjax.data.preparation.examples import Examples, LazyExamples
from handjax.pose.joint_orders import ORDERS
from handjax.pose.pinhole import project

LAYOUT = """
manual_dir holds the two folders of the frame-based part of the HANDS 2017 challenge
(http://icvl.ee.ic.ac.uk/hands17/challenge/, on request):

  training/Training_Annotation.txt, training/images/image_D00000001.png ...
  frame/BoundingBox.txt, frame/images/image_D00000001.png ...

The refined centers of V2V-PoseNet (https://github.com/mks0601/V2V-PoseNet_RELEASE) are read as well
if they are in manual_dir:

  center_train_refined.txt, center_test_refined.txt
"""
CONFIGS: tuple[str, ...] = ()
SKELETON: str | None = "hand21"
COUNTS = {"train": 957032, "test": 295510}
LABELS = {"train": ("training", "Training_Annotation.txt"), "test": ("frame", "BoundingBox.txt")}
JOINTS = 21
HEIGHT, WIDTH = 480, 640
K = ((475.065948, 0.0, 315.944855), (0.0, 475.065857, 245.287079), (0.0, 0.0, 1.0))

_MAY_LACK = 0.01  # share of the training frames


def missing(
    root: epath.Path, config: str | None = None, only: Collection[str] | None = None
) -> list[str]:
    """Missing files, except for a few training frames that have a label but no image."""
    lines = []
    for split in only or COUNTS:
        folder, text = LABELS[split]
        if not (root / folder / text).exists():
            lines.append(f"{root / folder / text}: the list of {split} frames")
            continue
        try:
            names = [name for _, name, _ in _lines(root, split)]
        except ValueError as error:
            lines.append(str(error))
            continue
        absent = _without_image(root, split, names)
        if absent and (split == "test" or len(absent) > _MAY_LACK * len(names)):
            lines.append(
                f"{root / folder / 'images' / absent[0]}: {len(absent)} of {len(names)} depth "
                "frames, the first of them"
            )
    return lines


def holes(root: epath.Path, split: str, config: str | None = None) -> dict[str, str]:
    """Frames of the training set without an image, by key."""
    if split != "train":
        return {}
    names = [name for _, name, _ in _lines(root, split)]
    absent = _without_image(root, split, names)
    return {_key(split, name): "no image, as in other copies" for name in absent}


def splits(root: epath.Path, config: str | None = None) -> tuple[str, ...]:
    return tuple(COUNTS)


def samples(root: epath.Path, split: str, config: str | None = None) -> Examples:
    """Frames in the order of the list, with the joints in the order "hand21"."""
    return Examples(_lazy(root, split))


def _lazy(root: epath.Path, split: str) -> LazyExamples:
    folder, text = LABELS[split]
    names = [name for _, name, _ in _lines(root, split)]
    centers, valid = read_optional_centers(
        root / f"center_{split}_refined.txt", len(names), y_up=False
    )
    absent = set(_without_image(root, split, names)) if split == "train" else set()
    for i, (number, name, words) in enumerate(_lines(root, split)):
        if name not in absent:
            where = (root / folder / text, number) if split == "train" else None
            path = root / folder / "images" / name
            yield (
                _key(split, name),
                partial(_sample, path, _key(split, name), where, words, centers[i], valid[i]),
            )


def _sample(
    path: epath.Path,
    key: str,
    where: tuple[epath.Path, int] | None,
    words: str,
    center: np.ndarray,
    valid: np.bool_,
) -> dict:
    """`where` is the file and the line of the label `words`; None without a label."""
    k, uv = np.asarray(K), np.zeros((JOINTS, 2))
    xyz, inside = np.zeros((JOINTS, 3), np.float32), np.zeros(JOINTS, bool)
    if where:
        xyz = ORDERS["hands2017"].convert(_joints(*where, words.split()))
        uv = project(xyz, k)
        inside = np.all((uv > -0.5) & (uv < (WIDTH - 0.5, HEIGHT - 0.5)), axis=-1)
    depth, data = read_depth_png(path, form="png16")
    if depth.shape != (HEIGHT, WIDTH):
        raise ValueError(
            f"{path}: {depth.shape[1]} x {depth.shape[0]} pixels; expected {WIDTH} x {HEIGHT}"
        )
    return {
        "depth": io.BytesIO(data),
        "k": k.astype(np.float32),
        "joints_xyz": xyz,
        "joints_uv": uv.astype(np.float32),
        "visible": inside,
        "labelled": np.bool_(where is not None),
        "root": ORDERS["hands2017"].root,
        "center_xyz": center,
        "center_valid": valid,
        "id": key,
    }


def _joints(path: epath.Path, number: int, words: list[str]) -> np.ndarray:
    """Camera mm [21, 3], in the set's own order."""
    if len(words) != 3 * JOINTS:
        raise ValueError(
            f"{path}, line {number}: {len(words)} numbers after the name; expected x y z of "
            f"{JOINTS} joints"
        )
    xyz = parse_numbers(path, number, words).reshape(JOINTS, 3)
    if not (xyz[:, 2] > 0).all():
        raise ValueError(
            f"{path}, line {number}: a joint is behind the camera; expected positive z in mm"
        )
    return xyz


def _lines(root: epath.Path, split: str) -> Iterator[tuple[int, str, str]]:
    """Number of the line, name of the frame and what follows it, line by line: the file of the
    training set has half a gigabyte. ValueError for names that are no file or stand twice."""
    folder, text = LABELS[split]
    path, seen = root / folder / text, set()
    with path.open("rb") as file:
        for number, data in enumerate(file, 1):
            try:
                name, _, rest = data.decode().strip().replace("\t", " ").partition(" ")
            except UnicodeDecodeError:
                raise ValueError(f"{path}, line {number}: not UTF-8 text; copy it again") from None
            if PurePosixPath(name).name != name or "\\" in name or not name.endswith(".png"):
                raise ValueError(
                    f"{path}, line {number}: starts with {name[:40]!r}; expected the name of a .png"
                )
            if name in seen:
                raise ValueError(f"{path}, line {number}: {name} a second time; copy it again")
            seen.add(name)
            yield number, name, rest
    if not seen:
        raise ValueError(f"{path}: empty; expected one line per frame")


def _without_image(root: epath.Path, split: str, names: list[str]) -> list[str]:
    folder = root / LABELS[split][0] / "images"
    present = names_in(folder)
    return [name for name in names if name not in present]


def _key(split: str, name: str) -> str:
    return f"{split}/{name.removesuffix('.png')}"
