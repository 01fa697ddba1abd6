"""Raw fakes → prepared sets → sources → the voxels that V2V-PoseNet sees."""

import importlib

import jax
import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="tensorflow is not installed; the extra handjax[data] has it")
tfds = pytest.importorskip("tensorflow_datasets", reason="tensorflow_datasets is not installed; the extra handjax[data] has it")

from ml_collections import ConfigDict  # noqa: E402

from handjax.data.batch import check_batch  # noqa: E402
from handjax.engine import config as configs  # noqa: E402
from handjax.sources import SOURCES  # noqa: E402
from handjax.tasks.voxel import voxel_task  # noqa: E402

pytestmark = pytest.mark.tensorflow

SETS = {"nyu_hand": ("train", "test", 14), "icvl": ("train", "test", 16), "msra_hand": ("P0+P1", "P3", 21)}


def prepare(name, root, n, config=None):
    importlib.import_module(f"handjax.data.{name}.fake").write(root / "raw", n, seed=5)
    builder = importlib.import_module(f"handjax.data.{name}.{name}_dataset_builder").Builder(data_dir=str(root), config=config)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=str(root / "raw")))
    return str(builder.data_path)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return {name: prepare(name, tmp_path_factory.mktemp(name), 3) for name in SETS}


def settings(prepared, name, repo, **changes):
    config = configs.load(f"{repo}/configs/v2v.py:quick")
    train_split, eval_split, _ = SETS[name]
    config.unlock()
    config.data = ConfigDict(
        dict(name=name, path=prepared[name], train_split=train_split, eval_split=eval_split, center="label", cube_mm=300.0)
        | changes
    )
    return config


@pytest.mark.parametrize("name", SETS)
def test_the_joints_lie_in_the_voxels(prepared, repo, name):
    config = settings(prepared, name, repo)
    config.task.update(grid=48, heatmap_grid=24)
    source = SOURCES[name](config)
    numbers = np.arange(3)
    batch = source.eval_rows(numbers)
    check_batch(batch)
    assert batch["mask"].all() and batch["joints_xyz"].shape == (3, SETS[name][2], 3)
    assert len(source.skeleton.joints) == SETS[name][2] and len(set(source.names(numbers))) == 3
    assert source.train_size == {"nyu_hand": 3, "icvl": 3, "msra_hand": 6}[name]
    task = voxel_task(config, source.skeleton)
    inputs = task.prepare(jax.random.split(jax.random.key(0), 3), batch, False)
    for volume, joints in zip(np.asarray(inputs["x"])[..., 0], np.asarray(inputs["joints"]), strict=True):
        z, y, x = np.nonzero(volume)
        to_surface = np.linalg.norm(np.stack([x, y, z], -1)[None] + 0.5 - joints[:, None], axis=-1).min(1)
        assert (to_surface * 300 / 48 < 45).all() and np.median(to_surface * 300 / 48) < 25  # mm


def test_refined_centers(prepared, repo):
    # Every third of the fake's frames has none: in training it counts nowhere, in the evaluation it is an error.
    source = SOURCES["nyu_hand"](settings(prepared, "nyu_hand", repo, center="refined"))
    batch = source.train_rows(np.arange(3))
    check_batch(batch)
    assert sorted(batch["mask"].tolist()) == [False, True, True]
    for i in np.flatnonzero(batch["mask"]):
        assert np.linalg.norm(batch["center_xyz"][i] - batch["joints_xyz"][i].mean(0)) < 50
    with pytest.raises(ValueError, match="test/depth_1_0000003 has no refined center; .*config.data.center=label"):
        source.eval_rows(np.arange(3))


def test_what_does_not_fit_is_told(prepared, repo, tmp_path):
    cases = [
        (dict(path=""), "config.data.path is empty"),
        (dict(center="depth"), "data.center"),
        (dict(path=prepared["icvl"]), r"joints of a sample are \[16, 3\]; a single view of nyu_hand has \[36, 3\]"),
        (dict(path=prepare("nyu_hand", tmp_path, 1, "multiview")), r"joints of a sample are \[3, 36, 3\]"),
        (dict(eval_split="P3"), "P3"),
    ]
    for changes, words in cases:
        with pytest.raises(ValueError, match=words) as caught:
            SOURCES["nyu_hand"](settings(prepared, "nyu_hand", repo, **changes))
        assert "\n" not in str(caught.value)
