import os
import shutil

import cv2
import numpy as np
import pytest
from etils import epath

from handjax.data.sets.dexycb import fake, raw

FIRST = "20200709-subject-01/20200709_140019/836212060125"


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("dexycb")
    fake.write(root, 1, seed=1)
    return epath.Path(root)


@pytest.fixture
def person(tree, tmp_path):
    """A folder of a test alone with the first person, which the validation of s0 needs."""
    for name in ("calibration", raw.PEOPLE[0]):
        shutil.copytree(tree / name, tmp_path / name)
    os.symlink(tree / raw.PEOPLE[1], tmp_path / raw.PEOPLE[1])
    return epath.Path(tmp_path)


def decoded(file):
    return cv2.imdecode(np.frombuffer(file.getvalue(), np.uint8), cv2.IMREAD_UNCHANGED)


def frames(root, split, config):
    """Keys of the labelled frames, without reading their images."""
    return [key for key, _ in raw.samples(root, split, config).lazy]


def test_splits_are_those_of_the_toolkit():
    """Sizes by people, cameras and sequences, as dex_ycb.py lists them."""
    sizes = {
        (config, split): tuple(len(part) for part in parts)
        for config, splits in raw.CONFIGS.items()
        for split, parts in splits.items()
    }
    assert sizes == {
        ("s0", "train"): (10, 8, 80),
        ("s0", "validation"): (2, 8, 20),
        ("s0", "test"): (8, 8, 20),
        ("s1", "train"): (7, 8, 100),
        ("s1", "validation"): (1, 8, 100),
        ("s1", "test"): (2, 8, 100),
        ("s2", "train"): (10, 6, 100),
        ("s2", "validation"): (10, 1, 100),
        ("s2", "test"): (10, 1, 100),
        ("s3", "train"): (10, 8, 75),
        ("s3", "validation"): (10, 8, 10),
        ("s3", "test"): (10, 8, 15),
    }
    for splits in raw.CONFIGS.values():
        parts = [
            {(p, c, s) for p in part.people for c in part.cameras for s in part.sequences}
            for part in splits.values()
        ]
        assert sum(map(len, parts)) == len(set().union(*parts)) == 8000
    assert raw.CONFIGS["s0"]["test"].sequences[:3] == (4, 9, 14)
    assert raw.CONFIGS["s3"]["test"].sequences[:6] == (35, 36, 37, 38, 39, 55)


@pytest.mark.slow
def test_every_configuration_splits_the_frames_in_its_way(tree):
    every = set()
    for config, splits in raw.CONFIGS.items():
        keys = [frames(tree, split, config) for split in splits]
        assert all(keys) and sum(map(len, keys)) == len(set().union(*keys)) == 31, config
        every |= set().union(*keys)
        assert raw.missing(tree, config) == []
    assert len(every) == 31  # four sequences, eight cameras; one frame has no label
    assert {key.split("/")[2] for key in frames(tree, "test", "s2")} == {raw.CAMERAS[7]}
    assert {key.split("/")[0] for key in frames(tree, "test", "s1")} == {raw.PEOPLE[7]}


@pytest.mark.slow
def test_joints_lie_on_the_hand_in_color_and_depth(tree):
    found = dict(raw.samples(tree, "validation", "s0"))
    assert len(found) == 8 and next(iter(found)) == f"{FIRST}/000000"
    for camera, (key, sample) in enumerate(found.items()):
        xyz, uv, depth = sample["joints_xyz"], sample["joints_uv"], decoded(sample["depth"])
        assert (sample["id"], sample["subject"], sample["camera"]) == (key, 1, camera)
        assert (sample["side"], sample["root"]) == ("right", "wrist") and sample["visible"].all()
        np.testing.assert_allclose((xyz / xyz[:, 2:]) @ sample["k"][:2].T, uv, atol=0.01)
        u, v = np.rint(uv).astype(int).T
        behind = xyz[:, 2] - depth[v, u]
        assert depth.dtype == np.uint16 and (behind > -1).all() and np.median(behind) < 40
        rgb = decoded(sample["image"])[v, u, ::-1].astype(float)
        skin = np.abs(rgb / rgb.sum(-1, keepdims=True) - np.array([224, 172, 140]) / 536).max(-1)
        assert (skin < 0.04).mean() > 0.9


def test_files_have_metres(tree):
    with np.load(tree / FIRST / "labels_000000.npz") as label:
        own = label["joint_3d"][0]
    (_, read), *_ = raw.samples(tree, "validation", "s0").lazy
    np.testing.assert_allclose(read()["joints_xyz"], 1000 * own, rtol=1e-6)


def test_frames_without_a_label_are_left_out(tree):
    names = frames(tree, "validation", "s1")
    assert len(names) == 7 and not any(raw.CAMERAS[7] in name for name in names)


def test_left_hands_are_not_mirrored(person):
    meta = person / FIRST.rpartition("/")[0] / "meta.yml"
    (_, before), *_ = raw.samples(person, "validation", "s0").lazy
    meta.write_text(meta.read_text().replace("- right", "- left"))
    (_, after), *_ = raw.samples(person, "validation", "s0").lazy
    assert (before()["side"], after()["side"]) == ("right", "left")
    np.testing.assert_array_equal(before()["joints_xyz"], after()["joints_xyz"])


def test_missing_files_are_listed(person):
    (person / FIRST / "color_000000.jpg").unlink()
    (person / "calibration/intrinsics/839512060362_640x480.yml").unlink()
    assert raw.missing(person, "s0", ["validation"]) == [
        "calibration/intrinsics/839512060362_640x480.yml",
        f"{FIRST}: 1 of 3 files, the first color_000000.jpg",
    ]
    shutil.rmtree(person / raw.PEOPLE[0] / "20200709_140000")
    words = "99 sequences; expected all 100, as their order makes the splits"
    assert f"{person / raw.PEOPLE[0]}: {words}" in raw.missing(person, "s0", ["validation"])
    lines = raw.missing(person / "nothing", "s0")
    assert len(lines) == 8 + 10 and "0 sequences" in lines[-1]


LABEL, META = f"{FIRST}/labels_000000.npz", f"{FIRST.rpartition('/')[0]}/meta.yml"
CAMERA = "calibration/intrinsics/836212060125_640x480.yml"


def label(**changes):
    def apply(root):
        with np.load(root / LABEL) as content:
            arrays = dict(content)
        for name, change in changes.items():
            arrays[name] = change(arrays[name])
        np.savez_compressed(root / LABEL, **{k: v for k, v in arrays.items() if v is not None})

    return apply


def text(path, old, new):
    def apply(root):
        content = (root / path).read_text()
        assert old in content
        (root / path).write_text(content.replace(old, new))

    return apply


def cut(path):
    return lambda root: (root / path).write_bytes((root / path).read_bytes()[:-50])


def nan(array):
    array[0, 3, 1] = np.nan
    return array


@pytest.mark.parametrize(
    "damage, words",
    [
        (cut(LABEL), "labels_000000.npz: .*; expected joint_3d and joint_2d"),
        (lambda root: (root / LABEL).unlink(), "labels_000000.npz: no such file"),
        (lambda root: (root / LABEL).write_bytes(b""), "labels_000000.npz: .*copy it again"),
        (label(joint_3d=lambda x: None), "labels_000000.npz: .*joint_3d"),
        (label(joint_3d=lambda x: x[:, :20]), r"joint_3d is float32 of shape \(1, 20, 3\)"),
        (label(joint_3d=nan), "labels_000000.npz: joints that are not finite"),
        (label(joint_2d=nan), "labels_000000.npz: joints that are not finite"),
        (label(joint_3d=lambda x: 1000 * x), "10 m away; expected metres"),
        (label(joint_3d=lambda x: -x), "behind the camera"),
        (label(joint_3d=lambda x: x.astype(int)), "joint_3d is int64"),
        (text(META, "num_frames: 1", "num_frames: -1"), "meta.yml: num_frames is -1"),
        (text(META, "num_frames: 1", "num_frames: yes"), "meta.yml: num_frames is True"),
        (text(META, "- right", "- both"), "meta.yml: mano_sides is .'both'"),
        (text(META, "num_frames: 1", "num_frames: [1"), "meta.yml: not YAML"),
        (text(META, "num_frames: 1", "a: !!python/object/apply:os.abort []"), "meta.yml: not YAML"),
        (lambda root: (root / META).unlink(), "meta.yml: no such file"),
        (lambda root: (root / META).write_text("- 1"), "meta.yml: not YAML with names and values"),
        (text(CAMERA, "fx", "f"), "836212060125_640x480.yml: expected color with fx"),
        (text(CAMERA, "614.0", ".nan"), "836212060125_640x480.yml: expected color with fx"),
        (lambda root: (root / CAMERA).unlink(), "836212060125_640x480.yml: no such file"),
        (cut(f"{FIRST}/color_000000.jpg"), "color_000000.jpg.*cut short or damaged"),
        (cut(f"{FIRST}/aligned_depth_to_color_000000.png"), "color_000000.png.*cut short"),
        (
            lambda root: shutil.copy(
                root / FIRST / "color_000000.jpg",
                root / FIRST / "aligned_depth_to_color_000000.png",
            ),
            "aligned_depth_to_color_000000.png: a JPEG",
        ),
        (
            lambda root: (root / FIRST / "color_000000.jpg").write_bytes(
                cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
            ),
            r"color_000000.jpg: pixels of shape \(8, 8, 3\); expected 640 x 480",
        ),
    ],
)
def test_damaged_file_gives_one_line(person, damage, words):
    damage(person)
    with pytest.raises((ValueError, FileNotFoundError), match=words) as caught:
        for _, read in raw.samples(person, "validation", "s0").lazy:
            read()
            break
    assert str(person) in str(caught.value) and "\n" not in str(caught.value)


def test_a_damaged_label_leaves_the_others_readable(person):
    cut(LABEL)(person)
    refused = []
    for key, read in raw.samples(person, "validation", "s0").lazy:
        try:
            read()
        except ValueError:
            refused.append(key)
    assert refused == [f"{FIRST}/000000"]
