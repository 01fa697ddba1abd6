"""Labelled frames: the form, what it reads as, and one line for every damage."""

import json
import re

import numpy as np
import pytest

from handjax.data.formats.labelled_frames import read_frames
from handjax.pose.skeleton import SKELETONS

K = [200, 210, 80, 60]
SHARED = {
    "k": K,
    "unit_mm": 0.5,
    "hand": "right",
    "order": ["index_tip", "wrist"],
    "kind": "surface points, clicked",
}


@pytest.fixture
def folder(tmp_path):
    """write(content, *images) → the folder with a frames.json; images are empty files."""

    def write(content, *images, name="frames.json"):
        for image in images or ("a.png", "b.png"):
            (tmp_path / image).parent.mkdir(exist_ok=True)
            (tmp_path / image).touch()
        (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content))
        return tmp_path

    return write


def test_a_folder_is_read(folder):
    frames = {
        "sub/a.png": {"uv": [[100, 50], None], "center": [1, 2, 500], "person": 3},
        "b.png": {"hand": "none", "k": "nyu", "box": [1, 2, 3, 4], "sequence": "s"},
    }
    read = read_frames(folder(SHARED | {"frames": frames}, "sub/a.png", "b.png"))
    assert (read.skeleton.name, read.kind, read.unit_mm, read.form) == (
        *("hand21", "surface"),
        *(0.5, "png16"),
    )
    a, b = read.frames
    index = SKELETONS["hand21"].joints.index("index_tip")
    np.testing.assert_array_equal(a.uv[index], [100, 50])
    assert np.isfinite(a.uv).all(1).sum() == 1 and not a.labelled.any()
    assert (a.hand, a.person, a.sequence, b.hand, b.sequence) == ("right", "3", "", "none", "s")
    np.testing.assert_array_equal(a.center, [1, 2, 500])
    np.testing.assert_array_equal(b.box, [1, 2, 3, 4])
    assert b.k[0, 0] > 580 and a.path.name == "a.png"


def test_clicks_get_the_depth_of_the_surface(folder):
    content = SHARED | {"frames": {"a.png": {"uv": [[100, 50], [10, 10]]}}}
    (frame,) = read_frames(folder(content)).frames
    depth = np.zeros((120, 160), np.float32)
    depth[48:50, 98:103] = 400  # the median of what was measured, not of the whole window
    depth[50, 100] = 900
    placed = frame.placed(depth)
    index, wrist = (SKELETONS["hand21"].joints.index(name) for name in ("index_tip", "wrist"))
    np.testing.assert_allclose(placed.xyz[index], [20 * 400 / 200, -10 * 400 / 210, 400])
    assert not placed.labelled[wrist]  # nothing was measured there


def test_labels_outside_the_image_are_dropped(folder):
    content = SHARED | {"frames": {"a.png": {"uv": [[-40, 50], [1000, 10]]}}}
    (frame,) = read_frames(folder(content)).frames
    assert not frame.placed(np.full((120, 160), 400, np.float32)).labelled.any()


def test_a_lone_json_of_another_name_is_read(folder):
    path = folder(SHARED | {"frames": {"a.png": {}}}, name="tips.json")
    assert len(read_frames(path).frames) == 1
    (path / "other.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match="other.json, tips.json; expected frames.json"):
        read_frames(path)
    assert read_frames(path / "tips.json").path.name == "tips.json"


def test_named_orders(folder):
    content = SHARED | {"order": "nyu14", "kind": "joints"}
    xyz = [[0, 0, 500 + 10 * i] for i in range(14)]
    (frame,) = read_frames(folder(content | {"frames": {"a.png": {"xyz_mm": xyz}}})).frames
    np.testing.assert_array_equal(frame.xyz, xyz)
    assert frame.labelled.all()


LABELS = {"uv": [[100, 50], None]}
BAD = [
    ("[", "not JSON, or cut short"),
    ("[]", "[]; expected an object"),
    ({"frames": {}}, "'frames' is {}; expected {IMAGE: LABELS, ...}"),
    ({"frames": ["a.png"]}, "'frames' is ['a.png']"),
    ({"fames": {}}, "unknown key 'fames'; expected k, unit_mm"),
    ({"unit_mm": 0}, "'unit_mm' is 0; expected mm, above 0"),
    ({"unit_mm": True}, "'unit_mm' is True"),
    ({"format": "jpg"}, "'format' is 'jpg'; expected png16 or nyu"),
    ({"k": [1, 2]}, "a.png: 'k': camera [1, 2]: expected FX,FY,CX,CY"),
    ({"k": None}, "'k': camera None: expected FX,FY,CX,CY"),
    ({"order": ["index_tips", "wrist"]}, "'index_tips' is no joint of hand21"),
    ({"order": ["wrist", "wrist"]}, "'wrist' is twice in 'order'"),
    ({"order": [["wrist"], "wrist"]}, "['wrist'] is no joint of hand21"),
    ({"order": "msra"}, "'order' is 'msra'; expected a list of joints"),
    ({"order": None}, "there are labels, but no 'order'"),
    ({"kind": "clicked"}, "'kind' is 'clicked'; expected a text that begins with surface"),
    ({"kind": None}, "'kind' is missing"),
    ({"kind": "joints"}, "'kind' is joints and index_tip has uv alone"),
    ({"hand": "both"}, "a.png: 'hand' is 'both'; expected right, left, unknown, none"),
    ({"hand": "none"}, "'hand' is none, but there are labels"),
    ({"frames": {"a.png": []}}, "a.png: []; expected an object"),
    ({"frames": {"a.png": {"uvs": 1}}}, "a.png: unknown key 'uvs'"),
    ({"frames": {"a.png": {"uv": [[1, 2]]}}}, "'uv' is 1 rows; expected 2 of 2 numbers"),
    ({"frames": {"a.png": {"uv": 3}}}, "'uv' is 3; expected 2 of 2 numbers"),
    ({"frames": {"a.png": {"uv": [[1, 2], [1]]}}}, "row 1 of uv: 'uv' is not 2 finite numbers"),
    ({"frames": {"a.png": {"uv": [[1, 2], ["x", 1]]}}}, "'uv' is not 2 finite numbers"),
    ({"frames": {"a.png": {"xyz_mm": [[1, 2, -3], None]}}}, "'xyz_mm' has z <= 0"),
    (
        {"frames": {"a.png": {"xyz_mm": [[0.1, 0.2, 0.5], None]}}},
        "'xyz_mm' is 0.5 mm from the camera; expected at least 50: are the labels in metres or",
    ),
    (
        {"order": "hand21", "frames": {"a.png": {"xyz_mm": [[0, i, 900] for i in range(21)]}}},
        "'xyz_mm': the joints span a tenth of a hand or person: in centimetres? expected mm",
    ),
    (
        {"frames": {"a.png": LABELS | {"xyz_mm": [[40, 19, 400], None]}}},
        "'xyz_mm' of index_tip is 20 px from its 'uv'",
    ),
    ({"frames": {"a.png": LABELS | {"center": [1, 2]}}}, "'center' is not 3 finite numbers"),
    ({"frames": {"a.png": LABELS | {"box": [1, 2, 0, 4]}}}, "expected left, top, width, height"),
    ({"frames": {"a.png": LABELS | {"person": []}}}, "'person' is []; expected a name"),
    ({"frames": {"../a.png": LABELS}}, "expected the path of an image below the file's folder"),
    ({"frames": {"c.png": LABELS}}, "1 of 1 images are missing, the first is c.png"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_damage_is_one_line(folder, change, message):
    content = change
    if isinstance(change, dict):
        content = SHARED | {"frames": {"a.png": LABELS}} | change
    path = folder(content)
    with pytest.raises((ValueError, FileNotFoundError), match=re.escape(message)) as error:
        read_frames(path)
    assert "\n" not in str(error.value) and "frames.json" in str(error.value)


def test_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder; expected one with depth images"):
        read_frames(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="no .json file; expected frames.json"):
        read_frames(tmp_path)


def test_real_clicked_fingertips(real_data):
    read = read_frames(real_data / "depth_sr305")
    assert read.kind == "surface" and len(read.frames) == 5
    assert [int(frame.labelled.sum()) for frame in read.frames] == [5, 5, 5, 5, 4]
    assert all(frame.hand == "right" for frame in read.frames)
