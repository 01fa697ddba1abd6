"""RGB images with users' own joints, prepared by `handjax prepare landmarks`."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from handjax.pose.skeleton import Skeleton
from handjax.pose.skeleton_file import parse
from handjax.sources import prepared
from handjax.sources.base import Source

_SETS = ("landmarks",)
_FEATURES = ("image", "joints_uv", "visible", "hidden", "box", "area")


def landmarks(config: ConfigDict, train: bool = True) -> Source:
    """Images of one object each, at most `data.image_size` large, with the joints of their set.

    All sets must have the same skeleton. `data.crop_boxes` 0 keeps the entire image; otherwise it
    is cropped to that many boxes around the middle of the object's own.
    """
    data = config.data
    size = prepared.image_size(config)
    around = f"images cropped to {data.crop_boxes:g} boxes" if data.crop_boxes else "entire images"
    return prepared.source(
        config,
        train,
        known=_SETS,
        open_records=partial(_open, size=size, crop_boxes=data.crop_boxes),
        skeleton=_skeleton,
        description=around,
        default_splits=("test", "validation", "val"),
    )


def _skeleton(sets: Sequence[prepared.PreparedSet]) -> Skeleton:
    """The skeleton of all sets; ValueError if they differ."""
    from handjax.data.records import metadata

    found = {}
    for one in sets:
        content = metadata(one.folder).get("skeleton")
        if content is None:
            raise ValueError(f"{one.folder}: no skeleton in its metadata.json; prepare it again")
        found[one.folder] = parse(content, one.folder / "metadata.json")
    (first, skeleton), *others = found.items()
    for folder, other in others:
        if other.joints != skeleton.joints:
            raise ValueError(
                f"{folder} has the joints {', '.join(other.joints[:5])}, ..., {first} "
                f"{', '.join(skeleton.joints[:5])}, ...; expected the same in the same order"
            )
    return skeleton


def _open(sets: list[prepared.PreparedSet], size: tuple[int, int], crop_boxes: float) -> list[Any]:
    from handjax.data.records import RecordDataset
    from handjax.data.resize import around_box, resize_pad

    return [
        RecordDataset(
            found.folder,
            found.split,
            keys=_FEATURES,
            transform=resize_pad(*size, around_box(crop_boxes) if crop_boxes else None),
            postprocess=_to_batch,
        )
        for found in sets
    ]


def _to_batch(features: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The features of a prepared set → the keys of a batch."""
    batch = dict(features)
    hidden, labelled = batch.pop("hidden"), batch["visible"]
    return {
        **batch,
        "joints_uv": np.where(labelled[..., None], batch["joints_uv"], np.float32(0)),
        "labelled": labelled,
        "visible": labelled & ~hidden,
    }
