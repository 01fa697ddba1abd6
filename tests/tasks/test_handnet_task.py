"""The losses and scores of the hand network and its finder."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.pose.look_at import centered_camera, crop_camera
from handjax.pose.skeleton import HAND_MIDDLE, SKELETONS
from handjax.targets import handfinder as finder_target
from handjax.tasks import handfinder, handnet
from handjax.tasks.labels import labelled_rows

WEIGHTS = {"heat": 0.05, "deviation": 0.02, "presence": 0.1}
COUNT = 3


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    joints = rng.uniform(-90, 90, (COUNT, 21, 3)).astype(np.float32) + [0, 0, 500]
    distance = jnp.full(COUNT, 500.0)
    return {
        "depth": jnp.asarray(rng.uniform(400, 600, (COUNT, 64, 64)), jnp.float32),
        "k": crop_camera(distance, 64),
        "center_xyz": jnp.zeros((COUNT, 3)).at[:, 2].set(500.0),
        "joints_xyz": jnp.asarray(joints, jnp.float32),
        "labelled": jnp.array([[True], [True], [False]]).repeat(21, 1),
        "right": jnp.array([True, True, False]),
        "mask": jnp.ones(COUNT, bool),
    }


@pytest.fixture(scope="module")
def outputs():
    keys = jax.random.split(jax.random.key(0))
    return jax.random.normal(keys[0], (COUNT, 16, 16, 63)), jax.random.normal(keys[1], (COUNT,))


def prepared(batch):
    return handnet.prepare(jax.random.split(jax.random.key(0), COUNT), batch, True)


def terms(outputs, batch, weights=WEIGHTS):
    return handnet.loss(outputs, prepared(batch), weights=weights)


def test_the_joints_term_is_the_mean_distance_in_100_mm(outputs, batch):
    rows = handnet.predict(outputs, prepared(batch))
    # At the middle's distance, crop coordinates are mm; elsewhere nearly so.
    apart = np.linalg.norm(rows["joints_xyz"] - batch["joints_xyz"], axis=-1)[:2].mean()
    assert float(terms(outputs, batch)[1]["joints"]) == pytest.approx(apart / 100, rel=0.2)
    assert (rows["std"] > 0).all() and ((rows["presence"] > 0) & (rows["presence"] < 1)).all()


def test_hands_without_labels_and_padding_teach_no_joints(outputs, batch):
    moved = {**batch, "joints_xyz": batch["joints_xyz"].at[2].add(1000.0)}
    jax.tree.map(np.testing.assert_allclose, terms(outputs, moved), terms(outputs, batch))
    mask = jnp.array([True, False, True])
    padded = {**batch, "mask": mask, "joints_xyz": batch["joints_xyz"].at[1].set(jnp.nan)}
    alone = {**batch, "mask": mask}
    jax.tree.map(np.testing.assert_allclose, terms(outputs, padded), terms(outputs, alone))
    gradient = jax.grad(lambda maps: terms((maps, outputs[1]), padded)[0])(outputs[0])
    assert np.isfinite(gradient).all()


def test_the_deviation_moves_neither_heat_nor_depth(outputs, batch):
    def deviation(maps):
        return terms((maps, outputs[1]), batch)[1]["deviation"]

    heat, depth, log_std = jnp.split(jax.grad(deviation)(outputs[0]), 3, axis=-1)
    assert not heat.any() and not depth.any() and log_std[:2].any() and not log_std[2].any()


def test_hands_that_cannot_be_seen_are_not_scored(batch):
    rows = {
        "joints_xyz": np.asarray(batch["joints_xyz"]) + [3, 4, 0],
        "true_joints_xyz": np.asarray(batch["joints_xyz"]),
        "true_labelled": np.asarray(batch["labelled"]),
        "std": np.full((COUNT, 21), 2.0, np.float32),
        "presence": np.array([0.9, 0.2, 0.9], np.float32),
    }
    kept = labelled_rows(rows)
    assert len(kept["joints_xyz"]) == 2 and "true_labelled" not in kept
    result = handnet.score(kept, skeleton=SKELETONS["hand21"])
    assert result["mpjpe_mm"] == pytest.approx(5) and result["present"] == 0.5
    assert result["rms_std_mm"] == pytest.approx(2)
    assert result["rms_error_axis_mm"] == pytest.approx(5 / 3**0.5)


# ---------------------------------------------------------------- finder

HANDS = jnp.array([[[30.0, -60.0, 450.0], [-150.0, 80.0, 700.0]]])


def finder_inputs(present):
    return {
        "hands": HANDS,
        "present": jnp.array([present]),
        "sides": jnp.array([[1.0, -1.0]]),
        "sizes": jnp.array([[0.9, 0.8]]),
        "k": centered_camera(jnp.array([64.0]), 80, 96),
        "mask": jnp.ones(1, bool),
    }


def perfect(inputs):
    """Maps of a finder without error."""
    heat, offset, cells = finder_target.encode(
        inputs["hands"], inputs["present"], inputs["sides"], inputs["k"]
    )
    maps = jnp.zeros((*heat.shape[:3], 6))
    maps = maps.at[..., :2].set(jnp.where(heat > 0.99, 9.0, -9.0))
    values = finder_target.true_values(inputs["hands"], offset, inputs["sizes"])
    return maps.at[jnp.zeros((1, 2), int), cells[..., 0], cells[..., 1], 2:].set(values)


def finder_loss(maps, inputs):
    return handfinder.loss(maps, inputs, weights={"place": 1.0})[1]


def test_a_perfect_finder_has_almost_no_loss():
    inputs = finder_inputs([True, True])
    found = finder_loss(perfect(inputs), inputs)
    assert found["place"] < 1e-5 and found["heat"] < 1e-3
    wrong = finder_loss(-perfect(inputs), inputs)
    assert wrong["place"] > 0.5 and wrong["heat"] > 10


def test_an_absent_hand_has_no_place():
    inputs = finder_inputs([True, False])
    sizes = inputs["sizes"].at[0, 1].set(2.0)
    moved = {**inputs, "hands": HANDS.at[0, 1].add(50.0), "sizes": sizes}
    maps = perfect(inputs)
    jax.tree.map(np.testing.assert_allclose, finder_loss(maps, inputs), finder_loss(maps, moved))


def test_scores_of_the_finder():
    inputs = finder_inputs([True, True])
    rows = jax.device_get(handfinder.predict(perfect(inputs), inputs))
    rows |= {f"true_{name}": np.asarray(inputs[name]) for name in ("hands", "sides", "present")}
    rows["true_joints_xyz"] = rows["true_hands"][:, :1]
    result = handfinder.score(handfinder.postprocess(rows), skeleton=HAND_MIDDLE)
    assert result["recall"] == result["side"] == 1 and result["mpjpe_mm"] < 1
    assert result["false"] == 0
    rows["found_xyz"] = rows["found_xyz"] + 200.0
    result = handfinder.score(handfinder.postprocess(rows), skeleton=HAND_MIDDLE)
    assert result["recall"] == 0 and result["false"] == 2
