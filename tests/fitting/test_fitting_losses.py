import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.fitting import losses
from handjax.rigs import hand
from handjax.rigs.spheres import sphere_depth_orthographic

# Most of the time is compilation, and this halves it without changing the arithmetic.
PROJECTION = jax.jit(
    losses.projection,
    static_argnames=("across", "original"),
    compiler_options={"xla_backend_optimization_level": 0},
)
SURFACE = jax.jit(losses.surface_distance)
SPHERES = jax.jit(lambda pose: hand.spheres(pose, 0.9))
COLLISION, BONES = jax.jit(losses.collision), jax.jit(losses.bone_length)
CONSISTENCY = jax.jit(losses.multiview_consistency, static_argnames="original")


@pytest.fixture(scope="module")
def oracle(real_data):
    with np.load(real_data / "hand" / "sphere_hand_16poses.npz", allow_pickle=False) as file:
        return {name: jnp.asarray(file[name]) for name in file.files}


def test_losses_match_the_original(oracle):
    centers = oracle["joints_mm"]
    np.testing.assert_allclose(COLLISION(centers), oracle["collision"], atol=1e-4)
    assert oracle["collision"].max() > 5
    np.testing.assert_allclose(BONES(centers), oracle["bone_length_loss"], atol=1e-3)
    radii = jnp.broadcast_to(oracle["radii_mm"], (16, 41))
    rendered = jax.jit(losses.render_error)(oracle["ball_depth_64"], centers, radii)
    np.testing.assert_allclose(rendered, 0, atol=1e-6)
    near = SURFACE(oracle["ball_depth_64"], centers, radii)
    np.testing.assert_allclose(near, 0, atol=1e-4)


def test_bones_of_a_mean_hand_are_within_range():
    centers, _ = SPHERES(jnp.zeros(26))
    np.testing.assert_array_equal(BONES(centers), 0)
    for size in (0.7, 1.2):
        assert BONES(size * centers) > 10


def test_collision_of_690_pairs():
    """All centers far apart except for one pair at a time, and all in one place."""
    far = 100 * np.arange(41.0, dtype=np.float32)[:, None] * np.ones(3, np.float32)
    pairs = [(0, 5), (0, 11), (11, 16), (11, 17), (36, 40), (10, 40)]
    together = np.stack([far] * 6)
    for i, (a, b) in enumerate(pairs):
        together[i, b] = far[a] + [3, 0, 0]
    np.testing.assert_array_equal(
        COLLISION(jnp.asarray(together)), [0, 27, 0, 27, 0, 27]
    )  # 6² - 3²
    np.testing.assert_array_equal(COLLISION(jnp.zeros((6, 41, 3))), 690 * 36)


def _square(mm=100.0, z=0.0):
    """A 64 px image of a flat square on the axis."""
    at = (np.arange(64) - 32) * 300 / 64
    inside = np.abs(at) <= mm / 2
    return jnp.asarray(np.where(inside[:, None] & inside, z, 100.0).astype(np.float32))


def test_surface_distance_ignores_background_and_clips():
    depth = _square()
    at = (np.argwhere(np.asarray(depth) < 99) - 32) * 300 / 64
    assert len(at) > 400
    for z in (30.0, 500.0):  # one sphere behind the middle of the square
        near = SURFACE(depth, jnp.asarray([[0, 0, z]]), jnp.asarray([10.0]))
        distance = np.sqrt((at**2).sum(1) + z**2) - 10
        np.testing.assert_allclose(near, np.minimum(distance, 50).sum() / 64**2, rtol=1e-5)
    gradient = jax.jit(jax.grad(SURFACE, argnums=1))(
        depth, jnp.asarray([[0.0, 0.0, 500.0]]), jnp.asarray([10.0])
    )
    np.testing.assert_array_equal(gradient, 0)  # too far to pull


@pytest.fixture(scope="module")
def views():
    """One hand in three views, each with centers in its own mm and the depth of its spheres."""
    centers, radii = SPHERES(jnp.asarray(np.random.default_rng(1).normal(0, 0.3, 26), jnp.float32))
    rng = np.random.default_rng(0)
    turns, _ = np.linalg.qr(rng.normal(size=(3, 3, 3)))
    cameras = np.tile(np.eye(4), (3, 1, 1))
    cameras[:, :3, :3] = turns * np.sign(np.linalg.det(turns))[:, None, None]
    cameras[:, :3, 3] = [[0, 0, 0], [15, -10, 5], [-5, 10, 20]]
    cameras = jnp.asarray(cameras, jnp.float32)
    own = jnp.einsum(
        "vji,vsj->vsi",
        cameras[:, :3, :3],
        centers[None] - cameras[:, None, :3, 3],
        precision="highest",
    )
    radii = jnp.broadcast_to(radii, (3, 41))
    depth, _ = jax.jit(lambda c, r: sphere_depth_orthographic(c, r, 64))(own, radii)
    return {"depth": depth, "centers": own, "radii": radii, "cameras": cameras}


@pytest.mark.slow
def test_views_of_one_hand_agree(views):
    """Only with the translation of the cameras, which the original omits."""
    rendered, near = PROJECTION(**views, across=True)
    assert rendered < 1 and near < 1e-3
    rendered, near = PROJECTION(**views, across=True, original=True)
    assert rendered > 100 and near > 1
    assert CONSISTENCY(views["centers"], views["cameras"]) < 1e-6
    assert CONSISTENCY(views["centers"], views["cameras"], original=True) > 10
    moved = losses.between_views(views["centers"], views["cameras"])
    np.testing.assert_allclose(
        moved, np.broadcast_to(views["centers"][None], moved.shape), atol=1e-3
    )


@pytest.mark.slow
def test_a_view_that_is_off_is_seen_by_the_others(views):
    off = views["centers"].at[1].add(10.0)
    rendered, near = PROJECTION(**(views | {"centers": off}), across=True)
    assert rendered > 100 and near > 1
    _, near_alone = PROJECTION(
        **(views | {"centers": off}), across=False
    )  # nine times the mean over three, two of them 0
    np.testing.assert_allclose(
        near_alone, 3 * SURFACE(views["depth"][1], off[1], views["radii"][1]), rtol=1e-3
    )
    # One of three is 10 mm off per coordinate, in its own frame and so in the common one.
    np.testing.assert_allclose(CONSISTENCY(off, views["cameras"]), 100 / 3, rtol=1e-4)


def test_the_gradient_goes_through_the_median():
    """Three views of a point: gradients of the outer two, and their negative sum for the middle."""
    points = jnp.asarray([0.0, 1.0, 5.0])[:, None, None] * jnp.asarray([[[1.0, 0.0, 0.0]]])
    cameras = jnp.tile(jnp.eye(4)[None], (3, 1, 1))
    assert CONSISTENCY(points, cameras) == pytest.approx((1 + 16) / 9)
    gradient = jax.grad(CONSISTENCY)(points, cameras)[:, 0, 0]
    np.testing.assert_allclose(gradient, np.array([-2, 2 * (1 - 4), 8]) / 9, rtol=1e-5)
    even = jnp.concatenate([points, points[2:] + 1.0])
    assert CONSISTENCY(even, jnp.tile(jnp.eye(4)[None], (4, 1, 1))) > 0


def test_any_batch(views):
    stacked = jax.tree.map(lambda x: jnp.stack([jnp.stack([x, x])] * 3), views)
    assert jax.eval_shape(losses.projection, **stacked)[0].shape == (3, 2)
    assert CONSISTENCY(stacked["centers"], stacked["cameras"]).shape == (3, 2)
    assert COLLISION(stacked["centers"]).shape == BONES(stacked["centers"]).shape == (3, 2, 3)


def test_steps_in_time():
    """Cut at 2500 mm; the frame before gets no gradient."""
    centers, before = np.zeros((2, 41, 3), np.float32), np.zeros((2, 41, 3), np.float32)
    before[0], before[1, 0, 0] = 3, 1e4
    smooth, pull = jax.vjp(
        jax.jit(losses.temporal_smoothness), jnp.asarray(centers), jnp.asarray(before)
    )
    np.testing.assert_allclose(smooth, [9, 2500**2 / 123], rtol=1e-6)
    now, then = pull(jnp.ones(2))
    np.testing.assert_allclose(now[0], -2 * 3 / 123, rtol=1e-6)
    assert not np.any(now[1]) and not np.any(then)


def test_heat_depth_and_features():
    rng = np.random.default_rng(0)
    heat, other, features = (
        jnp.asarray(rng.normal(size=s), jnp.float32)
        for s in ((2, 8, 8, 41), (2, 8, 8, 41), (5, 4, 4, 8))
    )
    np.testing.assert_allclose(
        jax.jit(losses.heat_mean)(heat), np.mean(np.square(heat), axis=(1, 2, 3)), rtol=1e-5
    )
    expected = np.mean(np.square(np.asarray(heat) - np.asarray(other)), axis=(1, 2, 3))
    np.testing.assert_allclose(jax.jit(losses.synthetic_heat)(heat, other), expected, rtol=1e-5)
    with pytest.raises(Exception, match="(?i)shape|type-check"):
        losses.synthetic_heat(heat, other[:1])

    centers = rng.normal(size=(2, 41, 3)).astype(np.float32)
    moved = centers + np.array([50, 50, 3], np.float32)
    np.testing.assert_allclose(
        jax.jit(losses.synthetic_depth)(centers, moved), [9, 9], rtol=1e-4
    )  # z alone

    domain = jax.jit(losses.domain)
    assert domain(features, features[::-1]) < 1e-10
    apart = np.mean(features, axis=(0, 1, 2)) - np.mean(features[:2], axis=(0, 1, 2)) - 2
    np.testing.assert_allclose(domain(features, features[:2] + 2.0), np.mean(apart**2), rtol=1e-5)


@pytest.mark.slow
def test_a_hand_is_drawn_to_its_depth(views):
    """Moved by the gradient of two losses, spheres 10 mm off their hand come within 2 mm of it."""
    depth, centers, radii = (views[name][0] for name in ("depth", "centers", "radii"))

    @jax.jit
    def gradient(shift):
        def loss(shift):
            moved = centers + shift[None]
            near = losses.surface_distance(depth, moved, radii)
            return losses.render_error(depth, moved, radii) + losses.SURFACE_WEIGHT * near

        return jax.grad(loss)(shift)

    shift = jnp.asarray([6.0, -5.0, 6.0])
    for _ in range(60):
        downhill = gradient(shift)
        shift = shift - 0.3 * downhill / jnp.linalg.norm(downhill)
    assert jnp.linalg.norm(shift) < 2
