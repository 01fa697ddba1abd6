import shutil

import numpy as np
import pytest
from etils import epath

from handjax.data.sets import fake_body
from handjax.data.sets.human36m_challenge import fake, raw
from handjax.pose.pinhole import project
from handjax.pose.skeleton import SKELETONS


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("challenge")
    fake.write(root, 3, seed=1)
    return epath.Path(root)


@pytest.fixture
def copy(tree, tmp_path):
    shutil.copytree(tree, tmp_path / "challenge")
    return epath.Path(tmp_path / "challenge")


@pytest.mark.parametrize("split", ["train", "validation"])
def test_pose_at_its_position_projects_onto_the_body(tree, split):
    assert raw.missing(tree) == []
    found = list(raw.samples(tree, split))
    assert [key for key, _ in found] == [f"{split}/{i:05d}" for i in (1, 2, 3)]
    for i, (key, sample) in enumerate(found, 1):
        shot = fake.scene(split, i, seed=1)
        assert (
            sample["id"] == key
            and sample["image"].getvalue() == fake_body.jpeg(shot["image"])
            and sample["visible"].all()
        )
        assert (sample["joints_from_pelvis"][0] == 0).all()
        xyz = sample["joints_from_pelvis"] + shot["joints_xyz"][0, 0]
        uv = project(xyz, shot["k"])
        np.testing.assert_allclose(uv, shot["joints_uv"][0], atol=0.01)
        u, v = np.rint(uv).astype(int).T
        behind = (xyz[:, 2] - shot["depth"][v, u]) / fake_body.RADII
        assert behind.min() > 0.3 and np.median(behind) < 2  # more where another limb is in front


def test_the_body_is_not_mirrored(tree):
    for _, sample in raw.samples(tree, "train"):
        at = dict(zip(SKELETONS["body18"].joints, sample["joints_from_pelvis"], strict=True))
        assert at["head"][1] < 0 < at["left_ankle"][1]
        assert (
            np.dot(
                np.cross(at["neck"], at["nose"] - at["neck"]),
                at["left_shoulder"] - at["right_shoulder"],
            )
            > 0
        )
        np.testing.assert_allclose(
            at["thorax"], (at["left_shoulder"] + at["right_shoulder"]) / 2, atol=1e-3
        )


def test_the_test_split_has_no_poses(tree):
    found = list(raw.samples(tree, "test"))
    assert len(found) == 3
    assert all(
        not sample["visible"].any() and not sample["joints_from_pelvis"].any()
        for _, sample in found
    )


def test_missing_files_are_listed(copy):
    (copy / "Train" / "POSE" / "00002.csv").unlink()
    (copy / "Val" / "IMG" / "00003.jpg").unlink()
    (copy / "Test").rmtree()
    assert raw.missing(copy) == [
        "Train/POSE/00002.csv: 1 of 3",
        "Val/IMG/00003.jpg: 1 of 3",
        "Test/IMG",
    ]


def changed(name, change):
    return lambda root: (root / name).write_bytes(change((root / name).read_bytes()))


POSE, IMG = "Train/POSE/00002.csv", "Train/IMG/00002.jpg"
ROWS = r"00002.csv: expected 17 rows of three finite numbers"
CORRUPT = {
    "image cut": (
        changed(IMG, lambda b: b[:2000]),
        "00002.jpg: a JPEG image; .* cut short",
    ),
    "image gone": (
        lambda r: (r / IMG).unlink(),
        "00002.jpg: no such file; expected a picture",
    ),
    "no images": (lambda r: (r / "Train/IMG").rmtree(), "Train/IMG: no images"),
    "pose gone": (lambda r: (r / POSE).unlink(), "00002.csv: no such file"),
    "pose cut": (changed(POSE, lambda b: b[:60]), ROWS),
    "a row more": (changed(POSE, lambda b: b + b"1,2,3\n"), ROWS),
    "flipped byte": (changed(POSE, lambda b: b.replace(b".", b"\xae", 1)), ROWS),
    "another letter": (changed(POSE, lambda b: b.replace(b".", b"x", 1)), ROWS),
    "nan": (changed(POSE, lambda b: b"nan" + b[b.index(b",") :]), ROWS),
    "empty": (changed(POSE, lambda b: b""), ROWS),
    "far away": (changed(POSE, lambda b: b"1e9" + b[b.index(b",") :]), ROWS),
}


@pytest.mark.parametrize("name", CORRUPT)
def test_damaged_file_gives_one_line(copy, name):
    corrupt, message = CORRUPT[name]
    corrupt(copy)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        list(raw.samples(copy, "train"))
    assert "\n" not in str(caught.value) and str(copy) in str(caught.value)
