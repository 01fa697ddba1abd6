"""hpoes_pytorch's voxel files for TFDS. What the files are is in raw.py."""

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from handjax.data.sets.hpoes_voxels import raw

_F = tfds.features


class Builder(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version: the grids with their joints, crop center and cube."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = raw.LAYOUT

    def _info(self) -> tfds.core.DatasetInfo:
        def numbers(doc, *shape):
            return _F.Tensor(shape=shape, dtype=np.float32, doc=doc)

        grid = dict(shape=(None, None, None), dtype=np.uint8, encoding="zlib")
        return self.dataset_info_from_configs(
            features=_F.FeaturesDict(
                {
                    "voxels": _F.Tensor(
                        **grid, doc="occupancy, axes y, x, z, eight voxels a byte along the last"
                    ),
                    "joints_xyz": numbers(
                        "camera mm: x right, y down, z forward; about the crop where it has no center",
                        None,
                        3,
                    ),
                    "center_xyz": numbers(
                        "of the crop, camera mm; 0 where the file does not say it", 3
                    ),
                    "cube_mm": numbers("edges of the crop", 3),
                    "id": _F.Text(doc="split/row of the file"),
                }
            ),
            homepage="https://github.com/mhruz/hpoes_pytorch",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        root = epath.Path(dl_manager.manual_dir)
        if absent := raw.missing(root):
            raise ValueError(
                f"{root}: no {'; no '.join(absent)}; expected the HDF5 of hpoes_pytorch"
            )
        return {split: self._generate_examples(root, split) for split in raw.splits(root)}

    def _generate_examples(self, root: epath.Path, split: str):
        return raw.samples(root, split)
