"""The Human3.6M challenge of ECCV 2018 for TFDS. raw.py describes the files."""

import numpy as np
import tensorflow_datasets as tfds

from handjax.data.builder import Feature, RawBuilder, rgb_image, tensor
from handjax.data.sets.human36m_challenge import raw


class Builder(RawBuilder):
    """Images with 3D poses relative to the pelvis."""

    RAW = raw
    HOMEPAGE = "http://vision.imar.ro/human3.6m"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Train, Val and Test of the challenge."}

    def features(self) -> dict[str, Feature]:
        return {
            "image": rgb_image(),
            "joints_from_pelvis": tensor(
                "body18, mm from the pelvis: x right, y down, z forward; 0 in test", 18, 3
            ),
            "visible": tensor("body18: labelled, also where hidden", 18, dtype=np.bool_),
            "id": tfds.features.Text(doc="split/number of the frame"),
        }
