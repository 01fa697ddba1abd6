"""Depth images of hands, and of people, prepared by `handjax prepare`: NYU, ICVL, MSRA, HANDS 2017,
BigHand2.2M, DexYCB, HO-3D; ITOP."""

from functools import partial

import numpy as np
from jaxtyping import Array, Int, Key
from ml_collections import ConfigDict

from handjax.data import left_out
from handjax.engine.contracts import Batch
from handjax.pose.center import hand_center
from handjax.pose.joint_orders import ORDERS
from handjax.pose.skeleton import SKELETONS
from handjax.sources.base import Source, check_cube, required_path
from handjax.sources.crop_center import crop_center
from handjax.sources.watch import Watch

# Prepared set → the skeleton of its batches, the number of joints stored, and which of them to use.
DEPTH_SETS = {
    "nyu_hand": ("nyu14", 36, ORDERS["nyu36"].to_common),
    "icvl": ("icvl16", 16, tuple(range(16))),
    "msra_hand": ("hand21", 21, tuple(range(21))),
    "hands2017": ("hand21", 21, tuple(range(21))),
    "bighand": ("hand21", 21, tuple(range(21))),
    "dexycb": ("hand21", 21, tuple(range(21))),
    "ho3d": ("hand21", 21, tuple(range(21))),
    "itop": ("itop15", 15, tuple(range(15))),  # people
}
_SOME_UNLABELLED = ("hands2017",)  # sets with frames whose joints are not published
_MSRA_PEOPLE = 9


def depth_hand(config: ConfigDict, train: bool = True) -> Source:
    """Entire frames of a prepared set of DEPTH_SETS.

    The crop's center (`config.data.center`) is the mean of the joints ("label"), the published one
    ("refined"), or the center of mass of the nearest thing within `data.depth_mm` ("depth", found
    on the device). A frame without a center is masked in training and an error in an evaluation.
    """
    from handjax.data.records import RecordDataset  # synthetic sources work without TensorFlow

    data = config.data
    check_cube(config)
    name, stored, joints = DEPTH_SETS[data.name]
    center = crop_center(config, "mean of the true joints")
    path = required_path(config, f"folder of the prepared {data.name}", bucket=True)
    train_split, eval_split = _splits(config, path)
    keys = ("depth", "k", "joints_xyz", *center.features)
    keys += ("labelled",) if data.name in _SOME_UNLABELLED else ()
    eval_set = RecordDataset(path, eval_split, keys=keys)
    train_set = RecordDataset(path, train_split, keys=keys) if train else eval_set
    first = eval_set.rows(np.zeros(1, int))
    _require_labels(first, path)
    shape = first["joints_xyz"].shape
    if shape != (1, stored, 3):
        raise ValueError(
            f"{path}: joints of a sample are {list(shape[1:])}; a single view of {data.name} has "
            f"[{stored}, 3]"
        )
    cube_mm = np.full(3, data.cube_mm, np.float32)

    def rows(numbers: Int[np.ndarray, " b"], records: RecordDataset) -> Batch:
        batch = records.rows(numbers)
        _require_labels(batch, path)
        batch["joints_xyz"] = batch["joints_xyz"][:, joints]
        batch["cube_mm"] = np.tile(cube_mm, (len(numbers), 1))
        if center.rule == "label":
            return {**batch, "center_xyz": batch["joints_xyz"].mean(1)}
        refined = center.rule == "refined"
        valid = batch.pop("center_valid") if refined else center.has_depth(batch["depth"])
        if records is eval_set:
            center.require(valid, numbers, records.names, path)
        return {**batch, "mask": valid}

    def materialize(batch: Batch, keys: Key[Array, " b"] | None = None) -> Batch:
        if "center_xyz" in batch:
            return batch
        found = hand_center(batch["depth"], batch["k"], batch["cube_mm"], center.range_mm)
        return {**batch, "center_xyz": found}

    watch = partial(Watch, skeleton=SKELETONS[name], where=path)
    return Source(
        skeleton=SKELETONS[name],
        train_size=len(train_set),
        eval_size=len(eval_set),
        train_rows=watch(partial(rows, records=train_set), size=len(train_set), train=True),
        eval_rows=watch(partial(rows, records=eval_set), size=len(eval_set), train=False),
        materialize=materialize,
        names=eval_set.names,
        description=f"{len(eval_set)} frames of {data.name}, {eval_split}; crop center "
        f"{center.description}{left_out.told(path, eval_split)}",
        dataset=data.name,
    )


def _require_labels(batch: Batch, path: str) -> None:
    """Removes `labelled` from a batch; ValueError for frames whose joints are not published."""
    if not np.all(batch.pop("labelled", True)):
        raise ValueError(
            f"{path}: the labels of some of these frames are not published; use parts of the split "
            "train, as in config.data.eval_split=train[90%:]"
        )


def _splits(config: ConfigDict, path: str) -> tuple[str, str]:
    """Splits to train on and to evaluate. MSRA and BigHand2.2M: all people but `data.subject`, and
    that one."""
    data = config.data
    if data.name == "bighand":
        return _other_people(config, path)
    if data.name != "msra_hand":
        return data.train_split, data.eval_split
    if not 0 <= data.subject < _MSRA_PEOPLE:
        raise ValueError(
            f"config.data.subject={data.subject}: expected 0 to {_MSRA_PEOPLE - 1}, the person "
            "who is left out"
        )
    others = [f"P{person}" for person in range(_MSRA_PEOPLE) if person != data.subject]
    return "+".join(others), f"P{data.subject}"


def _other_people(config: ConfigDict, path: str) -> tuple[str, str]:
    """All people of a prepared set with a split for each but `data.subject`, and that one."""
    from handjax.data.records import describe

    wanted, known = f"Subject_{config.data.subject}", describe(path).splits
    others = [person for person in known if person != wanted]
    if wanted not in known or not others:
        raise ValueError(
            f"config.data.subject={config.data.subject}: expected one of several people of {path}, "
            f"which has {', '.join(known)}"
        )
    return "+".join(others), wanted
