"""Charts of a report: bars and curves as SVG, twice: for wide windows, and for phones.

matplotlib is imported when something is drawn.
"""

import base64
import io
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from handjax.reports.page import Image

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

# The first is ours; all have enough contrast on white and on near black.
COLOURS = ("#2f81f7", "#e8590c", "#2f9e44", "#ae3ec9", "#c9a000", "#0ca5b0", "#e64980", "#82743b")
WIDE, NARROW = 7.2, 3.5  # inches
_SHORT = 16  # letters of a name; two such fit side by side into NARROW
_ENLARGED = 1.15  # CSS px per 1/96 inch
_SVG_STYLE = (
    "svg{color:#1c2430;fill:currentColor}@media(prefers-color-scheme:dark){svg{color:#dfe5ec}}"
)


@dataclass(frozen=True)
class Curve:
    """One line of a chart. `faint` lines are a grey background and missing from the legend."""

    name: str
    x: Sequence[int | float]
    y: Sequence[int | float]
    emphasis: bool = False
    faint: bool = False
    markers: bool = False


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
    lengths = [0.0 if value is None else value for value in values]
    reach = max([*lengths, mean or 0.0, 1e-9])

    def draw(axes: "matplotlib.axes.Axes", narrow: bool) -> None:
        axes.barh(range(len(labels)), lengths, height=0.68, color=colours or COLOURS[0])
        axes.set_yticks(range(len(labels)), [label.replace("_", " ") for label in labels])
        axes.invert_yaxis()
        for row, value in enumerate(values):
            text = "–" if value is None else f"{value:.{digits}f}"
            axes.text(lengths[row] + 0.01 * reach, row, text, va="center", fontsize=8.5)
        if mean is not None:
            axes.axvline(mean, color="black", lw=1.0, ls=(0, (4, 3)), alpha=0.7)
            axes.text(
                mean, -0.75, f"mean {mean:.{digits}f}", ha="center", va="bottom", fontsize=8.5
            )
        axes.set_xlim(0, (1.3 if narrow else 1.1) * reach)
        axes.set_xlabel(xlabel)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", alpha=0.18, color="black", lw=0.8)
        axes.set_axisbelow(True)

    height = 0.8 + 0.27 * len(labels)
    return chart(draw, height, height, alt, caption)


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
    names = [line.name for line in lines if not line.faint]

    def draw(axes: "matplotlib.axes.Axes", narrow: bool) -> None:
        for line, style in _styles(lines):
            axes.plot(line.x, line.y, label=None if line.faint else line.name, **style)
        axes.set(xlabel=xlabel, ylabel=ylabel)
        if logy:
            _log_axis(axes)
        if ylim is not None:
            axes.set_ylim(*ylim)
        axes.margins(x=0.01)
        axes.grid(alpha=0.18, color="black", lw=0.8)
        if not names:
            return
        drawn = dict(zip(*axes.get_legend_handles_labels()[::-1], strict=True))
        place: dict[str, Any] = dict(frameon=False, fontsize=9)
        if narrow:  # above, where it covers no line
            place |= dict(loc="outside upper left", ncols=columns, borderaxespad=0, columnspacing=1)
        of = axes.figure if narrow else axes
        of.legend([drawn[name] for name in names], names, **place)

    columns = 2 if max(map(len, names), default=0) <= _SHORT else 1
    return chart(draw, 4.3, 2.6 + 0.2 * math.ceil(len(names) / columns), alt, caption)


def _styles(lines: Sequence[Curve]) -> list[tuple[Curve, dict[str, Any]]]:
    """The lines in the order in which they are drawn, and how."""
    palette = iter(COLOURS[1:] * (1 + len(lines)))
    styled = []
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
        styled.append((line, style))
    return styled


def chart(
    draw: Callable[["matplotlib.axes.Axes", bool], None],
    height: float,
    narrow_height: float,
    alt: str,
    caption: str = "",
) -> Image:
    """What `draw(axes, narrow)` draws, in inches WIDE x height and NARROW x narrow_height."""
    drawn = []
    for narrow, size in enumerate([(WIDE, height), (NARROW, narrow_height)]):
        plot = figure(*size)
        axes = plot.subplots()
        draw(axes, bool(narrow))
        axes.spines[["top", "right"]].set_visible(False)
        drawn.append(svg_uri(plot))
    return Image(drawn[0], alt, caption, width=css_px(WIDE), narrow=drawn[1])


def svg_uri(plot: "matplotlib.figure.Figure") -> str:
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
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def css_px(inches: float) -> int:
    """Width of a figure on the page, at most."""
    return round(96 * inches * _ENLARGED)


def _log_axis(axes: "matplotlib.axes.Axes") -> None:
    """A logarithmic y axis with plain numbers, also between the decades where there is room."""
    from matplotlib.ticker import LogFormatter

    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(LogFormatter())
    axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1.5, 0.5)))


def figure(width: float, height: float) -> "matplotlib.figure.Figure":
    """An empty figure, inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")
