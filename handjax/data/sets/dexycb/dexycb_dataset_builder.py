"""DexYCB for TFDS. raw.py describes the files."""

import numpy as np
import tensorflow_datasets as tfds

from handjax.data.builder import (
    Feature,
    RawBuilder,
    depth_image,
    rgb_image,
    root_joint,
    tensor,
)
from handjax.data.sets.dexycb import raw


class Builder(RawBuilder):
    """Color and depth of hands that grasp objects, seen by eight cameras, with 21 joints."""

    RAW = raw
    HOMEPAGE = "https://dex-ycb.github.io"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version: the labelled frames."}
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name=name, description=f"Split by {by}.")
        for name, by in zip(raw.CONFIGS, ("sequence", "person", "camera", "object"), strict=True)
    ]

    def features(self) -> dict[str, Feature]:
        return {
            "image": rgb_image("RGB", raw.HEIGHT, raw.WIDTH),
            "depth": depth_image(
                "mm along z, 0 = missing, at the pixels of the image", raw.HEIGHT, raw.WIDTH
            ),
            "k": tensor("intrinsics in px; pixel centers are integers", 3, 3),
            "joints_xyz": tensor(
                "mm, camera frame: x right, y down, z forward; order hand21", raw.JOINTS, 3
            ),
            "joints_uv": tensor("px, as the set gives them", raw.JOINTS, 2),
            "visible": tensor(
                "inside the image; the set marks no hidden joints", raw.JOINTS, dtype=np.bool_
            ),
            "side": tfds.features.ClassLabel(names=["left", "right"], doc="which hand it is"),
            "root": root_joint(),
            "subject": tensor("the person, 1 to 10", dtype=np.int32),
            "camera": tensor("the camera, 0 to 7", dtype=np.int32),
            "id": tfds.features.Text(doc="person, sequence, camera and number of the frame"),
        }
