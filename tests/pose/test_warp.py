"""Affine warps compared with OpenCV's, and mip levels."""

from functools import partial

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.pose.warp import warp_affine


def rotated(angle, scale, shift):
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    return np.float32([[cos, -sin, shift[0]], [sin, cos, shift[1]]])


MATRICES = np.stack(
    [
        rotated(0.0, 1.0, (0.0, 0.0)),
        rotated(0.4, 0.7, (3.3, -2.6)),  # enlarges, partly outside
        rotated(-2.0, 1.9, (30.0, 25.5)),
        np.float32([[-1.0, 0.1, 36.0], [0.2, 1.3, -4.0]]),  # mirrors and shears
        rotated(0.3, 1.0, (500.0, 0.0)),  # all outside
    ]
)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_warp_equals_opencvs(dtype):
    image = np.random.default_rng(0).integers(0, 256, (31, 40, 3)).astype(dtype)
    warp = jax.jit(
        jax.vmap(partial(warp_affine, size=(24, 32), fill=128.0, mip_levels=2), in_axes=(None, 0))
    )
    # Older OpenCVs round positions to 1/32 px, so the image must be smooth.
    image = cv2.GaussianBlur(image, (0, 0), 2.0)
    flags = dict(
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(128.0,) * 3,
    )
    for found, matrix in zip(warp(image, MATRICES), MATRICES, strict=True):
        expected = cv2.warpAffine(image.astype(np.float32), matrix, (32, 24), **flags)
        np.testing.assert_allclose(found, expected, atol=3.0)
        assert np.abs(found - expected).mean() < 0.2
    np.testing.assert_allclose(warp(image, MATRICES)[0], image[:24, :32])
    np.testing.assert_array_equal(warp(image, MATRICES)[-1], 128.0)


def test_mip_levels_average_and_keep_positions():
    board = np.indices((96, 128)).sum(0)[..., None] % 2 * 255.0
    ramp = np.broadcast_to(np.arange(128.0)[None, :, None], (96, 128, 1))
    image = jnp.asarray(np.concatenate([board, ramp], -1), jnp.float32)
    # Output pixel i is the middle of input pixels 4i to 4i + 3.
    shrink = rotated(0.0, 4.0, (1.5, 1.5))
    skipped, taken = (
        jax.jit(partial(warp_affine, size=(20, 30), mip_levels=n))(image, shrink) for n in (0, 2)
    )
    np.testing.assert_allclose(taken[..., 0], 127.5)
    for found in (skipped, taken):
        np.testing.assert_allclose(
            found[:, 1:, 1], np.broadcast_to(4 * np.arange(1.0, 30.0) + 1.5, (20, 29)), atol=1e-3
        )
    beside = jax.jit(partial(warp_affine, size=(20, 30), mip_levels=0))(
        image, rotated(0.0, 4.0, (1.0, 1.0))
    )
    # One pixel in sixteen: always the same colour of the board.
    assert np.ptp(beside[..., 0]) == 0 and beside[0, 0, 0] in (0.0, 255.0)


def test_bytes_and_odd_sides_are_halved():
    image = np.full((7, 9, 1), 200, np.uint8)
    found = jax.jit(partial(warp_affine, size=(3, 4), mip_levels=1))(
        image, rotated(0.0, 2.0, (0.5, 0.5))
    )
    np.testing.assert_allclose(found, 200.0)
