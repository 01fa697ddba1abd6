"""Hand keypoints in a text file over any folder of images, the format of Kwai's training lists.

A line is an image name and 21 times x, y, v, as read by chrisliu54/Hand-Keypoint-Estimation. The
configuration gives the order of the joints, which the file does not contain.
"""

import io
import re
from collections import Counter
from collections.abc import Iterator
from functools import partial

import numpy as np
from etils import epath
from jaxtyping import Float

from handjax.data.formats.image import below, read_image
from handjax.data.formats.label_text import read_lines
from handjax.data.preparation.examples import Examples, LazyExamples
from handjax.pose.joint_orders import ORDERS

LAYOUT = """Any images, PNG or JPEG, with their keypoints in text; every text file is a split, named
in small letters, digits and _:
  train.txt, train/..., and for instance test.txt, test/...
A line of train.txt is a hand: the path of the image below train/, then x y v of 21 joints in px,
all separated by spaces; v is 0 where the joint is not labelled, else 1. The configuration is named
after the order of the joints."""
SKELETON: str | None = "hand21"
COUNTS: dict[str, int | None] = {}  # the lists are your own
# Joint orders of lists. Kwai's lists have the first, that of HandDB, from whose labels they come.
CONFIGS = ("keypoint_list", "rhd", "stb")

_SPLIT = re.compile(r"[a-z][a-z0-9_]*")
_LARGEST_PX = 1e5


def splits(root: epath.Path, config: str | None = None) -> tuple[str, ...]:
    """Names of the lists in the folder, none if there is no folder."""
    return named(root, ".txt")


def named(root: epath.Path, suffix: str) -> tuple[str, ...]:
    """Names of a folder's files with this suffix, each of which is a split."""
    paths = root.iterdir() if root.exists() else ()
    names = sorted(path.name.removesuffix(suffix) for path in paths if path.name.endswith(suffix))
    if wrong := [name for name in names if not _SPLIT.fullmatch(name)]:
        raise ValueError(
            f"{root / wrong[0]}{suffix}: not a valid name of a split; "
            "expected small letters, digits and _"
        )
    return tuple(names)


def missing(root: epath.Path, config: str | None = None) -> list[str]:
    """Missing images of the lists, or the lists themselves."""
    lines = []
    for split in splits(root):
        images = sorted({name for _, name, _ in _lines(root, split)})
        absent = [
            name for name in images if not below(root / split, name, f"{root / split}.txt").exists()
        ]
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
    for where, name, words in _lines(root, split):
        before[name] += 1
        key = f"{split}/{name}" + (f"#{before[name]}" if before[name] > 1 else "")
        yield key, partial(_sample, root / split, key, where, name, words, config)


def _sample(
    folder: epath.Path, key: str, where: str, name: str, words: list[str], config: str
) -> dict:
    points = ORDERS[config].convert(_numbers(where, words))
    data, _ = read_image(below(folder, name, where))
    visible = points[:, 2] == 1
    return {
        "image": io.BytesIO(data),
        "joints_uv": np.where(visible[:, None], points[:, :2], 0).astype(np.float32),
        "visible": visible,
        "root": ORDERS[config].root,
        "id": key,
    }


def _lines(root: epath.Path, split: str) -> Iterator[tuple[str, str, list[str]]]:
    """(location for messages, image name, the words after it) of every line.

    A name may contain spaces.
    """
    path = root / f"{split}.txt"
    for number, line in read_lines(path):
        name, *words = line.rsplit(maxsplit=63)
        yield f"{path}, line {number}", name, words


def _numbers(where: str, words: list[str]) -> Float[np.ndarray, "21 3"]:
    """x, y, v of every joint."""
    try:
        values = np.array([float(word) for word in words])
    except ValueError:
        values = np.empty(0)
    if (
        values.shape != (63,)
        or not (np.abs(values) < _LARGEST_PX).all()
        or not np.isin(values[2::3], (0, 1)).all()
    ):
        raise ValueError(f"{where}: expected an image and 21 times x y v, finite px and v 0 or 1")
    return values.reshape(21, 3)
