"""python -m handjax.predict: joints in your own images, by a trained network.

    python -m handjax.predict images INPUT --workdir RUN [--boxes FILE] [--output OUT]
    python -m handjax.predict depth INPUT --camera FX,FY,CX,CY --output OUT

images  RGB images of hands, by a run of configs/cpm.py or configs/posenet2d.py
depth   depth images of a hand, by the sphere hand: a network, model fitting, or both

INPUT is a folder of images or one image. `python -m handjax.predict images --help` lists the
flags of a command.
"""

from collections.abc import Sequence

from handjax.engine import cli

# Command → flags that the old form of the command has after its input.
_COMMANDS = {"images": "--workdir RUN", "depth": "--camera FX,FY,CX,CY --output OUT"}


def main(argv: Sequence[str]) -> None:
    """Run a command of `python -m handjax.predict`."""
    command, *rest = argv or ["--help"]
    if command == "images":
        from handjax.prediction import images

        return images.main(rest)
    if command == "depth":
        from handjax.prediction import depth

        return depth.main(rest)
    for name, flags in _COMMANDS.items():
        if any(argument.partition("=")[0] == f"--{name}" for argument in argv):
            raise ValueError(
                f"--{name} is now a command: python -m handjax.predict {name} INPUT {flags}"
            )
    parser = cli.Parser(prog="python -m handjax.predict", description=__doc__)
    parser.add_argument("command", choices=tuple(_COMMANDS))
    parser.parse_args([command])


if __name__ == "__main__":
    cli.run(main)
