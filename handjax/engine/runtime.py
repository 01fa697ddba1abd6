"""The process around a run: several hosts, the memory allocator, the compile cache."""

import argparse
import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8  # glibc's malloc.h


def start_distributed(flags: argparse.Namespace) -> None:
    """Joins the other processes of a run, by the flags of `cli.add_distributed`.

    Call it before anything uses a device. Raises ValueError if some of the three explicit flags are
    missing.
    """
    given = [flags.coordinator, flags.num_processes, flags.process_id]
    if any(value is not None for value in given) and any(value is None for value in given):
        raise ValueError(
            "--coordinator, --num_processes and --process_id belong together: "
            "give all three, or --distributed"
        )
    if flags.coordinator is None and not flags.distributed:
        return
    import jax

    jax.distributed.initialize(*given)


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


def use_compile_cache() -> None:
    """Keeps compiled functions in the user's cache folder, for the next run to find.

    $JAX_COMPILATION_CACHE_DIR, if set, takes precedence.
    """
    import jax

    if jax.config.jax_compilation_cache_dir:  # type: ignore[attr-defined]  # missing in jax's stubs
        return
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "handjax" / "xla"
    jax.config.update("jax_compilation_cache_dir", str(cache))


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
