"""Command-line helpers: config overrides, one-line errors, exit codes."""

import argparse
import os
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from typing import NoReturn

from handjax.engine import config as configs
from handjax.engine import runtime

PATIENCE_SECONDS = 5  # that a failed process gives the other processes of its run


def split_overrides(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Splits arguments into all others and the overrides, as `config.key=value`.

    An override is written `--config.key=value` or `--config.key value`.
    """
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
    """argparse with one-line errors and without abbreviations: a mistyped option is an error, never
    another option."""

    def __init__(self, prog: str | None = None, description: str | None = None) -> None:
        super().__init__(
            prog=prog,
            description=description,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def parse_args(  # type: ignore[override]  # no `namespace`: nobody needs it
        self, args: Sequence[str] | None = None
    ) -> argparse.Namespace:
        """Parses all of `args`; ValueError for an unknown one, with a suggestion."""
        flags, unknown = self.parse_known_args(args)
        if unknown:
            name = unknown[0].lstrip("-").partition("=")[0]
            spec = unknown[0].startswith("--") and getattr(flags, "config", None)
            hint = configs.suggest(spec, name) if spec else ""
            self.error(
                f"unrecognized arguments: {' '.join(unknown)}" + (f"; {hint}" if hint else "")
            )
        return flags

    def error(self, message: str) -> NoReturn:
        """Raises ValueError, where argparse prints its usage and exits."""
        raise ValueError(f"{message} (see {self.prog} --help)")


def run(main: Callable[[Sequence[str]], None]) -> None:
    """Calls main(argv) in a process that keeps its memory (`runtime.keep_memory`).

    ValueError and OSError are user errors: one line on stderr and exit code 2. With
    HANDJAX_TRACEBACK=1 they show their traceback instead.
    """
    runtime.keep_memory()
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
        if not runtime.is_distributed():
            raise
        traceback.print_exc()
        _leave(1)


def _leave(code: int) -> NoReturn:
    """Ends this process, within PATIENCE_SECONDS if it is one of several.

    JAX's exit waits for the other processes of a run. Those that met the same error arrive within
    moments; the others wait for this process, so it must not wait for them.
    """
    if runtime.is_distributed():
        sys.stdout.flush()
        timer = threading.Timer(PATIENCE_SECONDS, os._exit, [code])
        timer.daemon = True
        timer.start()
    sys.exit(code)


def add_distributed(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `runtime.start_distributed`."""
    parser.add_argument(
        "--distributed",
        action="store_true",
        help="several processes, found through Slurm, Open MPI or a TPU pod",
    )
    parser.add_argument(
        "--coordinator", metavar="HOST:PORT", help="the address on which process 0 listens"
    )
    parser.add_argument("--num_processes", type=int, metavar="N")
    parser.add_argument("--process_id", type=int, metavar="I")
