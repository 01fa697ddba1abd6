"""Drawn frames: every skeleton, joints over crops, and which frames are chosen."""

import numpy as np
import pytest

from handjax.pose.skeleton import COLOURS, SKELETONS
from handjax.reports.base import pick_frames
from handjax.reports.drawing import Background, DrawnFrame, draw_frame, front_and_side
from handjax.reports.keypoints2d import Keypoints2dReport


def test_drawn_frames_are_apart():
    order = np.array([5, 6, 4, 20, 21, 40, 0])
    assert pick_frames(order, 1) == [5, 6, 4, 20]
    assert pick_frames(order, 10) == [5, 20, 40]


@pytest.mark.parametrize("name", SKELETONS)
def test_every_skeleton_is_drawn(name):
    skeleton = SKELETONS[name]
    joints, bones = len(skeleton.joints), len(skeleton.bones)
    pose = np.random.default_rng(1).normal(0, 50, (joints, 3))
    visible = np.ones(joints, dtype=bool)
    visible[skeleton.bones[-1][1]] = False  # the end of a single bone
    ends = sum(skeleton.bones[-1][1] in bone for bone in skeleton.bones)
    background = Background(np.where(np.eye(8), 1.0, np.nan), (-80.0, 80.0, -80.0, 80.0))
    behind = front_and_side(pose, None, background, background)
    plot = draw_frame(DrawnFrame(front_and_side(pose, pose + 1)), skeleton)
    full, masked = plot.axes[0], draw_frame(DrawnFrame(behind, visible), skeleton).axes[0]
    assert (len(full.lines), len(masked.lines)) == (
        2 * bones + 1,
        bones - ends + 1,
    )  # and the scale bar
    assert (len(full.images), len(masked.images)) == (0, 1)
    for axes, across in ((plot.axes[0], 0), (plot.axes[1], 2)):
        dots = axes.collections[-1].get_offsets()
        np.testing.assert_allclose(dots, pose[:, [across, 1]])
        (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
        assert left < dots[:, 0].min() and dots[:, 0].max() < right
        assert bottom > dots[:, 1].max() and dots[:, 1].min() > top  # y points down


def test_a_crop_is_drawn_completely():
    """Joints are drawn where they are in the crop; text has the page's ink, lines do not."""
    skeleton = SKELETONS["hand21"]
    rng = np.random.default_rng(5)
    joints = rng.uniform(0, 40, (21, 2))
    source_from_crop = np.array([[2.0, 0.5, 100], [-0.5, 2.0, 50]])
    source = joints @ source_from_crop[:, :2].T + source_from_crop[:, 2]
    report = Keypoints2dReport("ours", ["a"], source[None], source[None] + 3, skeleton, {})
    pixels = rng.integers(0, 255, (48, 48, 3), np.uint8)
    (drawn,) = report.panels(0, ((pixels, source_from_crop), {}))
    np.testing.assert_allclose(drawn.pred, joints, atol=1e-9)
    (axes,) = draw_frame(DrawnFrame((drawn,)), skeleton).axes
    assert axes.get_xlim() == (-0.5, 47.5) and axes.get_ylim() == (47.5, -0.5)
    np.testing.assert_allclose(axes.collections[-1].get_offsets(), joints, atol=1e-9)
    np.testing.assert_allclose(axes.collections[0].get_offsets(), drawn.true, atol=1e-9)
    fingers = {COLOURS[group] for group in skeleton.groups if group != "palm"}
    assert {line.get_color() for line in axes.lines} == {"white"} | fingers
    assert not axes.texts  # no scale bar: the crop's pixels are not those of the source
