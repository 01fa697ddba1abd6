"""handjax predict camera: joints in the pictures of a webcam, until Ctrl+C.

    handjax predict camera NUMBER --output OUT [--workdir RUN] [--smooth] [--frames N]

NUMBER is that of the camera, 0 for the first. The network is hand-rgb or body-rgb (MediaPipe;
docs/predict.md says how to install it) or a run of cpm, posenet2d or body. OUT gets what handjax
predict video writes: predictions.jsonl grows by a line per picture.
"""

from collections.abc import Sequence
from pathlib import Path

from handjax.engine import cli
from handjax.engine.files import refuse_to_replace
from handjax.prediction import common, sequence, video
from handjax.prediction.frames import open_webcam
from handjax.prediction.recognizers import load_for_frames


def parser() -> cli.Parser:
    """The flags of `handjax predict camera`."""
    flags = cli.Parser(prog="handjax predict camera", description=__doc__)
    flags.add_argument("number", metavar="NUMBER", type=int, help="the camera, 0 for the first")
    video.add_model_flags(flags, "hand-rgb", "body-rgb")
    common.add_output_flags(flags)
    return flags


def main(argv: Sequence[str]) -> None:
    """Run the command; ValueError and OSError are invalid input."""
    flags = parser().parse_args(argv)
    video.check(flags)
    folder = Path(flags.output)
    refuse_to_replace(folder, sequence.OUTPUTS, flags.overwrite)
    source = open_webcam(flags.number)
    predictor = load_for_frames(flags.model, flags.workdir, depth=False)
    video.run(source, video.recognizer_of(predictor, flags), flags, folder)
