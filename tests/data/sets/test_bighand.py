import shutil

import cv2
import numpy as np
import pytest
from etils import epath

from handjax.data.preparation import plausibility, validate
from handjax.data.preparation.registry import known_holes
from handjax.data.sets.bighand import fake, raw
from handjax.pose.skeleton import SKELETONS

TEXT = "full_annotation/Subject_1/1 75_loc_shift_made_by_qi_20180112_v2.txt"
IMAGE = "Subject_1/1 75/image_D00000001.png"


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("bighand")
    fake.write(root, 3, seed=1)
    return epath.Path(root)


@pytest.fixture
def copy(tree, tmp_path):
    return epath.Path(shutil.copytree(tree, tmp_path / "bighand"))


def depth_of(sample):
    data = np.frombuffer(sample["depth"].getvalue(), np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_UNCHANGED)


def test_empty_folder_lacks_the_labels(tmp_path):
    (line,) = raw.missing(epath.Path(tmp_path))
    assert line.startswith(f"{tmp_path}/full_annotation/Subject_1: the labels of a person")
    assert raw.splits(epath.Path(tmp_path)) == ()
    (line,) = raw.missing(epath.Path(tmp_path), only=["Subject_3"])
    assert line == f"{tmp_path}/full_annotation/Subject_3: the label files of a person"


def test_joints_are_behind_the_depth_surface(tree):
    assert raw.missing(tree) == [] and raw.splits(tree) == ("Subject_1", "Subject_2")
    found = dict(raw.samples(tree, "Subject_1"))
    keys = [f"Subject_1/{view}/0000000{i}" for view in ("1 75", "ego") for i in range(3)]
    assert list(found) == keys
    for key, sample in found.items():
        xyz, uv, depth = sample["joints_xyz"], sample["joints_uv"], depth_of(sample)
        assert sample["id"] == key and sample["viewpoint"] == key.split("/")[1]
        assert depth.shape == (480, 640) and depth.dtype == np.uint16
        np.testing.assert_allclose((xyz / xyz[:, 2:]) @ sample["k"][:2].T, uv, atol=0.01)
        u, v = np.rint(uv[sample["visible"]]).astype(int).T
        behind = xyz[sample["visible"], 2] - depth[v, u]
        assert sample["visible"].all() and (behind > -1).all() and np.median(behind) < 40
    figure = plausibility.figure_of("bighand")
    findings = validate.examine(raw.samples(tree, "Subject_1").lazy, figure)
    assert plausibility.refusal(findings) == ""
    assert not any(findings.counts[fault] for fault in validate.FAULTS)


def test_joints_are_in_the_order_hand21(tree):
    """In the file the five bases follow the wrist, then the other joints of each finger."""
    own = np.array((tree / TEXT).read_text().split()[1:64], np.float32).reshape(21, 3)
    (_, sample), *_ = raw.samples(tree, "Subject_1")
    xyz = dict(zip(SKELETONS["hand21"].joints, sample["joints_xyz"], strict=True))
    np.testing.assert_array_equal(xyz["wrist"], own[0])
    for i, finger in enumerate(("thumb", "index", "middle", "ring", "little")):
        np.testing.assert_array_equal(xyz[f"{finger}_base"], own[1 + i])
        for part, name in enumerate(("mid", "end", "tip")):
            np.testing.assert_array_equal(xyz[f"{finger}_{name}"], own[6 + 3 * i + part])


def change(copy, i, words):
    """Line `i` of a label file with other words; `words` maps the old ones."""
    lines = (copy / TEXT).read_text().split("\n")
    lines[i] = "\t".join(words(lines[i].split("\t")))
    (copy / TEXT).write_text("\n".join(lines))


def test_labels_that_repeat_are_left_out(copy):
    first = (copy / TEXT).read_text().split("\n")[0].split("\t")
    change(copy, 1, lambda old: [old[0], *first[1:]])
    found = [key for key, _ in raw.samples(copy, "Subject_1")]
    assert "Subject_1/1 75/00000001" not in found and len(found) == 5
    holes = known_holes("bighand", copy, "Subject_1", None)
    assert holes == {"Subject_1/1 75/00000001": "its label repeats the one before"}


def test_few_frames_may_lack_their_image(copy, monkeypatch):
    (copy / IMAGE).unlink()
    assert raw.missing(copy) == [f"{copy}/{IMAGE}: 1 of 3 depth frames, the first of them"]
    monkeypatch.setattr(raw, "_MAY_LACK", 0.4)
    assert raw.missing(copy) == []
    assert len(list(raw.samples(copy, "Subject_1"))) == 5
    holes = known_holes("bighand", copy, "Subject_1", None)
    assert holes == {"Subject_1/1 75/00000001": "no image, as in other copies"}


def test_other_forms_of_a_line_are_read(copy):
    """Blanks instead of tabs, and names of images instead of numbers."""
    before = dict(raw.samples(copy, "Subject_1"))
    text = (copy / TEXT).read_text().replace("\t", " \t ")
    (copy / TEXT).write_text(text.replace("00000001 ", "image_D00000001.png ", 1))
    after = dict(raw.samples(copy, "Subject_1"))
    assert list(before) == list(after)
    for key, sample in before.items():
        np.testing.assert_array_equal(sample["joints_xyz"], after[key]["joints_xyz"])


def encoded(pixels):
    return cv2.imencode(".png", pixels)[1].tobytes()


@pytest.mark.parametrize(
    "damage, words",
    [
        (lambda root: (root / TEXT).write_text(""), "_v2.txt: empty"),
        (lambda root: change(root, 1, lambda old: [""]), "line 2: starts with ''; expected the n"),
        (lambda root: (root / TEXT).write_bytes(b"\xff"), "line 1: not UTF-8 text"),
        (lambda root: change(root, 1, lambda old: old[:9]), "line 2: 8 numbers after the name"),
        (lambda root: change(root, 1, lambda old: ["x", *old[1:]]), "line 2: starts with 'x'"),
        (
            lambda root: change(root, 1, lambda old: ["00000000", *old[1:]]),
            "line 2: frame 00000000 a second time",
        ),
        (lambda root: change(root, 1, lambda old: [*old[:5], "nan", *old[6:]]), "line 2: .* NaN"),
        (lambda root: change(root, 1, lambda old: [*old[:3], "-9", *old[4:]]), "behind the camera"),
        (lambda root: (root / IMAGE).write_bytes(b""), "00000001.png: an empty file"),
        (
            lambda root: (root / IMAGE).write_bytes((root / IMAGE).read_bytes()[:-40]),
            "00000001.png: .*cut short or damaged",
        ),
        (
            lambda root: (root / IMAGE).write_bytes(encoded(np.ones((9, 9), np.uint16))),
            "9 x 9 pixels; expected 640 x 480",
        ),
    ],
)
def test_damaged_file_gives_one_line(copy, damage, words):
    damage(copy)
    with pytest.raises((ValueError, FileNotFoundError), match=words) as caught:
        list(raw.samples(copy, "Subject_1"))
    assert str(copy) in str(caught.value) and "\n" not in str(caught.value)


def test_depth_is_the_file_unchanged(tree):
    found = dict(raw.samples(tree, "Subject_1"))
    data = found["Subject_1/1 75/00000001"]["depth"].getvalue()
    assert data == (tree / IMAGE).read_bytes()
