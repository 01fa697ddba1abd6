"""COCO 2017's people for TFDS, one sample per person. raw.py describes the files."""

import numpy as np
import tensorflow_datasets as tfds

from handjax.data.builder import Feature, RawBuilder, rgb_image, tensor
from handjax.data.sets.coco_person import raw


class Builder(RawBuilder):
    """Images of people with 17 keypoints."""

    RAW = raw
    HOMEPAGE = "https://cocodataset.org/#keypoints-2017"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "People of COCO 2017 with two labelled joints or more."}

    def features(self) -> dict[str, Feature]:
        marks = {"dtype": np.bool_}
        return {
            "image": rgb_image(),
            "joints_uv": tensor("coco17, px as in the file; 0 where not labelled", raw.JOINTS, 2),
            "visible": tensor("coco17: labelled, also where hidden", raw.JOINTS, **marks),
            "hidden": tensor("coco17: labelled, and hidden in the picture", raw.JOINTS, **marks),
            "box": tensor("left, top, width, height, px, within the picture", 4),
            "area": tensor(
                "of the person's outline, px²; COCO's similarity of keypoints divides by it"
            ),
            "image_id": tensor("COCO's number of the picture, -1 for a text", dtype=np.int64),
            "person_id": tensor("COCO's number of the annotation, -1 for a text", dtype=np.int64),
            "id": tfds.features.Text(doc="split/picture_annotation"),
        }
