"""HandDB for TFDS. What the files are is in raw.py."""

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from handjax.data.sets.panoptic_hand import raw

_F = tfds.features


class Builder(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {
        "1.0.0": "First version: the labels by people, the rendered hands and the studio's."
    }
    MANUAL_DOWNLOAD_INSTRUCTIONS = raw.LAYOUT
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(
            name="manual", description="Photographs labelled by people: train and test."
        ),
        tfds.core.BuilderConfig(name="synth", description="Rendered hands: one split, synth."),
        tfds.core.BuilderConfig(
            name="studio",
            description="The Panoptic Studio's hands, labelled from many views: one split.",
        ),
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        side = {"side": _F.ClassLabel(names=["left", "right"], doc="which hand")}
        return self.dataset_info_from_configs(
            features=_F.FeaturesDict(
                {
                    "image": _F.Image(
                        shape=(None, None, 3), encoding_format="jpeg", doc="RGB, the whole picture"
                    ),
                    "joints_uv": _F.Tensor(
                        shape=(21, 2), dtype=np.float32, doc="hand21, px; 0 where not labelled"
                    ),
                    "visible": _F.Tensor(shape=(21,), dtype=np.bool_, doc="hand21: labelled"),
                    "box": _F.Tensor(
                        shape=(4,),
                        dtype=np.float32,
                        doc="x, y, width, height, px: the square of 2.2 hands",
                    ),
                    **(side if self.builder_config.name != "studio" else {}),
                    "root": _F.ClassLabel(names=["wrist", "palm"], doc="what joint 0 is"),
                    "id": _F.Text(doc="folder/name"),
                }
            ),
            homepage="http://domedb.perception.cs.cmu.edu/handdb.html",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        root = epath.Path(dl_manager.manual_dir)
        if absent := raw.missing(root, self.builder_config.name):
            raise ValueError(
                f"{root}: incomplete, no {'; no '.join(absent)}; expected HandDB as it is unpacked"
            )
        return {
            split: self._generate_examples(root, split)
            for split in raw.CONFIGS[self.builder_config.name]
        }

    def _generate_examples(self, root: epath.Path, split: str):
        return raw.samples(root, split)
