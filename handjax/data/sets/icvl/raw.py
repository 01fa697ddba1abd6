"""ICVL hand (Tang et al. 2014): one hand in front of an Intel depth camera.

16 joints as pixels and depth, y down. Most of the training set consists of its other frames rotated
in the plane, in folders named after the angle.
"""

import collections
import io
from collections.abc import Collection
from functools import partial
from pathlib import PurePosixPath

import numpy as np
from etils import epath

from handjax.data.formats.depth import read_depth_png
from handjax.data.formats.folders import names_in
from handjax.data.formats.label_text import read_joints, read_lines, read_optional_centers
from handjax.data.preparation.examples import Examples, LazyExamples
from handjax.pose.pinhole import uvd_to_xyz

LAYOUT = """
manual_dir holds the two folders of the ICVL hand posture data set
(https://labicvl.github.io/hand.html):

  Training/labels.txt
  Training/Depth/<folders and names as in labels.txt, such as 201403121135/image_0000.png>
  Testing/test_seq_1.txt, Testing/test_seq_2.txt
  Testing/Depth/test_seq_1/image_0000.png ..., Testing/Depth/test_seq_2/image_0000.png ...

The refined centers of V2V-PoseNet (https://github.com/mks0601/V2V-PoseNet_RELEASE) are read as well
if they are in manual_dir:

  center_train_refined.txt, center_test_refined.txt
"""
CONFIGS: tuple[str, ...] = ()
SKELETON: str | None = "icvl16"
COUNTS = {"train": 331006, "test": 1596}  # lines of the label files; test: 702 + 894
LABELS = {
    "train": ("Training", ("labels.txt",)),
    "test": ("Testing", ("test_seq_1.txt", "test_seq_2.txt")),
}
JOINTS = 16
HEIGHT, WIDTH = 240, 320
# As in DeepPrior and V2V-PoseNet; awesome-hand-pose-estimation, the published comparison of
# results, uses 240.99 and 240.96.
K = ((241.42, 0.0, 160.0), (0.0, 241.42, 120.0), (0.0, 0.0, 1.0))


def missing(
    root: epath.Path, config: str | None = None, only: Collection[str] | None = None
) -> list[str]:
    """Missing files, except for single training frames that have a label but no image."""
    lines = []
    for split in only or COUNTS:
        folder, texts = LABELS[split]
        absent_labels = [
            f"{root / folder / text}: labels of {split} frames"
            for text in texts
            if not (root / folder / text).exists()
        ]
        if absent_labels:
            lines += absent_labels
            continue
        names, absent = _names(root, split), without_image(root, split)
        if split == "test" and absent:
            lines.append(
                f"{root / folder / 'Depth' / absent[0]}: {len(absent)} of {len(names)} "
                "depth frames, the first of them"
            )
        elif absent:
            gone = set(absent)
            kept = {PurePosixPath(name).parent for name in names if name not in gone}
            lines += [
                f"{root / folder / 'Depth' / str(parent)}: a folder of depth frames"
                for parent in sorted({PurePosixPath(name).parent for name in absent} - kept)
            ]
    return lines


def without_image(root: epath.Path, split: str) -> list[str]:
    """Frames that have a label but no image, in the order of the labels.

    The published training set has some. `samples` leaves them out, as others do; the test set must
    be complete.
    """
    frames, present = [PurePosixPath(name) for name in _names(root, split)], {}
    for parent in {frame.parent for frame in frames}:
        folder = root / LABELS[split][0] / "Depth" / str(parent)
        present[parent] = names_in(folder)
    return [str(frame) for frame in frames if frame.name not in present[frame.parent]]


def holes(root: epath.Path, split: str, config: str | None = None) -> dict[str, str]:
    """Frames of the training set without an image, by key."""
    if split != "train":
        return {}
    reason = "no image, as in published copies"
    return {_key(split, name): reason for name in without_image(root, split)}


def splits(root: epath.Path, config: str | None = None) -> tuple[str, ...]:
    return tuple(COUNTS)


def samples(root: epath.Path, split: str, config: str | None = None) -> Examples:
    """Frames in the order of the labels."""
    return Examples(_lazy(root, split))


def _lazy(root: epath.Path, split: str) -> LazyExamples:
    names, uvd = _labels(root, split)
    centers, valid = read_optional_centers(
        root / f"center_{split}_refined.txt", len(names), y_up=False
    )
    absent = set(without_image(root, split)) if split == "train" else set()
    k = np.asarray(K)
    xyz = uvd_to_xyz(uvd, k)
    for i, name in enumerate(names):
        if name in absent:
            continue
        key = _key(split, name)
        labels = {
            "k": k.astype(np.float32),
            "joints_xyz": xyz[i].astype(np.float32),
            "joints_uv": uvd[i, :, :2].copy(),
            "center_xyz": centers[i].copy(),
            "center_valid": valid[i],
            "id": key,
        }
        yield key, partial(_sample, root / LABELS[split][0] / "Depth" / name, labels)


def _key(split: str, name: str) -> str:
    return f"{split}/{name.removesuffix('.png')}"


def _sample(path: epath.Path, labels: dict) -> dict:
    return {"depth": io.BytesIO(_depth(path)), **labels}


def _names(root: epath.Path, split: str) -> list[str]:
    folder, texts = LABELS[split]
    return [
        _below(root / folder / text, i, line.split()[0])
        for text in texts
        for i, line in read_lines(root / folder / text)
    ]


def _labels(root: epath.Path, split: str) -> tuple[list[str], np.ndarray]:
    """Names and (u, v, d) [n, 16, 3] of a split."""
    folder, texts = LABELS[split]
    uvd = []
    for text in texts:
        path = root / folder / text
        _, joints = read_joints(path, y_up=False)
        if joints.shape[1] != JOINTS:
            raise ValueError(
                f"{path}: {joints.shape[1]} joints per line; "
                f"expected a name and u v d of {JOINTS} joints"
            )
        if not (joints[..., 2] > 0).all():
            line = int(np.argwhere(~(joints[..., 2] > 0).all(1))[0, 0]) + 1
            raise ValueError(
                f"{path}, line {line}: the depth of a joint is not positive; "
                "expected u v d in px, px, mm"
            )
        uvd.append(joints)
    names = _names(root, split)
    name, times = collections.Counter(names).most_common(1)[0]
    if times > 1:
        raise ValueError(
            f"{root / folder}: {name} has {times} labels; expected one in {' or '.join(texts)}"
        )
    return names, np.concatenate(uvd)


def _below(path: epath.Path, number: int, name: str) -> str:
    plain = str(PurePosixPath(name)) == name and "\\" not in name  # one file, one name
    if not plain or name.startswith("/") or ".." in name.split("/") or not name.endswith(".png"):
        raise ValueError(
            f"{path}, line {number}: {name!r}; expected the path of a .png below Depth"
        )
    return name


def _depth(path: epath.Path) -> bytes:
    """The bytes of the file, after checking its content."""
    depth, data = read_depth_png(path, form="png16")
    if depth.shape != (HEIGHT, WIDTH):
        raise ValueError(
            f"{path}: {depth.shape[1]} x {depth.shape[0]} pixels; expected {WIDTH} x {HEIGHT}"
        )
    return data
