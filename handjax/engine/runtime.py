"""The process around a run: several hosts, the memory allocator, the compile cache."""

import argparse
import contextlib
import ctypes
import functools
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import filelock
from tqdm import tqdm

from handjax.engine import processes

CACHE_BYTES = 2 << 30  # of compiled programs; all systems' quick variants take some 100 MB
CACHED_SECONDS = (
    0.1  # a compilation that takes longer is kept; a command has dozens below JAX's 1 s
)
MOMENT_SECONDS = 2.0  # a compilation that takes longer is mentioned
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8  # glibc's malloc.h


def start_distributed(flags: argparse.Namespace) -> None:
    """Joins the other processes of a run, by the flags of `cli.add_distributed`.

    Call it before anything uses a device. With --distributed, --coordinator may be given alone:
    the numbers are then those of the cluster. Raises ValueError if some of the three explicit flags
    are missing, and as `processes.join`.
    """
    given = [flags.coordinator, flags.num_processes, flags.process_id]
    missing = {value is None for value in given}
    if len(missing) == 2 and not (flags.distributed and given[1:] == [None, None]):
        raise ValueError(
            "--coordinator, --num_processes and --process_id belong together: "
            "give all three, or --distributed"
        )
    if flags.coordinator is None and not flags.distributed:
        return
    if flags.join_seconds <= 0:
        raise ValueError(f"--join_seconds {flags.join_seconds:g}: expected more than 0")
    place = flags.coordinator, flags.num_processes, flags.process_id
    processes.join(*place, seconds=flags.join_seconds)


def is_distributed() -> bool:
    """Whether this process is one of several. Does not import JAX: some commands run without it."""
    jax = sys.modules.get("jax")
    return jax is not None and jax.distributed.is_initialized()


def log(text: str) -> None:
    """Prints a line, in the first process only."""
    import jax

    if jax.process_index() == 0:
        print(text, flush=True)


def keep_memory() -> None:
    """Makes glibc keep freed memory for this process to use again.

    By default glibc returns large blocks to the system. On CPU, XLA allocates all buffers of a
    program anew in every call, and touching them for the first time, page by page, is a fifth of a
    training step's time and nearly all of a small program's.

    All threads share one heap, since blocks of several hundred MB do not fit into the heaps that
    glibc gives to each thread. Without glibc nothing happens. With an NVIDIA GPU nothing happens
    either: the CPU then reads data with many threads, which are faster with their own heaps.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None or os.path.exists("/dev/nvidiactl"):
        return
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, -1)
    mallopt(_M_TOP_PAD, 1 << 26)
    mallopt(_M_ARENA_MAX, 1)


def compile_cache() -> Path:
    """The folder of compiled programs: $JAX_COMPILATION_CACHE_DIR, else handjax/xla in the user's
    cache folder."""
    if given := os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "handjax" / "xla"


def use_compile_cache() -> None:
    """Keeps compiled programs for later processes, in handjax/xla in the user's cache folder, at
    most 2 GB of them (`compile_cache`, `CACHE_BYTES`), and what was traced (`engine.programs`).

    Processes share the folder. JAX writes entries in place and reads them without a lock, unless
    it has a size to keep to: then it locks the folder, and drops what was used least recently.
    JAX's own variable, if set, takes precedence, and its folder is left to JAX's own rules.
    """
    import jax

    if jax.config.jax_compilation_cache_dir:  # type: ignore[attr-defined]  # missing in jax's stubs
        return
    folder = compile_cache()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _drop_torn_entries(folder)
    except OSError as error:
        log(f"no compile cache, each run compiles anew: {error}; set XDG_CACHE_HOME")
        return
    jax.config.update("jax_compilation_cache_max_size", CACHE_BYTES)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", CACHED_SECONDS)
    jax.config.update("jax_compilation_cache_dir", str(folder))


def traced_programs() -> Path | None:
    """The folder of traced programs (`engine.programs`), below that of the compiled ones; None if
    `use_compile_cache` has not been called, or the folder is left to JAX's own rules."""
    import jax

    folder = compile_cache()
    used = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]  # as above
    if os.environ.get("JAX_COMPILATION_CACHE_DIR") or used != str(folder):
        return None
    return folder / "traced"


def _drop_torn_entries(folder: Path) -> None:
    """Deletes the entries whose writer was killed; OSError if the folder cannot be locked.

    JAX writes KEY-cache, then KEY-atime. One entry without the latter ends all writing in JAX
    0.10.2 (jax-ml/jax#39880), and half an entry is never replaced.
    """
    # The lock that JAX takes for each of its reads and writes.
    with filelock.FileLock(folder / ".lockfile", timeout=10):
        for entry in folder.glob("*-cache"):
            used = entry.with_name(entry.name.removesuffix("-cache") + "-atime")
            if not used.exists():
                entry.unlink()


@functools.cache  # once per process
def tell_compiling() -> None:
    """From now on, says on stderr what is being compiled when it takes more than a moment."""
    import jax

    compiling = "/jax/core/compile/backend_compile_duration"
    timers: dict[int, threading.Timer] = {}  # by thread

    def began(event: str, value: float | int, **kwargs: str | int) -> None:
        if event == compiling:
            function = str(kwargs.get("fun_name", ""))
            timer = threading.Timer(MOMENT_SECONDS, _say_compiling, [function])
            timer.daemon = True
            timer.start()
            timers[threading.get_ident()] = timer

    def ended(event: str, duration_secs: float, **kwargs: str | int) -> None:
        if event == compiling and (timer := timers.pop(threading.get_ident(), None)):
            timer.cancel()

    jax.monitoring.register_scalar_listener(began)
    jax.monitoring.register_event_duration_secs_listener(ended)


def _say_compiling(function: str) -> None:
    import jax

    if not jax.distributed.is_initialized() or jax.process_index() == 0:
        name = function.removeprefix("jit(").removesuffix(")") or "a program"
        kept = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
        # Above a progress bar, if there is one.
        tqdm.write(
            f"compiling {name}{' (kept for the next run)' if kept else ''} …", file=sys.stderr
        )


@contextlib.contextmanager
def no_implicit_transfers() -> Iterator[None]:
    """Raises for implicit copies between host and device; device_put and device_get still work.

    An implicit copy makes the host wait for the device. JAX checks device to host on accelerators
    only: on CPU there is nothing to copy.
    """
    import jax

    with (
        jax.transfer_guard_host_to_device("disallow"),
        jax.transfer_guard_device_to_host("disallow"),
    ):
        yield
