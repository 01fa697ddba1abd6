"""The viewer's tab "play" in headless Chromium: frames of a hand, the tracker, and a label."""

import json
import re

import cv2
import jax
import numpy as np
import pytest

from handjax.data.formats.labelled_frames import read_frames
from handjax.rigs import skinning
from handjax.viewer import hand, rendering
from tests.browser.chromium import SCENES, launched, needs_chromium
from tests.browser.viewer import served

pytest.importorskip("viser", reason="viser is not installed: pip install 'handjax[view]'")
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = [needs_chromium, pytest.mark.slow, pytest.mark.optimized]

COUNT = 3


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """A folder of depth images of a hand that comes nearer, and the numbers of their camera."""
    folder = tmp_path_factory.mktemp("recording")
    center = np.asarray(rendering.CENTER_XYZ, np.float32)
    skin = skinning.hand_skin()
    for number in range(COUNT):
        pose = np.asarray(hand.START, np.float32)
        pose[5] -= 15 * number
        made = jax.device_get(rendering.render_hand(hand.posed_hand(pose), center, skin, "skin"))
        cv2.imwrite(str(folder / f"{number}.png"), made.depth.round().astype(np.uint16))
    k = np.asarray(rendering.window(center))
    return folder, f"{k[0, 0]},{k[1, 1]},{k[0, 2]},{k[1, 2]}"


@pytest.fixture(scope="module")
def url(recording, tmp_path_factory):
    """The viewer that plays it, and the folder of the hands it keeps."""
    folder, camera = recording
    kept = tmp_path_factory.mktemp("kept") / "hands"
    with served("--play", folder, "--camera", camera, "--keep", kept) as address:
        yield address, kept


def test_frames_are_played_tracked_and_kept(url):
    address, kept = url
    with sync_api.sync_playwright() as playwright:
        browser = launched(playwright, SCENES)
        page = browser.new_page(viewport={"width": 1280, "height": 860})
        page.set_default_timeout(180_000)  # the first frame compiles
        troubles: list[str] = []
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.goto(address)
        page.get_by_role("tab", name="play").click()
        page.get_by_role("button", name="next frame").click()
        page.get_by_text(f"frame 1 of {COUNT}: 0").wait_for()
        page.get_by_text(re.compile(r"(right|left) hand, presence [01]\.\d\d")).wait_for()
        page.get_by_role("button", name="play", exact=True).click()
        page.get_by_text(f"frame {COUNT} of {COUNT}: {COUNT - 1}").wait_for()
        page.get_by_role("button", name="play", exact=True).wait_for()  # at the end it stops
        page.get_by_role("button", name="keep this hand").click()
        page.get_by_text("1 frames in").wait_for()
        browser.close()
        assert troubles == []
    (frame,) = read_frames(kept).frames
    assert json.loads((kept / "frames.json").read_text())
    assert frame.xyz.shape == (21, 3) and np.isfinite(frame.xyz).all()
