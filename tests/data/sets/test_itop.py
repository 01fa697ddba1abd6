import shutil

import h5py
import numpy as np
import pytest
from etils import epath

from handjax.data.preparation import plausibility, validate
from handjax.data.sets.itop import fake, raw
from handjax.pose.skeleton import SKELETONS


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("itop")
    fake.write(root, 2, seed=1)
    return epath.Path(root)


@pytest.fixture
def copy(tree, tmp_path):
    return epath.Path(shutil.copytree(tree, tmp_path / "itop"))


def test_empty_folder_lacks_the_files_of_one_view(tmp_path):
    found = raw.missing(epath.Path(tmp_path), "side")
    assert found[0] == "ITOP_side_train_depth_map.h5" and found[0] in raw.LAYOUT
    assert len(found) == 4 and len(raw.missing(epath.Path(tmp_path), "top", ["test"])) == 2
    (tmp_path / "ITOP_side_train_labels.h5.gz").touch()
    assert "ITOP_side_train_labels.h5.gz: unpack it" in raw.missing(epath.Path(tmp_path), "side")


@pytest.mark.parametrize("view", raw.CONFIGS)
def test_joints_are_inside_the_person(tree, view):
    assert raw.missing(tree, view) == []
    figure = plausibility.figure_of("itop")
    for split in raw.COUNTS:
        found = dict(raw.samples(tree, split, view))
        assert len(found) == 2 and all(key == sample["id"] for key, sample in found.items())
        for sample in found.values():
            xyz, uv, depth = sample["joints_xyz"], sample["joints_uv"], sample["depth"]
            assert depth.shape == (240, 320, 1) and depth.dtype == np.uint16
            np.testing.assert_allclose((xyz / xyz[:, 2:]) @ sample["k"][:2].T, uv, atol=0.01)
            u, v = np.rint(uv[sample["visible"]]).astype(int).T
            behind = xyz[sample["visible"], 2] - depth[v, u, 0]
            # Depth of float16 is rounded to 2 mm.
            assert len(behind) >= 6 and (behind > 20).all() and (behind < 155).all()
        findings = validate.examine(raw.samples(tree, split, view).lazy, figure)
        assert not any(findings.counts[fault] for fault in validate.FAULTS)


def test_people_stand_upright_before_the_camera(tree):
    """y points down, and the camera above looks at heads first."""
    joints = SKELETONS["itop15"].joints
    for view in raw.CONFIGS:
        for _, sample in raw.samples(tree, "train", view):
            at = dict(zip(joints, sample["joints_xyz"], strict=True))
            down = 1 if view == "side" else 2
            for upper, lower in (("head", "neck"), ("neck", "torso"), ("torso", "left_foot")):
                assert at[upper][down] < at[lower][down]
            limb = np.linalg.norm(at["right_shoulder"] - at["right_elbow"])
            assert 150 < limb < 400 and 2000 < at["torso"][2] < 4000


def test_files_have_metres_and_y_up(tree):
    with h5py.File(tree / "ITOP_side_train_labels.h5") as file:
        own = file["real_world_coordinates"][()]
        valid = file["is_valid"][()]
    found = [sample["joints_xyz"] for _, sample in raw.samples(tree, "train", "side")]
    assert valid.tolist() == [1, 0, 1] and (np.abs(own) < 5).all()
    np.testing.assert_allclose(found, own[[0, 2]] * (1000, -1000, 1000), rtol=1e-6)


def test_frames_that_are_not_valid_are_left_out(tree):
    found = list(dict(raw.samples(tree, "test", "top")))
    assert found == ["test/04_00000", "test/06_00002"]


def test_centers_are_optional(copy):
    found = [sample for _, sample in raw.samples(copy, "train")]
    for sample in found:
        assert sample["center_valid"]
        np.testing.assert_allclose(sample["center_xyz"], sample["joints_xyz"].mean(0), atol=0.1)
    (copy / "side_view/center_train.txt").unlink()
    assert not any(sample["center_valid"] for _, sample in raw.samples(copy, "train"))


def edit(kind, key, change):
    def apply(root):
        with h5py.File(root / f"ITOP_side_train_{kind}.h5", "r+") as file:
            value = change(file[key][()])
            del file[key]
            if value is not None:
                file[key] = value

    return apply


def at(place, value):
    def change(array):
        array[place] = value
        return array

    return change


def cut(kind, share):
    def apply(root):
        path = root / f"ITOP_side_train_{kind}.h5"
        data = path.read_bytes()
        path.write_bytes(data[: int(share * len(data))])

    return apply


JOINTS = "real_world_coordinates"
DEPTH = r"ITOP_side_train_depth_map.h5"
LABELS = r"ITOP_side_train_labels.h5"


@pytest.mark.parametrize(
    "damage, words",
    [
        (cut("labels", 0.7), f"{LABELS}: .*expected a file of ITOP in HDF5"),
        (cut("depth_map", 0.7), f"{DEPTH}.*: .*expected a file of ITOP in HDF5"),
        (cut("depth_map", 0.0), f"{DEPTH}: .*expected a file of ITOP in HDF5"),
        (lambda root: (root / DEPTH).unlink(), f"{DEPTH}: no such file; expected depth"),
        (lambda root: (root / LABELS).unlink(), f"{LABELS}: no such file; expected the labels"),
        (edit("labels", "is_valid", lambda x: None), f"{LABELS}: .*is_valid"),
        (edit("labels", "is_valid", lambda x: x[:2]), f"{LABELS}: is_valid is uint8 of shape"),
        (edit("labels", JOINTS, lambda x: x[:, :14]), f"{LABELS}: {JOINTS} is float32 of shape"),
        (edit("labels", JOINTS, at((2, 3, 0), np.nan)), "1 valid frames have joints .*02_00002"),
        (edit("labels", JOINTS, lambda x: 1000 * x), "2 valid frames .*00_00000; expected metres"),
        (edit("labels", JOINTS, at((0, 3, 2), -1)), "1 valid frames .*behind the camera"),
        (edit("labels", "id", at(0, b"02_00002")), f"{LABELS}: ids that stand twice"),
        (edit("labels", "id", lambda x: np.arange(3)), f"{LABELS}: id of type int64"),
        (edit("depth_map", "id", at(0, b"09_00000")), f"{DEPTH}: 3 frames, and 3 in {LABELS}"),
        (edit("depth_map", "data", lambda x: x[:2]), f"{DEPTH}: data of shape .*of 3 frames"),
        (edit("depth_map", "data", lambda x: x[..., :9]), f"{DEPTH}: data of shape"),
        (edit("depth_map", "data", at((0, 5, 5), 900.0)), "frame 0: depth beyond 65 m"),
        (
            lambda root: (root / "side_view/center_train.txt").write_text("1 2 3\n"),
            "center_train.txt: 1 lines for 3 frames",
        ),
    ],
)
def test_damaged_file_gives_one_line(copy, damage, words):
    damage(copy)
    with pytest.raises((ValueError, FileNotFoundError), match=words) as caught:
        list(raw.samples(copy, "train", "side"))
    assert str(copy) in str(caught.value) and "\n" not in str(caught.value)


def test_labels_of_frames_that_are_not_valid_may_be_anything(copy):
    edit("labels", JOINTS, at(1, np.nan))(copy)
    edit("depth_map", "data", at((0, 0, 0), np.nan))(copy)
    (_, first), second = raw.samples(copy, "train", "side")
    assert first["depth"][0, 0, 0] == 0 and np.isfinite(second[1]["joints_xyz"]).all()
