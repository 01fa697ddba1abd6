"""HandDB for TFDS. raw.py describes the files."""

import numpy as np
import tensorflow_datasets as tfds

from handjax.data.builder import Feature, RawBuilder, rgb_image, root_joint, tensor
from handjax.data.sets.panoptic_hand import raw


class Builder(RawBuilder):
    """Images of hands with 21 keypoints."""

    RAW = raw
    HOMEPAGE = "http://domedb.perception.cs.cmu.edu/handdb.html"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {
        "1.0.0": "First version: the labels by people, the rendered hands and the studio's."
    }
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

    def features(self) -> dict[str, Feature]:
        side = {"side": tfds.features.ClassLabel(names=["left", "right"], doc="which hand")}
        return {
            "image": rgb_image("RGB, the whole picture"),
            "joints_uv": tensor("hand21, px; 0 where not labelled", 21, 2),
            "visible": tensor("hand21: labelled", 21, dtype=np.bool_),
            "box": tensor("x, y, width, height, px: the square of 2.2 hands", 4),
            **(side if self.builder_config.name != "studio" else {}),
            "root": root_joint(),
            "id": tfds.features.Text(doc="folder/name"),
        }
