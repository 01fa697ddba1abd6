"""The data sets of `handjax prepare`, by name."""

import importlib
from typing import cast

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


def published_frames(name: str, split: str, config: str | None) -> int | None:
    """Published number of frames of a split; None where no number is published."""
    counts = raw_files(name).COUNTS
    return counts[config] if config is not None and config in counts else counts.get(split)
