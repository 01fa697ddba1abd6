"""The Human3.6M challenge of ECCV 2018 for TFDS. What the files are is in raw.py."""

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from handjax.data.sets.human36m_challenge import raw

_F = tfds.features


class Builder(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Train, Val and Test of the challenge."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = raw.LAYOUT

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=_F.FeaturesDict(
                {
                    "image": _F.Image(shape=(None, None, 3), encoding_format="jpeg", doc="RGB"),
                    "joints_from_pelvis": _F.Tensor(
                        shape=(18, 3),
                        dtype=np.float32,
                        doc="body18, mm from the pelvis: x right, y down, z forward; 0 in test",
                    ),
                    "visible": _F.Tensor(
                        shape=(18,), dtype=np.bool_, doc="body18: labelled, also where hidden"
                    ),
                    "id": _F.Text(doc="split/number of the frame"),
                }
            ),
            homepage="http://vision.imar.ro/human3.6m",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        root = epath.Path(dl_manager.manual_dir)
        if absent := raw.missing(root):
            raise ValueError(
                f"{root}: no {'; no '.join(absent)}; expected Train, Val and Test of the challenge"
            )
        return {split: self._generate_examples(root, split) for split in raw.COUNTS}

    def _generate_examples(self, root: epath.Path, split: str):
        return raw.samples(root, split)
