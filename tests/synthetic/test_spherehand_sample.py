"""Synthetic inputs and targets of the sphere hand."""

from functools import cache, partial

import jax
import numpy as np
import pytest

from handjax.rigs import hand
from handjax.synthetic import spherehand

N = 300
CLEAN = dict(depth_noise_mm=0.0, shift_px=0.0)
SHARP = dict(supersampling=1, focal=(1.1, 1.1), image_size=48, **CLEAN)
OWN = np.asarray(hand.JOINT_SPHERES["hand21"])


@cache
def _draw(n=N, seed=0, **options):
    keys = jax.random.split(jax.random.key(seed), n)
    return jax.tree.map(
        np.asarray, jax.jit(jax.vmap(partial(spherehand.spherehand_sample, **options)))(keys)
    )


def _at(images, points, size=64, extent=300.0):
    u, v = (np.round(points[..., i] * size / extent + size / 2).astype(int) for i in (0, 1))
    assert (
        min(u.min(), v.min()) >= 0 and max(u.max(), v.max()) < size
    )  # the whole hand is in the cube
    return images[np.arange(len(u))[:, None], v, u]


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{}, SHARP, dict(surface="spheres", **CLEAN), dict(resample=3, **CLEAN)]
)
def test_spherehand_sample_keeps_the_contract(options):
    sample, size = _draw(**options), options.get("image_size", 64)
    assert {key: (value.shape[1:], value.dtype.name) for key, value in sample.items()} == {
        "depth": ((size, size), "float32"),
        "mask": ((size, size), "bool"),
        "centers": ((41, 3), "float32"),
        "radii": ((41,), "float32"),
        "joints_xyz": ((21, 3), "float32"),
        "visible_centers": ((41,), "bool"),
        "visible": ((21,), "bool"),
        "pose": ((26,), "float32"),
    }
    assert all(np.all(np.isfinite(value)) for value in sample.values())
    assert -200 < sample["depth"].min() and sample["depth"].max() < 100 + 6 * 5
    assert 0.03 < sample["mask"].mean((1, 2)).min() and sample["mask"].mean((1, 2)).max() < 0.4
    assert np.ptp(sample["pose"], axis=0).min() > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("surface", ["skin", "spheres"])
def test_targets_agree_with_the_image(surface):
    """At u = x · W/300 + W/2 visible joints are in the mask and just under the surface."""
    sample = _draw(surface=surface, **CLEAN)
    for points, visible, own in (
        (sample["joints_xyz"], sample["visible"], OWN),
        (sample["centers"], sample["visible_centers"], np.arange(41)),
    ):
        mask, depth = _at(sample["mask"], points), _at(sample["depth"], points)
        radii = sample["radii"][:, own]
        under = points[..., 2] - depth
        assert np.mean(mask[visible]) > 0.999 and (surface != "skin" or np.all(mask[visible]))
        assert np.mean((under < radii + 10 + 3)[visible]) > 0.98
        assert np.mean((under > -3)[visible]) > 0.98
        hidden = ~visible & mask
        assert np.mean((under > radii + 10 - 3)[hidden]) > 0.95
        assert 0.45 < visible.mean() < 0.75


@pytest.mark.slow
def test_spheres_are_where_their_targets_are():
    """Depth of unoccluded thumb tips, at u = x · W/300 + W/2; half a pixel would be millimetres."""
    sample, tip, whole = _draw(surface="spheres", **CLEAN), 39, 0
    rows, columns = np.mgrid[:64, :64]
    for depth, (x, y, z), radius in zip(
        sample["depth"], sample["centers"][:, tip], sample["radii"][:, tip], strict=True
    ):
        aside2 = ((columns - 32) * 300 / 64 - x) ** 2 + ((rows - 32) * 300 / 64 - y) ** 2
        near = aside2 < (radius - 2) ** 2
        apart = np.abs(depth[near] - (z - np.sqrt(radius**2 - aside2[near])))
        whole += apart.max() < 0.05
    assert whole > 20


@pytest.mark.slow
def test_skin_and_spheres_are_one_hand():
    skin, balls = _draw(surface="skin", **CLEAN), _draw(surface="spheres", **CLEAN)
    for name in ("pose", "centers", "radii", "joints_xyz"):
        np.testing.assert_array_equal(skin[name], balls[name])
    either, both = (
        np.sum(f(skin["mask"], balls["mask"]), axis=(1, 2)) for f in (np.logical_or, np.logical_and)
    )
    assert np.min(both / either) > 0.8 and np.median(both / either) > 0.9
    apart = (balls["depth"] - skin["depth"])[skin["mask"] & balls["mask"]]
    assert 0 < np.median(apart) < 3  # the skin is in front of the spheres by its bulge
    assert np.mean(np.abs(apart) < 15) > 0.9
    # The outlines have the same middle; a relative shift of half a pixel would show here.
    rows, columns = np.mgrid[:64, :64]
    for grid in (rows, columns):
        middle = [
            np.sum(s["mask"] * grid, axis=(1, 2)) / s["mask"].sum((1, 2)) for s in (skin, balls)
        ]
        assert abs(np.mean(middle[0] - middle[1])) < 0.05


@pytest.mark.slow
def test_noise_is_5_mm_and_outlines_do_not_drift():
    clean, noisy = _draw(**CLEAN), _draw()
    there, still = (s["depth"] < 100 for s in (clean, noisy))
    assert np.mean(still != there) > 0.005
    # Neighbouring pixels differ as well, but by less than 5 mm in the middle half.
    difference = (noisy["depth"] - clean["depth"])[there & still]
    assert (
        abs(np.median(difference)) < 0.1 and 3.4 < np.median(np.abs(difference)) < 4.5
    )  # 3.37 for 5 mm alone
    rows, columns = np.mgrid[:64, :64]
    for grid in (rows, columns):
        before, after = (np.sum(m * grid, axis=(1, 2)) / m.sum((1, 2)) for m in (there, still))
        assert abs(np.mean(after - before)) < 0.02  # the original's drifts by 0.16


@pytest.mark.slow
def test_outlines_are_blended_with_the_background():
    """Half-covered pixels lie between hand and background, which one ray per pixel never gives."""
    mixed, sharp = (
        np.mean((s["depth"] > 60) & (s["depth"] < 100)) for s in (_draw(**CLEAN), _draw(**SHARP))
    )
    assert 0.005 < mixed < 0.05 and sharp < 0.3 * mixed


@pytest.mark.slow
def test_focal_ratio_stretches_image_and_labels():
    """x and y of the hand grow by the same factor, and z does not."""
    plain, wide = _draw(**CLEAN), _draw(**SHARP)
    for name in ("joints_xyz", "centers"):
        ratio = np.sum(wide[name] * plain[name], axis=1) / np.sum(plain[name] ** 2, axis=1)
        np.testing.assert_allclose(wide[name], plain[name] * ratio[:, None], atol=2e-3)
        np.testing.assert_allclose(ratio[:, 0], ratio[:, 1], rtol=1e-4)
        np.testing.assert_allclose(ratio[:, 2], 1, rtol=1e-4)
        assert 0.999 < ratio[:, 0].min() < 1.01 and 1.2 < ratio[:, 0].max() < 1.1 / 0.9 + 1e-3
    area = (wide["mask"].mean((1, 2)) / plain["mask"].mean((1, 2))) / ratio[:, 0] ** 2
    assert (
        abs(np.median(area) - 1) < 0.04 and np.std(area) < 0.05
    )  # two of four rays, a tie, are in the mask


@pytest.mark.slow
def test_resampling_smooths_and_drops():
    clean, smooth = _draw(**CLEAN), _draw(resample=3, **CLEAN)
    inner = np.asarray(
        [np.lib.stride_tricks.sliding_window_view(m, (5, 5)).all((-1, -2)) for m in clean["mask"]]
    )
    depth, before = smooth["depth"][:, 2:-2, 2:-2][inner], clean["depth"][:, 2:-2, 2:-2][inner]
    raised = (depth - before) / (
        100 - before
    )  # a dropped pixel adds its weight of what lies between it and 100
    assert abs(np.mean(raised) - 0.05) < 0.02
    assert (
        0.02 < np.mean(raised > 6 / 18 - 0.06) < 0.09
    )  # pixels dropped themselves, or several about them
