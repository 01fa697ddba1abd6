"""handjax predict: joints in your own images.

    handjax predict images INPUT --workdir RUN [--boxes FILE] [--output OUT]
    handjax predict depth INPUT --camera FX,FY,CX,CY --output OUT

images  RGB images of hands, by a run of configs/cpm.py or configs/posenet2d.py
depth   depth images of a hand, by the hand network or the sphere hand, and by model fitting

INPUT is a folder of images or one image.
"""

from collections.abc import Sequence

from handjax.engine import cli

# Command → flags that its old form has after its input.
_OLD_FORMS = {"images": "--workdir RUN", "depth": "--camera FX,FY,CX,CY --output OUT"}
_COMMANDS = cli.Group(
    "handjax predict", __doc__, {name: f"handjax.prediction.{name}" for name in _OLD_FORMS}
)
parser = _COMMANDS.parser


def main(argv: Sequence[str]) -> None:
    """Runs a command of `handjax predict`; ValueError for its old form, `--depth INPUT`."""
    if not argv or argv[0] not in _OLD_FORMS:
        for name, flags in _OLD_FORMS.items():
            if any(argument.partition("=")[0] == f"--{name}" for argument in argv):
                raise ValueError(f"--{name} is now a command: handjax predict {name} INPUT {flags}")
    _COMMANDS.main(argv)


if __name__ == "__main__":
    cli.run(main)
