import shutil
import tempfile
from pathlib import Path

import pytest
from etils import epath

pytest.importorskip("tensorflow", reason="tensorflow is not installed; the extra handjax[data] has it")
tfds = pytest.importorskip("tensorflow_datasets", reason="tensorflow_datasets is not installed; the extra handjax[data] has it")

from tfds_files import assert_same, prepared  # noqa: E402

from handjax.data.rhd import fake, raw  # noqa: E402
from handjax.data.rhd.rhd_dataset_builder import Builder  # noqa: E402

pytestmark = pytest.mark.tensorflow


class TestRhd(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = Builder
    SPLITS = {"train": 2, "test": 2}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.EXAMPLE_DIR = tempfile.mkdtemp()
        cls.addClassCleanup(shutil.rmtree, cls.EXAMPLE_DIR)
        fake.write(Path(cls.EXAMPLE_DIR), 2, seed=0)


def test_what_is_read_back_is_what_the_files_hold(tmp_path):
    fake.write(tmp_path / "raw", 2, seed=3)
    builder = prepared(Builder, tmp_path)
    for split in raw.COUNTS:
        assert_same(builder, split, dict(raw.samples(epath.Path(tmp_path / "raw"), split)))
    assert all(feature.doc.desc for feature in builder.info.features.values())


def test_an_incomplete_folder_is_refused_before_anything_is_written(tmp_path):
    fake.write(tmp_path / "raw", 1, seed=3)
    (tmp_path / "raw/training/mask/00000.png").unlink()
    with pytest.raises(ValueError, match="incomplete, no training/mask: 1 of 1 pictures, the first 00000.png") as caught:
        prepared(Builder, tmp_path)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "prepared").rglob("*.tfrecord*"))
