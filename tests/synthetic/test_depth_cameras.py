"""What depth cameras do to an image, one effect at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.synthetic import depth_cameras
from handjax.synthetic.depth_cameras import KINDS, Effects, measure
from handjax.synthetic.draws import Draws

SIZE = 64
K = jnp.array([[106.0, 0, 31.5], [0, 106.0, 31.5], [0, 0, 1]])
NONE = Effects(*(jnp.float32(0),) * len(Effects._fields))


@jax.jit
def through(depth, effects, resolution=2.0, seed=0):
    return measure(jax.random.key(seed), depth, K, resolution, effects)


def sensed(depth, resolution=2.0, seed=0, **effects):
    effects = NONE._replace(**{name: jnp.float32(value) for name, value in effects.items()})
    return np.asarray(through(jnp.asarray(depth, jnp.float32), effects, resolution, seed))


def wall(mm=500.0):
    return np.full((SIZE, SIZE), mm, np.float32)


def step(near=400.0, far=900.0):
    """Something near in the left half, before a wall."""
    depth = wall(far)
    depth[:, : SIZE // 2] = near
    return depth


def test_a_camera_without_effects_changes_nothing():
    depth = step()
    depth[10:20, 40:] = 0
    np.testing.assert_array_equal(sensed(depth), depth)


@pytest.mark.parametrize("mm", [500.0, 1000.0])
def test_noise_grows_with_the_square_of_the_distance(mm):
    errors = sensed(wall(mm), noise=2.0) - mm
    assert abs(errors.mean()) < 0.3
    np.testing.assert_allclose(errors.std(), 2 * (mm / 500) ** 2, rtol=0.05)


def test_quantization_leaves_few_depths():
    ramp = np.tile(np.linspace(480, 500, SIZE, dtype=np.float32), (SIZE, 1))
    found = sensed(ramp, step=2.0)
    assert np.abs(found - ramp).max() < 1.1 and len(np.unique(np.round(found, 1))) < 40


def test_a_drift_is_smooth():
    errors = sensed(wall(), drift=5.0) - 500
    assert errors.std() > 2 and np.abs(np.diff(errors, axis=0)).max() < 3


def test_holes_are_patches_and_speckle_is_not():
    holes, speckle = (sensed(wall(), **{name: 0.05}) == 0 for name in ("holes", "speckle"))
    assert 0.005 < holes.mean() < 0.1 and 0.03 < speckle.mean() < 0.07

    def alone(lost):
        """Share of lost pixels without a lost neighbour to the right."""
        return 1 - (lost[:, :-1] & lost[:, 1:]).sum() / lost[:, :-1].sum()

    assert alone(holes) < 0.4 < 0.8 < alone(speckle)


def test_the_projector_casts_a_shadow_as_wide_as_the_difference_of_disparities():
    widths = []
    for seed in range(8):  # the projector is on either side
        lost = sensed(step(), base=50.0, seed=seed) == 0
        assert lost[:, : SIZE // 2].sum() == 0 or lost[:, SIZE // 2 :].sum() == 0
        widths.append(lost.sum(1).max())
    shift = 106.0 * 50 * (1 / 400 - 1 / 900)
    assert min(widths) == 0 and abs(max(widths) - shift) <= 1.5


@pytest.mark.parametrize("kind", KINDS)
def test_a_camera_sees_a_thing_with_nothing_around_it(kind):
    depth = np.zeros((SIZE, SIZE), np.float32)
    depth[20:44, 20:44] = 500
    for seed in range(6):
        effects = depth_cameras.draw_effects(Draws(jax.random.key(seed), 100), (kind,))
        found = np.asarray(through(jnp.asarray(depth), effects, 2.0, seed))
        assert (found[22:42, 22:42] > 0).mean() > 0.75
        assert found[found > 0].min() > 400


def test_mixed_pixels_lie_between_the_depths_at_an_outline():
    found = sensed(step(), mixed=1.0)
    between = (found > 405) & (found < 895)
    assert between.any(1).mean() > 0.8
    assert not between[:, : SIZE // 2 - 2].any() and not between[:, SIZE // 2 + 2 :].any()


def test_fat_outlines_grow_by_a_pixel():
    near = sensed(step(), fat=2.0) < 500
    assert (near.sum(1) == SIZE // 2 + 1).mean() > 0.9


def test_ragged_outlines_move_and_flat_surfaces_do_not():
    found = sensed(step(), ragged=2.0)
    assert set(np.unique(found)) == {400.0, 900.0}
    widths = (found < 500).sum(1)
    assert widths.std() > 0.5 and abs(widths.mean() - SIZE / 2) < 1


def test_a_coarse_sensor_repeats_its_measurements():
    depth = np.random.default_rng(0).uniform(400, 600, (SIZE, SIZE))
    assert len(np.unique(sensed(depth, resolution=0.5))) <= (SIZE // 2 + 1) ** 2
    np.testing.assert_array_equal(sensed(depth, resolution=1.0), depth.astype(np.float32))


def test_every_kind_is_drawn_within_its_ranges():
    for kind, ranges in KINDS.items():
        drawn = jax.vmap(lambda key, k=kind: depth_cameras.draw_effects(Draws(key, 13), (k,)))(
            jax.random.split(jax.random.key(0), 50)
        )
        for name, values in drawn._asdict().items():
            low, high = {**KINDS["plain"], **ranges}[name]
            assert low <= values.min() and values.max() <= high + 1e-6, (kind, name)
