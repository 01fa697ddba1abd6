"""handjax: hand and body pose networks in JAX.

    handjax COMMAND …          what a command does and takes: handjax COMMAND --help
    handjax completion SHELL   prints a completion script for bash or zsh

`python -m handjax` is the same program.
"""

import argparse
import difflib
import importlib
from collections.abc import Sequence

from handjax import __version__
from handjax.engine import cli, runtime

# Command, a module of this name → what it does.
COMMANDS = {
    "train": "train what a config describes",
    "evaluate": "evaluate a run's checkpoints, or prediction files",
    "predict": "joints in your own images, depth images, videos and cameras",
    "report": "compare several results on one page",
    "bench": "measure a model: errors on your own labelled depth frames, and times",
    "prepare": "turn a data set's own files into what training reads",
    "export": "write a trained network as a file that runs without handjax",
    "view": "show a hand in the browser and fit it to a depth image",
}
# Commands without a module.
OWN = {
    "models": "list the included models and configs, and where compiled programs are kept",
    "completion": "print a completion script for a shell",
}
SHELLS = ("bash", "zsh")


def parser() -> cli.Parser:
    """The flags before a command."""
    flags = cli.Parser(prog="handjax", description=__doc__)
    flags.add_argument("--version", action="version", version=__version__)
    commands = flags.add_subparsers(metavar="COMMAND", title="commands")
    for name, text in (COMMANDS | OWN).items():
        commands.add_parser(name, help=text, add_help=False)
    return flags


def main(argv: Sequence[str]) -> None:
    """Runs the command that the first argument names."""
    argv = argv or ["--help"]
    name, *rest = argv
    if name in COMMANDS:
        with cli.patience(f"handjax {name}: loading …"):
            command = importlib.import_module(f"handjax.{name}")
        command.main(rest)
    elif name == "models":
        flags = cli.Parser(prog="handjax models", description=OWN[name] + ".")
        flags.parse_args(rest)
        print(models())
    elif name == "completion":
        shells = cli.Parser(prog="handjax completion", description=OWN[name] + ".")
        shells.add_argument("shell", choices=SHELLS)
        print(completion(shells.parse_args(rest).shell))
    elif name.startswith("-"):
        parser().parse_args(argv)
    else:
        close = difflib.get_close_matches(name, [*COMMANDS, *OWN], n=1)
        hint = f"did you mean {close[0]}?" if close else f"use {', '.join([*COMMANDS, *OWN])}"
        raise ValueError(f"unknown command {name}: {hint}")


def models() -> str:
    """The included models, the configs by name, and the place and size of the compile cache."""
    from handjax.engine import config as configs
    from handjax.prediction.predictor import list_models

    listed = list_models()
    width = max(map(len, listed))
    folder = runtime.compile_cache()
    files = [*folder.glob("*-cache"), *folder.glob("traced/*")]
    used = sum(file.stat().st_size for file in files)
    return "\n".join(
        [
            "models, for handjax.load(NAME):",
            *(f"  {name:{width}}  {text}" for name, text in listed.items()),
            f"configs, for handjax train --config NAME (in {configs.home()}):",
            f"  {', '.join(configs.names())}",
            "traced and compiled programs, kept for the next run:",
            f"  {folder}: {used / 2**20:.0f} MB of at most {runtime.CACHE_BYTES / 2**20:.0f} MB",
        ]
    )


def completion(shell: str) -> str:
    """A completion script of all commands, made by shtab; ValueError if that is not installed."""
    try:
        import shtab
    except ImportError:
        raise ValueError("completion needs shtab: pip install 'handjax[completion]'") from None
    return shtab.complete(complete_parser(), shell)


def complete_parser() -> argparse.ArgumentParser:
    """The parser of all commands in one."""
    flags = cli.Parser(prog="handjax")
    commands = flags.add_subparsers(metavar="COMMAND")
    for name, text in COMMANDS.items():
        own = importlib.import_module(f"handjax.{name}").parser()
        commands.add_parser(name, help=text, add_help=False, parents=[own])
    commands.add_parser("models", help=OWN["models"])
    commands.add_parser("completion", help=OWN["completion"]).add_argument("shell", choices=SHELLS)
    return flags


def run() -> None:
    """The console script."""
    cli.run(main)


if __name__ == "__main__":
    run()
