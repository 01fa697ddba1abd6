"""Hand keypoints in a text file over any folder of pictures, the format of Kwai's training lists.

A line is a picture's name and 21 times x, y, v, as chrisliu54/Hand-Keypoint-Estimation reads it. A line does not say in which
order its joints are; the configuration does.
"""

import io
import re
from collections import Counter
from collections.abc import Iterator
from functools import partial

import numpy as np
from etils import epath
from jaxtyping import Float

from handjax.data.formats.depth import read_lines
from handjax.data.formats.image import below, read_image
from handjax.data.preparation.examples import Examples, LazyExamples
from handjax.pose.skeleton import ORDERS

LAYOUT = """Any pictures, PNG or JPEG, with their keypoints in text; every text file is a split (named in small letters, digits, _):
  train.txt, train/..., and for instance test.txt, test/...
A line of train.txt is a hand: the picture's path below train/, then x y v of 21 joints in px, all separated by spaces;
v is 0 where the joint is not labelled, else 1. The joints are in the order that the config is called after."""
COUNTS: dict[str, int | None] = {}  # the lists are anybody's own
# The orders a list may be in; Kwai's are in the first, that of HandDB, whose labels they were made of.
CONFIGS = ("keypoint_list", "rhd", "stb")

_SPLIT = re.compile(r"[a-z][a-z0-9_]*")
_LARGEST_PX = 1e5


def splits(root: epath.Path) -> tuple[str, ...]:
    """Names of the lists in the folder; none if it is not there."""
    return named(root, ".txt")


def named(root: epath.Path, suffix: str) -> tuple[str, ...]:
    """Names of a folder's files that end so, each of which is a split."""
    paths = root.iterdir() if root.exists() else ()
    names = sorted(path.name.removesuffix(suffix) for path in paths if path.name.endswith(suffix))
    if wrong := [name for name in names if not _SPLIT.fullmatch(name)]:
        raise ValueError(
            f"{root / wrong[0]}{suffix}: cannot be the name of a split; expected small letters, digits and _"
        )
    return tuple(names)


def missing(root: epath.Path) -> list[str]:
    lines = []
    for split in splits(root):
        pictures = sorted({name for _, name, _ in _lines(root, split)})
        absent = [
            name
            for name in pictures
            if not below(root / split, name, f"{root / split}.txt").exists()
        ]
        if absent:
            lines.append(
                f"{split}/{absent[0]}: {len(absent)} of {len(pictures)} pictures of {split}.txt"
            )
    return lines or (
        [] if splits(root) else ["text file NAME.txt beside a folder NAME of pictures"]
    )


def samples(root: epath.Path, split: str, config: str = CONFIGS[0]) -> Examples:
    """A sample a line. A picture's second hand has #2 at the end of its key, and so on."""
    return Examples(_lazy(root, split, config))


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
    """(where it is said, the picture's name, the words after it) of every line. A name may have spaces in it."""
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
        raise ValueError(f"{where}: expected a picture and 21 times x y v, finite px and v 0 or 1")
    return values.reshape(21, 3)
