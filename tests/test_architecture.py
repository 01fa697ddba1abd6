"""Which package may import which, and what may happen at import, read from syntax trees.

docs/architecture.md shows the same tables; a test compares them.
"""

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "handjax"

# What it takes to open a trained network and to apply it.
NETWORKS = {"run", "sources", "fitting", "data", "rigs", "targets", "models", "ops"}
NETWORKS |= {"pose", "engine"}
# Package → the other packages it may import. Downward only.
PACKAGES = {
    "engine": set(),
    "ops": set(),
    "pose": set(),
    "models": {"ops", "engine"},
    "targets": {"ops", "pose"},
    "metrics": {"pose"},
    "rigs": {"ops", "pose"},
    "synthetic": {"rigs", "ops", "pose"},
    "fitting": {"rigs", "targets", "models", "engine", "ops", "pose"},
    "reports": {"metrics", "pose", "data", "engine"},
    "data": {"engine", "targets", "pose", "synthetic", "rigs", "ops"},
    "sources": {"engine", "data", "synthetic", "rigs", "pose"},
    "tasks": {"models", "targets", "metrics", "fitting", "rigs", "pose", "engine"},
    "run": {"engine", "sources", "tasks", "pose"},  # a module: what commands and prediction share
    "prediction": {*NETWORKS, "tasks", "reports"},
    "realframes": {
        "prediction",
        "reports",
        "fitting",
        "data",
        "rigs",
        "metrics",
        "pose",
        "engine",
    },
    "exporter": {*NETWORKS, "prediction", "synthetic"},
    "viewer": {"prediction", "fitting", "data", "synthetic", "rigs", "ops", "pose", "engine"},
}
# Command, a module at the top level → the other commands it may import.
COMMANDS = {
    "bench": set(),
    "train": set(),
    "evaluate": set(),
    "report": set(),
    "predict": set(),
    "prepare": set(),
    "view": set(),
    "export": set(),
    "__main__": set(),  # finds the others by their names
}
COMMANDS_MAY = set(PACKAGES) - {"models", "ops"}
# Within an allowed pair of packages, only these files of the first may import the second.
ONLY = {("data", there): "data/**fake*.py" for there in ("synthetic", "rigs", "ops")}
# External package → the only files that may import it.
EXTERNAL = {
    "tensorflow": ["data/*", "exporter/tensorflow_files.py"],
    "tensorflow_datasets": ["data/*"],
    "torch": [],
    "optax": ["engine/*", "fitting/solver.py"],
    "jax._src": [],
    "pickle": ["data/formats/unpickle.py", "data/sets/rhd/fake.py"]  # fakes only write
    + ["data/sets/ho3d/fake.py"],
    **{
        unsafe: ["data/formats/unpickle.py"]
        for unsafe in ("_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal")
    },
}
# Files → all that they may import besides the standard library. The first match counts.
LEAN = {
    "reports/drawing.py": {"jaxtyping", "matplotlib", "numpy"},
    "pose/*": {"jax", "jaxtyping", "numpy"},
    "ops/*": {"jax", "jaxtyping", "numpy"},
    "metrics/*": {"jax", "jaxtyping", "numpy"},
}
# Calls that run text as code.
RUNS_TEXT = {"eval", "exec", "compile", "__import__", "builtins.eval", "builtins.exec"}
# JAX calls allowed at import: they wrap a function or register a class. Others build an array,
# initialize a device, or change the settings of whoever imports us.
WRAPS = {
    "jax.checkpoint",
    "jax.custom_jvp",
    "jax.custom_vjp",
    "jax.jit",
    "jax.named_call",
    "jax.named_scope",
    "jax.tree_util.Partial",
    "jax.tree_util.register_dataclass",
    "jax.tree_util.register_pytree_node",
    "jax.tree_util.register_pytree_node_class",
    "jax.tree_util.register_static",
    "jax.vmap",
}
# Functions that read a file.
READS = {
    "open",
    "read_text",
    "read_bytes",
    "fromfile",
    "genfromtxt",
    "imread",
    "load",
    "loadtxt",
    "memmap",
    "File",
}
# Distribution → what it is imported as, where the names differ.
IMPORTED_AS = {
    "ai-edge-litert": "ai_edge_litert",
    "apache-beam": "apache_beam",
    "opencv-python-headless": "cv2",
    "orbax-checkpoint": "orbax",
    "pillow": "PIL",
    "pyyaml": "yaml",
    "tensorflow-cpu": "tensorflow",
    "tensorflow-datasets": "tensorflow_datasets",
}


# Imported by a program that the Python of another environment runs.
ELSEWHERE = {"mediapipe", "rtmlib"}


def broken_rules(path: str, source: str) -> list[str]:
    """Rules that the module at `path` (below handjax/) breaks, as "path:line what"."""
    tree = ast.parse(source)
    names = aliases(tree, path)
    found = []
    for node in ast.walk(tree):
        for module in imports(node, path):
            found += [(node, what) for what in broken_by_import(path, module)]
        if isinstance(node, ast.Attribute) and dotted(node, names).startswith("jax._src"):
            found.append((node, "uses jax._src"))
        if isinstance(node, ast.Call):
            if dotted(node.func, names) in RUNS_TEXT:
                found.append((node, f"runs text as code: {dotted(node.func, names)}"))
            for keyword in node.keywords:
                if (
                    keyword.arg == "allow_pickle"
                    and getattr(keyword.value, "value", None) is not False
                ):
                    found.append((node, "allow_pickle is always False"))
    for node in at_import(tree):
        if isinstance(node, ast.Call):
            name = dotted(node.func, names)
            if name.split(".")[0] == "jax" and name not in WRAPS:
                found.append((node, f"calls {name} at import"))
            if name.split(".")[-1] in READS:
                found.append((node, f"reads a file at import: {name}"))
    return sorted({f"{path}:{node.lineno} {what}" for node, what in found})


def package_of(path: str) -> str:
    """The package of a file, or a command's name; "" for handjax/__init__.py."""
    first = path.split("/")[0]
    return first if "/" in path else first.removesuffix(".py").removeprefix("__init__")


def broken_by_import(path: str, module: str) -> Iterator[str]:
    top, _, rest = module.partition(".")
    if top == "handjax":
        here, there = package_of(path), rest.split(".")[0]
        if there == here or there.startswith("__"):  # __version__
            return
        if here in PACKAGES:
            allowed = there in PACKAGES[here] and fnmatch(path, ONLY.get((here, there), "*"))
        elif here in COMMANDS:
            allowed = there in COMMANDS_MAY | COMMANDS[here]
        else:
            # The public API of handjax/__init__.py: loading a network, keeping programs.
            allowed = not here and there in ("prediction", "engine")
        if not allowed:
            yield f"{here or 'handjax'} may not import {there or 'handjax'}"
    for package, files in EXTERNAL.items():
        if f"{module}.".startswith(f"{package}.") and not any(
            fnmatch(path, file) for file in files
        ):
            yield f"imports {package}, which only {files or 'no file here'} may"
    lean = next((known for file, known in LEAN.items() if fnmatch(path, file)), None)
    if lean is not None and top not in lean | sys.stdlib_module_names | {"handjax"}:
        yield f"imports {top} where only {sorted(lean)} may be known"


def imports(node: ast.AST, path: str) -> Iterator[str]:
    """Absolute names of the modules that a node imports."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = origin(node, path)
        # "from jax import _src" imports jax._src; other names are harmless as a deeper path.
        yield from (f"{base}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Call) and dotted(node.func, {}).split(".")[-1] in (
        "import_module",
        "__import__",
    ):
        yield from (
            a.value
            for a in node.args[:1]
            if isinstance(a, ast.Constant) and isinstance(a.value, str)
        )


def origin(node: ast.ImportFrom, path: str) -> str:
    """The module a `from ... import` takes from."""
    if not node.level:
        return node.module
    package = ["handjax", *path.split("/")[:-1]]
    return ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])])


def aliases(tree: ast.Module, path: str) -> dict[str, str]:
    """Local name → what was imported under it: {"jnp": "jax.numpy"}."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {a.asname: a.name for a in node.names if a.asname}
        elif isinstance(node, ast.ImportFrom):
            names |= {a.asname or a.name: f"{origin(node, path)}.{a.name}" for a in node.names}
    return names


def dotted(node: ast.AST, names: dict[str, str]) -> str:
    """`jnp.linalg.norm` → "jax.numpy.linalg.norm"; "?" stands for what is no name."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value, names)}.{node.attr}"
    return "?"


def at_import(node: ast.AST) -> Iterator[ast.AST]:
    """Nodes that run when the module is imported: class bodies, decorators, defaults."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        below = [*node.decorator_list, *node.args.defaults, *filter(None, node.args.kw_defaults)]
    elif isinstance(node, ast.Lambda):
        below = [*node.args.defaults, *filter(None, node.args.kw_defaults)]
    elif isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'":
        below = node.orelse
    else:
        below = ast.iter_child_nodes(node)
    for child in below:
        yield child
        yield from at_import(child)


def modules() -> dict[str, str]:
    """Path below handjax/ → source."""
    return {p.relative_to(PACKAGE).as_posix(): p.read_text() for p in sorted(PACKAGE.rglob("*.py"))}


@pytest.mark.slow
def test_the_package_keeps_the_rules():
    broken = [line for path, source in modules().items() for line in broken_rules(path, source)]
    assert not broken, "\n" + "\n".join(broken)


def test_every_package_and_command_is_in_the_tables():
    packages = {p.parent.name for p in PACKAGE.glob("*/__init__.py")}
    top = {p.stem for p in PACKAGE.glob("*.py")} - {"__init__"}
    assert packages | {"run"} == set(PACKAGES)
    assert top - {"run"} == set(COMMANDS)
    assert len(top) <= 10


def table(name: str) -> dict[str, set[str]]:
    """First column → names in the last one, of the table marked `checked: name` in the docs."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    (rows,) = re.findall(rf"<!-- checked: {name} -->\n(.*?)<!-- end -->", page, re.DOTALL)
    cells = [row.strip("| \n").split(" | ") for row in rows.splitlines()[2:]]
    return {cell[0].strip("`"): set(cell[-1].split(", ")) - {"–"} for cell in cells}


def test_the_docs_have_the_same_tables():
    assert table("packages") == PACKAGES
    assert table("commands") == {f"{name}.py": may for name, may in COMMANDS.items()}


def test_no_package_imports_itself_by_a_detour():
    def reach(package):
        return PACKAGES[package] | {far for near in PACKAGES[package] for far in reach(near)}

    assert not [package for package in PACKAGES if package in reach(package)]


def test_every_package_imported_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    users = set(extras) - {"test", "test-all", "dev"}
    wanted = project["dependencies"] + [line for name in users for line in extras[name]]
    distributions = {re.match(r"[\w.-]+", line).group() for line in wanted}
    declared = {IMPORTED_AS.get(name, name) for name in distributions}
    used = {
        module.split(".")[0]
        for path, source in modules().items()
        for node in ast.walk(ast.parse(source))
        for module in imports(node, path)
    }
    assert used - sys.stdlib_module_names - {"handjax"} - declared == ELSEWHERE


def public_functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    """Public functions of a module and public methods of its public classes."""
    for node in tree.body:
        inside = node.body if isinstance(node, ast.ClassDef) else [node]
        owner = f"{node.name}." if isinstance(node, ast.ClassDef) else ""
        for inner in inside:
            if isinstance(inner, ast.FunctionDef):
                special = inner.name in ("__init__", "__call__")
                public = special or not inner.name.startswith("_")
                if public and not owner.startswith("_"):
                    yield owner + inner.name, inner


def test_public_parameters_are_annotated():
    missing = []
    for path, source in modules().items():
        for name, function in public_functions(ast.parse(source)):
            given = function.args
            every = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
            bare = [a.arg for a in every if a and a.annotation is None]
            missing += [f"{path} {name}({a})" for a in bare if a not in ("self", "cls")]
    assert not missing, "\n".join(missing)


def named_sizes(annotation: ast.AST, inside: bool = False) -> Iterator[str]:
    """Array types with named dimensions within a list, a sequence or a mapping."""
    if not isinstance(annotation, ast.Subscript):
        for child in ast.iter_child_nodes(annotation):
            yield from named_sizes(child, inside)
        return
    holder = ast.unparse(annotation.value).rpartition(".")[2]
    shape = annotation.slice.elts[-1] if isinstance(annotation.slice, ast.Tuple) else None
    if isinstance(shape, ast.Constant) and isinstance(shape.value, str):
        if inside and holder != "Literal" and re.search(r"\b[a-z]", shape.value):
            yield ast.unparse(annotation)
        return
    many = holder in ("Sequence", "list", "dict", "Mapping", "Iterable")
    yield from named_sizes(annotation.slice, inside or many)


def test_items_of_a_parameter_may_differ_in_size():
    """One item is checked before a call and, by chance, another after it: no name fits both."""
    found = []
    for path, source in modules().items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.arg) and node.annotation:
                found += [f"{path} {node.arg}: {x}" for x in named_sizes(node.annotation)]
    assert not found, "\n".join(found)
    named = ast.parse('Sequence[tuple[str, Float[np.ndarray, "h w"]]]', mode="eval").body
    assert list(named_sizes(named)) == ["Float[np.ndarray, 'h w']"]


def test_class_names_stand_for_one_thing():
    """Except protocols, which share the names of their implementations, and TFDS's `Builder`."""
    places = {}
    for path, source in modules().items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ClassDef) and path != "engine/contracts.py":
                places.setdefault(node.name, []).append(path)
    shared = {name: paths for name, paths in places.items() if len(paths) > 1}
    assert set(shared) <= {"Builder"}, shared


BREAKS = [
    ("pose/a.py", "from handjax import models", "pose may not import models"),
    ("pose/a.py", "from ..models.v2v import V2V", "pose may not import models"),
    ("pose/a.py", "import handjax.tasks.v2v as t", "pose may not import tasks"),
    ("pose/a.py", "import handjax", "pose may not import handjax"),
    ("pose/a.py", "def f():\n    import handjax.tasks", "pose may not import tasks"),
    ("pose/a.py", "import importlib\nimportlib.import_module('handjax.tasks')", "pose may not"),
    ("pose/a.py", "import flax.linen as nn", "imports flax where only"),
    ("data/a.py", "from handjax.rigs import hand", "data may not import rigs"),
    ("unknown/a.py", "from handjax.pose import skeleton", "unknown may not import pose"),
    ("evaluate.py", "from handjax.train import main", "evaluate may not import train"),
    ("train.py", "from handjax.models.v2v import V2V", "train may not import models"),
    ("train.py", "import tensorflow.io", "imports tensorflow"),
    ("tasks/a.py", "import optax", "imports optax"),
    ("engine/a.py", "from jax import _src", "imports jax._src"),
    ("engine/a.py", "import jax\ndef f(): return jax._src.core", "uses jax._src"),
    ("data/a.py", "import pickle", "imports pickle"),
    (
        "data/a.py",
        "import numpy as np\ndef f(p, a): return np.load(p, allow_pickle=a)",
        "allow_pickle is always False",
    ),
    ("tasks/a.py", "import builtins\ndef f(t): builtins.exec(t)", "runs text as code"),
    ("pose/a.py", "from jax.numpy import zeros as z\nX = (z(3), 1)", "calls jax.numpy.zeros"),
    ("pose/a.py", "import jax.numpy as jnp\nclass A:\n    x = jnp.ones(1)", "calls jax.numpy.ones"),
    ("pose/a.py", "import jax.numpy as jnp\ndef f(x=jnp.ones(1)): return x", "at import"),
    ("pose/a.py", "import jax\njax.config.update('jax_enable_x64', True)", "calls jax.config"),
    ("pose/a.py", "from pathlib import Path\nX = Path('a').read_text()", "reads a file at import"),
]
KEEPS = [
    ("pose/a.py", "import jax.numpy as jnp\nfrom . import skeleton\nHALF = jnp.pi / 2"),
    (
        "pose/a.py",
        "import jax, functools\n"
        "@functools.partial(jax.jit, static_argnums=0)\ndef f(n): return jax.numpy.zeros(n)",
    ),
    (
        "tasks/a.py",
        "import jax\nfrom handjax.models import v2v\ndef f(g): return jax.eval_shape(g)",
    ),
    ("data/sets/nyu_hand/fake.py", "from handjax.synthetic import hands\nimport tensorflow as tf"),
    ("data/formats/unpickle.py", "import pickle"),
    ("engine/a.py", "import optax\ndef f(p):\n    with open(p) as file: return file.read()"),
    (
        "evaluate.py",
        "from handjax import __version__, sources\nif __name__ == '__main__':\n    open('a')",
    ),
]


@pytest.mark.parametrize(("path", "source", "what"), BREAKS)
def test_broken_rule_is_found(path, source, what):
    assert any(what in line for line in broken_rules(path, source)), broken_rules(path, source)


@pytest.mark.parametrize(("path", "source"), KEEPS)
def test_allowed_code_passes(path, source):
    assert broken_rules(path, source) == []


# Imports the modules named on the command line without a usable device, and prints the project's
# files that were opened (except code) and the heavy packages that were imported.
WATCH = """
import importlib, os, sys
root, seen = sys.argv[1], set()
def watch(event, args):
    path = os.path.abspath(args[0]) if event == "open" and isinstance(args[0], str) else ""
    if path.startswith(root + os.sep) and not path.endswith((".py", ".pyc")):
        seen.add(os.path.relpath(path, root))
sys.addaudithook(watch)
for name in sys.argv[2:]:
    importlib.import_module(name)
print(sorted(path for path in seen if "__pycache__" not in path))
print(sorted({"tensorflow", "torch", "matplotlib"} & set(sys.modules)))
"""


def import_watched(*names: str, root: Path = ROOT) -> tuple[str, str]:
    """Files opened and heavy packages imported by a fresh interpreter that imports `names`."""
    env = os.environ | {"PYTHONPATH": str(root), "JAX_PLATFORMS": "no_such_device"}
    run = subprocess.run(
        [sys.executable, "-c", WATCH, str(root), *names],
        env=env,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    opened, heavy = run.stdout.splitlines()[-2:]
    return opened, heavy


@pytest.mark.slow
def test_import_builds_nothing_and_reads_nothing():
    # A table built by a function that is called at import is not visible in the syntax tree.
    readers = {
        path
        for path, source in modules().items()
        if re.search(r"^(import|from) tensorflow", source, re.MULTILINE)
    }
    names = [
        "handjax." + path.removesuffix(".py").replace("/", ".")
        for path in modules()
        if path not in readers
    ]
    opened, _ = import_watched(*[name.removesuffix(".__init__") for name in names])
    assert opened == "[]"


@pytest.mark.slow
def test_commands_import_nothing_heavy():
    _, heavy = import_watched(*[f"handjax.{name}" for name in COMMANDS])
    assert heavy == "[]"


def test_the_import_watch_works(tmp_path):
    (tmp_path / "heavy.py").write_text(
        "import sys, types; sys.modules['torch'] = types.ModuleType('torch')"
    )
    (tmp_path / "reads.py").write_text(
        "def table(): return open(__file__[:-8] + 'table.txt').read()\nX = table()"
    )
    (tmp_path / "table.txt").write_text("1")
    (tmp_path / "builds.py").write_text(
        "import jax.numpy as jnp\ndef table(): return jnp.zeros(3)\nX = table()"
    )
    assert import_watched("heavy", "reads", root=tmp_path) == ("['table.txt']", "['torch']")
    with pytest.raises(AssertionError, match="no_such_device"):
        import_watched("builds", root=tmp_path)
