import itertools
import json
import shutil

import cv2
import numpy as np
import pytest
from etils import epath

from handjax.data.sets.panoptic_hand import fake, raw


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("handdb")
    fake.write(root, 2, seed=1)
    return epath.Path(root)


@pytest.fixture
def copy(tree, tmp_path):
    return epath.Path(shutil.copytree(tree, tmp_path / "handdb"))


def pixels(file):
    return cv2.imdecode(np.frombuffer(file.getvalue(), np.uint8), cv2.IMREAD_UNCHANGED)[..., ::-1]


def shortest_order(hands):
    """The order of joints 1 to 4 with the shortest lines from the wrist along the fingers."""

    def length(order):
        chains = np.stack(
            [
                uv[[[0, *(4 * finger + joint for joint in order)] for finger in range(5)]]
                for uv in hands
            ]
        )
        return np.linalg.norm(np.diff(chains, axis=-2), axis=-1).sum()

    return min(itertools.permutations((1, 2, 3, 4)), key=length)


@pytest.mark.parametrize("config", raw.CONFIGS)
def test_empty_folder_lacks_everything(tmp_path, config):
    found = raw.missing(epath.Path(tmp_path), config)
    assert len(found) == {"manual": 2, "synth": 4, "studio": 1}[config] and found[0] in raw.LAYOUT


@pytest.mark.slow
def test_points_lie_on_the_hand_and_in_the_box(tree):
    assert (
        raw.missing(tree, "manual")
        == raw.missing(tree, "synth")
        == raw.missing(tree, "studio")
        == []
    )
    where = {
        "train": ["manual_train"],
        "test": ["manual_test"],
        "synth": [f"synth{i}" for i in range(1, 5)],
        "studio": ["studio"],
    }
    for split, folders in where.items():
        found = dict(raw.samples(tree, split))
        assert [key.split("/")[0] for key in found] == [
            folder for folder in folders for _ in range(2)
        ]
        for key, sample in found.items():
            assert sample["id"] == key and sample["root"] == "wrist"
            uv, seen = sample["joints_uv"], sample["visible"]
            assert 5 < seen.sum() and not uv[~seen].any()
            u, v = np.rint(uv[seen]).astype(int).T
            rgb = pixels(sample["image"])[v, u].astype(float)
            hue = rgb / rgb.sum(axis=-1, keepdims=True)
            assert np.abs(hue - np.array([224, 172, 140]) / 536).max() < 0.06  # skin, as JPEG
            x, y, width, height = sample["box"]
            extent = np.ptp(uv[seen], axis=0)
            np.testing.assert_allclose([width, height], 2.2 * extent.max(), rtol=1e-5)
            np.testing.assert_allclose(
                [x + width / 2, y + height / 2], uv[seen].min(axis=0) + extent / 2, atol=0.01
            )
        sides = [None] * 2 if split == "studio" else ["right", "left"] * len(folders)
        assert [sample.get("side") for sample in found.values()] == sides


@pytest.mark.slow
def test_order_and_side_are_those_of_the_files(tree):
    for key, sample in raw.samples(tree, "train"):
        content = json.loads((tree / "hand_labels" / f"{key}.json").read_text())
        seen = sample["visible"]
        np.testing.assert_allclose(
            sample["joints_uv"][seen], np.array(content["hand_pts"])[seen, :2], rtol=1e-6
        )
        assert sample["side"] == {"l": "left", "r": "right"}[key[-1]]


def relabel(**change):
    def harm(path):
        content = {**json.loads(path.read_text()), **change}
        path.write_text(
            json.dumps({key: value for key, value in content.items() if value is not ...})
        )

    return harm


def truncate(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])


LABELS = "hand_labels/manual_train/Somebody.flv_000001_l.json"
POINTS = [[float(i), float(i), 1.0] for i in range(21)]
DAMAGE = {
    "cut labels": (LABELS, truncate, "_l.json: .*expected a JSON object"),
    "bytes": (
        LABELS,
        lambda p: p.write_bytes(b"\xff\xfe\x00{}"),
        "_l.json: .*expected a JSON object",
    ),
    "nested": (LABELS, lambda p: p.write_text("[" * 100_000), "_l.json: .*expected a JSON object"),
    "a list": (LABELS, lambda p: p.write_text("[]"), "_l.json: 'is_left' is not a finite number"),
    "wrong count": (LABELS, lambda p: relabel(hand_pts=POINTS[:20])(p), "'hand_pts' is not 21 x 3"),
    "ragged": (
        LABELS,
        lambda p: relabel(hand_pts=[*POINTS[:20], [1]])(p),
        "'hand_pts' is not 21 x 3",
    ),
    "NaN": (
        LABELS,
        lambda p: relabel(hand_pts=[*POINTS[:20], [float("nan"), 1, 1]])(p),
        "'hand_pts' is not 21 x 3 finite",
    ),
    "huge": (
        LABELS,
        lambda p: relabel(hand_pts=[*POINTS[:20], [10**400, 1, 1]])(p),
        "'hand_pts' is not 21 x 3 finite",
    ),
    "text": (LABELS, lambda p: relabel(is_left="yes")(p), "'is_left' is not a finite number"),
    "no side": (LABELS, lambda p: relabel(is_left=2)(p), "is_left is neither 0 nor 1"),
    "center": (
        LABELS,
        lambda p: relabel(hand_box_center=[1])(p),
        "'hand_box_center' is not 2 finite numbers",
    ),
    "mark": (LABELS, lambda p: relabel(hand_pts=[[1, 1, 3]] * 21)(p), "a point is marked 3"),
    "no point": (LABELS, lambda p: relabel(hand_pts=[[1, 1, 0]] * 21)(p), "no point is labelled"),
    "cut image": (LABELS.replace("json", "jpg"), truncate, "_l.jpg: .*cut short"),
    "no image": (
        LABELS.replace("json", "jpg"),
        lambda p: p.write_text("no image"),
        "_l.jpg: a text; expected a picture",
    ),
    "lost image": (LABELS.replace("json", "jpg"), lambda p: p.unlink(), "_l.jpg: no such file"),
}


def studio(change):
    """Change the second of the studio's hands, or replace all of the JSON."""

    def harm(path):
        content = json.loads(path.read_text())
        path.write_text(json.dumps(change(content) or content))

    return harm


def second(**change):
    return studio(lambda content: content["root"][1].update(change))


STUDIO = {
    "cut": (truncate, "hands_v143_14817.json: .*expected a JSON object with root, a list of hands"),
    "flipped": (
        lambda p: p.write_bytes(p.read_bytes().replace(b":", b"\xff", 1)),
        "hands_v143_14817.json: .*expected a JSON",
    ),
    "lost": (lambda p: p.unlink(), "hands_v143_14817.json: no such file"),
    "no list": (studio(lambda content: {"root": {}}), "'root' is not a list of hands"),
    "no hands": (studio(lambda content: {"root": [1]}), "'root' is not a list of hands"),
    "NaN": (
        second(joint_self=[*POINTS[:20], [float("nan"), 1, 1]]),
        "hand 1: 'joint_self' is not 21 x 3 finite numbers",
    ),
    "wrong count": (second(joint_self=POINTS[:20]), "hand 1: 'joint_self' is not 21 x 3"),
    "no point": (second(joint_self=[[1, 1, 0]] * 21), "hand 1: no point is labelled"),
    "no name": (second(img_paths=None), "hand 1: names the file ''; expected a path below"),
    "out of the folder": (
        second(img_paths="../hand_labels/x.jpg"),
        "hand 1: names the file '../hand_labels/x.jpg'",
    ),
    "elsewhere": (second(img_paths="x.jpg"), "hand 1: img_paths 'x.jpg'; expected imgs/NAME.jpg"),
    "cut image": (
        lambda p: truncate(p.parent / "imgs/00000001.jpg"),
        "00000001.jpg: .*cut short",
    ),
    "lost image": (
        lambda p: (p.parent / "imgs/00000001.jpg").unlink(),
        "00000001.jpg: no such file",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("damage", STUDIO)
def test_damaged_studio_file_gives_one_line(copy, damage):
    harm, message = STUDIO[damage]
    harm(copy / raw.STUDIO)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        list(raw.samples(copy, "studio"))
    assert "\n" not in str(caught.value)


def test_missing_studio_images_are_counted(copy):
    (copy / raw.STUDIO).with_name("imgs").joinpath("00000001.jpg").unlink()
    assert raw.missing(copy, "studio") == [
        "hand143_panopticdb/imgs: 1 of 2 images, the first 00000001.jpg"
    ]
    (copy / raw.STUDIO).write_text("{}")
    assert (
        len(raw.missing(copy, "studio")) == 1
        and "'root' is not a list of hands" in raw.missing(copy, "studio")[0]
    )


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_file_gives_one_line(copy, damage):
    path, harm, message = DAMAGE[damage]
    harm(copy / path)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        list(raw.samples(copy, "train"))
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_marks_of_coco_files_of_macos_and_no_center_are_read(copy):
    (copy / "hand_labels/manual_train/._Somebody.flv_000001_l.json").write_bytes(b"\0")
    (copy / "hand_labels/manual_train/._Somebody.flv_000001_l.jpg").write_bytes(b"\0")
    first = dict(raw.samples(copy, "train"))
    points = json.loads((copy / LABELS).read_text())["hand_pts"]
    relabel(hand_pts=[[u, v, 2 * mark] for u, v, mark in points], hand_box_center=...)(
        copy / LABELS
    )
    assert raw.missing(copy, "manual") == []
    again = dict(raw.samples(copy, "train"))
    assert first.keys() == again.keys()
    for key, sample in again.items():
        np.testing.assert_array_equal(sample["visible"], first[key]["visible"])
        np.testing.assert_allclose(sample["box"][2:], first[key]["box"][2:])


def test_images_and_labels_without_each_other(copy):
    (copy / LABELS).unlink()
    (copy / "hand_labels/manual_test/Somebody.flv_000000_r.jpg").unlink()
    (copy / "hand_labels_synth/synth3").rmtree()
    assert raw.missing(copy, "manual") == [
        "hand_labels/manual_train: 1 of 2 .json files, the first Somebody.flv_000001_l.json",
        "hand_labels/manual_test: 1 of 2 .jpg files, the first Somebody.flv_000000_r.jpg",
    ]
    assert raw.missing(copy, "synth") == ["hand_labels_synth/synth3"]


def handdb(folder, stem, image, points, **labels):
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(image, folder / f"{stem}.jpg")
    (folder / f"{stem}.json").write_text(
        json.dumps({"hand_pts": points, "is_left": int(stem.endswith("_l")), **labels})
    )


def test_real_images_with_their_labels(real_data, tmp_path):
    """Real images of HandDB, with labels converted back from other files to its own."""
    folder = tmp_path / "hand_labels/manual_test"
    content = json.loads((real_data / "rgb/panoptic/annotations.json").read_text())
    for entry, image in zip(content["annotations"], content["images"], strict=True):
        points = np.reshape(entry["keypoints"], (21, 3)).tolist()
        name = image["file_name"]
        handdb(
            folder,
            name[:-4],
            real_data / "rgb/panoptic" / name,
            points,
            hand_box_center=entry["center"],
        )
    found = dict(raw.samples(epath.Path(tmp_path), "test"))
    assert [sample["side"] for sample in found.values()] == ["left", "right"]
    assert shortest_order([sample["joints_uv"] for sample in found.values()]) == (
        1,
        2,
        3,
        4,
    )  # from base to tip
    for sample, entry in zip(found.values(), content["annotations"], strict=True):
        assert sample["visible"].all() and pixels(sample["image"]).shape == (720, 1280, 3)
        side = 2.2 * (max(entry["bbox"][2:]) - 1)  # that box includes both end pixels
        np.testing.assert_allclose(sample["box"][2], side, rtol=1e-5)
        np.testing.assert_allclose(
            sample["box"][:2] + sample["box"][2:] / 2, entry["center"], rtol=1e-5
        )


def test_box_of_real_crops_is_the_whole_crop(real_data, tmp_path):
    """Six hands cropped by others to 2.2 hands and resized to 368 px: the box is 368 px again."""
    for path in sorted((real_data / "rgb/cmu_crops/label").iterdir()):
        points = [[*point, 1] for point in json.loads(path.read_text())["hand_pts_crop"]]
        image = real_data / "rgb/cmu_crops/data" / f"{path.stem}.jpg"
        handdb(
            tmp_path / "hand_labels/manual_train",
            path.stem,
            image,
            points,
            hand_box_center=[184, 184],
        )
    found = dict(raw.samples(epath.Path(tmp_path), "train"))
    assert len(found) == 6
    for sample in found.values():
        np.testing.assert_allclose(sample["box"], [0, 0, 368, 368], atol=0.1)
    assert shortest_order([sample["joints_uv"] for sample in found.values()]) == (1, 2, 3, 4)
