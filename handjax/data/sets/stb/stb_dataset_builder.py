"""STB for TFDS. What the files are is in raw.py."""

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from handjax.data.sets.stb import raw

_F = tfds.features


class Builder(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {
        "1.0.0": "First version: the stereo camera and the depth sensor, each with its own labels."
    }
    MANUAL_DOWNLOAD_INSTRUCTIONS = raw.LAYOUT
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

    def _info(self) -> tfds.core.DatasetInfo:
        def numbers(doc, *shape, dtype=np.float32):
            return _F.Tensor(shape=shape, dtype=dtype, doc=doc)

        config = self.builder_config.name
        height, width = (raw.CROP, raw.CROP) if config == "sk_320" else (raw.HEIGHT, raw.WIDTH)

        def picture(doc, channels=3, dtype=np.uint8):
            return _F.Image(
                shape=(height, width, channels), dtype=dtype, encoding_format="png", doc=doc
            )

        stereo = {
            "image_right": picture(
                f"RGB; its camera is that of image, {raw.BASELINE_MM} mm further to the right"
            ),
            "joints_uv_right": numbers("hand21, px of image_right, projected", 21, 2),
        }
        sensor = {
            "sensor_depth": picture("mm along z of the depth camera, 0 = missing", 1, np.uint16),
            "sensor_k": numbers(
                "intrinsics of the depth camera, px; pixel centres are integers", 3, 3
            ),
            "sensor_joints_xyz": numbers(
                "hand21, depth camera mm: x right, y down, z forward", 21, 3
            ),
            "sensor_joints_uv": numbers("hand21, px of sensor_depth, projected", 21, 2),
        }
        return self.dataset_info_from_configs(
            features=_F.FeaturesDict(
                {
                    "image": picture("RGB; of bb the left one"),
                    "k": numbers("intrinsics of image, px; pixel centres are integers", 3, 3),
                    "joints_xyz": numbers(
                        "hand21, mm in the camera of image: x right, y down, z forward", 21, 3
                    ),
                    "joints_uv": numbers("hand21, px of image, projected", 21, 2),
                    "visible": numbers(
                        "hand21: inside image; the set does not say what is hidden",
                        21,
                        dtype=np.bool_,
                    ),
                    **{"bb": stereo, "sk": sensor, "sk_320": {}}[config],
                    "side": _F.ClassLabel(names=["left", "right"], doc="left, always"),
                    "root": _F.ClassLabel(names=["wrist", "palm"], doc="what joint 0 is"),
                    "id": _F.Text(doc="sequence/frame"),
                }
            ),
            homepage="https://github.com/zhjwustc/icip17_stereo_hand_pose_dataset",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        root = epath.Path(dl_manager.manual_dir)
        if absent := raw.missing(root, self.builder_config.name):
            raise ValueError(
                f"{root}: incomplete, no {'; no '.join(absent)}; expected the folders images and labels of STB"
            )
        return {split: self._generate_examples(root, split) for split in raw.COUNTS}

    def _generate_examples(self, root: epath.Path, split: str):
        return raw.samples(root, split, self.builder_config.name)
