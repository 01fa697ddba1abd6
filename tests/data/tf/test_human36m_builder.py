import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from etils import epath

pytest.importorskip("tensorflow", reason="tensorflow is not installed; the extra handjax[data] has it")
tfds = pytest.importorskip("tensorflow_datasets", reason="tensorflow_datasets is not installed; the extra handjax[data] has it")

from handjax.data.human36m import fake, raw  # noqa: E402
from handjax.data.human36m.human36m_dataset_builder import Builder  # noqa: E402

pytestmark = pytest.mark.tensorflow


class TestHuman36m(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ["validact03"]
    SPLITS = {"validation": 16}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.EXAMPLE_DIR = tempfile.mkdtemp()
        cls.addClassCleanup(shutil.rmtree, cls.EXAMPLE_DIR)
        fake.write(Path(cls.EXAMPLE_DIR), 1, seed=0, split="validact03")


def prepared(tmp_path, config):
    builder = Builder(data_dir=str(tmp_path / "prepared"), config=config)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=str(tmp_path / "raw")))
    return builder


def test_what_is_read_back_is_what_the_files_hold(tmp_path):
    fake.write(tmp_path / "raw", 2, seed=3, split="validact16")
    builder = prepared(tmp_path, "validact16")
    back = {row["id"].decode(): row for row in tfds.as_numpy(builder.as_dataset(split="validation"))}
    told = dict(raw.samples(epath.Path(tmp_path / "raw"), "validact16"))
    assert back.keys() == told.keys() and len(told) == 32
    for key, sample in told.items():
        assert back[key].keys() == sample.keys()
        assert back[key]["image"].shape == (fake.SIZE, fake.SIZE, 3)
        assert builder.info.features["action"].int2str(back[key]["action"]) == sample["action"] == "walking_together"
        for name in sample.keys() - {"id", "image", "action"}:
            np.testing.assert_array_equal(back[key][name], sample[name])


def test_every_subset_is_a_configuration():
    assert set(Builder.builder_configs) == set(raw.SUBSETS)


def test_an_incomplete_folder_is_refused_before_anything_is_written(tmp_path):
    fake.write(tmp_path / "raw", 1, seed=3, split="validact02")
    with pytest.raises(ValueError, match="no annot/s_01_act_02_subact_01_ca_01/matlab_meta.txt; .* and 1195 more; ") as caught:
        prepared(tmp_path, "train")
    assert "\n" not in str(caught.value)
    shutil.rmtree(tmp_path / "raw" / "images" / "s_11_act_02_subact_02_ca_04")
    with pytest.raises(ValueError, match="no images/s_11_act_02_subact_02_ca_04; expected the folders of subset 'validact02'"):
        prepared(tmp_path, "validact02")
    assert not list((tmp_path / "prepared").rglob("*.tfrecord*"))
