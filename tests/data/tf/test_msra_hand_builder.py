import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from etils import epath

pytest.importorskip("tensorflow", reason="tensorflow is not installed; the extra handjax[data] has it")
tfds = pytest.importorskip("tensorflow_datasets", reason="tensorflow_datasets is not installed; the extra handjax[data] has it")

from handjax.data.msra_hand import fake, raw  # noqa: E402
from handjax.data.msra_hand.msra_hand_dataset_builder import Builder  # noqa: E402

pytestmark = pytest.mark.tensorflow


class TestMsraHand(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = Builder
    SPLITS = dict.fromkeys(raw.COUNTS, 2)

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
    # Leave one out: the eight others are one split's name away.
    others = "+".join(person for person in raw.COUNTS if person != "P3")
    for split, people in {"P3": ["P3"], others: others.split("+")}.items():
        back = {row["id"].decode(): row for row in tfds.as_numpy(builder.as_dataset(split=split))}
        told = dict(pair for person in people for pair in raw.samples(epath.Path(tmp_path / "raw"), person))
        assert back.keys() == told.keys() and len(told) == 2 * len(people)
        for key, sample in told.items():
            assert back[key].keys() == sample.keys()
            for name in sample.keys() - {"id", "root", "gesture"}:
                np.testing.assert_array_equal(back[key][name], sample[name])
                assert back[key][name].dtype == sample[name].dtype
            for name in ("root", "gesture"):
                assert builder.info.features[name].int2str(back[key][name]) == sample[name]


def test_an_incomplete_folder_is_refused_before_anything_is_written(tmp_path):
    fake.write(tmp_path / "raw", 1, seed=3)
    (tmp_path / "raw" / "P7" / "1" / "000000_depth.bin").unlink()
    with pytest.raises(ValueError, match="msra_hand lacks .*000000_depth.bin: 1 of 1 depth frames") as caught:
        prepared(tmp_path)
    assert "\n" not in str(caught.value)
