"""handjax bench real: a model on your own labelled depth frames.

    handjax bench real FOLDER [FOLDER ...] --output OUT [--model NAME|RUN]
        [--refine STEPS] [--give WHAT] [--presence P] [--range NEAR,FAR]

FOLDER holds depth images and a frames.json with camera, hands and labels: docs/real_frames.md has
the form. OUT gets report.html with figures and a picture of every frame, metrics.json, pictures/.

By default the model is told the side of the hand where the file has it, and finds the hand itself.
With --refine its hand of spheres is then fitted to the depth, as in `handjax predict depth`, and
both results are measured. Unreadable images are left out, and the exit code is then 1.
"""

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Float
from tqdm import tqdm

from handjax.data.cameras import depth_range
from handjax.data.formats.labelled_frames import FrameSet, read_frames
from handjax.data.frame_checks import check_labels
from handjax.engine import cli
from handjax.engine.files import refuse_to_replace
from handjax.fitting import depth_cube, sphere_network
from handjax.fitting.depth_fitter import DepthFitter, SeenJoints
from handjax.fitting.frame_fitter import FrameFitter
from handjax.prediction import common
from handjax.prediction.base import Prediction
from handjax.prediction.depth_predictors import DepthPredictor, SpherePredictor
from handjax.prediction.hand_depth import HandDepthPredictor
from handjax.prediction.predictor import MODELS, load
from handjax.realframes import measure, report
from handjax.realframes.joints import Pairs, pairs
from handjax.realframes.measure import GIVEN, Answer, Model
from handjax.realframes.pictures import picture

_IN_DEPTH = tuple(name for name in MODELS if not name.endswith("-rgb"))


def parser() -> cli.Parser:
    """The flags of `handjax bench real`."""
    flags = cli.Parser(prog="handjax bench real", description=__doc__)
    add = flags.add_argument
    add("folders", metavar="FOLDER", nargs="+", help="a folder with frames.json, or such a file")
    add(
        "--model",
        default="hand-depth",
        metavar="NAME|RUN",
        help=f"{' or '.join(_IN_DEPTH)}, or the folder of a trained run (default: hand-depth)",
    )
    add(
        "--checkpoint",
        metavar="WHICH",
        default="last",
        help="of a run: last, best or a step (last)",
    )
    add("--refine", type=int, default=0, metavar="STEPS", help="steps of the fit (default: 0)")
    add(
        "--give",
        default="side",
        metavar="WHAT",
        help=f"what the model is told: some of {','.join(GIVEN)}, or nothing (default: side)",
    )
    add(
        "--presence",
        type=float,
        default=0.5,
        metavar="P",
        help="answers with a lower presence are unsure (default: 0.5)",
    )
    add("--range", metavar="NEAR,FAR", help="where hands are, mm from the camera (the model's own)")
    common.add_output_flags(flags)
    return flags


def main(argv: Sequence[str]) -> None:
    """Run the command; ValueError and OSError are invalid input."""
    flags = parser().parse_args(argv)
    folder = Path(flags.output)
    sets = _named([read_frames(path) for path in flags.folders])
    if not 0 <= flags.presence <= 1:
        raise ValueError(f"--presence {flags.presence:g}: expected 0 to 1")
    if flags.refine < 0:
        raise ValueError(f"--refine {flags.refine}: expected 0 steps or more")
    given = _given(flags.give)
    range_mm = depth_range("--range", flags.range) if flags.range else None
    refuse_to_replace(folder, report.OUTPUTS, flags.overwrite)
    surfaces = {name: check_labels(one) for name, one in sets.items()}
    predictor = load(flags.model, flags.checkpoint)
    if not isinstance(predictor, DepthPredictor):
        raise ValueError(
            f"--model {flags.model}: it reads {predictor.reads}; expected depth images"
        )
    if range_mm is not None:
        predictor.range_mm = range_mm
    refine = _fit(flags.model, predictor, flags.refine) if flags.refine else None
    model = Model(predictor, given, flags.presence, refine)
    joints = {}
    for name, one in sets.items():
        model.check(one)
        joints[name] = pairs(one.skeleton, predictor.joints, flags.model)

    total, done = sum(len(one.frames) for one in sets.values()), []
    with tqdm(total=total, unit="frame", leave=False) as bar:
        for name, one in sets.items():
            measured = _measure(name, one, model, joints[name], folder, bar.update)
            done.append(measured._replace(surface=surfaces[name]))
    left_out = {
        f"{one.name}/{n}": why for one in done for n, why in one.figures["left_out"].items()
    }
    if len(left_out) == total:
        first = next(iter(left_out.values()))
        raise ValueError(f"all {total} images were left out; the first: {first}")
    options = {
        "model": flags.model,
        "given": list(given),
        "refine_steps": flags.refine,
        "presence": flags.presence,
        "range_mm": list(predictor.range_mm),
    }
    for measured in done:
        print("; ".join(report.lines(measured)))
    report.write(folder, done, model, options)
    common.exit_if_incomplete(left_out, total)


def _named(sets: Sequence[FrameSet]) -> dict[str, FrameSet]:
    """By names that are unique: of folders, with a number where two are alike."""
    named: dict[str, FrameSet] = {}
    for one in sets:
        name, number = one.name, 2
        while name in named:
            name, number = f"{one.name}-{number}", number + 1
        named[name] = one
    return named


def _given(text: str) -> tuple[str, ...]:
    words = tuple(word for word in text.replace(",", " ").split() if word != "nothing")
    unknown = [word for word in words if word not in GIVEN]
    if unknown:
        raise ValueError(f"--give {text}: expected some of {', '.join(GIVEN)}, or nothing")
    return tuple(word for word in GIVEN if word in words)


def _measure(
    name: str,
    frames: FrameSet,
    model: Model,
    joints: Pairs,
    folder: Path,
    tick: Callable[[], object],
) -> report.MeasuredSet:
    """The answers to a set, whose pictures are written on the way."""
    skeleton = model.predictor.skeleton
    found: list[Answer] = []
    left, pictures = {}, {}
    files = _picture_names([frame.name for frame in frames.frames])
    for frame, answer in measure.answers(frames, model, joints):
        tick()
        if isinstance(answer, common.LeftOut):
            tqdm.write(f"left out: {name}/{frame.name}: {answer.reason}", file=sys.stderr)
            left[frame.name] = answer.reason
            continue
        path = f"pictures/{name}/{files[frame.name]}.png"
        common.write_png(folder / path, picture(answer, joints, skeleton, frames.kind))
        pictures[frame.name] = path
        found.append(answer._replace(depth=np.zeros((0, 0), np.float32)))  # to keep memory small
    figures = measure.summarize(found, left, model, joints)
    return report.MeasuredSet(name, frames, joints, found, figures, pictures)


def _picture_names(images: Sequence[str]) -> dict[str, str]:
    """Paths of images → of their pictures, without the ending; with it where two would be one."""
    bare = {image: str(PurePosixPath(image).with_suffix("")) for image in images}
    often = Counter(bare.values())
    return {image: name if often[name] == 1 else image for image, name in bare.items()}


def _fit(model: str, predictor: DepthPredictor, steps: int) -> measure.Refine:
    """The fit of `handjax predict depth`, in the crop of the prediction."""
    size = predictor.size if isinstance(predictor, SpherePredictor) else depth_cube.SIZE
    if isinstance(predictor, SpherePredictor):
        network = sphere_network.load(None if model in MODELS else model)
        tracker = FrameFitter(network, steps, "adam", forearm=True, sequence=False)
    elif not isinstance(predictor, HandDepthPredictor):
        raise ValueError(
            f"--refine {steps}: the fit needs a sphere hand, or 21 joints and a deviation of each, "
            f"which {model} does not give; leave it out"
        )
    fitter = DepthFitter(steps)

    def refine(
        prediction: Prediction, depth: Float[np.ndarray, "h w"], k: Float[np.ndarray, "3 3"]
    ) -> Float[np.ndarray, "j 3"]:
        left, center = prediction.side == "left", prediction.center
        cube = depth_cube.crop_cube(depth, k, predictor.range_mm, left, center, size)
        if isinstance(predictor, SpherePredictor):
            return tracker("", cube).after.joints
        joints, std = np.asarray(prediction.xyz), np.asarray(prediction.std)
        return fitter("", cube, SeenJoints(joints, std, depth, k)).after.joints

    return refine
