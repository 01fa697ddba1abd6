"""Colour pictures of hands as `handjax.prepare` leaves them: RHD, STB, HandDB, lists of keypoints, and what is mixed of them."""

from functools import partial

import numpy as np
from jaxtyping import Bool, Float

from handjax.engine import config as configs
from handjax.pose.skeleton import SKELETONS, palm_from_wrist
from handjax.sources import prepared
from handjax.sources.base import Source

_HAND = SKELETONS["hand21"]
_MIDDLE, _RING = _HAND.joints.index("middle_base"), _HAND.joints.index("ring_base")
_SETS = ("rhd", "stb", "panoptic_hand", "keypoint_list")
_HIDDEN_HAVE_PLACES = ("rhd", "stb")  # elsewhere `visible` says which joints are labelled


def rgb_hand(config, train: bool = True) -> Source:
    """Pictures of one hand each, at most `data.image_size` large (`fit.fit`), with joints in the common order.

    `joints_xyz` and `k`, `left`, and `box` are in the batches where all the sets have them.

    `data.room` 0 keeps the whole picture; else it is cut to that many boxes of the labelled joints about their middle, for
    photographs in which a hand is small. RHD's joint 0 is the wrist and STB's the palm, and `data.root` says what a batch's
    is: "as_labelled", which refuses sets that differ, "palm" or "wrist". Either comes of the other by hand3d's rules
    (lmb-freiburg/hand3d, use_wrist_coord): the palm is the middle between wrist and base of the middle finger; the wrist is
    as far behind the palm as the base of the RING finger is before it. The two do not undo each other, there as here.
    """
    data = config.data
    size = prepared.check_size(data)
    roots = {"as_labelled": "as the set has it", "palm": "the palm", "wrist": "the wrist"}
    about = f"joint 0 is {configs.choose(roots, config, 'data.root')}"
    if data.room:
        about += f"; pictures cut to {data.room:g} boxes of the true joints"
    opened = partial(_opened, root=data.root, size=size, room=data.room)
    agree = {"agree": _same_root} if data.root == "as_labelled" else {}
    return prepared.source(
        config, train, _SETS, opened, _HAND, about, usual=("test", "validation"), **agree
    )


def _same_root(sets: list[prepared.Found]) -> None:
    from handjax.data.records import Records

    roots = {}  # by the set's name in the config: splits do not differ
    for found in sets:
        if found.given not in roots:
            palm = Records(found.folder, found.split, keys=("root",)).rows(np.zeros(1, int))[
                "root"
            ][0]
            roots[found.given] = "palm" if palm else "wrist"
    if len(set(roots.values())) > 1:
        says = ", ".join(f"{given} the {root}" for given, root in roots.items())
        raise ValueError(
            f"joint 0 is not the same in these sets: {says}; choose config.data.root=palm or wrist"
        )


def _opened(sets: list[prepared.Found], root: str, size: tuple[int, int], room: float) -> list:
    from handjax.data.records import Records
    from handjax.data.resize import around_joints, fit

    common = [
        key
        for key in ("joints_xyz", "k", "box", "side")
        if all(key in found.features for found in sets)
    ]
    return [
        Records(
            found.folder,
            found.split,
            keys=("image", "joints_uv", "visible", "root", *common),
            sample=fit(*size, around_joints(room) if room else None),
            finish=partial(_finished, root=root, all_labelled=found.name in _HIDDEN_HAVE_PLACES),
        )
        for found in sets
    ]


def _finished(batch: dict[str, np.ndarray], root: str, all_labelled: bool) -> dict[str, np.ndarray]:
    """A prepared set's own features → a batch's."""
    batch = dict(batch)
    is_palm, visible = batch.pop("root") == 1, batch["visible"]
    labelled = np.ones_like(visible) if all_labelled else visible.copy()
    if "side" in batch:
        batch["left"] = batch.pop("side") == 0
    if root != "as_labelled":
        turned, other, make = (
            (~is_palm, _MIDDLE, palm_from_wrist)
            if root == "palm"
            else (is_palm, _RING, _wrist_from_palm)
        )
        for key in [key for key in ("joints_uv", "joints_xyz") if key in batch]:
            joints, seen = make(batch[key], visible)
            batch[key] = np.where(turned[:, None, None], joints, batch[key])
        labelled[:, 0] &= labelled[:, other] | ~turned
        visible = np.where(turned[:, None], seen, visible) & labelled
    batch["joints_uv"] = np.where(labelled[..., None], batch["joints_uv"], np.float32(0))
    return {**batch, "visible": visible, "labelled": labelled}


def _wrist_from_palm(joints: Float[np.ndarray, "b 21 c"], visible: Bool[np.ndarray, "b 21"]):
    wrist = 2 * joints[:, :1] - joints[:, _RING, None]
    seen = visible[:, :1] | visible[:, _RING, None]
    return np.concatenate([wrist, joints[:, 1:]], 1), np.concatenate([seen, visible[:, 1:]], 1)
