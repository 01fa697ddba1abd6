"""README and docs against the code: every command parses, every example runs, every link leads on.

Commands that need data or hours are parsed by the real parser, and the config of a training is
loaded with its overrides. `tests/test_api.py` runs the README's Python example, `.ci/run` its test
command, and `tests/e2e` trains `configs/v2v.py:quick`.
"""

import argparse
import importlib
import json
import re
import runpy
import shlex
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import handjax
from handjax import __main__ as console
from handjax.engine import cli
from handjax.engine import config as configs

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES += [ROOT / name / "README.md" for name in ("custom_ops", "examples", "findings")]
CARDS = sorted((ROOT / "handjax" / "models").glob("*.md"))  # of included models
PAGES += CARDS
PAGES += sorted((ROOT / "handjax" / "data" / "sets").glob("*/README.md"))
# A value that stands for the reader's own, as in FX,FY,CX,CY → one that the parser accepts.
STANDS_FOR = {"FX,FY,CX,CY": "475,475,320,240", "NAME": "rhd", "HEAD": "integral"}


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str) -> list[str]:
    """Fenced code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def commands() -> list[tuple[str, str]]:
    """(page, command) of the bash blocks and the indented blocks."""
    found = []
    for page in PAGES:
        text = page.read_text().replace("\\\n", " ")
        lines = [line for block in blocks(page, "bash") for line in joined(block)]
        indented = re.findall(r"^    (?:\$ )?((?:python|handjax) .*)$", text, re.MULTILINE)
        lines += scripted(page) if page in CARDS else indented
        found += [(name(page), part.strip()) for line in lines for part in line.split(" && ")]
    wanted = re.compile(r"(python |handjax |bash |pip )")
    return sorted({(page, " ".join(c.split())) for page, c in found if wanted.match(c)})


def scripted(page: Path) -> list[str]:
    """The commands of a page whose indented blocks are one shell script, variables and all: it is
    run, with functions that print in place of the programs."""
    lines = re.findall(r"^    .*$", page.read_text(), re.MULTILINE)
    says = "".join(
        f'{program}() {{ printf "%q " {program} "$@"; echo; }}\n'
        for program in ("handjax", "python")
    )
    script = says + textwrap.dedent("\n".join(lines))
    run = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, check=True)
    assert not run.stderr, run.stderr
    return run.stdout.splitlines()


def joined(block: str) -> list[str]:
    """Lines of a block, those that end in a backslash joined with the next."""
    return block.replace("\\\n", " ").splitlines()


def mentions() -> list[tuple[str, str]]:
    """(page, command) of code spans, which may leave out arguments."""
    programs = rf"handjax (?:{'|'.join(console.COMMANDS)})\b|python (?:scripts/|benchmarks/)"
    span = re.compile(rf"`((?:{programs}|python -m benchmarks)[^`]*)`")
    return sorted(
        {(name(p), " ".join(c.split())) for p in PAGES for c in span.findall(p.read_text())}
    )


class Parsed(Exception):
    """Raised in place of what a command would do once its arguments are parsed."""


@pytest.fixture
def parser_of(monkeypatch):
    """parser_of(words, parse) → the parser of a command, having parsed the words if `parse`."""
    monkeypatch.chdir(ROOT)

    def run(words: list[str], parse: bool) -> argparse.ArgumentParser:
        for kind in (argparse.ArgumentParser, cli.Parser):

            def parse_args(self, *args, real=kind.parse_args):
                if parse:
                    real(self, *args)
                raise Parsed(self)

            monkeypatch.setattr(kind, "parse_args", parse_args)
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(Parsed) as caught:
            if words[0] == "handjax":
                console.main(words[1:])
            elif words[0] == "-m":
                monkeypatch.setattr(sys, "argv", words[1:])
                monkeypatch.delitem(sys.modules, words[1], raising=False)  # or runpy warns
                runpy.run_module(words[1], run_name="__main__")
            else:
                monkeypatch.syspath_prepend(str((ROOT / words[0]).parent))
                runpy.run_path(words[0], run_name="__main__")
        return caught.value.args[0]

    return run


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    """All flags of a parser and of its sub-commands."""
    found = set()
    for action in parser._actions:
        found |= set(action.option_strings)
        if isinstance(action, argparse._SubParsersAction):
            found |= {flag for sub in action.choices.values() for flag in options_of(sub)}
    return found


COMMANDS, MENTIONS = commands(), mentions()
# Shown because it is refused, with the answer below it.
REFUSED = "--with_dnst"


def slow_if(needs_package: bool, *values: object) -> object:
    """Parameters of a test that may need a package of the extra `test-all`."""
    return pytest.param(*values, marks=pytest.mark.slow if needs_package else ())


@pytest.mark.parametrize(
    ("page", "command"),
    [slow_if(" examples/" in c, p, c) for p, c in COMMANDS],
)
def test_command_of_the_docs_parses(page, command, parser_of):
    words = [STANDS_FOR.get(word, word) for word in shlex.split(command, comments=True)]
    if words[0] == "pip":
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        for group in re.findall(r"\[([\w,]+)\]", command):
            assert set(group.split(",")) <= set(project["optional-dependencies"])
    elif words[0] == "bash":
        assert (ROOT / words[1]).is_file() or "NAME" in words[1]
    elif REFUSED in command:
        with pytest.raises(ValueError, match=REFUSED):
            console.main(words[1:])
    else:
        parser_of(words[words[0] == "python" :], parse=True)
        if words[:2] == ["handjax", "train"]:
            argv, overrides = cli.split_overrides(words[2:])
            spec = argv[argv.index("--config") + 1].replace(":HEAD", ":integral")
            configs.load(spec, overrides)


@pytest.mark.parametrize(("page", "command"), MENTIONS)
def test_command_named_in_the_docs_exists(page, command, parser_of):
    words = shlex.split(command)
    words = words[words[0] == "python" :]
    flags = {word.partition("=")[0] for word in words if word.startswith("--")}
    named = 1 if words[0].startswith(("scripts/", "benchmarks/")) else 2
    if words[0] == "handjax" and len(words) > 2 and words[2].isalpha():  # predict images
        named = 3
    known = options_of(parser_of(words[:named], parse=False))
    assert {flag for flag in flags if not flag.startswith("--config.")} <= known


def test_pages_have_commands():
    assert len(COMMANDS) > 40 and len(MENTIONS) > 10
    pages = {page for page, _ in COMMANDS}
    assert {"README.md", "docs/v2v.md", "docs/body.md", "examples/README.md"} <= pages
    assert {name(card) for card in CARDS} <= pages


# Programs of others in the docs' commands.
OTHERS = {"pytest", "python3", ".", "pre-commit", "npm", "mp/bin/pip", "export", "#"}
# Language of a block → how it is checked, besides the commands and the Python above.
LANGUAGES = {"bash", "bibtex", "html", "json", "python", "text", "{eval-rst}", "{toctree}"}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_no_block_of_the_docs_is_left_out(page):
    fences = re.findall(r"^ *```(.*)$", page.read_text(), re.MULTILINE)
    assert set(fences[::2]) <= LANGUAGES and not any(fences[1::2])
    for block in blocks(page, "json"):
        json.loads(block)
    for block in blocks(page, "bash"):
        assert not subprocess.run(["bash", "-nc", block], capture_output=True).returncode
        parts = [part.split() for line in joined(block) for part in line.split(" && ")]
        known = {command.split()[0] for _, command in COMMANDS} | OTHERS
        assert {part[0] for part in parts if part} <= known


@pytest.mark.slow
def test_rasterizer_example_runs():
    (code,) = blocks(ROOT / "docs" / "rasterizer.md", "python")
    vertices = jnp.array([[[-100.0, -100, 500], [100, -100, 500], [0, 100, 600]]])
    given = {
        "vertices": vertices,
        "vertex_normals": jnp.ones_like(vertices),
        "faces": jnp.array([[0, 1, 2]]),
        "k": jnp.array([[[500.0, 0, 320], [0, 500, 240], [0, 0, 1]]]),
    }
    exec(compile(code, "docs/rasterizer.md", "exec"), given)
    depth, face = jax.device_get((given["depth"], given["face"]))
    assert depth.shape == face.shape == (1, 480, 640)
    assert 500 < depth[0, 240, 320] < 600 and face[0, 0, 0] == -1
    assert given["normals"].shape == (1, 480, 640, 3)


@pytest.mark.parametrize("page", [slow_if(p.stem == "cpm", p) for p in PAGES])
def test_python_of_the_docs_imports_what_is_there(page):
    for code in blocks(page, "python"):
        compile(code, name(page), "exec")
        for module, names in re.findall(r"^from (handjax[\w.]*) import (.+)$", code, re.MULTILINE):
            for wanted in names.split(", "):
                assert hasattr(importlib.import_module(module), wanted)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_of_the_docs_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if not target.startswith("http"):
            path, _, anchor = target.partition("#")
            file = page.parent / path if path else page
            assert file.exists(), target
            titles = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE) if anchor else []
            slugs = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}
            assert not anchor or anchor in slugs, target


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_of_the_docs_lead_somewhere_in_the_site(page):
    """A note beside the code is a section of a page there: a link to it, or to a heading of it."""
    site = runpy.run_path(str(ROOT / "docs" / "conf.py"))
    labels = {site["label"](note) for note in site["SECTIONS"]}
    text = site["lead_on"](page.read_text(), page.parent)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith("http"):
            path, _, anchor = target.partition("#")
            assert (ROOT / "docs" / path).exists() if path else anchor.count("#") == 0, target
            assert path or not anchor.startswith("notes-") or anchor in labels, target


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_paths_named_in_the_docs_exist(page):
    text = page.read_text()
    for path in re.findall(
        r"`((?:handjax|configs|scripts|custom_ops|benchmarks|tests)/[^`\s]*)`", text
    ):
        path = path.partition(":")[0].rstrip("/")
        if not re.search(r"[<>*{]|NAME|\.\.\.|FILE", path):
            assert (ROOT / path).exists(), path


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_names_in_the_docs_exist(page):
    """Dotted names of handjax in code spans, such as `pose.joint_orders.ORDERS`."""
    packages = {p.parent.name for p in (ROOT / "handjax").glob("*/__init__.py")}
    packages -= {"data"}  # config keys begin with it, too
    dotted = re.compile(rf"`(?:handjax\.)?((?:{'|'.join(packages)})(?:\.\w+)+)`")
    for found in dotted.findall(page.read_text()):
        if not found.endswith(".py"):
            module, _, attribute = f"handjax.{found}".rpartition(".")
            try:
                importlib.import_module(f"handjax.{found}")
            except ModuleNotFoundError:
                assert hasattr(importlib.import_module(module), attribute), found


def test_recipes_of_the_docs_are_those_of_the_script():
    recipes = runpy.run_path(str(ROOT / "scripts" / "reproduce.py"))["RECIPES"]
    text = (ROOT / "docs" / "reproduce.md").read_text()
    table = text.partition("<!-- checked: recipes -->")[2].partition("<!-- end -->")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[3:]]
    assert [row[0] for row in rows] == [f"`{' '.join(pair)}`" for pair in recipes]
    for (_, metric, published, raw, by_hand), recipe in zip(rows, recipes.values(), strict=True):
        value = "–" if recipe.published is None else f"{recipe.published:g}"
        assert (metric, published) == (f"`{recipe.metric}`", value)
        assert set(re.findall(r"`(\w+)`", raw)) == {name for name, _ in recipe.prepared}
        trained = dict.fromkeys(training.config for training in recipe.trainings)
        assert re.findall(r"`([^`]+)`", by_hand) == [*trained]
        refined = any("center=refined" in "".join(t.overrides) for t in recipe.trainings)
        assert refined == ("refined centers" in raw)


def test_costs_of_the_docs_are_those_of_the_script():
    script = runpy.run_path(str(ROOT / "scripts" / "reproduce.py"))
    text = (ROOT / "docs" / "reproduce.md").read_text()
    table = text.partition("<!-- checked: costs -->")[2].partition("<!-- end -->")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[3:]]
    assert [row[0] for row in rows] == [f"`{' '.join(pair)}`" for pair in script["RECIPES"]]
    for (_, millions, each, *costs), recipe in zip(rows, script["RECIPES"].values(), strict=True):
        petaflop, hours, gigabytes = map(float, costs)
        assert (petaflop, gigabytes) == (recipe.petaflop, recipe.gigabytes)
        assert float(millions) * float(each) == pytest.approx(petaflop, rel=0.02)
        assert hours == round(petaflop / script["TERAFLOPS"] / 3.6)


def test_lines_are_at_most_100_columns():
    """Prose and C++; ruff counts Python. Tables and links cannot wrap."""
    files = [*PAGES, ROOT / "CHANGELOG.md", ROOT / "pyproject.toml", ROOT / ".ci" / "run"]
    files += [
        p for p in (ROOT / "custom_ops").iterdir() if p.suffix in (".cc", ".cu", ".h", ".txt")
    ]
    files += [*(ROOT / "tests" / "kernels").glob("cuda_on_host.*")]
    long = [
        f"{name(file)}:{number}"
        for file in files
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if len(line) > 100 and not (file.suffix == ".md" and line.lstrip().startswith("|"))
        if "](http" not in line
    ]
    assert not long, "\n".join(long)


WRITES = {"--workdir", "--output", "--out", "--json", "--report", "--data_dir", "--submission"}


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_git_ignores_what_the_commands_of_the_docs_write(page, command):
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone")
    words = shlex.split(command.replace("=", " "), comments=True)
    for flag, path in zip(words, words[1:], strict=False):
        if flag in WRITES and not path.isupper() and not path.startswith(("/", "~", "-", "$")):
            done = subprocess.run(["git", "check-ignore", "-q", f"{path}/x"], cwd=ROOT)
            assert done.returncode == 0, f"{path}: name a folder below runs/"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_git_ignores_what_the_python_of_the_docs_writes(page):
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone")
    for code in blocks(page, "python"):
        for path in re.findall(r"""\.(?:save|write)\("([^"]+)""", code):
            done = subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT)
            assert done.returncode == 0, f"{path}: name a file that .gitignore leaves out"


def test_the_version_is_the_same_everywhere():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert handjax.__version__ == version
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"Version {version}" in (ROOT / "README.md").read_text()
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text()
