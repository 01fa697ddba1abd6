import json
import shutil

import cv2
import numpy as np
import pytest
from etils import epath

from handjax.data.sets import fake_body
from handjax.data.sets.human36m import annotation, fake, raw
from handjax.pose.lens import project_through_lens
from handjax.pose.pinhole import project
from handjax.pose.skeleton import SKELETONS

SUBSET = "validact02"
META = "annot/s_09_act_02_subact_01_ca_01/matlab_meta.txt"
FIRST = "images/s_09_act_02_subact_01_ca_01/s_09_act_02_subact_01_ca_01_000001.jpg"


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("human36m")
    fake.write(root, 2, seed=1, config=SUBSET)
    return epath.Path(root)


@pytest.fixture
def copy(tree, tmp_path):
    for part in ("images", "annot"):
        for folder in (tree / part).glob("s_09_act_02_subact_01_ca_01"):
            shutil.copytree(folder, tmp_path / part / folder.name)
    return epath.Path(tmp_path)


@pytest.fixture(scope="module")
def found(tree):
    return list(raw.samples(tree, "validation", SUBSET))


def test_subsets_are_those_of_the_original():
    assert len(raw.sequences("trainfull")) == 600 and len(raw.sequences("validfull")) == 240
    assert not set(raw.sequences("trainfull")) & set(raw.sequences("validfull"))
    assert (
        raw.COUNTS["train"] == 120_000
        and raw.COUNTS["valid"] == 9_600
        and raw.COUNTS["validmin"] == 2_400
    )
    assert (
        raw.sequences("validact07")[0] == "s_09_act_07_subact_01_ca_01"
        and len(raw.sequences("validact07")) == 16
    )
    sequence = raw.sequences("validfull")[0]
    assert raw.frames("validfull", sequence, 25) == list(range(1, 26))
    assert raw.frames("validsample10", sequence, 25) == [1, 11, 21]
    assert raw.frames("trainsample2", sequence, 5) == [1, 3, 5]
    with pytest.raises(ValueError, match="'validact17' of Human3.6M; expected one of train, "):
        raw.sequences("validact17")


def test_random_frames_are_fixed_and_uniform():
    sequence, other = raw.sequences("validfull")[:2]
    ten, forty = raw.frames("validmin", sequence, 2000), raw.frames("valid", sequence, 2000)
    assert ten == [717, 1010, 1012, 1103, 1126, 1332, 1520, 1529, 1655, 1932]
    assert len(set(forty)) == 40 and set(ten) < set(forty) and forty == sorted(forty)
    assert raw.frames("validact02", sequence, 2000) == forty
    assert len(set(raw.frames("train", sequence, 2000))) == 200
    assert raw.frames("valid", other, 2000) != forty
    assert raw.frames("valid", sequence, 3) == [1, 2, 3]
    # One more frame changes a choice by one frame at most.
    assert len(set(raw.frames("valid", sequence, 2001)) ^ set(forty)) in (0, 2)
    spread = np.array(
        [i for name in raw.sequences("validfull") for i in raw.frames("valid", name, 2000)]
    )
    assert np.abs(np.histogram(spread, bins=10, range=(1, 2001))[0] - 960).max() < 130


@pytest.mark.slow
def test_joints_project_onto_the_rendered_body(tree, found):
    assert raw.missing(tree, SUBSET) == [] and len(raw.missing(tree)) == 2 * 600
    assert len(found) == len({key for key, _ in found}) == 32
    assert [key for key, _ in found] == sorted(key for key, _ in found)
    behind = []
    for key, sample in found:
        assert sample["id"] == key and sample["visible"].all() and sample["visible"].shape == (18,)
        xyz, uv, k, lens = (
            sample[name].astype(float) for name in ("joints_xyz", "joints_uv", "k", "distortion")
        )
        np.testing.assert_allclose(project_through_lens(xyz, k, lens), uv, atol=0.01)
        plain = np.abs(project(xyz, k) - uv)
        assert 0.01 < plain.max() < 1
        image = cv2.imdecode(np.frombuffer(sample["image"].getvalue(), np.uint8), cv2.IMREAD_COLOR)[
            ..., ::-1
        ]
        _, depth = fake_body.render_people(
            xyz[None], fake.distorted_slopes(k, lens), np.random.default_rng(0)
        )
        u, v = np.rint(uv).astype(int).T
        behind += list((xyz[:, 2] - depth[v, u]) / fake_body.RADII)
        for joint in ("knee", "ankle", "elbow", "wrist"):
            for side in ("left", "right"):
                at = fake_body.JOINTS.index(f"{side}_{joint}")
                if behind[at - 18] < 1.1:  # nothing is in front of it
                    red, _, blue = image[v[at], u[at]].astype(int)
                    assert (red > blue) == (side == "right"), (key, side, joint)
    assert min(behind) > 0.3 and np.median(behind) < 1.1


def test_body_is_upright_and_not_mirrored(found):
    names = SKELETONS["body18"].joints
    for _, sample in found:
        at = dict(zip(names, sample["joints_xyz"].astype(float), strict=True))
        assert at["head"][1] < at["pelvis"][1] < min(at["left_ankle"][1], at["right_ankle"][1])
        up, ahead, left = (
            at["neck"] - at["pelvis"],
            at["nose"] - at["neck"],
            at["left_shoulder"] - at["right_shoulder"],
        )
        assert np.dot(np.cross(up, ahead), left) > 0
        np.testing.assert_allclose(
            at["thorax"], (at["left_shoulder"] + at["right_shoulder"]) / 2, atol=1e-3
        )
        for joint, parent, length in (
            ("left_knee", "left_hip", 450),
            ("right_wrist", "right_elbow", 250),
        ):
            np.testing.assert_allclose(np.linalg.norm(at[joint] - at[parent]), length, rtol=1e-4)


def test_four_cameras_see_one_body(found):
    moments = {}
    for key, sample in found:
        world = sample["joints_xyz"] @ sample["rotation"] + sample["place"]
        moments.setdefault((key[:-13], sample["frame"]), []).append(world)
    assert len(moments) == 8
    for views in moments.values():
        assert len(views) == 4
        np.testing.assert_allclose(views, np.broadcast_to(views[0], (4, 18, 3)), atol=0.01)


def lines_changed(number, change):
    def corrupt(root):
        lines = (root / META).read_text().splitlines()
        lines[number - 1] = change(lines[number - 1])
        (root / META).write_text("\n".join(lines) + "\n")

    return corrupt


def remove(name):
    return lambda root: (root / name).unlink()


def cut(name):
    return lambda root: (root / name).write_bytes((root / name).read_bytes()[:2000])


def smaller(root):
    (root / FIRST).write_bytes(cv2.imencode(".jpg", np.zeros((125, 125, 3), np.uint8))[1].tobytes())


CORRUPT = {
    "no annotation": (remove(META), "matlab_meta.txt: no such file"),
    "no image": (remove(FIRST), "1 images are missing, first 000001; expected 2 as in "),
    "an image too many": (
        lambda r: (r / FIRST.replace("001.jpg", "003.jpg")).write_bytes(b""),
        "3 images; expected 2 as in",
    ),
    "no folder": (lambda r: (r / FIRST).parent.rmtree(), "no such folder; expected the images"),
    "image cut": (cut(FIRST), "000001.jpg: a JPEG image; .* cut short"),
    "image of another size": (smaller, "125 x 125; expected 250 x 250 as in "),
    "annotation cut": (cut(META), "matlab_meta.txt"),
    "annotation shorter": (lines_changed(1, lambda _: "3"), "line 1 gives 3 frames, 2 follow"),
    "count no number": (
        lines_changed(1, lambda _: "two"),
        "line 1: 'two' is not a number; expected 1 numbers .frames.",
    ),
    "only a head": (
        lambda r: (r / META).write_text("2\n 250 250\n"),
        "2 lines; expected 9 before those of the frames",
    ),
    "flipped byte": (
        lines_changed(10, lambda line: line.replace(".", "x", 1)),
        "line 10: .* is not a number",
    ),
    "no text": (
        lambda r: (r / META).write_bytes(b"\xff\x00\x80" * 50),
        "not plain text; expected matlab_meta.txt",
    ),
    "nan": (
        lines_changed(11, lambda line: " nan" + line[line.index(" ", 1) :]),
        "line 11: .* has NaN or Inf",
    ),
    "a joint short": (
        lines_changed(10, lambda line: line.rsplit(" ", 3)[0]),
        "line 10: 93 words; expected 96 numbers",
    ),
    "no rotation": (
        lines_changed(3, lambda line: " 2" + line[line.index(" ", 1) :]),
        "line 3: R is not a rotation",
    ),
    "mirrored": (
        lines_changed(3, lambda line: " ".join(str(-float(w)) for w in line.split())),
        "line 3: R is not a rotation",
    ),
    "no focal length": (
        lines_changed(5, lambda _: " 0 0"),
        "lines 2 to 7: size, T, f or k is not a camera's",
    ),
    "other joints": (
        lines_changed(9, lambda line: line.replace(" 7 ", " 6 ")),
        "line 9: joints 1 2 3 4 6 8 .* expected 1 2 3 4 7",
    ),
    "far away": (
        lines_changed(10, lambda line: " 1e30" + line[line.index(" ", 1) :]),
        "line 10: '1e30' is not a position",
    ),
    "behind": (
        lines_changed(4, lambda line: " ".join(str(-float(w)) for w in line.split())),
        "line 10: a joint is behind",
    ),
}


@pytest.mark.parametrize("name", CORRUPT)
def test_damaged_file_gives_one_line(copy, name):
    corrupt, message = CORRUPT[name]
    next(raw.samples(copy, "validation", SUBSET))
    corrupt(copy)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        list(raw.samples(copy, "validation", SUBSET))
    assert "\n" not in str(caught.value) and str(copy) in str(caught.value)


def test_words_before_the_numbers_are_ignored(copy):
    _, before = next(raw.samples(copy, "validation", SUBSET))
    lines = (copy / META).read_text().splitlines()
    (copy / META).write_text("\n".join([lines[0], *(f"name{line}" for line in lines[1:])]))
    _, after = next(raw.samples(copy, "validation", SUBSET))
    np.testing.assert_array_equal(before["joints_uv"], after["joints_uv"])


REAL = {
    "S1_Directions_1.54138969_000001": "s_01_act_02_subact_01_ca_01",
    "S5_SittingDown.54138969_002061": "s_05_act_10_subact_01_ca_01",
}


@pytest.mark.parametrize("name", REAL)
def test_real_joints_land_on_the_published_2d(real_data, tmp_path, monkeypatch, name):
    """A real frame with camera and world joints, in Sun's format, gives the published 2D."""
    folder, sequence = real_data / "rgb" / "h36m", REAL[name]
    truth = json.loads((folder / "annotations.json").read_text())
    number = next(image["id"] for image in truth["images"] if image["file_name"] == f"{name}.jpg")
    labels = next(row for row in truth["annotations"] if row["image_id"] == number)
    uv, metres = (
        np.reshape(labels["keypoints"], (17, 3))[:, :2],
        np.reshape(labels["keypoints_3d"], (17, 4))[:, :3],
    )
    given = json.loads((folder / "cameras.json").read_text())[f"('{name[:2]}', '54138969')"]
    (fx, fy), (u, v) = np.ravel(given["f"]), np.ravel(given["c"])
    camera = annotation.LensCamera(
        given["h"],
        given["w"],
        np.transpose(given["R"]),  # theirs is camera to world
        1000 * np.ravel(given["T"]),
        np.array([[fx, 0, u], [0, fy, v], [0, 0, 1]]),
        np.concatenate([np.ravel(given["k"]), np.ravel(given["p"])]),
    )
    world = np.zeros((1, 32, 3))
    world[0, [i - 1 for i in annotation.USED]] = 1000 * metres
    for part in ("images", "annot"):
        (tmp_path / part / sequence).mkdir(parents=True)
    (tmp_path / "annot" / sequence / "matlab_meta.txt").write_text(fake.meta_text(camera, world))
    shutil.copy(folder / f"{name}.jpg", tmp_path / "images" / sequence / f"{sequence}_000001.jpg")
    monkeypatch.setattr(raw, "sequences", lambda subset: [sequence])

    ((_, sample),) = raw.samples(epath.Path(tmp_path), "train", "trainfull")
    np.testing.assert_allclose(sample["joints_uv"][:17], uv, atol=1e-3)
    plain = np.linalg.norm(project(sample["joints_xyz"], sample["k"])[:17] - uv, axis=-1).max()
    assert 0.5 < plain < 2
    published = np.load(folder / "joints3d.npz", allow_pickle=False)
    row = [path.endswith(f"/{name}.jpg") for path in published["imgname"]].index(True)
    theirs = 1000 * published["S"][row, :, :3]
    np.testing.assert_allclose(
        sample["joints_xyz"][:17] - sample["joints_xyz"][0], theirs - theirs[0], atol=1
    )
