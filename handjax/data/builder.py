"""Base class of the TensorFlow Datasets (TFDS) builders, one per data set in data/sets."""

import abc
from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from handjax.data.preparation.examples import Examples
from handjax.data.sets import RawFiles

_LISTED = 5  # missing files that the error message names
Feature: TypeAlias = tfds.features.FeatureConnector


class RawBuilder(tfds.core.GeneratorBasedBuilder):
    """Writes the samples that a set's `raw.py` reads.

    A subclass is called `Builder` and lives in NAME_dataset_builder.py, where TFDS looks for it and
    for the README, citation and tags next to it. It sets RAW, HOMEPAGE, VERSION and RELEASE_NOTES,
    for several configurations BUILDER_CONFIGS too, and lists its features.
    """

    RAW: RawFiles
    HOMEPAGE: str

    def __init_subclass__(cls, **kwargs: Any):
        cls.MANUAL_DOWNLOAD_INSTRUCTIONS = cls.RAW.LAYOUT
        super().__init_subclass__(**kwargs)

    @abc.abstractmethod
    def features(self) -> dict[str, Feature]:
        """The features of this configuration by name. Their docs state unit, frame and order."""

    def metadata(self) -> tfds.core.MetadataDict | None:
        """What is written about the set besides its features; none for most."""
        return None

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(self.features()),
            homepage=self.HOMEPAGE,
            metadata=self.metadata(),
        )

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, Iterable[tuple[str, Any]]]:
        """One iterator per split; ValueError that lists the missing files if there are any."""
        root, config = epath.Path(dl_manager.manual_dir), self._config_name()
        # `ManualDir` of preparation/shard.py says more than TFDS's own manager.
        wanted = getattr(dl_manager, "splits", None)
        may_lack = getattr(dl_manager, "may_lack", False)
        if not may_lack and (absent := self.RAW.missing(root, config, wanted)):
            more = f" and {len(absent) - _LISTED} more" if len(absent) > _LISTED else ""
            raise ValueError(
                f"{root}: incomplete, missing {'; '.join(absent[:_LISTED])}{more}; "
                f"handjax prepare {self.name} --help lists the expected files"
            )
        return {
            split: self._generate_examples(root, split)
            for split in wanted or self.RAW.splits(root, config)
        }

    def _generate_examples(self, root: epath.Path, split: str) -> Examples:
        return self.RAW.samples(root, split, self._config_name())

    def _config_name(self) -> str | None:
        return self.builder_config.name if self.builder_config else None


def tensor(
    doc: str, *shape: int | None, dtype: type[np.generic] = np.float32
) -> tfds.features.Tensor:
    """Numbers of a given shape, a scalar without one."""
    return tfds.features.Tensor(shape=shape, dtype=dtype, doc=doc)


def rgb_image(
    doc: str = "RGB", height: int | None = None, width: int | None = None, form: str = "jpeg"
) -> tfds.features.Image:
    """An RGB image, stored as the set's own file."""
    return tfds.features.Image(shape=(height, width, 3), encoding_format=form, doc=doc)


def depth_image(doc: str, height: int, width: int) -> tfds.features.Image:
    """A depth image as 16-bit PNG."""
    return tfds.features.Image(
        shape=(height, width, 1), dtype=np.uint16, encoding_format="png", doc=doc
    )


def root_joint() -> tfds.features.ClassLabel:
    """Which joint of the hand is joint 0 of "hand21"."""
    return tfds.features.ClassLabel(names=["wrist", "palm"], doc="what joint 0 is")
