"""Several hands or people in each of many pictures: `handjax predict images` with a detector, and
with runs of configs/body.py."""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from handjax.data.formats.hand_labels import write_hands_json
from handjax.data.formats.image import ENDINGS, read_image, rgb_pixels
from handjax.engine.files import new_path, refuse_to_replace, write_atomic
from handjax.prediction import common, drawing, saving
from handjax.prediction import people as people_detectors
from handjax.prediction.base import Prediction
from handjax.prediction.boxes import rectangles_of
from handjax.prediction.frames import Frame
from handjax.prediction.image_predictors import BodyPredictor, HandPredictor
from handjax.prediction.mediapipe_body import MediaPipeBodyPredictor
from handjax.prediction.mediapipe_hands import MediaPipePredictor
from handjax.prediction.predictor import load
from handjax.prediction.recognizers import (
    DetectedHands,
    DetectedPeople,
    FoundPeople,
    check_hand_detector,
)
from handjax.reports import page as report

# A picture's name and its pixels → single samples, with joints in px of it.
Finder = Callable[[str, UInt8[np.ndarray, "h w 3"]], Sequence[Prediction]]
_BOTH = "--boxes and --detector both say where to look: give one"
OUTPUTS = (*common.OUTPUTS, "predictions.csv")


class FoundInImage(NamedTuple):
    """A picture and what was found in it."""

    pixels: UInt8[np.ndarray, "h w 3"]
    found: Sequence[Prediction]


def _read(flags: argparse.Namespace, folder: Path) -> dict[str, Path]:
    """The images of the inputs, which are not written yet."""
    images = common.list_inputs(flags.input, ENDINGS, exclude=folder)
    refuse_to_replace(folder, OUTPUTS, flags.overwrite)
    return images


def detected_hands(flags: argparse.Namespace, folder: Path) -> None:
    """Hands that MediaPipe finds, with its own joints or those of a run."""
    if flags.boxes:
        raise ValueError(_BOTH)
    check_hand_detector(flags.detector)
    if flags.side and not flags.workdir:
        raise ValueError("--side is for --workdir RUN; MediaPipe finds the sides of hands itself")
    images = _read(flags, folder)
    predictor = load(flags.workdir, flags.checkpoint) if flags.workdir else None
    if predictor is not None and not isinstance(predictor, HandPredictor):
        raise ValueError(f"--detector {flags.detector}: this run predicts no hands in RGB")
    detector = MediaPipePredictor()
    title = f"Hands in images: {predictor.name if predictor else detector.name}"
    found = DetectedHands(detector, predictor, flags.side)

    def finder(name: str, pixels: UInt8[np.ndarray, "h w 3"]) -> list[Prediction]:
        return found(Frame(name, pixels, 0.0))

    source = common.inputs_in_words(flags.input)
    run(images, finder, folder, title, source, "hands")


def found_people(flags: argparse.Namespace, folder: Path) -> None:
    """The person in each image that MediaPipe finds, with its joints."""
    if flags.side or flags.dataset or flags.boxes or flags.detector not in (None, "mediapipe"):
        raise ValueError(
            "--side, --dataset, --boxes and --detector are for runs; body-rgb finds the person "
            "itself"
        )
    images = _read(flags, folder)
    predictor = MediaPipeBodyPredictor()
    found = FoundPeople(predictor)

    def finder(name: str, pixels: UInt8[np.ndarray, "h w 3"]) -> list[Prediction]:
        return found(Frame(name, pixels, 0.0))

    title, source = f"People in images: {predictor.name}", common.inputs_in_words(flags.input)
    run(images, finder, folder, title, source, "people")


def people(flags: argparse.Namespace, folder: Path) -> None:
    """People by a run of configs/body.py: in given boxes, found ones, or whole images."""
    if flags.side or flags.dataset:
        raise ValueError("--side and --dataset are for hands; this run predicts people")
    if flags.boxes and flags.detector in people_detectors.DETECTORS:
        raise ValueError(_BOTH)
    boxes = rectangles_of(flags.boxes) if flags.boxes else None
    images = _read(flags, folder)
    predictor = load(flags.workdir, flags.checkpoint)
    assert isinstance(predictor, BodyPredictor)
    found = None
    if flags.detector in people_detectors.DETECTORS:
        found = DetectedPeople(people_detectors.DETECTORS[flags.detector](), predictor)

    def finder(name: str, pixels: UInt8[np.ndarray, "h w 3"]) -> list[Prediction]:
        if found is not None:
            return found(Frame(name, pixels, 0.0))
        return list(predictor(pixels, None if boxes is None else boxes(name)))

    title, source = f"People in images: {predictor.name}", common.inputs_in_words(flags.input)
    run(images, finder, folder, title, source, "people")


def run(
    images: Mapping[str, Path], finder: Finder, folder: Path, title: str, source: str, what: str
) -> None:
    """Finds and writes; `source`: the input in words, `what`: "hands" or "people".

    Exits with code 1 if pictures were left out; ValueError if all were.
    """
    results: dict[str, Sequence[Prediction]] = {}

    def find(name: str, path: Path) -> FoundInImage:
        pixels = np.ascontiguousarray(rgb_pixels(read_image(path)[1]))
        return FoundInImage(pixels, finder(name, pixels))

    def draw(name: str, result: FoundInImage) -> np.ndarray:
        results[name] = result.found
        if not result.found:
            return drawing.resized(result.pixels, drawing.SIDES_PX)[0]
        return drawing.over_frame(result.found)

    failed = common.process(
        source, len(images), common.one_by_one(images, find), folder / "overlays", draw
    )
    _write(folder, results, failed, title, f"{source}, {len(images)} images", what)
    count = sum(map(len, results.values()))
    without = sum(not found for found in results.values())
    print(f"{count} {what} in {len(results)} images; {without} images without")
    common.exit_if_incomplete(failed, len(images))


def _write(
    folder: Path,
    results: Mapping[str, Sequence[Prediction]],
    failed: Mapping[str, str],
    title: str,
    subtitle: str,
    what: str,
) -> None:
    """predictions.json, .csv, .npz and report.html. The second hand of NAME is NAME#2."""
    common.clear(folder)
    (folder / "predictions.csv").unlink(missing_ok=True)
    found = [
        (f"{name}#{number}" if number > 1 else name, one)
        for name, all_of_it in results.items()
        for number, one in enumerate(all_of_it, 1)
    ]
    _write_json(folder / "predictions.json", found, what)
    names, hands = [name for name, _ in found], [one for _, one in found]
    keys = [(name,) for name in names]
    saving.write_csv(folder / "predictions.csv", ("image",), keys, hands)
    _write_npz(folder / "predictions.npz", names, hands)
    without = sum(not all_of_it for all_of_it in results.values())
    cards = report.keys(
        report.Key("Images", len(results)),
        report.Key(what.capitalize(), len(found)),
        report.Key("Images without", without),
        report.Key("Left out", len(failed)),
    )
    overlays = {name: f"{name} with what was found in it" for name in results}
    skeleton = next((one.skeleton for one in hands), None)
    spatial = {name: np.asarray(one.xyz) for name, one in found if one.xyz is not None}
    common.write_page(
        folder, title, subtitle, [cards], failed, "Images", overlays, skeleton, spatial
    )


def _write_json(path: Path, found: Sequence[tuple[str, Prediction]], what: str) -> None:
    """Hands in the form that `handjax evaluate` reads, people by the names of their joints."""
    if what == "hands":
        rows = [{"img_name": name, "hand_pts": _points(one), **_known(one)} for name, one in found]
        joints = found[0][1].joints if found else ()
        write_hands_json(path, joints, rows)
        return
    units = saving.units(found[0][1]) if found else {}
    people = [{"img_name": name, **saving.sample(one)} for name, one in found]
    text = json.dumps({"units": units, "people": people}, ensure_ascii=False, allow_nan=False)
    write_atomic(path, text + "\n")


def _points(one: Prediction) -> list[list[float]]:
    """x, y and confidence of every joint, 1 where the system gives none."""
    assert one.uv is not None
    sure = np.ones(len(one.joints)) if one.confidence is None else one.confidence
    return np.column_stack([one.uv, sure]).astype(float).round(4).tolist()


def _known(one: Prediction) -> dict[str, object]:
    values = saving.sample(one)
    return {name: values[name] for name in ("side", "box") if name in values}


def _write_npz(path: Path, names: Sequence[str], found: Sequence[Prediction]) -> None:
    """The arrays of all, one row each, by the names of their images."""
    renamed = {"uv": "joints_uv", "xyz": "joints_xyz"}
    arrays = {renamed.get(name, name): value for name, value in saving.joined(found).items()}
    with new_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, ids=np.array(names, np.str_), **arrays)
