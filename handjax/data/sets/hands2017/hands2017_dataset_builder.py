"""HANDS 2017 for TFDS. raw.py describes the files."""

import numpy as np
import tensorflow_datasets as tfds

from handjax.data.builder import Feature, RawBuilder, depth_image, root_joint, tensor
from handjax.data.sets.hands2017 import raw


class Builder(RawBuilder):
    """Depth images of hands, with 21 joints; those of the test frames are not published."""

    RAW = raw
    HOMEPAGE = "http://icvl.ee.ic.ac.uk/hands17/challenge/"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}

    def features(self) -> dict[str, Feature]:
        return {
            "depth": depth_image("mm along z, 0 = missing", raw.HEIGHT, raw.WIDTH),
            "k": tensor("intrinsics in px; pixel centers are integers", 3, 3),
            "joints_xyz": tensor(
                "mm, camera frame: x right, y down, z forward; order hand21", raw.JOINTS, 3
            ),
            "joints_uv": tensor("px, where k sees joints_xyz", raw.JOINTS, 2),
            "visible": tensor("inside the image", raw.JOINTS, dtype=np.bool_),
            "labelled": tensor("whether the joints are known; if not, they are 0", dtype=np.bool_),
            "root": root_joint(),
            "center_xyz": tensor(
                "mm, camera frame: V2V-PoseNet's refined center, where center_valid", 3
            ),
            "center_valid": tensor("whether there is a refined center", dtype=np.bool_),
            "id": tfds.features.Text(doc="split and name of the frame"),
        }
