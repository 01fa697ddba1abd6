"""The square of each crop rule, worked out by hand, and the maps between pixels."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handjax.pose import crop2d
from handjax.pose.crop2d import Crop

# Five joints: a box from (100, 80) to (160, 200), the third the middle finger's base.
JOINTS = np.float32([[100.0, 120.0], [160.0, 80.0], [130.0, 150.0], [120.0, 200.0], [140.0, 90.0]])
ALL = np.ones(5, bool)
IMAGE_SIZE = (240, 320)


def cut(rule, joints=JOINTS, known=ALL, image_size=IMAGE_SIZE, **numbers):
    more = {
        name: jnp.asarray(numbers.pop(name))
        for name in ("box", "seen", "offset")
        if name in numbers
    }
    crop = Crop(rule, 64, center_joint=2, **numbers)
    center, side = crop2d.square(crop, jnp.asarray(joints), jnp.asarray(known), image_size, **more)
    return *center.tolist(), float(side)


@pytest.mark.parametrize(
    ("found", "square"),
    [
        # namedBen: the height of the hand plus 4 px.
        (partial(cut, "height", pad_px=4.0), (130, 140, 124)),
        (partial(cut, "height", pad_px=4.0, scale=1 / 0.7), (130, 140, 124 / 0.7)),
        # Kwai: the longer side plus 20 px at both ends.
        (partial(cut, "box", pad_px=40.0), (130, 140, 160)),
        # Simon et al.: 2.2 times the hand, or the square given by the file.
        (partial(cut, "file", scale=2.2), (130, 140, 264)),
        (partial(cut, "file", scale=2.2, box=np.float32([10.0, 20.0, 90.0, 100.0])), (55, 70, 100)),
        (partial(cut, "box", box=np.float32([10.0, 20.0, 90.0, 100.0])), (130, 140, 120)),
        # The box that is given, enlarged; without one that of the joints.
        (
            partial(cut, "labelled", scale=1.25, box=np.float32([10.0, 20.0, 90.0, 100.0])),
            (55, 70, 125),
        ),
        (
            partial(
                cut,
                "labelled",
                known=~ALL,
                side_px=(50.0, 60.0),
                offset=np.float32([3, -2]),
                box=np.float32([10.0, 20.0, 90.0, 100.0]),
            ),
            (58, 68, 60),
        ),
        (partial(cut, "labelled", scale=1.25), (130, 140, 150)),
        # hand_pose: twice the distance of the middle finger's base to (160, 80), and 1.2 times it.
        (partial(cut, "palm", scale=1.2), (130, 150, 2 * 70 * 1.2)),
        (partial(cut, "palm", scale=1.2, side_px=(50.0, 150.0)), (130, 150, 150)),
        (partial(cut, "palm", side_px=(200.0, 500.0)), (130, 150, 200)),
        # Joints outside the image count up to its edge; joints not in `seen` do not count.
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
        # With an offset it still contains the hand, unlike the squares of the other rules.
        (partial(cut, "palm", offset=np.float32([20, -10])), (150, 140, 120)),
        (partial(cut, "palm", offset=np.float32([0, 40])), (130, 190, 220)),
        (partial(cut, "height", offset=np.float32([0, 40])), (130, 180, 120)),
        # Without the middle finger's base the crop is around the center of the rest, 60 px from
        # (160, 80) and (120, 200).
        (partial(cut, "palm", known=np.arange(5) != 2), (130, 140, 120)),
        (partial(cut, "height", known=np.arange(5) != 3), (130, 115, 70)),
        (partial(cut, "image"), (159.5, 119.5, 320)),
        (partial(cut, "height", known=~ALL), (159.5, 119.5, 320)),
        (partial(cut, "palm", seen=~ALL), (159.5, 119.5, 320)),
    ],
)
def test_square_of_each_rule(found, square):
    np.testing.assert_allclose(found(), square, rtol=1e-6)


def test_crop_covers_its_square():
    """Its corners, half a pixel beyond the corner pixels' centers, are those of the square."""
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


@st.composite
def maps(draw, count, dtype=np.float64):
    """`count` maps [*b 2 3] of the same batch shape, far from singular, and points [*b 5 2]."""
    batch = draw(st.sampled_from([(), (1,), (4,), (2, 3)]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    angles, scales = rng.uniform(-4, 4, (count, *batch)), rng.uniform(0.2, 5, (count, *batch))
    mirrors = rng.choice([-1.0, 1.0], (count, *batch))
    cos, sin = scales * np.cos(angles), scales * np.sin(angles)
    linear = np.stack([mirrors * cos, -sin, mirrors * sin, cos], axis=-1)
    linear = linear.reshape(count, *batch, 2, 2) + rng.uniform(-0.05, 0.05, (count, *batch, 2, 2))
    affine = np.concatenate([linear, rng.uniform(-300, 300, (count, *batch, 2, 1))], axis=-1)
    points = rng.uniform(-200, 200, (*batch, 5, 2))
    return *affine.astype(dtype), points.astype(dtype)


quick = settings(max_examples=50, deadline=None)


@quick
@given(maps(2))
def test_compose_applies_one_map_after_the_other(case):
    a, b, points = case
    found = crop2d.apply(crop2d.compose(a, b), points)
    assert isinstance(found, np.ndarray) and found.dtype == np.float64
    np.testing.assert_allclose(found, crop2d.apply(a, crop2d.apply(b, points)), atol=1e-9)


@quick
@given(maps(3))
def test_compose_is_associative(case):
    a, b, c, _ = case
    left, right = crop2d.compose(crop2d.compose(a, b), c), crop2d.compose(a, crop2d.compose(b, c))
    np.testing.assert_allclose(left, right, atol=1e-8)


@quick
@given(maps(1))
def test_inverse_undoes_the_map_on_both_sides(case):
    a, points = case
    inverse = crop2d.inverse(a)
    np.testing.assert_allclose(crop2d.apply(inverse, crop2d.apply(a, points)), points, atol=1e-7)
    identity = np.broadcast_to(np.eye(3)[:2], a.shape)
    for product in (crop2d.compose(a, inverse), crop2d.compose(inverse, a)):
        np.testing.assert_allclose(product, identity, atol=1e-7)
    np.testing.assert_allclose(crop2d.size_ratio(inverse) * crop2d.size_ratio(a), 1, rtol=1e-9)


@pytest.mark.slow
@settings(max_examples=5, deadline=None)
@given(maps(2, np.float32))
def test_maps_in_jax_and_numpy_agree(case):
    a, b, points = case
    x, y, p = map(jnp.asarray, case)
    for ours, expected in (
        (crop2d.compose(x, y), crop2d.compose(a, b)),
        (crop2d.inverse(x), crop2d.inverse(a)),
        (crop2d.apply(x, p), crop2d.apply(a, points)),
    ):
        assert isinstance(ours, jax.Array) and ours.dtype == jnp.float32
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-2)
