"""Hand keypoints in a text file over any folder of images, the format of Kwai's training lists.

A line is an image name and 21 times x, y, v, as read by chrisliu54/Hand-Keypoint-Estimation. The
configuration gives the order of the joints, which the file does not contain.
"""

import io
import re
from collections import Counter
from collections.abc import Collection
from functools import partial

import numpy as np
from etils import epath

from handjax.data.formats.image import below, read_image
from handjax.data.formats.keypoint_text import Row, read_keypoint_rows
from handjax.data.preparation.examples import Examples, LazyExamples
from handjax.pose.joint_orders import ORDERS

LAYOUT = """Any images, PNG or JPEG, with their keypoints in text; every text file is a split, named
in small letters, digits and _:
  train.txt, train/..., and for instance test.txt, test/...
A line of train.txt is a hand: the path of the image below train/, then x y v of 21 joints in px,
all separated by spaces, tabs, commas or semicolons; v is 0 where the joint is not labelled, else 1
or 2. A header line is skipped. The configuration is named after the order of the joints."""
SKELETON: str | None = "hand21"
COUNTS: dict[str, int | None] = {}  # the lists are your own
# Joint orders of lists. Kwai's lists have the first, that of HandDB, from whose labels they come.
CONFIGS = ("keypoint_list", "rhd", "stb")

_SPLIT = re.compile(r"[a-z][a-z0-9_]*")


def splits(root: epath.Path, config: str | None = None) -> tuple[str, ...]:
    """Names of the lists in the folder, none if there is no folder."""
    return named(root, ".txt")


def named(root: epath.Path, suffix: str) -> tuple[str, ...]:
    """Names of a folder's files with this suffix, each of which is a split. Hidden files, such as
    those that macOS leaves on other disks (._train.txt), are none."""
    found = {path.name for path in root.iterdir()} if root.exists() else set()
    visible = {name for name in found if not name.startswith(".")}
    names = sorted(name.removesuffix(suffix) for name in visible if name.endswith(suffix))
    if wrong := [name for name in names if not _SPLIT.fullmatch(name)]:
        raise ValueError(
            f"{root / wrong[0]}{suffix}: not a valid name of a split; "
            "expected small letters, digits and _"
        )
    return tuple(names)


def missing(
    root: epath.Path, config: str | None = None, only: Collection[str] | None = None
) -> list[str]:
    """Missing images of the lists, or the lists themselves."""
    lines = []
    for split in only or splits(root):
        path = root / f"{split}.txt"
        images = sorted({row.name for row in read_keypoint_rows(path) if row.name})
        absent = [name for name in images if not below(root / split, name, str(path)).exists()]
        if absent:
            lines.append(
                f"{split}/{absent[0]}: {len(absent)} of {len(images)} images of {split}.txt"
            )
    return lines or ([] if splits(root) else ["text file NAME.txt next to a folder NAME of images"])


def samples(root: epath.Path, split: str, config: str | None = None) -> Examples:
    """One sample per line. The key of an image's second hand ends in #2, and so on."""
    return Examples(_lazy(root, split, config or CONFIGS[0]))


def _lazy(root: epath.Path, split: str, config: str) -> LazyExamples:
    before: Counter[str] = Counter()
    for row in read_keypoint_rows(root / f"{split}.txt"):
        before[row.name] += 1
        key = f"{split}/{row.name or row.where.rsplit(', ')[-1]}"
        key += f"#{before[row.name]}" if before[row.name] > 1 else ""
        yield key, partial(_sample, root / split, key, row, config)


def _sample(folder: epath.Path, key: str, row: Row, config: str) -> dict:
    points = ORDERS[config].convert(row.points())
    data, _ = read_image(below(folder, row.name, row.where))
    visible = points[:, 2] == 1
    return {
        "image": io.BytesIO(data),
        "joints_uv": np.where(visible[:, None], points[:, :2], 0).astype(np.float32),
        "visible": visible,
        "root": ORDERS[config].root,
        "id": key,
    }
