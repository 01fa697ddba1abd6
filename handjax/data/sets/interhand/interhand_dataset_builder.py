"""InterHand2.6M for TFDS. raw.py describes the files."""

import numpy as np
import tensorflow_datasets as tfds

from handjax.data.builder import Feature, RawBuilder, rgb_image, root_joint, tensor
from handjax.data.sets.interhand import raw


class Builder(RawBuilder):
    """Images of single and interacting hands in a studio, with 21 joints per hand in 3D."""

    RAW = raw
    HOMEPAGE = "https://mks0601.github.io/InterHand2.6M/"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Version 1.0 of its authors, one sample per hand."}

    def features(self) -> dict[str, Feature]:
        return {
            "image": rgb_image(),
            "k": tensor("intrinsics, px; pixel centers are integers", 3, 3),
            "joints_xyz": tensor(
                "hand21, camera mm: x right, y down, z forward; 0 where not labelled", 21, 3
            ),
            "joints_uv": tensor("hand21, px: where k sees joints_xyz; 0 where not visible", 21, 2),
            "visible": tensor(
                "hand21: labelled and inside the image, also where hidden", 21, dtype=np.bool_
            ),
            "side": tfds.features.ClassLabel(names=["left", "right"], doc="which hand it is"),
            "root": root_joint(),
            "interacting": tensor("whether the other hand is in the image, too", dtype=np.bool_),
            "id": tfds.features.Text(doc="split, image and side"),
        }
