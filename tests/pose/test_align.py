"""Alignment recovers random rigid motions, never mirrors, and is optimal in least squares."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from handjax.pose.align import kabsch, rigid_transform

SEEDS = st.integers(0, 2**32 - 1)
BATCHES = st.sampled_from([(), (1,), (4,), (2, 3)])
quick = settings(max_examples=50, deadline=None)


def motions(rng, batch):
    """[*b 4 4] random rotations and shifts."""
    moves = np.tile(np.eye(4), (*batch, 1, 1))
    rotations = Rotation.random(int(np.prod(batch)), rng=rng).as_matrix()
    moves[..., :3, :3] = rotations.reshape(*batch, 3, 3)
    moves[..., :3, 3] = rng.normal(0, 100, (*batch, 3))
    return moves


def moved(moves, points):
    return points @ np.swapaxes(moves[..., :3, :3], -1, -2) + moves[..., None, :3, 3]


def centered(points):
    return points - points.mean(-2, keepdims=True)


@quick
@given(SEEDS, BATCHES, st.integers(3, 40))
def test_rigid_motions_are_recovered(seed, batch, points):
    """Also for three points, which lie in a plane, so that their mirror image fits as well."""
    rng = np.random.default_rng(seed)
    moves, source = motions(rng, batch), rng.normal(0, 60, (*batch, points, 3))
    found = rigid_transform(source, moved(moves, source))
    thickness = np.linalg.svd(centered(source), compute_uv=False)[..., 1].min()
    np.testing.assert_allclose(found, moves, atol=1e-10 * max(1.0, 60 / thickness) ** 2 * 100)


@quick
@given(SEEDS, BATCHES, st.booleans())
def test_never_a_mirror_image(seed, batch, mirrored):
    rng = np.random.default_rng(seed)
    source, target = rng.normal(0, 60, (2, *batch, 10, 3))
    if mirrored:
        target = source * [-1, 1, 1]
    rotation, singular = kabsch(centered(source), centered(target))
    np.testing.assert_allclose(np.linalg.det(rotation), 1, atol=1e-9)
    product = rotation @ np.swapaxes(rotation, -1, -2)
    np.testing.assert_allclose(product, np.broadcast_to(np.eye(3), product.shape), atol=1e-9)
    if mirrored:
        assert (singular[..., -1] < 0).all()


@quick
@given(SEEDS, st.sampled_from([2, 3]))
def test_singular_values_give_the_fit_and_the_scale(seed, axes):
    """Σ (R p)·q is their sum, and so Σ |s R p - q|² is minimal for s = sum / Σ |p|²."""
    rng = np.random.default_rng(seed)
    source, target = (centered(x) for x in rng.normal(0, 60, (2, 5, 10, axes)))
    rotation, singular = kabsch(source, target)
    turned = source @ np.swapaxes(rotation, -1, -2)
    np.testing.assert_allclose((turned * target).sum((-1, -2)), singular.sum(-1), rtol=1e-9)


def test_no_nearby_motion_fits_better():
    rng = np.random.default_rng(1)
    source, target = rng.normal(0, 60, (2, 5, 10, 3))
    found = rigid_transform(source, target)
    error = ((moved(found, source) - target) ** 2).sum((1, 2))
    for _ in range(50):
        nudge = np.eye(4)
        nudge[:3, :3] = Rotation.from_rotvec(0.01 * rng.normal(size=3)).as_matrix()
        nudge[:3, 3] = rng.normal(size=3)
        assert np.all(((moved(nudge @ found, source) - target) ** 2).sum((1, 2)) >= error - 1e-6)


@settings(max_examples=10, deadline=None)
@given(SEEDS, st.sampled_from([(), (3,)]))
def test_jax_and_numpy_agree(seed, batch):
    rng = np.random.default_rng(seed)
    source, target = (centered(x) for x in rng.normal(0, 60, (2, *batch, 12, 3)))
    with jax.enable_x64(True):
        found = kabsch(jnp.asarray(source), jnp.asarray(target))
        assert all(isinstance(x, jax.Array) and x.dtype == jnp.float64 for x in found)
    for ours, expected in zip(found, kabsch(source, target), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("source", [np.zeros((4, 3)), np.outer(np.arange(4.0) - 1.5, [1, 2, 3])])
def test_degenerate_points_still_give_a_rotation(source):
    rotation, _ = kabsch(source, source)
    np.testing.assert_allclose(np.linalg.det(rotation), 1, atol=1e-9)
    np.testing.assert_allclose(source @ rotation.T, source, atol=1e-9)
