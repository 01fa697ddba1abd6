"""Traced programs, kept beside the compiled ones.

JAX finds a compiled program by the text of the traced one, so every process traces first. For the
commands that answer a user's one image that is most of their time. What `kept` returns traces once
per installation: later processes read the program with jax.export.
"""

import contextlib
import functools
import hashlib
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
from jax import export

from handjax.engine import runtime
from handjax.engine.files import atomic_path

_PACKAGE = Path(__file__).resolve().parent.parent
_SETTINGS = (  # of JAX, on which a traced program depends
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_enable_x64",
    "jax_numpy_dtype_promotion",
    "jax_threefry_partitionable",
)
_CHECKSUM = hashlib.sha256().digest_size
_MOST = 128  # programs in the folder; those not used for longest are deleted


def kept(
    function: Callable,
    static: Sequence[str] = (),
    results: Sequence[type] = (),
    kernels: Callable[[], Sequence[str]] = tuple,
    about: str = "",
) -> Callable:
    """jax.jit(function, static_argnames=static), which keeps its traced programs.

    They are kept where compiled programs are (`runtime.traced_programs`), if these are kept; else,
    and inside another jit, it is the jitted function. Arguments are on one device.

    results  the NamedTuples in what the function returns
    kernels  makes our kernels known to XLA and returns their names
    about    what else the program depends on, such as a config in the function's closure; besides
             it, a program belongs to the sources of handjax and the versions below them
    """
    signature, jitted = inspect.signature(function), jax.jit(function, static_argnames=static)
    programs: dict[tuple, Callable] = {}  # of this process

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        folder = runtime.traced_programs()
        leaves = jax.tree.leaves((args, kwargs))
        if folder is None or any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
            return jitted(*args, **kwargs)
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        given = dict(bound.arguments)
        fixed = {name: given.pop(name) for name in static}
        arrays, tree = jax.tree.flatten(given)
        kinds = tuple(map(jax.typeof, arrays))
        key = (tuple(fixed.items()), tree, kinds)
        if key not in programs:

            def flat(*arrays: Any) -> Any:
                return function(**jax.tree.unflatten(tree, arrays), **fixed)

            names = kernels()
            name = f"{function.__module__}.{function.__qualname__}"
            types = [(kind.str_short(), kind.weak_type) for kind in kinds]
            depends = (name, about, fixed, str(tree), types, names, _surroundings())
            file = folder / hashlib.sha256(repr(depends).encode()).hexdigest()
            for result in results:
                _register(result)
            program = _read(file) or _trace(flat, arrays, names, file)
            programs[key] = _jitted(program, function.__name__)
        return programs[key](*arrays)

    def in_process() -> int:
        return len(programs) + jitted._cache_size()  # type: ignore[attr-defined]

    call.in_process = in_process  # type: ignore[attr-defined]  # how many programs it has compiled
    return call


def _jitted(program: export.Exported, name: str) -> Callable:
    """The program as a function that is called what was traced, as messages name it."""

    def run(*arrays: Any) -> Any:
        return program.call(*arrays)

    run.__name__ = name
    return jax.jit(run)


def _trace(
    flat: Callable, arrays: Sequence[Any], kernels: Sequence[str], file: Path
) -> export.Exported:
    """The program of a function, which is then kept in `file`, if that can be written."""
    allowed = [export.DisabledSafetyCheck.custom_call(name) for name in kernels]
    with without_places():
        program = export.export(jax.jit(flat), disabled_checks=allowed)(*arrays)
    content = bytes(program.serialize())
    with contextlib.suppress(OSError):  # a full disk: the next process traces again
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(file) as temporary:
            temporary.write_bytes(hashlib.sha256(content).digest() + content)
        _drop_oldest(file.parent)
    return program


def _read(file: Path) -> export.Exported | None:
    """The program in a file; None if there is none, or it is damaged."""
    try:
        content = file.read_bytes()
        file.touch()
    except OSError:
        return None
    checksum, content = content[:_CHECKSUM], content[_CHECKSUM:]
    if hashlib.sha256(content).digest() != checksum:
        return None
    return export.deserialize(bytearray(content))


def _drop_oldest(folder: Path) -> None:
    """Deletes all but the `_MOST` programs that were used last."""
    files = sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime, reverse=True)
    for file in files[_MOST:]:
        file.unlink(missing_ok=True)


@functools.cache
def _register(result: type) -> None:
    """Lets programs that return this NamedTuple be written and read."""
    name = f"{result.__module__}.{result.__qualname__}"
    export.register_namedtuple_serialization(result, serialized_name=name)


def _surroundings() -> tuple[Any, ...]:
    """What all programs depend on."""
    settings = [getattr(jax.config, name) for name in _SETTINGS]
    return jax.default_backend(), settings, _sources()


@functools.cache
def _sources() -> str:
    """A checksum of all files of handjax that programs may depend on, and the versions of what they
    are built upon."""
    checksum = hashlib.sha256()
    for file in sorted(_PACKAGE.rglob("*")):
        if file.suffix in (".py", ".npz", ".so"):
            checksum.update(f"{file.relative_to(_PACKAGE)} {file.stat().st_size} ".encode())
            checksum.update(file.read_bytes())
    versions = {name: metadata.version(name) for name in ("jax", "jaxlib", "flax", "numpy")}
    return f"{checksum.hexdigest()} {versions} {sys.version}"


@contextlib.contextmanager
def without_places() -> Iterator[None]:
    """Within the block, programs do not say which line of which file made an operation: the paths
    would be those of this machine."""
    limit = jax.config.jax_traceback_in_locations_limit  # type: ignore[attr-defined]
    jax.config.update("jax_traceback_in_locations_limit", 0)
    try:
        yield
    finally:
        jax.config.update("jax_traceback_in_locations_limit", limit)
