import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from etils import epath

pytest.importorskip("tensorflow", reason="tensorflow is not installed; the extra handjax[data] has it")
tfds = pytest.importorskip("tensorflow_datasets", reason="tensorflow_datasets is not installed; the extra handjax[data] has it")

from tfds_files import assert_same, prepared  # noqa: E402

from handjax.data.hpoes_voxels import fake, raw  # noqa: E402
from handjax.data.hpoes_voxels.hpoes_voxels_dataset_builder import Builder  # noqa: E402
from handjax.data.pipeline import Records  # noqa: E402

pytestmark = pytest.mark.tensorflow


class TestHpoesVoxels(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = Builder
    SPLITS = {"train": 1, "test": 1}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.EXAMPLE_DIR = tempfile.mkdtemp()
        cls.addClassCleanup(shutil.rmtree, cls.EXAMPLE_DIR)
        fake.write(Path(cls.EXAMPLE_DIR), 1, seed=0)


def test_what_is_read_back_is_what_the_files_hold(tmp_path):
    (tmp_path / "raw").mkdir()
    fake.write(tmp_path / "raw", 2, seed=3)
    builder = prepared(Builder, tmp_path)
    for split in ("train", "test"):
        told = dict(raw.samples(epath.Path(tmp_path / "raw"), split))
        assert_same(builder, split, told)
        records = Records(builder.data_path, split)
        rows = records.rows(np.arange(2))
        for i, name in enumerate(records.names(np.arange(2))):
            for key in ("voxels", "joints_xyz", "center_xyz", "cube_mm"):
                np.testing.assert_array_equal(rows[key][i], told[name][key])
    assert all(feature.doc.desc for feature in builder.info.features.values())
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/readme").write_text("nothing else")
    with pytest.raises(ValueError, match="no HDF5 file NAME.h5; expected"):
        Builder(data_dir=str(tmp_path / "other")).download_and_prepare(
            download_config=tfds.download.DownloadConfig(manual_dir=str(tmp_path / "empty"))
        )
