"""Lists of hand keypoints for TFDS. raw.py describes the files."""

import numpy as np
import tensorflow_datasets as tfds

from handjax.data.builder import Feature, RawBuilder, root_joint, tensor
from handjax.data.sets.keypoint_list import raw
from handjax.pose.joint_orders import ORDERS


class Builder(RawBuilder):
    """Your own images of hands with 21 keypoints."""

    RAW = raw
    HOMEPAGE = "https://github.com/chrisliu54/Hand-Keypoint-Estimation"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(
            name=name, description=f"The lists give: {', '.join(ORDERS[name].joints)}."
        )
        for name in raw.CONFIGS
    ]

    def features(self) -> dict[str, Feature]:
        return {
            "image": tfds.features.Image(shape=(None, None, 3), doc="RGB, the file as it is"),
            "joints_uv": tensor("hand21, px; 0 where not labelled", 21, 2),
            "visible": tensor("hand21: labelled", 21, dtype=np.bool_),
            "root": root_joint(),
            "id": tfds.features.Text(doc="split/picture, #2 and so on for its further hands"),
        }
