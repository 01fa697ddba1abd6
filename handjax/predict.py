"""handjax predict: joints in your own images, by a trained network.

    handjax predict images INPUT --workdir RUN [--boxes FILE] [--output OUT]
    handjax predict depth INPUT --camera FX,FY,CX,CY --output OUT

images  RGB images of hands, by a run of configs/cpm.py or configs/posenet2d.py
depth   depth images of a hand, by the sphere hand: a network, model fitting, or both

INPUT is a folder of images or one image.
"""

import importlib
from collections.abc import Sequence
from types import ModuleType

from handjax.engine import cli, runtime

# Command, a module of `handjax.prediction` → flags that its old form has after its input.
_COMMANDS = {"images": "--workdir RUN", "depth": "--camera FX,FY,CX,CY --output OUT"}


def parser() -> cli.Parser:
    """The flags of all commands of `handjax predict`, and the help of all of them."""
    flags = cli.Parser(prog="handjax predict", description=__doc__)
    commands = flags.add_subparsers(metavar="COMMAND", required=True)
    own = {name: _module(name).parser() for name in _COMMANDS}
    for name, flags_of_it in own.items():
        title = (flags_of_it.description or "").partition("\n")[0].partition(": ")[2]
        commands.add_parser(name, help=title, parents=[flags_of_it], add_help=False)
    flags.epilog = cli.one_after_the_other(own.values())
    return flags


def main(argv: Sequence[str]) -> None:
    """Runs a command of `handjax predict`."""
    command, *rest = argv or ["--help"]
    if command in _COMMANDS:
        module = _module(command)
        runtime.use_compile_cache()
        runtime.tell_compiling()
        module.main(rest)
        return
    for name, flags in _COMMANDS.items():
        if any(argument.partition("=")[0] == f"--{name}" for argument in argv):
            raise ValueError(f"--{name} is now a command: handjax predict {name} INPUT {flags}")
    parser().parse_args([command])


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"handjax.prediction.{name}")


if __name__ == "__main__":
    cli.run(main)
