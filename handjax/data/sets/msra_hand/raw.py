"""MSRA hand (Sun et al. 2015): nine people, seventeen gestures each, before an Intel depth camera; 21 joints.

A frame is the part of the depth image that holds the hand, with its place. The joints' y points up and their z away from
the scene; both are turned here.
"""

from functools import partial

import numpy as np
from etils import epath

from handjax.data.formats.depth import parse_numbers, read_centers_beside, read_lines
from handjax.data.preparation.examples import Examples, LazyExamples, unreadable
from handjax.pose.skeleton import ORDERS

LAYOUT = """
manual_dir is the folder cvpr15_MSRAHandGestureDB of the MSRA hand gesture data set (https://jimmysuen.github.io/):

  P0/1/joint.txt, P0/1/000000_depth.bin, P0/1/000001_depth.bin, ...
  and so for the people P0 to P8 and the gestures 1 2 3 4 5 6 7 8 9 I IP L MP RP T TIP Y

Where they lie in manual_dir, the refined centers of V2V-PoseNet (https://github.com/mks0601/V2V-PoseNet_RELEASE) are read too:

  center_test_0_refined.txt to center_test_8_refined.txt
"""
GESTURES = (
    "1",
    "2",
    "3",
    "4",
    "5",
    "6",
    "7",
    "8",
    "9",
    "I",
    "IP",
    "L",
    "MP",
    "RP",
    "T",
    "TIP",
    "Y",
)
# One split a person. The release that results are compared on (github.com/xinghaochen/awesome-hand-pose-estimation), 76,375
# frames. The one for which V2V-PoseNet published centers has 76,391: 8499, 8499, 8406, 8498, 8500, 8497, 8498, 8498, 8496.
COUNTS = {
    f"P{i}": count for i, count in enumerate((8499, 8492, 8412, 8488, 8500, 8497, 8497, 8498, 8492))
}
JOINTS = 21
HEIGHT, WIDTH = 240, 320
K = ((241.42, 0.0, 160.0), (0.0, 241.42, 120.0), (0.0, 0.0, 1.0))


def missing(root: epath.Path) -> list[str]:
    """What `root` lacks, a line each."""
    lines = []
    for person in COUNTS:
        for gesture in GESTURES:
            folder = root / person / gesture
            if not (folder / "joint.txt").exists():
                lines.append(f"{folder / 'joint.txt'}: the joints of a gesture")
                continue
            try:
                frames, there = (
                    len(_joints(folder / "joint.txt")),
                    {path.name for path in folder.iterdir()},
                )
            except ValueError as error:
                lines.append(str(error))
                continue
            lacking = [name for i in range(frames) if (name := f"{i:06d}_depth.bin") not in there]
            if lacking:
                lines.append(
                    f"{folder / lacking[0]}: {len(lacking)} of {frames} depth frames, this the first"
                )
    return lines


def samples(root: epath.Path, split: str) -> Examples:
    """One person's frames, gesture by gesture, the joints in the common order of a hand."""
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
    if len(gestures) == len(GESTURES):  # else nobody knows whose center a line is
        centers, valid = read_centers_beside(at, count, y_up=True)
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
    uv = xyz[:, :2] / xyz[:, 2:] * k[[0, 1], [0, 1]] + k[:2, 2]
    return {
        "depth": _depth(path),
        "k": k.astype(np.float32),
        "joints_xyz": xyz,
        "joints_uv": uv.astype(np.float32),
        "root": ORDERS["msra"].root,
        "gesture": gesture,
        "center_xyz": center,
        "center_valid": valid,
        "id": key,
    }


def _joints(path: epath.Path) -> np.ndarray:
    """Camera mm [n, 21, 3] of a joint.txt: the number of frames, then a line of 63 numbers for each."""
    (_, first), *lines = read_lines(path)
    if first != str(len(lines)):
        raise ValueError(
            f"{path}: the first line is {first[:20]!r} and {len(lines)} follow; expected the number of those lines"
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
                f"{path}, line {number}: a joint is not before the camera; expected negative z in mm"
            )
    return ORDERS["msra"].convert(np.reshape(rows, (-1, JOINTS, 3)).astype(np.float32))


def _depth(path: epath.Path) -> np.ndarray:
    """uint16 [240, 320, 1], mm: the whole image that the hand's part of it was taken from."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file; expected a depth frame")
    data = path.read_bytes()
    head = np.frombuffer(data[:24], "<u4").tolist() if len(data) >= 24 else [0] * 6
    width, height, left, top, right, bottom = head
    sound = (width, height) == (WIDTH, HEIGHT) and left < right <= WIDTH and top < bottom <= HEIGHT
    if not sound or len(data) != 24 + 4 * (right - left) * (bottom - top):
        raise ValueError(
            f"{path}: {len(data)} bytes that begin with {head}; expected 320, 240, the hand's box in it, and its depth"
        )
    part = np.frombuffer(data[24:], "<f4").reshape(bottom - top, right - left)
    if not ((part >= 0) & (part < 65535)).all():
        raise ValueError(
            f"{path}: depth that is negative, not finite or beyond 65 m; copy the file anew"
        )
    depth = np.zeros((HEIGHT, WIDTH, 1), np.uint16)
    depth[top:bottom, left:right, 0] = np.rint(part)
    return depth
