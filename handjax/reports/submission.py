"""Files for the Human3.6M challenge of ECCV 2018: one 00001.csv per frame."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from handjax.pose.skeleton import SKELETONS

_ROOT = SKELETONS["body18"].root
_JOINTS = 17  # of the challenge: body18 without the thorax, which is its last joint


def check_new(folder: str | os.PathLike) -> None:
    """Raises if `folder` is a file or not empty, since nothing is overwritten. Read-only."""
    if Path(folder).exists() and not Path(folder).is_dir():
        raise NotADirectoryError(f"{folder}: a file; name a new folder for the submission")
    if there := next(Path(folder).glob("*"), None):
        raise FileExistsError(
            f"{folder}: not empty, has {there.name}; name a new folder for the submission"
        )


def frame_numbers(ids: Sequence[str]) -> list[int]:
    """Frame numbers of the challenge, the five digits that end its ids.

    Raises ValueError for other ids, and for two frames with one number.
    """
    numbers = []
    for name in ids:
        digits = re.search(r"(?:^|/)(\d{5})$", name)
        if digits is None:
            raise ValueError(
                f"--submission: {name} is no frame of the challenge, whose ids end in five digits"
            )
        numbers.append(int(digits[1]))
    if len(set(numbers)) < len(ids):
        raise ValueError(
            f"--submission: {len(ids)} frames have {len(set(numbers))} numbers; "
            "evaluate one split of the challenge at a time"
        )
    return numbers


def frame_text(joints: Float[np.ndarray, "18 3"]) -> str:
    """The file of one frame: 17 rows of x,y,z, mm relative to the pelvis, two decimals."""
    relative = joints.astype(np.float64) - joints[_ROOT]
    rows = relative.round(2)[:_JOINTS] + 0.0  # no -0.00
    return "".join("{:.2f},{:.2f},{:.2f}\n".format(*row) for row in rows)


def write_submission(
    folder: str | os.PathLike, poses: Mapping[int, Float[np.ndarray, "18 3"]]
) -> None:
    """Writes one file per frame number into `folder`, which is created and must be empty.

    Raises ValueError for a coordinate that is not finite; then nothing is written.
    """
    check_new(folder)
    texts = {}
    for frame, joints in poses.items():
        if not np.isfinite(joints).all():
            raise ValueError(
                f"frame {frame}: a coordinate is not finite; the challenge needs numbers"
            )
        texts[f"{frame:05d}.csv"] = frame_text(joints)
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        Path(folder, name).write_text(text)
    print(f"submission: {len(texts)} files in {Path(folder).resolve()}")


def submit(
    folder: str | os.PathLike, ids: Sequence[str], poses: Float[np.ndarray, "n 18 3"]
) -> None:
    """`write_submission` of poses by the ids of their frames."""
    write_submission(folder, dict(zip(frame_numbers(ids), poses, strict=True)))
