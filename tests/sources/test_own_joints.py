"""The joints of a run on a user's own, in its folder."""

import pytest
from ml_collections import ConfigDict

from handjax.pose.skeleton import SKELETONS
from handjax.pose.skeleton_file import own_skeleton
from handjax.sources.own_joints import FILE, check_joints, keep_joints, own_joints

OWN = ConfigDict(dict(data=dict(name="landmarks")))
HANDS = ConfigDict(dict(data=dict(name="rgb_hand")))


def test_joints_are_kept_and_compared(tmp_path):
    toy = own_skeleton(("left_ear", "right_ear", "tail"), ((0, 2),))
    keep_joints(tmp_path, toy)
    assert own_joints(tmp_path, OWN) == toy
    check_joints(tmp_path, OWN, toy)
    with pytest.raises(ValueError, match="3 joints, the data has 2; .* joint 1 on, 'right_ear' th"):
        check_joints(tmp_path, OWN, own_skeleton(("left_ear", "tail")))
    with pytest.raises(ValueError, match="differ from joint 3 on, none there and 'leg' here"):
        check_joints(tmp_path, OWN, own_skeleton((*toy.joints, "leg")))


def test_runs_on_hands_keep_none(tmp_path):
    keep_joints(tmp_path, SKELETONS["hand21"])
    assert not (tmp_path / FILE).exists() and own_joints(tmp_path, HANDS) is None
    check_joints(tmp_path, HANDS, SKELETONS["nyu14"])
    with pytest.raises(FileNotFoundError, match="skeleton.json: no such file; expected a skeleton"):
        own_joints(tmp_path, OWN)
