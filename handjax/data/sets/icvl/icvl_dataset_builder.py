"""ICVL for TFDS. raw.py describes the files."""

import logging
from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from handjax.data.builder import Feature, RawBuilder, depth_image, tensor
from handjax.data.sets.icvl import raw


class Builder(RawBuilder):
    """Depth images of one hand, with 16 joints."""

    RAW = raw
    HOMEPAGE = "https://labicvl.github.io/hand.html"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}

    def features(self) -> dict[str, Feature]:
        return {
            "depth": depth_image("mm along z, 0 = missing", raw.HEIGHT, raw.WIDTH),
            "k": tensor("intrinsics in px; pixel centers are integers", 3, 3),
            "joints_xyz": tensor("mm, camera frame: x right, y down, z forward", raw.JOINTS, 3),
            "joints_uv": tensor("px, as the set gives them", raw.JOINTS, 2),
            "center_xyz": tensor(
                "mm, camera frame: V2V-PoseNet's refined center, where center_valid", 3
            ),
            "center_valid": tensor("whether there is a refined center", dtype=np.bool_),
            "id": tfds.features.Text(doc="split and file of the frame"),
        }

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, Iterable[tuple[str, Any]]]:
        generators = super()._split_generators(dl_manager)
        if absent := raw.without_image(epath.Path(dl_manager.manual_dir), "train"):
            logging.warning(
                "icvl: %d training frames have a label but no image and are left out: %s, ...",
                len(absent),
                absent[0],
            )
        return generators
