"""NYU's three Kinects: raw fakes → prepared configuration `multiview` → cubes and cameras."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip(
    "tensorflow", reason="tensorflow is not installed; the extra handjax[data] has it"
)
tfds = pytest.importorskip(
    "tensorflow_datasets",
    reason="tensorflow_datasets is not installed; the extra handjax[data] has it",
)

from handjax.data.batch import check_batch  # noqa: E402
from handjax.data.records import RecordDataset  # noqa: E402
from handjax.data.sets.nyu_hand import fake  # noqa: E402
from handjax.data.sets.nyu_hand.nyu_hand_dataset_builder import Builder  # noqa: E402
from handjax.engine import config as configs  # noqa: E402
from handjax.fitting import losses  # noqa: E402
from handjax.pose.joint_orders import ORDERS  # noqa: E402
from handjax.sources import SOURCES  # noqa: E402

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]
FRAMES = np.arange(3)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    root = tmp_path_factory.mktemp("nyu")
    fake.write(root / "raw", 3, seed=5)

    def prepare(config):
        builder = Builder(data_dir=str(root), config=config)
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(manual_dir=str(root / "raw"))
        )
        return str(builder.data_path)

    return {config: prepare(config) for config in ("single", "multiview")}


def source(repo, path, **changes):
    overrides = [f"config.data.{name}={value}" for name, value in {"path": path, **changes}.items()]
    config = configs.load(f"{repo}/configs/spherehand.py:nyu", overrides)
    return SOURCES["nyu_views"](config)


@pytest.mark.parametrize("center", ["label", "refined", "depth"])
def test_three_kinects_see_one_hand(prepared, repo, center):
    opened = source(repo, prepared["multiview"], center=center)
    assert center in opened.description and opened.train_size == opened.eval_size == 3
    batch = opened.train_rows(FRAMES)
    check_batch(batch)
    assert batch["cube_depth"].shape == (3, 3, 64, 64) and "centers" not in batch
    assert batch["mask"].sum() == (
        2 if center == "refined" else 3
    )  # every third frame of the fake has none
    np.testing.assert_allclose(batch["cameras"][:, 0], np.tile(np.eye(4), (3, 1, 1)), atol=1e-6)

    # Labels of each view, of which the batch has the first, relative to the middle of its cube.
    files = RecordDataset(prepared["multiview"], "train", keys=("joints_xyz",)).rows(FRAMES)[
        "joints_xyz"
    ]
    for i in np.flatnonzero(batch["mask"]):
        own = (
            files[i]
            - _middles(files[i], batch["cameras"][i], batch["center_xyz"][i], center)[:, None]
        )
        common = np.asarray(
            losses.to_common(jnp.asarray(own, jnp.float32), jnp.asarray(batch["cameras"][i]))
        )
        assert np.abs(common - common[:1]).max() < 1
        np.testing.assert_allclose(
            own[0, list(ORDERS["nyu36"].to_common)],
            batch["joints_xyz"][i] - batch["center_xyz"][i],
            atol=1e-2,
        )
        # The points of view j are around them: nothing else is in the cube.
        for j in range(3):
            v, u = np.nonzero(batch["cube_depth"][i, j] < 99)
            points = np.stack(
                [(u - 32) * 300 / 64, (v - 32) * 300 / 64, batch["cube_depth"][i, j][v, u]], axis=-1
            )
            moved = points @ batch["cameras"][i, j, :3, :3].T + batch["cameras"][i, j, :3, 3]
            away = np.linalg.norm(moved[:, None] - own[0][None], axis=-1).min(1)
            assert len(points) > 150 and np.median(away) < 25 and away.max() < 60


def _middles(joints, cameras, center, kind):
    """[v, 3]: the palm of each view for "label", else that of the first through the cameras, which
    then have no translation."""
    if kind == "label":
        return joints[:, 32]
    np.testing.assert_allclose(cameras[:, :3, 3], 0, atol=1e-3)
    shifted = joints[0].mean(0) - center
    return joints.mean(1) - (np.swapaxes(cameras[:, :3, :3], -1, -2) @ shifted[:, None])[..., 0]


def test_missing_centers_and_labels_are_reported(prepared, repo):
    lacking = source(repo, prepared["multiview"], center="refined")
    with pytest.raises(
        ValueError,
        match=r"test/000000\d has no refined center; .*config.data.center=depth or label",
    ):
        lacking.eval_rows(FRAMES)
    nothing = source(repo, prepared["multiview"], center="depth", depth_mm="(100.0, 200.0)")
    assert not nothing.train_rows(FRAMES)["mask"].any()
    with pytest.raises(ValueError, match="no depth within config.data.depth_mm"):
        nothing.eval_rows(FRAMES)
    with pytest.raises(
        ValueError,
        match=r"several views of nyu_hand have \[views, 36, 3\]: prepare its configuration",
    ):
        source(repo, prepared["single"]).eval_rows(FRAMES)
    with pytest.raises(ValueError, match="config.data.path is empty"):
        source(repo, "")
    with pytest.raises(ValueError, match="expected two distances"):
        source(repo, prepared["multiview"], depth_mm="(900.0, 300.0)")


def test_only_the_cubes_go_to_the_device(prepared, repo):
    opened = source(repo, prepared["multiview"])
    rows = opened.eval_rows(FRAMES)
    assert sum(np.asarray(value).nbytes for value in rows.values()) < 3 * 3 * 64 * 64 * 4 + 4000
    assert jax.eval_shape(lambda rows: opened.materialize(rows, None), rows).keys() == rows.keys()
    assert sorted(name.rpartition("/")[2] for name in opened.names(FRAMES)) == [
        "0000001",
        "0000002",
        "0000003",
    ]
