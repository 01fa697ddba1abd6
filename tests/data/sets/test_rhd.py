import json
import pickle
import shutil

import cv2
import numpy as np
import pytest
from etils import epath

from handjax.data.sets import fake_hand
from handjax.data.sets.rhd import fake, raw
from handjax.pose.skeleton import SKELETONS


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("rhd")
    fake.write(root, 2, seed=1)
    return epath.Path(root)


@pytest.fixture
def copy(tree, tmp_path):
    return epath.Path(shutil.copytree(tree, tmp_path / "rhd"))


def project(xyz, k):
    return (xyz / xyz[..., 2:]) @ k[:2].T


def chains(joints):
    """[5, 5, c]: the wrist, then a finger from base to tip."""
    return np.stack([joints[[0, *range(first, first + 4)]] for first in range(1, 21, 4)])


def curl(xyz):
    """How far fingers bend out of the plane of wrist, index and little base; signed by the side."""
    normal = np.cross(xyz[5] - xyz[0], xyz[17] - xyz[0])
    bends = chains(xyz)[1:, 4] - chains(xyz)[1:, 1]
    return np.sum(bends @ (normal / np.linalg.norm(normal)))


def test_empty_folder_lacks_everything(tmp_path):
    assert raw.missing(epath.Path(tmp_path)) == [
        "training/anno_training.pickle",
        "evaluation/anno_evaluation.pickle",
    ]
    assert all(line.split("/")[-1] in raw.LAYOUT for line in raw.missing(epath.Path(tmp_path)))


@pytest.mark.slow
def test_both_hands_agree_with_image_mask_and_depth(tree):
    assert raw.missing(tree) == []
    for split, folder in (("train", "training"), ("test", "evaluation")):
        found = dict(raw.samples(tree, split))
        assert (
            list(found)
            == [f"{folder}/00000", f"{folder}/00001"]
            == [s["id"] for s in found.values()]
        )
        for sample in found.values():
            mask = cv2.imdecode(
                np.frombuffer(sample["segmentation"].getvalue(), np.uint8), cv2.IMREAD_UNCHANGED
            )
            assert sample["depth"].dtype == np.uint16 and sample["depth"].shape == (320, 320, 1)
            for side in range(2):
                xyz, uv, seen = (sample[f"hands_{name}"][side] for name in ("xyz", "uv", "visible"))
                np.testing.assert_allclose(project(xyz, sample["k"]), uv, atol=0.01)
                u, v = np.rint(uv[seen]).astype(int).T
                behind = xyz[seen, 2] - sample["depth"][v, u, 0]
                # Under the skin of their own hand.
                assert seen.sum() > 3 and (behind > -2).all() and (behind < 35).all()
                assert ((mask[v, u] - 2) // 16 == side).all()


@pytest.mark.slow
def test_dominant_hand_is_the_larger_one(tree):
    first, second = (sample for _, sample in raw.samples(tree, "train"))
    assert (first["side"], second["side"]) == ("right", "left")
    for sample in (first, second):
        side = ("left", "right").index(sample["side"])
        assert sample["root"] == "wrist"
        for name in ("xyz", "uv"):
            np.testing.assert_array_equal(sample[f"joints_{name}"], sample[f"hands_{name}"][side])
        np.testing.assert_array_equal(sample["visible"], sample["hands_visible"][side])
        lengths = np.linalg.norm(np.diff(chains(sample["joints_xyz"]), axis=1), axis=-1)
        assert SKELETONS["hand21"].joints[5] == "index_base"
        assert (lengths[1:, 0] > 60).all()  # mm
        assert (lengths[:, 1:] > 10).all() and (lengths[:, 1:] < 70).all()
        left, right = (np.sign(curl(xyz)) for xyz in sample["hands_xyz"])
        assert left == -right


def test_right_hand_is_dominant_if_equal():
    mask = np.zeros((4, 4), np.uint8)
    mask[0], mask[1], mask[2] = 2, 18, 1
    assert raw.dominant_side(mask) == 1
    mask[3, 0] = 17
    assert raw.dominant_side(mask) == 0


def truncate(path, part=0.7):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])


def flip(path, at=0.5):
    data = bytearray(path.read_bytes())
    data[int(len(data) * at)] ^= 0x55
    path.write_bytes(bytes(data))


def edit(path, change):
    annotations = pickle.loads(path.read_bytes())
    path.write_bytes(pickle.dumps(change(annotations), protocol=2))


def set_nan(annotations):
    annotations[1]["xyz"][7, 2] = np.nan
    return annotations


class Evil:
    def __reduce__(self):
        return (exec, ("raise SystemExit('pickle was run')",))


PICKLE = "training/anno_training.pickle"
DAMAGE = {
    "cut image": ("training/color/00001.png", truncate, "color/00001.png.*cut short or damaged"),
    "flipped image": ("training/depth/00001.png", flip, "depth/00001.png.*cut short or damaged"),
    "empty image": (
        "training/mask/00000.png",
        lambda p: p.write_bytes(b""),
        "mask/00000.png: an empty file",
    ),
    "lost image": (
        "training/mask/00000.png",
        lambda p: p.unlink(),
        "mask/00000.png: no such file",
    ),
    "small image": (
        "training/color/00000.png",
        lambda p: p.write_bytes(fake_hand.encode(np.zeros((8, 8, 3), np.uint8))),
        r"color/00000.png: pixels of shape \(8, 8, 3\); expected \(320, 320, 3\)",
    ),
    "mask of another set": (
        "training/mask/00000.png",
        lambda p: p.write_bytes(fake_hand.encode(np.full((320, 320), 200, np.uint8))),
        "mask/00000.png: has the code 200",
    ),
    "cut pickle": (PICKLE, truncate, "anno_training.pickle.*expected a complete pickle"),
    "evil pickle": (
        PICKLE,
        lambda p: p.write_bytes(pickle.dumps({0: Evil()})),
        "anno_training.pickle.*not admitted",
    ),
    "NaN": (
        PICKLE,
        lambda p: edit(p, set_nan),
        "anno_training.pickle, sample 1: 'xyz' is not 42 x 3 finite numbers",
    ),
    "wrong count": (
        PICKLE,
        lambda p: edit(p, lambda a: {0: {**a[0], "uv_vis": a[0]["uv_vis"][:21]}}),
        "sample 0: 'uv_vis'",
    ),
    "no labels": (PICKLE, lambda p: edit(p, lambda a: {0: [1, 2]}), "sample 0: 'uv_vis'"),
    "no numbers": (
        PICKLE,
        lambda p: edit(p, lambda a: {"../x": a[0]}),
        "expected a dict with sample numbers as keys",
    ),
    "bad visibility": (
        PICKLE,
        lambda p: edit(p, lambda a: {0: {**a[0], "uv_vis": a[0]["xyz"] + 3}}),
        "visibility other than 0",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_file_gives_one_line(copy, damage):
    path, harm, message = DAMAGE[damage]
    harm(copy / path)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        list(raw.samples(copy, "train"))
    assert "\n" not in str(caught.value)


def test_flipped_bytes_in_labels_never_crash(copy):
    path = copy / PICKLE
    whole, refused = path.read_bytes(), 0
    for at in range(0, len(whole), 61):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        try:
            found = list(raw.samples(copy, "train").lazy)
            for _, read in found[:1] if at % 5 else found:
                assert np.isfinite(read()["joints_xyz"]).all()
        except (ValueError, FileNotFoundError) as error:
            refused += 1
            assert "\n" not in str(error) and str(copy) in str(error)
    assert refused > 10


def test_missing_images_are_counted(copy):
    (copy / "training/color/00000.png").unlink()
    (copy / "evaluation/depth").rmtree()
    assert raw.missing(copy) == [
        "training/color: 1 of 2 images, the first 00000.png",
        "evaluation/depth: 2 of 2 images, the first 00000.png",
    ]


def test_real_images_with_their_labels(real_data, tree, tmp_path):
    """Two real left hands, labelled in RHD's joint order; mask and depth are drawn around them."""
    labels = json.loads((real_data / "rgb/rhd/annotations.json").read_text())
    folder, annotations = tmp_path / "training", {}
    for images in ("color", "mask", "depth"):
        (folder / images).mkdir(parents=True)
    for entry, image in zip(labels["annotations"], labels["images"], strict=True):
        xyz, uv_vis = np.array(entry["joint_cam"]) / 1000, np.array(entry["keypoints"])
        k = np.diag([*image["cam_param"]["focal"], 1.0])
        k[:2, 2] = image["cam_param"]["princpt"]
        annotations[entry["id"]] = {
            "uv_vis": np.tile(uv_vis, (2, 1)),
            "xyz": np.tile(xyz, (2, 1)),
            "K": k,
        }
        mask = np.zeros((320, 320), np.uint8)
        cv2.fillConvexPoly(mask, cv2.convexHull(uv_vis[:, :2].astype(np.int32)), 10)
        shutil.copy(real_data / "rgb/rhd" / image["file_name"], folder / "color")
        (folder / "mask" / image["file_name"]).write_bytes(fake_hand.encode(mask))
        (folder / "depth" / image["file_name"]).write_bytes(
            fake_hand.encode(np.zeros((320, 320, 3), np.uint8))
        )
    (folder / "anno_training.pickle").write_bytes(pickle.dumps(annotations, protocol=2))

    fake_left = next(sample for _, sample in raw.samples(tree, "train"))["hands_xyz"][0]
    found = dict(raw.samples(epath.Path(tmp_path), "train"))
    assert list(found) == ["training/00111", "training/01111"]
    for sample in found.values():
        xyz = sample["joints_xyz"]
        # The labels have four digits.
        np.testing.assert_allclose(project(xyz, sample["k"]), sample["joints_uv"], atol=0.15)
        lengths = np.linalg.norm(np.diff(chains(xyz), axis=1), axis=-1)
        assert (
            (lengths[1:, 0] > 60).all()
            and (lengths[1:, 1] > lengths[1:, 3]).all()
            and (lengths[:, 1:] < 60).all()
        )
        assert sample["side"] == "left" and np.sign(curl(xyz)) == np.sign(curl(fake_left))


@pytest.mark.slow
@pytest.mark.parametrize("key", [np.int64, np.uint8, str])
def test_keys_of_numpy_or_text_are_read(copy, key):
    want = [name for name, _ in raw.samples(copy, "train").lazy]
    edit(copy / PICKLE, lambda annotations: {key(n): v for n, v in annotations.items()})
    assert raw.missing(copy) == [] and [name for name, _ in raw.samples(copy, "train").lazy] == want
    edit(copy / PICKLE, lambda annotations: {"00" + str(int(n)): v for n, v in annotations.items()})
    assert [name for name, _ in raw.samples(copy, "train").lazy] == want
    for wrong in ("one", -1, 1.5):
        edit(copy / PICKLE, lambda annotations, wrong=wrong: {**annotations, wrong: {}})
        with pytest.raises(ValueError, match="sample numbers as keys"):
            list(raw.samples(copy, "train").lazy)
