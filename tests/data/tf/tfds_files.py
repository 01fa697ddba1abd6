"""What every builder's test does: prepare from files, and hold what TFDS reads back against what the files hold."""

import numpy as np
import tensorflow_datasets as tfds


def prepared(builder_class, root, config=None, data_dir=None):
    """What the builder makes of `root`/raw, in `data_dir` or `root`/prepared."""
    builder = builder_class(data_dir=str(data_dir or root / "prepared"), config=config)
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(manual_dir=str(root / "raw"))
    )
    return builder


def assert_same(builder, split, told):
    """Pictures that are files are the same bytes, for two decoders of JPEG need not agree; and they decode."""
    features = builder.info.features
    files = [
        name for name, value in next(iter(told.values())).items() if hasattr(value, "getvalue")
    ]
    still_files = {name: tfds.decode.SkipDecoding() for name in files}
    back = {
        row["id"].decode(): row
        for row in tfds.as_numpy(builder.as_dataset(split=split, decoders=still_files))
    }
    assert back.keys() == told.keys()
    for key, sample in told.items():
        assert back[key].keys() == sample.keys()
        for name, value in sample.items():
            if isinstance(value, str):
                value = value.encode() if name == "id" else features[name].str2int(value)
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
