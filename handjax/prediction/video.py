"""handjax predict video: joints in the frames of videos, recordings, folders and streams.

    handjax predict video INPUT [INPUT ...] --output OUT [--workdir RUN | --model NAME] [--smooth]

INPUT is a video (mp4, avi, mkv and what else OpenCV reads), a depth recording of RealSense or of
ROS (.bag, with the extra `recordings`; .db3), a folder of frames in the order of their names, or -,
PNG or JPEG images one after another on the standard input, as ffmpeg writes them:

    ffmpeg -i INPUT -f image2pipe -c:v png - | handjax predict video - --output OUT

Depth is for hand-depth, v2v, spherehand and runs of handnet, v2v and spherehand, RGB for hand-rgb
and body-rgb (MediaPipe; docs/predict.md says how to install it) and for runs of cpm, posenet2d and
body. A recording has its camera; other depth needs --camera.

OUT gets, while it runs, predictions.jsonl with a line per frame and overlay.mp4, and at the end
predictions.csv, predictions.npz and report.html; of several inputs each in a folder of its own. A
hand keeps its id from frame to frame, and its side is that of most frames. --smooth steadies the
joints (one-euro filter).
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from handjax.data.cameras import HELP, Camera, depth_range, read_camera
from handjax.engine import cli
from handjax.engine.files import refuse_to_replace
from handjax.prediction import common, sequence
from handjax.prediction.base import Predictor
from handjax.prediction.depth_base import DepthPredictor
from handjax.prediction.frames import FrameSource, open_source
from handjax.prediction.hand_following import SEARCH_EVERY
from handjax.prediction.hand_search import UNSURE
from handjax.prediction.predictor import predictor_of
from handjax.prediction.recognizers import (
    DETECTORS,
    DepthRecognizer,
    Recognizer,
    image_recognizer,
    load_for_frames,
)
from handjax.prediction.tracks import HandTracks, Smoothing


def parser() -> cli.Parser:
    """The flags of `handjax predict video`."""
    flags = cli.Parser(prog="handjax predict video", description=__doc__)
    add = flags.add_argument
    add(
        "input",
        metavar="INPUT",
        nargs="+",
        help="videos, recordings (.bag, .db3), folders of frames, or - for the standard input",
    )
    add("--camera", metavar="CAMERA", help=f"of depth frames: {HELP}")
    add("--unit", type=float, default=1.0, metavar="MM", help="mm per unit of depth files (1)")
    add("--range", metavar="NEAR,FAR", help="where hands are, mm from the camera (depth)")
    add_model_flags(flags, "hand-depth", "v2v", "spherehand", "hand-rgb", "body-rgb")
    common.add_output_flags(flags)
    return flags


def add_model_flags(flags: cli.Parser, *models: str) -> None:
    """Which network, where it looks, and what is written, as `recognizer_of` and `run` read it."""
    add = flags.add_argument
    add("--model", choices=models, help="included or installed model (default: by the input)")
    add("--workdir", metavar="RUN", help="folder of a trained run, instead of a model")
    add("--side", choices=("right", "left"), help="handedness (default: found, where it can be)")
    add(
        "--detector",
        choices=DETECTORS,
        help="what finds hands for a run of cpm or posenet2d (mediapipe), or people for a run of "
        "body (mediapipe, one of them, or rtmlib); default: none: the joints of the frame before, "
        "at first --box",
    )
    add(
        "--box",
        metavar="LEFT,TOP,WIDTH,HEIGHT",
        action="append",
        help="where a hand or person is in the first frame, px; may be repeated (default: the "
        "whole picture)",
    )
    add(
        "--presence",
        type=float,
        default=UNSURE,
        metavar="P",
        help="presence that a hand must have to be found; one that is followed may have less for "
        f"90 frames (hand-depth, v2v; default: {UNSURE})",
    )
    add(
        "--search_every",
        type=int,
        default=SEARCH_EVERY,
        metavar="N",
        help="frames between searches for more hands while some are followed (hand-depth; default: "
        f"{SEARCH_EVERY})",
    )
    add("--smooth", action="store_true", help="steady joints: one-euro filter")
    add("--frames", type=int, metavar="N", help="stop after N frames")
    add("--no_video", action="store_true", help="write no overlay.mp4")


def main(argv: Sequence[str]) -> None:
    """Run the command; ValueError and OSError are invalid input."""
    flags = parser().parse_args(argv)
    check(flags)
    if not 0 < flags.unit < 1e6:
        raise ValueError(f"--unit {flags.unit:g}: expected mm, above 0")
    camera = read_camera(flags.camera) if flags.camera else None
    folders = _folders(flags.input, Path(flags.output))
    for folder in folders.values():
        refuse_to_replace(folder, sequence.OUTPUTS, flags.overwrite)
    asked = _asked_depth(flags)
    sources = {text: open_source(text, asked, flags.unit) for text in folders}
    kinds = {source.depth for source in sources.values()}
    if len(kinds) > 1:
        raise ValueError("some inputs are depth and others RGB; predict them one after another")
    predictor = load_for_frames(flags.model, flags.workdir, kinds.pop())
    if isinstance(predictor, DepthPredictor) and flags.range:
        predictor.range_mm = depth_range("--range", flags.range)
    failed = []
    for text, folder in folders.items():
        recognizer = recognizer_of(predictor, flags, camera)
        try:
            run(sources[text], recognizer, flags, folder)
        except (ValueError, OSError) as error:
            if len(folders) == 1:
                raise
            failed.append(text)
            print(f"left out: {text}: {' '.join(str(error).split())}", file=sys.stderr)
    if failed:
        raise ValueError(f"{len(failed)} of {len(folders)} inputs ended with an error")


def check(flags: argparse.Namespace) -> None:
    """ValueError or FileNotFoundError for values of `add_model_flags` that cannot be meant."""
    common.check_network(model=flags.model, workdir=flags.workdir)
    if not 0 <= flags.presence <= 1:
        raise ValueError(f"--presence {flags.presence:g}: expected 0 to 1")
    if flags.search_every < 1:
        raise ValueError(f"--search_every {flags.search_every}: expected 1 or more frames")
    if flags.frames is not None and flags.frames < 1:
        raise ValueError(f"--frames {flags.frames}: expected 1 or more")
    for text in flags.box or ():
        _box(text)


def recognizer_of(
    predictor: Predictor, flags: argparse.Namespace, camera: Camera | None = None
) -> Recognizer:
    """The recognizer of the flags; `camera`: of depth frames that do not know theirs."""
    if isinstance(predictor, DepthPredictor):
        if flags.detector or flags.box:
            raise ValueError("--detector and --box are for RGB; hands in depth are found")
        how = (flags.side, flags.presence, flags.search_every)
        return DepthRecognizer(predictor, camera, *how)
    boxes = [_box(text) for text in flags.box or ()]
    return image_recognizer(predictor, flags.detector, boxes, flags.side)


def run(
    source: FrameSource, recognizer: Recognizer, flags: argparse.Namespace, folder: Path
) -> None:
    """The frames of one source into one folder, and a line about them."""
    tracks = HandTracks(Smoothing() if flags.smooth else None)
    done = sequence.run_sequence(
        source, recognizer, tracks, folder, not flags.no_video, flags.frames
    )
    print(
        f"{source.name}: {done.frames} frames, {done.with_hands} with a hand or person, "
        f"{len(done.tracks)} followed, {done.per_second:.1f} frames/s"
    )


def _box(text: str) -> list[float]:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) != 4 or not all(abs(value) < 1e6 for value in values) or min(values[2:]) <= 0:
        raise ValueError(f"--box {text}: expected LEFT,TOP,WIDTH,HEIGHT in px, sizes above 0")
    return values


def _asked_depth(flags: argparse.Namespace) -> bool | None:
    """Whether folders and streams hold depth: if the model or the camera says so. None: unknown."""
    if flags.model:
        return flags.model not in ("hand-rgb", "body-rgb")
    if flags.workdir:
        return issubclass(predictor_of(Path(flags.workdir)), DepthPredictor)
    return True if flags.camera else None


def _folders(inputs: Sequence[str], output: Path) -> dict[str, Path]:
    """The folder for the results of each input: OUT, or of several OUT/NAME."""
    if len(inputs) == 1:
        return {inputs[0]: output}
    names = ["stdin" if text == "-" else Path(text).resolve().name for text in inputs]
    if len(set(names)) < len(names):
        raise ValueError("two inputs have the same name; predict them into folders of their own")
    return {text: output / name for text, name in zip(inputs, names, strict=True)}
