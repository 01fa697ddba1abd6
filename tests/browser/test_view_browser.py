"""The viewer in headless Chromium with software WebGL: the page in use, and no outside request."""

import base64
import json
import re

import cv2
import numpy as np
import pytest

from handjax.data.formats.mesh import read_skin
from handjax.viewer.hand import START
from handjax.viewer.rendering import PIXELS
from tests.browser.chromium import SCENES, launched, needs_chromium
from tests.browser.viewer import served

pytest.importorskip("viser", reason="viser is not installed: pip install 'handjax[view]'")
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = [
    needs_chromium,
    pytest.mark.slow,
]


@pytest.fixture(scope="module")
def url():
    with served() as address:
        yield address


@pytest.fixture(scope="module")
def page(url):
    """The open page; `page.troubles` collects outside requests and errors."""
    with sync_api.sync_playwright() as playwright:
        browser = launched(playwright, SCENES)
        page = browser.new_page(viewport={"width": 1280, "height": 860})
        page.set_default_timeout(90_000)  # a busy machine takes long to compile
        page.troubles, ours = [], (url + "/", f"blob:{url}/", "data:")

        def answer(route):
            if route.request.url.startswith(ours):
                route.continue_()
            else:
                page.troubles.append(f"request: {route.request.url}")
                route.abort()

        page.context.route("**/*", answer)
        page.on(
            "request",
            lambda asked: (
                None
                if asked.url.startswith(ours)
                else page.troubles.append(f"request: {asked.url}")
            ),
        )
        page.on(
            "websocket",
            lambda s: (
                None if s.url.startswith(url.replace("http", "ws")) else page.troubles.append(s.url)
            ),
        )
        page.on("requestfailed", lambda asked: page.troubles.append(f"failed: {asked.url[:80]}"))
        page.on("pageerror", lambda error: page.troubles.append(f"error: {error}"))
        page.on(
            "console",
            lambda m: page.troubles.append(f"console: {m.text}") if m.type == "error" else None,
        )
        page.goto(url)
        page.get_by_role("button", name="random pose").wait_for()
        wait(page, lambda: lit(page) > 0.1)
        yield page
        browser.close()
        assert page.troubles == []  # after all tests


def wait(page, true, tries: int = 900):
    """Wait until `true()`, a tenth of a second per try."""
    for _ in range(tries):
        if true():
            return
        page.wait_for_timeout(100)
    assert true()


def scene(page) -> np.ndarray:
    """The middle of the window between the panels, [h, w, 3] RGB."""
    return decoded(page.screenshot(clip={"x": 360, "y": 0, "width": 570, "height": 860}))


def lit(page) -> float:
    """The share of the scene that is not background."""
    return float((scene(page).max(axis=-1) > 60).mean())


def colourful(page) -> float:
    """The share of the scene in finger colours: skin has red above green above blue."""
    r, g, b = (scene(page)[..., i].astype(int) for i in range(3))
    return float(((b > r + 15) | (g > r + 15)).mean())


def nearest(page) -> int:
    """The near end of the legend, mm."""
    return int(
        re.match(r"(\d+) mm", page.get_by_text("depth", exact=True).locator("..").inner_text())[1]
    )


def depth_image(page) -> str:
    """The depth image of the hand as decoded by the page: a PNG in base64."""
    return page.evaluate(
        """async () => {
            // A new picture may replace the element or its source; decode() then fails.
            for (let tries = 0; ; tries++) {
                const image = [...document.querySelectorAll("img[src^='blob:']")].at(-1);
                try {
                    await image.decode();
                    const canvas = document.createElement("canvas");
                    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
                    canvas.getContext("2d").drawImage(image, 0, 0);
                    return canvas.toDataURL().split(",")[1];
                } catch (error) {
                    if (tries == 20) throw error;
                    await new Promise(resolve => setTimeout(resolve, 250));
                }
            }
        }"""
    )


def decoded(png: bytes) -> np.ndarray:
    """[h, w, 3] RGB."""
    return cv2.cvtColor(
        cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB
    )


def reset(page):
    page.get_by_role("button", name="reset").click()
    page.wait_for_timeout(300)


def test_page_opens_with_the_hand_in_view(page):
    assert page.locator("canvas").first.bounding_box()["width"] > 1000
    picture = scene(page)
    rows, columns = np.nonzero(picture.max(axis=-1) > 60)
    assert 0.15 < lit(page) < 0.6
    assert rows.min() > 50 and rows.max() < 840  # all of it
    assert columns.min() > 20 and columns.max() < 550
    assert page.get_by_role("slider").count() >= 6
    assert (
        page.locator("img[src^='blob:']").evaluate("i => [i.naturalWidth, i.naturalHeight]")
        == [PIXELS] * 2
    )
    assert page.troubles == []


def test_scene_matches_the_depth_image(page):
    """Both show the hand through the same window, so its outlines agree."""
    reset(page)
    seen = np.ptp(decoded(base64.b64decode(depth_image(page))).astype(int), axis=-1) > 30
    whole = decoded(page.screenshot())[:, (1280 - 860) // 2 : (1280 + 860) // 2].max(axis=-1)
    whole[:, :150] = whole[:, -140:] = 0  # the panels
    drawn = (
        cv2.resize(
            (whole > 60).astype(np.float32),
            (PIXELS, PIXELS),
            interpolation=cv2.INTER_AREA,
        )
        > 0.5
    )
    assert np.sum(drawn & seen) / np.sum(drawn | seen) > 0.9


def test_slider_moves_the_hand(page):
    reset(page)
    near = nearest(page)
    before = depth_image(page)
    page.get_by_role("slider").nth(5).press("End")  # palm translation z: 20 mm away from the camera
    wait(page, lambda: abs(nearest(page) - near - 20) <= 1)
    page.get_by_role("slider").nth(3).press("End")
    wait(page, lambda: depth_image(page) != before)
    reset(page)
    wait(page, lambda: nearest(page) == near and depth_image(page) == before)


def test_random_poses_differ_and_reset_undoes_them(page):
    reset(page)
    images = [depth_image(page)]
    for _ in range(2):
        page.get_by_role("button", name="random pose").click()
        wait(page, lambda: depth_image(page) not in images)
        images.append(depth_image(page))
    reset(page)
    wait(page, lambda: depth_image(page) == images[0])


def test_spheres_can_be_toggled(page):
    reset(page)
    plain = colourful(page)
    assert plain < 0.02
    page.get_by_label("spheres", exact=True).last.check(force=True)
    wait(page, lambda: colourful(page) > 0.05)
    page.get_by_label("spheres", exact=True).last.uncheck(force=True)
    wait(page, lambda: colourful(page) < 0.02)
    page.get_by_label("skin", exact=True).last.uncheck(force=True)
    wait(page, lambda: lit(page) < 0.01)
    page.get_by_label("skin", exact=True).last.check(force=True)
    wait(page, lambda: lit(page) > 0.1)


def test_depth_of_skin_or_of_spheres(page):
    reset(page)
    skin = depth_image(page)
    page.get_by_label("depth of").last.click()
    page.get_by_role("option", name="spheres").click()
    wait(page, lambda: depth_image(page) != skin)
    page.get_by_label("depth of").last.click()
    page.get_by_role("option", name="skin").click()
    wait(page, lambda: depth_image(page) == skin)


def test_text_field_shows_and_takes_the_pose(page):
    reset(page)
    page.get_by_text("26 numbers").click()
    text = page.locator("textarea:visible").first
    text.wait_for()
    numbers = [float(word) for word in text.input_value().split()]
    assert numbers == pytest.approx(START)
    near = nearest(page)
    numbers[5] = -12.0
    text.fill(" ".join(map(str, numbers)))
    page.get_by_role("button", name="use these").click()
    wait(page, lambda: abs(nearest(page) - near + 12) <= 1)
    text.fill("1 2 3")
    page.get_by_role("button", name="use these").click()
    page.get_by_text("expected 26 finite numbers, got 3").wait_for()
    reset(page)
    wait(page, lambda: nearest(page) == near)


def choose(page, label: str, option: str):
    page.get_by_label(label, exact=True).last.click()
    page.get_by_role("option", name=option, exact=True).click()


def test_left_hand_is_the_mirror_image(page):
    reset(page)
    right = depth_image(page)
    choose(page, "hand", "left")
    wait(page, lambda: depth_image(page) != right)
    pictures = [decoded(base64.b64decode(picture)) for picture in (right, depth_image(page))]
    assert np.mean(pictures[0] != pictures[1][:, ::-1]) < 0.01 < np.mean(pictures[0] != pictures[1])
    reset(page)
    wait(page, lambda: depth_image(page) == right)


def files(page, folder) -> dict:
    """All downloads of the page, saved in `folder`; the content of the JSON."""
    page.get_by_role("tab", name="files").click()
    for name in ("hand.json", "hand_depth.png", "hand.obj"):
        with page.expect_download() as download:
            page.get_by_role("button", name=name).click()
        assert download.value.suggested_filename == name
        download.value.save_as(folder / name)
    page.get_by_role("tab", name="pose").click()
    return json.loads((folder / "hand.json").read_bytes())


@pytest.fixture(scope="module")
def taken(page, tmp_path_factory):
    """The downloads of the initial hand, and the content of the JSON."""
    reset(page)
    folder = tmp_path_factory.mktemp("taken")
    return folder, files(page, folder)


def test_downloads_hold_the_hand_of_the_sliders(page, taken, tmp_path):
    _, before = taken
    near = nearest(page)
    page.get_by_role("slider").nth(5).press("End")
    wait(page, lambda: abs(nearest(page) - near - 20) <= 1)
    data = files(page, tmp_path)
    assert data["pose"] == before["pose"] | {"palm_translation_z": 20.0}
    moved = np.asarray(list(data["joints_xyz"].values())) - list(before["joints_xyz"].values())
    np.testing.assert_allclose(moved, np.broadcast_to([0, 0, 20], (21, 3)), atol=1e-3)
    depth = cv2.imread(str(tmp_path / "hand_depth.png"), cv2.IMREAD_UNCHANGED)
    assert depth.dtype == np.uint16 and abs(int(depth[depth > 0].min()) - near - 20) <= 1
    assert read_skin(tmp_path / "hand.obj", bones=17).vertices[:, 2].min() == pytest.approx(
        near + 20, abs=1.5
    )
    reset(page)


def test_depth_image_is_fitted_step_by_step(page, taken):
    """The page's own depth image is loaded again; the hand was moved and returns to it."""
    folder, data = taken
    page.get_by_role("tab", name="fit").click()
    camera = page.get_by_text("fx fy cx cy", exact=True).locator("xpath=following::input[1]")

    def upload():
        with page.expect_file_chooser() as chooser:
            page.get_by_role("button", name="load a depth image").click()
        chooser.value.set_files(folder / "hand_depth.png")

    camera.fill("500 500")
    upload()
    page.get_by_text("expected FX,FY,CX,CY in px").wait_for()
    page.get_by_role("button", name="fit: one step").click()
    page.get_by_text("load a depth image first").wait_for()
    camera.fill(" ".join(map(str, data["depth_image"]["camera"])))
    upload()
    page.get_by_text("hand_depth.png: ").wait_for()
    assert page.locator("img[src^='blob:']").count() == 2

    def away():
        return float(
            re.search(
                r"distance ([\d.]+) mm", page.get_by_text("mean surface distance").inner_text()
            )[1]
        )

    first = away()
    assert first > 2.5
    choose(page, "start from", "the hand shown")
    page.get_by_role("button", name="fit: one step").click()
    page.get_by_text("step 0 of").wait_for(timeout=120_000)  # includes compilation
    page.get_by_role("button", name="fit: one step").click()
    page.get_by_text("step 1 of").wait_for(timeout=120_000)
    page.get_by_role("button", name="fit: run").click()
    page.get_by_role("button", name="fit: stop").wait_for()
    wait(page, lambda: away() < 0.75 * first, tries=300)
    page.get_by_role("button", name="fit: stop").click()
    page.get_by_role("button", name="fit: run").wait_for()
    page.get_by_role("tab", name="pose").click()
