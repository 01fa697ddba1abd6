"""hpoes_pytorch's voxel files for TFDS. raw.py describes the files."""

import numpy as np
import tensorflow_datasets as tfds

from handjax.data.builder import Feature, RawBuilder, tensor
from handjax.data.sets.hpoes_voxels import raw


class Builder(RawBuilder):
    """Occupancy grids of hands with their joints."""

    RAW = raw
    HOMEPAGE = "https://github.com/mhruz/hpoes_pytorch"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version: the grids with their joints, crop center and cube."}

    def features(self) -> dict[str, Feature]:
        return {
            "voxels": tfds.features.Tensor(
                shape=(None, None, None),
                dtype=np.uint8,
                encoding="zlib",
                doc="occupancy, axes y, x, z, eight voxels a byte along the last",
            ),
            "joints_xyz": tensor(
                "camera mm: x right, y down, z forward; about the crop where it has no center",
                None,
                3,
            ),
            "center_xyz": tensor("of the crop, camera mm; 0 where the file does not say it", 3),
            "cube_mm": tensor("edges of the crop", 3),
            "id": tfds.features.Text(doc="split/row of the file"),
        }
