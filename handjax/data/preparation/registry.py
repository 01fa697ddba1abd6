"""The data sets of `handjax prepare`, by name."""

import importlib
import os
from typing import cast

from etils import epath

from handjax.data.sets import RawFiles

SETS = (
    "rhd",
    "stb",
    "panoptic_hand",
    "keypoint_list",
    "nyu_hand",
    "icvl",
    "msra_hand",
    "hpoes_voxels",
    "human36m",
    "human36m_challenge",
    "mpii",
    "coco_person",
)


def raw_files(name: str) -> RawFiles:
    """The reader of a data set's raw files: its module raw.py."""
    return cast(RawFiles, importlib.import_module(f"handjax.data.sets.{name}.raw"))


def known_holes(
    name: str, root: str | os.PathLike, split: str, config: str | None
) -> dict[str, str]:
    """What a split lacks in `root` as other copies of the data set do: name → reason."""
    holes = getattr(raw_files(name), "holes", None)
    return holes(epath.Path(root), split, config) if holes else {}


def published_frames(name: str, split: str, config: str | None) -> int | None:
    """Published number of frames of a split; None where no number is published."""
    counts = raw_files(name).COUNTS
    return counts[config] if config is not None and config in counts else counts.get(split)
