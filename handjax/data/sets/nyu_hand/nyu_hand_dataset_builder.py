"""NYU hand as a TFDS data set; what the files hold is known to raw.py."""

import dataclasses

import numpy as np
import tensorflow_datasets as tfds

from handjax.data.sets.nyu_hand import raw


@dataclasses.dataclass
class NyuHandConfig(tfds.core.BuilderConfig):
    views: int = 1


class Builder(tfds.core.GeneratorBasedBuilder):
    """Depth of one hand by three Kinects, with 36 joints."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = raw.LAYOUT
    BUILDER_CONFIGS = [
        NyuHandConfig(
            name="single",
            description="A sample a frame: the first Kinect, from the front.",
            views=1,
        ),
        NyuHandConfig(
            name="multiview",
            description="A sample a frame: all three Kinects, on a leading axis.",
            views=3,
        ),
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        single = self.builder_config.views == 1
        lead = () if single else (self.builder_config.views,)

        def tensor(shape, doc, dtype=np.float32):
            return tfds.features.Tensor(shape=(*lead, *shape), dtype=dtype, doc=doc)

        doc = "mm along z, 0 = missing"
        image = tfds.features.Image(
            shape=(raw.HEIGHT, raw.WIDTH, 1), dtype=np.uint16, encoding_format="png", doc=doc
        )
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "depth": image
                    if single
                    else tfds.features.Sequence(image, length=self.builder_config.views, doc=doc),
                    "k": tensor((3, 3), "intrinsics in px; pixel centers are integers"),
                    "joints_xyz": tensor(
                        (raw.JOINTS, 3), "mm, camera frame: x right, y down, z forward"
                    ),
                    "joints_uv": tensor((raw.JOINTS, 2), "px, as the set gives them"),
                    "center_xyz": tensor(
                        (3,), "mm, camera frame: V2V-PoseNet's refined center, where center_valid"
                    ),
                    "center_valid": tensor((), "whether there is a refined center", np.bool_),
                    "id": tfds.features.Text(doc="split and file or number of the frame"),
                }
            ),
            homepage="https://cims.nyu.edu/~tompson/NYU_Hand_Pose_Dataset.htm",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        lacking = raw.missing(dl_manager.manual_dir, self.builder_config.name)
        if lacking:
            raise ValueError(f"nyu_hand lacks {'; '.join(lacking)}")
        return {
            split: self._generate_examples(dl_manager.manual_dir, split) for split in raw.COUNTS
        }

    def _generate_examples(self, root, split):
        return raw.samples(root, split, self.builder_config.name)
