"""Prepared sets of RGB images by name below one folder: alone, concatenated or mixed."""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ml_collections import ConfigDict

from handjax.data import left_out
from handjax.data.preparation.registry import published_frames
from handjax.engine.files import AnyPath, place
from handjax.pose.skeleton import Skeleton
from handjax.sources.base import Source, required_path, unchanged
from handjax.sources.watch import Watch

_VERSION = re.compile(r"\d+\.\d+\.\d+")


class PreparedSet(NamedTuple):
    """One split of a set that `handjax prepare` wrote."""

    requested: str  # as the config names it, "stb/bb"
    folder: AnyPath  # the one with dataset_info.json
    name: str  # of the set, "stb"
    config: str | None  # its configuration, "bb"
    split: str
    features: tuple[str, ...]


def source(
    config: ConfigDict,
    train: bool,
    known: Sequence[str],
    open_records: Callable[[list[PreparedSet]], list],
    skeleton: Skeleton | Callable[[Sequence[PreparedSet]], Skeleton],
    description: str,
    default_splits: Sequence[str],
    check_sets: Callable[[list[PreparedSet]], None] = lambda sets: None,
) -> Source:
    """Trains on `config.data.sets` and evaluates on `config.data.eval_sets`, or the same sets.

    known           names of the sets that this source can read.
    open_records    sets → their `data.records.RecordDataset`, one for each.
    skeleton        of the sets, or a function that reads it from them.
    default_splits  the first one that a set has is evaluated, unless the config names a split; the
                    default for training is "train".
    check_sets      sees the sets of training and evaluation; raises if they are incompatible.

    Without `config.data.weights` the sets are concatenated and shuffled together, so each has a
    share by its size. With weights each has its weight's share of every thousand samples, and the
    source is endless.
    """
    from handjax.data import mixture  # synthetic sources work without TensorFlow

    data = config.data
    required_path(config, "folder of the prepared sets", bucket=True)
    if not data.sets:
        raise ValueError(
            "config.data.sets is empty: name the prepared sets, as in "
            "--config.data.sets=\"('rhd', 'stb')\""
        )
    eval_names, train_names = data.eval_sets or data.sets, data.sets if train else ()
    eval_sets = [_find(config, name, known, "eval_split", default_splits) for name in eval_names]
    train_sets = [_find(config, name, known, "train_split", ("train",)) for name in train_names]
    check_sets([*train_sets, *eval_sets])
    if not isinstance(skeleton, Skeleton):
        skeleton = skeleton([*train_sets, *eval_sets])

    evaluated = mixture.Concat(open_records(eval_sets))
    trained = evaluated
    train_size: int | None = len(evaluated)
    if train and data.weights:
        trained = mixture.Mixture(open_records(train_sets), data.weights, config.seed)
        train_size = None
    elif train:
        trained = mixture.Concat(open_records(train_sets))
        train_size = len(trained)

    pairs = list(zip(evaluated.parts, eval_sets, strict=True))
    frames = [
        f"{len(part)} of {found.requested}, {found.split}{left_out.told(found.folder, found.split)}"
        for part, found in pairs
    ]
    entire = all(_is_entire(found, len(part)) for part, found in pairs)
    return Source(
        skeleton=skeleton,
        train_size=train_size,
        eval_size=len(evaluated),
        train_rows=Watch(trained.rows, skeleton, data.path, train_size, train=True),
        eval_rows=Watch(evaluated.rows, skeleton, data.path, len(evaluated), train=False),
        materialize=unchanged,
        names=evaluated.names,
        description=f"frames: {' + '.join(frames)}; {description}",
        benchmark="+".join(sorted(found.name for found in eval_sets)) if entire else "",
        dataset=eval_sets[0].name if len(eval_sets) == 1 else "",
    )


def image_size(config: ConfigDict) -> tuple[int, int]:
    """`config.data.image_size`, (height, width) in px. Also checks `config.data.crop_boxes`."""
    data = config.data
    if len(data.image_size) != 2 or min(data.image_size) < 1:
        raise ValueError(
            f"config.data.image_size={data.image_size}: expected height and width in px"
        )
    if data.crop_boxes and data.crop_boxes < 1:
        raise ValueError(
            f"config.data.crop_boxes={data.crop_boxes}: expected 0 for the entire image, or the "
            "size of the window in boxes, 1 or more"
        )
    height, width = data.image_size
    return height, width


def _find(
    config: ConfigDict, requested: str, known: Sequence[str], key: str, defaults: Sequence[str]
) -> PreparedSet:
    """The prepared set of that name, with the split of `config.data[key]` or a default one."""
    from handjax.data.records import describe

    alone = len({*config.data.sets, *config.data.eval_sets}) == 1
    folder = _folder(place(config.data.path), requested, alone)
    name, set_config, splits, features = describe(folder)
    if name not in known:
        raise ValueError(
            f"{folder}: a prepared {name}; config.data.name={config.data.name} reads "
            f"{', '.join(known)}"
        )
    split = config.data[key] or next((split for split in defaults if split in splits), "")
    if not split and key == "train_split" and len(splits) == 1:
        split = splits[0]  # a set for training only
    if not split:
        raise ValueError(
            f"{folder}: no split {' or '.join(defaults)} but {', '.join(splits)}; name one by "
            f"config.data.{key}"
        )
    return PreparedSet(requested, folder, name, set_config, split, features)


def _folder(path: AnyPath, requested: str, alone: bool) -> AnyPath:
    """The prepared set: `path` itself if it is one, else the newest version in path/requested."""
    if (path / "dataset_info.json").exists():
        if alone:
            return path
        raise ValueError(
            f"config.data.path={path} is one prepared set; for several give the folder that holds "
            "them all"
        )
    configurations: dict[AnyPath, list[AnyPath]] = {}
    for file in sorted(path.joinpath(requested).glob("**/dataset_info.json")):
        if _VERSION.fullmatch(file.parent.name):
            configurations.setdefault(file.parent.parent, []).append(file.parent)
    if len(configurations) != 1:
        found = ", ".join(f.relative_to(path).as_posix() for f in configurations) or "none"
        raise ValueError(
            f"{path}: expected one prepared {requested}, found {found}; name it by config.data.sets"
        )
    (versions,) = configurations.values()
    return max(versions, key=lambda folder: [int(part) for part in folder.name.split(".")])


def _is_entire(found: PreparedSet, size: int) -> bool:
    """Whether these are all samples of the split as published, except those that copies of the set
    are known to lack; not if that number is unknown, only a part is read or samples were left
    out."""
    published = published_frames(found.name, found.split, found.config)
    left = left_out.of_split(found.folder, found.split)
    if published is None or left.unreadable or "[" in found.split:
        return False
    return size == published or (bool(left.holes) and size < published)
