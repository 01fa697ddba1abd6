"""The page: escaped, self-contained, complete; its charts are valid SVG in the ink of the page."""

import base64
import itertools
import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure

from handjax.pose.skeleton import SKELETONS, unnamed
from handjax.reports import charts
from handjax.reports import page as pages

HOSTILE = """<script>alert("1")</script> & 'x'"""


class Page(HTMLParser):
    """Start tags with their attributes, and all text."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]


def svg_of(image: pages.Image, narrow: bool = False) -> str:
    head, _, body = (image.narrow if narrow else image.uri).partition(",")
    assert head == "data:image/svg+xml;base64"
    return base64.b64decode(body).decode()


def everything() -> list[pages.Section]:
    return [
        pages.section(
            HOSTILE,
            HOSTILE,
            pages.keys(
                pages.Key(HOSTILE, 1234.5678, "mm", HOSTILE, 2, "mean"),
                pages.Key("none", None),
                pages.Key("count", 8252),
                pages.Key("words", HOSTILE),
            ),
            pages.table(
                ("name", HOSTILE, "n"),
                [(HOSTILE, 1.23456, 7), ("b", None, 8)],
                HOSTILE,
                (0, 3, 0),
                [1],
            ),
        ),
        pages.section(
            "charts",
            charts.bars(("thumb_tip", "palm"), (3.0, None), "mm", HOSTILE, HOSTILE, mean=2.0),
            charts.curves(
                [charts.Curve("ours", [1, 2, 3], [10, 5, 2], emphasis=True)],
                "x",
                "y",
                "curve",
                logy=True,
            ),
        ),
    ]


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Page:
    path = tmp_path_factory.mktemp("report") / "report.html"
    assert pages.write_report(path, HOSTILE, HOSTILE, everything(), footer=HOSTILE) == path
    return Page(path.read_text(encoding="utf-8"))


def test_no_scripts_and_no_requests(page):
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "iframe", "object", "embed", "base", "form"}
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "href", "srcset", "action", "poster"):
                assert value.startswith("data:"), (tag, name, value)


def test_styles_make_no_requests(tmp_path):
    text = pages.write_report(tmp_path / "r.html", "t", "s", everything()).read_text()
    assert not re.search(r"url\(|@import|https?://", text)


def test_hostile_text_is_escaped(page):
    assert page.text.count(HOSTILE) >= 10
    assert HOSTILE in [image["alt"] for image in page.all("img")][0]


def test_numbers(page):
    values = {attributes.get("data-name"): attributes["value"] for attributes in page.all("data")}
    assert values["mean"] == "1234.5678"
    for shown in ("1,234.57", "8,252", "1.235", "–"):
        assert shown in page.text
    assert [row.get("class") for row in page.all("tr")] == [None, None, "own"]


def test_images_have_alt_text(page):
    images = page.all("img")
    assert len(images) == 2
    assert all(image["alt"] and image["src"] for image in images)


def test_svg_is_valid_and_in_the_pages_ink():
    for block, narrow in itertools.product(everything()[1].blocks, (False, True)):
        svg = svg_of(block, narrow)
        root = ElementTree.fromstring(svg)
        assert root.tag.endswith("svg")
        assert "currentColor" in svg and "prefers-color-scheme" in svg
        assert (
            "#000000" not in svg and "#ffffff" not in svg.split("<image")[0]
        )  # no black text on dark, no white background
        hrefs = [
            value
            for node in root.iter()
            for name, value in node.attrib.items()
            if name.endswith("href")
        ]
        assert all(value.startswith(("#", "data:")) for value in hrefs)


def test_charts_are_reproducible():
    first, second = (
        charts.bars(("a", "b"), (1.0, 2.0), "mm", "alt", colours=["#ff0000", "#00ff00"])
        for _ in range(2)
    )
    assert first == second
    assert "#ff0000" in svg_of(first)


def test_faint_lines_are_not_in_the_legend():
    lines = [charts.Curve(name, [0, 1], [0, 1], faint=name == "grey") for name in ("ours", "grey")]
    plots = []
    original = Figure.savefig

    def keep(self, *args, **kwargs):
        plots.append(self)
        return original(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", keep)
        charts.curves(lines, "x", "y", "alt")
    (axes,) = plots[0].axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["ours"]
    assert len(axes.lines) == 2
    (legend,) = plots[1].legends  # for phones: above the axes
    assert [text.get_text() for text in legend.get_texts()] == ["ours"]


def test_a_gallery_links_to_its_files(tmp_path):
    names = "overlays/a b#1?.png", "overlays/ü%.png"
    copies = {name: f"data:image/jpeg;base64,{number}" for number, name in enumerate(names)}
    texts = (HOSTILE, HOSTILE), ("alt", "caption")
    images = [(name, *text) for name, text in zip(names, texts, strict=True)]
    block = pages.gallery(images, copies)
    page = Page(
        pages.write_report(tmp_path / "r.html", "t", "s", [pages.section("all", block)]).read_text(
            encoding="utf-8"
        )
    )
    paths = ["overlays/a%20b%231%3F.png", "overlays/%C3%BC%25.png"]
    assert [link["href"] for link in page.all("a")] == paths
    assert [image["src"] for image in page.all("img")] == [*copies.values()]
    assert page.all("img")[0]["alt"] == HOSTILE in page.text


def test_an_existing_page_is_not_overwritten(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match="exists already"):
        pages.write_report(path, "t", "s", [])
    assert path.read_text() == "mine"


def test_a_table_row_must_fit():
    with pytest.raises(ValueError, match="3 cells for 2 columns"):
        pages.table(("a", "b"), [(1, 2, 3)])


def test_a_view_in_space_brings_the_only_script(tmp_path):
    """What the data hold cannot end their element; joints that are not known are null."""
    skeleton = unnamed(("a", "b", "c"))
    pred = np.array([[1.04, 2, 3], [np.nan, 5, 6], [7, 8, np.inf]])
    block = pages.turning([(HOSTILE, pred, None), ("b", pred, pred)], skeleton, HOSTILE)
    path = pages.write_report(tmp_path / "r.html", "t", "s", [pages.section("all", block)])
    page = Page(path.read_text(encoding="utf-8"))
    assert page.all("script") == [{"type": "application/json"}, {}]
    poses = json.loads(block.data)["poses"]
    assert poses == [[[[1.0, 2.0, 3.0], None, None], None], [[[1.0, 2.0, 3.0], None, None]] * 2]
    assert page.all("canvas")[0]["aria-label"] == HOSTILE and len(page.all("option")) == 2
    assert not re.search(r"url\(|@import|https?://|fetch|XMLHttp|innerHTML", path.read_text())


@pytest.mark.parametrize("name", SKELETONS)
def test_a_legend_names_every_colour_of_a_skeleton(name):
    skeleton = SKELETONS[name]
    shown = dict(pages.legend(skeleton).items)
    assert set(shown.values()) == set(skeleton.colours)
    assert {text.replace(" ", "_") for text in shown} == set(skeleton.groups)
    many = unnamed(tuple(map(str, range(9))))
    assert len(pages.legend(many).items) == 1
