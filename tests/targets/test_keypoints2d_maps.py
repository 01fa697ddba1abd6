"""Images, maps and coordinates of CPM and PoseNet2D, compared with those of their originals."""

import jax.numpy as jnp
import numpy as np
import pytest

from handjax.targets import heatmap, keypoints2d
from handjax.targets.image import normalize_image

SIZE, STRIDE, CELLS = 96, 8, 12


def _uv(*shape, low=-6.0, high=102.0, seed=0):
    return np.random.default_rng(seed).uniform(low, high, (*shape, 2)).astype(np.float32)


def _gaussian(size, x, y, sigma, cut):
    """One map as drawn by the originals, rows y and columns x."""
    rows, columns = np.mgrid[0:size, 0:size]
    heat = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 2.0 / sigma / sigma)
    heat[heat < cut] = 0
    return heat


@pytest.mark.parametrize(
    "variant",
    [
        dict(sigma=3.0, cut=0.0099, background=True, whole_pixels=True),  # namedBen
        dict(sigma=3.0, cut=0.0099, background=False, whole_pixels=True),  # Kwai
        dict(sigma=1.0, cut=0.0, background=False, whole_pixels=False),  # HowieMa
    ],
)
def test_cpms_maps(variant):
    uv = _uv(2, 4)
    maps = keypoints2d.cpm_heatmaps(jnp.asarray(uv), CELLS, STRIDE, **variant)
    expected = np.zeros((2, CELLS, CELLS, 4))
    for b in range(2):
        for j in range(4):
            x, y = (int(c) if variant["whole_pixels"] else c for c in uv[b, j])
            expected[b, :, :, j] = _gaussian(
                CELLS, x / STRIDE, y / STRIDE, variant["sigma"], variant["cut"]
            )
    if variant["background"]:
        expected = np.concatenate([1 - expected.max(-1, keepdims=True), expected], -1)
        assert maps.shape[-1] == 5
    np.testing.assert_allclose(maps, expected, rtol=1e-5, atol=1e-6)
    if variant["cut"]:
        assert (expected == 0).any() and ((np.asarray(maps) == 0) == (expected == 0)).all()


def test_the_defaults_are_namedbens():
    uv = jnp.asarray(_uv(3))
    spelled = keypoints2d.cpm_heatmaps(
        uv, CELLS, STRIDE, sigma=3.0, cut=0.0099, background=True, whole_pixels=True
    )
    np.testing.assert_array_equal(keypoints2d.cpm_heatmaps(uv, CELLS, STRIDE), spelled)


@pytest.mark.parametrize(
    "options, sigma, cut", [({}, 3.0, 0.0099), (dict(sigma=21.0, cut=0.0), 21.0, 0.0)]
)
def test_center_map(options, sigma, cut):
    center = keypoints2d.center_map(jnp.asarray([[40.0, 51.5]]), SIZE, **options)
    assert center.shape == (1, SIZE, SIZE, 1)
    np.testing.assert_allclose(
        center[0, ..., 0], _gaussian(SIZE, 40, 51.5, sigma, cut), rtol=1e-5, atol=1e-6
    )


def test_posenet2d_maps_have_valid_joints_inside_the_image():
    uv = np.array(
        [
            [30.7, 60.2],
            [0.9, 50.0],
            [1.0, 50.0],
            [50.0, 95.0],
            [94.9, 50.0],
            [-3.0, 50.0],
            [30.0, 60.0],
        ],
        np.float32,
    )
    valid = np.array([True] * 6 + [False])
    maps = keypoints2d.posenet_heatmaps(jnp.asarray(uv), jnp.asarray(valid), SIZE, sigma=25.0)
    rows, columns = np.mgrid[0:SIZE, 0:SIZE]
    for j, (x, y) in enumerate(uv):
        x, y = int(x), int(y)
        inside = valid[j] and 0 < x < SIZE - 1 and 0 < y < SIZE - 1
        assert inside == (j in (0, 2, 4))
        expected = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 25.0**2) * inside
        np.testing.assert_allclose(maps[..., j], expected, rtol=1e-4, atol=1e-6)


def test_normalized_colours():
    image = jnp.asarray(np.array([[[0, 128, 255]]], np.uint8))
    np.testing.assert_allclose(
        normalize_image(image, (128.0,) * 3, (256.0,) * 3, bgr=True), [[[127 / 256, 0, -0.5]]]
    )
    posenet = normalize_image(image, (127.5,) * 3, (255.0,) * 3, bgr=False)
    np.testing.assert_allclose(posenet, [[[-0.5, 128 / 255 - 0.5, 0.5]]], atol=1e-7)
    own = normalize_image(image, mean=(5.0, 8.0, 10.0), std=(50.0, 60.0, 10.0), bgr=True)
    np.testing.assert_allclose(own, [[[5, 2, -1]]])


def test_dsnt_is_the_mean_of_the_cell_centers():
    maps = np.random.default_rng(0).standard_normal((2, 6, 6, 3)).astype(np.float32) * 3
    probability, coords = keypoints2d.dsnt(jnp.asarray(maps))
    np.testing.assert_allclose(np.asarray(probability).sum((1, 2)), 1, rtol=1e-5)
    weight = np.exp(maps) / np.exp(maps).sum((1, 2), keepdims=True)
    axis = (2 * np.arange(1, 7) - 7) / 6  # the paper's, in [-1, 1]
    u, v = np.einsum("bvuj,u->bj", weight, axis), np.einsum("bvuj,v->bj", weight, axis)
    np.testing.assert_allclose(coords, (np.stack([u, v], -1) + 1) / 2, rtol=1e-5)
    np.testing.assert_allclose(
        keypoints2d.decode(jnp.asarray(maps), 8, "dsnt"), np.asarray(coords) * 48, rtol=1e-5
    )


def test_dsnts_gaussians():
    coords = np.array([[0.51, 0.2], [1.3, -0.1]], np.float32)
    gaussians = keypoints2d.dsnt_gaussians(jnp.asarray(coords), 8)
    np.testing.assert_allclose(np.asarray(gaussians).sum((0, 1)), 1, rtol=1e-5)
    rows, columns = np.mgrid[0:8, 0:8]
    for j, (x, y) in enumerate(np.clip(coords, 0, 1) * 8 - 0.5):
        expected = np.exp(-4 * np.log(2) * ((columns - x) ** 2 + (rows - y) ** 2))
        np.testing.assert_allclose(
            gaussians[..., j], expected / expected.sum(), rtol=1e-4, atol=1e-7
        )


def test_argmax_of_resized_maps_needs_no_resizing():
    """PoseNet2D's decoding, the first highest pixel of the resized maps, even if the highest cell
    is at the far border."""
    maps = np.random.default_rng(0).standard_normal((3, 8, 8, 5)).astype(np.float32)
    maps[0, 7, 7, 0] = maps[1, 7, 2, 1] = maps[2, 3, 7, 2] = 9
    found = keypoints2d.decode(jnp.asarray(maps), 8, "argmax")
    resized = keypoints2d.resize(jnp.asarray(maps), 64)
    np.testing.assert_array_equal(found, heatmap.argmax(resized, 2, 0.0)[..., ::-1])
    np.testing.assert_array_equal(found[0, 0], [56, 56])


@pytest.mark.slow
@pytest.mark.parametrize(
    "method, tolerance",
    [("argmax", STRIDE / 2), ("centroid", 2.0), ("soft_argmax", 0.1), ("dsnt", 0.1)],
)
def test_joints_are_encoded_and_decoded(method, tolerance):
    uv = _uv(2, 5, low=36.0, high=56.0)
    if method in ("argmax", "centroid"):
        maps = keypoints2d.cpm_heatmaps(
            jnp.asarray(uv), CELLS, STRIDE, sigma=1.0, background=False, whole_pixels=False
        )
    else:  # whose softmax is the Gaussian
        shift = 0.5 if method == "dsnt" else 0.0
        heat = heatmap.gaussian_heatmaps(jnp.asarray(uv[..., ::-1] / STRIDE), CELLS, 1.0, shift)
        maps = jnp.log(heat + 1e-20)
    assert np.abs(keypoints2d.decode(maps, STRIDE, method) - uv).max() <= tolerance


@pytest.mark.slow
def test_cells_of_dsnt_are_offset_by_half_a_cell():
    maps = jnp.zeros((8, 8, 1)).at[3, 5, 0].set(50.0)
    for method in ("argmax", "centroid", "soft_argmax", "dsnt"):
        found = keypoints2d.decode(maps, 4, method, cell_center=0.5)
        np.testing.assert_allclose(found, [[22.0, 14.0]], atol=1e-4)


def test_an_unknown_decode_is_reported():
    with pytest.raises(
        ValueError, match="decode 'mean' is unknown: use argmax, centroid, soft_argmax, dsnt"
    ):
        keypoints2d.decode(jnp.zeros((4, 4, 1)), 8, "mean")
