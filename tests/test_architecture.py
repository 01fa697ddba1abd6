"""Who may know whom, and what may happen at import: handjax's modules are read as syntax trees and held to the tables.

The tables are the same picture as docs/architecture.md; where the picture changes, both change.
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

# Package → the other packages it may import. Downward only.
ROOMS = {
    "engine": set(),
    "ops": set(),
    "pose": set(),
    "models": {"ops", "engine"},
    "targets": {"pose"},
    "metrics": {"pose"},
    "rigs": {"ops", "pose"},
    "synthetic": {"rigs", "ops", "pose"},
    "fitting": {"rigs", "targets", "models", "engine", "ops", "pose"},
    "reports": {"metrics", "pose", "data", "engine"},
    "data": {"engine", "targets", "pose", "synthetic", "rigs", "ops"},
    "sources": {"engine", "data", "synthetic", "rigs", "targets", "pose"},
    "tasks": {
        "models",
        "targets",
        "metrics",
        "fitting",
        "synthetic",
        "rigs",
        "ops",
        "pose",
        "engine",
    },
    "run": {"engine", "sources", "tasks", "pose"},  # a module: what commands and prediction share
    "prediction": {
        "run",
        "tasks",
        "sources",
        "reports",
        "fitting",
        "data",
        "rigs",
        "targets",
        "pose",
        "engine",
    },
    "viewer": {"fitting", "data", "synthetic", "rigs", "ops", "pose"},
}
# Command, a module of the top level → the other ones it may import.
DOORS = {
    "train": {"evaluate"},
    "evaluate": set(),
    "predict": set(),
    "prepare": set(),
    "view": set(),
}
DOORS_MAY = set(ROOMS) - {"models", "ops"}
# Within an allowed pair of packages, only these files of the first may import the second.
ONLY = {("data", there): "data/**fake*.py" for there in ("synthetic", "rigs", "ops")}
# Other people's package → the only files that may import it.
PACKAGES = {
    "tensorflow": ["data/*"],
    "tensorflow_datasets": ["data/*"],
    "torch": [],
    "optax": ["engine/*", "fitting/solver.py"],
    "jax._src": [],
    "pickle": ["data/formats/unpickle.py", "data/sets/rhd/fake.py"],  # the second only writes
    **{
        unsafe: ["data/formats/unpickle.py"]
        for unsafe in ("_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal")
    },
}
# Files that know few packages → all they may import beside the standard library. The first line that fits counts.
LEAN = {
    "reports/drawing.py": {"jaxtyping", "matplotlib", "numpy"},
    "pose/*": {"jax", "jaxtyping", "numpy"},
    "ops/*": {"jax", "jaxtyping", "numpy"},
}
# Calls that run text as code.
RUNS_TEXT = {"eval", "exec", "compile", "__import__", "builtins.eval", "builtins.exec"}
# What may be called of jax at import: it wraps a function or registers a class. Anything else builds an array, wakes a
# device, or changes the settings of whoever imports us.
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
# Names whose call reads a file.
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
    "apache-beam": "apache_beam",
    "opencv-python-headless": "cv2",
    "orbax-checkpoint": "orbax",
    "tensorflow-cpu": "tensorflow",
    "tensorflow-datasets": "tensorflow_datasets",
}


def broken_rules(path: str, source: str) -> list[str]:
    """What the module at `path` (below handjax/, as in "data/h5.py") breaks, as "path:line what"."""
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


def room_of(path: str) -> str:
    """The room of a file, or the door's name; "" for handjax/__init__.py."""
    first = path.split("/")[0]
    return first if "/" in path else first.removesuffix(".py").removeprefix("__init__")


def broken_by_import(path: str, module: str) -> Iterator[str]:
    top, _, rest = module.partition(".")
    if top == "handjax":
        here, there = room_of(path), rest.split(".")[0]
        if there == here or there.startswith("__"):  # __version__
            return
        if here in ROOMS:
            allowed = there in ROOMS[here] and fnmatch(path, ONLY.get((here, there), "*"))
        elif here in DOORS:
            allowed = there in DOORS_MAY | DOORS[here]
        else:
            allowed = not here and there == "prediction"  # the public API of handjax/__init__.py
        if not allowed:
            yield f"{here or 'handjax'} may not import {there or 'handjax'}"
    for package, files in PACKAGES.items():
        if f"{module}.".startswith(f"{package}.") and not any(
            fnmatch(path, file) for file in files
        ):
            yield f"imports {package}, which only {files or 'no file here'} may"
    lean = next((known for file, known in LEAN.items() if fnmatch(path, file)), None)
    if lean is not None and top not in lean | sys.stdlib_module_names | {"handjax"}:
        yield f"imports {top} where only {sorted(lean)} may be known"


def imports(node: ast.AST, path: str) -> Iterator[str]:
    """Modules that a node imports, absolute: `from handjax import pose` and `from .. import pose` are handjax.pose."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = origin(node, path)
        # "from jax import _src" imports jax._src; a name that is no module does no harm as a deeper path.
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
    """Nodes below `node` that run when the module is imported: class bodies, decorators, defaults, no function."""
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


def test_the_package_keeps_the_rules():
    broken = [line for path, source in modules().items() for line in broken_rules(path, source)]
    assert not broken, "\n" + "\n".join(broken)


def test_every_room_and_door_is_in_the_tables():
    rooms = {p.parent.name for p in PACKAGE.glob("*/__init__.py")}
    doors = {p.stem for p in PACKAGE.glob("*.py")} - {"__init__", "run"}
    assert rooms | {"run"} == set(ROOMS)
    assert doors <= set(DOORS)


def table(name: str) -> dict[str, set[str]]:
    """First column → names in the last one, of the table marked `checked: name` in the docs."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    (rows,) = re.findall(rf"<!-- checked: {name} -->\n(.*?)<!-- end -->", page, re.DOTALL)
    cells = [row.strip("| \n").split(" | ") for row in rows.splitlines()[2:]]
    return {cell[0].strip("`"): set(cell[-1].split(", ")) - {"–"} for cell in cells}


def test_the_docs_have_the_same_tables():
    assert table("packages") == ROOMS
    assert table("commands") == {f"{door}.py": doors for door, doors in DOORS.items()}


def test_no_room_leads_back_to_itself():
    def reach(room):
        return ROOMS[room] | {far for near in ROOMS[room] for far in reach(near)}

    assert not [room for room in ROOMS if room in reach(room)]


def test_every_package_imported_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = project["dependencies"] + [
        line for name in set(extras) - {"test", "dev"} for line in extras[name]
    ]
    distributions = {re.match(r"[\w.-]+", line).group() for line in wanted}
    declared = {IMPORTED_AS.get(name, name) for name in distributions}
    used = {
        module.split(".")[0]
        for path, source in modules().items()
        for node in ast.walk(ast.parse(source))
        for module in imports(node, path)
    }
    assert used - sys.stdlib_module_names - {"handjax"} - declared == set()


BREAKS = [
    ("pose/a.py", "from handjax.models import v2v", "pose may not import models"),
    ("pose/a.py", "from handjax import models", "pose may not import models"),
    ("pose/a.py", "from ..models.v2v import V2V", "pose may not import models"),
    ("pose/a.py", "from .. import engine", "pose may not import engine"),
    ("pose/a.py", "import handjax.tasks.v2v as t", "pose may not import tasks"),
    ("pose/a.py", "import handjax", "pose may not import handjax"),
    ("pose/a.py", "def f():\n    import handjax.tasks", "pose may not import tasks"),
    (
        "pose/a.py",
        "import importlib\nimportlib.import_module('handjax.tasks')",
        "pose may not import tasks",
    ),
    ("pose/a.py", "import flax.linen as nn", "imports flax where only"),
    ("pose/a.py", "def f():\n    from matplotlib import figure", "imports matplotlib where only"),
    ("engine/a.py", "from handjax.metrics.joints3d import mpjpe", "engine may not import metrics"),
    ("tasks/a.py", "from handjax.data import batch", "tasks may not import data"),
    ("tasks/a.py", "from handjax import train", "tasks may not import train"),
    ("data/a.py", "from handjax.figures import hand", "data may not import figures"),
    ("newroom/a.py", "from handjax.pose import skeleton", "newroom may not import pose"),
    ("__init__.py", "from handjax import train", "handjax may not import train"),
    ("evaluate.py", "from handjax.train import main", "evaluate may not import train"),
    ("train.py", "from handjax.models.v2v import V2V", "train may not import models"),
    ("train.py", "import tensorflow.io", "imports tensorflow"),
    ("models/a.py", "import tensorflow_datasets as tfds", "imports tensorflow_datasets"),
    ("data/a.py", "from torch import nn", "imports torch"),
    ("tasks/a.py", "import optax", "imports optax"),
    ("engine/a.py", "from jax._src import core", "imports jax._src"),
    ("engine/a.py", "from jax import _src", "imports jax._src"),
    ("engine/a.py", "import jax\ndef f(): return jax._src.core", "uses jax._src"),
    ("data/a.py", "import pickle", "imports pickle"),
    ("data/a.py", "from dill import loads", "imports dill"),
    (
        "data/a.py",
        "import numpy as np\ndef f(p): return np.load(p, allow_pickle=True)",
        "allow_pickle is always False",
    ),
    (
        "data/a.py",
        "import numpy as np\ndef f(p, a): return np.load(p, allow_pickle=a)",
        "allow_pickle is always False",
    ),
    ("tasks/a.py", "def f(t): return eval(t)", "runs text as code: eval"),
    (
        "tasks/a.py",
        "import builtins\ndef f(t): builtins.exec(t)",
        "runs text as code: builtins.exec",
    ),
    ("pose/a.py", "import jax.numpy as jnp\nX = jnp.zeros(3)", "calls jax.numpy.zeros at import"),
    (
        "pose/a.py",
        "from jax import numpy as jnp\nX = [jnp.eye(i) for i in (1, 2)]",
        "calls jax.numpy.eye at import",
    ),
    (
        "pose/a.py",
        "from jax.numpy import zeros as z\nX = (z(3), 1)",
        "calls jax.numpy.zeros at import",
    ),
    (
        "pose/a.py",
        "import jax.numpy as jnp\nclass A:\n    x: int = jnp.ones(1)",
        "calls jax.numpy.ones at import",
    ),
    (
        "pose/a.py",
        "import jax.numpy as jnp\ndef f(x=jnp.ones(1)): return x",
        "calls jax.numpy.ones at import",
    ),
    (
        "pose/a.py",
        "import jax\nif True:\n    KEY = jax.random.key(0)",
        "calls jax.random.key at import",
    ),
    (
        "pose/a.py",
        "import jax\njax.config.update('jax_enable_x64', True)",
        "calls jax.config.update at import",
    ),
    ("pose/a.py", "X = open('table.txt')", "reads a file at import: open"),
    ("pose/a.py", "from pathlib import Path\nX = Path('a').read_text()", "reads a file at import"),
    (
        "pose/a.py",
        "import numpy as np\nclass A:\n    x = np.load('a.npy')",
        "reads a file at import: numpy.load",
    ),
]
KEEPS = [
    (
        "pose/a.py",
        "import jax.numpy as jnp\nfrom handjax.pose.geometry import safe_norm\nfrom . import skeleton",
    ),
    (
        "pose/a.py",
        "import numpy as np\nTABLE = np.array([1.0])\nimport jax.numpy as jnp\nHALF = jnp.pi / 2",
    ),
    (
        "pose/a.py",
        "import jax, functools\n@functools.partial(jax.jit, static_argnums=0)\ndef f(n): return jax.numpy.zeros(n)",
    ),
    ("pose/a.py", "import jax.numpy as jnp\nf = lambda n: jnp.zeros(n)"),
    (
        "tasks/a.py",
        "import jax\nfrom handjax.models import v2v\ndef f(g): return jax.eval_shape(g)",
    ),
    ("data/sets/nyu_hand/fake.py", "from handjax.figures import world\nimport tensorflow as tf"),
    ("data/formats/unpickle.py", "import pickle"),
    ("data/a.py", "import numpy as np\ndef f(p): return np.load(p, allow_pickle=False)"),
    ("engine/a.py", "import optax\ndef f(p):\n    with open(p) as file: return file.read()"),
    (
        "evaluate.py",
        "from handjax import __version__, sources\nif __name__ == '__main__':\n    open('a')",
    ),
    ("train.py", "from handjax import evaluate, sources\nfrom handjax.tasks import TASKS"),
]


@pytest.mark.parametrize(("path", "source", "what"), BREAKS)
def test_a_broken_rule_is_seen(path, source, what):
    assert any(what in line for line in broken_rules(path, source)), broken_rules(path, source)


@pytest.mark.parametrize(("path", "source"), KEEPS)
def test_what_is_allowed_passes(path, source):
    assert broken_rules(path, source) == []


# Imports the modules named on the command line with no device to build an array on, and prints the project's files that
# were opened on the way, code apart, and the heavy packages that came along.
WATCH = """
import importlib, os, sys
root, seen = sys.argv[1], set()
def watch(event, args):
    if event == "open" and isinstance(args[0], str) and os.path.abspath(args[0]).startswith(root + os.sep):
        seen.add(os.path.relpath(args[0], root))
sys.addaudithook(watch)
for name in sys.argv[2:]:
    importlib.import_module(name)
print(sorted(path for path in seen if not path.endswith((".py", ".pyc")) and "__pycache__" not in path))
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


def test_import_builds_nothing_and_reads_nothing():
    # What is indirect, such as a table made by a function that is called at import, is not seen in the syntax tree.
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


def test_doors_open_without_what_is_heavy():
    _, heavy = import_watched(
        *[f"handjax.{door}" for door in DOORS if (PACKAGE / f"{door}.py").exists()]
    )
    assert heavy == "[]"


def test_the_watch_sees(tmp_path):
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
