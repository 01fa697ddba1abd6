"""Frames of videos, folders and streams, and hands followed over them."""

import dataclasses
import io
import json

import cv2
import numpy as np
import pytest

from handjax.data.formats.image_stream import images_of
from handjax.pose.skeleton import SKELETONS
from handjax.prediction import common, frames, sequence
from handjax.prediction.base import Prediction
from handjax.prediction.tracks import HandTracks, Smoothing

HAND = SKELETONS["hand21"]
RNG = np.random.default_rng(0)
SHAPE = RNG.uniform(-10, 10, (21, 2)).astype(np.float32)


def hand(u, v, side="right", frame=None):
    uv = SHAPE + np.float32([u, v])
    xyz = np.concatenate([uv, np.full((21, 1), 500, np.float32)], axis=-1)
    low = uv.min(0)
    return Prediction(
        HAND.joints,
        xyz=xyz,
        uv=uv,
        side=side,
        box=np.float32([*low, *(uv.max(0) - low)]),
        pictures=() if frame is None else (frame,),
        skeleton=HAND,
    )


def spot(u, size=(48, 64)):
    """A picture with a bright square at column u."""
    picture = np.full((*size, 3), 40, np.uint8)
    picture[16:32, u : u + 8] = 230
    return picture


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Ten frames, 20 per second, of a square that moves by 4 px, in three containers."""
    folder = tmp_path_factory.mktemp("videos")
    for name, codec in (("a.mp4", "mp4v"), ("a.avi", "MJPG"), ("a.mkv", "mp4v")):
        writer = cv2.VideoWriter(str(folder / name), cv2.VideoWriter.fourcc(*codec), 20, (64, 48))
        for number in range(10):
            writer.write(spot(4 * number))
        writer.release()
    return folder


# ---------------------------------------------------------------- sources


@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.mkv"])
def test_frames_of_a_video(videos, name):
    source = frames.open_source(str(videos / name), None)
    found = list(source.frames())
    assert not source.depth and source.fps == pytest.approx(20) and len(found) == 10
    np.testing.assert_allclose([one.seconds for one in found], np.arange(10) / 20, atol=2e-3)
    for number, one in enumerate(found):
        bright = np.nonzero(one.pixels[24, :, 0] > 130)[0]
        assert abs(bright.mean() - (4 * number + 3.5)) < 1.5
    assert len(list(source.frames())) == 10


def test_frames_of_folders(tmp_path):
    for number in (9, 10, 1):
        common.write_png(tmp_path / "rgb" / f"{number}.png", spot(number))
    (tmp_path / "depth").mkdir()
    cv2.imwrite(str(tmp_path / "depth" / "1.png"), np.full((4, 5), 4000, np.uint16))
    found = list(frames.open_source(str(tmp_path / "rgb"), None).frames())
    assert [one.name for one in found] == ["1.png", "9.png", "10.png"]
    (one,) = frames.open_source(str(tmp_path / "depth"), True, unit_mm=0.125).frames()
    assert one.pixels.dtype == np.float32 and (one.pixels == 500).all()


@pytest.mark.parametrize(
    ("name", "depth", "message"),
    [
        ("none.mp4", None, "none.mp4: no such file or folder; expected a video, a recording"),
        ("empty.mp4", None, "empty.mp4: an empty file of which no frame can be read"),
        ("text.mp4", None, "text.mp4: a text of which no frame can be read; expected a video"),
        ("cut.mp4", None, "cut.mp4: an MP4 video of which no frame can be read"),
        ("a.mp4", True, "a.mp4: a video has colors, no depth; expected a recording"),
        ("x.bag", None, "x.bag: no recording; expected a ROS bag"),
        ("x.bag", False, "x.bag: a recording of depth; expected RGB"),
        ("", True, "no image in it; expected files ending in .png or .npy"),
        ("deep", None, "deep: 1.png is a depth image; depth needs --camera CAMERA, or a model"),
        ("deep/1.png", None, "1.png: a PNG image, not a video; expected a folder of frames"),
    ],
)
def test_what_has_no_frames_is_one_line(videos, tmp_path, name, depth, message):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "x.bag").write_text("no bag")
    (tmp_path / "cut.mp4").write_bytes((videos / "a.mp4").read_bytes()[:900])
    (tmp_path / "a.mp4").write_bytes((videos / "a.mp4").read_bytes())
    (tmp_path / "deep").mkdir()
    if name:
        cv2.imwrite(str(tmp_path / "deep" / "1.png"), np.full((4, 5), 4000, np.uint16))
    with pytest.raises((ValueError, OSError), match=message) as error:
        frames.open_source(str(tmp_path / name), depth)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (77, "camera 77: no picture comes from it; this machine has"),
        (-3, "camera -3: expected its number, 0 for the first"),  # OpenCV would crash
        (1 << 40, "camera 1099511627776: expected its number"),
    ],
)
def test_no_camera_is_one_line(number, message):
    with pytest.raises(ValueError, match=message):
        frames.open_webcam(number)


def test_a_video_that_is_cut_short_says_so(tmp_path, capsys):
    writer = cv2.VideoWriter(str(tmp_path / "a.mkv"), cv2.VideoWriter.fourcc(*"MJPG"), 20, (64, 48))
    for noise in RNG.integers(0, 255, (20, 48, 64, 3)).astype(np.uint8):
        writer.write(noise)
    writer.release()
    data = (tmp_path / "a.mkv").read_bytes()
    assert len(list(frames.open_source(str(tmp_path / "a.mkv"), None).frames())) == 20
    assert not capsys.readouterr().err
    (tmp_path / "cut.mkv").write_bytes(data[: len(data) // 2])
    found = list(frames.open_source(str(tmp_path / "cut.mkv"), None).frames())
    assert 5 <= len(found) <= 14
    (told,) = capsys.readouterr().err.splitlines()
    assert f"cut.mkv: {len(found)} of the 20 frames that its header names could be" in told


def encoded(picture, ending):
    return cv2.imencode(ending, picture)[1].tobytes()


@pytest.mark.parametrize("ending", [".png", ".jpg"])
def test_images_of_a_stream(ending):
    noise = RNG.integers(0, 255, (3, 40, 50, 3)).astype(np.uint8)
    parts = [encoded(one, ending) for one in noise]
    assert list(images_of(io.BytesIO(b"".join(parts)))) == parts
    cut = images_of(io.BytesIO(b"".join(parts)[:-20]))
    assert [next(cut), next(cut)] == parts[:2]
    with pytest.raises(ValueError, match="stdin: it ended within image 3"):
        next(cut)


@pytest.mark.parametrize(
    ("data", "depth", "message"),
    [
        (b"", False, "stdin: it ended without an image"),
        (b"RIFFxxxx", False, "stdin: image 1 begins with b'RI'; expected PNG or JPEG"),
        (encoded(np.full((4, 5), 500, np.uint16), ".png"), False, "has 16 bits .* as depth has"),
        (encoded(spot(3), ".png"), True, "expected depth as 16-bit PNG"),
    ],
)
def test_a_stream_of_something_else_is_one_line(monkeypatch, data, depth, message):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
    with pytest.raises(ValueError, match=message):
        list(frames.open_source("-", depth).frames())


def test_a_stream_of_depth(monkeypatch):
    parts = [encoded(np.full((4, 5), 500 + n, np.uint16), ".png") for n in range(3)]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"".join(parts))))
    found = list(frames.open_source("-", True, 2.0).frames())
    assert [float(one.pixels[0, 0]) for one in found] == [1000, 1002, 1004]


# ---------------------------------------------------------------- tracks


def test_hands_keep_their_numbers():
    tracks, order = HandTracks(), []
    for number in range(8):
        hands = [hand(20 + 2 * number, 30), hand(150 - 2 * number, 90)]
        found = tracks(hands[:: 1 if number % 2 else -1], number / 30)
        order.append({i: round(float(one.uv[:, 0].mean())) for i, one in found})
    first = order[0]
    assert set(first) == {1, 2}
    for one in order:
        assert abs(one[1] - first[1]) < 30 and abs(one[2] - first[2]) < 30
    # One is missing for a while and comes back; much later, or elsewhere, it is another.
    gone = [round(float(one.uv[:, 0].mean())) for _, one in tracks([hand(36, 30)], 0.3)]
    assert len(gone) == 1
    back = dict(tracks([hand(36, 30), hand(134, 90)], 0.6))
    assert set(back) == {1, 2}
    assert [i for i, _ in tracks([hand(36, 30)], 5.0)] == [3]
    assert [i for i, _ in tracks([hand(600, 300)], 5.1)] == [4]


def test_the_side_is_that_of_most_frames():
    tracks = HandTracks()
    sides = ["right"] * 5 + ["left"] + ["right"] * 3
    found = [tracks([hand(30, 30, side)], n / 30)[0][1].side for n, side in enumerate(sides)]
    assert found == ["right"] * 9
    # A hand that was named wrongly at first is renamed when most frames say so.
    found = [tracks([hand(30, 30, "left")], (9 + n) / 30)[0][1].side for n in range(20)]
    assert found[-1] == "left" and found[0] == "right"


def smoothed(path, smoothing, step=1 / 30):
    tracks = HandTracks(smoothing)
    return np.stack(
        [tracks([hand(u, 30)], n * step)[0][1].uv.mean(0)[0] for n, u in enumerate(path)]
    )


def test_smoothing_steadies_a_still_hand_and_follows_a_fast_one():
    noise = RNG.normal(0, 1, 200)
    still = 100 + noise
    calm = smoothed(still, Smoothing())
    assert calm[50:].std() < 0.6 * noise[50:].std()
    fast = 100 + 3.0 * np.arange(60)
    late = np.abs(smoothed(fast, Smoothing()) - (fast + SHAPE[:, 0].mean()))[20:]
    assert late.max() < 3.5  # about a frame
    slow = np.abs(smoothed(fast, Smoothing(beta=0.0)) - (fast + SHAPE[:, 0].mean()))[20:]
    assert slow.max() > 2 * late.max()
    np.testing.assert_allclose(smoothed(still, None), still + SHAPE[:, 0].mean(), atol=1e-3)


# ---------------------------------------------------------------- the loop


def follow_the_square(frame):
    bright = np.nonzero(frame.pixels[24, :, 0] > 130)[0]
    return [hand(float(bright.mean()), 24.0, frame=frame.pixels)] if len(bright) else []


def test_a_sequence_writes_while_it_runs(videos, tmp_path):
    source = frames.open_source(str(videos / "a.mp4"), None)
    lengths = []

    def watched(frame):
        file = tmp_path / "out" / "predictions.jsonl"
        lengths.append(len(file.read_text().splitlines()) if file.exists() else 0)
        return follow_the_square(frame)

    done = sequence.run_sequence(source, watched, HandTracks(), tmp_path / "out")
    assert lengths == list(range(10)) and done.frames == done.with_hands == 10
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(sequence.OUTPUTS)
    text = (tmp_path / "out" / "predictions.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["hands"][0]["id"] for line in lines] == [1] * 10
    with np.load(tmp_path / "out" / "predictions.npz", allow_pickle=False) as found:
        assert found["xyz"].shape == (10, 21, 3) and list(found["frame"])[-1] == "000009"
        tip = lines[4]["hands"][0]["joints"]["index_tip"]["uv"]
        index = list(found["joints"]).index("index_tip")
        np.testing.assert_allclose(found["uv"][4, index], tip, atol=1e-3)
    table = (tmp_path / "out" / "predictions.csv").read_text().splitlines()
    assert table[0].startswith("frame,seconds,id,side,joint,x_mm") and len(table) == 211
    video = cv2.VideoCapture(str(tmp_path / "out" / "overlay.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 10 and video.get(cv2.CAP_PROP_FPS) == 20
    page = (tmp_path / "out" / "report.html").read_text()
    assert "data:image/webp;base64," in page and 'src="overlay' not in page
    assert "right 10" in page


def test_frames_that_end_with_an_error_keep_what_came_before(tmp_path):
    def broken():
        yield frames.Frame("000000", spot(3), 0.0)
        yield frames.Frame("000001", spot(7, (30, 90)), 0.1)
        raise ValueError("stdin: it ended within image 3")

    source = frames.FrameSource("stdin", broken, False, 30.0)
    with pytest.raises(sequence.SequenceError, match="image 3; what came before is written, 2 fr"):
        sequence.run_sequence(source, follow_the_square, HandTracks(), tmp_path)
    assert len((tmp_path / "predictions.jsonl").read_text().splitlines()) == 2
    assert "ended within image 3" in (tmp_path / "report.html").read_text()

    def ends(frame):
        if frame.name == "000001":
            raise OSError("MediaPipe's process ended")
        return follow_the_square(frame)

    with pytest.raises(sequence.SequenceError, match="process ended; what came before .* 1 frames"):
        sequence.run_sequence(source, ends, HandTracks(), tmp_path / "ends")
    assert (tmp_path / "ends" / "predictions.csv").is_file()
    empty = dataclasses.replace(source, frames=lambda: iter(()))
    with pytest.raises(ValueError, match="stdin: it has no frames"):
        sequence.run_sequence(empty, follow_the_square, HandTracks(), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_ctrl_c_ends_the_frames_and_not_the_writing(videos, tmp_path, capsys):
    def stopped():
        yield frames.Frame("000000", spot(3), 0.0)
        raise KeyboardInterrupt

    source = frames.FrameSource("camera 0", stopped, False, 30.0)
    done = sequence.run_sequence(source, lambda frame: [], HandTracks(), tmp_path)
    assert done.frames == 1 and done.with_hands == 0
    assert "stopped after 1 frames" in capsys.readouterr().err
    with np.load(tmp_path / "predictions.npz", allow_pickle=False) as found:
        assert found["frame"].shape == (0,)


def test_ctrl_c_while_a_frame_is_worked_on(videos, tmp_path, capsys):
    source = frames.open_source(str(videos / "a.avi"), None)

    def stopped(frame):
        if frame.name == "000003":
            raise KeyboardInterrupt
        return follow_the_square(frame)

    done = sequence.run_sequence(source, stopped, HandTracks(), tmp_path / "out")
    assert done.frames == 3 and "stopped after 3 frames" in capsys.readouterr().err
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(sequence.OUTPUTS)

    def at_once(frame):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sequence.run_sequence(source, at_once, HandTracks(), tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_no_video_and_a_limit(videos, tmp_path):
    source = frames.open_source(str(videos / "a.avi"), None)
    done = sequence.run_sequence(
        source, follow_the_square, HandTracks(), tmp_path / "o", video=False, limit=3
    )
    assert done.frames == 3 and not (tmp_path / "o" / "overlay.mp4").exists()
