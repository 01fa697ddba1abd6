"""Raw fakes → prepared sets → sources → the voxels that V2V-PoseNet sees."""

import importlib

import jax
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
from handjax.engine import config as configs  # noqa: E402
from handjax.sources import SOURCES  # noqa: E402
from handjax.tasks.v2v import v2v_task  # noqa: E402

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

# Set → variant of the config, joints.
SETS = {
    "nyu_hand": ("nyu", 14),
    "icvl": ("icvl", 16),
    "msra_hand": ("msra", 21),
    "hands2017": ("hands2017", 21),
}
VARIANTS = {name: variant for name, (variant, _) in SETS.items()} | {
    "dexycb": "dexycb",
    "itop": "itop",
    "bighand": "bighand",
}


def prepare(name, root, n, config=None):
    importlib.import_module(f"handjax.data.sets.{name}.fake").write(root / "raw", n, seed=5)
    builder = importlib.import_module(f"handjax.data.sets.{name}.{name}_dataset_builder").Builder(
        data_dir=str(root), config=config
    )
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(manual_dir=str(root / "raw"))
    )
    return str(builder.data_path)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return {name: prepare(name, tmp_path_factory.mktemp(name), 3) for name in SETS}


def settings(prepared, name, repo, **changes):
    changes = {"path": prepared[name], "center": "label", "cube_mm": 300.0} | changes
    if name == "hands2017":  # a tenth of three frames is none
        changes = {"train_split": "train", "eval_split": "train"} | changes
    overrides = [f"config.data.{key}={value}" for key, value in changes.items()]
    return configs.load(
        f"{repo}/configs/v2v.py:quick,{VARIANTS[name]}", [*overrides, "config.task.grid=48"]
    )


def test_hands_of_dexycb_meet_the_depth(tmp_path, repo):
    folder = {"dexycb": prepare("dexycb", tmp_path, 1, "s2")}
    source = SOURCES["dexycb"](settings(folder, "dexycb", repo))
    batch = source.eval_rows(np.arange(3))
    check_batch(batch)
    assert (source.train_size, source.eval_size, source.skeleton.name) == (24, 3, "hand21")
    for depth, xyz, k in zip(batch["depth"], batch["joints_xyz"], batch["k"], strict=True):
        u, v = np.rint((xyz / xyz[:, 2:]) @ k[:2].T).astype(int).T
        behind = xyz[:, 2] - depth[v, u]
        assert (behind > -2).all() and np.median(behind) < 40
    with pytest.raises(ValueError, match="center_xyz"):
        SOURCES["dexycb"](settings(folder, "dexycb", repo, center="refined"))


def test_a_person_of_bighand_is_left_out(tmp_path, repo):
    folder = {"bighand": prepare("bighand", tmp_path, 2)}
    config = settings(folder, "bighand", repo, subject=2)
    source = SOURCES["bighand"](config)
    assert (source.train_size, source.eval_size, source.skeleton.name) == (4, 4, "hand21")
    assert all(name.startswith("Subject_2/") for name in source.names(np.arange(4)))
    occupied, joints, _ = voxels_and_joints(config, "bighand", np.arange(4))
    for cells, of_hand in zip(occupied, joints, strict=True):
        to_surface = np.linalg.norm(cells[None] - of_hand[:, None], axis=-1).min(1)
        assert (to_surface < 45).all() and np.median(to_surface) < 25
    with pytest.raises(ValueError, match="config.data.subject=3: expected one of several people"):
        SOURCES["bighand"](settings(folder, "bighand", repo, subject=3))


def test_people_are_inside_the_voxels(tmp_path, repo):
    """ITOP, in cubes of 2 m around the published centers."""
    folder = {"itop": prepare("itop", tmp_path, 2, "top")}
    config = settings(folder, "itop", repo, center="refined", cube_mm=2000.0)
    assert SOURCES["itop"](config).skeleton.name == "itop15"
    occupied, joints, batch = voxels_and_joints(config, "itop", np.arange(2))
    np.testing.assert_allclose(batch["center_xyz"], batch["joints_xyz"].mean(1), atol=0.5)
    for cells, of_person in zip(occupied, joints, strict=True):
        to_surface = np.linalg.norm(cells[None] - of_person[:, None], axis=-1).min(1)
        assert (to_surface < 250).all() and np.median(to_surface) < 120
        assert ((of_person > 0) & (of_person < 2000)).all()


def voxels_and_joints(config, name, numbers):
    """Occupied cells and joints, mm from the corner of the cube, and the evaluated batch."""
    source = SOURCES[name](config)
    batch = jax.jit(source.materialize)(source.eval_rows(numbers))
    check_batch({key: np.asarray(value) for key, value in batch.items()})
    config.unlock()
    config.task.heatmap_grid = 24
    inputs = v2v_task(config, source.skeleton).prepare(
        jax.random.split(jax.random.key(0), len(numbers)), batch, False
    )
    cell = config.data.cube_mm / 48
    found = [(np.argwhere(x)[:, ::-1] + 0.5) * cell for x in np.asarray(inputs["x"])[..., 0]]
    return found, np.asarray(inputs["joints"]) * cell, batch


@pytest.mark.parametrize("name", SETS)
def test_joints_are_inside_the_voxels(prepared, repo, name):
    config = settings(prepared, name, repo)
    source = SOURCES[name](config)
    numbers = np.arange(3)
    batch = source.eval_rows(numbers)
    check_batch(batch)
    assert batch["mask"].all() and batch["joints_xyz"].shape == (3, SETS[name][1], 3)
    assert len(source.skeleton.joints) == SETS[name][1] and len(set(source.names(numbers))) == 3
    assert source.train_size == {"nyu_hand": 3, "icvl": 3, "msra_hand": 24, "hands2017": 3}[name]
    assert "crop center from the label" in source.description
    for occupied, joints in zip(*voxels_and_joints(config, name, numbers)[:2], strict=True):
        to_surface = np.linalg.norm(occupied[None] - joints[:, None], axis=-1).min(1)
        assert (to_surface < 45).all() and np.median(to_surface) < 25


@pytest.mark.parametrize("name", SETS)
def test_the_center_is_found_in_the_depth(prepared, repo, name):
    cube = 250.0 if name in ("nyu_hand", "hands2017") else 200.0  # the papers' own
    config = settings(prepared, name, repo, center="depth", cube_mm=cube)
    assert (
        "crop center from the depth: center of mass in 5 steps, of the nearest thing"
        in SOURCES[name](config).description
    )
    occupied, joints, batch = voxels_and_joints(config, name, np.arange(3))
    off = np.linalg.norm(batch["center_xyz"] - batch["joints_xyz"].mean(1), axis=-1)
    assert (off < 70).all()  # the visible surface has another mean than the joints
    assert np.mean(((joints > 0) & (joints < cube)).all(-1)) > 0.9
    # The crop holds the hand only: no wall, no other thing.
    for cells, of_hand in zip(occupied, joints, strict=True):
        assert np.linalg.norm(cells[:, None] - of_hand[None], axis=-1).min(1).max() < 80


def test_msra_leaves_one_person_out(prepared, repo):
    source = SOURCES["msra_hand"](settings(prepared, "msra_hand", repo, subject=3))
    held, seen = (
        source.names(np.arange(source.eval_size)),
        source.train_rows(np.arange(source.train_size)),
    )
    assert (
        len(held) == 3
        and all(name.startswith("P3/") for name in held)
        and "msra_hand, P3;" in source.description
    )
    mine = source.eval_rows(np.arange(3))["joints_xyz"]
    assert (
        np.linalg.norm(seen["joints_xyz"][:, None] - mine[None], axis=-1).min() > 0
        and len(seen["joints_xyz"]) == 24
    )


def test_refined_centers(prepared, repo):
    # Every third frame of the fake has none: masked in training, an error in an evaluation.
    source = SOURCES["nyu_hand"](settings(prepared, "nyu_hand", repo, center="refined"))
    assert "crop center from the file of refined centers" in source.description
    batch = source.train_rows(np.arange(3))
    check_batch(batch)
    assert sorted(batch["mask"].tolist()) == [False, True, True]
    for i in np.flatnonzero(batch["mask"]):
        assert np.linalg.norm(batch["center_xyz"][i] - batch["joints_xyz"][i].mean(0)) < 50
    with pytest.raises(
        ValueError,
        match="test/depth_1_0000003 has no refined center; .*config.data.center=depth or label",
    ):
        source.eval_rows(np.arange(3))


def test_frames_without_depth_have_no_center(prepared, repo):
    config = settings(prepared, "nyu_hand", repo, center="depth", depth_mm="(100.0, 200.0)")
    source = SOURCES["nyu_hand"](config)
    assert not source.train_rows(np.arange(3))["mask"].any()
    words = r"_000000\d has no depth within config.data.depth_mm=\(100, 200\); .*center=label"
    with pytest.raises(ValueError, match=words):
        source.eval_rows(np.arange(3))


def test_invalid_options_are_reported(prepared, repo, tmp_path):
    cases = [
        ("nyu_hand", dict(path=""), "config.data.path is empty"),
        (
            "nyu_hand",
            dict(center="mass"),
            "config.data.center=mass is unknown: use depth or refined or label",
        ),
        ("nyu_hand", dict(depth_mm="(900.0, 300.0)"), "depth_mm=.*: expected two distances in mm"),
        ("nyu_hand", dict(depth_mm="(300.0,)"), "depth_mm=.*: expected two distances in mm"),
        (
            "nyu_hand",
            dict(path=prepared["icvl"]),
            r"joints of a sample are \[16, 3\]; a single view of nyu_hand has \[36, 3\]",
        ),
        (
            "nyu_hand",
            dict(path=prepare("nyu_hand", tmp_path, 1, "multiview")),
            r"joints of a sample are \[3, 36, 3\]",
        ),
        ("nyu_hand", dict(eval_split="P3"), "P3"),
        (
            "hands2017",
            dict(eval_split="test"),
            "labels of some of these frames are not published; use parts of the split train",
        ),
        ("msra_hand", dict(subject=9), "config.data.subject=9: expected 0 to 8"),
    ]
    for name, changes, words in cases:
        with pytest.raises(ValueError, match=words) as caught:
            SOURCES[name](settings(prepared, name, repo, **changes))
        assert "\n" not in str(caught.value)
