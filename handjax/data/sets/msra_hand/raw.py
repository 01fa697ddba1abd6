"""MSRA hand (Sun et al. 2015): nine people with 17 gestures each in front of an Intel depth camera.

21 joints. A frame is a crop of the depth image around the hand, with its position. The y of the
joints points up and their z away from the scene; both are negated here.
"""

from collections.abc import Collection
from functools import partial

import numpy as np
from etils import epath

from handjax.data.formats.label_text import parse_numbers, read_lines, read_optional_centers
from handjax.data.preparation.examples import Examples, LazyExamples, unreadable
from handjax.pose.joint_orders import ORDERS
from handjax.pose.pinhole import project

LAYOUT = """
manual_dir is the folder cvpr15_MSRAHandGestureDB of the MSRA hand gesture data set
(https://jimmysuen.github.io/):

  P0/1/joint.txt, P0/1/000000_depth.bin, P0/1/000001_depth.bin, ...
  and so on for the people P0 to P8 and the gestures 1 2 3 4 5 6 7 8 9 I IP L MP RP T TIP Y

The refined centers of V2V-PoseNet (https://github.com/mks0601/V2V-PoseNet_RELEASE) are read as well
if they are in manual_dir:

  center_test_0_refined.txt to center_test_8_refined.txt
"""
GESTURES = tuple("1 2 3 4 5 6 7 8 9 I IP L MP RP T TIP Y".split())
CONFIGS: tuple[str, ...] = ()
SKELETON: str | None = "hand21"
# One split per person. These are the counts of the release on which results are compared
# (github.com/xinghaochen/awesome-hand-pose-estimation), 76,375 frames. The release for which
# V2V-PoseNet published centers has 76,391: 8499, 8499, 8406, 8498, 8500, 8497, 8498, 8498, 8496.
COUNTS = {
    f"P{i}": count for i, count in enumerate((8499, 8492, 8412, 8488, 8500, 8497, 8497, 8498, 8492))
}
JOINTS = 21
HEIGHT, WIDTH = 240, 320
K = ((241.42, 0.0, 160.0), (0.0, 241.42, 120.0), (0.0, 0.0, 1.0))


def missing(
    root: epath.Path, config: str | None = None, only: Collection[str] | None = None
) -> list[str]:
    """Missing label files and depth frames."""
    lines = []
    for person in only or COUNTS:
        for gesture in GESTURES:
            folder = root / person / gesture
            if not (folder / "joint.txt").exists():
                lines.append(f"{folder / 'joint.txt'}: the joints of a gesture")
                continue
            try:
                frames = len(_joints(folder / "joint.txt"))
            except ValueError as error:
                lines.append(str(error))
                continue
            present = {path.name for path in folder.iterdir()}
            names = [f"{i:06d}_depth.bin" for i in range(frames)]
            if absent := [name for name in names if name not in present]:
                lines.append(
                    f"{folder / absent[0]}: {len(absent)} of {frames} depth frames, "
                    "the first of them"
                )
    return lines


def splits(root: epath.Path, config: str | None = None) -> tuple[str, ...]:
    return tuple(COUNTS)


def samples(root: epath.Path, split: str, config: str | None = None) -> Examples:
    """Frames of one person, gesture by gesture, with the joints in the order "hand21"."""
    return Examples(_lazy(root, split))


def _lazy(root: epath.Path, split: str) -> LazyExamples:
    gestures = {}
    for gesture in GESTURES:
        try:
            gestures[gesture] = _joints(root / split / gesture / "joint.txt")
        except (ValueError, OSError) as error:
            yield f"{split}/{gesture}", unreadable(error)
    count, at = sum(map(len, gestures.values())), root / f"center_test_{split[1:]}_refined.txt"
    centers, valid = np.zeros((count, 3), np.float32), np.zeros(count, bool)
    if len(gestures) == len(GESTURES):  # otherwise lines and frames cannot be matched
        centers, valid = read_optional_centers(at, count, y_up=True)
    row = 0
    for gesture, joints in gestures.items():
        for i, xyz in enumerate(joints):
            key = f"{split}/{gesture}/{i:06d}"
            path = root / split / gesture / f"{i:06d}_depth.bin"
            yield key, partial(_sample, path, key, gesture, xyz, centers[row], valid[row])
            row += 1


def _sample(
    path: epath.Path, key: str, gesture: str, xyz: np.ndarray, center: np.ndarray, valid: np.bool_
) -> dict:
    k = np.asarray(K)
    return {
        "depth": _depth(path),
        "k": k.astype(np.float32),
        "joints_xyz": xyz,
        "joints_uv": project(xyz, k).astype(np.float32),
        "root": ORDERS["msra"].root,
        "gesture": gesture,
        "center_xyz": center,
        "center_valid": valid,
        "id": key,
    }


def _joints(path: epath.Path) -> np.ndarray:
    """Camera mm [n, 21, 3] of a joint.txt: the number of frames, then 63 numbers per frame."""
    (_, first), *lines = read_lines(path)
    if first != str(len(lines)):
        raise ValueError(
            f"{path}: the first line is {first[:20]!r} and {len(lines)} lines follow; "
            "expected their number"
        )
    rows = []
    for number, line in lines:
        words = line.split()
        if len(words) != 3 * JOINTS:
            raise ValueError(
                f"{path}, line {number}: {len(words)} numbers; expected x y z of {JOINTS} joints"
            )
        rows.append(
            parse_numbers(path, number, words).reshape(JOINTS, 3)
            * np.asarray([1, -1, -1], np.float32)
        )
        if not (rows[-1][:, 2] > 0).all():
            raise ValueError(
                f"{path}, line {number}: a joint is behind the camera; expected negative z in mm"
            )
    return ORDERS["msra"].convert(np.reshape(rows, (-1, JOINTS, 3)).astype(np.float32))


def _depth(path: epath.Path) -> np.ndarray:
    """uint16 [240, 320, 1], mm: the whole image, with the crop at its position."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file; expected a depth frame")
    data = path.read_bytes()
    head = np.frombuffer(data[:24], "<u4").tolist() if len(data) >= 24 else [0] * 6
    width, height, left, top, right, bottom = head
    sound = (width, height) == (WIDTH, HEIGHT) and left < right <= WIDTH and top < bottom <= HEIGHT
    if not sound or len(data) != 24 + 4 * (right - left) * (bottom - top):
        raise ValueError(
            f"{path}: {len(data)} bytes that start with {head}; "
            "expected 320, 240, the box of the hand, and its depth"
        )
    part = np.frombuffer(data[24:], "<f4").reshape(bottom - top, right - left)
    if not ((part >= 0) & (part < 65535)).all():
        raise ValueError(
            f"{path}: depth that is negative, not finite or beyond 65 m; copy the file again"
        )
    depth = np.zeros((HEIGHT, WIDTH, 1), np.uint16)
    depth[top:bottom, left:right, 0] = np.rint(part)
    return depth
