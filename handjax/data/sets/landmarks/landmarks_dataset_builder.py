"""Users' own joints for TFDS. raw.py describes the files."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from handjax.data.builder import Feature, RawBuilder, tensor
from handjax.data.sets.landmarks import raw
from handjax.pose.skeleton_file import to_content


class Builder(RawBuilder):
    """Your own pictures of anything with joints of your own. Their skeleton is in the metadata."""

    RAW = raw
    HOMEPAGE = "https://cocodataset.org/#format-data"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}

    def features(self) -> dict[str, Feature]:
        marks = {"dtype": np.bool_}
        return {
            "image": tfds.features.Image(shape=(None, None, 3), doc="RGB, the file as it is"),
            "joints_uv": tensor("px of the file; 0 where not labelled", None, 2),
            "visible": tensor("labelled, also where hidden", None, **marks),
            "hidden": tensor("labelled, and hidden in the picture", None, **marks),
            "box": tensor("left, top, width, height, px: the label's, else of the joints", 4),
            "area": tensor("of the label, else of the box, px²; for COCO's similarity"),
            "id": tfds.features.Text(doc="path of the picture, #2 and so on for further objects"),
        }

    def metadata(self) -> tfds.core.MetadataDict:
        return tfds.core.MetadataDict()  # until the files are known

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, Iterable[tuple[str, Any]]]:
        found = super()._split_generators(dl_manager)
        root = epath.Path(dl_manager.manual_dir)
        self.info.metadata["skeleton"] = to_content(raw.skeleton(root))
        self.info.metadata["labels"] = raw.choices(root)
        return found
