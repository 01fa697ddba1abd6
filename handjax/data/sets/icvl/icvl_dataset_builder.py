"""ICVL as a TFDS data set; what the files hold is known to raw.py."""

import logging

import numpy as np
import tensorflow_datasets as tfds

from handjax.data.sets.icvl import raw


class Builder(tfds.core.GeneratorBasedBuilder):
    """Depth of one hand, with 16 joints."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = raw.LAYOUT

    def _info(self) -> tfds.core.DatasetInfo:
        def tensor(shape, doc, dtype=np.float32):
            return tfds.features.Tensor(shape=shape, dtype=dtype, doc=doc)

        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "depth": tfds.features.Image(
                        shape=(raw.HEIGHT, raw.WIDTH, 1),
                        dtype=np.uint16,
                        encoding_format="png",
                        doc="mm along z, 0 = missing",
                    ),
                    "k": tensor((3, 3), "intrinsics in px; pixel centers are integers"),
                    "joints_xyz": tensor(
                        (raw.JOINTS, 3), "mm, camera frame: x right, y down, z forward"
                    ),
                    "joints_uv": tensor((raw.JOINTS, 2), "px, as the set gives them"),
                    "center_xyz": tensor(
                        (3,), "mm, camera frame: V2V-PoseNet's refined center, where center_valid"
                    ),
                    "center_valid": tensor((), "whether there is a refined center", np.bool_),
                    "id": tfds.features.Text(doc="split and file of the frame"),
                }
            ),
            homepage="https://labicvl.github.io/hand.html",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        root = dl_manager.manual_dir
        lacking = raw.missing(root)
        if lacking:
            raise ValueError(f"icvl lacks {'; '.join(lacking)}")
        absent = raw.without_image(root, "train")
        if absent:
            logging.warning(
                "icvl: %d training frames have a label and no image and are left out: %s, ...",
                len(absent),
                absent[0],
            )
        return {split: self._generate_examples(root, split) for split in raw.COUNTS}

    def _generate_examples(self, root, split):
        return raw.samples(root, split)
