"""People of COCO 2017 for TFDS, one sample a person. What the files are is in raw.py."""

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from handjax.data.sets.coco_person import raw

_F = tfds.features


class Builder(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "People of COCO 2017 with two labelled joints or more."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = raw.LAYOUT

    def _info(self) -> tfds.core.DatasetInfo:
        def numbers(doc, *shape, dtype=np.float32):
            return _F.Tensor(shape=shape, dtype=dtype, doc=doc)

        return self.dataset_info_from_configs(
            features=_F.FeaturesDict(
                {
                    "image": _F.Image(shape=(None, None, 3), encoding_format="jpeg", doc="RGB"),
                    "joints_uv": numbers(
                        "coco17, px as in the file; 0 where not labelled", raw.JOINTS, 2
                    ),
                    "visible": numbers(
                        "coco17: labelled, also where hidden", raw.JOINTS, dtype=np.bool_
                    ),
                    "hidden": numbers(
                        "coco17: labelled, and hidden in the picture", raw.JOINTS, dtype=np.bool_
                    ),
                    "box": numbers("left, top, width, height, px, within the picture", 4),
                    "area": numbers(
                        "of the person's outline, px²; COCO's similarity of keypoints divides by it"
                    ),
                    "image_id": numbers("COCO's number of the picture", dtype=np.int64),
                    "person_id": numbers("COCO's number of the annotation", dtype=np.int64),
                    "id": _F.Text(doc="split/picture_annotation"),
                }
            ),
            homepage="https://cocodataset.org/#keypoints-2017",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        root = epath.Path(dl_manager.manual_dir)
        if absent := raw.missing(root):
            raise ValueError(
                f"{root}: no {'; no '.join(absent)}; expected COCO 2017's pictures and keypoints"
            )
        return {split: self._generate_examples(root, split) for split in raw.COUNTS}

    def _generate_examples(self, root: epath.Path, split: str):
        return raw.samples(root, split)
