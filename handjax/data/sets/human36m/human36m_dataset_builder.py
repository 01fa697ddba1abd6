"""Human3.6M for TFDS, one configuration a subset. What the files are is in raw.py."""

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from handjax.data.sets.human36m import raw

_F = tfds.features


class Builder(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {
        "1.0.0": "The subsets of Sun et al. 2018, random ones chosen by the digest of the frame's name."
    }
    MANUAL_DOWNLOAD_INSTRUCTIONS = raw.LAYOUT
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name=name, description=f"The subset {name}.")
        for name in raw.SUBSETS
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        def numbers(doc, *shape, dtype=np.float32):
            return _F.Tensor(shape=shape, dtype=dtype, doc=doc)

        return self.dataset_info_from_configs(
            features=_F.FeaturesDict(
                {
                    "image": _F.Image(shape=(None, None, 3), encoding_format="jpeg", doc="RGB"),
                    "k": numbers(
                        "intrinsics, px, without the lens; pixel centres are integers", 3, 3
                    ),
                    "distortion": numbers(
                        "of the lens: k1, k2, k3, p1, p2 of Human3.6M's toolbox", 5
                    ),
                    "rotation": numbers("R of x_camera = R (x_world - T)", 3, 3),
                    "place": numbers("T of x_camera = R (x_world - T), mm", 3),
                    "joints_xyz": numbers("body18, camera mm: x right, y down, z forward", 18, 3),
                    "joints_uv": numbers("body18, px of the picture, through the lens", 18, 2),
                    "visible": numbers("body18: labelled, also where hidden", 18, dtype=np.bool_),
                    "subject": numbers("number of the actor", dtype=np.int32),
                    "action": _F.ClassLabel(
                        names=list(raw.ACTIONS.values()),
                        doc="what is acted; number in the folder less 2",
                    ),
                    "subaction": numbers("take, 1 or 2", dtype=np.int32),
                    "camera": numbers("1 to 4", dtype=np.int32),
                    "frame": numbers("number in the sequence, from 1", dtype=np.int32),
                    "id": _F.Text(doc="folder_frame"),
                }
            ),
            homepage="http://vision.imar.ro/human3.6m",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        root, subset = epath.Path(dl_manager.manual_dir), self.builder_config.name
        if absent := raw.missing(root, subset):
            more = f" and {len(absent) - 5} more" if len(absent) > 5 else ""
            raise ValueError(
                f"{root}: no {'; no '.join(absent[:5])}{more}; expected the folders of subset {subset!r}"
            )
        return {
            "train" if subset.startswith("train") else "validation": self._generate_examples(root)
        }

    def _generate_examples(self, root: epath.Path):
        return raw.samples(root, self.builder_config.name)
