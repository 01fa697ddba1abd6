"""Raw fakes of Human3.6M, its challenge, MPII and COCO → prepared sets → one source of people."""

import importlib

import numpy as np
import pytest
from ml_collections import ConfigDict

pytest.importorskip(
    "tensorflow",
    reason="tensorflow is not installed: pip install 'handjax[data]'",
    exc_type=ImportError,
)

import tensorflow_datasets as tfds  # noqa: E402
from prepared import write  # noqa: E402

from handjax.data import records as pipeline  # noqa: E402
from handjax.data.batch import check_batch  # noqa: E402
from handjax.pose.skeleton import SKELETONS  # noqa: E402
from handjax.sources import SOURCES  # noqa: E402

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

SETS = {"human36m": "validact02", "human36m_challenge": None, "mpii": None, "coco_person": None}
JOINTS = SKELETONS["body18"].joints
LACKING = {"mpii": {"torso", "nose"}, "coco_person": {"pelvis", "torso", "neck", "head", "thorax"}}
PLACES = {
    "mpii": {"left_wrist": 15, "right_knee": 1},
    "coco_person": {"left_wrist": 9, "right_knee": 14},
}  # in their own orders


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("people")
    for name, config in SETS.items():
        importlib.import_module(f"handjax.data.sets.{name}.fake").write(
            root / name, 1, seed=5, **({"config": config} if config else {})
        )
        builder = importlib.import_module(
            f"handjax.data.sets.{name}.{name}_dataset_builder"
        ).Builder(data_dir=str(root / "to"), config=config)
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(manual_dir=str(root / name))
        )
    return root / "to"


def make(at, /, **changes):
    data = dict(
        name="body",
        path=str(at),
        sets=("mpii",),
        eval_sets=(),
        weights=(),
        train_split="",
        eval_split="",
    )
    data |= dict(image_size=(250, 250), crop_boxes=0.0, box_mm=2000.0)
    return SOURCES["body"](ConfigDict(dict(seed=0, data=data | changes)))


def every(source):
    batch = source.eval_rows(np.arange(source.eval_size))
    check_batch(batch)
    return batch


def in_file(batch):
    return np.einsum(
        "bij,bkj->bki", batch["source_from_image"], np.insert(batch["joints_uv"], 2, 1, axis=-1)
    )


def of(root, name, split, *keys):
    (folder,) = {file.parent for file in (root / name).glob("**/dataset_info.json")}
    records = pipeline.RecordDataset(folder, split, keys=keys)
    return records.rows(np.arange(len(records)))


def test_human36m(root):
    source = make(root, sets=("human36m",), train_split="validation")
    batch, own = (
        every(source),
        of(
            root,
            "human36m",
            "validation",
            "k",
            "joints_xyz",
            "joints_uv",
            "subject",
            "action",
            "camera",
        ),
    )
    assert (
        source.eval_size == 16
        and source.skeleton.name == "body18"
        and batch["has_uv"].all()
        and batch["has_xyz"].all()
    )
    for key in ("k", "joints_xyz", "joints_uv", "subject", "action", "camera"):
        np.testing.assert_array_equal(batch[key], own[key])
    assert (
        set(batch["subject"]) == {9, 11}
        and set(batch["camera"]) == {1, 2, 3, 4}
        and batch["visible"].all()
    )
    projected = np.einsum("bij,bkj->bki", batch["k"], batch["joints_xyz"])
    uv = projected[..., :2] / projected[..., 2:]
    assert 0 < np.abs(uv - batch["joints_uv"]).max() < 3  # the lens
    middle = batch["box"][:, :2] + batch["box"][:, 2:] / 2
    np.testing.assert_allclose(middle, uv[:, 0], atol=1e-3)
    np.testing.assert_allclose(
        batch["box"][:, 2], 2000 * batch["k"][:, 0, 0] / batch["joints_xyz"][:, 0, 2], rtol=1e-5
    )
    # Cropped to a quarter more than the box and resized; the camera follows the crop.
    cut = every(
        make(
            root, sets=("human36m",), train_split="validation", crop_boxes=1.25, image_size=(64, 64)
        )
    )
    np.testing.assert_allclose(in_file(cut), own["joints_uv"], atol=1e-3)
    projected = np.einsum("bij,bkj->bki", cut["k"], cut["joints_xyz"])
    np.testing.assert_allclose(
        projected[..., :2] / projected[..., 2:],
        (uv - batch["joints_uv"]) / 1 * 0 + cut["joints_uv"],
        atol=1,
    )
    assert cut["source_from_image"][:, 0, 0].min() > 1.2 and np.all(
        (cut["joints_uv"] > -1) & (cut["joints_uv"] < 64)
    )


def test_mpi_inf_3dhp_has_poses_in_space(tmp_path):
    """Its test split is evaluated, since it has no validation."""
    rng = np.random.default_rng(3)
    k = np.array([[70, 0, 32], [0, 70, 30], [0, 0, 1]], np.float32)
    xyz = (rng.uniform(-900, 900, (18, 3)) + [0, 0, 4000]).astype(np.float32)
    one = {"id": "one", "image": np.full((64, 64, 3), 9, np.uint8), "k": k, "joints_xyz": xyz}
    one |= {"joints_uv": ((xyz / xyz[:, 2:]) @ k[:2].T).astype(np.float32), "subject": 9}
    one |= {"visible": np.arange(18) != 4}
    write(tmp_path, "mpi_inf_3dhp", {"train": [one], "test": [one]}, "sample10")
    source = make(tmp_path, sets=("mpi_inf_3dhp",), image_size=(64, 64))
    batch = every(source)
    assert source.description.startswith("frames: 1 of mpi_inf_3dhp, test;")
    assert batch["has_uv"].all() and batch["has_xyz"].all() and batch["subject"].tolist() == [9]
    np.testing.assert_array_equal(batch["joints_xyz"][0], xyz)
    np.testing.assert_array_equal(batch["labelled"][0], one["visible"])
    np.testing.assert_allclose(batch["box"][0, 2:], 2000 * 70 / xyz[0, 2], rtol=1e-5)


def test_people_with_image_positions_only(root):
    for name in ("mpii", "coco_person"):
        batch, own = (
            every(make(root, sets=(name,))),
            of(root, name, "validation", "joints_uv", "visible"),
        )
        lacks = [JOINTS.index(joint) for joint in LACKING[name]]
        assert not batch["labelled"][:, lacks].any() and not batch["joints_uv"][:, lacks].any()
        assert (
            batch["has_uv"].all() and not batch["has_xyz"].any() and not batch["joints_xyz"].any()
        )
        np.testing.assert_array_equal(batch["k"], np.broadcast_to(np.eye(3), batch["k"].shape))
        for joint, place in PLACES[name].items():
            np.testing.assert_array_equal(
                batch["labelled"][:, JOINTS.index(joint)], own["visible"][:, place]
            )
            np.testing.assert_allclose(
                in_file(batch)[:, JOINTS.index(joint)], own["joints_uv"][:, place], atol=1e-3
            )
        assert set(batch["subject"]) == set(batch["action"]) == set(batch["camera"]) == {-1}
    assert every(make(root))["head_px"].min() > 0


def test_hidden_joints_of_coco_are_labelled(root):
    batch, own = (
        every(make(root, sets=("coco_person",))),
        of(root, "coco_person", "validation", "hidden", "visible", "box"),
    )
    scale, offset = (batch["source_from_image"][:, [0, 1], at] for at in ([0, 1], [2, 2]))
    sides = batch["box"][:, 2:] * scale
    np.testing.assert_allclose(sides, 1.25 * own["box"][:, 2:], rtol=1e-4)
    middle = own["box"][:, :2] + own["box"][:, 2:] / 2
    np.testing.assert_allclose(batch["box"][:, :2] * scale + offset + sides / 2, middle, atol=1e-2)
    assert own["hidden"].any()
    assert (batch["labelled"] & ~batch["visible"]).sum() == own["hidden"][
        :, [0, *range(5, 17)]
    ].sum()


def test_the_challenge_has_no_cameras(root):
    source = make(root, sets=("human36m_challenge",))
    batch, own = every(source), of(root, "human36m_challenge", "validation", "joints_from_pelvis")
    np.testing.assert_array_equal(batch["joints_xyz"], own["joints_from_pelvis"])
    assert batch["has_xyz"].all() and not batch["has_uv"].any() and not batch["labelled"].any()
    test = every(make(root, sets=("human36m_challenge",), eval_split="test"))
    assert not test["has_xyz"].any()


def test_several_sets_in_one_source(root):
    source = make(
        root,
        sets=("human36m", "mpii", "coco_person"),
        eval_sets=("human36m/validact02",),
        train_split="validation",
    )
    assert source.description == "frames: 16 of human36m/validact02, validation; entire images"
    batch = source.train_rows(np.arange(source.train_size))
    check_batch(batch)
    assert batch["has_uv"].all() and batch["has_xyz"].sum() == 16 and source.train_size == 20
    weighted = make(root, sets=("human36m", "mpii"), weights=(1, 1), train_split="validation")
    assert (
        weighted.train_size is None
        and 20 < weighted.train_rows(np.arange(60))["has_xyz"].sum() < 40
    )
