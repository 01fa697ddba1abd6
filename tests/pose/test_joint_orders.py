"""Joint orders of data sets: conversion to the common orders, compared with real labels."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.data.formats.uvd_text import UVD_FORMATS
from handjax.pose.joint_orders import ORDERS, palm_from_wrist, thorax_from_shoulders
from handjax.pose.skeleton import SKELETONS

TO_COMMON = {
    "rhd": (0, 4, 3, 2, 1, 8, 7, 6, 5, 12, 11, 10, 9, 16, 15, 14, 13, 20, 19, 18, 17),
    "stb": (0, 17, 18, 19, 20, 13, 14, 15, 16, 9, 10, 11, 12, 5, 6, 7, 8, 1, 2, 3, 4),
    "handdb": tuple(range(21)),
    "keypoint_list": tuple(range(21)),
    "freihand": tuple(range(21)),
    "dexycb": tuple(range(21)),
    # As `jointsMapManoToSimple` in vis_HO3D.py of shreyashampali/ho3d.
    "ho3d": (0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20),
    "interhand": (20, 3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12, 19, 18, 17, 16),
    "msra": (0, *range(17, 21), *range(1, 17)),
    "hands2017": (0, 1, 6, 7, 8, 2, 9, 10, 11, 3, 12, 13, 14, 4, 15, 16, 17, 5, 18, 19, 20),
    "nyu36": (0, 3, 6, 9, 12, 15, 18, 21, 24, 25, 27, 30, 31, 32),
    "icvl16": tuple(range(16)),
    "itop15": tuple(range(15)),
    "human36m32": (0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27, -1),
    "human36m17": (*range(17), -1),
    # As in JimmySuen/integral-human-pose's mpii.py and coco.py.
    "mpii16": (6, 2, 1, 0, 3, 4, 5, -1, 8, -1, 9, 13, 14, 15, 12, 11, 10, 7),
    # As the test set's in datasets/preprocess/mpi_inf_3dhp.py of nkolot/SPIN, in Human3.6M's order
    # with the right side first.
    "mpi_inf_3dhp17": (14, 8, 9, 10, 11, 12, 13, 15, 1, 16, 0, 5, 6, 7, 2, 3, 4, -1),
    "coco17": (-1, 12, 14, 16, 11, 13, 15, -1, -1, 0, -1, 5, 7, 9, 6, 8, 10, -1),
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_orders(order):
    common = SKELETONS[order.common]
    assert ORDERS[order.name] is order and order.to_common == TO_COMMON[order.name]
    assert len(set(order.joints)) == len(order.joints)
    assert len(order.to_common) == len(common.joints)
    own = [i for i in order.to_common if i >= 0]
    assert len(set(own)) == len(own) and set(own) <= set(range(len(order.joints)))
    if len(order.joints) == len(common.joints):
        assert sorted(own) == list(range(len(order.joints)))
    # Round trip: joints of the common order return to their own place.
    labels = np.random.default_rng(0).normal(size=(2, len(order.joints), 3)).astype(np.float32)
    there = order.convert(labels)
    assert there.shape == (2, len(common.joints), 3) and there.dtype == labels.dtype
    back = np.zeros_like(labels)
    back[:, own] = there[:, list(order.has)]
    np.testing.assert_array_equal(back[:, own], labels[:, own])
    assert not there[:, ~np.array(order.has)].any()
    np.testing.assert_array_equal(
        order.convert(np.ones(len(order.joints), bool), axis=-1), order.has
    )
    if order.common in ("hand21", "body18"):
        for i, name in enumerate(common.joints):
            assert (order.to_common[i] >= 0) == (
                name in order.joints or i == common.root and order.root == "palm"
            )
            if name in order.joints:
                assert order.joints[order.to_common[i]] == name


def test_roots_are_named():
    roots = {name: order.root for name, order in ORDERS.items() if order.common == "hand21"}
    assert roots == {
        "rhd": "wrist",
        "stb": "palm",
        "handdb": "wrist",
        "keypoint_list": "wrist",
        "freihand": "wrist",
        "dexycb": "wrist",
        "ho3d": "wrist",
        "interhand": "wrist",
        "msra": "wrist",
        "hands2017": "wrist",
    }
    assert ORDERS["stb"].joints[0] == "palm" and ORDERS["rhd"].joints[0] == "wrist"


def test_stb_is_rhd_backwards():
    """jiangxubin/hand_pose reads STB into RHD's order by 0 → 0, i → 21 - i."""
    stb, rhd = ORDERS["stb"], ORDERS["rhd"]
    assert tuple(stb.joints[21 - i] for i in range(1, 21)) == rhd.joints[1:]


def test_order_agrees_with_the_reader_of_predictions():
    assert ORDERS["msra"].to_common == UVD_FORMATS["msra"].order


def test_wrong_number_of_joints():
    with pytest.raises(ValueError, match="16 joints along axis -2; the order 'rhd' has 21"):
        ORDERS["rhd"].convert(np.zeros((16, 3)))


@pytest.mark.parametrize("xp", [np, jnp], ids=["numpy", "jax"])
def test_palm_from_wrist(xp):
    joints = np.random.default_rng(1).normal(size=(4, 21, 3)).astype(np.float32)
    visible = np.ones((4, 21), bool)
    visible[:, 0], visible[:, 9] = (True, True, False, False), (True, False, True, False)
    made, seen = palm_from_wrist(xp.asarray(joints), xp.asarray(visible))
    assert type(made) is type(seen) is type(xp.asarray(joints))
    np.testing.assert_array_equal(made[:, 1:], joints[:, 1:])
    np.testing.assert_allclose(made[:, 0], (joints[:, 0] + joints[:, 9]) / 2, rtol=1e-6)
    np.testing.assert_array_equal(seen[:, 0], [True, True, True, False])
    np.testing.assert_array_equal(seen[:, 1:], visible[:, 1:])
    # In RHD's own numbers the two ends are 0 and 12.
    assert ORDERS["rhd"].to_common[9] == 12


def test_thorax_from_shoulders():
    joints = np.random.default_rng(2).normal(size=(18, 2)).astype(np.float32)
    for left, right in ((True, True), (True, False), (False, False)):
        visible = np.arange(18) != 17
        visible[11], visible[14] = left, right
        made, seen = jax.jit(thorax_from_shoulders)(joints, visible)
        np.testing.assert_allclose(made[17], (joints[11] + joints[14]) / 2, rtol=1e-6)
        np.testing.assert_array_equal(made[:17], joints[:17])
        assert seen[17] == (left and right)


def annotations(real_data, name):
    return json.loads((real_data / "rgb" / name / "annotations.json").read_text())


def test_names_of_real_handdb_and_coco_labels(real_data):
    """The annotation files name their joints; ours are the same in other words."""
    hand = annotations(real_data, "panoptic")["categories"][0]["keypoints"]
    words = {
        "forefinger": "index",
        "middle_finger": "middle",
        "ring_finger": "ring",
        "pinky_finger": "little",
        "thumb": "thumb",
    }
    read = (re.fullmatch(r"(\D+)(\d)", name) for name in hand[1:])
    ours = (
        "wrist",
        *(f"{words[m[1]]}_{('base', 'mid', 'end', 'tip')[int(m[2]) - 1]}" for m in read),
    )
    assert hand[0] == "wrist" and ours == ORDERS["handdb"].joints
    assert (
        tuple(annotations(real_data, "coco")["categories"][0]["keypoints"])
        == ORDERS["coco17"].joints
    )


def test_fingers_of_real_hands_go_outward(real_data):
    """RHD's and HandDB's first joint of a finger: the tip in one, the base in the other."""
    hands = [("rhd", a["joint_cam"]) for a in annotations(real_data, "rhd")["annotations"]]
    hands += [("handdb", a["keypoints"]) for a in annotations(real_data, "panoptic")["annotations"]]
    skeleton = SKELETONS["hand21"]
    for name, labels in hands:
        joints = ORDERS[name].convert(
            np.array(labels).reshape(21, 3)[:, : 3 if name == "rhd" else 2]
        )
        length = {
            child: np.linalg.norm(joints[child] - joints[parent])
            for parent, child in skeleton.bones
        }
        palm = np.median([length[child] for child in (5, 9, 13, 17)])
        assert all(
            length[child] < palm
            for child in length
            if skeleton.groups[child] != "thumb" and child % 4 != 1
        ), name
        if name == "rhd":  # mm
            assert 50 < palm < 120 and all(
                5 < length[child] < 60 for child in length if child % 4 != 1
            )


def test_sides_of_real_human36m_joints(real_data):
    """The file calls joints 1-3 left, but they are on the right, as in Human3.6M itself."""
    file = annotations(real_data, "h36m")
    assert (
        file["categories"][0]["keypoints"][1] == "left_hip"
        and file["categories"][0]["keypoints"][14] == "right_shoulder"
    )
    names = ORDERS["human36m17"].joints
    for a in file["annotations"]:
        joints = np.array(a["keypoints_3d"]).reshape(17, 4)[:, :3]
        at = {name: joints[i] for i, name in enumerate(names)}
        leftward = at["left_shoulder"] - at["right_shoulder"]
        assert leftward @ (at["left_hip"] - at["right_hip"]) > 0
        # The nose is in front of the line from neck to head; up x left points backward in a
        # right-handed frame.
        forward = np.cross(leftward, at["neck"] - at["pelvis"])
        assert forward @ (at["nose"] - (at["neck"] + at["head"]) / 2) > 0
        for parent, child in SKELETONS["body18"].bones:
            if 17 not in (parent, child):
                assert 0.05 < np.linalg.norm(joints[parent] - joints[child]) < 0.6


def test_limbs_of_real_mpii_joints(real_data):
    """Limbs are chains: no bone is longer than half the person, and the head is on top."""
    order, skeleton = ORDERS["mpii16"], SKELETONS["body18"]
    for a in annotations(real_data, "mpii"):
        joints, seen = (
            order.convert(np.array(a["joints"])),
            order.convert(np.array(a["joints_vis"], bool), axis=-1),
        )
        size = 200 * a["scale"]
        for parent, child in skeleton.bones:
            if seen[parent] and seen[child]:
                assert np.linalg.norm(joints[parent] - joints[child]) < 0.5 * size, skeleton.joints[
                    child
                ]
        head, neck, thorax = (
            joints[skeleton.joints.index(name)] for name in ("head", "neck", "thorax")
        )
        assert head[1] < neck[1] < thorax[1]
