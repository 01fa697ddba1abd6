"""NYU hand for TFDS. raw.py describes the files."""

import numpy as np
import tensorflow_datasets as tfds

from handjax.data.builder import Feature, RawBuilder, depth_image, tensor
from handjax.data.sets.nyu_hand import raw


class Builder(RawBuilder):
    """Depth images of one hand by three Kinects, with 36 joints."""

    RAW = raw
    HOMEPAGE = "https://cims.nyu.edu/~tompson/NYU_Hand_Pose_Dataset.htm"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(
            name="single", description="A sample a frame: the first Kinect, from the front."
        ),
        tfds.core.BuilderConfig(
            name="multiview",
            description="A sample a frame: all three Kinects, on a leading axis.",
        ),
    ]

    def features(self) -> dict[str, Feature]:
        kinects = len(raw.CONFIGS[self.builder_config.name])
        lead = (kinects,) if kinects > 1 else ()
        doc = "mm along z, 0 = missing"
        image = depth_image(doc, raw.HEIGHT, raw.WIDTH)
        return {
            "depth": tfds.features.Sequence(image, length=kinects, doc=doc) if lead else image,
            "k": tensor("intrinsics in px; pixel centers are integers", *lead, 3, 3),
            "joints_xyz": tensor(
                "mm, camera frame: x right, y down, z forward", *lead, raw.JOINTS, 3
            ),
            "joints_uv": tensor("px, as the set gives them", *lead, raw.JOINTS, 2),
            "center_xyz": tensor(
                "mm, camera frame: V2V-PoseNet's refined center, where center_valid", *lead, 3
            ),
            "center_valid": tensor("whether there is a refined center", *lead, dtype=np.bool_),
            "id": tfds.features.Text(doc="split and file or number of the frame"),
        }
