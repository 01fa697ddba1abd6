"""Users' own labelled depth frames of hands, as crops for the hand network."""

import json

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.engine.config import load
from handjax.pose import pinhole
from handjax.pose.skeleton import SKELETONS
from handjax.rigs.spheres import sphere_depth_pinhole
from handjax.sources import SOURCES
from handjax.synthetic import render

K = np.array([[220, 0, 79.5], [0, 220, 59.5], [0, 0, 1]], np.float32)
HEIGHT, WIDTH, UNIT = 120, 160, 0.25
TIPS = [name for name in SKELETONS["hand21"].joints if name.endswith("_tip")]


@jax.jit
def drawn(turn, place):
    pose = jnp.zeros(26).at[:3].set(jnp.asarray([np.pi - 0.3, 0.2, np.pi / 2]) + turn)
    centers, radii, joints = render.hand_in_camera(pose, place, "hand21", 0.9)
    depth = sphere_depth_pinhole(centers, radii, jnp.asarray(K), HEIGHT, WIDTH)[0]
    return depth, joints


@pytest.fixture(scope="module")
def hands(tmp_path_factory):
    """A folder of six right hands, and what frames.json says of them."""
    folder = tmp_path_factory.mktemp("hands")
    frames = {}
    for i in range(6):
        rng = np.random.default_rng(i)
        turn = np.array([0, 0, rng.uniform(-0.5, 0.5)], np.float32)
        place = np.array([*rng.uniform(-40, 40, 2), rng.uniform(420, 520)], np.float32)
        depth, joints = jax.device_get(drawn(turn, place))
        cv2.imwrite(str(folder / f"{i}.png"), np.rint(depth / UNIT).astype(np.uint16))
        frames[f"{i}.png"] = {"xyz_mm": joints.astype(float).round(2).tolist()}
    content = {"k": [220, 220, 79.5, 59.5], "unit_mm": UNIT, "hand": "right", "frames": frames}
    return folder, content | {"order": "hand21", "kind": "joints"}


def opened(hands, content, *overrides):
    (hands[0] / "frames.json").write_text(json.dumps(content))
    config = load("handnet:own", [f"config.data.path={hands[0]}", *overrides])
    return SOURCES[config.data.name](config)


def on_the_surface(row):
    """Median distance of the labelled joints to the measured points, mm."""
    points, measured = pinhole.depth_to_points(np.asarray(row["depth"]), np.asarray(row["k"]))
    joints = np.asarray(row["joints_xyz"])[np.asarray(row["labelled"])]
    away = np.linalg.norm(joints[:, None] - points[measured][None], axis=-1).min(1)
    return float(np.median(away))


def rows_of(batch):
    return [{k: np.asarray(v)[i] for k, v in batch.items()} for i in range(len(batch["mask"]))]


@pytest.mark.parametrize("left", [False, True])
def test_crops_and_labels_stay_together(hands, left):
    folder, content = hands
    content = content | {"hand": "left" if left else "right"}
    source = opened(hands, content, "config.data.drawn=0.0")
    assert (source.train_size, source.eval_size) == (5, 1)
    batch = source.train_rows(np.arange(4))
    made = jax.jit(source.materialize)(batch, jax.random.split(jax.random.key(0), 4))
    config = load("handnet:own")
    assert made["depth"].shape == (4, 64, 64) and config.data.image_size == 64
    for row in rows_of(made):
        assert row["right"] and on_the_surface(row) < 16
        assert np.linalg.norm(row["joints_xyz"].mean(0) - row["center_xyz"]) < 120


def test_held_out_crops_are_the_same_every_time(hands):
    source = opened(hands, hands[1], "config.data.held_out=0.5")
    batch = source.eval_rows(np.arange(3))
    look = jax.jit(lambda b: source.materialize(b, None))
    once, again = look(batch), look({k: v[::-1] for k, v in batch.items()})
    np.testing.assert_array_equal(once["depth"], again["depth"][::-1])
    shifts = once["joints_xyz"].mean(1) - once["center_xyz"]
    assert 2 < float(np.abs(shifts).mean()) < 30
    assert all(on_the_surface(row) < 16 for row in rows_of(once))


def test_a_share_is_synthetic(hands):
    none = opened(hands, hands[1], "config.data.drawn=0.0")
    most = opened(hands, hands[1], "config.data.drawn=0.95")
    keys = jax.random.split(jax.random.key(1), 5)
    batch = none.train_rows(np.arange(5))
    own, drawn_too = (jax.jit(s.materialize)(batch, keys) for s in (none, most))
    same = (np.asarray(own["depth"]) == np.asarray(drawn_too["depth"])).all((1, 2))
    assert own["right"].all() and same.sum() <= 2


def test_fingertips_on_the_surface_are_enough(hands):
    folder, content = hands
    index = [SKELETONS["hand21"].joints.index(name) for name in TIPS]
    frames = {
        name: {"xyz_mm": [entry["xyz_mm"][i] for i in index]}
        for name, entry in content["frames"].items()
    }
    source = opened(hands, content | {"order": TIPS, "frames": frames, "kind": "surface"})
    batch = source.train_rows(np.arange(5))
    assert batch["labelled"].sum() == 25
    true = np.array([entry["xyz_mm"] for entry in list(content["frames"].values())[:5]])
    away = np.linalg.norm(true.mean(1), axis=-1) - batch["center_xyz"][:, 2]
    assert (np.abs(away) < 30).all()


def test_what_says_too_little_is_left_out_or_refused(hands):
    folder, content = hands
    one = {name: {"xyz_mm": e["xyz_mm"][:1]} for name, e in content["frames"].items()}
    lone = content | {"order": ["wrist"], "frames": one}
    for one in (lone, content | {"hand": "unknown"}):
        with pytest.raises(ValueError, match="no frame says where its hand is, and whether"):
            opened(hands, one)
    with pytest.raises(ValueError, match="joints of nyu14; the hand network learns those of hand2"):
        rows = {name: {"xyz_mm": e["xyz_mm"][:14]} for name, e in content["frames"].items()}
        opened(hands, content | {"order": "nyu14", "frames": rows})
    with pytest.raises(ValueError, match="config.data.drawn=1.0: expected a share"):
        opened(hands, content, "config.data.drawn=1.0")
