"""RHD for TFDS. What the files are is in raw.py."""

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from handjax.data.sets.rhd import raw

_F = tfds.features


class Builder(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {
        "1.0.0": "RHD version 1.1 of its authors: pictures, masks, depth and both hands."
    }
    MANUAL_DOWNLOAD_INSTRUCTIONS = raw.LAYOUT

    def _info(self) -> tfds.core.DatasetInfo:
        def numbers(doc, *shape, dtype=np.float32):
            return _F.Tensor(shape=shape, dtype=dtype, doc=doc)

        size = (raw.SIZE, raw.SIZE)
        return self.dataset_info_from_configs(
            features=_F.FeaturesDict(
                {
                    "image": _F.Image(shape=(*size, 3), encoding_format="png", doc="RGB"),
                    "depth": _F.Image(
                        shape=(*size, 1),
                        dtype=np.uint16,
                        encoding_format="png",
                        doc="mm along z, rounded",
                    ),
                    "segmentation": _F.Image(
                        shape=(*size, 1),
                        encoding_format="png",
                        doc="0 background, 1 person, 2..17 left hand, 18..33 right hand",
                    ),
                    "k": numbers("intrinsics, px; pixel centres are integers", 3, 3),
                    "joints_xyz": numbers(
                        "dominant hand, hand21, camera mm: x right, y down, z forward", 21, 3
                    ),
                    "joints_uv": numbers("dominant hand, hand21, px", 21, 2),
                    "visible": numbers(
                        "dominant hand, hand21: seen in the picture", 21, dtype=np.bool_
                    ),
                    "side": _F.ClassLabel(
                        names=["left", "right"],
                        doc="dominant hand: more pixels in the mask, of equals right",
                    ),
                    "root": _F.ClassLabel(names=["wrist", "palm"], doc="what joint 0 is"),
                    "hands_xyz": numbers("left and right hand, hand21, camera mm", 2, 21, 3),
                    "hands_uv": numbers("left and right hand, hand21, px", 2, 21, 2),
                    "hands_visible": numbers("left and right hand, hand21", 2, 21, dtype=np.bool_),
                    "id": _F.Text(doc="folder/number"),
                }
            ),
            homepage="https://lmb.informatik.uni-freiburg.de/resources/datasets/RenderedHandposeDataset.en.html",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        root = epath.Path(dl_manager.manual_dir)
        if absent := raw.missing(root):
            raise ValueError(
                f"{root}: incomplete, no {'; no '.join(absent)}; expected the files of RHD's RHD_published_v2 folder"
            )
        return {split: self._generate_examples(root, split) for split in raw.COUNTS}

    def _generate_examples(self, root: epath.Path, split: str):
        return raw.samples(root, split)
