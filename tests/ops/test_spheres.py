import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.ops import spheres

PINHOLE = jax.jit(spheres.sphere_depth_pinhole, static_argnums=(3, 4))
ORTHOGRAPHIC = jax.jit(spheres.sphere_depth_orthographic, static_argnums=(2, 3, 4))
K = jnp.asarray([[100.0, 0.0, 15.0], [0.0, 110.0, 16.0], [0.0, 0.0, 1.0]])


def _balls(n=41, seed=0, z=500.0):
    keys = jax.random.split(jax.random.key(seed))
    centers = 40 * jax.random.normal(keys[0], (n, 3)) + jnp.asarray([[0.0, 0.0, z]])
    return centers, jax.random.uniform(keys[1], (n,), minval=8.0, maxval=24.0)


def test_meets_the_original_ball_renderer(real_data):
    with np.load(real_data / "hand" / "sphere_hand_16poses.npz", allow_pickle=False) as file:
        centers, radii, expected = (jnp.asarray(file[name]) for name in ("joints_mm", "radii_mm", "ball_depth_64"))
    depth, winner = jax.jit(lambda c, r: ORTHOGRAPHIC(c, r, 64))(centers, jnp.broadcast_to(radii, (16, 41)))
    np.testing.assert_allclose(depth, expected, atol=1e-2, rtol=0)
    np.testing.assert_array_equal(winner < 0, expected == 100)


def test_orthographic_pixels_are_corners():
    depth, winner = ORTHOGRAPHIC(jnp.asarray([[30.0, 0.0, 20.0]]), jnp.asarray([10.0]), 30)
    assert depth[15, 18] == 20 - 10 and winner[15, 18] == 0  # u = 15 is x = 0 and a pixel is 10 mm
    assert np.sum(np.asarray(winner) >= 0) == 1 and np.sum(np.asarray(depth) != 100) == 1
    behind, winner = ORTHOGRAPHIC(jnp.asarray([[0.0, 0.0, 200.0]]), jnp.asarray([10.0]), 30)
    assert np.all(behind == 100) and np.all(winner == -1)


def test_pinhole_is_the_textbook_intersection():
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


@pytest.mark.parametrize("camera", ["pinhole", "orthographic"])
def test_gradient_is_the_finite_difference(camera):
    """Of pixels whose sphere stays the same: a silhouette that moves gives no gradient, by design."""
    centers, radii = _balls(20, seed=3, z=300.0)

    def image(c, r):
        if camera == "pinhole":
            return PINHOLE(c, r, K, 32, 32)
        return ORTHOGRAPHIC(c, r, 32, 300.0, 1000.0)

    weights = jax.random.normal(jax.random.key(1), (32, 32))
    moves = jax.random.normal(jax.random.key(2), centers.shape), jax.random.normal(jax.random.key(4), radii.shape)
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
    gradients = jax.jit(jax.grad(lambda c, r: jnp.sum(weights * image(c, r)[0]), argnums=(0, 1)))(centers, radii)
    analytic = sum(jnp.sum(g * m) for g, m in zip(gradients, moves, strict=True))
    np.testing.assert_allclose(analytic, numeric, rtol=0.01, atol=0.05)


def test_gradient_is_finite_on_grazing_rays():
    """Rays that touch, just cut and just miss a sphere, and one through its centre."""
    offsets = jnp.concatenate([jnp.asarray([0.0, 10.0]), 10 + jnp.linspace(-1e-4, 1e-4, 41)])
    rays = jnp.stack([jnp.zeros(43), offsets / 500, jnp.ones(43)], axis=-1)
    center, radius = jnp.asarray([[0.0, 0.0, 500.0]]), jnp.asarray([10.0])
    gradients = jax.jit(jax.grad(lambda *a: jnp.sum(spheres.sphere_depth_along(*a)[0]), argnums=(0, 1, 2)))(rays, center, radius)
    assert all(np.all(np.isfinite(g)) for g in gradients)
    flat = jax.jit(jax.grad(lambda c, r: jnp.sum(ORTHOGRAPHIC(c, r, 30)[0]), argnums=(0, 1)))(
        jnp.zeros((1, 3)), jnp.asarray([10.0])
    )
    assert all(np.all(np.isfinite(g)) for g in flat)
    np.testing.assert_allclose(flat[0], [[0, 0, 1]], atol=1e-6)  # one pixel sees it, the rest touch it


def test_only_the_sphere_that_is_seen_gets_a_gradient():
    centers, radii = _balls()
    winner = PINHOLE(centers, radii, K, 32, 32)[1]
    gradient = jax.jit(jax.grad(lambda c: jnp.sum(PINHOLE(c, radii, K, 32, 32)[0])))(centers)
    seen = np.isin(np.arange(41), np.asarray(winner))
    assert 5 < seen.sum() < 41
    np.testing.assert_array_equal(np.any(np.asarray(gradient) != 0, axis=-1), seen)


def test_any_batch():
    centers, radii = (jnp.stack([jnp.stack([x, x + 1])] * 3) for x in _balls())
    k = jnp.broadcast_to(K, (3, 2, 3, 3))
    depth, winner = PINHOLE(centers, radii, k, 20, 24)
    assert depth.shape == winner.shape == (3, 2, 20, 24)
    np.testing.assert_allclose(depth[2, 1], PINHOLE(centers[2, 1], radii[2, 1], K, 20, 24)[0])
    flat, _ = ORTHOGRAPHIC(centers, radii, 16, 300.0, 1000.0)
    alone, _ = ORTHOGRAPHIC(centers[2, 1], radii[2, 1], 16, 300.0, 1000.0)
    np.testing.assert_allclose(flat[2, 1], alone)


def test_memory_is_a_few_images_not_one_a_sphere():
    centers, radii = (jnp.stack([x] * 8) for x in _balls())
    k = jnp.broadcast_to(K, (8, 3, 3))

    def loss(c, r, k):
        return jnp.sum(PINHOLE(c, r, k, 64, 64)[0] ** 2)

    compiled = jax.jit(jax.grad(loss)).lower(centers, radii, k).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 16 * (8 * 64 * 64 * 4)
