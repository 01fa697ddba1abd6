"""A self-contained HTML page of numbers, tables and charts: no script, no request, light and dark.

A report is a list of sections; a section is a heading and blocks; a block comes from the helpers
below or is a string, which becomes a paragraph. The template is `page.html`. Existing files are not
overwritten. Only galleries refer to image files next to the page.
"""

import base64
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from handjax.engine.files import new_path

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

Cell = str | int | float | None


@dataclass(frozen=True)
class Image:
    """An image as a data URI, or a path from the page in a gallery, with alt text and caption."""

    uri: str
    alt: str
    caption: str
    width: int  # CSS pixels, at most
    link: str = ""  # of a gallery's image: path of its file, if `uri` is a small copy
    kind: str = "image"


@dataclass(frozen=True)
class Table:
    """Rows of cells; `digits`: decimals of floats by column; rows in `emphasis` are highlighted."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    digits: tuple[int, ...]
    caption: str
    emphasis: frozenset[int]
    kind: str = "table"


@dataclass(frozen=True)
class Key:
    """A key figure, shown on a card of its own. `name` identifies it in the page for programs."""

    label: str
    value: Cell
    unit: str = ""
    note: str = ""
    digits: int = 2
    name: str = ""


@dataclass(frozen=True)
class Keys:
    """A row of cards."""

    items: tuple[Key, ...]
    kind: str = "keys"


@dataclass(frozen=True)
class Curve:
    """One line of a chart. `faint` lines are a grey background and missing from the legend."""

    name: str
    x: Sequence[int | float]
    y: Sequence[int | float]
    emphasis: bool = False
    faint: bool = False
    markers: bool = False


@dataclass(frozen=True)
class Gallery:
    """Many small images side by side; each links to its file."""

    items: tuple[Image, ...]
    kind: str = "gallery"


Block = str | Image | Table | Keys | Gallery


@dataclass(frozen=True)
class Section:
    heading: str
    blocks: tuple[Block, ...]


def section(heading: str, *blocks: Block) -> Section:
    return Section(heading, blocks)


def keys(*items: Key) -> Keys:
    """A row of cards."""
    return Keys(items)


def gallery(
    images: Sequence[tuple[str, str, str]], copies: Mapping[str, str] | None = None
) -> Gallery:
    """Images next to the page: (path relative to the page, alt text, caption). `copies`: path →
    a small copy as a data URI, which the page holds."""
    inside = copies or {}
    return Gallery(
        tuple(
            Image(inside.get(path, quote(path)), alt, caption, width=0, link=quote(path))
            for path, alt, caption in images
        )
    )


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    caption: str = "",
    digits: int | Sequence[int] = 2,
    emphasis: Sequence[int] = (),
) -> Table:
    """A table of floats with `digits` decimals (one number, or one per column); None is a dash.

    The rows at the indices in `emphasis` are highlighted. Raises ValueError if a row has more or
    fewer cells than there are columns.
    """
    for row in rows:
        if len(row) != len(columns):
            raise ValueError(
                f"a table row has {len(row)} cells for {len(columns)} columns: {row!r}"
            )
    places = (digits,) * len(columns) if isinstance(digits, int) else tuple(digits)
    return Table(tuple(columns), tuple(map(tuple, rows)), places, caption, frozenset(emphasis))


def bars(
    labels: Sequence[str],
    values: Sequence[int | float | None],
    xlabel: str,
    alt: str,
    caption: str = "",
    colours: Sequence[str] | None = None,
    mean: int | float | None = None,
    digits: int = 2,
) -> Image:
    """Horizontal bars with their values, the first on top; `mean` draws a line across them."""
    plot = figure(7.2, 0.8 + 0.27 * len(labels))
    axes = plot.subplots()
    lengths = [0.0 if value is None else value for value in values]
    axes.barh(range(len(labels)), lengths, height=0.68, color=colours or COLOURS[0])
    axes.set_yticks(range(len(labels)), [label.replace("_", " ") for label in labels])
    axes.invert_yaxis()
    reach = max([*lengths, mean or 0.0, 1e-9])
    for row, value in enumerate(values):
        text = "–" if value is None else f"{value:.{digits}f}"
        axes.text(lengths[row] + 0.01 * reach, row, text, va="center", fontsize=8.5)
    if mean is not None:
        axes.axvline(mean, color="black", lw=1.0, ls=(0, (4, 3)), alpha=0.7)
        axes.text(mean, -0.75, f"mean {mean:.{digits}f}", ha="center", va="bottom", fontsize=8.5)
    axes.set_xlim(0, 1.1 * reach)
    axes.set_xlabel(xlabel)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", alpha=0.18, color="black", lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return svg_image(plot, alt, caption)


def curves(
    lines: Sequence[Curve],
    xlabel: str,
    ylabel: str,
    alt: str,
    caption: str = "",
    ylim: tuple[int | float, int | float] | None = None,
    logy: bool = False,
) -> Image:
    """Line chart: emphasized lines are thick, faint ones grey, the others have a color each."""
    plot = figure(7.2, 4.3)
    axes = plot.subplots()
    palette = iter(COLOURS[1:] * (1 + len(lines)))
    for line in sorted(lines, key=lambda line: (line.emphasis, not line.faint)):
        style: dict[str, Any]
        if line.faint:
            style = {"lw": 0.9, "color": "#8b949e", "alpha": 0.45, "zorder": 2}
        elif line.emphasis:
            style = {"lw": 2.6, "color": COLOURS[0], "zorder": 5}
        else:
            style = {"lw": 1.4, "color": next(palette), "zorder": 3}
        if line.markers:
            style |= {"marker": "o", "ms": 3 if line.faint else 4.5, "mew": 0}
        axes.plot(line.x, line.y, label=None if line.faint else line.name, **style)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    if logy:
        _log_axis(axes)
    if ylim is not None:
        axes.set_ylim(*ylim)
    axes.margins(x=0.01)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.18, color="black", lw=0.8)
    if any(not line.faint for line in lines):
        drawn = dict(zip(*axes.get_legend_handles_labels()[::-1], strict=True))
        names = [line.name for line in lines if not line.faint]
        axes.legend([drawn[name] for name in names], names, frameon=False, fontsize=9, loc="best")
    return svg_image(plot, alt, caption)


def svg_image(plot: "matplotlib.figure.Figure", alt: str, caption: str = "") -> Image:
    """A matplotlib figure as SVG. Black becomes the page's ink, readable on dark ground too."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "path", "svg.hashsalt": "handjax"}):
        plot.savefig(
            buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
        )
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].replace("#000000", "currentColor")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = svg.replace("<defs>", f"<style>{_SVG_STYLE}</style><defs>", 1)
    uri = "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
    return Image(uri, alt, caption, width=round(96 * plot.get_figwidth() * 1.15))


def write_report(
    path: str | Path, title: str, subtitle: str, sections: Sequence[Section], footer: str = ""
) -> Path:
    """Renders the page and returns its path. Raises FileExistsError for an existing file."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["number"] = _number
    environment.tests["text"] = lambda cell: isinstance(cell, str)
    written = f"Written {datetime.now().astimezone():%Y-%m-%d %H:%M %Z}"
    template = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    page = environment.from_string(template).render(
        title=title,
        subtitle=subtitle,
        sections=sections,
        footer=" · ".join(filter(None, (footer, written))),
    )
    with new_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return Path(path)


def _log_axis(axes: "matplotlib.axes.Axes") -> None:
    """A logarithmic y axis with plain numbers, also between the decades where there is room."""
    from matplotlib.ticker import LogFormatter

    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(LogFormatter())
    axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1.5, 0.5)))


def figure(width: float, height: float) -> "matplotlib.figure.Figure":
    """An empty figure, inches, for `svg_image`."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _number(cell: Cell, digits: int) -> str:
    if cell is None:
        return "–"
    return f"{cell:,}" if isinstance(cell, int) else f"{cell:,.{digits}f}"


# The first is ours; all have enough contrast on white and on near black.
COLOURS = ("#2f81f7", "#e8590c", "#2f9e44", "#ae3ec9", "#c9a000", "#0ca5b0", "#e64980", "#82743b")

_SVG_STYLE = (
    "svg{color:#1c2430;fill:currentColor}@media(prefers-color-scheme:dark){svg{color:#dfe5ec}}"
)
