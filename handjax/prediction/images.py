"""handjax predict images: joints of hands or people in your own RGB images.

    handjax predict images INPUT [INPUT ...] --output OUT [--workdir RUN | --model NAME]
        [--boxes FILE]

INPUT is a folder of images (PNG, JPEG, WebP, BMP, TIFF), or an image; RUN is a run of
configs/cpm.py or configs/posenet2d.py (hands, or your own joints) or configs/body.py (people).
Without one, MediaPipe finds all hands and their sides, or with --model body-rgb the person;
docs/predict.md says how to install it. OUT gets predictions.json, predictions.npz,
overlays/NAME.png and report.html. Joints are in px of the images, those of people also in mm from
the pelvis. Unreadable images are reported and left out, and the exit code is then 1.

Without --boxes a run's network sees the whole image, which should hold one hand, or one person, and
little else; with --detector mediapipe it sees the hands, or the person, that MediaPipe finds, with
--detector rtmlib all people that rtmlib finds. A box is a square,
given by the x and y of its upper left corner and its side in px, in a JSON file
{"NAME": [x, y, side]}, or [left, top, width, height], or a list of such boxes per image;
annotations as COCO's have boxes, too. Boxes of hands can also come from known joints,
such as those of the frame before: predictions.json, a folder of JSON files with "hand_pts", or a
.txt list (see handjax evaluate --help). They are then cut by the crop rule of the run, as
in its evaluation. Names may lack .png or .jpg.

handjax evaluate compares predictions.json with ground truth.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, UInt8

from handjax import run
from handjax.data.formats.hand_labels import ORDERS_2D, write_hands_json
from handjax.data.formats.image import ENDINGS, read_image, rgb_pixels
from handjax.data.formats.predictions_npz import Predictions2d, write_predictions
from handjax.engine import cli, sharding
from handjax.engine.files import refuse_to_replace
from handjax.engine.step import TrainState
from handjax.pose.skeleton import SKELETONS, Skeleton
from handjax.pose.skeleton_file import NAME as OWN
from handjax.prediction import common, drawing, found_images
from handjax.prediction.boxes import Box, Boxes, cut, read_boxes, whole_image
from handjax.prediction.common import LeftOut
from handjax.prediction.network import check_finite
from handjax.prediction.recognizers import DETECTORS
from handjax.reports import page as report
from handjax.sources.own_joints import own_joints

# Task that reads RGB images of hands → its joints, unless they are a user's own.
READS_IMAGES = {"keypoints2d": SKELETONS["hand21"]}

# Crops, and the affine maps of their pixels to those of their images → rows of a task.
Network = Callable[
    [UInt8[np.ndarray, "n s s 3"], Float[np.ndarray, "n 2 3"]], Mapping[str, np.ndarray]
]


class DetectedHand(NamedTuple):
    """The joints in one box of an image, px of the image."""

    name: str
    box: Box
    joints_uv: Float[np.ndarray, "j 2"]
    confidence: Float[np.ndarray, " j"]


class ImageResult(NamedTuple):
    """An image and the hands in it."""

    pixels: UInt8[np.ndarray, "h w 3"]
    hands: list[DetectedHand]


def parser() -> cli.Parser:
    """The flags of `handjax predict images`."""
    flags = cli.Parser(prog="handjax predict images", description=__doc__)
    add = flags.add_argument
    add("input", metavar="INPUT", nargs="+", help="folders of images, or images")
    add("--workdir", metavar="RUN", help="folder of the trained run (default: MediaPipe)")
    add("--model", choices=("hand-rgb", "body-rgb"), help="of MediaPipe (default: hand-rgb)")
    add(
        "--detector",
        choices=DETECTORS,
        help="what finds hands (mediapipe), or people (mediapipe, one per image, or rtmlib), for a "
        "run (default: none: --boxes, or the whole image)",
    )
    add(
        "--boxes",
        metavar="FILE",
        help="where hands or people are: boxes as JSON, or known joints of hands (default: the "
        "whole image)",
    )
    add(
        "--dataset",
        choices=ORDERS_2D,
        help="joint order of --boxes, for files without joint names",
    )
    add(
        "--side",
        choices=("left", "right"),
        help="handedness; required by runs with config.task.mirror_left",
    )
    add(
        "--checkpoint", metavar="WHICH", default="last", help="last, best or a step (default: last)"
    )
    common.add_output_flags(flags, default="RUN/predictions")
    return flags


def main(argv: Sequence[str]) -> None:
    """Run the command; ValueError and OSError are invalid input."""
    argv, overrides = cli.split_overrides(argv)
    flags = parser().parse_args(argv)
    if not flags.workdir and not flags.output:
        raise ValueError("--output OUT: expected a folder for the results")
    common.check_network(model=flags.model, workdir=flags.workdir)
    folder = Path(flags.output or Path(flags.workdir) / "predictions")
    if not flags.workdir:
        if overrides:
            raise ValueError(f"--{overrides[0]}: a config is that of a run; expected --workdir RUN")
        if flags.model == "body-rgb":
            found_images.found_people(flags, folder)
        else:
            found_images.detected_hands(flags, folder)
        return
    workdir = Path(flags.workdir)
    config = run.read_config(workdir, overrides)
    finds = flags.detector not in (None, "none")
    if overrides and finds:
        raise ValueError(f"--{overrides[0]}: with --detector a run is taken as it was trained")
    if config.task.name == "body" and not overrides:
        found_images.people(flags, folder)
        return
    if finds:
        found_images.detected_hands(flags, folder)
        return
    if config.task.name not in READS_IMAGES:
        raise ValueError(
            f"{workdir}: config.task.name={config.task.name} predicts no joints in RGB images; "
            f"expected a run of {', '.join(READS_IMAGES)} or body, without overrides"
        )
    if config.task.get("mirror_left") and not flags.side:
        raise ValueError(
            f"{workdir}: config.task.mirror_left needs the handedness: "
            "add --side left or --side right, or --detector mediapipe"
        )
    skeleton = own_joints(workdir, config) or READS_IMAGES[config.task.name]
    images = common.list_inputs(flags.input, ENDINGS, exclude=folder)
    source = common.inputs_in_words(flags.input)
    boxes: Boxes = whole_image
    if flags.boxes:
        boxes = read_boxes(flags.boxes, flags.dataset or "", config, skeleton)
    refuse_to_replace(folder, common.OUTPUTS, flags.overwrite)

    opened = run.build(config, train=False, source=run.no_source(skeleton), workdir=workdir)
    restored = list(opened.restore(flags.checkpoint))
    if len(restored) > 1:
        raise ValueError(f"--checkpoint {flags.checkpoint}: expected one: last, best or a step")
    ((step, state),) = restored
    task, batch_size = opened.task, opened.eval_batch_size
    print(f"checkpoint of step {step}, {len(images)} images of {source}", flush=True)

    hands: list[DetectedHand] = []

    def draw(name: str, result: ImageResult) -> np.ndarray:
        hands.extend(result.hands)
        return overlay(result.pixels, result.hands, skeleton)

    size = task.dummy_inputs(1)["x"].shape[1]
    network = run_network(opened, state, flags.side)
    results = predict(images, boxes, network, size, batch_size)
    failed = common.process(source, len(images), results, folder / "overlays", draw)
    subtitle = f"{source}, {len(images)} images"
    write(folder, hands, failed, skeleton, f"{task.title}, step {step}", subtitle)
    common.exit_if_incomplete(failed, len(images))


def run_network(opened: run.Run, state: TrainState, side: str | None) -> Network:
    """The run's network on at most `eval_batch_size` crops; `side`: their handedness, if given."""
    batch_size = opened.eval_batch_size

    def network(
        crops: UInt8[np.ndarray, "n s s 3"], source_from_image: Float[np.ndarray, "n 2 3"]
    ) -> dict[str, np.ndarray]:
        rows = np.arange(batch_size) % len(crops)  # a full batch, padded with the first crops
        batch = {
            "image": crops[rows],
            "source_from_image": source_from_image[rows],
            "index": rows.astype(np.int32),
            "mask": np.arange(batch_size) < len(crops),
        }
        if side:
            batch["left"] = np.full(batch_size, side == "left")
        found, _ = jax.device_get(opened.eval_step(state, sharding.put_batch(batch, opened.mesh)))
        check_finite(found["finite"][: len(crops)], f"the network of step {int(state.step)}")
        return {name: found[name][: len(crops)] for name in ("joints_uv", "confidence")}

    return network


def predict(
    images: Mapping[str, Path], boxes: Boxes, network: Network, size: int, batch_size: int
) -> Iterator[tuple[str, ImageResult | LeftOut]]:
    """The hands in each image, in the order of the images.

    `batch_size` images are read at a time, and their boxes go through the network in batches of at
    most that many crops of `size` px per side.
    """
    names = list(images)
    for start in range(0, len(names), batch_size):
        chunk: dict[str, ImageResult | LeftOut] = {}
        hands: dict[str, list[DetectedHand]] = {}
        cuts: list[tuple[str, Box, np.ndarray, np.ndarray]] = []
        for name in names[start : start + batch_size]:
            try:
                pixels = rgb_pixels(read_image(images[name])[1])
                squares = boxes(name, pixels.shape[:2])
                own = [(name, box, *cut(pixels, box, size, name)) for box in squares]
            except (ValueError, OSError) as error:
                chunk[name] = common.left_out(error)
                continue
            cuts += own
            hands[name] = []
            chunk[name] = ImageResult(pixels, hands[name])
        for first in range(0, len(cuts), batch_size):
            owners, squares, crops, affines = zip(*cuts[first : first + batch_size], strict=True)
            found = network(np.stack(crops), np.stack(affines))
            rows = zip(owners, squares, found["joints_uv"], found["confidence"], strict=True)
            for name, box, uv, confidence in rows:
                hands[name].append(DetectedHand(name, box, uv, confidence))
        yield from chunk.items()


def overlay(
    pixels: UInt8[np.ndarray, "h w 3"], hands: Sequence[DetectedHand], skeleton: Skeleton
) -> UInt8[np.ndarray, "a b 3"]:
    """The image with boxes and skeletons, resized to a longer side within `drawing.SIDES_PX`."""
    drawn, scale = drawing.resized(pixels, drawing.SIDES_PX)

    def resized(uv: np.ndarray) -> np.ndarray:
        return (np.asarray(uv, np.float64) + 0.5) * scale - 0.5

    for hand in hands:
        u, v, half = hand.box.u, hand.box.v, hand.box.side / 2
        corners = resized(np.array([u - half, v - half, u + half, v + half]))
        drawing.draw_sample(drawn, resized(hand.joints_uv), skeleton, corners)
    return drawn


def write(
    folder: Path,
    hands: Sequence[DetectedHand],
    failed: Mapping[str, str],
    skeleton: Skeleton,
    title: str,
    subtitle: str,
) -> None:
    """predictions.json, predictions.npz and report.html. The second hand of NAME is NAME#2."""
    hands_of: dict[str, int] = {}
    ids = []
    for hand in hands:
        hands_of[hand.name] = number = hands_of.get(hand.name, 0) + 1
        ids.append(f"{hand.name}#{number}" if number > 1 else hand.name)
    common.clear(folder)
    rows = [
        {
            "img_name": name,
            "hand_pts": np.column_stack([hand.joints_uv, hand.confidence]).round(4).tolist(),
            "box": [hand.box.u - hand.box.side / 2, hand.box.v - hand.box.side / 2, hand.box.side],
        }
        for name, hand in zip(ids, hands, strict=True)
    ]
    write_hands_json(folder / "predictions.json", skeleton.joints, rows)
    joints, confidence = (
        np.stack([getattr(hand, name) for hand in hands]) for name in ("joints_uv", "confidence")
    )
    arrays = Predictions2d(tuple(ids), joints, skeleton.joints, confidence)
    write_predictions(folder / "predictions.npz", arrays)
    cards = report.keys(
        report.Key("Images", len(hands_of)),
        report.Key("Objects" if skeleton.name == OWN else "Hands", len(hands)),
        report.Key("Left out", len(failed)),
    )
    overlays = {name: f"{name} with the predicted skeleton" for name in hands_of}
    common.write_page(folder, title, subtitle, [cards], failed, "Images", overlays, skeleton)
