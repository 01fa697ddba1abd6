"""Options of the center of a depth crop, and frames without one."""

import numpy as np
import pytest
from ml_collections import ConfigDict

from handjax.sources.crop_center import crop_center


def make(center, depth_mm=(300.0, 1200.0)):
    data = dict(center=center, depth_mm=depth_mm)
    return crop_center(ConfigDict(dict(data=data)), "mean of the true joints")


def names(numbers):
    return [f"frame {number}" for number in numbers]


@pytest.mark.parametrize(
    ("rule", "features", "words"),
    [
        ("depth", (), "center of mass in 5 steps, of the nearest thing within 300 to 1200 mm"),
        ("refined", ("center_xyz", "center_valid"), "from the file of refined centers"),
        ("label", (), "from the label: mean of the true joints"),
    ],
)
def test_features_and_description(rule, features, words):
    center = make(rule)
    assert (center.rule, center.features) == (rule, features) and words in center.description


def test_frames_have_depth_if_a_pixel_is_within_the_range():
    depth = np.zeros((3, 2, 2), np.float32)
    depth[1, 0, 0], depth[2, 1, 1] = 300, 1201
    assert make("depth").has_depth(depth).tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("refined", "frame 7 has no refined center; .*, or use config.data.center=depth or label"),
        ("depth", r"frame 7 has no depth within config.data.depth_mm=\(300, 1200\); .*=label"),
    ],
)
def test_the_first_frame_without_a_center_is_named(rule, words):
    valid, numbers = np.array([True, False, False]), np.array([6, 7, 8])
    with pytest.raises(ValueError, match=words) as caught:
        make(rule).require(valid, numbers, names, "FOLDER")
    assert str(caught.value).startswith("FOLDER: ") and "\n" not in str(caught.value)
    make(rule).require(valid | True, numbers, names, "FOLDER")


def test_invalid_options_are_reported():
    with pytest.raises(ValueError, match="center=mass is unknown: use depth or refined or label"):
        make("mass")
    for depth_mm in ((900.0, 300.0), (300.0,), (0.0, 300.0), (300.0, np.inf)):
        with pytest.raises(ValueError, match="expected two distances in mm"):
            make("depth", depth_mm)
