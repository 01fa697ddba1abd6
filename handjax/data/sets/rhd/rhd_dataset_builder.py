"""RHD for TFDS. raw.py describes the files."""

import numpy as np
import tensorflow_datasets as tfds

from handjax.data.builder import Feature, RawBuilder, depth_image, rgb_image, root_joint, tensor
from handjax.data.sets.rhd import raw


class Builder(RawBuilder):
    """Rendered images of people, with depth, segmentation and both hands."""

    RAW = raw
    HOMEPAGE = (
        "https://lmb.informatik.uni-freiburg.de/resources/datasets/RenderedHandposeDataset.en.html"
    )
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {
        "1.0.0": "RHD version 1.1 of its authors: pictures, masks, depth and both hands."
    }

    def features(self) -> dict[str, Feature]:
        return {
            "image": rgb_image("RGB", raw.SIZE, raw.SIZE, form="png"),
            "depth": depth_image("mm along z, rounded", raw.SIZE, raw.SIZE),
            "segmentation": tfds.features.Image(
                shape=(raw.SIZE, raw.SIZE, 1),
                encoding_format="png",
                doc="0 background, 1 person, 2..17 left hand, 18..33 right hand",
            ),
            "k": tensor("intrinsics, px; pixel centres are integers", 3, 3),
            "joints_xyz": tensor(
                "dominant hand, hand21, camera mm: x right, y down, z forward", 21, 3
            ),
            "joints_uv": tensor("dominant hand, hand21, px", 21, 2),
            "visible": tensor("dominant hand, hand21: seen in the picture", 21, dtype=np.bool_),
            "side": tfds.features.ClassLabel(
                names=["left", "right"],
                doc="dominant hand: more pixels in the mask, of equals right",
            ),
            "root": root_joint(),
            "hands_xyz": tensor("left and right hand, hand21, camera mm", 2, 21, 3),
            "hands_uv": tensor("left and right hand, hand21, px", 2, 21, 2),
            "hands_visible": tensor("left and right hand, hand21", 2, 21, dtype=np.bool_),
            "id": tfds.features.Text(doc="folder/number"),
        }
