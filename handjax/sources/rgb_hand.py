"""RGB images of hands prepared by `handjax prepare`: RHD, STB, FreiHAND, DexYCB, HO-3D,
InterHand2.6M, HandDB, lists of keypoints, and mixtures of them."""

from functools import partial

import numpy as np
from jaxtyping import Bool, Float
from ml_collections import ConfigDict

from handjax.engine import config as configs
from handjax.pose.joint_orders import palm_from_wrist
from handjax.pose.skeleton import SKELETONS
from handjax.sources import prepared
from handjax.sources.base import Source

_HAND = SKELETONS["hand21"]
_MIDDLE, _RING = _HAND.joints.index("middle_base"), _HAND.joints.index("ring_base")
_SETS = ("rhd", "stb", "freihand", "dexycb", "ho3d", "interhand", "panoptic_hand", "keypoint_list")
# In the others `visible` says which joints are labelled.
_ALL_LABELLED = ("rhd", "stb", "freihand", "dexycb", "ho3d")


def rgb_hand(config: ConfigDict, train: bool = True) -> Source:
    """Images of one hand each, at most `data.image_size` large, joints in the common order.

    `joints_xyz` and `k`, `left`, and `box` are in the batches if all the sets have them.

    `data.crop_boxes` 0 keeps the entire image; otherwise it is cropped to that many boxes of the
    labelled joints around their middle, for photographs in which a hand is small.

    `data.root` names joint 0 of the batches, which is the wrist in RHD and the palm in STB:
    "as_labelled" (refuses to combine sets that differ), "palm" or "wrist". One is computed from the
    other by hand3d's rules (lmb-freiburg/hand3d, use_wrist_coord): the palm is the midpoint of the
    wrist and the base of the middle finger; the wrist is the base of the RING finger reflected
    through the palm. As in the original, the two are not each other's inverse.
    """
    data = config.data
    size = prepared.image_size(config)
    roots = {"as_labelled": "as in the set", "palm": "the palm", "wrist": "the wrist"}
    description = f"joint 0 is {configs.lookup(roots, config, 'data.root')}"
    if data.crop_boxes:
        description += f"; images cropped to {data.crop_boxes:g} boxes of the true joints"
    return prepared.source(
        config,
        train,
        known=_SETS,
        open_records=partial(_open, root=data.root, size=size, crop_boxes=data.crop_boxes),
        skeleton=_HAND,
        description=description,
        default_splits=("test", "validation"),
        check_sets=_check_root if data.root == "as_labelled" else lambda sets: None,
    )


def _check_root(sets: list[prepared.PreparedSet]) -> None:
    """Raise ValueError unless joint 0 is the same in all sets."""
    from handjax.data.records import RecordDataset

    roots: dict[str, str] = {}  # by the set's name in the config: all splits have the same
    for found in sets:
        if found.requested not in roots:
            records = RecordDataset(found.folder, found.split, keys=("root",))
            palm = records.rows(np.zeros(1, int))["root"][0]
            roots[found.requested] = "palm" if palm else "wrist"
    if len(set(roots.values())) > 1:
        listed = ", ".join(f"{name} the {root}" for name, root in roots.items())
        raise ValueError(
            f"joint 0 is not the same in these sets: {listed}; choose config.data.root=palm or "
            "wrist"
        )


def _open(
    sets: list[prepared.PreparedSet], root: str, size: tuple[int, int], crop_boxes: float
) -> list:
    from handjax.data.records import RecordDataset
    from handjax.data.resize import around_joints, resize_pad

    optional = ("joints_xyz", "k", "box", "side")
    common = [key for key in optional if all(key in found.features for found in sets)]
    return [
        RecordDataset(
            found.folder,
            found.split,
            keys=("image", "joints_uv", "visible", "root", *common),
            transform=resize_pad(*size, around_joints(crop_boxes) if crop_boxes else None),
            postprocess=partial(_to_batch, root=root, all_labelled=found.name in _ALL_LABELLED),
        )
        for found in sets
    ]


def _to_batch(
    features: dict[str, np.ndarray], root: str, all_labelled: bool
) -> dict[str, np.ndarray]:
    """The features of a prepared set → the keys of a batch."""
    batch = dict(features)
    is_palm, visible = batch.pop("root") == 1, batch["visible"]
    labelled = np.ones_like(visible) if all_labelled else visible.copy()
    if "side" in batch:
        batch["left"] = batch.pop("side") == 0
    if root != "as_labelled":
        changed, other, convert = (
            (~is_palm, _MIDDLE, palm_from_wrist)
            if root == "palm"
            else (is_palm, _RING, _wrist_from_palm)
        )
        for key in [key for key in ("joints_uv", "joints_xyz") if key in batch]:
            joints, seen = convert(batch[key], visible)
            batch[key] = np.where(changed[:, None, None], joints, batch[key])
        labelled[:, 0] &= labelled[:, other] | ~changed
        visible = np.where(changed[:, None], seen, visible) & labelled
    batch["joints_uv"] = np.where(labelled[..., None], batch["joints_uv"], np.float32(0))
    return {**batch, "visible": visible, "labelled": labelled}


def _wrist_from_palm(
    joints: Float[np.ndarray, "b 21 c"], visible: Bool[np.ndarray, "b 21"]
) -> tuple[Float[np.ndarray, "b 21 c"], Bool[np.ndarray, "b 21"]]:
    wrist = 2 * joints[:, :1] - joints[:, _RING, None]
    seen = visible[:, :1] | visible[:, _RING, None]
    return np.concatenate([wrist, joints[:, 1:]], 1), np.concatenate([seen, visible[:, 1:]], 1)
