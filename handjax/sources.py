"""Where batches come from, by name: `SOURCES[config.data.name](config)` → Source; `train=False`: for evaluation alone."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np

from handjax.data.mesh_files import read_skin
from handjax.engine import config as configs
from handjax.figures import hand, mesh, world
from handjax.pose.center import STEPS, hand_center
from handjax.pose.skeleton import ORDERS, SKELETONS, Skeleton


@dataclasses.dataclass(frozen=True)
class Source:
    """Samples by number. `train_size` None: endless.

    `train_rows` and `eval_rows` take this process's sample numbers and return host arrays with `mask` and `index`; `expand` is a
    pure function that completes a batch on the device, inside jit: the synthetic world makes a sample from its number there.
    """

    skeleton: Skeleton
    train_size: int | None
    eval_size: int
    train_rows: Callable[[np.ndarray], dict[str, np.ndarray]]
    eval_rows: Callable[[np.ndarray], dict[str, np.ndarray]]
    expand: Callable[[dict[str, Any]], dict[str, Any]]
    names: Callable[[np.ndarray], list[str]]
    about: str  # for the report: what is evaluated, and where the crop's center came from


def hand_world(config, train: bool = True) -> Source:
    """Synthetic hands rendered on the device; held-out hands come from their own stream of numbers, fixed by `eval_seed`."""
    data = config.data
    configs.require(config, 1, "data.eval_size", "data.image_size")
    configs.require(config, 0, "seed", "data.eval_seed")
    skeleton = configs.choose({name: SKELETONS[name] for name in ("hand21", "nyu14")}, config, "data.joints")
    configs.choose(dict.fromkeys(("depth", "label")), config, "data.center")
    configs.choose(dict.fromkeys(("spheres", "skin")), config, "data.surface")
    skin = mesh.skin_from(*read_skin(data.mesh, bones=len(hand.HAND.bones))) if data.mesh else None
    if skin and data.surface != "skin":
        raise ValueError(f"config.data.mesh={data.mesh} is shown with config.data.surface=skin alone; it is {data.surface}")
    streams = {"train": config.seed, "eval": data.eval_seed}
    options = dict(
        joints=data.joints,
        surface=data.surface,
        skin=skin,
        image_size=data.image_size,
        cube_mm=data.cube_mm,
        center=data.center,
        **data.sensor,
        **data.pose,
    )

    def rows(indices, stream):
        filled = np.full(len(indices), streams[stream], np.uint32)
        split = np.full(len(indices), stream == "eval")
        mask = np.ones(len(indices), bool)
        return {"index": indices.astype(np.int32), "mask": mask, "stream": filled, "heldout": split}

    def expand(batch):
        def sample(index, stream, heldout):
            return world.hand_sample(world.sample_key(stream, heldout, index), **options)

        made = jax.vmap(sample)(batch["index"], batch["stream"], batch["heldout"])
        return {**made, "mask": batch["mask"], "index": batch["index"]}

    return Source(
        skeleton=skeleton,
        train_size=None,
        eval_size=data.eval_size,
        train_rows=partial(rows, stream="train"),
        eval_rows=partial(rows, stream="eval"),
        expand=expand,
        names=lambda indices: [f"synthetic-{i}" for i in indices],
        about=f"{data.eval_size} synthetic hands held out by seed {data.eval_seed}; crop center from the {data.center}",
    )


def voxel_h5(config, train: bool = True) -> Source:
    """HDF5 files of mhruz/hpoes_pytorch. Without `val_path` the training file is also what is evaluated."""
    from handjax.data.voxel_h5 import VoxelH5  # the synthetic world needs no HDF5 library

    data = config.data
    if not data.path:
        raise ValueError("config.data.path is empty: name the HDF5 file of voxels by --config.data.path=FILE")
    keys = {name: data[name] for name in ("voxels_key", "labels_key", "cube_key", "max_label", "in_memory")}
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
        expand=lambda batch: batch,
        names=heldout.names,
        about=f"{len(heldout)} frames of {which}; crop center from the file ({heldout.center_from})",
    )


# Prepared set → the skeleton of its batches, how many joints it holds, and which of them those are.
_DEPTH_HANDS = {
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
    from handjax.data.pipeline import Records  # the synthetic world needs no TensorFlow

    data = config.data
    name, stored, joints = _DEPTH_HANDS[data.name]
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
        raise ValueError(f"config.data.path is empty: name the folder of the prepared {data.name} by --config.data.path=DIR")
    keys = ("depth", "k", "joints_xyz", *(("center_xyz", "center_valid") if data.center == "refined" else ()))
    train_split, eval_split = _splits(data)
    heldout = Records(data.path, eval_split, keys=keys)
    seen = Records(data.path, train_split, keys=keys) if train else heldout
    shape = heldout.rows(np.zeros(1, int))["joints_xyz"].shape
    if shape != (1, stored, 3):
        raise ValueError(f"{data.path}: joints of a sample are {list(shape[1:])}; a single view of {data.name} has [{stored}, 3]")
    cube_mm = np.full(3, data.cube_mm, np.float32)

    def rows(numbers, records):
        batch = records.rows(numbers)
        batch["joints_xyz"] = batch["joints_xyz"][:, joints]
        batch["cube_mm"] = np.tile(cube_mm, (len(numbers), 1))
        if data.center == "label":
            return {**batch, "center_xyz": batch["joints_xyz"].mean(1)}
        if data.center == "refined":
            valid, lacks = batch.pop("center_valid"), "no refined center; lay them beside the raw files"
        else:
            valid = ((batch["depth"] >= near) & (batch["depth"] <= far)).any((1, 2))
            lacks = f"no depth within config.data.depth_mm=({near:g}, {far:g}) to find a center in; widen it"
        if records is heldout and not valid.all():
            others = " or ".join(other for other in ("depth", "label") if other != data.center)
            frame = records.names(numbers[~valid][:1])[0]
            raise ValueError(f"{data.path}: {frame} has {lacks}, or use config.data.center={others}")
        return {**batch, "mask": valid}

    def expand(batch):
        if "center_xyz" in batch:
            return batch
        return {**batch, "center_xyz": hand_center(batch["depth"], batch["k"], batch["cube_mm"], (near, far))}

    return Source(
        skeleton=SKELETONS[name],
        train_size=len(seen),
        eval_size=len(heldout),
        train_rows=partial(rows, records=seen),
        eval_rows=partial(rows, records=heldout),
        expand=expand,
        names=heldout.names,
        about=f"{len(heldout)} frames of {data.name}, {eval_split}; crop center {center}",
    )


def _splits(data) -> tuple[str, str]:
    """Splits to train on and to evaluate. Of MSRA one person is left out, and evaluated."""
    if data.name != "msra_hand":
        return data.train_split, data.eval_split
    if not 0 <= data.subject < _MSRA_PEOPLE:
        raise ValueError(f"config.data.subject={data.subject}: expected 0 to {_MSRA_PEOPLE - 1}, the person who is left out")
    return "+".join(f"P{person}" for person in range(_MSRA_PEOPLE) if person != data.subject), f"P{data.subject}"


def _depth_range(depth_mm) -> tuple[float, float]:
    if len(depth_mm) != 2 or not 0 < depth_mm[0] < depth_mm[1] < float("inf"):
        raise ValueError(f"config.data.depth_mm={depth_mm}: expected two distances in mm, the nearer above 0 and first")
    return depth_mm


def _skeleton_of(joints: int, name: str) -> Skeleton:
    """The named order; without a name NYU's for 14 joints, and joints without names for any other number: data sets of 16 or 21
    joints differ in their orders."""
    if name:
        if name not in SKELETONS or len(SKELETONS[name].joints) != joints:
            fits = [n for n, s in SKELETONS.items() if len(s.joints) == joints] or ["nothing"]
            raise ValueError(f"config.data.joints={name} does not fit labels of {joints} joints; use {' or '.join(fits)}")
        return SKELETONS[name]
    if joints == 14:
        return SKELETONS["nyu14"]
    names = tuple(f"joint_{i}" for i in range(joints))
    return Skeleton("unnamed", names, (-1,) + (0,) * (joints - 1), ("palm",) * joints)


SOURCES = {"hand_world": hand_world, "voxel_h5": voxel_h5, **dict.fromkeys(_DEPTH_HANDS, depth_hand)}
