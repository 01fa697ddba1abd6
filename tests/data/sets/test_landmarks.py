"""Users' own joints: labels as tools write them → samples."""

import json
import re
import shutil

import cv2
import numpy as np
import pytest
from etils import epath

from handjax.data.preparation import plausibility, validate
from handjax.data.preparation.examples import NOTES
from handjax.data.sets.landmarks import fake, raw
from handjax.pose.joint_orders import ORDERS

NAMES = ("left", "right", "tip")
POINTS = np.array([[10.25, 12, 2], [30, 14.5, 1], [22, 40, 2]])


def coco(points=POINTS, names=NAMES, skeleton=((1, 3), (2, 3)), **more):
    """COCO's keypoints of one object in a.png; `more` changes its annotation."""
    values = np.asarray(points, float).ravel().tolist()
    one = {"id": 1, "image_id": 7, "category_id": 3, "keypoints": values, **more}
    category = {"id": 3, "name": "fork", "keypoints": list(names), "skeleton": list(skeleton)}
    image = {"id": 7, "file_name": "a.png", "width": 60, "height": 50}
    return {"images": [image], "annotations": [one], "categories": [category]}


@pytest.fixture
def folder(tmp_path):
    """folder(train.json=content, …) → a folder with these files and the picture images/a.png."""

    def make(**files):
        (tmp_path / "images").mkdir(exist_ok=True)
        pixels = np.full((50, 60, 3), 90, np.uint8)
        (tmp_path / "images/a.png").write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
        for name, content in files.items():
            text = content if isinstance(content, str) else json.dumps(content)
            (tmp_path / name.replace("_", ".")).write_text(text)
        return epath.Path(tmp_path)

    return make


def only(root, split="train"):
    ((_, read),) = raw.samples(root, split).lazy
    return read()


def picture(root, name):
    """A copy of images/a.png."""
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(root / "images/a.png", root / name)


# ---------------------------------------------------------------- COCO's JSON


def test_object_of_coco_becomes_a_sample(folder):
    root = folder(train_json=coco(bbox=[8, 10, 30, 34], area=500.5))
    assert raw.splits(root) == ("train",) and raw.missing(root) == []
    skeleton = raw.skeleton(root)
    assert skeleton.joints == NAMES and skeleton.bones == ((0, 2), (1, 2))
    assert skeleton.flip_pairs == ((0, 1),)
    sample = only(root)
    np.testing.assert_array_equal(sample["joints_uv"], POINTS[:, :2].astype(np.float32))
    assert sample["visible"].tolist() == [True] * 3
    assert sample["hidden"].tolist() == [False, True, False]
    assert sample["box"].tolist() == [8, 10, 30, 34] and sample["area"] == np.float32(500.5)
    assert sample["id"] == "images/a.png" and sample[NOTES] == ()


def test_what_tools_leave_out_follows_from_the_points(folder):
    """Label Studio: ids from 0, no area; coco-annotator: zeros for the box, true and false."""
    content = coco(bbox=[0, 0, 0, 0], area=0, iscrowd=False, id="17", image_id="7")
    content["categories"][0]["id"] = content["annotations"][0]["category_id"] = 0
    crowd = {**content["annotations"][0], "iscrowd": True}
    track = {**content["annotations"][0], "keypoints": [], "num_keypoints": 0}
    outline = {"id": 5, "image_id": 7, "category_id": 0, "segmentation": [[1, 2, 3, 4, 5, 6]]}
    empty = {**content["annotations"][0], "keypoints": [0] * 9}
    content["annotations"] += [crowd, track, outline, empty]
    content["categories"].append({"id": 9, "name": "box", "keypoints": [], "skeleton": []})
    sample = only(folder(train_json=content))
    assert sample["box"].tolist() == pytest.approx(
        [9.25, 11, 21.75, 30]
    )  # of the points, 1 px more
    assert sample["area"] == pytest.approx(21.75 * 30)
    # A file without any 2 has 1 for each label.
    points = POINTS * [1, 1, 0] + [0, 0, 1]
    points[2] = 0
    sample = only(folder(train_json=coco(points)))
    assert sample["visible"].tolist() == [True, True, False] and not sample["hidden"].any()


@pytest.mark.parametrize(
    "name",
    [
        *("a.png", "images/a.png", r"images\a.png", r"images\1/a.png", "/home/me/data/a.png"),
        *("C:\\data\\images\\a.png", r"..\..\label-studio\media\upload\4\a.png", "./a.png"),
        *("/data/local-files/?d=set/a.png", "http://localhost:8080/data/upload/1/a.png?token=x"),
        *("s3://bucket/set%201/a.png", "../label/a.png"),
    ],
)
def test_pictures_are_found_below_the_folder(folder, name):
    content = coco()
    content["images"][0]["file_name"] = name
    root = folder(train_json=content)
    assert raw.missing(root) == [] and only(root)["id"] == "images/a.png"


def test_longer_ends_of_a_path_come_first(folder):
    content = coco()
    content["images"][0]["file_name"] = "/home/me/cam2/a.png"
    root = folder(train_json=content)
    picture(root, "images/cam2/a.png")
    assert only(root)["id"] == "images/cam2/a.png"
    picture(root, "train/a.png")  # nearer, but not in cam2
    picture(root, "images/default/a.png")  # CVAT's
    assert only(root)["id"] == "images/cam2/a.png"


def test_one_of_several_categories_is_chosen(folder):
    content = coco()
    other = {"id": 4, "name": "cup", "keypoints": ["rim"], "skeleton": []}
    content["categories"].append(other)
    root = folder(train_json=content)
    assert raw.skeleton(root).joints == NAMES  # nothing is labelled as a cup
    rim = {"id": 2, "image_id": 7, "category_id": 4, "keypoints": [5, 6, 2], "bbox": [1, 1, 9, 9]}
    content["annotations"].append(rim)
    root = folder(train_json=content)
    with pytest.raises(ValueError, match="categories 'fork', 'cup' have keypoints; choose one"):
        raw.missing(root)
    root = folder(train_json=content, landmarks_json={"category": "cup"})
    assert raw.skeleton(root).joints == ("rim",) and only(root)["joints_uv"].tolist() == [[5, 6]]
    root = folder(train_json=content, landmarks_json={"category": "mug"})
    with pytest.raises(ValueError, match="no category 'mug'; it has 'fork', 'cup'"):
        raw.skeleton(root)


def test_joints_and_bones_of_the_settings_come_first(folder):
    settings = {"joints": ["tip", "left"], "flip": [], "colours": {"tip": "#ff0000"}}
    root = folder(train_json=coco(), landmarks_json=settings)
    skeleton = raw.skeleton(root)
    assert skeleton.joints == ("tip", "left") and skeleton.bones == ((1, 0),)
    assert skeleton.flip_pairs == () and skeleton.colours[0] == "#ff0000"
    assert only(root)["joints_uv"].tolist() == [[22, 40], [10.25, 12]]
    broken = coco(skeleton=[[1, 33]])
    root = folder(train_json=broken, landmarks_json={"edges": [["tip", "left"]]})
    assert raw.skeleton(root).bones == ((2, 0),)  # coco-annotator's issue 304
    nested = coco(keypoints=POINTS.tolist())  # mmpose's labels of RHD
    assert only(folder(train_json=nested, landmarks_json={}))["hidden"].tolist() == [0, 1, 0]
    zero = folder(train_json=coco(skeleton=[[0, 2], [2, 0], [1, 2]]), landmarks_json={})
    assert raw.skeleton(zero).bones == ((0, 2), (1, 2))  # edges that begin at 0


def test_boxes_by_corners_are_replaced_and_noted(folder):
    sample = only(folder(train_json=coco(bbox=[9, 12, 32, 48])))
    assert sample[NOTES] == ("box_corners",)
    assert sample["box"].tolist() == pytest.approx([9.25, 11, 21.75, 30])


def test_single_point_without_a_box_has_the_whole_picture(folder):
    sample = only(folder(train_json=coco([[20, 30, 2]], ["dot"], [])))
    assert sample["box"].tolist() == [-0.5, -0.5, 60, 50]


COCO_FAULTS = {
    "no lists": ([], "train.json: not COCO's keypoints; expected lists of images"),
    "no JSON": ("{", "train.json: not JSON, or cut short; expected keypoints as COCO"),
    "edges": (coco(skeleton=[[1, 4]]), r"category 'fork': skeleton \[\[1, 4\]\]; expected pairs"),
    "names": (coco(names=["a", "a", "b"]), "category 'fork': joint 'a'; expected each name once"),
    "no image": (coco(image_id=8), "annotation 1: image_id 8; expected the id of one of the"),
    "nothing": (coco(keypoints=[]), "no annotation with a labelled point; expected keypoints"),
    "too few": (coco([[1, 2, 2]]), "annotation 1: 3 values in keypoints; expected .* of 3 points"),
    "no list": (coco(keypoints="1 2 2"), "annotation 1: 0 values in keypoints; expected x, y, v"),
    "text": (coco(keypoints=["1"] * 9), "9 values in keypoints; .* as numbers"),
    "v": (coco(POINTS + [0, 0, 3]), "annotation 1: v of a point is [45]; expected 0 without"),
    "box": (coco(bbox=[1, 2, 3]), r"annotation 1: bbox \[1, 2, 3\]; expected left, top"),
    "area": (coco(area="large"), "annotation 1: area large; expected px², or none"),
    "beyond": (coco(POINTS * 1e5), "annotation 1: a point is not finite, or beyond"),
}


@pytest.mark.parametrize("fault", COCO_FAULTS)
def test_faults_of_coco_give_one_line(folder, fault):
    content, message = COCO_FAULTS[fault]
    root = folder(train_json=content)
    with pytest.raises(ValueError, match=message) as caught:
        only(root)
    assert "\n" not in str(caught.value)


def test_picture_of_another_size_is_refused(folder):
    content = coco()
    content["images"][0]["width"] = 120
    with pytest.raises(ValueError, match="a.png: 60 x 50 px; expected 120 x 50 as in .*train.json"):
        only(folder(train_json=content))


# ---------------------------------------------------------------- CSV and text

HEADER = "image,left_x,left_y,right_x,right_y,tip_x,tip_y"
ROWS = {
    "plain": f"{HEADER}\na.png,10.25,12,30,14.5,22,40\n",
    "marks": "image,left_x,left_y,left_v,right_x,right_y,right_v,tip_x,tip_y\n"
    "a.png,10.25,12,2,30,14.5,2,22,40\n",
    "semicolons": f"{HEADER.replace(',', ';')}\na.png;10,25;12;30;14,5;22;40\n",
    "tabs": f"{HEADER}\na.png,10.25,12,30,14.5,22,40\n".replace(",", "\t"),
    "quotes": f'{HEADER}\n"a.png",10.25,12,30,14.5,22,40\r\n\r\n',
    "order": "image,tip_x,tip_y,right_y,right_x,left_x,left_y\na.png,22,40,14.5,30,10.25,12\n",
    "DeepLabCut": "scorer,me,me,me,me,me,me\nbodyparts,left,left,right,right,tip,tip\n"
    "coords,x,y,x,y,x,y\nlabeled-data/clip/a.png,10.25,12,30,14.5,22,40\n",
    "DeepLabCut in columns": "scorer,,,me,me,me,me,me,me\n"
    "bodyparts,,,left,left,right,right,tip,tip\ncoords,,,x,y,x,y,x,y\nlabeled-data,clip,a.png,10.25,12,30,14.5,22,40\n",
}


@pytest.mark.parametrize("form", ROWS)
def test_forms_of_csv_are_read_alike(folder, form):
    settings = {"joints": list(NAMES)}
    root = folder(train_csv=ROWS[form], landmarks_json=settings)
    sample = only(root)
    np.testing.assert_array_equal(sample["joints_uv"], POINTS[:, :2].astype(np.float32))
    assert sample["visible"].all() and not sample["hidden"].any()
    assert raw.missing(root) == [] and raw.skeleton(root).joints == NAMES


def test_cells_without_a_label_and_boxes_are_read(folder):
    rows = f"{HEADER},left,top,width,height\na.png,1,2,,,nan,NaN,0,1,20,30\na.png,9,9,8,8,4,3,,,,\n"
    first, second = (read() for _, read in raw.samples(folder(train_csv=rows), "train").lazy)
    assert first["visible"].tolist() == [True, False, False]
    assert first["joints_uv"].tolist() == [[1, 2], [0, 0], [0, 0]]
    assert first["box"].tolist() == [0, 1, 20, 30]
    assert (first["id"], second["id"]) == ("images/a.png", "images/a.png#2")
    assert second["box"].tolist() == [3, 2, 7, 8]


def test_animals_of_deeplabcut_are_objects_of_their_own(folder):
    rows = (
        "scorer,me,me,me,me\nindividuals,one,one,two,two\nbodyparts,tip,tip,tip,tip\n"
        "coords,x,y,x,y\na.png,5,6,,\na.png,7,8,9,1\n"
    )
    found = [read() for _, read in raw.samples(folder(train_csv=rows), "train").lazy]
    assert [one["joints_uv"].tolist() for one in found] == [[[5, 6]], [[7, 8]], [[9, 1]]]


def test_lists_in_text_take_the_joints_of_the_settings(folder):
    words = " ".join(f"{x} {y} {v:g}" for x, y, v in POINTS)
    settings = {"joints": list(NAMES), "parents": {"tip": "left"}}
    root = folder(train_txt=f"a.png {words}\n", landmarks_json=settings)
    sample = only(root)
    np.testing.assert_array_equal(sample["joints_uv"], POINTS[:, :2].astype(np.float32))
    assert sample["hidden"].tolist() == [False, True, False]
    assert raw.skeleton(root).bones == ((0, 2),)
    (root / "landmarks.json").unlink()
    with pytest.raises(
        ValueError, match="landmarks.json: no joints, which train.txt does not name"
    ):
        raw.missing(root)


OTHER_FAULTS = {
    "first column": (
        "train_csv",
        "file,a_x,a_y\nx,1,2\n",
        "first column is 'file'; expected image",
    ),
    "column": ("train_csv", "image,a_x,a_y,b\nx,1,2,3\n", "column 'b'; expected image"),
    "twice": ("train_csv", "image,a_x,a_x\nx,1,2\n", "column 'a_x'; expected"),
    "no y": ("train_csv", "image,a_x\nx,1\n", "joint 'a' without x or y"),
    "half a box": ("train_csv", "image,a_x,a_y,left\nx,1,2,3\n", "a box needs all of left, top"),
    "no rows": ("train_csv", "image,a_x,a_y\n", "train.csv: 1 lines; expected image"),
    "cells": ("train_csv", "image,a_x,a_y\na.png,1\n", "line 2: 2 cells; expected 3"),
    "word": ("train_csv", "image,a_x,a_y\na.png,1,up\n", "line 2: a is 1, up, ; expected x and y"),
    "numbers": ("train_txt", "a.png 1 2 1\n", "line 1: 3 numbers at its end; .* 3 times x y v"),
    "mark": ("train_txt", "a.png 1 2 1 3 4 1 5 6 7\n", "line 1: v of a point is 7; expected 0"),
}


@pytest.mark.parametrize("fault", OTHER_FAULTS)
def test_faults_of_csv_and_text_give_one_line(folder, fault):
    name, content, message = OTHER_FAULTS[fault]
    settings = {"joints": list(NAMES)} if name == "train_txt" else {}
    root = folder(**{name: content}, landmarks_json=settings)
    with pytest.raises(ValueError, match=message):
        only(root)


# ---------------------------------------------------------------- the folder


def test_pictures_of_labels_are_divided_once_for_all(tmp_path):
    fake.write_labels(tmp_path, "labels", 40, seed=2)
    root = epath.Path(tmp_path)
    assert raw.splits(root) == ("train", "test") and raw.missing(root) == []

    def ids(split):
        return [key for key, _ in raw.samples(root, split).lazy]

    train, test = ids("train"), ids("test")
    assert len(train) + len(test) == 40 and 3 <= len(test) <= 14 and not set(train) & set(test)
    content = json.loads((root / "labels.json").read_text())
    content["annotations"] = content["annotations"][5:][::-1] * 2  # fewer, in another order, twice
    (root / "labels.json").write_text(json.dumps(content))
    names = {name.split("#")[0] for name in ids("test")}
    assert names and names <= set(test) and len(ids("test")) == 2 * len(names)
    (root / "landmarks.json").write_text('{"held_out": 0.6}')
    assert names <= {name.split("#")[0] for name in ids("test")}
    (root / "landmarks.json").write_text('{"held_out": 1e-9}')
    with pytest.raises(ValueError, match="40 pictures|35 pictures and held_out=1e-09 leave none"):
        ids("train")


def test_fake_is_read_as_it_was_written(tmp_path):
    fake.write(tmp_path, 3, seed=1)
    root = epath.Path(tmp_path)
    assert raw.splits(root) == ("train", "test") and raw.missing(root) == []
    assert raw.skeleton(root).bones == tuple(fake.EDGES) and len(fake.JOINTS) == 11
    keys = [key for key, _ in raw.samples(root, "test").lazy]
    assert keys == ["images/test/00001.jpg", "images/test/00002.png", "images/test/00003.jpg"]


def test_picture_in_two_splits_is_refused(folder):
    root = folder(train_json=coco(), test_json=coco())
    with pytest.raises(ValueError, match="a.png: 'a.png' of train and 'a.png' of test; expected"):
        raw.missing(root)
    assert raw.missing(root, only=("train",)) == []
    content = coco()
    content["images"].append({"id": 8, "file_name": "cam2/a.png"})
    content["annotations"].append({**content["annotations"][0], "image_id": 8})
    (root / "test.json").unlink()
    root = folder(train_json=content)  # cam2 is not there
    with pytest.raises(ValueError, match="'a.png' of train and 'cam2/a.png' of train"):
        raw.missing(root)


FOLDER_FAULTS = {
    "unknown key": ({"landmarks_json": {"edge": []}}, "landmarks.json: unknown 'edge'; expected"),
    "no object": ({"landmarks_json": []}, "landmarks.json: not an object; expected joints"),
    "share": ({"landmarks_json": {"held_out": 20}}, "held_out 20; expected a share between 0"),
    "category": ({"landmarks_json": {"category": 3}}, "category 3; expected a name"),
    "joint": ({"landmarks_json": {"joints": ["leg"]}}, "no joint 'leg'; it has left, right, tip"),
    "bone": (
        {"landmarks_json": {"edges": [["tip", "leg"]]}},
        "landmarks.json: edges: no joint 'leg'; expected left, right, tip",
    ),
    "two forms": ({"train_csv": ROWS["plain"]}, "train.csv: train.json is there, too; keep one"),
    "divided": ({"labels_json": coco()}, "is divided into train and test, but train.json is"),
    "name": ({"Set 1_csv": "x"}, "Set 1.csv: not a valid name of a split"),
    "other joints": (
        {"test_json": coco(np.vstack([POINTS, POINTS[:1]]), ["left", "right", "tip", "end"])},
        "test.json: joint 'end' is not in the other files",
    ),
    "fewer joints": ({"test_json": coco(POINTS[:2], ["left", "tip"], [])}, "no joint 'right'"),
}


@pytest.mark.parametrize("fault", FOLDER_FAULTS)
def test_faults_of_the_folder_give_one_line(folder, fault):
    files, message = FOLDER_FAULTS[fault]
    root = folder(train_json=coco(), **files)
    with pytest.raises(ValueError, match=message) as caught:
        raw.missing(root, None, raw.splits(root))
    assert "\n" not in str(caught.value)


def test_missing_pictures_are_counted(folder):
    root = folder(train_json=coco())
    (root / "images/a.png").unlink()
    assert raw.missing(root) == ["a.png: 1 of 1 pictures of train.json"]
    with pytest.raises(FileNotFoundError, match=r"train/a.png: no such file"):
        only(root)
    assert raw.missing(epath.Path(root / "none")) == ["labels: NAME.json, NAME.csv or NAME.txt"]


# ---------------------------------------------------------------- what labels can be


def refused(points, tmp_path, rows=4, **more):
    """Why pictures with these points are refused, and the hints; "" if they are not."""
    content = coco(points, [f"p{i}" for i in range(len(points))], [], **more)
    image, one = content["images"][0], content["annotations"][0]
    content["images"] = [{**image, "id": i, "file_name": f"{i}.png"} for i in range(rows)]
    content["annotations"] = [{**one, "id": i, "image_id": i} for i in range(rows)]
    (tmp_path / "train.json").write_text(json.dumps(content))
    pixels = cv2.imencode(".png", np.full((50, 60, 3), 90, np.uint8))[1].tobytes()
    for i in range(rows):
        (tmp_path / f"{i}.png").write_bytes(pixels)
    findings, figure = validate.Findings(), plausibility.figure_of("landmarks")
    lazy = raw.samples(epath.Path(tmp_path), "train").lazy
    list(validate.examined(validate.readable(lazy, findings), findings, figure))
    return "; ".join([plausibility.refusal(findings), *plausibility.hints(findings)])


GOOD = np.column_stack([np.linspace(4, 55, 9), 48 - np.linspace(1, 6, 9) ** 2, np.full(9, 2)])


@pytest.mark.parametrize(
    ("points", "more", "words"),
    [
        (GOOD, {}, ""),
        (np.vstack([GOOD, [[0.1, 49, 2]]]), {}, ""),  # no hand's proportions are asked for
        (GOOD / [60, 50, 1], {}, "4 of 4 frames: all joints lie within 1 px of .0, 0.: fractions"),
        ([[0.4, 0.3, 2]], {}, "fractions of the picture"),
        (GOOD[:1], {}, ""),
        (GOOD * [0, 0, 1] + [30, 20, 0], {}, "all joints lie within 2 px of each other"),
        (GOOD + [70, 0, 0], {}, "most joints lie outside the picture"),
        (GOOD, {"bbox": [3, 10, 56, 49]}, "fits as two corners; expected left, top"),
        (GOOD, {"bbox": [30, 30, 55, 40]}, "its first two numbers are its center"),
    ],
)
def test_labels_that_cannot_be_are_refused(tmp_path, points, more, words):
    found = refused(points, tmp_path, **more)
    assert bool(found.strip("; ")) == bool(words) and re.search(words, found), found


def test_swapped_axes_are_told_from_the_pictures(tmp_path):
    points = np.float64([[5, 52, 2], [10, 58, 2], [30, 55, 2], [40, 53, 2]])
    assert "fit as x and y swapped" in refused(points, tmp_path)


def test_real_labels_are_read_as_by_their_own_sets(real_data, tmp_path):
    """COCO's people and, with a list per point, mmpose's labels of RHD."""
    shutil.copytree(real_data / "rgb/coco", tmp_path / "coco")
    (tmp_path / "coco/annotations.json").rename(tmp_path / "coco/train.json")
    people = epath.Path(tmp_path / "coco")
    skeleton = raw.skeleton(people)
    assert skeleton.joints == ORDERS["coco17"].joints and len(skeleton.bones) == 19
    assert len(skeleton.flip_pairs) == 8
    found = [read() for _, read in raw.samples(people, "train").lazy]
    given = json.loads((people / "train.json").read_text())["annotations"]
    given = [one for one in given if one["num_keypoints"] and not one["iscrowd"]]
    assert len(found) == len(given) == 3
    for sample, one in zip(found, given, strict=True):
        assert sample["visible"].sum() == one["num_keypoints"] and sample[NOTES] == ()
        np.testing.assert_allclose(sample["box"], one["bbox"], rtol=1e-6)
    shutil.copytree(real_data / "rgb/rhd", tmp_path / "rhd")
    (tmp_path / "rhd/annotations.json").rename(tmp_path / "rhd/train.json")
    hands = [read() for _, read in raw.samples(epath.Path(tmp_path / "rhd"), "train").lazy]
    assert len(hands) == 2 and all(hand["visible"].all() for hand in hands)
