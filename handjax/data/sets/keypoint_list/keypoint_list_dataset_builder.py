"""A list of keypoints for TFDS. What the files are is in raw.py."""

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from handjax.data.sets.keypoint_list import raw
from handjax.pose.skeleton import ORDERS

_F = tfds.features


class Builder(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = raw.LAYOUT
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(
            name=name, description=f"The lists give: {', '.join(ORDERS[name].joints)}."
        )
        for name in raw.CONFIGS
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=_F.FeaturesDict(
                {
                    "image": _F.Image(shape=(None, None, 3), doc="RGB, the file as it is"),
                    "joints_uv": _F.Tensor(
                        shape=(21, 2), dtype=np.float32, doc="hand21, px; 0 where not labelled"
                    ),
                    "visible": _F.Tensor(shape=(21,), dtype=np.bool_, doc="hand21: labelled"),
                    "root": _F.ClassLabel(names=["wrist", "palm"], doc="what joint 0 is"),
                    "id": _F.Text(doc="split/picture, #2 and so on for its further hands"),
                }
            ),
            homepage="https://github.com/chrisliu54/Hand-Keypoint-Estimation",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        root = epath.Path(dl_manager.manual_dir)
        if absent := raw.missing(root):
            raise ValueError(
                f"{root}: incomplete, no {'; no '.join(absent)}; expected lists and the pictures they name"
            )
        return {split: self._generate_examples(root, split) for split in raw.splits(root)}

    def _generate_examples(self, root: epath.Path, split: str):
        return raw.samples(root, split, self.builder_config.name)
