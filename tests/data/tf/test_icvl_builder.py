import logging
import shutil
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from etils import epath

pytest.importorskip("tensorflow", reason="tensorflow is not installed; the extra handjax[data] has it")
tfds = pytest.importorskip("tensorflow_datasets", reason="tensorflow_datasets is not installed; the extra handjax[data] has it")

from handjax.data.icvl import fake, raw  # noqa: E402
from handjax.data.icvl.icvl_dataset_builder import Builder  # noqa: E402

pytestmark = pytest.mark.tensorflow


class TestIcvl(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = Builder
    SPLITS = {"train": 2, "test": 4}

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


@pytest.mark.parametrize("split", raw.COUNTS)
def test_what_is_read_back_is_what_the_files_hold(tmp_path, split):
    fake.write(tmp_path / "raw", 2, seed=3)
    builder = prepared(tmp_path)
    back = {row["id"].decode(): row for row in tfds.as_numpy(builder.as_dataset(split=split))}
    told = dict(raw.samples(epath.Path(tmp_path / "raw"), split))
    assert back.keys() == told.keys()
    for key, sample in told.items():
        assert back[key].keys() == sample.keys()
        sample["depth"] = cv2.imdecode(np.frombuffer(sample["depth"].read(), np.uint8), cv2.IMREAD_UNCHANGED)[..., None]
        for name in sample.keys() - {"id"}:
            np.testing.assert_array_equal(back[key][name], sample[name])
            assert back[key][name].dtype == sample[name].dtype


def test_an_incomplete_folder_is_refused_before_anything_is_written(tmp_path):
    fake.write(tmp_path / "raw", 1, seed=3)
    (tmp_path / "raw" / "Testing" / "Depth" / "test_seq_1" / "image_0000.png").unlink()
    with pytest.raises(ValueError, match="icvl lacks .*image_0000.png: 1 of 2 depth frames") as caught:
        prepared(tmp_path)
    assert "\n" not in str(caught.value)


def test_training_labels_without_an_image_are_told(tmp_path, caplog):
    fake.write(tmp_path / "raw", 3, seed=3)
    (tmp_path / "raw" / "Training" / "Depth" / "201403121135" / "image_0000.png").unlink()
    with caplog.at_level(logging.WARNING):
        builder = prepared(tmp_path)
    assert "1 training frames have a label and no image" in caplog.text
    assert builder.info.splits["train"].num_examples == 2
