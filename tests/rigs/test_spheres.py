from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handjax.rigs import spheres

pytestmark = pytest.mark.optimized

PINHOLE = jax.jit(spheres.sphere_depth_pinhole, static_argnums=(3, 4))
ORTHOGRAPHIC = jax.jit(spheres.sphere_depth_orthographic, static_argnums=(2, 3, 4))
DISTANCE = jax.jit(spheres.sphere_distance)
K = jnp.asarray([[100.0, 0.0, 15.0], [0.0, 110.0, 16.0], [0.0, 0.0, 1.0]])


def _balls(n=41, seed=0, z=500.0):
    keys = jax.random.split(jax.random.key(seed))
    centers = 40 * jax.random.normal(keys[0], (n, 3)) + jnp.asarray([[0.0, 0.0, z]])
    return centers, jax.random.uniform(keys[1], (n,), minval=8.0, maxval=24.0)


def test_matches_the_original_renderer(real_data):
    with np.load(real_data / "hand" / "sphere_hand_16poses.npz", allow_pickle=False) as file:
        centers, radii, expected = (
            jnp.asarray(file[name]) for name in ("joints_mm", "radii_mm", "ball_depth_64")
        )
    depth, winner = jax.jit(lambda c, r: ORTHOGRAPHIC(c, r, 64))(
        centers, jnp.broadcast_to(radii, (16, 41))
    )
    np.testing.assert_allclose(depth, expected, atol=1e-2, rtol=0)
    np.testing.assert_array_equal(winner < 0, expected == 100)


def test_orthographic_pixels_are_corners():
    depth, winner = ORTHOGRAPHIC(jnp.asarray([[30.0, 0.0, 20.0]]), jnp.asarray([10.0]), 30)
    assert depth[15, 18] == 20 - 10 and winner[15, 18] == 0  # u = 15 is x = 0 and a pixel is 10 mm
    assert np.sum(np.asarray(winner) >= 0) == 1 and np.sum(np.asarray(depth) != 100) == 1
    behind, winner = ORTHOGRAPHIC(jnp.asarray([[0.0, 0.0, 200.0]]), jnp.asarray([10.0]), 30)
    assert np.all(behind == 100) and np.all(winner == -1)


@pytest.mark.slow
def test_pinhole_matches_the_textbook_intersection():
    centers, radii = _balls()
    depth, winner = PINHOLE(centers, radii, K, 30, 40)
    v, u = np.meshgrid(np.arange(30), np.arange(40), indexing="ij")
    ray = np.stack([(u - 15) / 100, (v - 16) / 110, np.ones_like(u)], axis=-1)[..., None, :]
    c, r = np.asarray(centers, np.float64), np.asarray(radii, np.float64)
    a, b = (ray**2).sum(-1), (ray * c).sum(-1)
    d = b**2 - a * ((c**2).sum(-1) - r**2)
    z = np.where(d > 0, (b - np.sqrt(np.maximum(d, 0))) / a, np.inf)
    hit = np.isfinite(z.min(-1))
    assert 100 < hit.sum() < 1100
    np.testing.assert_array_equal(np.asarray(depth) > 0, hit)
    np.testing.assert_array_equal(np.asarray(winner)[hit], z.argmin(-1)[hit])
    np.testing.assert_array_equal(np.asarray(winner)[~hit], -1)
    np.testing.assert_allclose(np.asarray(depth)[hit], z.min(-1)[hit], atol=1e-2)


def test_a_distant_pinhole_is_orthographic():
    """A camera 100 m away whose pixels are those of the orthographic grid at the hand."""
    away = 100_000.0
    centers, radii = _balls(z=0.0)
    k = jnp.asarray([[away * 64 / 300, 0.0, 32.0], [0.0, away * 64 / 300, 32.0], [0.0, 0.0, 1.0]])
    far, _ = PINHOLE(centers + jnp.asarray([[0.0, 0.0, away]]), radii, k, 64, 64)
    near, winner = ORTHOGRAPHIC(centers, radii, 64)
    both = (far > 0) & (winner >= 0)
    assert np.mean((far > 0) == (winner >= 0)) > 0.995
    assert np.median(np.abs(far - away - near)[both]) < 0.05
    assert np.percentile(np.abs(far - away - near)[both], 95) < 0.5


def test_spheres_around_or_behind_the_camera_are_not_seen():
    centers = jnp.asarray([[0.0, 0.0, -500.0], [0.0, 0.0, 3.0]])
    depth, winner = PINHOLE(centers, jnp.asarray([50.0, 20.0]), K, 32, 32)
    assert not np.any(depth) and np.all(winner == -1)


@pytest.mark.slow
@pytest.mark.parametrize("camera", ["pinhole", "orthographic"])
def test_depth_gradient_matches_finite_differences(camera):
    """At pixels whose sphere stays the same; moving silhouettes give no gradient by design."""
    centers, radii = _balls(20, seed=3, z=300.0)

    def image(c, r):
        if camera == "pinhole":
            return PINHOLE(c, r, K, 32, 32)
        return ORTHOGRAPHIC(c, r, 32, 300.0, 1000.0)

    weights = jax.random.normal(jax.random.key(1), (32, 32))
    moves = (
        jax.random.normal(jax.random.key(2), centers.shape),
        jax.random.normal(jax.random.key(4), radii.shape),
    )
    step = 0.02
    image = jax.jit(image)
    ends = [image(centers + s * moves[0], radii + s * moves[1]) for s in (-step, step)]
    rim = 6.0**2  # near a rim the square root is too bent for a finite step
    _, winner = image(centers, radii)
    shrunk = image(centers, jnp.sqrt(radii**2 - rim))[1]
    steady = (winner >= 0) & (ends[0][1] == winner) & (ends[1][1] == winner) & (shrunk == winner)
    assert steady.sum() > 50
    weights = jnp.where(steady, weights, 0.0)
    numeric = jnp.sum(weights * (ends[1][0] - ends[0][0])) / (2 * step)
    gradients = jax.jit(jax.grad(lambda c, r: jnp.sum(weights * image(c, r)[0]), argnums=(0, 1)))(
        centers, radii
    )
    analytic = sum(jnp.sum(g * m) for g, m in zip(gradients, moves, strict=True))
    np.testing.assert_allclose(analytic, numeric, rtol=0.01, atol=0.05)


def test_gradient_is_finite_on_grazing_rays():
    """Rays that touch, just hit and just miss a sphere, and one through its center."""
    offsets = jnp.concatenate([jnp.asarray([0.0, 10.0]), 10 + jnp.linspace(-1e-4, 1e-4, 41)])
    rays = jnp.stack([jnp.zeros(43), offsets / 500, jnp.ones(43)], axis=-1)
    center, radius = jnp.asarray([[0.0, 0.0, 500.0]]), jnp.asarray([10.0])
    gradients = jax.jit(
        jax.grad(lambda *a: jnp.sum(spheres.sphere_depth_along(*a)[0]), argnums=(0, 1, 2))
    )(rays, center, radius)
    assert all(np.all(np.isfinite(g)) for g in gradients)
    flat = jax.jit(jax.grad(lambda c, r: jnp.sum(ORTHOGRAPHIC(c, r, 30)[0]), argnums=(0, 1)))(
        jnp.zeros((1, 3)), jnp.asarray([10.0])
    )
    assert all(np.all(np.isfinite(g)) for g in flat)
    np.testing.assert_allclose(
        flat[0], [[0, 0, 1]], atol=1e-6
    )  # one pixel sees it, the rest touch it


@pytest.mark.slow
def test_only_the_visible_sphere_has_a_gradient():
    centers, radii = _balls()
    winner = PINHOLE(centers, radii, K, 32, 32)[1]
    gradient = jax.jit(jax.grad(lambda c: jnp.sum(PINHOLE(c, radii, K, 32, 32)[0])))(centers)
    seen = np.isin(np.arange(41), np.asarray(winner))
    assert 5 < seen.sum() < 41
    np.testing.assert_array_equal(np.any(np.asarray(gradient) != 0, axis=-1), seen)


@pytest.mark.slow
def test_spheres_with_any_batch_shape():
    centers, radii = (jnp.stack([jnp.stack([x, x + 1])] * 3) for x in _balls())
    k = jnp.broadcast_to(K, (3, 2, 3, 3))
    depth, winner = PINHOLE(centers, radii, k, 20, 24)
    assert depth.shape == winner.shape == (3, 2, 20, 24)
    np.testing.assert_allclose(depth[2, 1], PINHOLE(centers[2, 1], radii[2, 1], K, 20, 24)[0])
    flat, _ = ORTHOGRAPHIC(centers, radii, 16, 300.0, 1000.0)
    alone, _ = ORTHOGRAPHIC(centers[2, 1], radii[2, 1], 16, 300.0, 1000.0)
    np.testing.assert_allclose(flat[2, 1], alone)


@pytest.mark.slow
def test_memory_is_a_few_images_not_one_per_sphere():
    centers, radii = (jnp.stack([x] * 8) for x in _balls())
    k = jnp.broadcast_to(K, (8, 3, 3))

    def loss(c, r, k):
        return jnp.sum(PINHOLE(c, r, k, 64, 64)[0] ** 2)

    compiled = jax.jit(jax.grad(loss)).lower(centers, radii, k).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 20 * (
        8 * 64 * 64 * 4
    )  # one a sphere is 41


def _plain_distance(points, centers, radii):
    """[..., p, s] in float64: distance of each point from each surface."""
    points, centers, radii = (np.asarray(x, np.float64) for x in (points, centers, radii))
    between = np.linalg.norm(points[..., :, None, :] - centers[..., None, :, :], axis=-1)
    return np.abs(between - radii[..., None, :])


def _cloud(shape, p, s, seed=0):
    keys = jax.random.split(jax.random.key(seed), 3)
    points = 60 * jax.random.normal(keys[0], (*shape, p, 3))
    return (
        points,
        40 * jax.random.normal(keys[1], (*shape, s, 3)),
        jax.random.uniform(keys[2], (*shape, s), minval=8, maxval=24),
    )


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(), (1,), (3, 2)])
def test_distance_is_the_minimum_over_spheres(shape):
    points, centers, radii = _cloud(shape, 200, 41)
    distance, winner = DISTANCE(points, centers, radii)
    every = _plain_distance(points, centers, radii)
    np.testing.assert_allclose(distance, every.min(-1), atol=2e-5, rtol=1e-6)
    chosen = np.take_along_axis(every, np.asarray(winner)[..., None], axis=-1)[..., 0]
    np.testing.assert_allclose(chosen, every.min(-1), atol=2e-5, rtol=1e-6)
    assert np.mean(winner == every.argmin(-1)) > 0.999


def test_distance_includes_hidden_surfaces():
    """In a large sphere overlapped by a small one: 12 mm below the large surface, on the small."""
    centers, radii = jnp.asarray([[0.0, 0.0, 0.0], [20.0, 0.0, 0.0]]), jnp.asarray([20.0, 12.0])
    points = jnp.asarray([[8.0, 0.0, 0.0], [-19.0, 0.0, 0.0], [40.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    distance, winner = DISTANCE(points, centers, radii)
    np.testing.assert_allclose(distance, [0, 1, 8, 8], atol=1e-5)
    np.testing.assert_array_equal(winner, [1, 0, 1, 1])


@pytest.mark.slow
def test_distance_of_equals_is_the_first_sphere():
    points, centers, radii = _cloud((), 100, 7)
    twice = jnp.concatenate([centers, centers]), jnp.concatenate([radii, radii])
    distance, winner = DISTANCE(points, *twice)
    np.testing.assert_array_equal(winner, DISTANCE(points, centers, radii)[1])
    gradient = jax.jit(jax.grad(lambda c: jnp.sum(DISTANCE(points, c, twice[1])[0])))(twice[0])
    assert np.any(gradient[:7]) and not np.any(gradient[7:])


@pytest.mark.slow
def test_distance_gradient_matches_finite_differences():
    points, centers, radii = _cloud((2,), 300, 20, seed=3)
    moves = [
        jax.random.normal(key, x.shape)
        for key, x in zip(
            jax.random.split(jax.random.key(5), 3), (points, centers, radii), strict=True
        )
    ]
    step = 0.02
    ends = [
        DISTANCE(*(x + s * move for x, move in zip((points, centers, radii), moves, strict=True)))
        for s in (-step, step)
    ]
    distance, winner = DISTANCE(points, centers, radii)
    # Not where the nearest changes, nor across a surface, where the absolute value has a kink.
    steady = (ends[0][1] == winner) & (ends[1][1] == winner) & (distance > 0.5)
    assert steady.mean() > 0.8
    weights = jnp.where(steady, jax.random.normal(jax.random.key(1), winner.shape), 0.0)
    loss = jax.jit(jax.grad(lambda *a: jnp.sum(weights * DISTANCE(*a)[0]), argnums=(0, 1, 2)))
    analytic = sum(jnp.sum(g * m) for g, m in zip(loss(points, centers, radii), moves, strict=True))
    numeric = jnp.sum(weights * (ends[1][0] - ends[0][0])) / (2 * step)
    np.testing.assert_allclose(analytic, numeric, rtol=0.01, atol=0.05)


def test_distance_has_a_finite_gradient_everywhere():
    """At a center, on a surface, and so close to either that squares in float32 vanish."""
    near = jnp.asarray([0.0, 1e-30, 1e-20, 1e-10, 10.0 - 1e-6, 10.0, 10.0 + 1e-6])
    points = jnp.concatenate([near[:, None] * jnp.eye(3)[i, None] for i in range(3)])
    args = points, jnp.zeros((1, 3)), jnp.asarray([10.0])
    by_point, by_center, by_radius = jax.jit(
        jax.jacrev(lambda *a: DISTANCE(*a)[0], argnums=(0, 1, 2))
    )(*args)
    assert all(np.all(np.isfinite(g)) for g in (by_point, by_center, by_radius))
    assert (
        np.max(np.linalg.norm(by_center[:, 0], axis=-1)) < 1 + 1e-5
        and np.max(np.abs(by_radius)) <= 1
    )
    np.testing.assert_array_equal(by_center[0], 0)
    np.testing.assert_array_equal(
        by_radius[0], 1
    )  # the centre of a growing sphere gets further from its surface


def test_distance_is_nan_where_none_is_finite():
    points, centers, radii = _cloud((), 4, 3)
    distance, winner = DISTANCE(points.at[1, 0].set(jnp.nan), centers, radii)
    np.testing.assert_array_equal(np.isnan(distance), [False, True, False, False])
    np.testing.assert_array_equal(winner == -1, [False, True, False, False])


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31 - 1), scale=st.floats(0.1, 1000.0))
def test_distance_is_invariant_to_motion_and_order(seed, scale):
    points, centers, radii = (scale * x for x in _cloud((2,), 16, 6, seed % 1000))
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0].astype(np.float32)
    order, shift = rng.permutation(6), (scale * rng.normal(size=3)).astype(np.float32)
    distance, winner = DISTANCE(points, centers, radii)
    other, moved = DISTANCE(
        *((np.asarray(x) @ turn + shift) for x in (points, centers[:, order])), radii[:, order]
    )
    assert np.all(distance >= 0)
    np.testing.assert_allclose(other, distance, atol=1e-4 * scale)
    every = np.sort(_plain_distance(points, centers, radii), axis=-1)
    clear = every[..., 1] - every[..., 0] > 1e-3 * scale
    np.testing.assert_array_equal(order[np.asarray(moved)][clear], np.asarray(winner)[clear])
    # A point is no further from the spheres than another point is, and the way between them.
    way = np.linalg.norm(np.asarray(points[:, 0] - points[:, 1]), axis=-1)
    assert np.all(np.abs(distance[:, 0] - distance[:, 1]) <= way + 1e-4 * scale)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31 - 1))
def test_distance_on_a_sphere_is_zero(seed):
    _, centers, radii = _cloud((), 1, 6, seed % 1000)
    rng = np.random.default_rng(seed)
    away = rng.normal(size=(6, 3))
    points = np.asarray(centers) + np.asarray(radii)[:, None] * away / np.linalg.norm(
        away, axis=-1, keepdims=True
    )
    np.testing.assert_allclose(
        DISTANCE(jnp.asarray(points, jnp.float32), centers, radii)[0], 0, atol=1e-4
    )


@pytest.mark.slow
def test_distance_saves_points_not_pairs():
    points, centers, radii = _cloud((4,), 4096, 41)
    gradient = jax.jit(
        jax.grad(lambda *a: jnp.sum(spheres.sphere_distance(*a)[0]), argnums=(0, 1, 2))
    )
    temporary = (
        gradient.lower(points, centers, radii).compile().memory_analysis().temp_size_in_bytes
    )
    assert temporary < 20 * (4 * 4096 * 4)  # one of all pairs is 41


@pytest.mark.slow
def test_inside_shard_map():
    rng = np.random.default_rng(0)
    centers, radii = (
        jnp.asarray(rng.uniform(-50, 50, (8, 5, 3)), jnp.float32),
        jnp.full((8, 5), 20.0),
    )
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    draw, spec = (
        partial(spheres.sphere_depth_orthographic, size=16),
        jax.sharding.PartitionSpec("data"),
    )
    apart = jax.jit(jax.shard_map(draw, mesh=mesh, in_specs=(spec, spec), out_specs=spec))(
        centers, radii
    )
    depth, winner = draw(centers, radii)
    np.testing.assert_array_equal(apart[1], winner)
    np.testing.assert_allclose(apart[0], depth, atol=1e-4)  # compiled apart, rounded apart
