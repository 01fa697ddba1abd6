import json
import shutil

import cv2
import numpy as np
import pytest
from etils import epath

from handjax.data.sets import fake_hand
from handjax.data.sets.freihand import fake, raw
from handjax.pose.skeleton import SKELETONS


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("freihand")
    fake.write(root, 2, seed=1)
    return epath.Path(root)


@pytest.fixture
def copy(tree, tmp_path):
    return epath.Path(shutil.copytree(tree, tmp_path / "freihand"))


def pixels(sample):
    data = np.frombuffer(sample["image"].getvalue(), np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_UNCHANGED)[..., ::-1].astype(float)


def on_skin(image, uv):
    """Whether joints lie on the rendered skin, whose red : green : blue is 224 : 172 : 140."""
    u, v = np.rint(uv).astype(int).T
    share = image[v, u] / image[v, u].sum(-1, keepdims=True)
    return np.abs(share - np.array([224, 172, 140]) / 536).max(-1) < 0.04


def test_empty_folder_lacks_all_labels(tmp_path):
    found = raw.missing(epath.Path(tmp_path))
    assert len(found) == 4 and all(name in raw.LAYOUT for name in found)
    assert raw.missing(epath.Path(tmp_path), only=["test"]) == found[2:]


def test_joints_lie_on_the_hand(tree):
    assert raw.missing(tree) == []
    for split, count in (("train", 8), ("test", 2)):
        found = dict(raw.samples(tree, split))
        assert len(found) == count and all(key == sample["id"] for key, sample in found.items())
        for sample in found.values():
            xyz, uv = sample["joints_xyz"], sample["joints_uv"]
            np.testing.assert_allclose((xyz / xyz[:, 2:]) @ sample["k"][:2].T, uv, atol=0.01)
            assert on_skin(pixels(sample), uv[sample["visible"]]).mean() > 0.9
            assert sample["visible"].sum() > 15 and 400 < xyz[:, 2].mean() < 900
            lengths = np.linalg.norm(np.diff(xyz[1:].reshape(5, 4, 3), axis=1), axis=-1)
            assert ((5 < lengths) & (lengths < 80)).all() and (sample["side"], sample["root"]) == (
                "right",
                "wrist",
            )


def test_the_four_images_of_a_hand_have_its_labels(tree):
    found = list(dict(raw.samples(tree, "train")).values())
    assert [sample["version"] for sample in found] == [v for v in raw.VERSIONS for _ in range(2)]
    assert [int(sample["hand"]) for sample in found] == [0, 1] * 4
    assert found[-1]["id"] == "training/00000007"
    for one, other in zip(found[:2] * 3, found[2:], strict=True):
        np.testing.assert_array_equal(one["joints_xyz"], other["joints_xyz"])
        a, b = pixels(one), pixels(other)
        skin = on_skin(a, one["joints_uv"][one["visible"]])
        # The same hand before another background.
        u, v = np.rint(one["joints_uv"][one["visible"]][skin]).astype(int).T
        assert np.abs(a[v, u] - b[v, u]).mean() < 8 < np.abs(a - b).mean()
    assert {sample["version"] for _, sample in raw.samples(tree, "test")} == {"gs"}


def test_files_have_metres_in_the_common_order(tree):
    own = np.array(json.loads((tree / "training_xyz.json").read_text()))
    (_, sample), *_ = raw.samples(tree, "train")
    assert own.shape == (2, 21, 3) and SKELETONS["hand21"].joints[8] == "index_tip"
    np.testing.assert_allclose(sample["joints_xyz"], 1000 * own[0], rtol=1e-6)


def test_missing_images_and_labels_are_listed(copy):
    (copy / "training/rgb/00000003.jpg").unlink()
    (copy / "evaluation_K.json").unlink()
    assert raw.missing(copy) == [
        "training/rgb: 1 of 8 images, the first 00000003.jpg",
        "evaluation_K.json",
    ]
    for name in ("training_K.json", "training_xyz.json"):  # of the second hand
        (copy / name).write_text(json.dumps(json.loads((copy / name).read_text())[:1]))
    assert raw.missing(copy, only=["train"]) == [
        "training/rgb: 1 of 4 images, the first 00000003.jpg",
        "training_xyz.json: a label of training/rgb/00000004.jpg; it has those of 4 images",
    ]


def edited(name, change):
    def apply(root):
        content = json.loads((root / name).read_text())
        change(content)
        (root / name).write_text(json.dumps(content))

    return apply


def joint(value):
    return edited("training_xyz.json", lambda hands: hands[1][7].__setitem__(2, value))


def cut(name):
    return lambda root: (root / name).write_bytes((root / name).read_bytes()[:-30])


IMAGE = "training/rgb/00000005.jpg"


@pytest.mark.parametrize(
    "damage, words",
    [
        (cut("training_xyz.json"), "training_xyz.json: not JSON, or cut short"),
        (cut("training_K.json"), "training_K.json: not JSON, or cut short"),
        (
            lambda root: (root / "training_K.json").write_text("{}"),
            "training_K.json: not a list with one entry per hand",
        ),
        (
            edited("training_K.json", lambda cameras: cameras.pop()),
            "training_xyz.json: 2 hands, and 1 in training_K.json",
        ),
        (edited("training_xyz.json", lambda h: h[1].pop()), "hand 1: 'xyz' is not 21 x 3 finite"),
        (joint(float("nan")), "hand 1: 'xyz' is not 21 x 3 finite"),
        (joint(600.0), "hand 1: 'xyz' is not 21 x 3 finite"),  # mm
        (joint(-0.6), "hand 1: a focal length below 0, or a joint behind the camera"),
        (joint("x"), "hand 1: 'xyz' is not 21 x 3 finite"),
        (
            edited("training_K.json", lambda cameras: cameras[1][0].__setitem__(0, -450.0)),
            "_K.json and _xyz.json, hand 1: a focal length below 0",
        ),
        (cut(IMAGE), "00000005.jpg.*cut short or damaged"),
        (lambda root: (root / IMAGE).unlink(), "00000005.jpg: no such file"),
        (
            lambda root: (root / IMAGE).write_bytes(
                fake_hand.encode(np.zeros((8, 8, 3), np.uint8), ".jpg")
            ),
            r"00000005.jpg: pixels of shape \(8, 8, 3\); expected \(224, 224, 3\)",
        ),
    ],
)
def test_damaged_file_gives_one_line(copy, damage, words):
    damage(copy)
    with pytest.raises((ValueError, FileNotFoundError), match=words) as caught:
        list(raw.samples(copy, "train"))
    assert str(copy) in str(caught.value) and "\n" not in str(caught.value)


def test_a_damaged_image_leaves_the_others_readable(copy):
    cut(IMAGE)(copy)
    refused = 0
    for _, read in raw.samples(copy, "train").lazy:
        try:
            read()
        except ValueError:
            refused += 1
    assert refused == 1
