"""The hand network on whole pictures: hands of either side are found, and nothing else is one."""

from functools import partial

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import handjax
from handjax import predict
from handjax.engine import config as configs
from handjax.engine import weights
from handjax.models.handnet import HandNet
from handjax.ops.rasterize import rasterize, to_screen
from handjax.pose.pinhole import project
from handjax.pose.skeleton import SKELETONS
from handjax.prediction.hand_depth import HandDepthPredictor
from handjax.prediction.hand_search import ODDS, Networks, find
from handjax.prediction.network import TrainedNetwork
from handjax.rigs import skinning
from handjax.synthetic import hand_scene
from handjax.tasks import TASKS

pytestmark = [pytest.mark.optimized, pytest.mark.slow]

HEIGHT, WIDTH = 240, 320
K = np.array([[240, 0, 159.5], [0, 240, 119.5], [0, 0, 1]], np.float32)
WALL_MM = 1400.0
COUNT = 12


@jax.jit
def _pictures(keys):
    """Right hands with their palm or back to the camera, anywhere in the picture, before a wall."""
    skin = skinning.hand_skin()

    def one(key):
        drawn = hand_scene.draw_hand(
            key, 0.0, skin=skin, scale=(0.85, 0.95), frontal=1.0, modes=("straight", "open")
        )
        u = jax.random.uniform(key, (3,))
        z = 400.0 + 300.0 * u[0]
        placed = drawn.at(jnp.stack([(u[1] - 0.5) * z, (u[2] - 0.5) * 0.6 * z, z]))
        screen = to_screen(
            placed.vertices, jnp.asarray(K), projection="pinhole", interpolation="perspective"
        )
        depth, _ = rasterize(screen, skin.faces, HEIGHT, WIDTH, near=1.0)
        return jnp.where(depth > 0, depth, WALL_MM), placed.joints

    return jax.lax.map(one, keys)


@pytest.fixture(scope="module")
def pictures():
    return jax.device_get(_pictures(jax.random.split(jax.random.key(7), COUNT)))


@pytest.fixture(scope="module")
def predictor():
    return handjax.load("hand-depth")


def test_hands_are_found_and_their_sides(pictures, predictor):
    depth, joints = pictures
    found = predictor(depth, camera=K)
    errors = np.linalg.norm(found.xyz - joints, axis=-1)
    near = np.linalg.norm(found.center - joints.mean(1), axis=-1) < 40
    assert near.mean() >= 0.9
    assert np.median(errors) < 20
    assert np.mean([side == "right" for side in found.side]) >= 0.75
    assert (found.presence[near] > 0.5).mean() >= 0.9
    np.testing.assert_allclose(found.uv, project(found.xyz, K[None]), atol=1e-2)
    assert found.std.shape == (COUNT, 21) and (found.std > 0).all()
    ball = found.std[..., None, None] ** 2 * np.eye(3)
    np.testing.assert_allclose(found.covariance, ball, rtol=1e-5)


def test_the_fit_to_the_depth_improves_on_the_network(pictures, predictor, monkeypatch):
    depth, joints = pictures
    given = dict(camera=K, side="right")
    before = predictor(depth, **given)
    monkeypatch.setattr(predictor, "fit_steps", 12)
    after = predictor(depth, **given)
    network, fitted = (np.linalg.norm(r.xyz - joints, axis=-1).mean(1) for r in (before, after))
    assert np.median(fitted) < 0.9 * np.median(network) and (fitted < network + 2).mean() >= 0.8
    assert after.std.shape == before.std.shape
    # The covariance is that of the fit, which knows some directions better.
    trace = np.trace(after.covariance, axis1=-2, axis2=-1)
    np.testing.assert_allclose(after.std**2, trace / 3, rtol=1e-4)
    least, _, most = np.moveaxis(np.linalg.eigvalsh(after.covariance), -1, 0)
    assert (least > 0).all() and np.median(most / least) > 1.5
    # A direction that it calls surer is one in which it errs less.
    errors = after.xyz - joints
    towards = np.einsum("...i,...ij->...j", errors, np.linalg.eigh(after.covariance)[1])
    assert np.median(np.abs(towards[..., 0])) < np.median(np.abs(towards[..., 2]))
    # The deviations are of the size of the errors.
    axis = np.sqrt((np.linalg.norm(after.xyz - joints, axis=-1) ** 2).mean() / 3)
    assert 0.5 < np.sqrt((after.std**2).mean()) / axis < 3
    np.testing.assert_array_equal(after.presence, before.presence)


def test_a_mirrored_picture_is_answered_by_the_mirrored_hand(pictures, predictor):
    depth, joints = pictures
    center = joints.mean(1)
    right = predictor(depth, camera=K, center=center, side="right")
    mirror = np.array([-1, 1, 1], np.float32)
    left = predictor(depth[..., ::-1], camera=K, center=center * mirror, side="left")
    # Pixels between two measurements may take the other one.
    np.testing.assert_allclose(left.xyz * mirror, right.xyz, atol=3)
    assert left.side == ("left",) * COUNT and right.side == ("right",) * COUNT


def test_a_given_center_comes_before_all(pictures, predictor):
    depth, joints = pictures
    crowded = depth.copy()
    crowded[:, 100:140, 20:50] = 300.0  # something nearer
    found = predictor(crowded, camera=K, center=joints.mean(1), side="right")
    assert np.median(np.linalg.norm(found.xyz - joints, axis=-1)) < 25


def test_a_single_frame_and_a_batch_agree(pictures, predictor):
    depth, _ = pictures
    batch, single = predictor(depth[:2], camera=K), predictor(depth[1], camera=K)
    np.testing.assert_array_equal(batch.xyz[1], single.xyz)
    assert single.presence.shape == () and single.side == batch.side[1]


def test_all_hands_of_a_picture_are_found(pictures, predictor):
    depth, joints = pictures
    middles = np.array([project(one.mean(0)[None], K)[0] for one in joints])
    pairs = [
        (i, j)
        for i in range(COUNT)
        for j in range(i)
        if np.linalg.norm(middles[i] - middles[j]) > 130
    ]
    right, others = 0, 0
    for pair in pairs[:6]:
        both = predictor.hands(np.minimum(*depth[list(pair)]), camera=K)
        assert len(both) <= 4 and (both.presence >= 0.5).all()
        apart = np.linalg.norm(both.xyz[:, None] - joints[None, list(pair)], axis=-1).mean(-1)
        right += (apart.min(0, initial=np.inf) < 60).sum()
        others += (apart.min(1) > 100).sum()
    assert len(pairs) >= 6 and right >= 9 and others <= 1


def test_no_hand_is_an_empty_result(predictor):
    wall = np.full((HEIGHT, WIDTH), 700.0, np.float32)
    none = predictor.hands(wall, camera=K)
    assert len(none) == 0 and none.xyz.shape == (0, 21, 3) and none.uv.shape == (0, 21, 2)
    assert none.side == () and list(none) == []
    with pytest.raises(ValueError, match="expected one image"):
        predictor.hands(wall[None], camera=K)


def test_walls_are_no_hands(predictor):
    walls = np.full((3, HEIGHT, WIDTH), 700.0, np.float32)
    walls[1] += np.linspace(-150, 300, WIDTH, dtype=np.float32)  # turned
    walls[2, :60] = 0.0  # half measured
    found = predictor(walls, camera=K)
    assert (found.presence < 0.5).all(), found.presence


def test_nothing_in_range_is_one_line(predictor):
    with pytest.raises(ValueError, match="no depth between 150 and 1500 mm") as error:
        predictor(np.zeros((HEIGHT, WIDTH), np.float32), camera=K)
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="expected auto or right or left"):
        predictor(np.ones((HEIGHT, WIDTH), np.float32), camera=K, side="both")


def test_the_command_writes_what_the_predictor_says(pictures, predictor, tmp_path):
    frames = np.rint(pictures[0][:2]).astype(np.uint16)
    for name, frame in zip("ab", frames, strict=True):
        cv2.imwrite(str(tmp_path / f"{name}.png"), frame)
    camera = ("--camera", "240,240,159.5,119.5")
    out = tmp_path / "out"
    predict.main(["depth", str(tmp_path), *camera, "--output", str(out)])
    expected = predictor(frames.astype(np.float32), camera=K)
    with np.load(out / "predictions.npz", allow_pickle=False) as found:
        assert list(found["ids"]) == ["a.png", "b.png"]
        assert tuple(found["side"]) == expected.side
        np.testing.assert_allclose(found["joints_xyz"], expected.xyz, atol=1e-2)
        np.testing.assert_allclose(found["std_mm"], expected.std, rtol=1e-3)
        np.testing.assert_allclose(found["presence"], expected.presence, rtol=1e-3)
        alone = found["joints_xyz"]
    one = cv2.imread(str(out / "overlays" / "a.png"))
    assert one.shape == (400, 400, 3)
    fit = ("--refine", "20", "--side", "right", "--overwrite")
    predict.main(["depth", str(tmp_path / "a.png"), *camera, "--output", str(out), *fit])
    with np.load(out / "predictions.npz", allow_pickle=False) as found:
        assert list(found["side"]) == ["right"]
        assert found["distance_mm"][0] <= found["distance_before_mm"][0]
        assert np.abs(found["joints_xyz"][0] - alone[0]).max() > 1
    assert cv2.imread(str(out / "overlays" / "a.png")).shape == (400, 800, 3)


def test_a_run_of_other_widths_is_read_and_one_of_other_crops_is_not(tmp_path, pictures):
    model = HandNet(21, (16, 16, 16), (2, 2, 2))
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 64, 64, 2)))
    variables = jax.tree.map(lambda shape: np.zeros(shape.shape, shape.dtype), shapes)
    weights.save(tmp_path / "net.npz", variables)
    networks = Networks(weights.load(tmp_path / "net.npz"), None)
    found = jax.eval_shape(partial(find, networks), pictures[0][0], K, ODDS["auto"])
    assert found.joints.shape == (21, 3)
    config, skeleton = configs.load("handnet", ["config.data.image_size=96"]), SKELETONS["hand21"]
    task = TASKS["handnet"](config, skeleton)
    other = TrainedNetwork(config, skeleton, task, 0, variables, lambda variables, batch: {})
    with pytest.raises(ValueError, match="it learnt from crops of 96 px"):
        HandDepthPredictor.of_run("run", other)
