"""The docs as a site: `python -m sphinx -W --keep-going -b html docs runs/site`.

Pages are plain Markdown that GitHub shows as well. Three things are done here instead of in them:
docstrings become reST, notes that lie beside the code they describe become sections of a page, and
links to other files of the clone become downloads.
"""

import os
import re
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import handjax  # noqa: E402

project = "handjax"
author = copyright = "The handjax authors"
version = release = handjax.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc"]
exclude_patterns = ["pictures"]
html_theme = "furo"
html_title = f"handjax {release}"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_copy_source = False

nb_execution_mode = "off"  # a notebook shows what is saved in it; a test compares

myst_heading_anchors = 4  # links such as data_sets.md#add-a-data-set
highlight_language = "none"  # of blocks that name no language

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
maximum_signature_line_length = 80

# ---------------------------------------------------------------- notes beside the code

# Page → the files that it ends with. Links to them lead to their sections.
NOTES = {
    "data_sets": sorted((ROOT / "handjax" / "data" / "sets").glob("*/README.md")),
    "v2v": [ROOT / "handjax" / "models" / "v2v.md"],
    "handnet": [ROOT / "handjax" / "models" / "handnet.md"],
    "spherehand": [ROOT / "handjax" / "models" / "spherenet.md"],
}
SECTIONS = {path: page for page, paths in NOTES.items() for path in paths}
LINK = re.compile(r"(?<=\]\()(?!https?:)([^)\s#]+)(?=[)#])")
PAGE_AS_TEXT = re.compile(r"\[(?:\w+/)*(\w+)\.md\](?=\()")


def label(note: Path) -> str:
    """The name of a note: that of its data set or of its network."""
    return f"notes-{(note.parent.name if note.stem == 'README' else note.stem).replace('_', '-')}"


def title(page: re.Match[str]) -> str:
    """[cpm.md] → [CPM]: pages of a site have titles, and no files."""
    file = DOCS / f"{page[1]}.md"
    if not file.exists():
        return page[0]
    return f"[{file.read_text().partition(chr(10))[0].removeprefix('# ').partition(':')[0]}]"


def lead_on(text: str, folder: Path) -> str:
    """Markdown of a file in `folder`, with links as a page in docs/ needs them."""

    def target(link: re.Match[str]) -> str:
        path = (folder / link[1]).resolve()
        if path in SECTIONS:  # headings of a note are headings of its page
            has_heading = link.string[link.end()] == "#"
            return f"{SECTIONS[path]}.md" if has_heading else f"#{label(path)}"
        return Path(os.path.relpath(path, DOCS)).as_posix()

    return LINK.sub(target, PAGE_AS_TEXT.sub(title, text))


def section(note: Path) -> str:
    text = lead_on(note.read_text(), note.parent)
    if text.startswith("# "):
        text = re.sub(r"^#", "##", text, flags=re.MULTILINE)
    else:
        text = f"## Notes: {note.parent.name}\n\n{text}"
    return f"\n\n({label(note)})=\n{text}"


THREADS = re.compile(r"([\w.-]+/[\w.-]+)#(\d+(?:, #\d+)*)")


def link_threads(named: re.Match[str]) -> str:
    """owner/repo#1, #2, as GitHub links them."""
    where = f"https://github.com/{named[1]}/issues"
    numbers = named[2].split(", #")
    links = [f"[#{number}]({where}/{number})" for number in numbers]
    return f"[{named[1]}#{numbers[0]}]({where}/{numbers[0]})" + "".join(f", {x}" for x in links[1:])


def add_notes(app, page: str, source: list[str]) -> None:
    if app.env.doc2path(page).suffix == ".ipynb":
        return
    text = lead_on(source[0], DOCS) + "".join(map(section, NOTES.get(page, ())))
    source[0] = THREADS.sub(link_threads, text) if page == "faq" else text


# ---------------------------------------------------------------- docstrings

CODE = re.compile(r"`([^`]+)`")


def as_rest(paragraph: list[str]) -> list[str]:
    """A paragraph of a docstring: prose, a list, or lines whose columns and indents mean
    something."""
    is_list = paragraph[0].startswith("- ")
    indents = () if is_list else (line for line in paragraph if line.startswith(" "))
    if any(indents) or any(re.search(r"\S {2,}\S", line) for line in paragraph):
        return ["::", "", *(f"    {line}" for line in paragraph)]
    parts = CODE.split("\n".join(paragraph))
    parts[::2] = [re.sub(r"([\\*_|])", r"\\\1", part) for part in parts[::2]]
    parts[1::2] = [f"``{part}``" for part in parts[1::2]]
    return "".join(parts).splitlines()


def docstring(app, what: str, name: str, thing: object, options, lines: list[str]) -> None:
    """Docstrings are plain text with `code` in backticks."""
    paragraphs: list[list[str]] = [[]]
    for line in lines:
        if line.strip():
            paragraphs[-1].append(line)
        elif paragraphs[-1]:
            paragraphs.append([])
    lines[:] = [line for one in paragraphs if one for line in (*as_rest(one), "")]


def signature(app, what: str, name: str, thing: object, options, arguments, result):
    """Arrays by their public name."""
    return [text and text.replace("jaxlib._jax.Array", "Array") for text in (arguments, result)]


def setup(app) -> dict[str, bool]:
    app.connect("source-read", add_notes)
    app.connect("autodoc-process-docstring", docstring)
    app.connect("autodoc-process-signature", signature)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
