"""HANDS 2017 and 2019 for TFDS. raw.py describes the files."""

import numpy as np
import tensorflow_datasets as tfds

from handjax.data.builder import Feature, RawBuilder, tensor
from handjax.data.sets.hands2017 import raw
from handjax.data.sets.sr300_features import frame_features


class Builder(RawBuilder):
    """Depth images of hands, with 21 joints; those of the test frames are not published."""

    RAW = raw
    HOMEPAGE = "http://icvl.ee.ic.ac.uk/hands17/challenge/"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name="hands2017", description="The challenge of 2017, by frames."),
        tfds.core.BuilderConfig(name="hands2019", description="Task 1 of the challenge of 2019."),
    ]

    def features(self) -> dict[str, Feature]:
        return {
            **frame_features(),
            "labelled": tensor("whether the joints are known; if not, they are 0", dtype=np.bool_),
            "center_xyz": tensor(
                "mm, camera frame: V2V-PoseNet's refined center, where center_valid", 3
            ),
            "center_valid": tensor("whether there is a refined center", dtype=np.bool_),
            "id": tfds.features.Text(doc="split and name of the frame"),
        }
