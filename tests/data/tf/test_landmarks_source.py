"""Users' own joints: prepared set → batches."""

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip(
    "tensorflow",
    reason="tensorflow is not installed: pip install 'handjax[data]'",
    exc_type=ImportError,
)

import tensorflow_datasets as tfds  # noqa: E402
from etils import epath  # noqa: E402

from handjax.data.batch import check_batch  # noqa: E402
from handjax.data.sets.landmarks import fake, raw  # noqa: E402
from handjax.data.sets.landmarks.landmarks_dataset_builder import Builder  # noqa: E402
from handjax.engine.config import load  # noqa: E402
from handjax.sources import SOURCES  # noqa: E402

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]


def prepare(root: Path) -> Path:
    builder = Builder(data_dir=str(root))
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(manual_dir=str(root / "raw"))
    )
    return Path(builder.data_path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A prepared set of three toys per split."""
    root = tmp_path_factory.mktemp("toys")
    (root / "raw").mkdir()
    fake.write(root / "raw", 3, seed=4)
    return prepare(root)


def source(repo, path, *more):
    config = load(f"{repo}/configs/posenet2d.py:own,quick", [f"config.data.path={path}", *more])
    return SOURCES["landmarks"](config)


def test_batches_are_the_labels(repo, folder):
    found = source(repo, folder, "config.data.crop_boxes=0.0")
    assert found.skeleton == raw.skeleton(
        epath.Path(folder.parents[1] / "raw")
    )  # in the set's metadata
    assert (found.train_size, found.eval_size, found.benchmark) == (3, 3, "")
    batch = found.eval_rows(np.arange(3))
    check_batch(batch)
    labels = json.loads((folder.parents[1] / "raw/test.json").read_text())["annotations"]
    names = found.names(np.arange(3))  # TFDS has shuffled them
    assert sorted(names) == [f"images/test/0000{i}" + (".png", ".jpg")[i % 2] for i in (1, 2, 3)]
    labels = [labels[int(Path(name).stem) - 1] for name in names]
    marks = np.array([one["keypoints"] for one in labels]).reshape(3, 11, 3)
    np.testing.assert_allclose(batch["joints_uv"], marks[..., :2], atol=1e-4)
    np.testing.assert_array_equal(batch["visible"], marks[..., 2] == 2)
    assert batch["labelled"].all() and batch["image"].shape == (3, 640, 640, 3)
    np.testing.assert_allclose(batch["box"], [one["bbox"] for one in labels], atol=1e-4)
    np.testing.assert_allclose(batch["area"], [one["area"] for one in labels])


def test_sets_of_other_joints_are_not_mixed(repo, folder, tmp_path):
    (tmp_path / "raw").mkdir()
    fake.write(tmp_path / "raw", 1, seed=4)
    (tmp_path / "raw/landmarks.json").write_text('{"joints": ["nose", "left_eye"]}')
    prepare(tmp_path).parents[0].rename(tmp_path / "faces")
    (tmp_path / "toys").symlink_to(folder.parents[0])
    both = "config.data.sets=('toys', 'faces')"
    with pytest.raises(ValueError, match="faces/1.0.0 has the joints nose, left_eye.*the same in"):
        source(repo, tmp_path, both)
    (tmp_path / "faces/1.0.0/metadata.json").unlink()
    with pytest.raises(ValueError, match="faces/1.0.0: no skeleton in its metadata.json; prepare"):
        source(repo, tmp_path, both)
