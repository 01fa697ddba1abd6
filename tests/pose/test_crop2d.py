"""Which square each rule cuts, by hand, and the maps between pixels."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.pose import crop2d
from handjax.pose.crop2d import Crop

# Five joints: a box from (100, 80) to (160, 200), the third the middle finger's base.
JOINTS = np.float32([[100.0, 120.0], [160.0, 80.0], [130.0, 150.0], [120.0, 200.0], [140.0, 90.0]])
ALL = np.ones(5, bool)
PICTURE = (240, 320)


def cut(rule, joints=JOINTS, known=ALL, picture=PICTURE, **numbers):
    more = {
        name: jnp.asarray(numbers.pop(name))
        for name in ("box", "seen", "offset")
        if name in numbers
    }
    crop = Crop(rule, 64, center_joint=2, **numbers)
    center, side = crop2d.square(crop, jnp.asarray(joints), jnp.asarray(known), picture, **more)
    return *center.tolist(), float(side)


@pytest.mark.parametrize(
    ("found", "square"),
    [
        # namedBen: as large as the hand is high, and 4 px.
        (partial(cut, "height", pad_px=4.0), (130, 140, 124)),
        (partial(cut, "height", pad_px=4.0, scale=1 / 0.7), (130, 140, 124 / 0.7)),
        # Kwai: 20 px on each side of the longer side.
        (partial(cut, "box", pad_px=40.0), (130, 140, 160)),
        # Simon et al.: 2.2 hands; or the file's own square.
        (partial(cut, "file", scale=2.2), (130, 140, 264)),
        (partial(cut, "file", scale=2.2, box=np.float32([10.0, 20.0, 90.0, 100.0])), (55, 70, 100)),
        (partial(cut, "box", box=np.float32([10.0, 20.0, 90.0, 100.0])), (130, 140, 120)),
        # hand_pose: twice the way from the base of the middle finger to (160, 80), and 1.2 times that.
        (partial(cut, "palm", scale=1.2), (130, 150, 2 * 70 * 1.2)),
        (partial(cut, "palm", scale=1.2, side_px=(50.0, 150.0)), (130, 150, 150)),
        (partial(cut, "palm", side_px=(200.0, 500.0)), (130, 150, 200)),
        # What lies outside the picture counts to its edge, and what is not to be held not at all.
        (
            partial(
                cut,
                "palm",
                joints=np.where(
                    np.arange(5)[:, None] == 1, np.float32([160.0, -900.0])[None], JOINTS
                ),
            ),
            (130, 150, 300),
        ),
        (partial(cut, "palm", seen=np.array([True, False, False, False, True])), (130, 150, 120)),
        # Moved, it holds the hand all the same; the other rules' squares do not.
        (partial(cut, "palm", offset=np.float32([20, -10])), (150, 140, 120)),
        (partial(cut, "palm", offset=np.float32([0, 40])), (130, 190, 220)),
        (partial(cut, "height", offset=np.float32([0, 40])), (130, 180, 120)),
        # Without the middle finger's base the crop is about the middle of the rest; (160, 80) and (120, 200) are 60 away.
        (partial(cut, "palm", known=np.arange(5) != 2), (130, 140, 120)),
        (partial(cut, "height", known=np.arange(5) != 3), (130, 115, 70)),
        (partial(cut, "image"), (159.5, 119.5, 320)),
        (partial(cut, "height", known=~ALL), (159.5, 119.5, 320)),
        (partial(cut, "palm", seen=~ALL), (159.5, 119.5, 320)),
    ],
)
def test_the_square_of_each_rule(found, square):
    np.testing.assert_allclose(found(), square, rtol=1e-6)


def test_a_crop_covers_its_square():
    """Its corners, which lie half a pixel outside the corner pixels' centres, are the square's; turned and mirrored."""
    affine = crop2d.image_from_crop(jnp.array([10.0, 20.0]), jnp.array(32.0), 8)
    corners = jnp.array([[-0.5, -0.5], [7.5, 7.5], [3.5, 3.5]])
    np.testing.assert_allclose(
        crop2d.apply(affine, corners), [[-6, 4], [26, 36], [10, 20]], atol=1e-5
    )
    quarter = crop2d.image_from_crop(
        jnp.array([10.0, 20.0]), jnp.array(32.0), 8, jnp.array(np.pi / 2)
    )
    np.testing.assert_allclose(
        crop2d.apply(quarter, corners), [[26, 4], [-6, 36], [10, 20]], atol=1e-5
    )
    mirror = crop2d.image_from_crop(jnp.array([10.0, 20.0]), jnp.array(32.0), 8, mirrored=True)
    np.testing.assert_allclose(
        crop2d.apply(mirror, corners), [[26, 4], [-6, 36], [10, 20]], atol=1e-5
    )
    np.testing.assert_allclose(crop2d.size_ratio(mirror), 4.0)


@pytest.mark.parametrize("xp", [np, jnp])
def test_maps_compose_and_turn_back(xp):
    rng = np.random.default_rng(0)
    a, b = (xp.asarray(rng.normal(size=(4, 2, 3)), xp.float32) for _ in range(2))
    points = xp.asarray(rng.normal(size=(4, 5, 2)), xp.float32)
    there = crop2d.apply(crop2d.compose(a, b), points)
    assert isinstance(there, np.ndarray if xp is np else jax.Array)
    np.testing.assert_allclose(there, crop2d.apply(a, crop2d.apply(b, points)), atol=1e-5)
    np.testing.assert_allclose(
        crop2d.apply(crop2d.inverse(a), crop2d.apply(a, points)), points, atol=1e-3
    )
