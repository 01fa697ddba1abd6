"""FreiHAND for TFDS. raw.py describes the files."""

import numpy as np
import tensorflow_datasets as tfds

from handjax.data.builder import Feature, RawBuilder, rgb_image, root_joint, tensor
from handjax.data.sets.freihand import raw


class Builder(RawBuilder):
    """Photographs of right hands, most of them with other backgrounds, with 21 joints in 3D."""

    RAW = raw
    HOMEPAGE = "https://lmb.informatik.uni-freiburg.de/resources/datasets/FreihandDataset.en.html"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Version 2 of its authors: images, cameras and joints."}

    def features(self) -> dict[str, Feature]:
        return {
            "image": rgb_image("RGB", raw.SIZE, raw.SIZE),
            "k": tensor("intrinsics, px; pixel centers are integers", 3, 3),
            "joints_xyz": tensor("hand21, camera mm: x right, y down, z forward", 21, 3),
            "joints_uv": tensor("hand21, px: where k sees joints_xyz", 21, 2),
            "visible": tensor(
                "hand21: inside the image; the set marks no hidden joints", 21, dtype=np.bool_
            ),
            "side": tfds.features.ClassLabel(names=["left", "right"], doc="always right"),
            "root": root_joint(),
            "version": tfds.features.ClassLabel(
                names=list(raw.VERSIONS),
                doc="background: green screen or as recorded, homogenized, colored from sample "
                "points, colored without",
            ),
            "hand": tensor("number of the hand, which several images show", dtype=np.int32),
            "id": tfds.features.Text(doc="folder/number of the image"),
        }
