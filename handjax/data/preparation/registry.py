"""The data sets of `handjax prepare`, by name."""

import importlib
import os
from typing import cast

from etils import epath

from handjax.data.sets import RawFiles
from handjax.pose.skeleton import SKELETONS, Skeleton

SETS = (
    "rhd",
    "stb",
    "freihand",
    "dexycb",
    "ho3d",
    "interhand",
    "panoptic_hand",
    "keypoint_list",
    "nyu_hand",
    "icvl",
    "msra_hand",
    "hands2017",
    "bighand",
    "hpoes_voxels",
    "human36m",
    "human36m_challenge",
    "mpii",
    "coco_person",
    "itop",
    "mpi_inf_3dhp",
    "landmarks",
)


def raw_files(name: str) -> RawFiles:
    """The reader of a data set's raw files: its module raw.py."""
    return cast(RawFiles, importlib.import_module(f"handjax.data.sets.{name}.raw"))


def skeleton_of(name: str, root: str | os.PathLike, config: str | None) -> Skeleton | None:
    """What the joints of a data set are drawn with; that of users' own joints is in `root`."""
    raw = raw_files(name)
    if own := getattr(raw, "skeleton", None):
        return own(epath.Path(root), config)
    return SKELETONS[raw.SKELETON] if raw.SKELETON else None


def known_holes(
    name: str, root: str | os.PathLike, split: str, config: str | None
) -> dict[str, str]:
    """What a split lacks in `root` as other copies of the data set do: name → reason."""
    holes = getattr(raw_files(name), "holes", None)
    return holes(epath.Path(root), split, config) if holes else {}


def published_frames(name: str, split: str, config: str | None) -> int | None:
    """Published number of frames of a split; None where no number is published."""
    counts = raw_files(name).COUNTS
    keys = (str(config), f"{config}/{split}", split)
    return next((counts[key] for key in keys if key in counts), None)
