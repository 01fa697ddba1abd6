import shutil
import tempfile
from pathlib import Path

import pytest
from etils import epath

pytest.importorskip("tensorflow", reason="tensorflow is not installed; the extra handjax[data] has it")
tfds = pytest.importorskip("tensorflow_datasets", reason="tensorflow_datasets is not installed; the extra handjax[data] has it")

from tfds_files import assert_same, prepared  # noqa: E402

from handjax.data.stb import fake, raw  # noqa: E402
from handjax.data.stb.stb_dataset_builder import Builder  # noqa: E402

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("stb")
    fake.write(root / "raw", 1, seed=3)
    return root


class TestStb(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = Builder
    SPLITS = {"train": 10, "test": 2}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.EXAMPLE_DIR = tempfile.mkdtemp()
        cls.addClassCleanup(shutil.rmtree, cls.EXAMPLE_DIR)
        fake.write(Path(cls.EXAMPLE_DIR), 1, seed=0)


@pytest.mark.parametrize("config", raw.CONFIGS)
def test_what_is_read_back_is_what_the_files_hold(tree, config):
    builder = prepared(Builder, tree, config)
    for split in raw.COUNTS:
        assert_same(builder, split, dict(raw.samples(epath.Path(tree / "raw"), split, config)))
    assert all(feature.doc.desc for feature in builder.info.features.values())


def test_an_incomplete_folder_is_refused_before_anything_is_written(tree, tmp_path):
    shutil.copytree(tree / "raw", tmp_path / "raw")
    (tmp_path / "raw/images/B2Random/SK_depth_0.png").unlink()
    prepared(Builder, tmp_path, "bb")
    with pytest.raises(ValueError, match="incomplete, no images/B2Random: 1 of 1 pictures of SK_depth") as caught:
        prepared(Builder, tmp_path, "sk")
    assert "\n" not in str(caught.value) and not list((tmp_path / "prepared/stb/sk").rglob("*.tfrecord*"))
