import numpy as np
import pytest

from handjax.pose.align import rigid_transform


def _moves(rng, n):
    """[n, 4, 4] random turns and shifts."""
    turns, _ = np.linalg.qr(rng.normal(size=(n, 3, 3)))
    moves = np.tile(np.eye(4), (n, 1, 1))
    moves[:, :3, :3] = turns * np.sign(np.linalg.det(turns))[:, None, None]
    moves[:, :3, 3] = rng.normal(0, 100, (n, 3))
    return moves


def _moved(moves, points):
    return points @ np.swapaxes(moves[..., :3, :3], -1, -2) + moves[..., None, :3, 3]


@pytest.mark.parametrize("points", [3, 4, 36])
def test_a_turn_and_a_shift_come_back(points):
    """Of three points, too, that lie in a plane and have a mirror image that fits as well."""
    rng = np.random.default_rng(0)
    moves, source = _moves(rng, 20), rng.normal(0, 60, (20, points, 3))
    np.testing.assert_allclose(rigid_transform(source, _moved(moves, source)), moves, atol=1e-9)


def test_never_a_mirror_and_least_squares():
    rng = np.random.default_rng(1)
    source, target = rng.normal(0, 60, (2, 5, 10, 3))
    found = rigid_transform(source, target)
    np.testing.assert_allclose(np.linalg.det(found[:, :3, :3]), 1, atol=1e-9)
    np.testing.assert_allclose(
        found[:, :3, :3] @ np.swapaxes(found[:, :3, :3], -1, -2),
        np.tile(np.eye(3), (5, 1, 1)),
        atol=1e-9,
    )
    error = ((_moved(found, source) - target) ** 2).sum((1, 2))
    for nudge in _moves(rng, 50):
        nudge[:3, :3] = np.linalg.qr(np.eye(3) + 0.01 * nudge[:3, :3])[0]
        nudge[:3, :3] *= np.sign(np.diag(nudge[:3, :3]))[None, :]
        nudge[:3, 3] *= 0.01
        assert np.all(((_moved(nudge @ found, source) - target) ** 2).sum((1, 2)) >= error - 1e-6)
