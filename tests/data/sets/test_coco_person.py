import json
import shutil

import cv2
import numpy as np
import pytest
from etils import epath

from handjax.data.preparation.examples import NOTES
from handjax.data.sets.coco_person import fake, raw
from handjax.pose.joint_orders import ORDERS
from handjax.pose.skeleton import SKELETONS

NAMES = ORDERS["coco17"].joints


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("coco")
    fake.write(root, 3, seed=1)
    return epath.Path(root)


@pytest.fixture
def copy(tree, tmp_path):
    shutil.copytree(tree, tmp_path / "coco")
    return epath.Path(tmp_path / "coco")


def pixels(sample):
    return cv2.imdecode(np.frombuffer(sample["image"].getvalue(), np.uint8), cv2.IMREAD_COLOR)[
        ..., ::-1
    ]


@pytest.mark.parametrize("split", raw.FOLDERS)
def test_joints_lie_on_the_rendered_people(tree, split):
    assert raw.missing(tree) == []
    found = list(raw.samples(tree, split))
    # Two of five entries per image are samples, sorted by their numbers, unlike in the file.
    assert [key for key, _ in found] == [
        f"{split}/{1000 * i:012d}_{1000 * i + p}" for i in (1, 2, 3) for p in (9, 10)
    ]
    colored = 0
    for n, (key, sample) in enumerate(found):
        assert sample["id"] == key and sample["image_id"] == 1000 * (n // 2 + 1)
        assert sample["person_id"] == sample["image_id"] + 9 + n % 2
        shot, p = fake.scene(split, n // 2, seed=1), 1 - n % 2
        uv, visible, image = sample["joints_uv"], sample["visible"], pixels(sample)
        assert [name for name, seen in zip(NAMES, visible, strict=True) if not seen] == ["left_ear"]
        assert [name for name, hidden in zip(NAMES, sample["hidden"], strict=True) if hidden] == [
            "right_ear"
        ]
        assert (uv[~visible] == 0).all()
        np.testing.assert_allclose(
            uv[visible], fake.own_joints(shot["joints_xyz"][p], shot["k"])[visible], atol=0.51
        )
        left, top, width, height = sample["box"]
        assert (
            (uv[visible] > (left, top)).all()
            and (uv[visible] < (left + width, top + height)).all()
            and sample["area"] > 0
        )
        common = np.rint(ORDERS["coco17"].convert(uv)).astype(int)
        for joint, at, z in zip(
            SKELETONS["body18"].joints, common, shot["joints_xyz"][p, :, 2], strict=True
        ):
            if joint in NAMES and joint != "nose" and 0 < z - shot["depth"][at[1], at[0]] < 100:
                red, _, blue = image[at[1], at[0]].astype(int)
                colored += 1
                assert (red > blue) == joint.startswith("right"), (key, joint)
    assert colored > 30


def test_missing_files_are_listed(copy):
    (copy / "images" / "train2017" / "000000002000.jpg").unlink()
    (copy / "annotations" / "person_keypoints_val2017.json").unlink()
    assert raw.missing(copy) == [
        "images/train2017/000000002000.jpg: 1 of 3 images with people",
        "annotations/person_keypoints_val2017.json",
    ]
    shutil.rmtree(copy / "images")
    assert raw.missing(copy) == [
        "images/train2017",
        "images/val2017",
        "annotations/person_keypoints_val2017.json",
    ]


ANNOTATION, IMAGE = "annotations/person_keypoints_val2017.json", "images/val2017/000000001000.jpg"


def entry(part, number, **changes):
    def corrupt(root):
        content = json.loads((root / ANNOTATION).read_text())
        content[part][number] |= changes
        (root / ANNOTATION).write_text(json.dumps(content))

    return corrupt


def broken(name, change):
    return lambda root: (root / name).write_bytes(change((root / name).read_bytes()))


def person(**changes):
    return entry("annotations", 1, **changes)


CORRUPT = {
    "image cut": (
        broken(IMAGE, lambda b: b[:3000]),
        "000000001000.jpg: a JPEG image; .* cut short",
    ),
    "image gone": (lambda r: (r / IMAGE).unlink(), "000000001000.jpg: no such file"),
    "json cut": (broken(ANNOTATION, lambda b: b[:800]), "not JSON, or cut short"),
    "json flipped": (
        broken(ANNOTATION, lambda b: b.replace(b":", b"\xff", 1)),
        "not JSON, or cut short",
    ),
    "json gone": (lambda r: (r / ANNOTATION).unlink(), "no such file"),
    "a list": (
        broken(ANNOTATION, lambda b: b"[1]"),
        "not a COCO annotation; expected lists of images",
    ),
    "no people": (
        broken(ANNOTATION, lambda b: b.replace(b'"annotations"', b'"annotatiins"')),
        "not a COCO annotation",
    ),
    "other joints": (
        entry("categories", 0, keypoints=["nose"]),
        "category 1 is not a person with COCO's 17 keypoints",
    ),
    "size": (entry("images", 0, width=999), "360 x 270; expected 999 x 270 as in .*annotation 1"),
    "size not a number": (
        entry("images", 0, width="wide"),
        "image 0: width 'wide'; expected a whole number",
    ),
    "image not listed": (person(image_id=77), "annotation 1: image 77 is not among the images"),
    "nan": (
        person(keypoints=[float("nan")] * 51),
        "annotation 1: 'keypoints' is not 51 finite numbers",
    ),
    "a joint short": (
        person(keypoints=[1] * 48),
        "annotation 1: 'keypoints' is not 51 finite numbers",
    ),
    "mark": (
        person(keypoints=[1, 1, 3] * 17),
        "annotation 1: a keypoint is marked 3; expected 0, 1 or 2",
    ),
    "box": (person(bbox=[1, 2, "x", 4]), "annotation 1: 'bbox' is not 4 finite numbers"),
    "area": (person(area="large"), "annotation 1: 'area' is not a finite number"),
    "crowd": (person(iscrowd="few"), "annotation 1: iscrowd 'few'; expected 0 or 1, or none"),
    "number": (person(id=1.5), "annotation 1: id 1.5; expected a whole number"),
    "twice": (person(id=1010), "two annotations have the same id"),
    "leads out": (
        entry("images", 0, file_name="../x.jpg"),
        "names the file '../x.jpg'; expected a path below",
    ),
    "no name": (entry("images", 0, file_name=None), "image 1000 has no file_name"),
}


@pytest.mark.parametrize("name", CORRUPT)
def test_damaged_file_gives_one_line(copy, name):
    corrupt, message = CORRUPT[name]
    corrupt(copy)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        list(raw.samples(copy, "validation"))
    assert "\n" not in str(caught.value) and str(copy) in str(caught.value)


def people(root):
    """Every sample of validation, with its notes, by key."""
    return {key: read() for key, read in raw.samples(root, "validation").lazy}


def everyone(change):
    """Changes every annotation."""

    def edit(root):
        content = json.loads((root / ANNOTATION).read_text())
        for entry in content["annotations"]:
            change(entry)
        (root / ANNOTATION).write_text(json.dumps(content))

    return edit


def renamed(images, annotations, categories=None):
    """Changes the entries of the three lists."""

    def edit(root):
        content = json.loads((root / ANNOTATION).read_text())
        for part, change in (
            ("images", images),
            ("annotations", annotations),
            ("categories", categories),
        ):
            for entry in content[part]:
                if change:
                    change(entry)
        (root / ANNOTATION).write_text(json.dumps(content))

    return edit


SPELLINGS = {
    "no iscrowd": everyone(lambda a: None if a.get("iscrowd") else a.pop("iscrowd", None)),
    "iscrowd true": everyone(lambda a: a.update(iscrowd=bool(a["iscrowd"]))),
    "no area": everyone(lambda a: a.pop("area")),
    "no box": everyone(lambda a: a.pop("bbox")),
    "byte order mark": broken(ANNOTATION, lambda b: b"\xef\xbb\xbf" + b),
    "numbers as text": renamed(
        lambda i: i.update(id=str(i["id"])),
        lambda a: a.update(id=str(a["id"]), image_id=f"00{a['image_id']}"),
    ),
    "category 0": renamed(None, lambda a: a.update(category_id=0), lambda c: c.update(id=0)),
    "no names of keypoints": renamed(None, None, lambda c: c.pop("keypoints")),
    "names that begin with ./": renamed(lambda i: i.update(file_name=f"./{i['file_name']}"), None),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_what_coco_tools_read_is_read_alike(copy, spelling):
    want = people(copy)
    SPELLINGS[spelling](copy)
    assert raw.missing(copy) == []
    found = people(copy)
    assert found.keys() == want.keys()
    for key, sample in found.items():
        for name in ("joints_uv", "visible", "hidden", "person_id", "image_id"):
            np.testing.assert_array_equal(sample[name], want[key][name])
        uv = sample["joints_uv"][sample["visible"]]
        assert sample["area"] > 0 and (sample["box"][2:] >= np.ptp(uv, axis=0)).all()


def test_ids_may_be_texts_and_keypoints_absent(copy):
    renamed(
        lambda i: i.update(id=f"img{i['id']}"),
        lambda a: a.update(id=f"p{a['id']}", image_id=f"img{a['image_id']}"),
    )(copy)
    everyone(lambda a: a.pop("keypoints") if a["id"] == "p1010" else None)(copy)
    assert raw.missing(copy) == []
    found = people(copy)
    assert "validation/img1000_p1009" in found and len(found) == 5
    assert all(sample["image_id"] == sample["person_id"] == -1 for sample in found.values())


@pytest.mark.parametrize(
    "box, fault",
    [
        ([10, 10, 0, 0], "box_replaced"),
        ([10, 10, -5, 30], "box_replaced"),
        ([0.1, 0.2, 0.3, 0.4], "box_replaced"),
        ([0, 0, 9, 9], "box_replaced"),
        ("corners", "box_corners"),
        ("center", "box_centers"),
    ],
)
def test_joints_give_a_box_where_the_file_has_none(copy, box, fault):
    def change(entry):
        left, top, width, height = entry["bbox"]
        forms = {
            "corners": [left, top, left + width, top + height],
            "center": [left + width / 2, top + height / 2, width, height],
        }
        entry["bbox"] = forms[box] if isinstance(box, str) else box

    want = people(copy)
    everyone(lambda a: change(a) if a["id"] == 1010 else None)(copy)
    found = people(copy)
    assert {key: s[NOTES] for key, s in found.items() if s[NOTES]} == {
        "validation/000000001000_1010": (fault,)
    }
    for key, sample in found.items():
        left, top, width, height = sample["box"]
        uv = sample["joints_uv"][sample["visible"]]
        assert (uv >= (left, top)).all() and (uv <= (left + width, top + height)).all()
        assert (sample["box"][2:] < 2 * want[key]["box"][2:]).all()


def test_real_people(real_data, tmp_path):
    folder = real_data / "rgb" / "coco"
    (tmp_path / "annotations").mkdir()
    (tmp_path / "images" / "val2017").mkdir(parents=True)
    shutil.copy(folder / "annotations.json", tmp_path / ANNOTATION)
    for path in folder.glob("*.jpg"):
        shutil.copy(path, tmp_path / "images" / "val2017")
    given = json.loads((folder / "annotations.json").read_text())["annotations"]
    wanted = {
        person["id"]: person
        for person in given
        if person["num_keypoints"] >= 2 and not person["iscrowd"]
    }
    found = {
        sample["person_id"]: sample for _, sample in raw.samples(epath.Path(tmp_path), "validation")
    }
    assert found.keys() == wanted.keys() and 442619 in found and len(found) < len(given)
    for number, sample in found.items():
        height, width, _ = pixels(sample).shape
        uv, visible = sample["joints_uv"], sample["visible"]
        assert visible.sum() == wanted[number]["num_keypoints"] and (uv < (width, height)).all()
        marks = np.reshape(wanted[number]["keypoints"], (17, 3))
        np.testing.assert_array_equal(uv[visible], marks[visible, :2])
        left, top, box_width, box_height = sample["box"]
        assert (
            left >= 0
            and top >= 0
            and left + box_width <= width - 1
            and top + box_height <= height - 1
        )
    # The skier of image 785 faces the camera, her left on the right of the image.
    at = dict(zip(NAMES, found[442619]["joints_uv"], strict=True))
    assert (
        at["left_shoulder"][0] > at["right_shoulder"][0]
        and at["nose"][1] < at["left_hip"][1] < at["left_ankle"][1]
    )
