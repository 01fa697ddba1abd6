"""The report in headless Chromium: light and dark, desktops and phones."""

import base64
import json

import numpy as np
import pytest

from handjax.data.formats.uvd_text import write_uvd
from handjax.metrics import keypoints2d
from handjax.pose.skeleton import SKELETONS
from handjax.prediction import common, images
from handjax.prediction.boxes import Box
from handjax.reports import prediction_files, results
from handjax.reports.base import Comparison
from handjax.reports.keypoints2d import Keypoints2dReport
from tests.browser.chromium import launched, needs_chromium

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = [
    needs_chromium,
    pytest.mark.slow,
]


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    rng = np.random.default_rng(0)
    true = rng.normal(0, 50, (40, 14, 3)) + [0, 0, 700]
    truth = write_uvd(folder / "truth.txt", true, "nyu")
    ours = write_uvd(folder / "ours.txt", true + rng.normal(0, 6, true.shape), "nyu")
    prediction_files.evaluate(str(ours), str(truth), "nyu", str(folder / "w"))
    return folder / "w"


@pytest.fixture(scope="module")
def chromium():
    with sync_api.sync_playwright() as playwright:
        browser = launched(playwright)
        yield browser
        browser.close()


@pytest.fixture(
    params=[("light", 1400), ("dark", 1400), ("light", 400), ("dark", 400)],
    ids=["light", "dark", "phone", "dark_phone"],
)
def page(request, chromium, workdir):
    """The opened report; its messages, errors and requests are in `page.troubles`."""
    scheme, width = request.param
    page = chromium.new_page(color_scheme=scheme, viewport={"width": width, "height": 900})
    page.troubles, page.scheme, page.width = [], scheme, width
    page.on("console", lambda message: page.troubles.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: page.troubles.append(f"error: {error}"))
    page.on("requestfailed", lambda failed: page.troubles.append(f"failed: {failed.url[:80]}"))
    page.on(
        "request",
        lambda request: (
            None
            if request.url.startswith(("file://", "data:"))
            else page.troubles.append(f"request: {request.url}")
        ),
    )
    page.goto((workdir / "report.html").as_uri())
    yield page
    page.close()


def test_opens_without_errors_and_shows_its_images(page):
    assert page.title() == "ours on NYU"
    sizes = page.eval_on_selector_all(
        "img", "all => all.map(i => [i.complete, i.naturalWidth, i.naturalHeight])"
    )
    assert len(sizes) == 6  # success curve, years, joints, and frames that are 20 apart
    assert all(complete and min(width, height) > 100 for complete, width, height in sizes), sizes
    assert all(page.eval_on_selector_all("img", "all => all.map(i => i.alt.length > 20)"))
    assert page.troubles == []


def test_numbers_match_metrics_json(page, workdir):
    metrics = json.loads((workdir / "metrics.json").read_text())
    shown = page.eval_on_selector_all(
        "data[data-name]",
        "all => Object.fromEntries(all.map(d => [d.dataset.name, [d.value, d.innerText]]))",
    )
    assert set(shown) == {
        "mpjpe_mm",
        "median_mm",
        "pa_mpjpe_mm",
        "success_max_percent.20",
        "auc",
        "frames",
    }
    for name, (exact, text) in shown.items():
        value = metrics
        for key in name.split("."):
            value = value[key]
        assert float(exact) == value
        decimals = len(text.partition(".")[2])
        assert float(text.replace(",", "")) == pytest.approx(value, abs=0.501 * 10**-decimals)

    tables = page.eval_on_selector_all(
        "table",
        "all => all.map(t => [...t.tBodies[0].rows].map(r => [...r.cells].map(c => c.innerText)))",
    )
    (success, published, joints) = tables
    assert [f"{p:.2f}" for p in metrics["success_max_percent"].values()] == success[0][1:]
    (ours,) = (row for row in published if row[0] == "ours")
    assert ours[2:4] == [f"{metrics['mpjpe_mm']:.3f}", f"{metrics['median_mm']:.3f}"]
    assert [row[2] for row in published] == sorted((row[2] for row in published), key=float)
    assert {row[0]: row[1] for row in joints} == {
        name.replace("_", " "): f"{mm:.2f}" for name, mm in metrics["per_joint_mm"].items()
    }


def test_is_readable(page):
    """Text has the contrast of WCAG AA, and nothing is wider than the window."""
    style = (
        "e => [getComputedStyle(e).color, getComputedStyle(e.closest('section')).backgroundColor]"
    )
    for selector in ("h2", "td", "th", "figcaption", ".key dt", "tr.own td"):
        ink, paper = page.eval_on_selector(selector, style)
        assert contrast(ink, paper) >= 4.5, (selector, ink, paper)
    assert (
        luminance(page.eval_on_selector("body", "e => getComputedStyle(e).backgroundColor")) < 0.2
    ) == (page.scheme == "dark")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_text_of_charts_is_large_enough(page):
    """Charts are shown at most a little smaller than they were drawn: 9 pt as 10 px or more."""
    shown = page.eval_on_selector_all(
        "section > figure img",
        "all => all.map(i => [i.currentSrc, i.getBoundingClientRect().width])",
    )
    for source, width in shown:
        drawn = float(
            base64.b64decode(source.partition(",")[2]).split(b'width="')[1].split(b"pt")[0]
        )
        assert 9 * width / drawn >= 10, (width, drawn)
    across = page.eval_on_selector_all(".frames img", "all => all.map(i => i.clientWidth)")
    assert across and min(across) >= 130


def look(canvas) -> bytes:
    return canvas.screenshot()


def test_the_view_in_space_turns(page):
    canvas = page.locator(".turning canvas")
    canvas.scroll_into_view_if_needed()
    first = look(canvas)
    page.wait_for_timeout(400)
    assert look(canvas) != first  # by itself
    page.click(".turning button")
    assert page.inner_text(".turning button") == "Turn"
    page.wait_for_timeout(100)
    still = look(canvas)
    page.wait_for_timeout(200)
    assert look(canvas) == still
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 180, box["y"] + 120)
    page.mouse.up()
    dragged = look(canvas)
    assert dragged != still
    canvas.press("ArrowLeft")
    assert look(canvas) != dragged
    other = look(canvas)
    page.select_option(".turning select", index=1)
    assert look(canvas) != other
    assert page.troubles == []


def test_who_wants_less_motion_gets_none(chromium, workdir):
    page = chromium.new_page(reduced_motion="reduce")
    page.goto((workdir / "report.html").as_uri())
    canvas = page.locator(".turning canvas")
    canvas.scroll_into_view_if_needed()
    page.wait_for_timeout(200)
    first = look(canvas)
    page.wait_for_timeout(300)
    assert look(canvas) == first and page.inner_text(".turning button") == "Turn"
    page.close()


def test_charts_follow_the_color_scheme(chromium, workdir):
    """The text of a chart is dark on light ground and light on dark ground."""
    ink = {}
    for scheme in ("light", "dark"):
        page = chromium.new_page(color_scheme=scheme)
        page.goto((workdir / "report.html").as_uri())
        ink[scheme] = page.evaluate(
            """async () => {
                const image = document.querySelector("img");
                const canvas = document.createElement("canvas");
                await image.decode();
                [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
                const context = canvas.getContext("2d", {willReadFrequently: true});
                context.drawImage(image, 0, 0);
                const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
                const grey = [];
                for (let i = 0; i < pixels.length; i += 4) {
                    const [r, g, b, a] = pixels.slice(i, i + 4);
                    const isGrey = Math.max(r, g, b) - Math.min(r, g, b) < 25;
                    if (a == 255 && isGrey) grey.push(r + g + b);
                }
                grey.sort((x, y) => x - y);
                return grey[Math.floor(grey.length / 2)] / 3;
            }"""
        )
        page.close()
    assert ink["light"] < 90 and ink["dark"] > 160, ink


def luminance(colour: str) -> float:
    """Relative luminance of `rgb(r, g, b)`, WCAG 2."""
    channels = [int(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.fixture(scope="module")
def hands(tmp_path_factory):
    """A report of image joints over their crops, and a page of overlays."""
    folder = tmp_path_factory.mktemp("hands")
    rng = np.random.default_rng(1)
    true = rng.uniform(10, 54, (20, 21, 2))
    sides = {"box_px": np.full(20, 44.0), "image_px": np.full(20, 64.0)}
    pred, skeleton = true + rng.normal(0, 3, true.shape), SKELETONS["hand21"]
    metrics = keypoints2d.summarize(pred, true, skeleton.joints, **sides)
    ids = [f"hand <{n}>" for n in range(20)]
    report = Keypoints2dReport("ours", ids, pred, true, skeleton, metrics, **sides)
    crops = rng.integers(0, 255, (20, 64, 64, 3), np.uint8)
    sections = report.sections(
        Comparison("rhd", comparable=False), lambda n: ((crops[n], np.eye(2, 3)), {})
    )
    results.write_results(folder, metrics, sections, "ours", "20 hands", report.predictions())
    found = [
        images.DetectedHand(f"a&b #{n}%.png", Box(31.5, 31.5, 64), true[n], np.ones(21))
        for n in range(9)
    ]
    for hand, crop in zip(found, crops, strict=False):
        common.write_png(
            folder / "sheet" / "overlays" / common.overlay_of(hand.name),
            images.overlay(crop, [hand], skeleton),
        )
    images.write(
        folder / "sheet",
        found,
        {"x.png": "x.png: no PNG or JPEG"},
        skeleton,
        "found",
        "10 images",
    )
    return folder


@pytest.mark.parametrize(("scheme", "width"), [("dark", 1400), ("light", 400)])
def test_hands_in_images(chromium, hands, scheme, width):
    page = chromium.new_page(color_scheme=scheme, viewport={"width": width, "height": 900})
    troubles = []
    page.on("console", lambda message: troubles.append(message.text))
    page.on("requestfailed", lambda failed: troubles.append(failed.url[:80]))
    for path, count in ((hands / "report.html", 11), (hands / "sheet" / "report.html", 9)):
        page.goto(path.as_uri())
        for image in page.query_selector_all("img"):
            image.scroll_into_view_if_needed()  # loaded lazily
        page.wait_for_function("[...document.images].every(i => i.complete)")
        sizes = page.eval_on_selector_all(
            "img", "all => all.map(i => [i.naturalWidth, i.naturalHeight, i.alt.length])"
        )
        assert len(sizes) == count and all(min(size) > 10 for size in sizes), sizes
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert troubles == []
    page.goto((hands / "report.html").as_uri())
    metrics = json.loads((hands / "metrics.json").read_text())
    shown = page.eval_on_selector_all(
        "data[data-name]", "all => Object.fromEntries(all.map(d => [d.dataset.name, +d.value]))"
    )
    assert shown == {
        "epe_px": metrics["epe_px"],
        "median_px": metrics["median_px"],
        "auc": metrics["auc"],
        "visible.auc": metrics["visible"]["auc"],
        "pck_box@0.2": metrics["pck_box"]["0.2"],
        "frames": 20,
    }
    rows = page.eval_on_selector_all(
        "tr.own", "all => all.map(r => [...r.cells].map(c => c.innerText))"
    )
    assert rows == [
        ["ours", *(f"{x:.3f}" for x in (metrics["auc"], metrics["auc"]))]
        + [f"{metrics[k]:.3f}" for k in ("joint_mean_px", "joint_median_px")]
    ]
    text = page.inner_text("body")
    assert "mmpose, ResNet-50 [1]" in text and "depend on the size of the images" in text
    page.close()
