"""Helpers of the builder tests: prepare raw files, and compare TFDS's samples with the raw ones."""

import numpy as np
import tensorflow_datasets as tfds


def prepared(builder_class, root, config=None, data_dir=None):
    """The builder, after preparing `root`/raw in `data_dir` or `root`/prepared."""
    builder = builder_class(data_dir=str(data_dir or root / "prepared"), config=config)
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(manual_dir=str(root / "raw"))
    )
    return builder


def assert_same(builder, split, samples):
    """Check that a split holds `samples`, key → sample.

    Images are compared as files, because JPEG decoders differ; and they must decode.
    """
    features = builder.info.features
    files = [
        name for name, value in next(iter(samples.values())).items() if hasattr(value, "getvalue")
    ]
    still_files = {name: tfds.decode.SkipDecoding() for name in files}
    back = {
        row["id"].decode(): row
        for row in tfds.as_numpy(builder.as_dataset(split=split, decoders=still_files))
    }
    assert back.keys() == samples.keys()
    for key, sample in samples.items():
        assert back[key].keys() == sample.keys()
        for name, value in sample.items():
            if isinstance(value, str):
                label = isinstance(features[name], tfds.features.ClassLabel)
                value = features[name].str2int(value) if label else value.encode()
            elif name in files:
                value = value.getvalue()
            np.testing.assert_array_equal(back[key][name], value, err_msg=name)
            assert not isinstance(value, np.ndarray) or back[key][name].dtype == value.dtype
    for row in tfds.as_numpy(builder.as_dataset(split=split)):
        for name in files:
            assert (
                row[name].dtype == features[name].np_dtype
                and row[name].shape[2] == features[name].shape[2]
                and row[name].any()
            )
