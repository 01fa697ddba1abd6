import numpy as np
import pytest

from handjax.pose.skeleton import COLOURS, SKELETONS


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
def test_is_a_tree_with_named_joints(skeleton):
    assert SKELETONS[skeleton.name] is skeleton
    assert len(skeleton.joints) == len(skeleton.parents) == len(skeleton.groups) == len(set(skeleton.joints))
    assert skeleton.parents.count(-1) == 1
    assert len(skeleton.bones) == len(skeleton.joints) - 1
    assert set(skeleton.groups) == set(COLOURS)
    for joint in range(len(skeleton.joints)):
        for _ in skeleton.joints:
            joint = skeleton.parents[joint] if joint != skeleton.root else joint
        assert joint == skeleton.root


def test_sizes_and_orders():
    assert {name: len(s.joints) for name, s in SKELETONS.items()} == {"hand21": 21, "nyu14": 14, "icvl16": 16}
    hand = SKELETONS["hand21"]
    assert hand.joints[:5] == ("wrist", "thumb_base", "thumb_mid", "thumb_end", "thumb_tip")
    assert hand.joints[17:] == ("little_base", "little_mid", "little_end", "little_tip")
    assert hand.bones[:5] == ((0, 1), (1, 2), (2, 3), (3, 4), (0, 5))
    assert SKELETONS["nyu14"].joints[SKELETONS["nyu14"].root] == "palm"


@pytest.mark.parametrize(
    ("name", "file", "focal", "centre", "varies"),
    [
        ("icvl16", "icvl_test_groundtruth_uvd.txt", 240.99, (160, 120), 0.2),
        ("nyu14", "nyu_test_groundtruth_uvd.txt", 588.03, (320, 240), 0.35),  # two labels span a bending joint
    ],
)
def test_bones_of_real_labels_keep_their_length(real_data, name, file, focal, centre, varies):
    """Joints next to each other in a finger keep their distance over the test set; a mix-up of joints would not."""
    skeleton = SKELETONS[name]
    uvd = np.loadtxt(real_data / "metrics" / file).reshape(-1, len(skeleton.joints), 3)
    xyz = np.concatenate([(uvd[..., :2] - centre) / focal * uvd[..., 2:], uvd[..., 2:]], axis=-1)
    for parent, child in skeleton.bones:
        length = np.linalg.norm(xyz[:, parent] - xyz[:, child], axis=-1)
        if skeleton.groups[parent] == skeleton.groups[child] != "palm":
            assert 10 < length.mean() < 70 and length.std() < varies * length.mean(), skeleton.joints[child]
        assert length.mean() < 90
