"""Lists of image keypoints in text: a line is an image's name and x, y, v of every joint.

Read as they come out of spreadsheets and scripts: separated by spaces, tabs, commas or semicolons
(then also with decimal commas), with or without a header line and quotes around names. v is 0 for
a joint without a label, else 1, or 2 as in COCO.
"""

import os
import re
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from handjax.data.formats.label_text import read_lines

JOINTS = 21
_LARGEST_PX = 1e5
_SEPARATOR = re.compile(r"\s*[,;]\s*|\s+")
_SEMICOLON = re.compile(r"\s*;\s*")


@dataclass(frozen=True)
class Row:
    """One line: its place for messages, the image's name, and the words of its numbers. `problem`
    says what is wrong with a line that has no such form; its name is empty."""

    where: str
    name: str
    words: tuple[str, ...]
    problem: str = ""

    def values(self) -> Float[np.ndarray, "j 3"]:
        """x, y, v of every joint, finite. ValueError, one line, for anything else."""
        if self.problem:
            raise ValueError(f"{self.where}: {self.problem}")
        values = np.array([_number(word) for word in self.words])
        bad = np.flatnonzero(~(np.abs(values) < _LARGEST_PX))
        if len(bad):
            raise ValueError(
                f"{self.where}: {self.words[bad[0]]!r} is not a finite number of px; "
                f"expected an image and {len(self.words) // 3} times x y v"
            )
        return values.reshape(-1, 3)

    def points(self) -> Float[np.ndarray, "j 3"]:
        """`values` of labels, whose v becomes 0 or 1."""
        points = self.values()
        marks = points[:, 2]
        if not np.isin(marks, (0, 1, 2)).all():
            mark = marks[~np.isin(marks, (0, 1, 2))][0]
            hint = " (a confidence? choose which joints count)" if 0 < mark < 1 else ""
            raise ValueError(
                f"{self.where}: v is {mark:g}{hint}; expected an image and {len(points)} times x y "
                "v, v 0 for no label, else 1 or 2"
            )
        points[:, 2] = marks > 0
        return points


def read_keypoint_rows(path: str | os.PathLike, joints: int = JOINTS) -> list[Row]:
    """The rows of a list of so many joints; errors of single rows are raised by `Row.points`.
    ValueError or FileNotFoundError, one line, for a file that is no text, is empty or has blank
    lines."""
    lines = read_lines(path)
    rows = [_row(f"{path}, line {number}", line, joints) for number, line in lines]
    if len(rows) > 1 and _is_header(lines[0][1]):
        rows = rows[1:]
    return rows


def _row(where: str, line: str, joints: int) -> Row:
    line = line.strip(" \t,;")
    separator = _SEMICOLON if line.count(";") >= 2 * joints else _SEPARATOR
    gaps = list(separator.finditer(line))
    tail = [line[gap.end() : after] for gap, after in zip(gaps, _ends(gaps, line), strict=True)]
    # A name may end in something like a number, so only a lack of numbers is certain.
    numbers = next((n for n, word in enumerate(reversed(tail)) if not _is_number(word)), len(tail))
    if numbers < 3 * joints and not (len(tail) >= 3 * joints and numbers > 0):
        return Row(
            where,
            "",
            (),
            f"{numbers} numbers at its end; expected an image and {joints} times x y v, "
            f"{3 * joints} numbers",
        )
    name = line[: gaps[-3 * joints].start()].strip("\"'")
    return Row(where, name, tuple(word.strip("\"'") for word in tail[-3 * joints :]))


def _ends(gaps: list[re.Match[str]], line: str) -> list[int]:
    return [gap.start() for gap in gaps[1:]] + [len(line)] * bool(gaps)


def _is_header(line: str) -> bool:
    """Whether a line names columns, or is a comment."""
    words = [word for word in _SEPARATOR.split(line.strip(" \t,;")) if word]
    return line.startswith("#") or not any(_is_number(word) for word in words)


def _is_number(word: str) -> bool:
    word = word.strip("\"'")
    try:
        float(word.replace(",", "."))
    except ValueError:
        return False
    return "_" not in word and word.isascii()  # Python would read 1_0 as ten


def _number(word: str) -> float:
    """NaN for words that are no numbers."""
    return float(word.strip("\"'").replace(",", ".")) if _is_number(word) else np.nan
