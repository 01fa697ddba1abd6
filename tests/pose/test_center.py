"""Detection of a hand's center without labels."""

import re
from functools import partial

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from handjax.data.sets import fake_depth_hand
from handjax.pose.center import hand_center
from handjax.pose.pinhole import depth_to_points

CAMERA = ((240.0, 0.0, 160.0), (0.0, 240.0, 120.0), (0.0, 0.0, 1.0))
K = np.asarray(CAMERA, np.float32)
CUBE = np.full(3, 250, np.float32)
RANGE = (100.0, 1000.0)
FIND = jax.jit(partial(hand_center, range_mm=RANGE))


@pytest.fixture(scope="module")
def hands():
    """Depth [8, 240, 320] of hands without background, and the mean of each hand's points."""
    seen = [
        fake_depth_hand.render_hand((3, i), CAMERA, 240, 320, distance_mm=(350.0, 500.0)).depth[0]
        for i in range(8)
    ]
    depth = np.asarray(seen, np.float32)
    points, measured = map(
        np.asarray, depth_to_points(jnp.asarray(depth), jnp.asarray(np.tile(K, (8, 1, 1))))
    )
    return depth, np.stack([p[m].mean(0) for p, m in zip(points, measured, strict=True)])


def find(depth, cube=CUBE):
    return np.asarray(FIND(depth, np.tile(K, (len(depth), 1, 1)), np.tile(cube, (len(depth), 1))))


def distance(a, b):
    return np.linalg.norm(a - b, axis=-1).max()


@pytest.mark.slow
def test_center_of_a_hand_alone_is_its_mean(hands):
    depth, mean = hands
    assert distance(find(depth), mean) < 4
    np.testing.assert_allclose(find(depth, CUBE * 2), mean, atol=0.01)


@pytest.mark.slow
def test_background_does_not_count(hands):
    depth, mean = hands
    behind = np.where(depth > 0, depth, 700.0)  # a body that fills the image
    behind[:, :40] = 1500.0
    assert distance(find(behind), mean) < 4
    # Within the depth of the cube it does count.
    near = np.where(depth > 0, depth, depth.max((1, 2), keepdims=True) + 20)
    assert (find(near)[:, 2] - mean[:, 2] > 20).all()


@pytest.mark.slow
def test_specks_and_points_out_of_range_do_not_count(hands):
    depth, mean = hands
    noisy = depth.copy()
    rng = np.random.default_rng(0)
    noisy[:, rng.integers(0, 240, 60), rng.integers(0, 320, 60)] = (
        130.0  # flying pixels, 0.3 mm² each
    )
    noisy[:, :30] = 60.0
    noisy[:, -20:] = 2000.0
    alone = (noisy == depth) * depth  # the part of the hand that the noise left
    assert distance(find(noisy), find(alone)) < 3 and distance(find(alone), mean) < 20


def test_the_nearer_of_two_hands_is_found():
    first, second = (
        fake_depth_hand.render_hand((3, i), CAMERA, 240, 320, distance_mm=(400.0, 401.0)).depth[0]
        for i in range(2)
    )
    left, right = np.zeros((2, 240, 640), np.float32)
    left[:, :320], right[:, 320:] = first, np.where(second, second + 150.0, 0)
    k = K.copy()
    k[0, 2] = 320
    found = np.asarray(FIND(left + right, k, CUBE))
    alone = np.asarray(FIND(left, k, CUBE))
    assert np.linalg.norm(found - alone) < 1 and alone[0] < 0


def test_an_arm_keeps_the_fingertips_in_the_cube():
    # A bar from the top of the image to a tip: 100 mm wide, at 400 mm.
    depth = np.zeros((240, 320), np.float32)
    depth[:180, 130:190] = 400.0
    x, y, z = np.asarray(FIND(depth, K, CUBE))
    tip = (179 - 120) / 240 * 400
    assert abs(x) < 2 and z == pytest.approx(400) and tip - 126 <= y < tip - 90


def test_no_depth_in_range_gives_zeros(hands):
    found = find(
        np.stack([*(np.full((240, 320), z, np.float32) for z in (0.0, 50.0, 1100.0)), hands[0][0]])
    )
    assert (found[:3] == 0).all() and distance(found[3], hands[1][0]) < 4


def test_a_small_surface_is_found_if_alone():
    depth = np.zeros((240, 320), np.float32)
    depth[100:102, 200:202] = 300.0
    np.testing.assert_allclose(
        FIND(depth, K, CUBE), [(200.5 - 160) / 240 * 300, (100.5 - 120) / 240 * 300, 300], rtol=1e-5
    )


def test_any_leading_axes(hands):
    depth = hands[0][:6].reshape(2, 3, 240, 320)
    many = FIND(depth, np.tile(K, (2, 3, 1, 1)), np.tile(CUBE, (2, 3, 1)))
    np.testing.assert_array_equal(many[1, 2], FIND(depth[1, 2], K, CUBE))


# Frame → pixels (left, top, right, bottom) around the middle of the palm, chosen by eye.
PALMS = {"50": (262, 262, 322, 306), "110": (255, 208, 315, 268), "150": (272, 186, 332, 246)}


@pytest.mark.slow
@pytest.mark.parametrize("frame", PALMS)
def test_hand_in_front_of_a_body(real_data, frame):
    image = cv2.imread(str(real_data / "depth_sr305" / f"{frame}.png"), cv2.IMREAD_UNCHANGED)
    k = np.asarray([[476.007, 0, 313.683], [0, 476.007, 242.755], [0, 0, 1]], np.float32)
    wide = jax.jit(partial(hand_center, range_mm=(100.0, 1500.0)))
    for cube in (200, 250, 300):
        center = np.asarray(wide(image * np.float32(0.125), k, np.full(3, cube, np.float32)))
        u, v = center[:2] / center[2] * 476.007 + k[:2, 2]
        left, top, right, bottom = PALMS[frame]
        assert left < u < right and top < v < bottom


def test_sharded_without_a_collective(hands):
    split = NamedSharding(
        jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,)), PartitionSpec("data")
    )
    batch = [
        jax.device_put(x, split) for x in (hands[0], np.tile(K, (8, 1, 1)), np.tile(CUBE, (8, 1)))
    ]
    compiled = FIND.lower(*batch).compile().as_text()
    assert not re.findall(
        r"(all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter)(?:-start)?\(",
        compiled,
    )
    np.testing.assert_allclose(FIND(*batch), find(hands[0]), atol=1e-3)
