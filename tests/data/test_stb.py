import io
import shutil

import cv2
import numpy as np
import pytest
import scipy.io
from etils import epath

from handjax.data import fake_hand
from handjax.data.stb import fake, raw
from handjax.pose.skeleton import ORDERS


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("stb")
    fake.write(root, 1, seed=1)
    return epath.Path(root)


@pytest.fixture
def copy(tree, tmp_path):
    return epath.Path(shutil.copytree(tree, tmp_path / "stb"))


def project(xyz, k):
    return (xyz / xyz[..., 2:]) @ np.asarray(k)[:2].T


def pixels(file):
    return cv2.imdecode(np.frombuffer(file.getvalue(), np.uint8), cv2.IMREAD_UNCHANGED)[..., ::-1]


def on_skin(file, uv):
    """Which joints lie on the fake's skin, whose red, green and blue are as 224 : 172 : 140."""
    u, v = np.rint(uv).astype(int).T
    rgb = pixels(file)[v, u].astype(float)
    return np.abs(rgb / rgb.sum(axis=-1, keepdims=True) - np.array([224, 172, 140]) / 536).max(axis=-1) < 0.02


def test_the_protocol_splits_by_background():
    assert {split: 1500 * len(names) for split, names in raw.SEQUENCES.items()} == raw.COUNTS
    assert not set(raw.SEQUENCES["train"]) & set(raw.SEQUENCES["test"])


@pytest.mark.parametrize("config", raw.CONFIGS)
def test_an_empty_folder_lacks_every_sequence(tmp_path, config):
    found = raw.missing(epath.Path(tmp_path), config)
    assert len(found) == 12 and found[0] == f"labels/B1Counting_{config.upper()}.mat" and found[0] in raw.LAYOUT


def test_both_stereo_pictures_see_the_joints(tree):
    assert raw.missing(tree, "bb") == []
    for split, count in (("train", 10), ("test", 2)):
        found = dict(raw.samples(tree, split, "bb"))
        assert len(found) == count and all(key == sample["id"] for key, sample in found.items())
        for sample in found.values():
            np.testing.assert_allclose(project(sample["joints_xyz"], sample["k"]), sample["joints_uv"], atol=0.01)
            assert on_skin(sample["image"], sample["joints_uv"]).all()
            assert on_skin(sample["image_right"], sample["joints_uv_right"]).all()
            # What the two pictures differ by is the depth: f b / z.
            disparity = sample["joints_uv"] - sample["joints_uv_right"]
            np.testing.assert_allclose(822.79041 * 120.054 / disparity[:, 0], sample["joints_xyz"][:, 2], rtol=1e-4)
            np.testing.assert_allclose(disparity[:, 1], 0, atol=1e-4)


def test_the_sensors_depth_and_color_see_the_joints_each_with_its_own_camera(tree):
    assert raw.missing(tree, "sk") == []
    for _, sample in raw.samples(tree, "test", "sk"):
        for lead, k in (("", raw.COLOR_K), ("sensor_", raw.DEPTH_K)):
            np.testing.assert_allclose(sample[f"{lead}k"], np.array(k), rtol=1e-6)
            np.testing.assert_allclose(project(sample[f"{lead}joints_xyz"], k), sample[f"{lead}joints_uv"], atol=0.01)
        assert on_skin(sample["image"], sample["joints_uv"]).all() and sample["visible"].all()
        # Taken for the color camera's, the depth camera's joints are 24 mm beside: not on the skin any more.
        assert not on_skin(sample["image"], project(sample["sensor_joints_xyz"], raw.COLOR_K)).all()
        u, v = np.rint(sample["sensor_joints_uv"]).astype(int).T
        behind = sample["sensor_joints_xyz"][:, 2] - sample["sensor_depth"][v, u, 0]
        assert (behind > 0).all() and np.median(behind) < 40


def test_depth_to_color_undoes_the_authors_transform():
    points = np.random.default_rng(0).uniform(-200, 200, (5, 21, 3)) + [0, 0, 500]
    (x, y, z), translation = raw.COLOR_TO_DEPTH
    angle = np.sqrt(x * x + y * y + z * z)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) / angle
    rotation = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    np.testing.assert_allclose(raw.depth_to_color(points @ rotation.T + translation), points, atol=1e-9)


def test_joints_are_those_of_a_left_hand_in_the_common_order(tree):
    _, sample = next(raw.samples(tree, "test", "bb"))
    own = scipy.io.loadmat(io.BytesIO((tree / "labels/B1Counting_BB.mat").read_bytes()))["handPara"][..., 0].T
    assert (sample["side"], sample["root"]) == ("left", ORDERS["stb"].root) == ("left", "palm")
    xyz = sample["joints_xyz"]
    np.testing.assert_allclose(xyz[0], own[0], rtol=1e-6)
    for finger in range(5):  # thumb first, which is the last of the files; each base to tip there as here
        np.testing.assert_allclose(xyz[1 + 4 * finger : 5 + 4 * finger], own[17 - 4 * finger : 21 - 4 * finger], rtol=1e-6)
    steps = np.linalg.norm(np.diff(xyz[1:].reshape(5, 4, 3), axis=1), axis=-1)
    assert (steps > 10).all() and (steps < 70).all()
    assert (np.linalg.norm(xyz[5::4] - xyz[0], axis=-1) < 80).all()  # from the palm the knuckles are near


def truncate(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])


def relabel(change):
    def harm(path):
        hands = scipy.io.loadmat(io.BytesIO(path.read_bytes()))["handPara"]
        file = io.BytesIO()
        scipy.io.savemat(file, change(hands))
        path.write_bytes(file.getvalue())

    return harm


def spoil(value):
    def change(hands):
        hands[2, 4, 0] = value
        return {"handPara": hands}

    return change


LABELS = "labels/B1Random_SK.mat"
DAMAGE = {
    "cut labels": (LABELS, truncate, "B1Random_SK.mat: .*expected a MATLAB 5 file"),
    "no labels": (LABELS, lambda p: p.write_bytes(b"nothing at all"), "B1Random_SK.mat: .*expected a MATLAB 5 file"),
    "lost labels": (LABELS, lambda p: p.unlink(), "B1Random_SK.mat: no such file"),
    "other name": (LABELS, relabel(lambda hands: {"hand": hands}), "handPara has the shape None"),
    "wrong count": (LABELS, relabel(lambda hands: {"handPara": hands[:, :20]}), r"shape \(3, 20, 1\)"),
    "text": (LABELS, relabel(lambda hands: {"handPara": np.full(hands.shape, "x", object)}), "expected a MATLAB 5 file"),
    "NaN": (LABELS, relabel(spoil(np.nan)), "B1Random_SK.mat, frame 0: joints that are not finite"),
    "behind": (LABELS, relabel(spoil(-5)), "B1Random_SK.mat, frame 0: joints .* not before the camera"),
    "cut picture": ("images/B1Random/SK_depth_0.png", truncate, "SK_depth_0.png: .*cut short"),
    "small picture": (
        "images/B1Random/SK_color_0.png",
        lambda p: p.write_bytes(fake_hand.encode(np.zeros((8, 8, 3), np.uint8))),
        r"SK_color_0.png: pixels of shape \(8, 8, 3\)",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_one_clear_line(copy, damage):
    path, harm, message = DAMAGE[damage]
    harm(copy / path)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        list(raw.samples(copy, "test", "sk"))
    assert "\n" not in str(caught.value)


def test_flipped_bytes_in_labels_never_crash(copy):
    path = copy / LABELS
    whole = path.read_bytes()
    told = 0
    for at in range(0, len(whole), 7):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        try:
            found = list(raw.samples(copy, "test", "sk"))
        except ValueError as error:
            told += 1
            assert "B1Random_SK.mat" in str(error) and "\n" not in str(error)
        else:
            assert all(np.isfinite(sample["joints_xyz"]).all() for _, sample in found)
    assert told > 10


def test_counts_that_do_not_agree_are_told(copy):
    (copy / "images/B3Random/BB_left_0.png").unlink()
    (copy / "images/B1Random/BB_right_0.png").copy(copy / "images/B1Random/BB_right_1.png")
    assert raw.missing(copy, "bb") == [
        "labels/B1Random_BB.mat: a label of BB_right_1.png; it has 1 frames",
        "images/B3Random: 1 of 1 pictures of BB_left, the first BB_left_0.png",
    ]
