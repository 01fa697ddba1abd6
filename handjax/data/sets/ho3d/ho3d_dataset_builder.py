"""HO-3D for TFDS. raw.py describes the files."""

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
from handjax.data.sets.ho3d import raw


class Builder(RawBuilder):
    """Color and depth of right hands that hold objects, with 21 joints."""

    RAW = raw
    HOMEPAGE = "https://github.com/shreyashampali/ho3d"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name="v3", description="Version 3 of its authors, of 2021."),
        tfds.core.BuilderConfig(name="v2", description="Version 2 of its authors, of 2020."),
    ]

    def features(self) -> dict[str, Feature]:
        form = "png" if self.builder_config.name == "v2" else "jpeg"
        return {
            "image": rgb_image("RGB", raw.HEIGHT, raw.WIDTH, form=form),
            "depth": depth_image(
                "mm along z, rounded, 0 = missing, at the pixels of the image",
                raw.HEIGHT,
                raw.WIDTH,
            ),
            "k": tensor("intrinsics in px; pixel centers are integers", 3, 3),
            "joints_xyz": tensor(
                "mm, camera frame: x right, y down, z forward; order hand21", raw.JOINTS, 3
            ),
            "joints_uv": tensor("px, where k sees joints_xyz", raw.JOINTS, 2),
            "visible": tensor(
                "inside the image; the set marks no hidden joints", raw.JOINTS, dtype=np.bool_
            ),
            "side": tfds.features.ClassLabel(names=["left", "right"], doc="always right"),
            "root": root_joint(),
            "id": tfds.features.Text(doc="split, sequence and number of the frame"),
        }
