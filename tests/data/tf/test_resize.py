"""Frames cropped and scaled to one size: the pixels at a joint move with it."""

import numpy as np
import pytest

tf = pytest.importorskip(
    "tensorflow",
    reason="tensorflow is not installed: pip install 'handjax[data]'",
    exc_type=ImportError,
)

from handjax.data.resize import (  # noqa: E402
    around_box,
    around_joints,
    body_box,
    image_box,
    resize_pad,
)

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]


def ramps(height, width):
    """An image that encodes its pixels' positions: red 2 u, green 2 v, blue 255."""
    v, u = np.mgrid[:height, :width]
    return np.stack([2 * u, 2 * v, np.full_like(u, 255)], -1).astype(np.uint8)


def apply(sample, **features):
    return {
        key: np.asarray(value)
        for key, value in sample({k: tf.constant(v) for k, v in features.items()}).items()
    }


def place(image, uv):
    """u and v that the ramps encode at `uv`, interpolated."""
    (u, v), (a, b) = np.floor(uv).astype(int), uv % 1
    weights = np.outer([1 - b, b], [1 - a, a])[..., None]
    return (weights * image[v : v + 2, u : u + 2, :2]).sum((0, 1)) / 2


@pytest.mark.parametrize("size", [(20, 40), (80, 40), (30, 120), (100, 110)])
def test_pixels_and_joints_move_alike(size):
    u = np.linspace(0.15, 0.85, 9, dtype=np.float32) * size[1]
    uv = np.stack([u, u / size[1] * size[0]], 1)
    features = apply(resize_pad(30, 60), image=ramps(*size), joints_uv=uv)
    assert features["image"].shape == (30, 60, 3) and features["image"].dtype == np.uint8
    for old, new in zip(uv, features["joints_uv"], strict=True):
        np.testing.assert_allclose(place(features["image"], new), old, atol=0.6)
        np.testing.assert_allclose(features["source_from_image"] @ [*new, 1], old, atol=1e-4)


@pytest.mark.parametrize(
    ("corner", "side", "boxes"),
    [
        ((40, 30), 20, 1.0),
        ((40, 30), 20, 3.0),
        ((2, 3), 12, 2.0),
        ((80, 60), 30, 2.0),
        ((50, 40), 4, 1.0),
        ((10, 5), 70, 4.0),
    ],
)
def test_window_is_what_is_kept(corner, side, boxes):
    """Inside the image, over its edges, smaller than the frame and larger than the image."""
    corner = np.array(corner, np.float32)
    uv = corner + np.float32(side) * np.array([[0, 0], [1, 0.4], [0.3, 1], [0.5, 0.5]], np.float32)
    height, width = 100, 120
    uv = np.minimum(uv, [width - 2, height - 2]).astype(np.float32)
    box = np.array([*corner, side, side / 2], np.float32)
    labels = dict(joints_uv=uv, visible=np.ones(4, bool), box=box, k=np.eye(3, dtype=np.float32))
    features = apply(resize_pad(24, 32, around_joints(boxes)), image=ramps(height, width), **labels)
    to_file = features["source_from_image"]
    for old, new in zip(uv, features["joints_uv"], strict=True):
        np.testing.assert_allclose(to_file @ [*new, 1], old, atol=1e-4)
    np.testing.assert_allclose(to_file @ [*features["box"][:2], 1], box[:2], atol=1e-4)
    np.testing.assert_allclose(features["box"][2:] * np.diag(to_file), box[2:], rtol=1e-5)
    np.testing.assert_allclose(
        features["k"][:2] @ [1, 2, 1], features["k"][:2, 2] + features["k"][[0, 1], [0, 1]] * [1, 2]
    )
    for old, new in zip(uv[-1:], features["joints_uv"][-1:], strict=True):
        np.testing.assert_allclose(place(features["image"], new), old, atol=1.2 * to_file[0, 0])
    # As large a part of the image as requested, or as the frame holds; nothing is enlarged.
    seen = features["image"][..., 2] > 250
    spans = np.array([seen.any(0).sum(), seen.any(1).sum()]) * np.diag(to_file)
    asked = np.maximum(boxes * max(np.ptp(uv, 0)), [32, 24])
    middle = (uv.min(0) + uv.max(0)) / 2
    inside = np.minimum(middle + asked / 2, [width, height]) - np.maximum(middle - asked / 2, 0)
    np.testing.assert_allclose(spans, inside, atol=2.1 * max(to_file[0, 0], 1))
    assert to_file[0, 0] >= 1 - 1e-6 and to_file[1, 1] >= 1 - 1e-6


def test_hidden_joints_do_not_widen_the_window():
    uv = np.array([[20, 20], [30, 30], [90, 90]], np.float32)
    seen = apply(
        resize_pad(200, 200, around_joints(1.0)),
        image=ramps(100, 100),
        joints_uv=uv,
        visible=np.array([True, True, False]),
    )
    assert seen["source_from_image"][0, 2] == 0  # the frame is larger
    seen = apply(
        resize_pad(10, 10, around_joints(1.0)),
        image=ramps(100, 100),
        joints_uv=uv,
        visible=np.array([True, True, False]),
    )
    np.testing.assert_allclose(seen["source_from_image"], [[1, 0, 20], [0, 1, 20]], atol=1)
    none = apply(
        resize_pad(10, 10, around_joints(1.0)),
        image=ramps(100, 100),
        joints_uv=uv,
        visible=np.zeros(3, bool),
    )
    assert abs(none["source_from_image"][0, 0] - 7) < 0.2


def test_boxes_of_people():
    k = np.array([[1000, 0, 300], [0, 1100, 200], [0, 0, 1]], np.float32)
    joints = np.array([[100, -50, 4000], [0, 0, 1]], np.float32)
    box = apply(lambda f: body_box(f, size_mm=2000.0), joints_xyz=joints, k=k)["box"]
    np.testing.assert_allclose(box, [325 - 250, 186.25 - 275, 500, 550], rtol=1e-6)
    image = ramps(60, 80)
    np.testing.assert_array_equal(apply(image_box, image=image)["box"], [-0.5, -0.5, 80, 60])
    cut = apply(
        resize_pad(20, 20, around_box(1.0)), image=image, box=np.array([30, 20, 20, 10], np.float32)
    )
    np.testing.assert_allclose(cut["box"], [0, 5, 20, 10], atol=1)
    np.testing.assert_array_equal(
        cut["image"][0, 0],
        image[round(cut["source_from_image"][1, 2]), round(cut["source_from_image"][0, 2])],
    )


def test_frame_is_required():
    with pytest.raises(
        ValueError, match=r"resize_pad\(4, 4\): no image and no depth among the features box"
    ):
        apply(resize_pad(4, 4), box=np.zeros(4, np.float32))
