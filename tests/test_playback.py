"""Depth frames played in the viewer: the tracker, corrections, and the labels they become."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest

from handjax import view
from handjax.data.cameras import read_camera
from handjax.data.formats.depth import read_depth
from handjax.data.formats.labelled_frames import read_frames
from handjax.prediction import common
from handjax.prediction.frames import Frame, FrameSource
from handjax.prediction.hand_depth import HandDepthPredictor, Networks
from handjax.rigs import skinning
from handjax.viewer import hand as viewer_hand
from handjax.viewer import page as page_module
from handjax.viewer import playback, rendering
from handjax.viewer.fit import DepthCamera
from handjax.viewer.hand import posed_hand
from handjax.viewer.kept_frames import KeptFrames
from handjax.viewer.rendering import render_hand, window
from handjax.viewer.scene import Scene

pytestmark = pytest.mark.optimized

viser = pytest.importorskip("viser", reason="viser is not installed: pip install 'handjax[view]'")

from viser import transforms  # noqa: E402

START = np.asarray(viewer_hand.START, np.float32)
CENTER = np.asarray(rendering.CENTER_XYZ, np.float32)
K = np.asarray(window(CENTER))
COUNT = 4


@pytest.fixture(scope="module")
def frames():
    """A hand that closes, and a frame without one."""
    skin, found = skinning.hand_skin(), []
    for number in range(COUNT):
        pose = START.copy()
        pose[[7, 11, 15, 19]] = 0.25 * number
        found.append(jax.device_get(render_hand(posed_hand(pose), CENTER, skin, "skin")))
    return found


class Finder(HandDepthPredictor):
    """The joints as they are, a few mm off; it counts how often it is asked."""

    def __init__(self, frames):
        super().__init__("finder", Networks({}, None))
        self.frames, self.asked, self.restarts = frames, 0, 0

    def follower(self, hands):
        self.restarts += 1
        return SimpleNamespace(next_hands=self.next_hands)

    def next_hands(self, depth, k):
        if not depth.any():
            return []
        self.asked += 1
        (shown,) = [one for one in self.frames if np.array_equal(one.depth, depth)]
        noise = np.random.default_rng(0).normal(0, 3, (21, 3)).astype(np.float32)
        std = np.full(21, 4, np.float32)
        std[8] = 20
        center = np.asarray(shown.joints).mean(0)
        found = SimpleNamespace(
            joints=shown.joints + noise,
            std=std,
            presence=np.float32(0.9),
            side=np.float32(1.0),
            center=center,
        )
        return [found]


def source_of(frames):
    def again():
        for number, one in enumerate(frames):
            yield Frame(f"{number:06}", np.asarray(one.depth), number / 30)
        yield Frame(f"{COUNT:06}", np.zeros_like(frames[0].depth), COUNT / 30)

    return FrameSource("wave.db3", again, True, 30.0, COUNT + 1)


@pytest.fixture
def shown(frames, tmp_path):
    """A page that plays the frames, and its finder."""
    finder = Finder(frames)
    played = playback.Playback(
        source_of(frames),
        read_camera(K.tolist()),
        playback.HandTracker(finder),
        KeptFrames(tmp_path / "kept"),
    )
    server = viser.ViserServer("127.0.0.1", 0, verbose=False)
    page = page_module.Page(
        server, skinning.hand_skin(), posed_hand(START), CENTER, DepthCamera(), playback=played
    )
    yield page, finder
    server.stop()


@pytest.mark.slow
def test_the_hand_follows_the_frames_and_a_corrected_one_is_kept(shown, frames):
    page, finder = shown
    played = page.playback
    played.run_or_stop()
    assert played.play.label == "stop" and page._plays()
    for number in range(COUNT):
        played.advance(page)
        page.actions.run_pending()
        page.draw()
        off = np.linalg.norm(page.rendered().joints - frames[number].joints, axis=-1)
        assert off.mean() < 6, (number, off)
        assert f"frame {number + 1} of 5" in played.status.content
    assert "least sure" in played.status.content or "all joints are sure" in played.status.content
    assert not page.scene.doubt.visible
    played.doubt.value = True
    played._show_doubt(page)
    assert page.scene.doubt.visible
    # The ellipsoids' axes are those of the deviations that are told, and the least sure is large.
    sizes = np.asarray(page.scene.doubt.batched_scales)
    assert sizes.shape == (21, 3) and (sizes > 0).all() and sizes.max(1)[8] > np.median(sizes)
    at = np.asarray(page.scene.doubt.batched_positions)
    assert np.linalg.norm(at - frames[COUNT - 1].joints, axis=-1).mean() < 8
    assert played.slider.value == COUNT - 1 and finder.asked == COUNT
    played.advance(page)  # nothing in it, and the last one
    assert not played.running and played.play.label == "play"
    assert "no hand found" in played.status.content
    assert not page.scene.doubt.visible

    # Back to the second frame, where the sliders are moved and the hand is kept.
    restarts = finder.restarts
    played.show(page, 1)
    assert finder.restarts == restarts + 1  # it does not follow on the last one
    page.actions.run_pending()
    page.draw()
    page.panels.sliders[7].value = 1.0
    played.keep_hand(page)
    played.keep_hand(page)  # in place of itself
    (label,) = read_frames(played.kept.folder).frames
    assert (label.name, label.hand) == ("wave_000001.png", "right")
    np.testing.assert_allclose(label.xyz, page.rendered().joints, atol=0.01)
    np.testing.assert_allclose(
        read_depth(label.path, form="png16", scale=0.25), frames[1].depth, atol=0.13
    )
    assert np.abs(label.xyz - frames[1].joints).max() > 10
    again = KeptFrames(played.kept.folder)
    assert again.add("b_1.png", frames[0].depth, K, frames[0].joints, "left") == 2
    assert len(read_frames(played.kept.folder).frames) == 2


def test_frames_are_found_by_number(shown, frames):
    page, finder = shown
    played = page.playback
    for number in (3, 0, 2, 2):
        assert played.frame(number).name == f"{number:06}"
    played.track.value = False
    page.center = CENTER
    played.show(page, 2)
    assert finder.asked == 0 and played.number == 2
    with pytest.raises(ValueError, match="wave.db3: it ended after 5 frames"):
        played.frame(9)
    played.number = -1
    with pytest.raises(ValueError, match="no frame to keep a hand of: play first"):
        played.keep_hand(page)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--play", "deep"], "--play deep: name its camera by --camera"),
        (["--play", "rgb", "--camera", "d435"], "rgb: no image in it; expected files ending"),
        (["--play", "none.bag"], "none.bag: no such file or folder"),
        (["--play", "-"], "--play -: expected a recording or a folder"),
        (["--keep", "new"], "--keep new: it is for frames of --play"),
        (["--play", "deep", "--depth", "deep/1.png", "--camera", "d435"], "both load depth"),
        (["--play", "deep", "--camera", "d435", "--keep", "deep"], "deep: expected a new or empty"),
    ],
)
def test_what_cannot_be_played_is_one_line(tmp_path, monkeypatch, argv, message):
    monkeypatch.chdir(tmp_path)
    common.write_png(tmp_path / "rgb" / "a.jpg", np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "deep").mkdir()
    import cv2

    cv2.imwrite("deep/1.png", np.full((48, 64), 600, np.uint16))
    with pytest.raises((ValueError, OSError), match=message) as error:
        view.main(argv)
    assert "\n" not in str(error.value)


def test_kept_frames_do_not_mix_with_other_labels(tmp_path, frames):
    kept = KeptFrames(tmp_path / "kept")
    kept.add("a_1.png", frames[0].depth, K, frames[0].joints, "right")
    path = tmp_path / "kept" / "frames.json"
    path.write_text(path.read_text().replace("placed in handjax view", "clicked"))
    with pytest.raises(ValueError, match="other labels than handjax view writes"):
        KeptFrames(tmp_path / "kept")


def test_ellipsoids_are_the_covariances():
    spread = np.random.default_rng(1).normal(size=(21, 3, 3))
    wanted = spread @ np.swapaxes(spread, -1, -2)
    server = viser.ViserServer("127.0.0.1", 0, verbose=False)
    try:
        scene = Scene(server, skinning.hand_skin())
        scene.show_doubt(np.zeros((21, 3)), wanted)
        turns = transforms.SO3(np.asarray(scene.doubt.batched_wxyzs)).as_matrix()
        scales = np.asarray(scene.doubt.batched_scales)
    finally:
        server.stop()
    drawn = np.einsum("nab,nb,ncb->nac", turns, scales**2, turns)
    # 95 % of a Gaussian in space: chi-squared of three degrees is 7.81 there.
    np.testing.assert_allclose(drawn, 7.81 * wanted, rtol=5e-3, atol=1e-2)
