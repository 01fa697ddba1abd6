"""A self-contained HTML page of numbers, tables and charts: no request, light and dark, any width.

A report is a list of sections; a section is a heading and blocks; a block comes from the helpers
below or is a string, which becomes a paragraph. The template is `page.html`. Existing files are not
overwritten. Galleries show copies of image files, and lead to the files, next to the page. The one
script, `turning.js`, is in pages with a view that turns.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

import numpy as np

from handjax.engine.files import new_path
from handjax.pose.skeleton import Skeleton

Cell = str | int | float | None


@dataclass(frozen=True)
class Image:
    """An image as a data URI, with alt text and caption."""

    uri: str
    alt: str
    caption: str
    width: int  # CSS pixels, at most
    link: str = ""  # of a gallery's image: path of its file; `uri` is a small copy
    narrow: str = ""  # a chart for phones, as a data URI
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
class Gallery:
    """Many small images side by side; each links to its file."""

    items: tuple[Image, ...]
    kind: str = "gallery"


@dataclass(frozen=True)
class Frames:
    """Drawn frames side by side, as many as fit, with a caption of all."""

    items: tuple[Image, ...]
    caption: str
    kind: str = "frames"


@dataclass(frozen=True)
class Legend:
    """What colors mean; with `truth` also how the ground truth is drawn."""

    items: tuple[tuple[str, str], ...]  # name, "#rrggbb"
    truth: bool
    kind: str = "legend"


@dataclass(frozen=True)
class Turning:
    """Poses in space, one at a time, that turn by themselves, by the pointer and by keys."""

    data: str  # JSON, see `turning`
    alt: str
    titles: tuple[str, ...]
    kind: str = "turning"


Block = str | Image | Table | Keys | Gallery | Frames | Legend | Turning


@dataclass(frozen=True)
class Section:
    heading: str
    blocks: tuple[Block, ...]


def section(heading: str, *blocks: Block) -> Section:
    return Section(heading, blocks)


def keys(*items: Key) -> Keys:
    """A row of cards."""
    return Keys(items)


def gallery(images: Sequence[tuple[str, str, str]], copies: Mapping[str, str]) -> Gallery:
    """Images next to the page: (path relative to the page, alt text, caption). `copies`: path →
    a small copy as a data URI, which the page holds."""
    return Gallery(
        tuple(
            Image(copies[path], alt, caption, width=0, link=quote(path))
            for path, alt, caption in images
        )
    )


def frames(drawn: Sequence[Image], caption: str) -> Frames:
    """Drawn frames, each with its own caption."""
    return Frames(tuple(drawn), caption)


_LEGEND = 7  # groups that a legend has room for; the table of joints has a row for each


def legend(skeleton: Skeleton, truth: bool = False) -> Legend:
    """The colors of a skeleton's fingers, limbs or joints."""
    colours = dict(zip(skeleton.groups, skeleton.colours, strict=True))
    if len(colours) > _LEGEND:
        return Legend((("prediction, a color per joint", skeleton.colours[0]),), truth)
    return Legend(tuple((name.replace("_", " "), c) for name, c in colours.items()), truth)


def turning(
    poses: Sequence[tuple[str, np.ndarray, np.ndarray | None]], skeleton: Skeleton, alt: str
) -> Turning:
    """(title, predicted joints [j, 3], true ones or None) of each frame: x right, y down, z away.

    Joints that are not finite are not drawn.
    """

    def plain(joints: np.ndarray | None) -> list[list[float] | None] | None:
        if joints is None:
            return None
        rows = np.asarray(joints, np.float64).round(1)
        return [row.tolist() if np.isfinite(row).all() else None for row in rows]

    data = {
        "bones": skeleton.bones,
        "colours": skeleton.colours,
        "poses": [[plain(pred), plain(true)] for _, pred, true in poses],
    }
    # Within a script element "<" could end it.
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    return Turning(text, alt, tuple(title for title, *_ in poses))


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
    here = Path(__file__).parent
    template = (here / "page.html").read_text(encoding="utf-8")
    turns = any(isinstance(block, Turning) for one in sections for block in one.blocks)
    script = (here / "turning.js").read_text(encoding="utf-8") if turns else ""
    page = environment.from_string(template).render(
        script=script,
        title=title,
        subtitle=subtitle,
        sections=sections,
        footer=" · ".join(filter(None, (footer, written))),
    )
    with new_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return Path(path)


def _number(cell: Cell, digits: int) -> str:
    if cell is None:
        return "–"
    return f"{cell:,}" if isinstance(cell, int) else f"{cell:,.{digits}f}"
