"""The examples on rendered or posed hands. What needs rclpy in `ros2_node.py` is not run."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rosbags.typesys import Stores, get_typestore

from handjax.pose.skeleton import SKELETONS
from handjax.prediction.base import Prediction
from handjax.prediction.frames import Frame
from handjax.rigs import hand as rig

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
HAND = SKELETONS["hand21"]
CENTER = np.float32([40, -30, 600])


@pytest.fixture
def example(monkeypatch):
    """example(name) → the module of examples/NAME.py."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module


_joints = jax.jit(lambda pose: rig.spheres_and_joints(pose, jnp.ones(3), 1.0)[2])


def posed(bend, side="right", turn=(0.3, -0.4, 0.8)):
    """A hand in camera mm whose fingers are bent by `bend` rad in each joint."""
    pose = np.zeros(26, np.float32)
    pose[:3] = turn
    for finger in range(4):
        pose[6 + 4 * finger + 1 : 6 + 4 * finger + 4] = bend
    xyz = np.array(_joints(pose)) * np.float32([-1 if side == "left" else 1, 1, 1]) + CENTER
    uv = xyz[:, :2] / xyz[:, 2:] * 475 + np.float32([320, 240])
    return Prediction(HAND.joints, xyz=xyz, uv=uv, side=side, skeleton=HAND)


# ---------------------------------------------------------------- ROS 2


@pytest.fixture(scope="module")
def store():
    return get_typestore(Stores.ROS2_HUMBLE)


def image(store, values, encoding, padding=0):
    rows = values.view(np.uint8).reshape(len(values), -1)
    data = np.pad(rows, ((0, 0), (0, padding))).ravel()
    kinds = store.types
    header = kinds["std_msgs/msg/Header"](kinds["builtin_interfaces/msg/Time"](3, 4), "camera")
    height, width = values.shape
    step = rows.shape[1] + padding
    return kinds["sensor_msgs/msg/Image"](header, height, width, encoding, 0, step, data)


def test_depth_and_camera_of_messages(example, store):
    node = example("ros2_node")
    values = np.arange(12, dtype=np.uint16).reshape(3, 4) * 100
    np.testing.assert_array_equal(node.depth_mm(image(store, values, "16UC1", 6)), values)
    metres = values.astype(np.float32) / 1000
    metres[0] = [np.nan, np.inf, -np.inf, 0]
    found = node.depth_mm(image(store, metres, "32FC1"))
    assert found.dtype == np.float32 and (found[0] == 0).all()
    np.testing.assert_allclose(found[1:], values[1:], rtol=1e-6)
    with pytest.raises(ValueError, match="encoding rgb8: expected depth as 16UC1"):
        node.depth_mm(image(store, values, "rgb8"))


def test_joints_as_messages(example, store):
    """They survive ROS's serialization, in m, with the wrist's axes."""
    node, hand = example("ros2_node"), posed(0.4)
    header = image(store, np.zeros((1, 1), np.uint16), "16UC1").header
    made = node.messages(store.types.__getitem__, hand, header)
    names = ("geometry_msgs/msg/PoseArray", "geometry_msgs/msg/PoseStamped")
    joints, wrist = (
        store.deserialize_cdr(store.serialize_cdr(one, name), name)
        for one, name in zip(made, names, strict=True)
    )
    assert joints.header.frame_id == wrist.header.frame_id == "camera"
    places = [[pose.position.x, pose.position.y, pose.position.z] for pose in joints.poses]
    np.testing.assert_allclose(places, hand.xyz / 1000, atol=1e-6)
    q = wrist.pose.orientation
    x = [1 - 2 * (q.y**2 + q.z**2), 2 * (q.x * q.y + q.z * q.w), 2 * (q.x * q.z - q.y * q.w)]
    ahead = hand["middle_base"] - hand["wrist"]
    np.testing.assert_allclose(x, ahead / np.linalg.norm(ahead), atol=1e-4)


# ---------------------------------------------------------------- a robot hand


@pytest.mark.slow
def test_a_robot_hand_follows(example):
    robot_hand = example("robot_hand")
    robot = robot_hand.Retargeter()
    bent = [name for name in ("index_flex1", "index_flex2", "middle_flex1", "ring_flex2")]
    total = []
    for bend in (0.0, 0.5, 1.0):
        hand = posed(bend)
        angles = robot(hand)
        total.append(sum(angles[name] for name in bent))
        wanted = robot_hand.palm_vectors(hand)[robot_hand.TIPS + robot_hand.MIDDLES]
        off = np.linalg.norm(robot.reached(angles) - wanted, axis=-1)
        assert off[[0, 1, 2, 3]].max() < 0.045, (bend, off)  # m, of another hand's fingertips
    assert total[0] + 1 < total[1] < total[2] - 0.5, total
    # Neither the place nor the side of a hand changes the angles.
    again = robot_hand.Retargeter()(posed(0.5, "left", (1.0, 0.2, -0.5)))
    fresh = robot_hand.Retargeter()(posed(0.5))
    assert max(abs(again[name] - fresh[name]) for name in again) < 0.02


# ---------------------------------------------------------------- MANO


def mano_file(path):
    """A model of MANO's form: sizes of arrays, tree and names, with bones of the rig's hand and a
    ball of vertices at each; the first shape parameter is the size."""
    order = [0, *(first + k for first in (5, 9, 17, 13, 1) for k in range(3))]
    rest = (posed(0.1, turn=(0, 0, 0)).xyz - CENTER) / 1000
    places, tips = rest[order], rest[[4, 8, 12, 16, 20]]
    owner = np.arange(778) % 16
    vertices = places[owner] + np.random.default_rng(0).normal(0, 0.003, (778, 3))
    regressor = np.equal.outer(np.arange(16), owner) / np.bincount(owner)[:, None]
    vertices -= (regressor @ vertices - places)[owner]
    for vertex, tip, bone in zip((744, 320, 443, 554, 671), tips, (15, 3, 6, 12, 9), strict=True):
        regressor[:, vertex], owner[vertex], vertices[vertex] = 0, bone, tip
    regressor /= regressor.sum(1, keepdims=True)
    weights = np.eye(16)[owner]
    shapes = np.zeros((778, 3, 10))
    shapes[..., 0] = 0.1 * vertices
    parents = [0, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14]
    np.savez(
        path,
        v_template=vertices,
        f=np.arange(777).reshape(-1, 3),
        weights=weights,
        shapedirs=shapes,
        posedirs=np.zeros((778, 3, 135)),
        J_regressor=regressor,
        kintree_table=np.array([parents, range(16)]),
        hands_mean=np.zeros(45),
        hands_components=np.eye(45),
    )
    return path


@pytest.mark.slow
@pytest.mark.optimized
def test_parameters_of_mano(example, tmp_path):
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        mano = example("mano")
        model = mano.MANO(model_path=mano_file(tmp_path / "MANO_RIGHT.npz"))
        hand = posed(0.6)
        found = mano.fit(hand.xyz, model)
        assert found.error_mm < 5, found
        assert found.hand_pose.shape == (15, 3) and np.isfinite(found.hand_pose).all()
        given = {k: jnp.asarray(v) for k, v in found._asdict().items() if k != "error_mm"}
        joints = 1000 * np.asarray(model.forward_skeleton(**given))[:, :3, 3]
        off = np.linalg.norm(joints - hand.xyz[mano.OWN], axis=-1)
        assert off.mean() < 5 and abs(float(found.shape[0])) < 1
        flexion = np.linalg.norm(found.hand_pose[:12], axis=-1)
        assert 0.2 < np.median(flexion) < 0.8  # 0.5 rad from the rest pose, of 0.1


# ---------------------------------------------------------------- rerun


@pytest.mark.slow
def test_live_view_logs_what_is_seen(example, tmp_path):
    live_view = example("live_view")
    import rerun as rr

    path = tmp_path / "hands.rrd"
    rr.init("handjax_test", recording_id="a")
    rr.save(path)
    for number in range(2):
        depth = np.full((48, 64), 600, np.float32)
        frame = Frame(f"{number:06}", depth, number / 30)
        live_view.log(frame, [(1, posed(0.3 * number))])
    rr.disconnect()
    found = json.dumps(entities(path))
    for name in ("/depth", "/world/hands/1_right", "/world/hands/1_right/skin"):
        assert name in found


def entities(path):
    """Paths of what a .rrd holds, by rerun's own program."""
    command = [sys.executable, "-m", "rerun", "rrd", "print", str(path)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_the_robot_is_whole():
    """Every joint of the URDF has limits, and leads from the palm to a fingertip."""
    import xml.etree.ElementTree as tree

    robot = tree.parse(EXAMPLES / "robot_hand.urdf").getroot()
    links = {link.get("name") for link in robot.iter("link")}
    parent = {
        j.find("child").get("link"): j.find("parent").get("link") for j in robot.iter("joint")
    }
    assert set(parent) == links - {"palm"}
    for finger in ("thumb", "index", "middle", "ring"):
        steps, link = 0, f"{finger}_tip"
        while link != "palm":
            link, steps = parent[link], steps + 1
        assert steps == 5
