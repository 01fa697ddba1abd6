import shutil
import tempfile
from pathlib import Path

import pytest
from etils import epath

pytest.importorskip("tensorflow", reason="tensorflow is not installed; the extra handjax[data] has it")
tfds = pytest.importorskip("tensorflow_datasets", reason="tensorflow_datasets is not installed; the extra handjax[data] has it")

from tfds_files import assert_same, prepared  # noqa: E402

from handjax.data.keypoint_list import fake, raw  # noqa: E402
from handjax.data.keypoint_list.keypoint_list_dataset_builder import Builder  # noqa: E402

pytestmark = pytest.mark.tensorflow


class TestKeypointList(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = Builder
    SPLITS = {"train": 2, "test": 2}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.EXAMPLE_DIR = tempfile.mkdtemp()
        cls.addClassCleanup(shutil.rmtree, cls.EXAMPLE_DIR)
        fake.write(Path(cls.EXAMPLE_DIR), 2, seed=0)


@pytest.mark.parametrize("config", raw.CONFIGS)
def test_what_is_read_back_is_what_the_files_hold(tmp_path, config):
    fake.write(tmp_path / "raw", 2, 3, config)
    (tmp_path / "raw/train.txt").rename(tmp_path / "raw/all_mine.txt")
    (tmp_path / "raw/train").rename(tmp_path / "raw/all_mine")
    builder = prepared(Builder, tmp_path, config)
    assert set(builder.info.splits) == {"all_mine", "test"}
    for split in builder.info.splits:
        assert_same(builder, split, dict(raw.samples(epath.Path(tmp_path / "raw"), split, config)))
    assert all(feature.doc.desc for feature in builder.info.features.values())


def test_an_incomplete_folder_is_refused_before_anything_is_written(tmp_path):
    fake.write(tmp_path / "raw", 1, seed=3)
    (tmp_path / "raw/test/some folder/00000.jpg").unlink()
    with pytest.raises(ValueError, match="incomplete, no test/some folder/00000.jpg: 1 of 1 pictures of test.txt") as caught:
        prepared(Builder, tmp_path)
    assert "\n" not in str(caught.value) and not list((tmp_path / "prepared").rglob("*.tfrecord*"))
