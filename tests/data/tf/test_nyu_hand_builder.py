import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from etils import epath

pytest.importorskip("tensorflow", reason="tensorflow is not installed; the extra handjax[data] has it")
tfds = pytest.importorskip("tensorflow_datasets", reason="tensorflow_datasets is not installed; the extra handjax[data] has it")

from handjax.data.nyu_hand import fake, raw  # noqa: E402
from handjax.data.nyu_hand.nyu_hand_dataset_builder import Builder  # noqa: E402

pytestmark = pytest.mark.tensorflow


class TestNyuHand(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = Builder
    SPLITS = {"train": 2, "test": 2}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.EXAMPLE_DIR = tempfile.mkdtemp()
        cls.addClassCleanup(shutil.rmtree, cls.EXAMPLE_DIR)
        fake.write(Path(cls.EXAMPLE_DIR), 2, seed=0)


def prepared(tmp_path, config):
    builder = Builder(data_dir=str(tmp_path / "prepared"), config=config)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=str(tmp_path / "raw")))
    return builder


@pytest.mark.parametrize("config", raw.CONFIGS)
def test_what_is_read_back_is_what_the_files_hold(tmp_path, config):
    fake.write(tmp_path / "raw", 2, seed=3)
    builder = prepared(tmp_path, config)
    back = {row["id"].decode(): row for row in tfds.as_numpy(builder.as_dataset(split="test"))}
    told = dict(raw.samples(epath.Path(tmp_path / "raw"), "test", config))
    assert back.keys() == told.keys()
    for key, sample in told.items():
        assert back[key].keys() == sample.keys()
        for name in sample.keys() - {"id"}:
            np.testing.assert_array_equal(back[key][name], sample[name])
            assert back[key][name].dtype == sample[name].dtype


def test_an_incomplete_folder_is_refused_before_anything_is_written(tmp_path):
    fake.write(tmp_path / "raw", 1, seed=3)
    (tmp_path / "raw" / "test" / "depth_1_0000001.png").unlink()
    with pytest.raises(ValueError, match="nyu_hand lacks .*depth_1_0000001.png: 1 of 1 depth frames") as caught:
        prepared(tmp_path, "single")
    assert "\n" not in str(caught.value)
