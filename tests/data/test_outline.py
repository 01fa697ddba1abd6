"""Colours along the limbs against those around them."""

import numpy as np
import pytest

from handjax.data.outline import other_readings, outline_share

LIMBS = ((0, 1), (1, 2))
UV = np.array([[30, 20], [30, 40], [50, 40]], np.float32)
KNOWN = np.ones(3, bool)


def picture(limbs=200, around=60, size=(80, 100)):
    image = np.full((*size, 3), around, np.uint8)
    image[19:42, 29:32], image[39:42, 29:52] = limbs, limbs
    return image


def test_one_where_all_around_differs_and_none_where_nothing_does():
    assert outline_share(picture(), UV, KNOWN, LIMBS) == 1.0
    assert outline_share(picture()[..., 0], UV, KNOWN, LIMBS) == 1.0
    assert outline_share(picture(60), UV, KNOWN, LIMBS) == 0.0
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 255, (80, 100, 3), np.uint8) for _ in range(30)]
    assert 0.4 < np.mean([outline_share(image, UV, KNOWN, LIMBS) for image in noise]) < 0.6


def test_scale_does_not_matter():
    large = np.kron(picture(), np.ones((8, 8, 1), np.uint8))
    assert outline_share(large, UV * 8 + 3.5, KNOWN, LIMBS) > 0.99


@pytest.mark.parametrize("size", [(80, 45), (39, 100), (1, 100), (80, 1)])
def test_joints_outside_tell_nothing(size):
    image = picture()[: size[0], : size[1]]
    assert outline_share(image, UV, KNOWN, LIMBS) is None


def test_thin_pictures_and_joints_on_a_line():
    image = np.zeros((2, 400, 3), np.uint8)
    uv = np.array([[2, 1], [200, 1], [398, 1]], np.float32)
    assert outline_share(image, uv, KNOWN, LIMBS) is None  # nothing is left around them


def test_unknown_joints_do_not_count():
    uv = np.concatenate([UV, [[-5000, 9]]]).astype(np.float32)
    known = np.array([True, True, True, False])
    assert outline_share(picture(), uv, known, (*LIMBS, (2, 3))) == 1.0


def test_other_readings_are_their_own_inverse():
    for name, other in other_readings(UV, (80, 80)).items():
        np.testing.assert_allclose(other_readings(other, (80, 80))[name], UV)
        assert not np.allclose(other, UV)
