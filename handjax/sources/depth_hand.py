"""Depth and voxels from files: the HDF5 files of hpoes_pytorch, and NYU, ICVL and MSRA as `handjax.prepare` leaves them."""

from functools import partial

import numpy as np

from handjax.engine import config as configs
from handjax.pose.center import STEPS, hand_center
from handjax.pose.skeleton import ORDERS, SKELETONS, Skeleton
from handjax.sources.base import Source


def voxel_h5(config, train: bool = True) -> Source:
    """HDF5 files of mhruz/hpoes_pytorch. Without `val_path` the training file is also what is evaluated."""
    from handjax.data.formats.voxel_h5 import VoxelH5  # the synthetic world needs no HDF5 library

    data = config.data
    if not data.path:
        raise ValueError(
            "config.data.path is empty: name the HDF5 file of voxels by --config.data.path=FILE"
        )
    keys = {
        name: data[name]
        for name in ("voxels_key", "labels_key", "cube_key", "max_label", "in_memory")
    }
    heldout = VoxelH5(data.val_path or data.path, **keys)
    seen = VoxelH5(data.path, **keys) if train and data.val_path else heldout
    if heldout.joints != seen.joints or heldout.size != seen.size:
        raise ValueError(
            f"{data.val_path} has {heldout.joints} joints and {heldout.size}³ voxels, {data.path} {seen.joints} and "
            f"{seen.size}³: expected the same"
        )
    if config.task.grid > seen.size:
        raise ValueError(
            f"config.task.grid={config.task.grid} is finer than the {seen.size}³ voxels of {data.path}; use {seen.size} or less"
        )
    skeleton = _skeleton_of(seen.joints, data.joints)
    which = data.val_path or f"{data.path} (the training file: no val_path)"
    return Source(
        skeleton=skeleton,
        train_size=len(seen),
        eval_size=len(heldout),
        train_rows=seen.rows,
        eval_rows=heldout.rows,
        materialize=lambda batch: batch,
        names=heldout.names,
        description=f"{len(heldout)} frames of {which}; crop center from the file ({heldout.center_from})",
    )


# Prepared set → the skeleton of its batches, how many joints it holds, and which of them those are.
DEPTH_HANDS = {
    "nyu_hand": ("nyu14", 36, ORDERS["nyu36"].to_common),
    "icvl": ("icvl16", 16, tuple(range(16))),
    "msra_hand": ("hand21", 21, tuple(range(21))),
}
_MSRA_PEOPLE = 9


def depth_hand(config, train: bool = True) -> Source:
    """A depth hand set as `handjax.prepare` leaves it, whole frames.

    The crop's center is the mean of the joints ("label"), the file's refined one ("refined"), or the center of mass of what is
    nearest within `data.depth_mm` ("depth", found on the device). Where a frame has none, it counts nowhere in training and is an
    error in an evaluation.
    """
    from handjax.data.records import Records  # the synthetic world needs no TensorFlow

    data = config.data
    name, stored, joints = DEPTH_HANDS[data.name]
    configs.require(config, 1, "data.cube_mm")
    near, far = _depth_range(data.depth_mm)
    center = configs.choose(
        {
            "depth": f"from the depth: center of mass in {STEPS} steps, of what is nearest within {near:g} to {far:g} mm",
            "refined": "from the file of refined ones",
            "label": "from the label: mean of the true joints",
        },
        config,
        "data.center",
    )
    if not data.path:
        raise ValueError(
            f"config.data.path is empty: name the folder of the prepared {data.name} by --config.data.path=DIR"
        )
    keys = (
        "depth",
        "k",
        "joints_xyz",
        *(("center_xyz", "center_valid") if data.center == "refined" else ()),
    )
    train_split, eval_split = _splits(data)
    heldout = Records(data.path, eval_split, keys=keys)
    seen = Records(data.path, train_split, keys=keys) if train else heldout
    shape = heldout.rows(np.zeros(1, int))["joints_xyz"].shape
    if shape != (1, stored, 3):
        raise ValueError(
            f"{data.path}: joints of a sample are {list(shape[1:])}; a single view of {data.name} has [{stored}, 3]"
        )
    cube_mm = np.full(3, data.cube_mm, np.float32)

    def rows(numbers, records):
        batch = records.rows(numbers)
        batch["joints_xyz"] = batch["joints_xyz"][:, joints]
        batch["cube_mm"] = np.tile(cube_mm, (len(numbers), 1))
        if data.center == "label":
            return {**batch, "center_xyz": batch["joints_xyz"].mean(1)}
        if data.center == "refined":
            valid, lacks = (
                batch.pop("center_valid"),
                "no refined center; lay them beside the raw files",
            )
        else:
            valid = ((batch["depth"] >= near) & (batch["depth"] <= far)).any((1, 2))
            lacks = f"no depth within config.data.depth_mm=({near:g}, {far:g}) to find a center in; widen it"
        if records is heldout and not valid.all():
            others = " or ".join(other for other in ("depth", "label") if other != data.center)
            frame = records.names(numbers[~valid][:1])[0]
            raise ValueError(
                f"{data.path}: {frame} has {lacks}, or use config.data.center={others}"
            )
        return {**batch, "mask": valid}

    def materialize(batch):
        if "center_xyz" in batch:
            return batch
        return {
            **batch,
            "center_xyz": hand_center(batch["depth"], batch["k"], batch["cube_mm"], (near, far)),
        }

    return Source(
        skeleton=SKELETONS[name],
        train_size=len(seen),
        eval_size=len(heldout),
        train_rows=partial(rows, records=seen),
        eval_rows=partial(rows, records=heldout),
        materialize=materialize,
        names=heldout.names,
        description=f"{len(heldout)} frames of {data.name}, {eval_split}; crop center {center}",
    )


def _splits(data) -> tuple[str, str]:
    """Splits to train on and to evaluate. Of MSRA one person is left out, and evaluated."""
    if data.name != "msra_hand":
        return data.train_split, data.eval_split
    if not 0 <= data.subject < _MSRA_PEOPLE:
        raise ValueError(
            f"config.data.subject={data.subject}: expected 0 to {_MSRA_PEOPLE - 1}, the person who is left out"
        )
    return "+".join(
        f"P{person}" for person in range(_MSRA_PEOPLE) if person != data.subject
    ), f"P{data.subject}"


def _depth_range(depth_mm) -> tuple[float, float]:
    if len(depth_mm) != 2 or not 0 < depth_mm[0] < depth_mm[1] < float("inf"):
        raise ValueError(
            f"config.data.depth_mm={depth_mm}: expected two distances in mm, the nearer above 0 and first"
        )
    return depth_mm


def _skeleton_of(joints: int, name: str) -> Skeleton:
    """The named order; without a name NYU's for 14 joints, and joints without names for any other number: data sets of 16 or 21
    joints differ in their orders."""
    if name:
        if name not in SKELETONS or len(SKELETONS[name].joints) != joints:
            fits = [n for n, s in SKELETONS.items() if len(s.joints) == joints] or ["nothing"]
            raise ValueError(
                f"config.data.joints={name} does not fit labels of {joints} joints; use {' or '.join(fits)}"
            )
        return SKELETONS[name]
    if joints == 14:
        return SKELETONS["nyu14"]
    names = tuple(f"joint_{i}" for i in range(joints))
    return Skeleton("unnamed", names, (-1,) + (0,) * (joints - 1), ("palm",) * joints)
