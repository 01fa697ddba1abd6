import io
import shutil

import cv2
import numpy as np
import pytest
from etils import epath

from handjax.data.preparation import plausibility, registry, validate
from handjax.data.preparation.registry import known_holes
from handjax.data.sets.hands2017 import fake, raw
from handjax.pose.skeleton import SKELETONS

TEXT = "training/Training_Annotation.txt"


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("hands2017")
    fake.write(root, 3, seed=1)
    return epath.Path(root)


@pytest.fixture
def copy(tree, tmp_path):
    return epath.Path(shutil.copytree(tree, tmp_path / "hands2017"))


def depth_of(sample):
    data = np.frombuffer(sample["depth"].getvalue(), np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_UNCHANGED)


def test_empty_folder_lacks_both_lists(tmp_path):
    first, second = raw.missing(epath.Path(tmp_path))
    assert first == f"{tmp_path}/{TEXT}: the list of train frames" and TEXT in raw.LAYOUT
    assert second == f"{tmp_path}/frame/BoundingBox.txt: the list of test frames"


def test_joints_are_behind_the_depth_surface(tree):
    assert raw.missing(tree) == []
    found = dict(raw.samples(tree, "train"))
    assert list(found) == [f"train/image_D0000000{i}" for i in (1, 2, 3)]
    for key, sample in found.items():
        xyz, uv, depth = sample["joints_xyz"], sample["joints_uv"], depth_of(sample)
        assert sample["id"] == key and sample["labelled"] and sample["root"] == "wrist"
        assert depth.shape == (480, 640) and depth.dtype == np.uint16
        np.testing.assert_allclose((xyz / xyz[:, 2:]) @ sample["k"][:2].T, uv, atol=0.01)
        u, v = np.rint(uv[sample["visible"]]).astype(int).T
        behind = xyz[sample["visible"], 2] - depth[v, u]
        assert sample["visible"].all() and (behind > -1).all() and np.median(behind) < 40


def test_joints_are_in_the_order_hand21(tree):
    """In the file the five bases follow the wrist, then the other joints of each finger."""
    own = np.array((tree / TEXT).read_text().split()[1:64], np.float32).reshape(21, 3)
    (_, sample), *_ = raw.samples(tree, "train")
    xyz = dict(zip(SKELETONS["hand21"].joints, sample["joints_xyz"], strict=True))
    for i, finger in enumerate(("thumb", "index", "middle", "ring", "little")):
        np.testing.assert_array_equal(xyz[f"{finger}_base"], own[1 + i])
        for part in range(3):
            np.testing.assert_array_equal(
                xyz[f"{finger}_{('mid', 'end', 'tip')[part]}"], own[6 + 3 * i + part]
            )
        chain = [xyz[f"{finger}_{part}"] for part in ("base", "mid", "end", "tip")]
        steps = np.linalg.norm(np.diff(chain, axis=0), axis=-1)
        assert ((5 < steps) & (steps < 80)).all()


def test_test_frames_have_no_joints_and_no_fault(tree):
    found = dict(raw.samples(tree, "test"))
    assert list(found) == [f"test/image_D0000000{i}" for i in (1, 2, 3)]
    for sample in found.values():
        assert not sample["labelled"] and not sample["joints_xyz"].any()
        assert not sample["visible"].any() and depth_of(sample).any()
    figure = plausibility.figure_of("hands2017")
    findings = validate.examine(raw.samples(tree, "test").lazy, figure)
    assert plausibility.refusal(findings) == ""
    assert not any(findings.counts[fault] for fault in validate.FAULTS)


def test_frames_of_2019_have_the_same_form(tree, tmp_path):
    """Files of their own, and lines that end in a tab; the fakes show the hands of 2017."""
    first, second = raw.missing(epath.Path(tmp_path), "hands2019")
    assert first == f"{tmp_path}/training_joint_annotation.txt: the list of train frames"
    assert second == f"{tmp_path}/test_bbs.txt: the list of test frames"
    assert raw.missing(tree, "hands2019") == [] and raw.splits(tree, "hands2019") == raw.splits(
        tree
    )
    assert (tree / "training_joint_annotation.txt").read_text().split("\n")[0].endswith("\t")
    assert registry.published_frames("hands2017", "train", "hands2019") == 175951
    for split in raw.splits(tree):
        old, new = (dict(raw.samples(tree, split, config)) for config in raw.CONFIGS)
        assert list(old) == list(new)
        for key, sample in new.items():
            assert sample["depth"].getvalue() == old[key]["depth"].getvalue()
            np.testing.assert_array_equal(sample["joints_xyz"], old[key]["joints_xyz"])
            assert sample["labelled"] == (split == "train")
    (tree / "training_images" / "image_D00000001.png").rename(tmp_path / "moved.png")
    lacks = raw.missing(tree, "hands2019")
    (tmp_path / "moved.png").rename(tree / "training_images" / "image_D00000001.png")
    assert lacks == [
        f"{tree}/training_images/image_D00000001.png: 1 of 3 depth frames, the first of them"
    ]


def test_joints_outside_the_image_are_not_visible(copy):
    lines = (copy / TEXT).read_text().split("\n")
    name, _, *rest = lines[0].split("\t")
    lines[0] = "\t".join([name, "-900.0", *rest])
    (copy / TEXT).write_text("\n".join(lines))
    (_, sample), *_ = raw.samples(copy, "train")
    assert sample["visible"].tolist() == [False] + [True] * 20


def test_centers_are_optional(copy):
    found = [sample for _, sample in raw.samples(copy, "train")]
    assert [bool(sample["center_valid"]) for sample in found] == [True, True, False]
    assert np.linalg.norm(found[1]["center_xyz"] - found[1]["joints_xyz"].mean(0)) < 0.1
    (copy / "center_train_refined.txt").unlink()
    assert not any(sample["center_valid"] for _, sample in raw.samples(copy, "train"))


def test_few_training_frames_may_lack_their_image(copy, monkeypatch):
    (copy / "training/images/image_D00000002.png").unlink()
    assert raw.missing(copy) == [
        f"{copy}/training/images/image_D00000002.png: 1 of 3 depth frames, the first of them"
    ]
    monkeypatch.setattr(raw, "_MAY_LACK", 0.4)
    assert raw.missing(copy) == []
    found = dict(raw.samples(copy, "train"))
    assert list(found) == ["train/image_D00000001", "train/image_D00000003"]
    assert not found["train/image_D00000003"]["center_valid"]  # centers stay with their lines
    holes = known_holes("hands2017", copy, "train", None)
    assert holes == {"train/image_D00000002": "no image, as in other copies"}
    (copy / "frame/images/image_D00000001.png").unlink()
    assert len(raw.missing(copy)) == 1 and known_holes("hands2017", copy, "test", None) == {}


def line(change):
    def apply(root):
        lines = (root / TEXT).read_text().split("\n")
        lines[1] = change(lines[1])
        (root / TEXT).write_text("\n".join(lines))

    return apply


def word(i, value):
    return line(lambda old: "\t".join([*(old.split("\t")[:i]), *value, *old.split("\t")[i + 1 :]]))


IMAGE = "training/images/image_D00000002.png"


def image(change):
    return lambda root: (root / IMAGE).write_bytes(change((root / IMAGE).read_bytes()))


def encoded(pixels):
    return cv2.imencode(".png", pixels)[1].tobytes()


@pytest.mark.parametrize(
    "damage, words",
    [
        (lambda root: (root / TEXT).write_text(""), "Annotation.txt: empty"),
        (line(lambda old: ""), "Annotation.txt, line 2: starts with ''; expected the name"),
        (
            lambda root: (root / TEXT).write_bytes(b"\xff" + (root / TEXT).read_bytes()),
            "Annotation.txt, line 1: not UTF-8 text",
        ),
        (line(lambda old: old[:60]), "line 2: . numbers after the name; expected x y z of 21"),
        (word(0, ["../x.png"]), "line 2: starts with '../x.png'"),
        (word(0, ["image_D00000001.png"]), "line 2: image_D00000001.png a second time"),
        (word(5, ["nan"]), "line 2: .* has NaN or Inf"),
        (word(5, ["l0"]), "line 2: .* is not a number"),
        (word(6, ["-300"]), "line 2: a joint is behind the camera"),
        (word(5, []), "line 2: 62 numbers after the name; expected x y z of 21 joints"),
        (image(lambda data: data[:-40]), "image_D00000002.png: .*cut short or damaged"),
        (image(lambda data: b""), "image_D00000002.png: an empty file"),
        (image(lambda data: encoded(np.ones((9, 9), np.uint16))), "9 x 9 pixels; expected 640"),
        (image(lambda data: encoded(np.ones((480, 640), np.uint8))), "PNG of 8 bits"),
        (
            lambda root: (root / "center_train_refined.txt").write_text("1 2 300\n"),
            "1 lines for 3 frames",
        ),
    ],
)
def test_damaged_file_gives_one_line(copy, damage, words):
    damage(copy)
    with pytest.raises((ValueError, FileNotFoundError), match=words) as caught:
        list(raw.samples(copy, "train"))
    assert str(copy) in str(caught.value) and "\n" not in str(caught.value)


def test_depth_is_the_file_unchanged(tree):
    (_, sample), *_ = raw.samples(tree, "train")
    file = tree / "training/images/image_D00000001.png"
    assert isinstance(sample["depth"], io.BytesIO)
    assert sample["depth"].getvalue() == file.read_bytes()
