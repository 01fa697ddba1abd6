"""handjax predict: joints in your own pictures, depth images, videos and cameras.

    handjax predict images INPUT ... --output OUT [--workdir RUN] [--boxes FILE]
    handjax predict depth INPUT ... --camera FX,FY,CX,CY --output OUT
    handjax predict video INPUT ... --output OUT
    handjax predict camera NUMBER --output OUT

images  RGB images of hands or people, by MediaPipe or a run of configs/cpm.py, posenet2d.py or
        body.py
depth   depth images of a hand, by the hand network or the sphere hand, and by model fitting
video   frames of a video, of a depth recording, of a folder or of a stream, one after another
camera  a webcam

docs/predict.md explains inputs, results and units.
"""

from collections.abc import Sequence

from handjax.engine import cli

_COMMANDS = cli.Group(
    "handjax predict",
    __doc__,
    {
        "images": "handjax.prediction.images",
        "depth": "handjax.prediction.depth",
        "video": "handjax.prediction.video",
        "camera": "handjax.prediction.webcam",
    },
)
# Command → flags that its old form has after its input.
_OLD_FORMS = {"images": "--workdir RUN", "depth": "--camera FX,FY,CX,CY --output OUT"}
parser = _COMMANDS.parser


def main(argv: Sequence[str]) -> None:
    """Runs a command of `handjax predict`; ValueError for its old form, `--depth INPUT`."""
    if not argv or argv[0] not in _COMMANDS.modules:
        for name, flags in _OLD_FORMS.items():
            if any(argument.partition("=")[0] == f"--{name}" for argument in argv):
                raise ValueError(f"--{name} is now a command: handjax predict {name} INPUT {flags}")
    _COMMANDS.main(argv)


if __name__ == "__main__":
    cli.run(main)
