"""ITOP for TFDS. raw.py describes the files."""

import numpy as np
import tensorflow_datasets as tfds

from handjax.data.builder import Feature, RawBuilder, depth_image, tensor
from handjax.data.sets.itop import raw


class Builder(RawBuilder):
    """Depth images of people, from the side or from above, with 15 joints."""

    RAW = raw
    HOMEPAGE = "https://www.alberthaque.com/projects/viewpoint_3d_pose/"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version: the valid frames."}
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name="side", description="Seen from the front at body height."),
        tfds.core.BuilderConfig(name="top", description="The same seen from above."),
    ]

    def features(self) -> dict[str, Feature]:
        return {
            "depth": depth_image("mm along z, rounded, 0 = missing", raw.HEIGHT, raw.WIDTH),
            "k": tensor("intrinsics in px; pixel centers are integers", 3, 3),
            "joints_xyz": tensor(
                "mm, camera frame: x right, y down, z forward; order itop15", raw.JOINTS, 3
            ),
            "joints_uv": tensor("px, where k sees joints_xyz", raw.JOINTS, 2),
            "visible": tensor("inside the image and not hidden", raw.JOINTS, dtype=np.bool_),
            "center_xyz": tensor("mm, camera frame: V2V-PoseNet's center, where center_valid", 3),
            "center_valid": tensor("whether there is such a center", dtype=np.bool_),
            "id": tfds.features.Text(doc="split, person and number of the frame"),
        }
