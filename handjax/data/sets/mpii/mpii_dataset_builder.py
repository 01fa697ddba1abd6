"""MPII Human Pose for TFDS, one sample per person. raw.py describes the files."""

import numpy as np
import tensorflow_datasets as tfds

from handjax.data.builder import Feature, RawBuilder, rgb_image, tensor
from handjax.data.sets.mpii import raw


class Builder(RawBuilder):
    """Images of people with 16 joints."""

    RAW = raw
    HOMEPAGE = "http://human-pose.mpi-inf.mpg.de"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {
        "1.0.0": "People of the json annotation, head sizes for PCKh in the validation."
    }

    def features(self) -> dict[str, Feature]:
        return {
            "image": rgb_image(),
            "joints_uv": tensor(
                "mpii16, px; pixel centres are integers; 0 where not labelled", raw.JOINTS, 2
            ),
            "visible": tensor("mpii16: labelled", raw.JOINTS, dtype=np.bool_),
            "center_uv": tensor("the person's middle as annotated, px", 2),
            "scale": tensor("the person's height by 200 px"),
            "box": tensor("left, top, width, height, px: the square that is usually cropped", 4),
            "head_size": tensor(
                "px, for PCKh: 0.6 of the head box's diagonal; 0 where unknown (train, test)"
            ),
            "id": tfds.features.Text(doc="split/picture_number of the person in it"),
        }
