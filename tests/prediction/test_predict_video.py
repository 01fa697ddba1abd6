"""Hands found by another process, followed by a run, in videos, streams and pictures."""

import json
import sys

import cv2
import numpy as np
import pytest

import handjax
from handjax import predict, run
from handjax.data.cameras import read_camera
from handjax.data.formats.hand_labels import read_hands
from handjax.engine import config as configs
from handjax.engine.checkpoint import Checkpoints
from handjax.pose.skeleton import SKELETONS
from handjax.pose.skeleton_file import own_skeleton
from handjax.prediction import common, mediapipe_hands, people
from handjax.prediction.base import Prediction
from handjax.prediction.boxes import rectangles_of
from handjax.prediction.depth_base import DepthPredictor, nearest_centers
from handjax.prediction.frames import Frame
from handjax.prediction.recognizers import (
    DepthRecognizer,
    FollowedBoxes,
    hand_box,
    load_for_frames,
)
from handjax.sources.own_joints import keep_joints, own_joints

HAND = SKELETONS["hand21"]
# A package with the parts of MediaPipe that the worker uses. A bright square is a hand around its
# middle, "Left" in the left half of the picture.
FAKE = """
from types import SimpleNamespace as Space
import numpy as np

__version__ = "0.0"
print("what a library prints is no answer")

class Hands:
    def __init__(self, static_image_mode, max_num_hands):
        self.static = static_image_mode

    def process(self, image):
        sides, hands = [], []
        for left, part in ((0, image[:, :40]), (40, image[:, 40:])):
            v, u = np.nonzero(part[..., 0] > 130)
            if len(u):
                height, width = image.shape[:2]
                x, y = (u.mean() + left + 0.5) / width, (v.mean() + 0.5) / height
                name = "Right" if left else "Left"
                sides.append(Space(classification=[Space(label=name)]))
                points = [Space(x=x + i / 1000, y=y) for i in range(21)]
                hands.append(Space(landmark=points))
        return Space(multi_handedness=sides or None, multi_hand_landmarks=hands or None)

class Pose:
    def __init__(self, static_image_mode):
        self.static = static_image_mode

    def process(self, image):
        v, u = np.nonzero(image[..., 0] > 130)
        if not len(u):
            return Space(pose_landmarks=None)
        height, width = image.shape[:2]
        corners = [(u.min(), v.min()), (u.max(), v.max())] + 31 * [(u[0], v[0])]
        points = [
            Space(x=(x + 0.5) / width, y=(y + 0.5) / height, visibility=0.5) for x, y in corners
        ]
        world = [Space(x=i / 100, y=0.2, z=-0.3) for i in range(33)]
        return Space(
            pose_landmarks=Space(landmark=points), pose_world_landmarks=Space(landmark=world)
        )

solutions = Space(hands=Space(Hands=Hands), pose=Space(Pose=Pose))
"""
# The parts of rtmlib that its worker uses: a box around each bright square, by corners.
FAKE_RTMLIB = """
import numpy as np
__version__ = "0.1"

class Body:
    MODE = {"lightweight": {"det": "a.onnx", "det_input_size": (416, 416)}}

class YOLOX:
    def __init__(self, path, model_input_size):
        print("downloading", path)

    def __call__(self, image):
        assert image[20, 5, 0] < 100  # BGR: the blue channel of a red square is dark
        columns = np.flatnonzero(image[24, :, 2] > 130)
        parts = np.split(columns, np.flatnonzero(np.diff(columns) > 1) + 1)
        return np.array([[part[0], 16.0, part[-1] + 1, 32.0] for part in parts if len(part)])
"""


def spots(*columns):
    """A picture of 48 x 80 px with bright squares at these columns."""
    picture = np.full((48, 80, 3), 40, np.uint8)
    for u in columns:
        picture[16:32, u : u + 8] = 230
    return picture


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """The Python of another environment, which has the fake package."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "mediapipe.py").write_text(FAKE)
    (tmp_path / "site" / "rtmlib.py").write_text(FAKE_RTMLIB)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path}/site exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    for module in (mediapipe_hands, people):
        monkeypatch.setenv(module.VARIABLE, str(python))
    return tmp_path


def test_all_hands_and_their_own_sides(elsewhere):
    predictor = handjax.load("hand-rgb")
    found = predictor(spots(50, 8))
    assert "MediaPipe 0.0" in repr(predictor) and len(found) == 2
    # Its names are those of a mirrored picture.
    assert found.side == ("right", "left")
    np.testing.assert_allclose(found["wrist"], [[11.5, 23.5], [53.5, 23.5]], atol=1e-4)
    assert np.asarray(found.plot()).shape == (288, 480, 3)
    none = predictor(spots())
    assert len(none) == 0 and none.uv.shape == (0, 21, 2) and none.side == ()
    assert np.asarray(none.plot()).shape == (288, 480, 3)
    assert len(predictor(spots(60))) == 1  # the same process goes on
    with pytest.raises(ValueError, match="expected one picture"):
        predictor(spots(60)[None])
    with pytest.raises(ValueError, match="depth. handjax.load.'hand-depth'. takes it"):
        predictor(np.full((48, 80), 500, np.uint16))
    predictor.close()
    with pytest.raises(OSError, match="MediaPipe's process ended; load it again"):
        predictor(spots(60))


@pytest.mark.parametrize("given", [None, "no_such_python", "empty"])
def test_without_it_one_line_says_how_to_get_it(elsewhere, monkeypatch, given):
    if given is None:
        monkeypatch.delenv(mediapipe_hands.VARIABLE)
        monkeypatch.setattr(mediapipe_hands, "find_python", lambda: None)
    elif given == "empty":
        (elsewhere / "site" / "mediapipe.py").write_text("raise ImportError('no networks')")
    else:
        monkeypatch.setenv(mediapipe_hands.VARIABLE, given)
    message = {
        None: "hand-rgb: .*pip install mediapipe==0.10.21",
        "empty": "ImportError: no networks; it needs MediaPipe: python3 -m venv",
        "no_such_python": "no_such_python: No such file or directory; expected a Python",
    }[given]
    with pytest.raises(ValueError, match=message) as error:
        handjax.load("hand-rgb")
    assert "\n" not in str(error.value)


def red(*columns):
    """Spots without green and blue."""
    picture = spots(*columns)
    picture[..., 1:] = 40
    return picture


def test_people_are_found(elsewhere):
    """One by MediaPipe, around its joints; all of them by rtmlib."""
    one, all_of_them = (people.DETECTORS[name]() for name in ("mediapipe", "rtmlib"))
    assert (one.name, all_of_them.name) == ("MediaPipe 0.0", "rtmlib 0.1")
    (box,) = one(red(8))
    np.testing.assert_allclose(box, [11.5 - 4.375, 23.5 - 9.375, 8.75, 18.75], atol=1e-3)
    np.testing.assert_allclose(all_of_them(red(8, 50)), [[8, 16, 8, 16], [50, 16, 8, 16]])
    for detector in (one, all_of_them):
        assert detector(red()).shape == (0, 4)
        with pytest.raises(ValueError, match="image: .* expected RGB as uint8"):
            detector(np.zeros((4, 4), np.float32))


@pytest.mark.parametrize("name", ["mediapipe", "rtmlib"])
def test_a_detector_that_is_missing_is_one_line(elsewhere, monkeypatch, name):
    (elsewhere / "site" / f"{name}.py").write_text("raise OSError('no\\nnetwork')")
    with pytest.raises(ValueError, match="OSError: no.*network; it needs .*: python3 -m venv"):
        people.DETECTORS[name]()
    for module in (mediapipe_hands, people):
        monkeypatch.delenv(module.VARIABLE)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="is not installed: python3 -m venv"):
        people.DETECTORS[name]()


def test_hands_of_a_video(elsewhere, capsys):
    writer = cv2.VideoWriter(
        str(elsewhere / "a.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 20, (80, 48)
    )
    for number in range(6):
        writer.write(spots(4 + number, 60))
    writer.release()
    out = elsewhere / "out"
    predict.main(["video", str(elsewhere / "a.avi"), "--output", str(out), "--smooth"])
    assert "6 frames, 6 with a hand or person, 2 followed" in capsys.readouterr().out
    with np.load(out / "predictions.npz", allow_pickle=False) as found:
        assert found["id"].tolist() == [1, 2] * 6
        assert found["side"].tolist() == ["right", "left"] * 6
        left = found["uv"][::2, 0, 0]
        assert (np.diff(left) > 0).all() and abs(left[-1] - (9 + 3.5)) < 2
    with pytest.raises(FileExistsError, match="of an earlier prediction: use --overwrite"):
        predict.main(["video", str(elsewhere / "a.avi"), "--output", str(out)])


@pytest.mark.parametrize("flags", [("--side", "left"), ("--box", "1,2,3,4")])
def test_what_mediapipe_would_ignore_is_refused(elsewhere, flags):
    common.write_png(elsewhere / "in" / "a.png", spots(8))
    argv = [str(elsewhere / "in"), "--output", str(elsewhere / "out"), *flags]
    for model in ("hand-rgb", "body-rgb"):
        with pytest.raises(ValueError, match="--side are for --workdir RUN; MediaPipe finds "):
            predict.main(["video", *argv, "--model", model])
    if "--side" in flags:
        with pytest.raises(ValueError, match="--side is for --workdir RUN; MediaPipe finds"):
            predict.main(["images", *argv])
    assert not (elsewhere / "out").exists()


def test_the_body_by_mediapipe(elsewhere, capsys):
    predictor = handjax.load("body-rgb")
    found = predictor(red(8))
    assert "MediaPipe 0.0" in repr(predictor) and len(found) == 1 and found.frame == "pelvis"
    np.testing.assert_allclose(found["nose"], [[0, 200, -300]], atol=1e-3)
    np.testing.assert_allclose(found.uv[0, :2], [[8, 16], [15, 31]], atol=1e-3)
    np.testing.assert_allclose(found["right_toes"], [[320, 200, -300]], atol=1e-3)
    assert found.confidence[0].tolist() == [0.5] * 33
    assert len(predictor(red())) == 0
    with pytest.raises(ValueError, match="expected one picture"):
        predictor(np.stack([red(8)] * 2))
    for name, columns in (("1.png", (8,)), ("2.png", ())):
        common.write_png(elsewhere / "in" / name, red(*columns))
    argv = [str(elsewhere / "in"), "--model", "body-rgb", "--output", str(elsewhere / "out")]
    predict.main(["images", *argv])
    assert "1 people in 2 images; 1 images without" in capsys.readouterr().out
    data = json.loads((elsewhere / "out" / "predictions.json").read_text())
    (person,) = data["people"]
    assert person["joints"]["left_wrist"]["xyz"] == pytest.approx([150, 200, -300], abs=1e-3)
    predict.main(["video", *argv, "--overwrite"])
    assert "2 frames, 1 with a hand or person, 1 followed" in capsys.readouterr().out
    with pytest.raises(ValueError, match="are for runs; body-rgb finds the person"):
        predict.main(["images", *argv, "--boxes", "b.json", "--overwrite"])
    with pytest.raises(ValueError, match="both name a network"):
        predict.main(["images", *argv, "--workdir", str(elsewhere)])


def test_hands_of_pictures(elsewhere, capsys):
    for name, columns in (("a/1.png", (8, 50)), ("a/2.png", ()), ("b.png", (50,))):
        common.write_png(elsewhere / "in" / name, spots(*columns))
    inputs = [str(elsewhere / "in" / "a"), str(elsewhere / "in" / "b.png")]
    out = elsewhere / "out"
    predict.main(["images", *inputs, "--output", str(out)])
    assert "3 hands in 3 images; 1 images without" in capsys.readouterr().out
    skeleton, hands = read_hands(out / "predictions.json")  # as `evaluate` reads it
    assert skeleton is HAND and list(hands) == ["a/1.png", "a/1.png#2", "b.png"]
    np.testing.assert_allclose(hands["b.png"][0, :2], [53.5, 23.5], atol=1e-3)
    data = json.loads((out / "predictions.json").read_text())
    assert [one["side"] for one in data["hands"]] == ["right", "left", "left"]
    assert cv2.imread(str(out / "overlays" / "a" / "2.png")).shape == (288, 480, 3)
    assert "a/2.png" in (out / "report.html").read_text()
    assert (out / "predictions.csv").read_text().startswith("image,side,joint,u_px,v_px")
    with pytest.raises(ValueError, match="both say where to look"):
        predict.main(["images", inputs[0], "--output", str(out), "--boxes", "b.json"])


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["video", "no.mp4"], "no.mp4: no such file or folder"),
        (["video", "a.png", "--presence", "2"], "--presence 2: expected 0 to 1"),
        (["video", "a.png", "--frames", "0"], "--frames 0: expected 1 or more"),
        (["video", "a.png", "--unit", "0"], "--unit 0: expected mm, above 0"),
        (["video", "rgb", "--box", "1,2,3"], "--box 1,2,3: expected LEFT,TOP,WIDTH,HEIGHT"),
        (["video", "rgb", "rgb/"], "two inputs have the same name"),
        (["video", "rgb", "--model", "hand-rgb", "--workdir", "."], "both name a network"),
        (["video", "rgb", "--workdir", "nowhere"], "nowhere: no such folder; expected a trained"),
        (["camera", "77"], "camera 77: no picture comes from it"),
        (["images", "rgb", "--config.task.sigma=1"], "expected --workdir RUN"),
        (["images", "rgb", "--detector", "rtmlib"], "rtmlib: it finds people; for hands use med"),
    ],
)
def test_invalid_input_is_one_line(tmp_path, monkeypatch, argv, message):
    monkeypatch.chdir(tmp_path)
    common.write_png(tmp_path / "rgb" / "a.png", spots(3))
    with pytest.raises((ValueError, OSError), match=message) as error:
        predict.main([*argv, "--output", "out"])
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


class DepthStub(DepthPredictor):
    """Joints in the middle of the nearest pixels; sure if they are nearer than 600 mm."""

    def _rows(self, frames, k, centers, side, how):
        near = np.where(frames > 0, frames, np.inf).min((1, 2))
        xyz = np.zeros((len(frames), 21, 3), np.float32)
        xyz[..., 2] = near[:, None]
        presence = np.where(near < 600, 0.9, 0.1)
        return {"joints_xyz": xyz, "center_xyz": xyz[:, 0], "presence": presence}


def test_depth_frames_use_their_own_camera():
    predictor = DepthStub("stub", HAND, (150.0, 1500.0))
    camera = read_camera((60, 60, 32, 24))
    recognizer = DepthRecognizer(predictor, None)

    def frame(mm, own=camera):
        return Frame("0", np.full((48, 64), mm, np.float32), 0.0, own)

    (found,) = recognizer(frame(500))
    np.testing.assert_allclose(found.uv, np.tile([32, 24], (21, 1)), atol=1e-4)
    assert recognizer(frame(700)) == []  # presence below 0.5
    assert recognizer(frame(0)) == [] and recognizer(frame(3000)) == []  # nothing in range
    assert len(DepthRecognizer(predictor, None, presence=0.0)(frame(700))) == 1
    with pytest.raises(ValueError, match="--camera: these frames do not say which camera"):
        recognizer(frame(500, None))
    assert len(DepthRecognizer(predictor, camera)(frame(500, None))) == 1


@pytest.mark.parametrize(
    ("mm", "message"),
    [
        (0, "no depth between .* nothing is measured in it"),
        (0.5, "no depth between .* it has 0.5 to 0.5; in metres. expected mm"),
        (
            4000,
            "it has 4000 to 4000; in units of 0.125 mm .*--unit 0.125. it would be 500 to 500 mm$",
        ),
        (60, "it has 60 to 60; in units of 10 mm .cm; --unit 10. it would be 600 to 600 mm$"),
        (30000, r"no depth between .* it has 3e.04 to 3e.04$"),
    ],
)
def test_depth_without_a_hand_says_what_it_has(mm, message):
    depth = np.full((1, 48, 64), mm, np.float32)
    k = np.float32([[[60, 0, 32], [0, 60, 24], [0, 0, 1]]])
    with pytest.raises(ValueError, match=message) as error:
        nearest_centers(depth, k, 300.0, (150.0, 1500.0))
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=message):
        handjax.load("hand-depth")(depth[0], (60, 60, 32, 24))


def test_a_model_of_the_other_kind_is_one_line():
    with pytest.raises(ValueError, match="hand-depth reads depth; these frames are RGB"):
        load_for_frames("hand-depth", None, depth=False)


# ---------------------------------------------------------------- runs


def save_run(folder, spec, *overrides):
    usual = ("config.eval_batch_size=2", "config.devices=1", "config.compile_cache=False")
    config = configs.load(spec, [*overrides, *usual, "config.optimizer.name=sgd"])
    (folder / "config.json").write_text(configs.to_json(config))
    skeleton = SKELETONS["body18" if config.task.name == "body" else "hand21"]
    skeleton = own_joints(folder, config) or skeleton
    state = run.build(config, source=run.no_source(skeleton)).init_state()
    checkpoints = Checkpoints(folder / "checkpoints")
    checkpoints.save(state)
    checkpoints.close()
    return folder


@pytest.fixture(scope="module")
def hands_run(tmp_path_factory, repo):
    tiny = ("config.crop.size=32", "config.model.widths=(4,4,4,4,4)", "config.model.kernel=3")
    folder = tmp_path_factory.mktemp("hands")
    return save_run(folder, f"{repo}/configs/posenet2d.py:quick", *tiny)


@pytest.mark.slow
def test_a_run_sees_the_hands_that_are_found(elsewhere, hands_run):
    common.write_png(elsewhere / "in" / "a.png", spots(8, 50))
    argv = [str(elsewhere / "in"), "--workdir", str(hands_run), "--output", str(elsewhere / "o")]
    predict.main(["images", *argv, "--detector", "mediapipe"])
    found = json.loads((elsewhere / "o" / "predictions.json").read_text())["hands"]
    assert len(found) == 2
    for one, (u, v) in zip(found, ((11.5, 23.5), (53.5, 23.5)), strict=True):
        left, top, width, height = one["box"]
        assert left < u < left + width and top < v < top + height and width == height
    # The same boxes by hand.
    predictor = handjax.load(hands_run)
    own = predictor(spots(8, 50), [one["box"] for one in found])
    np.testing.assert_allclose(own.uv[1], np.array(found[1]["hand_pts"])[:, :2], atol=1e-2)


@pytest.mark.slow
def test_boxes_follow_the_joints(hands_run):
    predictor = handjax.load(hands_run)
    follower = FollowedBoxes(predictor, [(10.0, 8.0, 30.0, 30.0)])
    picture = np.random.default_rng(0).integers(0, 255, (48, 80, 3)).astype(np.uint8)
    (first,) = follower(Frame("0", picture, 0.0))
    np.testing.assert_allclose(first.box, [10, 8, 30, 30])
    (second,) = follower(Frame("1", picture, 0.1))
    middle = second.box[:2] + second.box[2:] / 2
    low, high = first.uv.min(0), first.uv.max(0)
    assert (middle > low - 25).all() and (middle < high + 25).all()
    assert not np.allclose(second.box, first.box)


@pytest.mark.slow
def test_boxes_of_own_joints_are_enlarged_once(tmp_path, repo):
    """By the run's scale; the whole picture is not enlarged."""
    keep_joints(tmp_path, own_skeleton(("left", "right", "tip")))
    tiny = ("config.crop.size=32", "config.model.widths=(4,4,4,4,4)", "config.model.refinements=0")
    save_run(tmp_path, f"{repo}/configs/posenet2d.py:own,quick", *tiny)
    predictor = handjax.load(tmp_path)
    assert predictor.joints == ("left", "right", "tip")
    picture = np.random.default_rng(0).integers(0, 255, (48, 48, 3)).astype(np.uint8)
    affine = np.float32([[1, 0, 0], [0, 1, 0]])
    rows = predictor.network({"image": picture[None], "source_from_image": affine[None]})
    np.testing.assert_allclose(predictor(picture).uv, rows["joints_uv"][0], atol=1e-3)
    uv = np.float32([[10, 20], [30, 24], [18, 40]])
    np.testing.assert_allclose(hand_box(predictor, (48, 48), uv), [10, 20, 20, 20], atol=1e-4)
    (first,) = FollowedBoxes(predictor)(Frame("0", picture, 0.0))
    np.testing.assert_allclose(first.uv, rows["joints_uv"][0], atol=1e-3)


@pytest.mark.slow
def test_people_in_given_boxes(elsewhere, tmp_path, repo, capsys):
    tiny = ("config.model.width=2", "config.crop.size=(32,32)")
    folder = tmp_path / "run"
    folder.mkdir()
    save_run(folder, f"{repo}/configs/body.py:direct,quick", *tiny)
    common.write_png(tmp_path / "in" / "a.png", red(8, 50))
    boxes = {"images": [{"id": 3, "file_name": "a.png"}]}
    boxes["annotations"] = [
        {"image_id": 3, "bbox": [5, 4, 20, 30]},
        {"image_id": 3, "bbox": [45, 4, 20, 40]},
    ]
    (tmp_path / "coco.json").write_text(json.dumps(boxes))
    argv = ["images", str(tmp_path / "in"), "--workdir", str(folder), "--output"]
    predict.main([*argv, str(tmp_path / "o"), "--boxes", str(tmp_path / "coco.json")])
    assert "2 people in 1 images" in capsys.readouterr().out
    data = json.loads((tmp_path / "o" / "predictions.json").read_text())
    assert data["units"]["xyz"] == "mm, pelvis frame"
    first, second = data["people"]
    assert first["box"] == [5, 4, 20, 30] and set(second["joints"]) == set(
        SKELETONS["body18"].joints
    )
    np.testing.assert_allclose(second["joints"]["pelvis"]["xyz"], 0, atol=1e-3)
    own = handjax.load(folder)(red(8, 50), [45, 4, 20, 40])
    assert isinstance(own, Prediction)
    np.testing.assert_allclose(
        second["joints"]["nose"]["uv"], own.uv[SKELETONS["body18"].joints.index("nose")], atol=1
    )
    predict.main([*argv, str(tmp_path / "whole")])
    # Found by another program: in pictures, and in a folder as frames.
    predict.main([*argv, str(tmp_path / "found"), "--detector", "rtmlib"])
    assert "2 people in 1 images" in capsys.readouterr().out.splitlines()[-1]
    found = json.loads((tmp_path / "found" / "predictions.json").read_text())["people"]
    assert [one["box"] for one in found] == [[8, 16, 8, 16], [50, 16, 8, 16]]
    video = ["video", *argv[1:], str(tmp_path / "frames"), "--detector", "mediapipe"]
    predict.main(video)
    assert "1 frames, 1 with a hand or person, 1 followed" in capsys.readouterr().out
    for more in (["--boxes", "b.json"], ["--side", "left"]):
        with pytest.raises(ValueError, match="both say where to look|are for hands"):
            predict.main([*argv, str(tmp_path / "x"), "--detector", "rtmlib", *more])
    with pytest.raises(ValueError, match="--box and --detector both say where to look"):
        predict.main([*video, "--overwrite", "--box", "1,2,3,4"])
    with pytest.raises(ValueError, match="--side and --dataset are for hands"):
        predict.main([*argv, str(tmp_path / "x"), "--side", "left"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"a": [1, 2]},
            r"'a' is \[1, 2\]; expected \[x, y, side\] or \[left, top, width, height\]",
        ),
        ({"a": [1, 2, 3, 0]}, "sizes above 0"),
        ({"images": [{"id": 1}], "annotations": []}, "COCO annotations without 'file_name'"),
        ({"hands": []}, "no boxes in it"),
    ],
)
def test_wrong_boxes_are_one_line(tmp_path, content, message):
    (tmp_path / "b.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        rectangles_of(str(tmp_path / "b.json"))


# ---------------------------------------------------------------- depth and pixels


class SureStub(DepthStub):
    """Joints 20 mm beside the camera's axis at the center's distance, with a std of 8 mm."""

    def _rows(self, frames, k, centers, side, how):
        xyz = np.zeros((len(frames), 21, 3), np.float32)
        xyz[..., 0], xyz[..., 2] = 20, centers[:, 2:]
        std = np.full((len(frames), 21), 8, np.float32)
        return {"joints_xyz": xyz, "center_xyz": centers, "std": std}


LENS = "60,60,32,24,-0.2,0.05,0,0"


@pytest.mark.parametrize("camera", ["60,60,32,24", LENS])
def test_pixels_of_joints_place_a_hand_in_depth(camera):
    predictor = SureStub("stub", HAND, (150.0, 1500.0))
    depth = np.full((48, 64), 900, np.float32)
    depth[20:30, 5:20] = 500  # the hand, left in the picture, behind nothing
    uv = np.stack([np.linspace(8, 17, 21), np.full(21, 25.0)], axis=-1).astype(np.float32)
    found = predictor(depth, camera, uv=uv, uv_std=0.01)
    assert found.center[2] == 500 and found.center[0] < -100
    np.testing.assert_allclose(found.uv, uv, atol=0.1)  # a sure pixel is where the joint is
    assert (found.std < 8).all()
    loose = predictor(depth, camera, uv=uv, uv_std=1000.0)
    np.testing.assert_allclose(loose.xyz[:, 0], 20, atol=0.5)
    uv[3:] = np.nan
    some = predictor(depth, camera, uv=uv, uv_std=0.01)
    np.testing.assert_allclose(some.xyz[3:, 0], 20)
    np.testing.assert_allclose(some.uv[:3], uv[:3], atol=0.1)
    assert some.wrist_pose().shape == (4, 4)


def test_pixels_that_cannot_be_are_one_line():
    predictor = SureStub("stub", HAND, (150.0, 1500.0))
    depth, camera = np.full((48, 64), 500, np.float32), (60, 60, 32, 24)
    uv = np.full((21, 2), 20, np.float32)
    with pytest.raises(ValueError, match=r"uv: \[20, 2\]; expected px of 21 joints in 1 frames"):
        predictor(depth, camera, uv=uv[1:])
    with pytest.raises(ValueError, match="frame 0 has no depth between 150 and 1500 mm at these"):
        predictor(depth, camera, uv=uv + 900)
    with pytest.raises(ValueError, match="uv_std=0: expected px, above 0"):
        predictor(depth, camera, uv=uv, uv_std=0.0)
    with pytest.raises(ValueError, match="gives no std of its joints; expected hand-depth"):
        DepthStub("stub", HAND, (150.0, 1500.0))(depth, camera, uv=uv)
    with pytest.raises(ValueError, match="wrist_pose: expected a hand of 21 joints"):
        Prediction(HAND.joints, uv=uv).wrist_pose()
