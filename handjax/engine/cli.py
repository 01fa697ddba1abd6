"""Command-line helpers: config overrides, help, one-line errors, exit codes."""

import argparse
import contextlib
import functools
import importlib
import logging
import os
import shlex
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from handjax.engine import config as configs
from handjax.engine import processes, runtime
from handjax.engine.files import WAYS_OUT, refuse_scheme, refuse_unexpanded, way_out
from handjax.engine.interruption import REQUEUE, Interrupted

PATIENCE_SECONDS = 5  # that a failed process gives the other processes of its run
SILENT_SECONDS = 1.5  # after which a command that is still loading says so
LOST = 76  # EX_PROTOCOL: the exit code of a process whose run has lost another one
_GONE = (
    "another process of the run failed or is gone ({}); nothing is saved from here. Its own "
    "message says why; the same command continues from the last checkpoint"
)


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
    another option. With --config CONFIG, --help also lists that config's keys."""

    def __init__(
        self,
        prog: str | None = None,
        description: str | None = None,
        parents: Sequence[argparse.ArgumentParser] = (),
        add_help: bool = True,
    ) -> None:
        super().__init__(
            prog=prog,
            description=description,
            parents=[*parents],
            add_help=add_help,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def parse_args(  # type: ignore[override]  # no `namespace`: nobody needs it
        self, args: Sequence[str] | None = None
    ) -> argparse.Namespace:
        """Parses all of `args`; ValueError for an unknown one, with a suggestion."""
        args = sys.argv[1:] if args is None else args
        if not {"-h", "--help"}.isdisjoint(args) and (given := self._given_config(args)):
            self.epilog = config_help(given)
        flags, unknown = self.parse_known_args(args)
        if unknown:
            name = unknown[0].lstrip("-").partition("=")[0]
            spec = unknown[0].startswith("--") and getattr(flags, "config", None)
            # `prepare` has a --config as well, of another kind.
            hint = configs.suggest(spec, name) if spec and self._reads_configs() else ""
            self.error(
                f"unrecognized arguments: {' '.join(unknown)}" + (f"; {hint}" if hint else "")
            )
        unsaid: dict[str, list] = {}  # the values that flags have without one being given
        for action in self._every_action():
            unsaid.setdefault(action.dest, []).extend((action.default, action.const))
        for name, value in vars(flags).items():
            option = self._option(name)
            for one in value if isinstance(value, list | tuple) else [value]:
                if isinstance(one, str | os.PathLike):
                    refuse_scheme(option, one)
                    refuse_unexpanded(option, one)
                if one == "" and value not in unsaid.get(name, ()):
                    self.error(f"{option} is empty: is a variable of the shell not set?")
        return flags

    def _option(self, name: str) -> str:
        """How the flag that is kept as `name` is written."""
        action = next((a for a in self._every_action() if a.dest == name), None)
        return action.option_strings[-1] if action and action.option_strings else name.upper()

    def _every_action(self) -> Iterator[argparse.Action]:
        """The flags of this parser and of its commands."""
        for action in self._actions:
            yield action
            if isinstance(action, argparse._SubParsersAction):
                for parser in action.choices.values():
                    yield from parser._every_action()

    def _reads_configs(self) -> bool:
        """Whether this parser has a flag --config that takes any value."""
        return any("--config" in a.option_strings and not a.choices for a in self._actions)

    def _given_config(self, args: Sequence[str]) -> str:
        """The value of --config in `args`, if this parser takes configs; "" otherwise."""
        if not self._reads_configs():
            return ""
        given = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
        given.add_argument("--config", nargs="?", default="")
        return given.parse_known_args(args)[0].config or ""

    def error(self, message: str) -> NoReturn:
        """Raises ValueError, where argparse prints its usage and exits."""
        raise ValueError(f"{message} (see {self.prog} --help)")


def path(text: str) -> Path:
    """A path on this machine, as the `type` of a flag of any parser."""
    try:
        refuse_scheme("", text)
        refuse_unexpanded("", text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error).lstrip()) from None
    return Path(text)


def config_help(spec: str) -> str:
    """Every key of a config with its value, as the overrides that can be given."""
    values = configs.flatten(configs.load(spec))
    keys = []
    for key, value in values.items():
        text = str(value)  # in double quotes, since the strings in a tuple have single ones
        quoted = text if shlex.quote(text) == text else f'"{text}"'
        keys.append(f"  --config.{key}={quoted}")
    head = f"keys of {spec}, with their values ({configs.find(spec)[0]} explains them):"
    return "\n".join([head, *keys])


class Group:
    """A command that has commands of its own, each a module with `parser()` and `main(argv)`."""

    def __init__(self, prog: str, description: str | None, modules: Mapping[str, str]):
        """`modules`: command → its module, by its full name; imported where it is used."""
        self.prog, self.description, self.modules = prog, description, modules

    def parser(self) -> Parser:
        """The flags of all commands, and the help of all of them, each below a line."""
        flags = Parser(prog=self.prog, description=self.description)
        commands = flags.add_subparsers(metavar="COMMAND", required=True)
        texts = []
        for name in self.modules:
            own = self._module(name).parser()
            title = (own.description or "").partition("\n")[0].partition(": ")[2]
            commands.add_parser(name, help=title, parents=[own], add_help=False)
            texts.append(f"{'─' * 72}\n{own.format_help()}")
        flags.epilog = "\n".join(texts)
        return flags

    def main(self, argv: Sequence[str]) -> None:
        """Runs the command that the first argument names; help and errors as of the parser."""
        command, *rest = argv or ["--help"]
        if command in self.modules:
            with patience(f"{self.prog} {command}: loading …"):
                module = self._module(command)
                runtime.use_compile_cache()
                runtime.tell_compiling()
            module.main(rest)
        else:
            self.parser().parse_args([command])

    def _module(self, name: str) -> ModuleType:
        return importlib.import_module(self.modules[name])


@contextlib.contextmanager
def patience(text: str) -> Iterator[None]:
    """Prints `text` to stderr if the block takes longer than SILENT_SECONDS."""
    timer = threading.Timer(SILENT_SECONDS, print, [text], {"file": sys.stderr, "flush": True})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def run(main: Callable[[Sequence[str]], None]) -> None:
    """Calls main(argv) in a process that keeps its memory (`runtime.keep_memory`).

    ValueError and OSError are user errors: one line on stderr and exit code 2. With
    HANDJAX_TRACEBACK=1 they show their traceback instead. Warnings of handjax are one line too.
    A run that was asked to end, and can be continued, has the exit code REQUEUE.
    """
    runtime.keep_memory()
    if not os.environ.get("HANDJAX_TRACEBACK"):
        logging.getLogger("absl").setLevel(logging.ERROR)  # what Orbax says about its own options
    warnings.formatwarning = functools.partial(_format_warning, warnings.formatwarning)
    try:
        main(sys.argv[1:])
    except (ValueError, OSError) as error:
        _leave_if_alone(error)
        if os.environ.get("HANDJAX_TRACEBACK"):
            raise
        print("error:", " ".join(_said(error).split()), file=sys.stderr)
        _leave(2)
    except Interrupted as stop:
        runtime.log(str(stop))
        _leave(REQUEUE)
    except KeyboardInterrupt:
        _leave(130)
    except Exception as error:
        if not runtime.is_distributed():
            raise
        _leave_if_alone(error)
        traceback.print_exc()
        _leave(1)


def _leave_if_alone(error: Exception) -> None:
    """Ends this process with LOST if `error` came of another process of the run that is gone."""
    if not runtime.is_distributed() or os.environ.get("HANDJAX_TRACEBACK"):
        return
    if processes.lost_another(error):
        print("error:", _GONE.format(_brief(error)), file=sys.stderr, flush=True)
        os._exit(LOST)  # JAX's own exit would wait for a process that is gone


def _said(error: ValueError | OSError) -> str:
    """What an error says; of a full disk and the like, the file and what to do."""
    if isinstance(error, OSError) and error.errno in WAYS_OUT:
        return f"{error.filename or 'a file'}: {way_out(os.strerror(error.errno))}"
    return str(error)


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:160]


def _format_warning(others: Callable[..., str], message, category, *where, **more) -> str:
    """One line for a warning of handjax, without its place in the code; `others` formats others."""
    if category.__module__.partition(".")[0] != __package__.partition(".")[0]:
        return others(message, category, *where, **more)
    return f"warning: {' '.join(str(message).split())}\n"


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
    parser.add_argument(
        "--join_seconds",
        type=float,
        default=processes.PATIENCE_SECONDS,
        metavar="S",
        help="how long to wait for the other processes at the start (default: %(default)g)",
    )
