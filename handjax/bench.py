"""handjax bench: how well a model does on your own labelled depth frames.

    handjax bench real FOLDER [FOLDER ...] --output OUT
    handjax bench voxels FILE --camera nyu --hand right --output FOLDER

real    a model on folders of depth images with camera and labels: figures, report, pictures
voxels  an HDF5 file of voxels → such a folder

docs/real_frames.md has the form of a folder.
"""

import importlib
from collections.abc import Sequence
from types import ModuleType

from handjax.engine import cli, runtime

# Command → a module of `handjax.realframes`.
_COMMANDS = {"real": "command", "voxels": "voxel_frames"}


def parser() -> cli.Parser:
    """The flags of all commands of `handjax bench`, and the help of all of them."""
    flags = cli.Parser(prog="handjax bench", description=__doc__)
    commands = flags.add_subparsers(metavar="COMMAND", required=True)
    own = {name: _module(name).parser() for name in _COMMANDS}
    for name, flags_of_it in own.items():
        title = (flags_of_it.description or "").partition("\n")[0].partition(": ")[2]
        commands.add_parser(name, help=title, parents=[flags_of_it], add_help=False)
    flags.epilog = cli.one_after_the_other(own.values())
    return flags


def main(argv: Sequence[str]) -> None:
    """Runs a command of `handjax bench`."""
    command, *rest = argv or ["--help"]
    if command in _COMMANDS:
        module = _module(command)
        runtime.use_compile_cache()
        runtime.tell_compiling()
        module.main(rest)
        return
    parser().parse_args([command])


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"handjax.realframes.{_COMMANDS[name]}")


if __name__ == "__main__":
    cli.run(main)
