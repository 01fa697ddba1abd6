"""Prepared sets for tests, with the features of the set's builder; missing values are 0."""

import importlib

import numpy as np
import tensorflow_datasets as tfds


def write(
    root,
    name: str,
    splits: dict[str, list[dict]],
    config: str | None = None,
    version: str = "1.0.0",
) -> str:
    """Write `splits`, name → samples with their `id`; returns the folder."""
    builder = importlib.import_module(f"handjax.data.sets.{name}.{name}_dataset_builder").Builder(
        data_dir=str(root), config=config
    )
    features = builder.info.features
    filled = {
        split: [
            (
                sample["id"],
                {key: sample.get(key, _nothing(feature)) for key, feature in features.items()},
            )
            for sample in samples
        ]
        for split, samples in splits.items()
    }
    written = tfds.dataset_builders.store_as_tfds_dataset(
        name=name,
        config=config,
        version=version,
        features=features,
        split_datasets=filled,
        data_dir=str(root),
    )
    return str(written.data_path)


def _nothing(feature):
    if isinstance(feature, tfds.features.ClassLabel):
        return 0
    if isinstance(feature, tfds.features.Text):
        return ""
    return np.zeros([size or 8 for size in feature.shape], feature.np_dtype)
