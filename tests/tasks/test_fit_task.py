from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from handjax.figures import fit_losses, hand
from handjax.ops.spheres import sphere_depth_orthographic
from handjax.pose.skeleton import SKELETONS
from handjax.targets import spherehand
from handjax.tasks import fit

SIZE, SAMPLES, VIEWS = 32, 2, 3
# Compiling is most of the time here, and this halves it; the arithmetic stays.
quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def _keys():
    return jax.random.split(jax.random.key(1), SAMPLES)


def _config(**task):
    options = dict(
        weights={name: 1.0 for name in fit_losses.WEIGHTS if name != "temporal_smooth"},
        image_size=SIZE,
        synthetic=1,
        depth_resample=0,
        across=True,
        original=False,
        prior="",
        denoise=False,
        fuse=False,
    )
    return ConfigDict(
        dict(
            task=options | task,
            model=dict(stacks=1, width=32, dtype="float32"),
            augment=dict(enabled=True, scale=(0.75, 0.95), stretch=0.05, probability=0.5),
        )
    )


@pytest.fixture(scope="module")
def task():
    return fit.fit_task(_config(), SKELETONS["nyu14"])


@pytest.fixture(scope="module")
def views():
    """Two hands, each seen by three cameras, with labels that training must not read."""
    rng = np.random.default_rng(0)
    centers, radii = jax.jit(hand.spheres)(jnp.asarray(rng.normal(0, 0.4, (SAMPLES, 26)), jnp.float32))
    turns, _ = np.linalg.qr(rng.normal(size=(SAMPLES, VIEWS, 3, 3)))
    cameras = np.tile(np.eye(4, dtype=np.float32), (SAMPLES, VIEWS, 1, 1))
    cameras[:, 1:, :3, :3] = (turns * np.sign(np.linalg.det(turns))[..., None, None])[:, 1:]
    cameras[:, 1:, :3, 3] = rng.normal(0, 10, (SAMPLES, VIEWS - 1, 3))
    own = np.einsum("bvji,bvsj->bvsi", cameras[..., :3, :3], np.asarray(centers)[:, None] - cameras[..., None, :3, 3])
    own, radii = jnp.asarray(own, jnp.float32), jnp.broadcast_to(radii[:, None], own.shape[:-1])
    depth, _ = jax.jit(lambda c, r: sphere_depth_orthographic(c, r, SIZE))(own, radii)
    return {
        "cube_depth": depth,
        "cameras": jnp.asarray(cameras),
        "centers": own,
        "joints_xyz": own[:, 0, np.array(hand.NYU14_SPHERES)],
        "mask": jnp.ones(SAMPLES, bool),
    }


@pytest.fixture(scope="module")
def step(task):
    """step(params, batch) → loss, parts and gradient of training. The world's hands take long to compile; here are others."""

    def draw(key):
        depth = jax.random.uniform(key, (SIZE, SIZE), minval=-100.0, maxval=100.0)
        return {"depth": depth, "centers": 20 * jax.random.normal(key, (41, 3))}

    prepare = partial(task.prepare, draw=draw)

    @quick_jit
    def run(params, batch):
        inputs = prepare(_keys(), batch, True)

        def loss(params):
            return task.loss(task.model.apply(params, inputs["x"], train=True), inputs)

        (value, parts), gradient = jax.value_and_grad(loss, has_aux=True)(params)
        return value, parts, gradient

    return run


def test_joint_training_has_every_term_and_reads_no_label(task, step, views):
    """Labels replaced by NaN change nothing, not a bit."""
    shapes = jax.eval_shape(lambda: task.model.init(jax.random.key(0), task.example(1)["x"]))
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda s: jnp.asarray(rng.normal(0, 0.1, s.shape), s.dtype), shapes)
    value, parts, gradient = step(params, views)
    assert set(parts) == set(fit_losses.WEIGHTS) - {"temporal_smooth"}
    assert all(np.isfinite(p) for p in parts.values()) and parts["mv_projection"] > 100
    np.testing.assert_allclose(value, sum(map(float, parts.values())), rtol=1e-5)  # all weights are one
    assert all(np.all(np.isfinite(g)) for g in jax.tree.leaves(gradient))
    blind = {**views, "centers": np.nan * views["centers"], "joints_xyz": np.nan * views["joints_xyz"]}
    jax.tree.map(np.testing.assert_array_equal, (value, parts, gradient), step(params, blind))


def test_perfect_maps_cost_nothing_and_predict_the_joints(task, views):
    """Of labelled single views; decoding has its 5 mm."""
    batch = {name: views[name][:, :1] for name in ("cube_depth", "centers")} | {"mask": views["mask"]}

    @quick_jit
    def run(batch):
        inputs = task.prepare(_keys(), batch, False)
        maps = jnp.concatenate(spherehand.encode(batch["centers"]), axis=-1)
        outputs = (maps, jnp.zeros((SAMPLES, 1, 2, 2, 64)))
        aside = {**inputs, "center_xyz": jnp.full((SAMPLES, 3), 500.0)}
        return inputs["x"], task.loss(outputs, inputs)[1], task.predict(outputs, inputs), task.predict(outputs, aside)

    x, parts, found, aside = run(batch)
    assert x.shape == (SAMPLES, SIZE, SIZE, 1)
    assert set(parts) == {"synt_uv", "synt_d"} and parts["synt_uv"] < 1e-10 and parts["synt_d"] < 10
    assert np.linalg.norm(found["joints_xyz"] - views["joints_xyz"], axis=-1).mean() < 8
    np.testing.assert_allclose(aside["joints_xyz"], found["joints_xyz"] + 500, rtol=1e-6)


def test_fused_views_are_in_the_first_ones_frame(views):
    """The second view's heat is sharp, the others' blurred."""
    task = fit.fit_task(_config(fuse=True), SKELETONS["nyu14"])

    @quick_jit
    def run(views):
        inputs = task.prepare(_keys(), {name: views[name] for name in ("cube_depth", "cameras", "mask")}, False)
        heat, depth = spherehand.encode(views["centers"])
        heat = heat ** jnp.asarray([0.1, 1.0, 0.1])[None, :, None, None, None]
        maps = jnp.concatenate([heat, depth], axis=-1).reshape(SAMPLES * VIEWS, 1, 16, 16, 82)
        return task.predict((maps, None), inputs)["joints_xyz"], *task.views(inputs)

    found, front, side = run(views)
    assert np.linalg.norm(found - views["joints_xyz"], axis=-1).mean() < 8
    assert front.shape == side.shape == (SAMPLES, SIZE, SIZE) and front.max() <= 1 and set(np.unique(side)) == {0.0, 1.0}


@pytest.mark.parametrize(
    "change, match",
    [
        ({"weights": {"synt_uw": 1.0}}, "task.weights=synt_uw: expected of synt_uv, "),
        ({"image_size": 40}, "task.image_size=40: expected a multiple of 16"),
        ({"synthetic": -1}, "task.synthetic=-1"),
    ],
)
def test_mistakes_are_said(change, match):
    with pytest.raises(ValueError, match=match):
        fit.fit_task(_config(**change), SKELETONS["nyu14"])


def test_nothing_to_learn_from(views):
    task = fit.fit_task(_config(weights={"mv_projection": 1.0}), SKELETONS["nyu14"])
    batch = {name: views[name][:, :1] for name in ("cube_depth", "centers")} | {"mask": views["mask"]}

    def run(batch):
        inputs = task.prepare(_keys(), batch, True)
        return task.loss((jnp.zeros((SAMPLES, 1, 8, 8, 82)), jnp.zeros((SAMPLES, 1, 2, 2, 64))), inputs)

    with pytest.raises(ValueError, match="nothing to learn from"):
        jax.eval_shape(run, batch)
