import shutil

import cv2
import h5py
import numpy as np
import pytest
import scipy.io
from etils import epath

from handjax.data.preparation import plausibility, validate
from handjax.data.preparation.registry import known_holes
from handjax.data.sets.mpi_inf_3dhp import fake, raw
from handjax.pose.skeleton import SKELETONS

SEQUENCE, TEST = "S1/Seq1", "mpi_inf_3dhp_test_set/TS1"
FRAME = f"{SEQUENCE}/imageFrames/video_0/frame_000001.jpg"


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("mpi_inf_3dhp")
    fake.write(root, 1, seed=1)
    return epath.Path(root)


@pytest.fixture
def few(tree, tmp_path, monkeypatch):
    """A folder of a test alone with one sequence of each split."""
    for name in (SEQUENCE, TEST):
        shutil.copytree(tree / name, tmp_path / name)
    monkeypatch.setattr(raw, "PEOPLE", range(1, 2))
    monkeypatch.setattr(raw, "SEQUENCES", (1,))
    monkeypatch.setattr(raw, "TEST", range(1, 2))
    return epath.Path(tmp_path)


def test_empty_folder_lacks_every_label(tmp_path):
    found = raw.missing(epath.Path(tmp_path))
    assert len(found) == 2 * 16 + 6 and found[0] == f"{SEQUENCE}/annot.mat"
    assert found[-1] == "mpi_inf_3dhp_test_set/TS6/annot_data.mat"


@pytest.mark.slow
def test_every_sequence_and_camera_is_read(tree):
    assert raw.missing(tree) == []
    keys = {split: [key for key, _ in raw.samples(tree, split).lazy] for split in raw.COUNTS}
    assert (len(keys["train"]), len(keys["test"])) == (16 * 8, 6)
    assert keys["train"][0] == f"{SEQUENCE}/imageFrames/video_0/frame_000001"
    assert keys["test"][0] == f"{TEST}/imageSequence/img_000001"  # the second is not valid


def test_joints_lie_on_the_person(few):
    figure = plausibility.figure_of("mpi_inf_3dhp")
    for split, person in (("train", 1), ("test", 9)):
        _, sample = next(raw.samples(few, split))
        xyz, uv = sample["joints_xyz"], sample["joints_uv"]
        # K of the test set is fitted to the labels.
        np.testing.assert_allclose((xyz / xyz[:, 2:]) @ sample["k"][:2].T, uv, atol=0.2)
        np.testing.assert_allclose(sample["k"][0, 0], 1.1 * 160, rtol=1e-3)
        assert sample["subject"] == person and sample["visible"].all()
        data = np.frombuffer(sample["image"].getvalue(), np.uint8)
        pixels = cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1].astype(int)
        names = SKELETONS["body18"].joints
        # The rendered right side is red, the left side blue; a body may hide one of its sides.
        u, v = np.rint(uv).astype(int).T
        redder = pixels[v, u, 0] > pixels[v, u, 2]
        right = [name.startswith("right") for name in names]
        left = [name.startswith("left") for name in names]
        assert redder[right].mean() > redder[left].mean() + 0.3
        findings = validate.examine(raw.samples(few, split).lazy, figure)
        assert not any(findings.counts[fault] for fault in validate.FAULTS)


def test_joints_have_their_names(few):
    (_, sample), *_ = raw.samples(few, "train")
    own = scipy.io.loadmat(few / SEQUENCE / "annot.mat")["annot3"][0, 0].reshape(28, 3)
    at = dict(zip(SKELETONS["body18"].joints, sample["joints_xyz"], strict=True))
    # The set's own numbers, from 1: head top 8, neck 6, pelvis 5, left ankle 21, right wrist 17.
    numbers = {"head": 8, "neck": 6, "pelvis": 5, "left_ankle": 21, "right_wrist": 17, "nose": 7}
    for name, number in numbers.items():
        np.testing.assert_allclose(at[name], own[number - 1], rtol=1e-6)
    middle = (at["left_shoulder"] + at["right_shoulder"]) / 2
    np.testing.assert_allclose(at["thorax"], middle, rtol=1e-5)
    assert at["head"][1] < at["neck"][1] < at["pelvis"][1] < at["left_ankle"][1]


def test_every_tenth_frame_is_read(few):
    labels = scipy.io.loadmat(few / SEQUENCE / "annot.mat")
    for name in ("annot2", "annot3"):
        for camera in range(14):
            labels[name][camera, 0] = np.repeat(labels[name][camera, 0], 12, axis=0)
    scipy.io.savemat(few / SEQUENCE / "annot.mat", {n: labels[n] for n in ("annot2", "annot3")})
    for camera in raw.CAMERAS:
        folder = few / SEQUENCE / "imageFrames" / f"video_{camera}"
        shutil.copy(folder / "frame_000001.jpg", folder / "frame_000011.jpg")
    assert raw.missing(few, "sample10") == [] and len(raw.missing(few, "all")) == 8
    keys = [key.rpartition("/")[2] for key, _ in raw.samples(few, "train", "sample10").lazy]
    assert keys == ["frame_000001", "frame_000011"] * 8


def test_few_frames_may_be_missing(few, monkeypatch):
    (few / FRAME).unlink()
    line = f"{SEQUENCE}/imageFrames/video_0: 1 of 1 frames, the first frame_000001.jpg"
    assert raw.missing(few) == [line]
    monkeypatch.setattr(raw, "_MAY_LACK", 1.0)
    assert raw.missing(few) == [] and len(list(raw.samples(few, "train").lazy)) == 7
    key = f"{SEQUENCE}/imageFrames/video_0/frame_000001"
    assert known_holes("mpi_inf_3dhp", few, "train", None) == {key: "no image"}


def cells(name, change):
    def apply(root):
        path = root / SEQUENCE / "annot.mat"
        content = scipy.io.loadmat(path)
        for camera in range(14):
            content[name][camera, 0] = change(content[name][camera, 0])
        scipy.io.savemat(path, {key: content[key] for key in ("annot2", "annot3")})

    return apply


def dataset(key, change):
    def apply(root):
        with h5py.File(root / TEST / "annot_data.mat", "r+") as file:
            value = change(file[key][()])
            del file[key]
            file[key] = value

    return apply


def cut(name):
    return lambda root: (root / name).write_bytes((root / name).read_bytes()[:-60])


def text(old, new):
    def apply(root):
        path = root / SEQUENCE / "camera.calibration"
        path.write_text(path.read_text().replace(old, new, 1))

    return apply


@pytest.mark.parametrize(
    ("split", "damage", "words"),
    [
        ("train", cut(f"{SEQUENCE}/annot.mat"), "annot.mat: .*expected a MATLAB file"),
        ("train", lambda r: (r / SEQUENCE / "annot.mat").unlink(), "annot.mat: no such file"),
        ("train", cells("annot3", lambda x: x[:, :60]), "annot.mat: camera 0 has no numbers of 28"),
        ("train", cells("annot2", lambda x: x[:0]), "annot.mat: 0 rows of pixels and 1 of"),
        ("train", cells("annot3", lambda x: x * np.nan), "frame_000001.jpg: its label is not"),
        ("train", cells("annot3", lambda x: -x), "its label is not finite, behind the camera"),
        ("train", text("intrinsic", "extrinsic"), "camera.calibration: expected the intrinsics"),
        ("train", text("176.0", "x"), "camera.calibration: expected the intrinsics of 14 cameras"),
        ("train", text("176.0", "-176.0"), "camera.calibration: expected the intrinsics"),
        ("train", cut(FRAME), "frame_000001.jpg.*cut short or damaged"),
        ("test", cut(f"{TEST}/annot_data.mat"), "annot_data.mat: .*expected a MATLAB file"),
        ("test", dataset("annot2", lambda x: x[:, :, :16]), "annot_data.mat: annot2 .*17 joints"),
        ("test", dataset("annot2", lambda x: x[..., ::-1]), "no camera takes annot3 to annot2"),
        ("test", dataset("annot3", lambda x: x * np.nan), "no camera takes annot3 to annot2"),
        ("test", cut(f"{TEST}/imageSequence/img_000001.jpg"), "img_000001.jpg.*cut short"),
    ],
)
def test_damaged_file_gives_one_line(few, split, damage, words):
    damage(few)
    with pytest.raises((ValueError, FileNotFoundError), match=words) as caught:
        for _, read in raw.samples(few, split).lazy:
            read()
    assert str(few) in str(caught.value) and "\n" not in str(caught.value)
