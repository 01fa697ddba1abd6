"""The TFDS features of sr300_frames.py."""

import numpy as np

from handjax.data.builder import Feature, depth_image, root_joint, tensor
from handjax.data.sets.sr300_frames import HEIGHT, JOINTS, WIDTH


def frame_features() -> dict[str, Feature]:
    """Of `sr300_frames.features`."""
    return {
        "depth": depth_image("mm along z, 0 = missing", HEIGHT, WIDTH),
        "k": tensor("intrinsics in px; pixel centers are integers", 3, 3),
        "joints_xyz": tensor(
            "mm, camera frame: x right, y down, z forward; order hand21", JOINTS, 3
        ),
        "joints_uv": tensor("px, where k sees joints_xyz", JOINTS, 2),
        "visible": tensor("inside the image", JOINTS, dtype=np.bool_),
        "root": root_joint(),
    }
