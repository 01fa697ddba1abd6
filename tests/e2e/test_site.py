"""The docs as a site: it builds without a warning, its links lead on, phones can show it."""

import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.browser.chromium import launched, needs_chromium

pytestmark = pytest.mark.slow


class Page(HTMLParser):
    """The anchors of a page, and what it refers to."""

    def __init__(self, text: str):
        super().__init__()
        self.anchors: set[str] = {"", "top"}
        self.targets: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.anchors |= {values[key] for key in ("id", "name") if values.get(key)}
        self.targets += [values[key] for key in ("href", "src") if values.get(key)]


@pytest.fixture(scope="module")
def site(tmp_path_factory, repo) -> Path:
    for package in ("sphinx", "myst_nb", "furo"):
        pytest.importorskip(package, reason=f"{package} is not installed: the extra `docs`")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    command += ["-d", str(folder / "doctrees"), "docs", str(folder / "html")]
    done = subprocess.run(command, cwd=repo, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "html"


@pytest.fixture(scope="module")
def pages(site) -> dict[Path, Page]:
    return {path: Page(path.read_text()) for path in sorted(site.glob("**/*.html"))}


def test_every_link_and_anchor_leads_somewhere(pages):
    dead = []
    for path, page in pages.items():
        for target in page.targets:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            file = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not file.is_file():
                dead.append(f"{path.name}: {target}")
            elif file in pages and unquote(parts.fragment) not in pages[file].anchors:
                dead.append(f"{path.name}: {target}")
    assert not dead, "\n".join(dead)


def test_every_page_is_in_the_table_of_contents(repo, site, pages):
    names = {path.stem for path in (repo / "docs").iterdir() if path.suffix in (".md", ".ipynb")}
    targets = pages[site / "index.html"].targets
    assert names <= {Path(urlsplit(target).path).stem for target in targets} | {"index"}


def test_the_api_is_that_of_the_docstrings(pages, site):
    anchors = pages[site / "api.html"].anchors
    for name in ("load", "list_models", "prediction.base.Prediction", "metrics.joints3d.mpjpe"):
        assert f"handjax.{name}" in anchors
    assert "handjax.engine.contracts.Task" in anchors
    text = (site / "api.html").read_text()
    assert 'class="docutils literal' in text and "system-message" not in text


def test_notes_of_the_data_sets_are_on_their_page(repo, pages, site):
    sets = {path.parent.name for path in (repo / "handjax" / "data" / "sets").glob("*/README.md")}
    anchors = pages[site / "data_sets.html"].anchors
    assert len(sets) > 15 and {f"notes-{name.replace('_', '-')}" for name in sets} <= anchors


def test_the_notebook_is_a_page_with_its_results(site):
    text = (site / "notebook.html").read_text()
    assert "data:image/png;base64," in text and "index_tip" in text
    assert [*(site / "_images").glob("*.jpg")], "the picture of plot()"


@needs_chromium
@pytest.mark.parametrize(("scheme", "width"), [("light", 400), ("dark", 400), ("light", 1400)])
def test_it_is_shown_without_scrolling_sideways(pages, scheme, width):
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = launched(playwright)
        page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 900})
        wide, asked = [], []
        page.on("request", lambda request: asked.append(request.url))
        for path in pages:
            page.goto(path.as_uri())
            if page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
                wide.append(path.name)
        browser.close()
    assert not wide
    assert all(url.startswith(("file:", "data:")) for url in asked)
