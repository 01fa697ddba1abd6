import shutil
import tempfile
from pathlib import Path

import pytest
from etils import epath

pytest.importorskip("tensorflow", reason="tensorflow is not installed; the extra handjax[data] has it")
tfds = pytest.importorskip("tensorflow_datasets", reason="tensorflow_datasets is not installed; the extra handjax[data] has it")

from tfds_files import assert_same, prepared  # noqa: E402

from handjax.data.panoptic_hand import fake, raw  # noqa: E402
from handjax.data.panoptic_hand.panoptic_hand_dataset_builder import Builder  # noqa: E402

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("handdb")
    fake.write(root / "raw", 1, seed=3)
    return root


class TestPanopticHand(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = Builder
    SPLITS = {"train": 1, "test": 1}
    BUILDER_CONFIG_NAMES_TO_TEST = ["manual"]

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.EXAMPLE_DIR = tempfile.mkdtemp()
        cls.addClassCleanup(shutil.rmtree, cls.EXAMPLE_DIR)
        fake.write(Path(cls.EXAMPLE_DIR), 1, seed=0)


@pytest.mark.parametrize("config", raw.CONFIGS)
def test_what_is_read_back_is_what_the_files_hold(tree, config):
    builder = prepared(Builder, tree, config)
    assert set(builder.info.splits) == set(raw.CONFIGS[config])
    for split in raw.CONFIGS[config]:
        assert_same(builder, split, dict(raw.samples(epath.Path(tree / "raw"), split)))
    assert all(feature.doc.desc for feature in builder.info.features.values())


def test_an_incomplete_folder_is_refused_before_anything_is_written(tree, tmp_path):
    shutil.copytree(tree / "raw", tmp_path / "raw")
    (tmp_path / "raw/hand_labels_synth/synth2/00000000.jpg").unlink()
    prepared(Builder, tmp_path, "manual")
    with pytest.raises(ValueError, match="incomplete, no hand_labels_synth/synth2: 1 of 1 .jpg files") as caught:
        prepared(Builder, tmp_path, "synth")
    assert "\n" not in str(caught.value) and not list((tmp_path / "prepared/panoptic_hand/synth").rglob("*.tfrecord*"))
