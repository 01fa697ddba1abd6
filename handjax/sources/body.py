"""RGB images of people prepared by `handjax prepare`: Human3.6M, its challenge, MPI-INF-3DHP, MPII,
COCO, and mixtures of them."""

from collections.abc import Callable
from functools import partial

import numpy as np
from ml_collections import ConfigDict

from handjax.engine import config as configs
from handjax.pose.joint_orders import ORDERS
from handjax.pose.skeleton import SKELETONS
from handjax.sources import prepared
from handjax.sources.base import Source

_BODY = SKELETONS["body18"]
# Set → the features to read.
_FEATURES = {
    "human36m": ("image", "k", "joints_xyz", "joints_uv", "visible", "subject", "action", "camera"),
    "human36m_challenge": ("image", "joints_from_pelvis", "visible"),
    "mpii": ("image", "joints_uv", "visible", "box", "head_size"),
    "coco_person": ("image", "joints_uv", "visible", "hidden", "box"),
    "mpi_inf_3dhp": ("image", "k", "joints_xyz", "joints_uv", "visible", "subject", "camera"),
}
_POSES = ("human36m", "human36m_challenge", "mpi_inf_3dhp")  # sets with joints in space
# x, y, width, height → those of a box a quarter larger around the same middle, as MPII's are.
_LARGER = np.array(
    [[1, 0, 0, 0], [0, 1, 0, 0], [-0.125, 0, 1.25, 0], [0, -0.125, 0, 1.25]], np.float32
)
_ORDER = {"mpii": "mpii16", "coco_person": "coco17"}  # the others are prepared as body18


def body(config: ConfigDict, train: bool = True) -> Source:
    """Images of one person each, at most `data.image_size` large, with the joints of "body18".

    Every batch has every key, whatever its sets provide. `has_uv`: joints_uv and `labelled` are
    valid. `has_xyz`: joints_xyz are valid; with both, in the frame of the camera `k`; with
    `has_xyz` alone (the challenge, which has no cameras) relative to the pelvis. Otherwise they are
    0 and `k` is the identity.

    Joints that a set lacks are unlabelled: torso and nose in MPII; pelvis, torso, neck, head and
    thorax in COCO, as in JimmySuen/integral-human-pose.

    `box`, the usual crop, is the square of `data.box_mm` around the pelvis for Human3.6M (2000 mm
    there) and MPI-INF-3DHP, the authors' square for MPII, the person's box enlarged by a quarter
    for COCO, and the image for the challenge. `data.crop_boxes` 0 keeps the entire image; otherwise
    it is cropped to a square of that many boxes.
    """
    data = config.data
    size = prepared.image_size(config)
    configs.require(config, 1, "data.box_mm")
    return prepared.source(
        config,
        train,
        known=tuple(_FEATURES),
        open_records=partial(_open, size=size, crop_boxes=data.crop_boxes, box_mm=data.box_mm),
        skeleton=_BODY,
        description=f"images cropped to {data.crop_boxes:g} boxes"
        if data.crop_boxes
        else "entire images",
        default_splits=("validation", "test"),
    )


def _open(
    sets: list[prepared.PreparedSet], size: tuple[int, int], crop_boxes: float, box_mm: float
) -> list:
    from handjax.data.records import RecordDataset
    from handjax.data.resize import around_box, body_box, image_box, resize_pad

    boxes: dict[str, Callable[[dict], dict]] = {
        "human36m": partial(body_box, size_mm=box_mm),
        "mpi_inf_3dhp": partial(body_box, size_mm=box_mm),
        "human36m_challenge": image_box,
        "coco_person": _larger_box,
    }

    def records(found: prepared.PreparedSet) -> RecordDataset:
        add_box = boxes.get(found.name, dict)
        resize = resize_pad(*size, around_box(crop_boxes) if crop_boxes else None)
        return RecordDataset(
            found.folder,
            found.split,
            keys=_FEATURES[found.name],
            transform=lambda features: resize(add_box(features)),
            postprocess=partial(_to_batch, name=found.name),
        )

    return [records(found) for found in sets]


def _larger_box(features: dict) -> dict:
    return {**features, "box": (features["box"][None] @ _LARGER)[0]}


def _to_batch(features: dict[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    """The features of the prepared set `name` → the keys of a batch."""
    rows, labelled = len(features["image"]), features["visible"]
    uv, hidden = features.get("joints_uv"), features.get("hidden")
    if order := ORDERS.get(_ORDER.get(name, "")):
        labelled = order.convert(labelled, axis=-1)
        uv = None if uv is None else order.convert(uv)
        hidden = None if hidden is None else order.convert(hidden, axis=-1)
    has_xyz = np.asarray(labelled.any(-1) & (name in _POSES))
    xyz = features.get("joints_xyz", features.get("joints_from_pelvis"))
    if uv is None:
        labelled, uv = np.zeros_like(labelled), np.zeros((rows, len(_BODY.joints), 2), np.float32)
    unknown = np.full(rows, -1, np.int32)
    numbers = ("subject", "action", "camera")
    return {
        **{key: features[key] for key in ("image", "box", "source_from_image")},
        "joints_uv": np.where(labelled[..., None], uv, np.float32(0)),
        "labelled": labelled,
        "visible": labelled if hidden is None else labelled & ~hidden,
        "joints_xyz": np.zeros((rows, len(_BODY.joints), 3), np.float32) if xyz is None else xyz,
        "k": features.get("k", np.tile(np.eye(3, dtype=np.float32), (rows, 1, 1))),
        "has_uv": np.asarray(labelled.any(-1)),
        "has_xyz": has_xyz,
        "head_px": features.get("head_size", np.zeros(rows, np.float32)),
        **{key: features.get(key, unknown).astype(np.int32) for key in numbers},
    }
