"""How a door treats its user: overrides pass through, a mistake is one line and a non-zero exit."""

import argparse
import ctypes
import os
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from handjax.engine import config as configs

PATIENCE_SECONDS = 5  # of a failed process with the others
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8  # glibc's malloc.h


def split_overrides(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Arguments, and the `config.key=value` among them that were given as `--config.key=value` or `--config.key value`."""
    rest, overrides = [], []
    arguments = iter(argv)
    for argument in arguments:
        if argument.startswith("--config."):
            override = argument[2:]
            if "=" not in override:
                value = next(arguments, None)
                if value is None or value.startswith("--"):
                    raise ValueError(f"{argument} has no value: give it as {argument}=VALUE")
                override += f"={value}"
            overrides.append(override)
        else:
            rest.append(argument)
    return rest, overrides


class Parser(argparse.ArgumentParser):
    """argparse that takes no abbreviations (a mistyped option is an error, not another option) and answers in one line."""

    def __init__(self, *args, **kwargs):
        super().__init__(
            *args,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            **kwargs,
        )

    def parse_args(self, args=None, namespace=None):
        flags, unknown = self.parse_known_args(args, namespace)
        if unknown:
            name = unknown[0].lstrip("-").partition("=")[0]
            spec = unknown[0].startswith("--") and getattr(flags, "config", None)
            told = configs.meant(spec, name) if spec else ""
            self.error(
                f"unrecognized arguments: {' '.join(unknown)}" + (f"; {told}" if told else "")
            )
        return flags

    def error(self, message):
        raise ValueError(f"{message} (see {self.prog} --help)")


def run(main: Callable[[Sequence[str]], None]) -> None:
    """Calls main(argv), with `keep_memory`. ValueError and OSError are the user's to mend: one line on stderr, exit code 2;
    HANDJAX_TRACEBACK=1 shows where they came from."""
    keep_memory()
    try:
        main(sys.argv[1:])
    except (ValueError, OSError) as error:
        if os.environ.get("HANDJAX_TRACEBACK"):
            raise
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        _leave(2)
    except KeyboardInterrupt:
        _leave(130)
    except Exception:
        if not _one_of_several():
            raise
        traceback.print_exc()
        _leave(1)


def _leave(code: int) -> None:
    """Ends this process. JAX's exit waits for the other processes of a run: they may have met the same mistake and be as far
    in a moment; otherwise they wait for this one, and it goes."""
    if _one_of_several():
        sys.stdout.flush()
        timer = threading.Timer(PATIENCE_SECONDS, os._exit, [code])
        timer.daemon = True
        timer.start()
    sys.exit(code)


def _one_of_several() -> bool:
    jax = sys.modules.get("jax")  # not imported for this: some doors do without it
    return jax is not None and jax.distributed.is_initialized()


def add_distributed(parser: argparse.ArgumentParser) -> None:
    """The flags of `start_distributed`."""
    parser.add_argument(
        "--distributed",
        action="store_true",
        help="several processes, found by Slurm, Open MPI or a TPU pod",
    )
    parser.add_argument("--coordinator", metavar="HOST:PORT", help="where process 0 listens")
    parser.add_argument("--num_processes", type=int, metavar="N")
    parser.add_argument("--process_id", type=int, metavar="I")


def start_distributed(flags: argparse.Namespace) -> None:
    """Joins the other processes, before anything asks for devices."""
    given = [flags.coordinator, flags.num_processes, flags.process_id]
    if any(value is not None for value in given) and any(value is None for value in given):
        raise ValueError(
            "--coordinator, --num_processes and --process_id belong together: give all three, or --distributed"
        )
    if flags.coordinator is None and not flags.distributed:
        return
    import jax

    jax.distributed.initialize(*given)


def keep_memory() -> None:
    """Memory that was freed stays with this process, for its next use: glibc would hand large blocks back to the system, and on a
    CPU XLA takes all of a program's buffers anew in every call. Touching them for the first time, page by page, is a fifth of a
    training step's time, and nearly all of what small programs take.

    One heap for all threads, since blocks of several hundred MB do not fit into those that glibc gives each thread. Nothing happens
    without glibc, and where there is an NVIDIA GPU: there the CPU's part is to read data, with many threads, each better off with a
    heap of its own.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None and not os.path.exists("/dev/nvidiactl"):
        for option, value in (
            (_M_MMAP_MAX, 0),
            (_M_TRIM_THRESHOLD, -1),
            (_M_TOP_PAD, 1 << 26),
            (_M_ARENA_MAX, 1),
        ):
            mallopt(option, value)


def use_compile_cache() -> None:
    """Compiled functions lie in the user's cache folder and are found again by the next run."""
    import jax

    if jax.config.jax_compilation_cache_dir:  # JAX_COMPILATION_CACHE_DIR
        return
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "handjax" / "xla"
    jax.config.update("jax_compilation_cache_dir", str(cache))
