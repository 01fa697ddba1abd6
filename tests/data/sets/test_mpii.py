import json
import shutil

import cv2
import numpy as np
import pytest
import scipy.io
from etils import epath

from handjax.data.preparation.examples import NOTES
from handjax.data.sets.mpii import fake, raw
from handjax.pose.joint_orders import ORDERS

NAMES = ORDERS["mpii16"].joints


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("mpii")
    fake.write(root, 3, seed=1)
    return epath.Path(root)


@pytest.fixture
def copy(tree, tmp_path):
    shutil.copytree(tree, tmp_path / "mpii")
    return epath.Path(tmp_path / "mpii")


def pixels(sample):
    return cv2.imdecode(np.frombuffer(sample["image"].getvalue(), np.uint8), cv2.IMREAD_COLOR)[
        ..., ::-1
    ]


@pytest.mark.parametrize("split", ["train", "validation"])
def test_joints_lie_on_the_rendered_people(tree, split):
    assert raw.missing(tree) == []
    found = list(raw.samples(tree, split))
    assert len({key for key, _ in found}) == len(found) == 6
    colored, absent = 0, 0
    for n, (key, sample) in enumerate(found):
        assert sample["id"] == key and key.startswith(f"{split}/") and key.endswith(f"_{n % 2:02d}")
        shot = fake.scene(split, n // 2, seed=1)
        uv, visible, image = sample["joints_uv"], sample["visible"], pixels(sample)
        np.testing.assert_allclose(
            uv[visible], fake.own_joints(shot["joints_uv"][n % 2])[visible], atol=0.01
        )
        assert (uv[~visible] == 0).all()
        absent += (~visible).sum()
        z = fake.own_joints(shot["joints_xyz"][n % 2])[:, 2]
        for joint, (u, v), seen, far in zip(
            NAMES, np.rint(uv).astype(int), visible, z, strict=True
        ):
            # Less than 100 mm: only the joint's own sphere is in front of it.
            if seen and "_" in joint and 0 < far - shot["depth"][v, u] < 100:
                red, _, blue = image[v, u].astype(int)
                colored += 1
                assert (red > blue) == joint.startswith("right"), (key, joint)
    assert colored > 30 and absent == 3


def test_box_contains_the_person(tree):
    for _, sample in raw.samples(tree, "train"):
        left, top, width, height = sample["box"]
        uv = sample["joints_uv"][sample["visible"]]
        assert width == height
        np.testing.assert_allclose(width, 250 * sample["scale"], rtol=1e-6)
        assert (uv > (left, top)).all() and (uv < (left + width, top + height)).all()
        np.testing.assert_allclose(
            (left + width / 2, top + height / 2 - 15 * sample["scale"]),
            sample["center_uv"],
            atol=1e-3,
        )
        assert sample["head_size"] == 0


def test_head_size_is_that_of_the_evaluation(tree):
    boxes = scipy.io.loadmat(str(tree / "annot" / "gt_valid.mat"))["headboxes_src"]
    for i, (_, sample) in enumerate(raw.samples(tree, "validation")):
        width, height = boxes[1, :, i] - boxes[0, :, i]
        np.testing.assert_allclose(sample["head_size"], 0.6 * np.hypot(width, height), rtol=1e-6)


@pytest.mark.parametrize(
    "wrong", [{"scale": -1}, {"scale": 0}, {"scale": 300}, {"center": [-900, 5000]}]
)
def test_the_joints_give_a_box_where_the_file_has_none(copy, wrong):
    person(**wrong)(copy)
    examples = list(raw.samples(copy, "validation").lazy)
    samples = [read() for _, read in examples]
    assert [sample[NOTES] for sample in samples] == [
        ("box_replaced",) if i == 3 else () for i in range(len(samples))
    ]
    left, top, width, height = samples[3]["box"]
    uv = samples[3]["joints_uv"][samples[3]["visible"]]
    assert width == height < 2 * np.ptp(uv, axis=0).max()
    assert (uv > (left, top)).all() and (uv < (left + width, top + height)).all()
    assert all(NOTES not in sample for _, sample in raw.samples(copy, "validation"))


def test_test_split_has_no_joints(tree):
    found = list(raw.samples(tree, "test"))
    assert len(found) == 6
    for _, sample in found:
        assert not sample["visible"].any() and not sample["joints_uv"].any() and sample["scale"] > 0


def test_missing_files_are_listed(copy):
    (copy / "annot" / "test.json").unlink()
    (copy / "annot" / "gt_valid.mat").unlink()
    (copy / "images" / "100000001.jpg").unlink()
    assert raw.missing(copy) == [
        "annot/test.json",
        "annot/gt_valid.mat",
        "images/100000001.jpg: 1 of 3 images of train.json",
    ]
    shutil.rmtree(copy / "images")
    assert raw.missing(copy)[-1] == "images"


def person(**changes):
    def corrupt(root):
        path = root / "annot" / "valid.json"
        people = json.loads(path.read_text())
        people[3] |= changes
        path.write_text(json.dumps(people))

    return corrupt


def broken(name, change):
    return lambda root: (root / name).write_bytes(change((root / name).read_bytes()))


def mat(**changes):
    def corrupt(root):
        path = root / "annot" / "gt_valid.mat"
        content = {
            name: value
            for name, value in scipy.io.loadmat(str(path)).items()
            if not name.startswith("_")
        }
        scipy.io.savemat(
            str(path),
            {name: changes.get(name, lambda v: v)(value) for name, value in content.items()},
        )

    return corrupt


nan_joints = [[float("nan"), 1.0]] * 16
CORRUPT = {
    "image cut": (
        broken("images/200000000.jpg", lambda b: b[:3000]),
        "200000000.jpg: a JPEG image; .* cut short",
    ),
    "image gone": (
        lambda r: (r / "images/200000000.jpg").unlink(),
        "200000000.jpg: no such file",
    ),
    "json cut": (
        broken("annot/valid.json", lambda b: b[:500]),
        "valid.json: not JSON, or cut short",
    ),
    "json flipped": (
        broken("annot/valid.json", lambda b: b.replace(b":", b"\xff", 1)),
        "valid.json: not JSON, or cut short",
    ),
    "json gone": (lambda r: (r / "annot/valid.json").unlink(), "valid.json: no such file"),
    "not a list": (broken("annot/valid.json", lambda b: b"{}"), "not a list of people"),
    "true": (
        person(joints=[[True, 5]] * 16),
        "valid.json, person 3: 'joints' is not 16 x 2 finite numbers",
    ),
    "nan": (
        person(joints=nan_joints),
        "valid.json, person 3: 'joints' is not 16 x 2 finite numbers",
    ),
    "a joint short": (
        person(joints=[[1, 2]] * 15),
        "person 3: 'joints' is not 16 x 2 finite numbers",
    ),
    "ragged": (person(joints=[[1, 2], [3]]), "person 3: 'joints' is not 16 x 2 finite numbers"),
    "words": (person(center=["a", "b"]), "person 3: 'center' is not 2 finite numbers"),
    "no scale": (person(scale=None), "person 3: 'scale' is not a finite number"),
    "no box": (
        person(scale=-1, joints_vis=[0] * 16),
        "person 3: .* scale -1 are no box of this person, .*correct or remove",
    ),
    "mark": (person(joints_vis=[3] * 16), "person 3: joints_vis 3; expected 0, 1 or as in COCO 2"),
    "leads out": (
        person(image="../../secret.jpg"),
        "person 3: names the file '../../secret.jpg'; expected a path below",
    ),
    "no name": (person(image=7), "person 3: image 7; expected the name of a .jpg"),
    "heads cut": (
        broken("annot/gt_valid.mat", lambda b: b[:300]),
        "gt_valid.mat: .*; expected a whole MAT file",
    ),
    "heads no mat": (
        broken("annot/gt_valid.mat", lambda b: b"x" * 400),
        "gt_valid.mat: .*; expected a whole MAT file",
    ),
    "heads gone": (lambda r: (r / "annot/gt_valid.mat").unlink(), "gt_valid.mat: no such file"),
    "heads fewer": (
        mat(headboxes_src=lambda v: v[..., :-1]),
        r"headboxes_src is \(2, 2, 5\); expected .* \(2, 2, 6\)",
    ),
    "heads of others": (
        mat(pos_gt_src=lambda v: v[..., ::-1]),
        "is elsewhere in valid.json",
    ),
    "heads empty": (mat(headboxes_src=lambda v: 0 * v), "the head box of person 0 is empty"),
}


@pytest.mark.parametrize("name", CORRUPT)
def test_damaged_file_gives_one_line(copy, name):
    corrupt, message = CORRUPT[name]
    corrupt(copy)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        list(raw.samples(copy, "validation"))
    assert "\n" not in str(caught.value) and str(copy) in str(caught.value)


def test_real_people(real_data, tmp_path):
    folder = real_data / "rgb" / "mpii"
    (tmp_path / "annot").mkdir()
    (tmp_path / "images").mkdir()
    shutil.copy(folder / "annotations.json", tmp_path / "annot" / "train.json")
    for path in folder.glob("*.jpg"):
        shutil.copy(path, tmp_path / "images")
    given = json.loads((folder / "annotations.json").read_text())
    found = list(raw.samples(epath.Path(tmp_path), "train"))
    assert [key for key, _ in found] == [f"train/{person['image'][:-4]}_00" for person in given]
    for (_, sample), person in zip(found, given, strict=True):
        height, width, _ = pixels(sample).shape
        uv, visible = sample["joints_uv"], sample["visible"]
        assert visible.tolist() == [bool(v) for v in person["joints_vis"]]
        np.testing.assert_allclose(uv[visible], np.array(person["joints"])[visible] - 1, atol=1e-3)
        assert (uv >= 0).all() and (uv < (width, height)).all()
        left, top, side, _ = sample["box"]
        assert (uv[visible] > (left, top)).all() and (uv[visible] < (left + side, top + side)).all()
        at = dict(zip(NAMES, uv, strict=True))
        assert at["head"][1] < at["neck"][1] < at["thorax"][1] < at["pelvis"][1]
        # The pelvis is between the hips and the thorax between the shoulders.
        for center, part in (("pelvis", "hip"), ("thorax", "shoulder")):
            ends = at[f"left_{part}"], at[f"right_{part}"]
            assert np.linalg.norm(at[center] - np.mean(ends, axis=0)) < 0.5 * np.linalg.norm(
                ends[0] - ends[1]
            )
