"""Human3.6M for TFDS, one configuration per subset. raw.py describes the files."""

import numpy as np
import tensorflow_datasets as tfds

from handjax.data.builder import Feature, RawBuilder, rgb_image, tensor
from handjax.data.sets.human36m import raw


class Builder(RawBuilder):
    """Images of seven actors with 3D poses and cameras."""

    RAW = raw
    HOMEPAGE = "http://vision.imar.ro/human3.6m"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {
        "1.0.0": "The subsets of Sun et al. 2018, random ones chosen by the digest of the frame's "
        "name."
    }
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name=name, description=f"The subset {name}.")
        for name in raw.CONFIGS
    ]

    def features(self) -> dict[str, Feature]:
        return {
            "image": rgb_image(),
            "k": tensor("intrinsics, px, without the lens; pixel centres are integers", 3, 3),
            "distortion": tensor("of the lens: k1, k2, k3, p1, p2 of Human3.6M's toolbox", 5),
            "rotation": tensor("R of x_camera = R (x_world - T)", 3, 3),
            "place": tensor("T of x_camera = R (x_world - T), mm", 3),
            "joints_xyz": tensor("body18, camera mm: x right, y down, z forward", 18, 3),
            "joints_uv": tensor("body18, px of the picture, through the lens", 18, 2),
            "visible": tensor("body18: labelled, also where hidden", 18, dtype=np.bool_),
            "subject": tensor("number of the actor", dtype=np.int32),
            "action": tfds.features.ClassLabel(
                names=list(raw.ACTIONS.values()), doc="what is acted; number in the folder less 2"
            ),
            "subaction": tensor("take, 1 or 2", dtype=np.int32),
            "camera": tensor("1 to 4", dtype=np.int32),
            "frame": tensor("number in the sequence, from 1", dtype=np.int32),
            "id": tfds.features.Text(doc="folder_frame"),
        }
