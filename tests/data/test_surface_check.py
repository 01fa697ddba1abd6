"""Labels against the measured depth: which mistake is named."""

import numpy as np
import pytest

from handjax.data.surface_check import LabelledDepth, check

K = np.array([[475, 0, 320], [0, 475, 240], [0, 0, 1]], np.float64)


def frame(change=lambda joints: joints, deep=13.0):
    """A hand of 21 joints `deep` mm behind a surface at 600 mm, before a wall at 900 mm."""
    x, y = np.meshgrid(np.linspace(-90, 90, 40), np.linspace(-90, 90, 40))
    near = np.stack([x.ravel() + 60, y.ravel() - 30, np.full(x.size, 600.0)], -1)
    far = np.stack([4 * x.ravel(), 4 * y.ravel(), np.full(x.size, 900.0)], -1)
    rng = np.random.default_rng(0)
    joints = np.stack([*rng.uniform(-70, 70, (2, 21)), np.full(21, 600 + deep)], -1) + [60, -30, 0]
    return LabelledDepth(np.concatenate([near, far]), change(joints), K)


def test_joints_below_the_skin_are_sound():
    assert not check([frame()]).refused and check([frame()]).median_mm == pytest.approx(13, abs=1)


@pytest.mark.parametrize(
    ("scale", "unit"), [(1e-3, "m"), (0.1, "cm"), (1 / 25.4, "inches"), (10.0, "tenths of a mm")]
)
@pytest.mark.parametrize("deep", [5.0, 13.0, 20.0])
def test_joints_of_another_size_are_in_another_unit(scale, unit, deep):
    """However deep they lie, and not the depth: scaled down to them everything is near them."""
    found = check([frame(lambda joints: joints * scale, deep)])
    assert found.refused and found.cause.startswith(f"joints in {unit}?")


def test_joints_of_the_right_size_before_depth_in_another_unit():
    one = frame()
    found = check([one._replace(points=one.points * 4)])
    assert found.refused and found.cause.startswith("depth 4 times too large?")


def test_centers_in_metres():
    joints = frame()
    centers = joints._replace(joints=joints.joints.mean(0, keepdims=True) / 1000)
    found = check([centers] * 3, "centers", 150.0)
    assert found.refused and found.cause.startswith("centers in m?")
