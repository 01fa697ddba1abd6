"""STB for TFDS. raw.py describes the files."""

import numpy as np
import tensorflow_datasets as tfds

from handjax.data.builder import Feature, RawBuilder, depth_image, rgb_image, root_joint, tensor
from handjax.data.sets.stb import raw


class Builder(RawBuilder):
    """Images and depth of one left hand, with 21 joints."""

    RAW = raw
    HOMEPAGE = "https://github.com/zhjwustc/icip17_stereo_hand_pose_dataset"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {
        "1.0.0": "First version: the stereo camera and the depth sensor, each with its own labels."
    }
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(
            name="bb", description="Point Grey Bumblebee2: left and right color pictures."
        ),
        tfds.core.BuilderConfig(
            name="sk",
            description="Intel RealSense F200: color picture and depth, each its own camera.",
        ),
        tfds.core.BuilderConfig(
            name="sk_320",
            description="The color picture of sk, cropped to 320 x 320 about the hand.",
        ),
    ]

    def features(self) -> dict[str, Feature]:
        config = self.builder_config.name
        size = (raw.CROP, raw.CROP) if config == "sk_320" else (raw.HEIGHT, raw.WIDTH)
        stereo = {
            "image_right": rgb_image(
                f"RGB; its camera is that of image, {raw.BASELINE_MM} mm further to the right",
                *size,
                form="png",
            ),
            "joints_uv_right": tensor("hand21, px of image_right, projected", 21, 2),
        }
        sensor = {
            "sensor_depth": depth_image("mm along z of the depth camera, 0 = missing", *size),
            "sensor_k": tensor(
                "intrinsics of the depth camera, px; pixel centres are integers", 3, 3
            ),
            "sensor_joints_xyz": tensor(
                "hand21, depth camera mm: x right, y down, z forward", 21, 3
            ),
            "sensor_joints_uv": tensor("hand21, px of sensor_depth, projected", 21, 2),
        }
        return {
            "image": rgb_image("RGB; of bb the left one", *size, form="png"),
            "k": tensor("intrinsics of image, px; pixel centres are integers", 3, 3),
            "joints_xyz": tensor(
                "hand21, mm in the camera of image: x right, y down, z forward", 21, 3
            ),
            "joints_uv": tensor("hand21, px of image, projected", 21, 2),
            "visible": tensor(
                "hand21: inside image; the set does not say what is hidden", 21, dtype=np.bool_
            ),
            **{"bb": stereo, "sk": sensor, "sk_320": {}}[config],
            "side": tfds.features.ClassLabel(names=["left", "right"], doc="left, always"),
            "root": root_joint(),
            "id": tfds.features.Text(doc="sequence/frame"),
        }
