"""MPII Human Pose for TFDS, one sample a person. What the files are is in raw.py."""

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from handjax.data.sets.mpii import raw

_F = tfds.features


class Builder(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {
        "1.0.0": "People of the json annotation, head sizes for PCKh in the validation."
    }
    MANUAL_DOWNLOAD_INSTRUCTIONS = raw.LAYOUT

    def _info(self) -> tfds.core.DatasetInfo:
        def numbers(doc, *shape, dtype=np.float32):
            return _F.Tensor(shape=shape, dtype=dtype, doc=doc)

        return self.dataset_info_from_configs(
            features=_F.FeaturesDict(
                {
                    "image": _F.Image(shape=(None, None, 3), encoding_format="jpeg", doc="RGB"),
                    "joints_uv": numbers(
                        "mpii16, px; pixel centres are integers; 0 where not labelled",
                        raw.JOINTS,
                        2,
                    ),
                    "visible": numbers("mpii16: labelled", raw.JOINTS, dtype=np.bool_),
                    "center_uv": numbers("the person's middle as annotated, px", 2),
                    "scale": numbers("the person's height by 200 px"),
                    "box": numbers(
                        "left, top, width, height, px: the square that is usually cropped", 4
                    ),
                    "head_size": numbers(
                        "px, for PCKh: 0.6 of the head box's diagonal; 0 where unknown (train, test)"
                    ),
                    "id": _F.Text(doc="split/picture_number of the person in it"),
                }
            ),
            homepage="http://human-pose.mpi-inf.mpg.de",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        root = epath.Path(dl_manager.manual_dir)
        if absent := raw.missing(root):
            raise ValueError(
                f"{root}: no {'; no '.join(absent)}; expected MPII's pictures and json annotation"
            )
        return {split: self._generate_examples(root, split) for split in raw.COUNTS}

    def _generate_examples(self, root: epath.Path, split: str):
        return raw.samples(root, split)
