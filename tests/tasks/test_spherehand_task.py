from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from handjax.data.batch import check_batch
from handjax.engine import config as configs
from handjax.engine.optimizer import make_optimizer
from handjax.engine.step import init_state, train_step
from handjax.fitting import losses
from handjax.pose.skeleton import SKELETONS
from handjax.sources import SOURCES
from handjax.synthetic import hands
from handjax.synthetic import spherehand as synthetic_hands
from handjax.targets import spherehand
from handjax.tasks.spherehand import spherehand_task
from handjax.tasks.spherehand_losses import loss as loss_of

SIZE, SAMPLES, VIEWS = 32, 2, 3


def _keys():
    return jax.random.split(jax.random.key(1), SAMPLES)


def _config(image_size=SIZE, **task):
    options = dict(
        weights={name: 1.0 for name in losses.WEIGHTS if name != "temporal_smooth"},
        across=True,
        single_view=0.0,
        original=False,
        prior="",
        denoise=False,
        fuse=False,
    )
    return ConfigDict(
        dict(
            data=dict(image_size=image_size),
            task=options | task,
            model=dict(stacks=1, width=32, dtype="float32"),
            augment=dict(enabled=True, scale=(0.75, 0.95), stretch=0.05, probability=0.5),
        )
    )


@pytest.fixture(scope="module")
def task():
    return spherehand_task(_config(), SKELETONS["nyu14"])


@pytest.fixture(scope="module")
def views(repo):
    """Two hands of the second population in three views each, and the labels that their source
    omits."""
    shown = [
        "config.data.surface=spheres",
        f"config.data.image_size={SIZE}",
        "config.data.synthetic.count=0",
        "config.data.sensor.depth_noise_mm=0",
    ]
    config = configs.load(
        f"{repo}/configs/spherehand.py:selfsup,quick", [*shown, "config.data.sensor.shift_px=0"]
    )
    source, data = SOURCES["multiview_world"](config), config.data
    options = dict(surface="spheres", image_size=SIZE, **data.cameras, **data.sensor, **data.pose)

    @jax.jit
    def made(rows):
        keys = jax.vmap(hands.sample_key)(rows["stream"], rows["heldout"], rows["index"])
        return source.materialize(rows), jax.vmap(
            partial(synthetic_hands.spherehand_views, **options)
        )(keys)

    batch, drawn = made(source.train_rows(np.arange(SAMPLES)))
    check_batch({name: np.asarray(value) for name, value in batch.items()})
    assert set(batch) == {"cube_depth", "cameras", "joints_xyz", "mask", "index"}
    np.testing.assert_array_equal(batch["cube_depth"], drawn["depth"])
    return {**batch, "centers": drawn["centers"], "radii": drawn["radii"]}


@pytest.fixture(scope="module")
def optimizer(repo):
    return make_optimizer(
        configs.load(f"{repo}/configs/spherehand.py:selfsup").optimizer, 10
    )  # no warmup: the first step is one


@pytest.fixture(scope="module")
def step(task, optimizer):
    """step(state, batch) → the next state and terms. Random images stand for synthetic hands, which
    take long to compile."""

    def synthetic(key):
        depth = jax.random.uniform(key, (1, SIZE, SIZE), minval=-100.0, maxval=100.0)
        return {
            "synthetic_depth": depth,
            "synthetic_centers": 20 * jax.random.normal(key, (1, 41, 3)),
        }

    def materialize(batch, keys):
        return {**batch, **jax.vmap(synthetic)(keys)}

    options = dict(key=jax.random.key(1), task=task, optimizer=optimizer, materialize=materialize)
    return jax.jit(partial(train_step, **options))


@pytest.mark.slow
def test_joint_training_has_every_term_and_reads_no_labels(task, optimizer, step, views):
    """Labels replaced by NaN change no bit of a step."""
    shapes = jax.eval_shape(lambda: init_state(jax.random.key(0), task, optimizer))
    rng = np.random.default_rng(1)
    state = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    state = state.replace(
        params=jax.tree.map(
            lambda s: jnp.asarray(rng.normal(0, 0.1, s.shape), s.dtype), shapes.params
        )
    )
    batch = {name: views[name] for name in ("cube_depth", "cameras", "joints_xyz", "mask")}
    new, terms = step(state, batch)
    names = set(losses.WEIGHTS) - {"temporal_smooth"}
    assert set(terms) == names | {"loss", "grad_norm", "finite"} and terms["finite"]
    assert all(np.isfinite(p) for p in terms.values()) and terms["mv_projection"] > 100
    # All weights are one.
    total = sum(float(terms[name]) for name in names)
    np.testing.assert_allclose(terms["loss"], total, rtol=1e-5)
    moved = jax.tree.map(lambda a, b: np.any(a != b), new.params, state.params)
    assert np.mean(jax.tree.leaves(moved)) > 0.9
    blind = step(state, {**batch, "joints_xyz": np.nan * batch["joints_xyz"]})
    jax.tree.map(np.testing.assert_array_equal, (new, terms), blind)


@pytest.mark.slow
def test_each_view_has_its_own_camera(views):
    """Points and spheres of view i, moved to the first view, lie on the hand there; by another
    camera they do not."""
    common = losses.to_common(views["centers"], views["cameras"])
    np.testing.assert_allclose(common, jnp.broadcast_to(common[:, :1], common.shape), atol=1e-3)
    at = (np.arange(SIZE) - SIZE / 2) * (300 / SIZE)
    for i in range(VIEWS):
        for depth, camera, centers, radii in zip(
            *(views[n] for n in ("cube_depth", "cameras", "centers", "radii")), strict=True
        ):
            v, u = np.nonzero(np.asarray(depth[i]) < 99)
            points = np.stack([at[u], at[v], np.asarray(depth[i])[v, u]], axis=-1)
            assert len(points) > 50

            def distance(camera, points=points, centers=centers, radii=radii):
                moved = points @ np.asarray(camera[:3, :3]).T + np.asarray(camera[:3, 3])
                return np.abs(
                    np.linalg.norm(moved[:, None] - centers[0][None], axis=-1) - radii[None]
                ).min(1)

            assert distance(camera[i]).max() < 0.1
            assert i == 0 or distance(camera[0]).mean() > 3


@pytest.mark.slow
def test_single_views_are_compared_with_themselves(task, views):
    """Samples marked `single` have the loss without comparisons across views, the others the loss
    with them."""
    radii = jnp.broadcast_to(views["radii"][:, None], views["centers"].shape[:-1])
    moved = views["centers"] + jnp.asarray([0.0, 5.0, 10.0])[None, :, None, None]

    def cost(across, single=None):
        return sum(
            losses.projection(
                views["cube_depth"], moved, radii, views["cameras"], across, single=single
            )
        )

    both, own, mixed = jax.jit(
        lambda: (cost(True), cost(False), cost(True, jnp.asarray([True, False])))
    )()
    np.testing.assert_allclose(mixed, jnp.stack([own[0], both[1]]), rtol=1e-5)
    assert abs(both[0] - own[0]) > 1
    share = spherehand_task(_config(single_view=0.48), SKELETONS["nyu14"])
    batch = {
        name: jnp.repeat(views[name], 500, axis=0) for name in ("cube_depth", "cameras", "mask")
    }
    drawn = jax.jit(
        lambda b: share.prepare(jax.random.split(jax.random.key(0), 1000), b, True)["single"]
    )(batch)
    assert abs(drawn.mean() - 0.48) < 0.05
    assert "single" not in jax.eval_shape(
        lambda b: task.prepare(_keys(), b, False), jax.tree.map(lambda x: x[:SAMPLES], batch)
    )


@pytest.mark.slow
def test_each_term_can_be_switched_off(task, views):
    """A term without a weight is not computed."""
    batch = {name: views[name] for name in ("cube_depth", "cameras", "mask")}
    batch["synthetic_depth"] = jnp.zeros((SAMPLES, 1, SIZE, SIZE))
    batch["synthetic_centers"] = jnp.zeros((SAMPLES, 1, 41, 3))
    inputs = jax.eval_shape(lambda b: task.prepare(_keys(), b, True), batch)
    outputs = (
        jnp.zeros((SAMPLES * (VIEWS + 1), 1, 8, 8, 82)),
        jnp.zeros((SAMPLES * (VIEWS + 1), 1, 2, 2, 64)),
    )
    known = task.loss.keywords["weights"]
    for off in known:
        weights = {name: weight for name, weight in known.items() if name != off}
        _, terms = jax.eval_shape(
            lambda i, w=weights: loss_of(outputs, i, **{**task.loss.keywords, "weights": w}),
            inputs,
        )
        assert set(terms) == set(weights)
    config = _config(weights={**known, "collision": 0.0})
    assert "collision" not in spherehand_task(config, SKELETONS["nyu14"]).loss.keywords["weights"]


def test_perfect_maps_have_no_loss_and_predict_the_joints(task, views):
    """Labelled single views; decoding has an error of 5 mm."""
    batch = {name: views[name][:, :1] for name in ("cube_depth", "centers")} | {
        "mask": views["mask"]
    }

    @jax.jit
    def run(batch):
        inputs = task.prepare(_keys(), batch, False)
        maps = jnp.concatenate(spherehand.encode(batch["centers"]), axis=-1)
        outputs = (maps, jnp.zeros((SAMPLES, 1, 2, 2, 64)))
        aside = {**inputs, "center_xyz": jnp.full((SAMPLES, 3), 500.0)}
        return (
            inputs["x"],
            task.loss(outputs, inputs)[1],
            task.predict(outputs, inputs),
            task.predict(outputs, aside),
        )

    x, terms, found, aside = run(batch)
    assert x.shape == (SAMPLES, SIZE, SIZE, 1)
    assert set(terms) == {"synt_uv", "synt_d"} and terms["synt_uv"] < 1e-10 and terms["synt_d"] < 10
    assert np.linalg.norm(found["joints_xyz"] - views["joints_xyz"], axis=-1).mean() < 8
    np.testing.assert_allclose(aside["joints_xyz"], found["joints_xyz"] + 500, rtol=1e-6)


def test_fused_views_are_in_the_frame_of_the_first(views):
    """The heat of the second view is sharp, that of the others blurred."""
    task = spherehand_task(_config(fuse=True), SKELETONS["nyu14"])

    @jax.jit
    def run(views):
        inputs = task.prepare(
            _keys(), {name: views[name] for name in ("cube_depth", "cameras", "mask")}, False
        )
        heat, depth = spherehand.encode(views["centers"])
        heat = heat ** jnp.asarray([0.1, 1.0, 0.1])[None, :, None, None, None]
        maps = jnp.concatenate([heat, depth], axis=-1).reshape(SAMPLES * VIEWS, 1, 16, 16, 82)
        return task.predict((maps, jnp.zeros(())), inputs)["joints_xyz"], *task.visualize(inputs)

    found, front, side = run(views)
    assert np.linalg.norm(found - views["joints_xyz"], axis=-1).mean() < 8
    assert (
        front.shape == side.shape == (SAMPLES, SIZE, SIZE)
        and front.max() <= 1
        and set(np.unique(side)) == {0.0, 1.0}
    )


def test_twelve_joints_of_nyu():
    """The two sides of the wrist, which may be anywhere, are left out."""
    score = spherehand_task(_config(), SKELETONS["nyu14"]).score
    true = np.random.default_rng(0).normal(0, 50, (5, 14, 3)).astype(np.float32)
    found = true + np.asarray([3, 0, 4], np.float32)
    found[:, 11:13] += 100
    metrics = score({"joints_xyz": found, "true_joints_xyz": true})
    assert metrics["mpjpe_12_mm"] == pytest.approx(5, abs=1e-4) and metrics["mpjpe_mm"] > 20
    assert "mpjpe_12_mm" not in spherehand_task(_config(), SKELETONS["hand21"]).score(
        {name: np.zeros((2, 21, 3), np.float32) for name in ("joints_xyz", "true_joints_xyz")}
    )


@pytest.mark.parametrize(
    "change, match",
    [
        (
            {"weights": {"temporal_smooth": 1.0}},
            "task.weights.temporal_smooth=1: expected 0; .* no order",
        ),
        ({"single_view": 1.5}, "task.single_view=1.5: expected a share of the samples, 0 to 1"),
        ({"weights": {"synt_uw": 1.0}}, "task.weights=synt_uw: expected of synt_uv, "),
        ({"image_size": 40}, "data.image_size=40: expected a multiple of 16"),
    ],
)
def test_invalid_options_are_reported(change, match):
    with pytest.raises(ValueError, match=match):
        spherehand_task(_config(**change), SKELETONS["nyu14"])


def test_no_term_to_learn_from_is_an_error(views):
    task = spherehand_task(_config(weights={"mv_projection": 1.0}), SKELETONS["nyu14"])
    batch = {name: views[name][:, :1] for name in ("cube_depth", "centers")} | {
        "mask": views["mask"]
    }

    def run(batch):
        inputs = task.prepare(_keys(), batch, True)
        return task.loss(
            (jnp.zeros((SAMPLES, 1, 8, 8, 82)), jnp.zeros((SAMPLES, 1, 2, 2, 64))), inputs
        )

    with pytest.raises(ValueError, match="nothing to learn from"):
        jax.eval_shape(run, batch)
