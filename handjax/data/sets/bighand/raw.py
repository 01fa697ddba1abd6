"""BigHand2.2M (Yuan et al. 2017): hands with magnetic sensors before a depth camera.

The files are as in src/datasets/bighand of github.com/LadaOndris/hand-recognition: a file of labels
for every folder of frames, whose lines are the number of a frame and x y z of 21 joints in camera
mm, x right, y down, z forward, in the order of HANDS 2017 (Bighand2RHD_skeidx of public converters
agrees). Traps:

- Folders have spaces in their names ("1 75"); a label file is named after its folder, up to the
  first underscore.
- There are labels without an image (check_files_existence.py there): up to 1 % of a folder are left
  out here; more are missing.
- There are runs of labels that repeat digit by digit; all but the first are left out.
- Beside the label files lies a README.txt.
"""

import re
from collections.abc import Collection, Iterator
from functools import partial
from typing import NamedTuple

from etils import epath

from handjax.data.formats.folders import names_in
from handjax.data.preparation.examples import Examples, LazyExamples, unreadable
from handjax.data.sets import sr300_frames as frames

LAYOUT = """
manual_dir holds BigHand2.2M (on request: http://icvl.ee.ic.ac.uk/hands17/challenge/), unpacked; of
its people and viewpoints those that there are:

  full_annotation/Subject_1/1 75_loc_shift_made_by_qi_20180112_v2.txt, ...
  Subject_1/1 75/image_D00000000.png, Subject_1/1 75/image_D00000001.png, ...
  and so on for Subject_1 to Subject_12 and their viewpoints, as 1 75, 76 150, ego
"""
CONFIGS: tuple[str, ...] = ()
SKELETON: str | None = "hand21"
PEOPLE = tuple(f"Subject_{i}" for i in range(1, 13))
COUNTS: dict[str, int | None] = {}  # not published by person

_LABELS = "full_annotation"
_MAY_LACK = 0.01  # share of the frames of a folder
_NAME = re.compile(r"(?:image_D)?(\d{8})(?:\.png)?")


class Line(NamedTuple):
    """A line of a label file: its number, the frame's, its 63 words, and whether they repeat."""

    number: int
    frame: str
    words: tuple[str, ...]
    repeats: bool


def missing(
    root: epath.Path, config: str | None = None, only: Collection[str] | None = None
) -> list[str]:
    """Missing files of the people who have labels, except for a few frames."""
    people = only or splits(root)
    if not people:
        return [f"{root / _LABELS / PEOPLE[0]}: the labels of a person, or of another one"]
    lines = []
    for person in people:
        files = _label_files(root, person)
        if not files:
            lines.append(f"{root / _LABELS / person}: the label files of a person")
        for file in files:
            try:
                numbers = [line.frame for line in _lines(file)]
            except (ValueError, OSError) as error:
                lines.append(str(error))
                continue
            folder = _folder(root, person, file)
            absent = _without_image(folder, numbers)
            if len(absent) > _MAY_LACK * len(numbers):
                lines.append(
                    f"{folder / _image(absent[0])}: {len(absent)} of {len(numbers)} depth frames, "
                    "the first of them"
                )
    return lines


def holes(root: epath.Path, split: str, config: str | None = None) -> dict[str, str]:
    """Frames without an image, and those whose label only repeats the one before, by key."""
    found = {}
    for file in _label_files(root, split):
        lines, folder = list(_lines(file)), _folder(root, split, file)
        absent = set(_without_image(folder, [line.frame for line in lines]))
        for line in lines:
            if line.frame in absent:
                found[_key(split, folder, line.frame)] = "no image, as in other copies"
            elif line.repeats:
                found[_key(split, folder, line.frame)] = "its label repeats the one before"
    return found


def splits(root: epath.Path, config: str | None = None) -> tuple[str, ...]:
    """The people who have labels."""
    there = names_in(root / _LABELS)
    return tuple(person for person in PEOPLE if person in there)


def samples(root: epath.Path, split: str, config: str | None = None) -> Examples:
    """Frames of one person, viewpoint by viewpoint, with the joints in the order "hand21"."""
    return Examples(_lazy(root, split))


def _lazy(root: epath.Path, split: str) -> LazyExamples:
    for file in _label_files(root, split):
        folder = _folder(root, split, file)
        try:
            lines = list(_lines(file))
        except (ValueError, OSError) as error:
            yield f"{split}/{folder.name}", unreadable(error)
            continue
        absent = set(_without_image(folder, [line.frame for line in lines]))
        for line in lines:
            if line.frame not in absent and not line.repeats:
                key = _key(split, folder, line.frame)
                yield key, partial(_sample, file, line, folder, key)


def _sample(file: epath.Path, line: Line, folder: epath.Path, key: str) -> dict:
    xyz = frames.joints(file, line.number, list(line.words))
    image = frames.features(folder / _image(line.frame), xyz)
    return {**image, "viewpoint": folder.name, "id": key}


def _label_files(root: epath.Path, person: str) -> list[epath.Path]:
    """One per viewpoint, by name; notes beside them are none."""
    folder = root / _LABELS / person
    names = sorted(name for name in names_in(folder) if name.endswith(".txt"))
    return [folder / name for name in names if not name.upper().startswith("README")]


def _folder(root: epath.Path, person: str, file: epath.Path) -> epath.Path:
    """The frames that a label file is of."""
    return root / person / file.name.removesuffix(".txt").partition("_")[0]


def _lines(file: epath.Path) -> Iterator[Line]:
    """Line by line. ValueError for another number of words, and frames that stand twice."""
    seen: set[str] = set()
    before: list[str] = []
    for number, text in frames.lines_of(file):
        name, *words = text.split() or [""]
        match = _NAME.fullmatch(name)
        if match is None:
            raise ValueError(
                f"{file}, line {number}: starts with {name[:40]!r}; expected the number of a "
                "frame, as 00000000"
            )
        frames.check_count(file, number, words)
        if match[1] in seen:
            raise ValueError(f"{file}, line {number}: frame {match[1]} a second time")
        seen.add(match[1])
        yield Line(number, match[1], tuple(words), words == before)
        before = words


def _without_image(folder: epath.Path, numbers: list[str]) -> list[str]:
    present = names_in(folder)
    return [frame for frame in numbers if _image(frame) not in present]


def _image(frame: str) -> str:
    return f"image_D{frame}.png"


def _key(split: str, folder: epath.Path, frame: str) -> str:
    return f"{split}/{folder.name}/{frame}"
