"""handjax bench real: figures against hand computations, report, one-line errors."""

import json
import re
import shutil

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax import bench
from handjax.pose.pinhole import project
from handjax.pose.skeleton import SKELETONS
from handjax.prediction.base import Prediction
from handjax.prediction.depth_predictors import DepthPredictor
from handjax.realframes import command
from handjax.rigs import hand
from handjax.rigs.hand_middle import HAND_SIZE
from handjax.rigs.spheres import sphere_depth_pinhole
from handjax.synthetic import render

HEIGHT, WIDTH = 120, 160
K = np.array([[200, 0, 80], [0, 200, 60], [0, 0, 1]], np.float32)
UNIT = 0.25
JOINTS = SKELETONS["hand21"].joints
TIPS = [i for i, joint in enumerate(JOINTS) if joint.endswith("_tip")]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder of three frames of right hands, all joints labelled, and one of a box."""
    folder = tmp_path_factory.mktemp("world") / "hands"
    folder.mkdir()

    @jax.jit
    def drawn(bend, aside):
        pose = jnp.zeros(26).at[:3].set(jnp.asarray([np.pi - 0.3, 0.2, np.pi / 2]))
        pose = pose.at[jnp.arange(7, 22, 4)].set(bend)
        place = jnp.stack([aside, 0.0, 420.0])
        centers, radii, joints = render.hand_in_camera(pose, place, "hand21", 0.9)
        depth = sphere_depth_pinhole(centers, radii, jnp.asarray(K), HEIGHT, WIDTH)[0]
        return depth, joints

    truth, frames = {}, {}
    for name, bend, aside in (("a.png", 0.1, -10.0), ("b.png", 0.3, 5.0), ("c.png", 0.2, 0.0)):
        depth, joints = jax.device_get(drawn(bend, aside))
        cv2.imwrite(str(folder / name), np.rint(depth / UNIT).astype(np.uint16))
        truth[name] = joints.astype(np.float64)
        frames[name] = {"xyz_mm": joints.astype(float).tolist(), "center": [aside, 0.0, 420.0]}
    box = np.zeros((HEIGHT, WIDTH), np.uint16)
    box[40:80, 60:100] = 450 / UNIT
    cv2.imwrite(str(folder / "box.png"), box)
    frames["box.png"] = {"hand": "none"}
    content = {
        "k": [200, 200, 80, 60],
        "unit_mm": UNIT,
        "hand": "right",
        "order": "hand21",
        "kind": "joints",
        "frames": frames,
    }
    (folder / "frames.json").write_text(json.dumps(content))
    return folder, truth, content


class Scripted(DepthPredictor):
    """Answers in the order of `script`, whatever it sees: [xyz, fields of a Prediction] or an
    error. A repeated frame, as in the first call of a size, gets the same answer."""

    def __init__(self, script):
        super().__init__("scripted", SKELETONS["hand21"], (200.0, 900.0))
        self.script, self.told, self.seen = dict(script), [], []

    @classmethod
    def of_run(cls, name, network):
        raise AssertionError("a scripted predictor is of no run")

    def __call__(self, depth, camera, center=None, side="right"):
        key = depth.tobytes()
        if not self.seen or self.seen[-1] != key:
            self.seen.append(key)
            self.now = list(self.script.values())[len(self.seen) - 1]
            self.told.append((center, side))
        if isinstance(self.now, Exception):
            raise self.now
        return Prediction(JOINTS, uv=np.zeros((21, 2), np.float32), **self.now)

    def _rows(self, frames, k, centers, side):
        raise AssertionError("__call__ answers by itself")


def prediction(xyz, presence=0.9, std=5.0, side="right", off=0.0):
    return {
        "xyz": np.float32(xyz),
        "presence": np.asarray(presence, np.float32),
        "std": np.full(21, std, np.float32),
        "side": side,
        "center": np.float32(xyz.mean(0) + [off, 0, 0]),
    }


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """run(folder, script, *flags) → metrics of the only set, with a scripted predictor."""

    def run(folder, script, *flags):
        predictor = Scripted(script)
        monkeypatch.setattr(command, "load", lambda name, checkpoint: predictor)
        out = tmp_path / "out"
        bench.main(["real", str(folder), "--output", str(out), *flags])
        (content,) = json.loads((out / "metrics.json").read_text())["sets"].values()
        return content, out, predictor

    return run


def test_figures_equal_a_hand_computation(world, measured):
    folder, truth, _ = world
    offset = np.zeros((21, 3))
    offset[:, 0], offset[4, 2] = 6.0, 8.0  # 6 mm everywhere, 10 mm at the tip of the thumb
    script = {
        "a": prediction(truth["a.png"] + offset, off=30.0),
        "b": prediction(truth["b.png"] + [0, 90.0, 0], presence=0.2, side="left"),
        "c": ValueError("no depth\nwhere hands are"),
        "box": prediction(truth["a.png"], presence=0.7),
    }
    f, out, predictor = measured(folder, script, "--give", "nothing")
    first, second = (20 * 6 + 10) / 21, 90.0
    e = f["stages"]["network"]
    assert (f["frames"], f["with_hand"], f["without_hand"]) == (4, 3, 1)
    assert (f["answered"], f["unsure"], f["false_hands"]) == (2, 2, 1)
    assert e["mean_mm"] == pytest.approx((first + second) / 2, abs=1e-3)
    assert e["median_mm"] == pytest.approx((10 + 90) / 2, abs=1e-3)  # the middle two of 42 errors
    assert e["sure_mean_mm"] == pytest.approx(first, abs=1e-3)
    assert e["worst_frame_mm"] == pytest.approx(90, abs=1e-3)
    assert e["sure_frames_beyond_60_mm"] == 0
    assert e["per_joint_mm"]["thumb_tip"] == pytest.approx(50, abs=1e-3)
    assert e["per_joint_mm"]["wrist"] == pytest.approx(48, abs=1e-3)
    assert e["joints_within_percent"]["10"] == pytest.approx(50, abs=3)
    assert e["frames_max_within_percent"]["50"] == 50
    middle = f["middle"]  # the crops are 6 + 30 mm and 90 mm off, and a little of the thumb
    assert middle["frames"] == 2 and middle["std_of_truth_mm"] == 0
    assert middle["mean_mm"] == pytest.approx((36 + 90) / 2, abs=0.1)
    assert middle["within_40_mm_percent"] == 50
    assert f["side"] == {"frames": 2, "right": 1}
    assert f["reliability"]["joints"] == 42
    # 20 joints are 1.2 std away, inside of which 30.1 % should be; 21 are far outside.
    assert f["reliability"]["coverage"][6] == pytest.approx(20 / 42)
    assert f["rows"][2]["refusal"] == "no depth where hands are"
    assert predictor.told == [(None, "right")] * 4
    page = (out / "report.html").read_text()
    assert "Reliability of the standard deviations" in page and "Side right" in page
    for name in ("a.png", "b.png", "c.png", "box.png"):
        drawn = cv2.imread(str(out / "pictures" / "hands" / name))
        assert drawn.shape == (360, 360, 3)
        assert f"pictures/hands/{name}" in page
        red = (drawn[..., 2] > 222) & (drawn[..., 1] < 60) & (drawn[..., 0] < 60)
        assert (red.sum() > 1000) == (name == "b.png")  # long lines where the errors are 90 mm


def test_clicks_are_compared_with_the_skin(world, measured, tmp_path):
    """A perfect prediction has no error, although clicks lie in front of the joints."""
    folder, truth, content = world
    own = tmp_path / "clicked"
    shutil.copytree(folder, own)
    radii = HAND_SIZE * np.array(hand.HAND.sphere_radii)[list(hand.JOINT_SPHERES["hand21"])][TIPS]
    tips = truth["a.png"][TIPS]
    distance = np.linalg.norm(tips, axis=-1)
    skin = tips * (1 - radii / distance)[:, None]
    frames = {"a.png": {"uv": project(skin, K.astype(np.float64)).tolist()}}
    clicked = content | {
        "order": [JOINTS[i] for i in TIPS],
        "kind": "surface points",
        "frames": frames,
    }
    (own / "frames.json").write_text(json.dumps(clicked))
    f, *_ = measured(own, {"a": prediction(truth["a.png"])})
    e = f["stages"]["network"]
    # The rendered surface is that of the spheres; pixels and the median over 5 x 5 cost a little.
    assert e["mean_mm"] < 2
    assert e["to_joint_mean_mm"] == pytest.approx(radii.mean(), abs=1.5)
    assert f["labelled_joints"] == 5
    assert f["middle"]["mean_mm"] < 25  # of 21 joints, from five
    assert f["middle"]["to_mean_of_labels_mm"] > f["middle"]["mean_mm"]


def test_the_model_is_told_what_give_names(world, measured):
    folder, truth, content = world
    script = {name: prediction(truth["a.png"]) for name in "abcd"}
    _, _, predictor = measured(folder, script, "--give", "side,center", "--range", "250,800")
    assert [side for _, side in predictor.told] == ["right"] * 4
    centers = [content["frames"][name]["center"] for name in ("a.png", "b.png", "c.png")]
    np.testing.assert_allclose(np.array([c for c, _ in predictor.told[:3]]), centers)
    assert predictor.told[3][0] is None  # the frame without a hand has none
    assert predictor.range_mm == (250, 800)


def test_unreadable_images_are_left_out(world, measured, tmp_path, capsys):
    folder, truth, _ = world
    own = tmp_path / "hands"
    shutil.copytree(folder, own)
    (own / "b.png").write_bytes(b"\x89PNG\r\n")
    script = {name: prediction(truth["a.png"]) for name in "acx"}
    with pytest.raises(SystemExit) as left:
        measured(own, script)
    assert left.value.code == 1
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())["sets"]["hands"]
    assert list(metrics["left_out"]) == ["b.png"] and len(metrics["rows"]) == 3
    assert "left out: hands/b.png" in capsys.readouterr().err
    for name in ("a.png", "c.png", "box.png"):
        (own / name).write_bytes(b"")
    with pytest.raises(ValueError, match="all 4 images were left out; the first: "):
        measured(own, script, "--overwrite")


def test_two_folders_of_one_name(world, monkeypatch, tmp_path):
    folder, truth, _ = world
    predictor = Scripted({str(i): prediction(truth["a.png"]) for i in range(8)})
    monkeypatch.setattr(command, "load", lambda name, checkpoint: predictor)
    argv = ["real", str(folder), str(folder / "frames.json"), "--output", str(tmp_path / "out")]
    bench.main(argv)
    assert list(json.loads((tmp_path / "out" / "metrics.json").read_text())["sets"]) == [
        *("hands", "hands-2")
    ]
    before = (tmp_path / "out" / "metrics.json").read_bytes()
    with pytest.raises(FileExistsError, match="use --overwrite or another --output"):
        bench.main(argv)
    assert (tmp_path / "out" / "metrics.json").read_bytes() == before


BAD = [
    (["--presence", "2"], "--presence 2: expected 0 to 1"),
    (["--refine", "-1"], "--refine -1: expected 0 steps or more"),
    (["--give", "side,middle"], "--give side,middle: expected some of side, center, box"),
    (["--give", "box"], "--give box: hand-depth does not take it; it takes side, center"),
    (["--range", "900,200"], "the nearer first"),
    (["--model", "nowhere"], "nowhere: expected a model"),
]


@pytest.mark.parametrize(("argv", "message"), BAD)
def test_invalid_flags_are_one_line(world, tmp_path, argv, message):
    out = tmp_path / "out"
    with pytest.raises((ValueError, OSError), match=re.escape(message)) as error:
        bench.main(["real", str(world[0]), "--output", str(out), *argv])
    assert "\n" not in str(error.value) and not out.exists()


def test_a_center_that_is_missing_is_named(world, tmp_path):
    folder, _, content = world
    own = tmp_path / "hands"
    shutil.copytree(folder, own)
    frames = {name: {"hand": "left"} for name in ("a.png", "b.png")}
    (own / "frames.json").write_text(json.dumps(content | {"frames": frames}))
    with pytest.raises(ValueError, match="no 'center' of a.png and 1 others"):
        bench.main(["real", str(own), "--give", "center", "--output", str(tmp_path / "out")])


def test_unknown_command():
    with pytest.raises(ValueError, match="invalid choice: 'video'"):
        bench.main(["video"])


def test_help_has_all_flags(capsys):
    with pytest.raises(SystemExit):
        bench.main(["--help"])
    text = capsys.readouterr().out
    assert "--presence" in text and "--size" in text


@pytest.mark.slow
@pytest.mark.optimized
def test_included_network_and_fit(world, tmp_path):
    """The network on synthetic frames that are like those it learnt from, and the fit after it."""
    out = tmp_path / "out"
    bench.main(["real", str(world[0]), "--refine", "12", "--output", str(out)])
    (content,) = json.loads((out / "metrics.json").read_text())["sets"].values()
    before, after = (content["stages"][stage]["mean_mm"] for stage in ("network", "fitted"))
    assert before < 30 and after < before
    assert content["answered"] == 3 and content["fit_ms"] > 0
    assert content["reliability"]["joints"] == 63
    drawn = cv2.imread(str(out / "pictures" / "hands" / "a.png"))
    assert drawn.shape == (360, 720, 3)


@pytest.mark.slow
def test_real_fingertips(real_data, tmp_path):
    bench.main(["real", str(real_data / "depth_sr305"), "--output", str(tmp_path / "out")])
    (content,) = json.loads((tmp_path / "out" / "metrics.json").read_text())["sets"].values()
    assert content["labelled_joints"] == 24 and content["answered"] == 5
    best = min(row["network_mean_mm"] for row in content["rows"])
    assert best < 30  # the open palm, whose labels would be 100 mm off under a wrong camera


def test_pictures_are_named_as_their_images():
    names = command._picture_names(["a.png", "two/b.npy", "b.png", "b.tiff"])
    assert list(names.values()) == ["a", "two/b", "b.png", "b.tiff"]
