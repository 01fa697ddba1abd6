import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from etils import epath

pytest.importorskip("tensorflow", reason="tensorflow is not installed; the extra handjax[data] has it")
tfds = pytest.importorskip("tensorflow_datasets", reason="tensorflow_datasets is not installed; the extra handjax[data] has it")

from handjax.data.mpii import fake, raw  # noqa: E402
from handjax.data.mpii.mpii_dataset_builder import Builder  # noqa: E402

pytestmark = pytest.mark.tensorflow


class TestMpii(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = Builder
    SPLITS = {"train": 4, "validation": 4, "test": 4}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.EXAMPLE_DIR = tempfile.mkdtemp()
        cls.addClassCleanup(shutil.rmtree, cls.EXAMPLE_DIR)
        fake.write(Path(cls.EXAMPLE_DIR), 2, seed=0)


def prepared(tmp_path):
    builder = Builder(data_dir=str(tmp_path / "prepared"))
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=str(tmp_path / "raw")))
    return builder


def test_what_is_read_back_is_what_the_files_hold(tmp_path):
    fake.write(tmp_path / "raw", 2, seed=3)
    builder = prepared(tmp_path)
    for split in raw.COUNTS:
        back = {row["id"].decode(): row for row in tfds.as_numpy(builder.as_dataset(split=split))}
        told = dict(raw.samples(epath.Path(tmp_path / "raw"), split))
        assert back.keys() == told.keys() and len(told) == 4
        for key, sample in told.items():
            assert back[key].keys() == sample.keys()
            assert back[key]["image"].shape == (fake.HEIGHT, fake.WIDTH, 3)
            for name in sample.keys() - {"id", "image"}:
                np.testing.assert_array_equal(back[key][name], sample[name])


def test_an_incomplete_folder_is_refused_before_anything_is_written(tmp_path):
    fake.write(tmp_path / "raw", 1, seed=3)
    (tmp_path / "raw" / "annot" / "test.json").unlink()
    (tmp_path / "raw" / "images" / "200000000.jpg").unlink()
    with pytest.raises(ValueError, match="no annot/test.json; no images/200000000.jpg: 1 of 1 pictures of valid.json; ") as caught:
        prepared(tmp_path)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "prepared").rglob("*.tfrecord*"))
