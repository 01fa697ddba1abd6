import json
import shutil

import cv2
import numpy as np
import pytest
from etils import epath

from handjax.data.preparation import plausibility, validate
from handjax.data.sets.interhand import fake, raw

DATA = "annotations/train/InterHand2.6M_train_data.json"
CAMERA = "annotations/train/InterHand2.6M_train_camera.json"
JOINTS = "annotations/train/InterHand2.6M_train_joint_3d.json"
IMAGE = "images/train/Capture0/ROM01/cam400262/image00000.jpg"


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("interhand")
    fake.write(root, 3, seed=1)
    return epath.Path(root)


@pytest.fixture
def copy(tree, tmp_path):
    return epath.Path(shutil.copytree(tree, tmp_path / "interhand"))


def test_empty_folder_lacks_every_annotation(tmp_path):
    found = raw.missing(epath.Path(tmp_path))
    assert len(found) == 9 and found[0] == DATA
    assert all(name.split("/")[-1] in raw.LAYOUT for name in found[:3])


@pytest.mark.slow
def test_joints_lie_on_the_hands(tree):
    assert raw.missing(tree) == []
    for split in raw.COUNTS:
        found = dict(raw.samples(tree, split))
        assert len(found) == 8 and all(key == sample["id"] for key, sample in found.items())
        for sample in found.values():
            xyz, uv, seen = sample["joints_xyz"], sample["joints_uv"], sample["visible"]
            projected = (xyz[seen] / xyz[seen][:, 2:]) @ sample["k"][:2].T
            np.testing.assert_allclose(projected, uv[seen], atol=0.01)
            data = np.frombuffer(sample["image"].getvalue(), np.uint8)
            u, v = np.rint(uv[seen]).astype(int).T
            rgb = cv2.imdecode(data, cv2.IMREAD_COLOR)[v, u, ::-1].astype(float)
            share = rgb / rgb.sum(-1, keepdims=True) - np.array([224, 172, 140]) / 536
            assert seen.sum() > 15 and (np.abs(share).max(-1) < 0.04).mean() > 0.9
            assert sample["root"] == "wrist" and 700 < xyz[0, 2] < 1200
        figure = plausibility.figure_of("interhand")
        findings = validate.examine(raw.samples(tree, split).lazy, figure)
        assert not any(findings.counts[fault] for fault in validate.FAULTS)


def test_an_image_of_two_hands_is_two_samples(tree):
    names = [(key.rpartition("/")[2], s["side"]) for key, s in raw.samples(tree, "train")]
    assert names[:2] == [("image00000_right", "right")] * 2
    assert names[2:4] == [("image00001_left", "left")] * 2
    assert names[4:6] == [("image00002_right", "right"), ("image00002_left", "left")]
    both = [s["interacting"] for _, s in raw.samples(tree, "train")]
    assert both == [False] * 4 + [True] * 4


def test_joints_are_in_the_order_hand21(tree):
    """In the file, fingers run from tip to base, right before left, and wrists come last."""
    world = json.loads((tree / JOINTS).read_text())["0"]["1"]["world_coord"]
    camera = json.loads((tree / CAMERA).read_text())["0"]
    left = np.array(world)[21:] - camera["campos"]["400262"]
    own = left @ np.array(camera["camrot"]["400262"]).T
    sample = next(s for _, s in raw.samples(tree, "train") if s["side"] == "left")
    np.testing.assert_allclose(sample["joints_xyz"][0], own[20], rtol=1e-5)
    for finger in range(5):
        np.testing.assert_allclose(
            sample["joints_xyz"][1 + 4 * finger : 5 + 4 * finger],
            own[4 * finger : 4 * finger + 4][::-1],
            rtol=1e-5,
        )


def test_joints_without_a_label_are_zero(tree):
    (_, sample), *_ = raw.samples(tree, "train")
    assert not sample["visible"][4] and not sample["joints_xyz"][4].any()  # the thumb's tip
    assert not sample["joints_uv"][4].any() and sample["joints_xyz"][3].any()


def edited(name, change):
    def apply(root):
        content = json.loads((root / name).read_text())
        change(content)
        (root / name).write_text(json.dumps(content))

    return apply


def test_hands_without_a_wrist_are_left_out(copy):
    def change(content):
        content["annotations"][0]["joint_valid"][20] = 0
        for hand in content["annotations"][1:]:  # as in some releases
            hand["joint_valid"] = [[mark] for mark in hand["joint_valid"]]

    edited(DATA, change)(copy)
    found = [key for key, _ in raw.samples(copy, "train")]
    assert len(found) == 7 and not any("400262/image00000" in key for key in found)


def test_joints_without_a_label_may_be_anything(copy):
    of_joints(lambda joints: joints.__setitem__(0, [None, float("nan"), 1e9]))(copy)
    (_, sample), *_ = raw.samples(copy, "train")
    assert np.isfinite(sample["joints_xyz"]).all() and sample["visible"].sum() == 20


def test_monochrome_images_are_read(copy):
    grey = cv2.imread(str(copy / IMAGE), cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(copy / IMAGE), grey)
    (_, sample), *_ = raw.samples(copy, "train")
    assert sample["image"].getvalue() == (copy / IMAGE).read_bytes()
    assert sample["visible"].sum() == 20


def test_missing_images_are_counted(copy):
    (copy / IMAGE).unlink()
    (copy / "annotations/test/InterHand2.6M_test_joint_3d.json").unlink()
    assert raw.missing(copy) == [
        "images/train/Capture0/ROM01/cam400262: 1 of 3 images, the first image00000.jpg",
        "annotations/test/InterHand2.6M_test_joint_3d.json",
    ]


def of_hand(key, value):
    return edited(DATA, lambda content: content["annotations"][0].__setitem__(key, value))


def of_image(key, value):
    return edited(DATA, lambda content: content["images"][0].__setitem__(key, value))


def of_camera(key, value):
    return edited(CAMERA, lambda content: content["0"][key].__setitem__("400262", value))


def of_joints(change):
    return edited(JOINTS, lambda content: change(content["0"]["0"]["world_coord"]))


def cut(name):
    return lambda root: (root / name).write_bytes((root / name).read_bytes()[:-30])


@pytest.mark.parametrize(
    "damage, words",
    [
        (cut(DATA), "train_data.json: not JSON, or cut short"),
        (cut(CAMERA), "train_camera.json: not JSON, or cut short"),
        (cut(JOINTS), "train_joint_3d.json: not JSON, or cut short"),
        (lambda root: (root / JOINTS).unlink(), "train_joint_3d.json: no such file"),
        (lambda root: (root / DATA).write_text("[]"), "train_data.json: expected lists of images"),
        (edited(DATA, lambda c: c.pop("images")), "train_data.json: expected lists of images"),
        (of_hand("image_id", 99), "annotation 0: its image is not among the images"),
        (of_hand("joint_valid", [1] * 21), "annotation 0: 'joint_valid' is not 42 finite numbers"),
        (of_hand("hand_type", "both"), "annotation 0: hand_type is not right, left, interacting"),
        (of_image("file_name", "../x.jpg"), "annotation 0: names the file '../x.jpg'"),
        (of_image("file_name", 7), "1 images have no file_name"),
        (of_image("capture", 3), "capture 3, camera 400262, frame 0: 'campos' is not 3 finite"),
        (of_image("frame_idx", 77), "frame 77: 'world_coord' is not 21 x 3 finite numbers"),
        (of_camera("camrot", [[1, 0], [0, 1]]), "'camrot' is not 3 x 3 finite numbers"),
        (of_camera("focal", [-1.0, 5.0]), "a focal length below 0, or a joint behind the camera"),
        (of_camera("campos", [0.0, 3000.0, 1000.0]), "or a joint behind the camera"),
        (of_joints(lambda joints: joints.pop()), "'world_coord' is not 21 x 3 finite numbers"),
        (
            of_joints(lambda joints: joints[5].__setitem__(1, float("nan"))),
            "'world_coord' is not 21 x 3 finite numbers",
        ),
        (cut(IMAGE), "image00000.jpg.*cut short or damaged"),
        (lambda root: (root / IMAGE).unlink(), "image00000.jpg: no such file"),
    ],
)
def test_damaged_file_gives_one_line(copy, damage, words):
    damage(copy)
    with pytest.raises((ValueError, FileNotFoundError), match=words) as caught:
        list(raw.samples(copy, "train"))
    assert str(copy) in str(caught.value) and "\n" not in str(caught.value)
