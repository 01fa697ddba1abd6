"""Prepared sets by name below one folder, alone, one behind the other or mixed: what sources of pictures share."""

import importlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from handjax.pose.skeleton import Skeleton
from handjax.sources.base import Source

_VERSION = re.compile(r"\d+\.\d+\.\d+")


class Found(NamedTuple):
    given: str  # as the config names it, "stb/bb"
    folder: Path
    name: str  # of the set, "stb"
    split: str
    features: tuple[str, ...]


def source(
    config,
    train: bool,
    known: Sequence[str],
    opened: Callable,
    skeleton: Skeleton,
    about: str,
    usual: tuple[str, ...],
    agree: Callable = lambda found: None,
) -> Source:
    """`config.data.sets` to train on, `config.data.eval_sets`, or the same, to evaluate; `opened(list of Found)` → their Records.

    `agree` is asked of all of them together, and raises if they must not meet. Splits that the config does not name are "train",
    and to evaluate the first of the `usual` ones that there is.

    Without `config.data.weights` the sets are one behind the other and shuffled together, so each has the share of its
    size; with them each has its weight's share of every thousand samples, and the source is endless.
    """
    from handjax.data import records as pipeline  # the synthetic world needs no TensorFlow

    data = config.data
    if not data.path:
        raise ValueError(
            "config.data.path is empty: name the folder of the prepared sets by --config.data.path=DIR"
        )
    if not data.sets:
        raise ValueError(
            "config.data.sets is empty: name the prepared sets, as in --config.data.sets=\"('rhd', 'stb')\""
        )
    held = [
        _found(config, given, known, "eval_split", usual) for given in data.eval_sets or data.sets
    ]
    trained = (
        [_found(config, given, known, "train_split", ("train",)) for given in data.sets]
        if train
        else []
    )
    agree([*trained, *held])
    heldout = pipeline.Joined(opened(held))
    seen, size = heldout, len(heldout)
    if train:
        records = opened(trained)
        seen = (
            pipeline.Mixture(records, data.weights, config.seed)
            if data.weights
            else pipeline.Joined(records)
        )
        size = None if data.weights else len(seen)
    frames = [
        f"{len(part)} of {found.given}, {found.split}"
        for part, found in zip(heldout.parts, held, strict=True)
    ]
    whole = all(
        len(part) == _published(found) for part, found in zip(heldout.parts, held, strict=True)
    )
    return Source(
        skeleton=skeleton,
        train_size=size,
        eval_size=len(heldout),
        train_rows=seen.rows,
        eval_rows=heldout.rows,
        materialize=lambda batch: batch,
        names=heldout.names,
        description=f"frames: {' + '.join(frames)}; {about}",
        benchmark="+".join(sorted(found.name for found in held)) if whole else "",
    )


def check_size(data) -> tuple[int, int]:
    """`config.data.image_size` (height, width)."""
    if len(data.image_size) != 2 or min(data.image_size) < 1:
        raise ValueError(
            f"config.data.image_size={data.image_size}: expected height and width in px"
        )
    if data.room and data.room < 1:
        raise ValueError(
            f"config.data.room={data.room}: expected 0, the whole picture, or how many boxes, 1 or more"
        )
    return tuple(data.image_size)


def _found(config, given: str, known: Sequence[str], key: str, usual: tuple[str, ...]) -> Found:
    from handjax.data import records as pipeline

    folder = _folder(
        Path(config.data.path), given, alone=len({*config.data.sets, *config.data.eval_sets}) == 1
    )
    name, splits, features = pipeline.describe(folder)
    if name not in known:
        raise ValueError(
            f"{folder}: a prepared {name}; config.data.name={config.data.name} reads {', '.join(known)}"
        )
    split = config.data[key] or next((split for split in usual if split in splits), "")
    if not split and key == "train_split" and len(splits) == 1:
        split = splits[0]  # a set that is all for training
    if not split:
        raise ValueError(
            f"{folder}: no split {' or '.join(usual)} but {', '.join(splits)}; name one by config.data.{key}"
        )
    return Found(given, folder, name, split, features)


def _folder(path: Path, given: str, alone: bool) -> Path:
    """The prepared set: `path` itself if it is one, else the newest version of what lies at path/given."""
    if (path / "dataset_info.json").exists():
        if alone:
            return path
        raise ValueError(
            f"config.data.path={path} is one prepared set; for several give the folder that holds them all"
        )
    configurations = {}
    for file in sorted(path.joinpath(given).glob("**/dataset_info.json")):
        if _VERSION.fullmatch(file.parent.name):
            configurations.setdefault(file.parent.parent, []).append(file.parent)
    if len(configurations) != 1:
        there = ", ".join(f.relative_to(path).as_posix() for f in configurations) or "none"
        raise ValueError(
            f"{path}: one prepared {given} is expected there, and {there} found; name it by config.data.sets"
        )
    (versions,) = configurations.values()
    return max(versions, key=lambda folder: [int(part) for part in folder.name.split(".")])


def _published(found: Found) -> int | None:
    """How many samples the split has as its authors published it; None where they do not say, or a part is read."""
    return importlib.import_module(f"handjax.data.sets.{found.name}.raw").COUNTS.get(found.split)
