import json
import pickle
import shutil

import cv2
import numpy as np
import pytest
from etils import epath

from handjax.data.preparation.registry import published_frames
from handjax.data.sets.ho3d import fake, raw

MANO = (0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20)
FRAME = "train/ABF10/{}/0000.{}"


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("ho3d")
    fake.write(root, 1, seed=1)
    return epath.Path(root)


@pytest.fixture
def copy(tree, tmp_path):
    return epath.Path(shutil.copytree(tree, tmp_path / "ho3d"))


def test_counts_are_by_version():
    assert published_frames("ho3d", "train", "v2") == 66034
    assert published_frames("ho3d", "test", "v3") == 20137
    assert published_frames("rhd", "test", None) == 2728


def test_empty_folder_lacks_the_lists(tmp_path):
    found = raw.missing(epath.Path(tmp_path))
    assert found == ["train.txt", "evaluation.txt", "evaluation_xyz.json"]
    assert all(name in raw.LAYOUT for name in found)


def test_joints_lie_on_the_hand_in_color_and_depth(tree):
    assert raw.missing(tree) == []
    for split, names in (("train", ["ABF10", "MC1"]), ("test", ["SM1"])):
        found = dict(raw.samples(tree, split))
        assert list(found) == [f"{raw.FOLDERS[split]}/{name}/0000" for name in names]
        for key, sample in found.items():
            xyz, uv, depth = sample["joints_xyz"], sample["joints_uv"], sample["depth"]
            assert sample["id"] == key and (sample["side"], sample["root"]) == ("right", "wrist")
            np.testing.assert_allclose((xyz / xyz[:, 2:]) @ sample["k"][:2].T, uv, atol=0.01)
            u, v = np.rint(uv).astype(int).T
            behind = xyz[:, 2] - depth[v, u, 0]
            # A unit of an eighth of a mm, rounded to mm.
            assert depth.dtype == np.uint16 and (behind > -2).all() and np.median(behind) < 40
            data = np.frombuffer(sample["image"].getvalue(), np.uint8)
            rgb = cv2.imdecode(data, cv2.IMREAD_COLOR)[v, u, ::-1].astype(float)
            share = rgb / rgb.sum(-1, keepdims=True) - np.array([224, 172, 140]) / 536
            assert (np.abs(share).max(-1) < 0.04).mean() > 0.9


def test_files_have_metres_of_opengl_in_manos_order(tree):
    own = pickle.loads((tree / FRAME.format("meta", "pkl")).read_bytes())["handJoints3D"]
    (_, sample), *_ = raw.samples(tree, "train")
    assert (own[:, 2] < 0).all()
    np.testing.assert_allclose(
        sample["joints_xyz"], (own * (1000, -1000, -1000))[list(MANO)], rtol=1e-6
    )
    chains = sample["joints_xyz"][1:].reshape(5, 4, 3)
    steps = np.linalg.norm(np.diff(chains, axis=1), axis=-1)
    assert ((5 < steps) & (steps < 80)).all()


def test_version_2_has_png_images(tmp_path):
    fake.write(tmp_path, 1, seed=2, config="v2")
    root = epath.Path(tmp_path)
    assert raw.missing(root, "v2") == [] and len(raw.missing(root, "v3")) == 3
    (_, sample), *_ = raw.samples(root, "test", "v2")
    assert sample["image"].getvalue()[1:4] == b"PNG"


def test_missing_files_are_counted(copy):
    (copy / FRAME.format("depth", "png")).unlink()
    (copy / "evaluation_xyz.json").write_text("[]")
    first, second = raw.missing(copy)
    assert first == "train/ABF10/depth: 1 of 1 .png files, the first 0000.png"
    assert "evaluation_xyz.json: 0 hands for the 1 frames of evaluation.txt" in second


def meta(name, **changes):
    def apply(root):
        path = root / name
        content = pickle.loads(path.read_bytes())
        content |= {key: change(content[key]) for key, change in changes.items()}
        path.write_bytes(pickle.dumps(content, protocol=2))

    return apply


def cut(name):
    return lambda root: (root / name).write_bytes((root / name).read_bytes()[:-40])


def text(name, content):
    return lambda root: (root / name).write_text(content)


def truth(change):
    def apply(root):
        content = json.loads((root / "evaluation_xyz.json").read_text())
        (root / "evaluation_xyz.json").write_text(json.dumps(change(content)))

    return apply


META, EVALUATION = FRAME.format("meta", "pkl"), "evaluation/SM1/meta/0000.pkl"


@pytest.mark.parametrize(
    ("split", "damage", "words"),
    [
        ("train", cut(META), "0000.pkl: .*expected a complete pickle"),
        ("train", meta(META, handJoints3D=lambda x: None), "'handJoints3D' is not 21 x 3 finite"),
        ("train", meta(META, handJoints3D=lambda x: x[:20]), "'handJoints3D' is not 21 x 3"),
        ("train", meta(META, handJoints3D=lambda x: x * np.nan), "'handJoints3D' is not 21 x 3"),
        ("train", meta(META, handJoints3D=lambda x: -x), "0000.pkl: joints behind the camera"),
        ("train", meta(META, handJoints3D=lambda x: x * 1000), "0000.pkl: joints behind .* 10 m"),
        ("train", meta(META, camMat=lambda x: x[:2]), "'camMat' is not 3 x 3 finite"),
        ("train", meta(META, camMat=lambda x: -x), "a focal length below 0"),
        ("train", lambda root: (root / META).unlink(), "0000.pkl: no such file"),
        ("train", cut(FRAME.format("rgb", "jpg")), "rgb/0000.jpg.*cut short or damaged"),
        ("train", cut(FRAME.format("depth", "png")), "depth/0000.png.*cut short or damaged"),
        ("train", text("train.txt", "ABF10\n"), "train.txt, line 1: 'ABF10'; expected"),
        ("train", text("train.txt", "../ABF10\n"), "train.txt, line 1: '../ABF10'; expected"),
        ("train", text("train.txt", "A/1\nA/1\n"), "train.txt: a frame stands twice"),
        ("test", text("evaluation_xyz.json", "{"), "evaluation_xyz.json: not JSON"),
        ("test", text("evaluation_xyz.json", "{}"), "evaluation_xyz.json: no list for the 1"),
        ("test", truth(lambda x: [x[0][:20]]), "hand 0: 'xyz' is not 21 x 3 finite numbers"),
        ("test", truth(lambda x: (np.array(x) + 0.01).tolist()), "its wrist is not that of"),
        ("test", meta(EVALUATION, handJoints3D=lambda x: x + 0.01), "its wrist is not that of"),
    ],
)
def test_damaged_file_gives_one_line(copy, split, damage, words):
    damage(copy)
    with pytest.raises((ValueError, FileNotFoundError), match=words) as caught:
        list(raw.samples(copy, split))
    assert str(copy) in str(caught.value) and "\n" not in str(caught.value)
