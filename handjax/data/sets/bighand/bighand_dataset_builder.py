"""BigHand2.2M for TFDS. raw.py describes the files."""

import numpy as np
import tensorflow_datasets as tfds

from handjax.data.builder import Feature, RawBuilder, depth_image, root_joint, tensor
from handjax.data.sets.bighand import raw


class Builder(RawBuilder):
    """Depth images of hands with magnetic sensors, with 21 joints; a split per person."""

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
            "root": root_joint(),
            "viewpoint": tfds.features.Text(doc="folder of the frame, as 1 75 or ego"),
            "id": tfds.features.Text(doc="person, viewpoint and number of the frame"),
        }
