"""Skeletons of users' own joints."""

import json

import pytest

from handjax.pose.skeleton_file import PALETTE, own_skeleton, parse, read_skeleton, to_content

TOY = {
    "joints": ["left_ear", "right_ear", "nose", "tail"],
    "edges": [["left_ear", "nose"], ["nose", "right_ear"], ["left_ear", "right_ear"]],
    "flip": [["left_ear", "right_ear"]],
    "colours": {"tail": "#D62728"},
    "sigmas": {"left_ear": 0.03, "right_ear": 0.03, "nose": 0.02, "tail": 0.1},
}


def test_a_file_is_read_and_written_unchanged(tmp_path):
    (tmp_path / "toy.json").write_text(json.dumps(TOY))
    toy = read_skeleton(tmp_path / "toy.json")
    assert toy.joints == tuple(TOY["joints"]) and toy.bones == ((0, 2), (2, 1), (0, 1))
    assert toy.flip == (1, 0, 2, 3) and toy.sigmas == (0.03, 0.03, 0.02, 0.1)
    assert toy.parents == (-1, 0, 0, -1) and toy.root == 0  # the edges have a cycle; the tail none
    assert toy.colours == (*PALETTE[:3], "#d62728") and toy.rgb[3] == (0xD6, 0x27, 0x28)
    assert toy.groups == toy.joints and hash(toy) == hash(parse(TOY, "again"))
    assert parse(json.loads(json.dumps(to_content(toy))), "again") == toy


def test_names_alone_give_what_follows_from_them():
    toy = own_skeleton(["tip"])
    assert toy.bones == toy.flip_pairs == toy.sigmas == () and toy.parents == (-1,)
    names = [
        "left_eye",
        "right_eye",
        "earLeft",
        "earRight",
        "L Wing",
        "R Wing",
        "Left-foot",
        "left",
    ]
    assert own_skeleton([*names, "Right-foot", "upleft", "upright"]).flip_pairs == (
        *((0, 1), (2, 3), (4, 5), (6, 8)),
    )
    hand = parse({"joints": ["a", "b", "c"], "parents": {"c": "b", "b": "a"}}, "file")
    assert hand.bones == ((0, 1), (1, 2)) and hand.parents == (-1, 0, 1)
    assert parse({"joints": ["left_a", "right_a"], "flip": []}, "file").flip_pairs == ()
    many = own_skeleton([f"p{i}" for i in range(12)])
    assert many.groups[10:] == ("p0", "p1")  # joints of one colour are a group


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"joints": []}, r"joints \[\]; expected a list of 1 to 1000 names"),
        ({"joints": ["a", "a"]}, "joint 'a'; expected each name once"),
        ({"joints": ["a", 3]}, "joint 3; expected a name"),
        ({"joints": [" a"]}, "joint ' a'; expected a name without spaces"),
        ({"joints": "ab"}, "joints 'ab'; expected a list"),
        ({"bones": []}, "unknown 'bones'; expected joints, edges"),
        ({"edges": [["tail", "leg"]]}, "edges: no joint 'leg'; expected left_ear, right_ear"),
        ({"edges": [[1, 2]]}, "edges: no joint 1; expected left_ear"),
        ({"edges": [["tail", "tail"]]}, "edges: .*; expected pairs of two joints"),
        ({"edges": [["tail", "nose"], ["nose", "tail"]]}, ".* twice; expected each pair once"),
        ({"parents": {}}, "both edges and parents"),
        ({"flip": [["left_ear", "nose"], ["nose", "tail"]]}, "flip has 'nose' twice"),
        ({"colours": {"tail": "red"}}, "colour 'red' of 'tail'; expected '#rrggbb'"),
        ({"colours": {"leg": "#ffffff"}}, "colours: no joint 'leg'"),
        ({"sigmas": {"tail": 0.1}}, "no sigma of 'left_ear'; expected those of all joints"),
        ({"sigmas": dict.fromkeys(TOY["joints"], 2)}, "sigma 2 of 'left_ear'; .* between 0 and 1"),
    ],
)
def test_faults_are_named_with_the_file(changed, message):
    with pytest.raises(ValueError, match=f"^toy.json: {message}"):
        parse({**TOY, **changed}, "toy.json")


def test_no_tree_no_json_and_no_file_are_explained(tmp_path):
    circle = {"joints": ["a", "b"], "parents": {"a": "b", "b": "a"}}
    with pytest.raises(ValueError, match="parents: 'a' is its own ancestor; expected a tree"):
        parse(circle, "file")
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(ValueError, match="x.json: not JSON .*; expected a skeleton"):
        read_skeleton(tmp_path / "x.json")
    with pytest.raises(FileNotFoundError, match="y.json: no such file"):
        read_skeleton(tmp_path / "y.json")
    with pytest.raises(ValueError, match=r"file: \[\]; expected an object with joints"):
        parse([], "file")
