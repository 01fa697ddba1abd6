"""Skeletons are trees with named joints, mirror images keep them, and real labels fit them."""

import re

import numpy as np
import pytest

from handjax.pose.skeleton import COLOURS, FINGERS, SKELETONS


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
def test_is_a_tree_with_named_joints(skeleton):
    assert SKELETONS[skeleton.name] is skeleton
    assert (
        len(skeleton.joints)
        == len(skeleton.parents)
        == len(skeleton.groups)
        == len(set(skeleton.joints))
    )
    assert skeleton.parents.count(-1) == 1
    assert len(skeleton.bones) == len(skeleton.joints) - 1
    groups = (
        {"palm", *FINGERS}
        if "head" not in skeleton.joints
        else {"trunk", "left_arm", "right_arm", "left_leg", "right_leg"}
    )
    assert set(skeleton.groups) == groups <= set(COLOURS)
    for joint in range(len(skeleton.joints)):
        for _ in skeleton.joints:
            joint = skeleton.parents[joint] if joint != skeleton.root else joint
        assert joint == skeleton.root


def test_sizes_and_orders():
    sizes = {"hand21": 21, "nyu14": 14, "nyu36": 36, "icvl16": 16, "body18": 18}
    sizes |= {"itop15": 15}
    assert {name: len(s.joints) for name, s in SKELETONS.items()} == sizes
    hand = SKELETONS["hand21"]
    assert hand.joints[:5] == ("wrist", "thumb_base", "thumb_mid", "thumb_end", "thumb_tip")
    assert hand.joints[17:] == ("little_base", "little_mid", "little_end", "little_tip")
    assert hand.bones[:5] == ((0, 1), (1, 2), (2, 3), (3, 4), (0, 5))
    assert SKELETONS["nyu14"].joints[SKELETONS["nyu14"].root] == "palm"
    # As in lib/hmdb/hm36.py of JimmySuen/integral-human-pose, whose pelvis is its own parent.
    parents = (0, 0, 1, 2, 0, 4, 5, 0, 17, 17, 8, 17, 11, 12, 17, 14, 15, 0)
    assert tuple(max(parent, 0) for parent in SKELETONS["body18"].parents) == parents


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
def test_flip_is_an_involution_that_keeps_the_bones(skeleton):
    flip = skeleton.flip
    assert [flip[i] for i in flip] == list(range(len(flip)))
    assert {(flip[a], flip[b]) for a, b in skeleton.bones} == set(skeleton.bones)
    swapped = {i for pair in skeleton.flip_pairs for i in pair}
    assert swapped == {
        i for i, joint in enumerate(skeleton.joints) if re.match("left|right", joint)
    }
    assert all(flip[i] == i for i in range(len(flip)) if i not in swapped)


def test_flip_pairs_of_the_originals():
    pairs = {frozenset(pair) for pair in SKELETONS["body18"].flip_pairs}
    assert pairs == {
        frozenset(pair) for pair in ((1, 4), (2, 5), (3, 6), (14, 11), (15, 12), (16, 13))
    }
    assert SKELETONS["hand21"].flip_pairs == ()


@pytest.mark.parametrize(
    ("name", "file", "focal", "centre", "varies"),
    [
        ("icvl16", "icvl_test_groundtruth_uvd.txt", 240.99, (160, 120), 0.2),
        (
            "nyu14",
            "nyu_test_groundtruth_uvd.txt",
            588.03,
            (320, 240),
            0.35,
        ),  # two labels span a bending joint
    ],
)
def test_bones_of_real_labels_keep_their_length(real_data, name, file, focal, centre, varies):
    """Neighbouring joints of a finger keep their distance; a mix-up of joints would not."""
    skeleton = SKELETONS[name]
    uvd = np.loadtxt(real_data / "metrics" / file).reshape(-1, len(skeleton.joints), 3)
    xyz = np.concatenate([(uvd[..., :2] - centre) / focal * uvd[..., 2:], uvd[..., 2:]], axis=-1)
    for parent, child in skeleton.bones:
        length = np.linalg.norm(xyz[:, parent] - xyz[:, child], axis=-1)
        if skeleton.groups[parent] == skeleton.groups[child] != "palm":
            assert 10 < length.mean() < 70 and length.std() < varies * length.mean(), (
                skeleton.joints[child]
            )
        assert length.mean() < 90
