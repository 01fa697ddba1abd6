"""Pictures of people as `handjax.prepare` leaves them: Human3.6M, its challenge, MPII, COCO, and what is mixed of them."""

from functools import partial

import numpy as np

from handjax.engine import config as configs
from handjax.pose.skeleton import ORDERS, SKELETONS
from handjax.sources import prepared
from handjax.sources.base import Source

_BODY = SKELETONS["body18"]
# Set → what is read of it.
_READS = {
    "human36m": ("image", "k", "joints_xyz", "joints_uv", "visible", "subject", "action", "camera"),
    "human36m_challenge": ("image", "joints_from_pelvis", "visible"),
    "mpii": ("image", "joints_uv", "visible", "box", "head_size"),
    "coco_person": ("image", "joints_uv", "visible", "hidden", "box"),
}
# x, y, width, height → the same of a box a quarter larger about the same middle, as MPII's is.
_LARGER = np.float32([[1, 0, 0, 0], [0, 1, 0, 0], [-0.125, 0, 1.25, 0], [0, -0.125, 0, 1.25]])
_ORDER = {"mpii": "mpii16", "coco_person": "coco17"}  # the others are prepared as body18


def body(config, train: bool = True) -> Source:
    """Pictures of one person each, at most `data.image_size` large (`fit.fit`), with the joints of "body18".

    Every batch has every key, whatever its sets know: `has_uv` says where joints_uv and `labelled` mean something, `has_xyz`
    where joints_xyz do. With both, joints_xyz are in the camera `k`; with `has_xyz` alone (the challenge, which has no
    cameras) they are from the pelvis; elsewhere they are 0 and `k` is the identity. Joints that a set lacks are not labelled:
    of MPII torso and nose, of COCO pelvis, torso, neck, head and thorax, as in JimmySuen/integral-human-pose.

    `box`, what is usually cropped: Human3.6M's is the square of `data.box_mm` about the pelvis (2000 mm there), MPII's its
    authors' square, COCO's a quarter larger than the person's own, the challenge's the picture. `data.room` 0 keeps the whole
    picture; else it is cut to a square of that many boxes.
    """
    data = config.data
    size = prepared.check_size(data)
    configs.require(config, 1, "data.box_mm")
    about = f"pictures cut to {data.room:g} boxes" if data.room else "whole pictures"
    opened = partial(_opened, size=size, room=data.room, box_mm=data.box_mm)
    return prepared.source(
        config, train, tuple(_READS), opened, _BODY, about, usual=("validation",)
    )


def _opened(sets: list[prepared.Found], size: tuple[int, int], room: float, box_mm: float) -> list:
    from handjax.data.records import Records
    from handjax.data.resize import around_box, body_box, fit, whole_box

    boxes = {
        "human36m": partial(body_box, size_mm=box_mm),
        "human36m_challenge": whole_box,
        "coco_person": _larger,
    }

    def records(found: prepared.Found) -> Records:
        boxed, fitted = boxes.get(found.name, dict), fit(*size, around_box(room) if room else None)
        return Records(
            found.folder,
            found.split,
            keys=_READS[found.name],
            sample=lambda features: fitted(boxed(features)),
            finish=partial(_finished, name=found.name),
        )

    return [records(found) for found in sets]


def _larger(features: dict) -> dict:
    return {**features, "box": (features["box"][None] @ _LARGER)[0]}


def _finished(batch: dict[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    """A prepared set's own features → a batch's."""
    rows, labelled = len(batch["image"]), batch["visible"]
    uv, hidden = batch.get("joints_uv"), batch.get("hidden")
    if order := ORDERS.get(_ORDER.get(name, "")):
        labelled, uv = order.convert(labelled, axis=-1), order.convert(uv)
        hidden = None if hidden is None else order.convert(hidden, axis=-1)
    has_uv, has_xyz = (
        uv is not None,
        labelled.any(-1) & (name in ("human36m", "human36m_challenge")),
    )
    xyz = batch.get("joints_xyz", batch.get("joints_from_pelvis"))
    if uv is None:
        labelled, uv = np.zeros_like(labelled), np.zeros((rows, len(_BODY.joints), 2), np.float32)
    unknown = np.full(rows, -1, np.int32)
    return {
        **{key: batch[key] for key in ("image", "box", "source_from_image")},
        "joints_uv": np.where(labelled[..., None], uv, np.float32(0)),
        "labelled": labelled,
        "visible": labelled if hidden is None else labelled & ~hidden,
        "joints_xyz": np.zeros((rows, len(_BODY.joints), 3), np.float32) if xyz is None else xyz,
        "k": batch.get("k", np.tile(np.eye(3, dtype=np.float32), (rows, 1, 1))),
        "has_uv": labelled.any(-1) & has_uv,
        "has_xyz": has_xyz,
        "head_px": batch.get("head_size", np.zeros(rows, np.float32)),
        **{
            key: batch.get(key, unknown).astype(np.int32) for key in ("subject", "action", "camera")
        },
    }
