import json
import shutil

import cv2
import numpy as np
import pytest
from etils import epath
from PIL import Image

from handjax.data.sets.keypoint_list import fake, raw
from handjax.pose.joint_orders import ORDERS


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    roots = {config: tmp_path_factory.mktemp(config) for config in raw.CONFIGS}
    for config, root in roots.items():
        fake.write(root, 2, seed=1, config=config)
    return {config: epath.Path(root) for config, root in roots.items()}


@pytest.fixture
def copy(trees, tmp_path):
    return epath.Path(shutil.copytree(trees["keypoint_list"], tmp_path / "list"))


def pixels(file):
    return cv2.imdecode(np.frombuffer(file.getvalue(), np.uint8), cv2.IMREAD_UNCHANGED)[..., ::-1]


def test_empty_folder_is_reported(tmp_path):
    assert (
        raw.missing(epath.Path(tmp_path))
        == raw.missing(epath.Path(tmp_path / "none"))
        == ["text file NAME.txt next to a folder NAME of images"]
    )


@pytest.mark.slow
@pytest.mark.parametrize("config", raw.CONFIGS)
def test_every_order_is_converted_to_hand21(trees, config):
    root = trees[config]
    assert raw.missing(root) == [] and raw.splits(root) == ("test", "train")
    for split in raw.splits(root):
        found = dict(raw.samples(root, split, config))
        assert list(found) == [f"{split}/some folder/00000.jpg", f"{split}/some folder/00001.png"]
        # The same hands, listed in the order "hand21".
        first = dict(raw.samples(trees["keypoint_list"], split))
        for key, sample in found.items():
            assert sample["id"] == key and sample["root"] == ORDERS[config].root
            uv, seen = sample["joints_uv"], sample["visible"]
            assert 5 < seen.sum() and not uv[~seen].any()
            np.testing.assert_array_equal(uv[1:], first[key]["joints_uv"][1:])
            u, v = np.rint(uv[seen]).astype(int).T
            rgb = pixels(sample["image"])[v, u].astype(float)
            hue = rgb / rgb.sum(axis=-1, keepdims=True)
            assert np.abs(hue - np.array([224, 172, 140]) / 536).max() < 0.06  # skin, as JPEG
    assert {config: ORDERS[config].root for config in raw.CONFIGS} == {
        "keypoint_list": "wrist",
        "rhd": "wrist",
        "stb": "palm",
    }


@pytest.mark.slow
def test_image_with_two_hands_gives_two_samples(copy):
    text = (copy / "train.txt").read_text()
    (copy / "train.txt").write_text(text + text)
    keys = [key for key, _ in raw.samples(copy, "train")]
    assert len(set(keys)) == 4 and keys[2:] == [f"{key}#2" for key in keys[:2]]


def edit(old, new):
    def harm(root):
        text = (root / "train.txt").read_text()
        assert old in text
        (root / "train.txt").write_text(text.replace(old, new))

    return harm


def cut(root):
    path = root / "train/some folder/00001.png"
    path.write_bytes(path.read_bytes()[:-100])


DAMAGE = {
    "wrong count": (
        edit("some folder/00001.png ", "some folder/00001.png 1.0 "),
        r"some folder/00001.png 1.0: no such file",
    ),
    "short line": (
        lambda root: (root / "train.txt").write_text("a.png 1 2 1\n"),
        "train.txt, line 1: 3 numbers at its end; expected an image and 21",
    ),
    "NaN": (
        edit(" 1.0\n", " 1.0 nan 3 1\n"),
        "train.txt, line [12]: 'nan' is not a finite number of px; expected an image",
    ),
    "half visible": (
        edit(" 1.0\n", " 0.5\n"),
        "line [12]: v is 0.5 .a confidence.*; expected an image and 21",
    ),
    "no text": (
        lambda root: (root / "train.txt").write_bytes(b"\xff\xfe\x00"),
        "train.txt: not UTF-8 text",
    ),
    "empty": (lambda root: (root / "train.txt").write_text(""), "train.txt: empty"),
    "out of the folder": (
        edit("some folder/00001", "../test/some folder/00001"),
        "train.txt, line 2: names the file '../test",
    ),
    "absolute": (
        edit("some folder/00001.png", "/etc/passwd"),
        "line 2: names the file '/etc/passwd'; expected a path below",
    ),
    "lost image": (
        lambda root: (root / "train/some folder/00000.jpg").unlink(),
        "00000.jpg: no such file",
    ),
    "cut image": (cut, "00001.png: .*cut short"),
}


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_file_gives_one_line(copy, damage):
    harm, message = DAMAGE[damage]
    harm(copy)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        list(raw.samples(copy, "train"))
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_missing_images_are_counted(copy):
    (copy / "train/some folder/00000.jpg").unlink()
    (copy / "test/some folder").rmtree()
    assert raw.missing(copy) == [
        "test/some folder/00000.jpg: 2 of 2 images of test.txt",
        "train/some folder/00000.jpg: 1 of 2 images of train.txt",
    ]


def rewritten(root, change, encoding="utf-8", end="\n"):
    """Replaces the lines of train.txt by those that `change` makes of their words."""
    path = root / "train.txt"
    lines = change([line.rsplit(maxsplit=63) for line in path.read_text().splitlines()])
    path.write_bytes((end.join(lines) + end).encode(encoding))


def joined(separator, quote="", comma="."):
    return lambda rows: [
        separator.join([f"{quote}{row[0]}{quote}", *(word.replace(".", comma) for word in row[1:])])
        for row in rows
    ]


COLUMNS = ["image", *(f"{name}{i}" for i in range(21) for name in "xyv")]
SPELLINGS = {
    "tabs": (joined("\t"), {}),
    "commas": (joined(","), {}),
    "commas and spaces": (joined(", "), {}),
    "semicolons": (joined(";"), {}),
    "decimal commas": (joined(";", comma=","), {}),
    "quotes": (joined(",", '"'), {}),
    "header": (lambda rows: [",".join(COLUMNS), *joined(",")(rows)], {}),
    "header of names": (lambda rows: ["image joints", *joined(" ")(rows)], {}),
    "comment": (lambda rows: ["# 21 joints", *joined(" ")(rows)], {}),
    "trailing comma": (lambda rows: [line + "," for line in joined(",")(rows)], {}),
    "byte order mark": (joined(" "), {"encoding": "utf-8-sig"}),
    "UTF-16": (joined(" "), {"encoding": "utf-16"}),
    "CRLF": (joined(","), {"end": "\r\n"}),
    "CR": (joined(" "), {"end": "\r"}),
    "marks of COCO": (
        lambda rows: [
            " ".join(
                [row[0], *(str(2 * float(w)) if i % 3 == 2 else w for i, w in enumerate(row[1:]))]
            )
            for row in rows
        ],
        {},
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_of_a_list_is_read_alike(copy, spelling):
    want = [read() for _, read in raw.samples(copy, "train").lazy]
    change, form = SPELLINGS[spelling]
    rewritten(copy, change, **form)
    assert raw.missing(copy) == []
    found = [read() for _, read in raw.samples(copy, "train").lazy]
    assert [sample["id"] for sample in found] == [sample["id"] for sample in want]
    for one, other in zip(found, want, strict=True):
        np.testing.assert_array_equal(one["joints_uv"], other["joints_uv"])
        np.testing.assert_array_equal(one["visible"], other["visible"])


MALFORMED = {
    "no v": (
        lambda rows: [
            " ".join([row[0], *(w for i, w in enumerate(row[1:]) if i % 3 < 2)]) for row in rows
        ],
        "line 1: 42 numbers at its end; expected an image and 21 times x y v, 63",
    ),
    "a text among the numbers": (
        lambda rows: [" ".join([*row[:30], "left", *row[31:]]) for row in rows],
        "line 1: 'left' is not a finite number",
    ),
    "an empty cell": (
        lambda rows: [",".join([*row[:30], "", *row[31:]]) for row in rows],
        "line 1: '' is not a finite number",
    ),
    "confidences": (
        lambda rows: [" ".join([*row[:-1], "0.93"]) for row in rows],
        "line 1: v is 0.93 .a confidence",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("form", MALFORMED)
def test_a_malformed_line_is_named_with_the_reason(copy, form):
    change, words = MALFORMED[form]
    rewritten(copy, change)
    examples = list(raw.samples(copy, "train").lazy)
    assert len(examples) == 2  # every line is looked at, not only the first
    for key, read in examples:
        assert key
        with pytest.raises(ValueError, match="line [12]: "):
            read()
    with pytest.raises(ValueError, match=words):
        examples[0][1]()


@pytest.mark.slow
def test_hidden_files_are_no_lists(copy):
    for name in ("._train.txt", ".DS_Store", ".hidden.txt"):
        (copy / name).write_bytes(b"\0\5")
    assert raw.missing(copy) == [] and raw.splits(copy) == ("test", "train")


def test_list_name_must_be_a_split_name(copy):
    (copy / "RHD label.txt").write_text("")
    with pytest.raises(ValueError, match="RHD label.txt: not a valid name of a split"):
        raw.missing(copy)


def test_list_of_real_images(real_data, tmp_path):
    """Two real images of RHD, listed in RHD's order."""
    labels = json.loads((real_data / "rgb/rhd/annotations.json").read_text())
    (tmp_path / "evaluation").mkdir()
    lines = []
    for entry, image in zip(labels["annotations"], labels["images"], strict=True):
        shutil.copy(real_data / "rgb/rhd" / image["file_name"], tmp_path / "evaluation")
        lines.append(
            f"{image['file_name']} "
            + " ".join(str(value) for point in entry["keypoints"] for value in point)
        )
    (tmp_path / "evaluation.txt").write_text("\n".join(lines))
    found = dict(raw.samples(epath.Path(tmp_path), "evaluation", "rhd"))
    assert list(found) == ["evaluation/00111.png", "evaluation/01111.png"]
    for sample, entry in zip(found.values(), labels["annotations"], strict=True):
        points = np.array(entry["keypoints"], np.float32)
        assert sample["visible"].all() and pixels(sample["image"]).shape == (320, 320, 3)
        np.testing.assert_array_equal(sample["joints_uv"][5:9], points[8:4:-1, :2])
        assert (
            np.abs(sample["joints_uv"][1:].reshape(5, 4, 2)[:, 0] - sample["joints_uv"][0]).max(
                axis=-1
            )
            < 75
        ).all()


@pytest.mark.parametrize("turn", [1, 3, 6, 8])
def test_labels_of_pictures_that_show_turned(tmp_path, turn):
    """A phone's picture: labelled as it is shown, stored as the sensor had it."""
    shown = np.full((60, 40, 3), 90, np.uint8)
    uv = np.stack([np.arange(21) * 1.5 + 4, np.arange(21) * 2.5 + 5 + np.arange(21) % 2 * 3], -1)
    for u, v in uv.astype(int):
        cv2.circle(shown, (int(u), int(v)), 1, (10, 10, 240), -1)  # red, in OpenCV's order
    turns = {1: 0, 3: 2, 6: 1, 8: 3}[turn]  # quarter turns to the left that were made
    stored = Image.fromarray(np.ascontiguousarray(np.rot90(shown, turns)[..., ::-1]))
    exif = Image.Exif()
    exif[0x0112] = turn
    (tmp_path / "train").mkdir()
    stored.save(tmp_path / "train" / "a.jpg", quality=95, subsampling=0, exif=exif.tobytes())
    words = " ".join(f"{u:.1f} {v:.1f} 1" for u, v in uv)
    (tmp_path / "train.txt").write_text(f"a.jpg {words}\n")
    (sample,) = dict(raw.samples(epath.Path(tmp_path), "train")).values()
    rgb = pixels(sample["image"]).astype(int)
    assert rgb.shape == (60, 40, 3)
    u, v = sample["joints_uv"].astype(int).T
    assert (rgb[v, u, 0] - rgb[v, u, 2] > 100).all()
