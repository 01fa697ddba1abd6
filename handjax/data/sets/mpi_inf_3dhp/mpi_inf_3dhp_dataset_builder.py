"""MPI-INF-3DHP for TFDS. raw.py describes the files."""

import numpy as np
import tensorflow_datasets as tfds

from handjax.data.builder import Feature, RawBuilder, rgb_image, tensor
from handjax.data.sets.mpi_inf_3dhp import raw


class Builder(RawBuilder):
    """Images of people with 3D poses: eight in a studio, six others in it and outdoors."""

    RAW = raw
    HOMEPAGE = "https://vcai.mpi-inf.mpg.de/3dhp-dataset/"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name="sample10", description="Every tenth frame for training."),
        tfds.core.BuilderConfig(name="all", description="Every frame for training."),
    ]

    def features(self) -> dict[str, Feature]:
        return {
            "image": rgb_image(),
            "k": tensor("intrinsics, px; pixel centers are integers", 3, 3),
            "joints_xyz": tensor("body18, camera mm: x right, y down, z forward", 18, 3),
            "joints_uv": tensor("body18, px, as the set gives them", 18, 2),
            "visible": tensor("body18: inside the image, also where hidden", 18, dtype=np.bool_),
            "subject": tensor("the person: 1 to 8, of the test set 9 to 14", dtype=np.int32),
            "camera": tensor("the camera's number, 0 in the test set", dtype=np.int32),
            "id": tfds.features.Text(doc="folder and name of the frame"),
        }
