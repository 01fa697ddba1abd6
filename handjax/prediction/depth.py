"""handjax predict depth: the hand in your own depth images.

    handjax predict depth INPUT [INPUT ...] --camera FX,FY,CX,CY --output OUT [--unit MM]
        [--side left]
        [--model spherehand | --workdir RUN | --weights NPZ | --start rest] [--refine STEPS]
        [--sequence]

INPUT is a folder of depth images, or one image, in units of --unit mm; 0 is missing: 16-bit PNG,
TIFF or PGM files of one channel, float TIFF or PFM, .npy, or .npz of one array or one called
"depth". The hand network finds the hand within --range and whether it is a right or a left one;
--model spherehand takes the nearest object for a right hand instead.

With --refine a hand of 41 spheres is then fitted to the depth within 300 mm, by --method. lm weighs
the joints of the hand network against the depth; a dozen steps do. adam and lbfgs start there, or
with --start rest from 24 hands in all directions, and trust the depth alone.
With --sequence the images are frames in the order of their names, and each fit starts from the
frame before.

OUT gets predictions.json, predictions.npz, overlays/NAME.png and report.html. Joints and sphere
centers are in camera mm: x right, y down, z forward; std_mm is the standard deviation of a joint on
each axis; predictions.npz has the covariance of fitted joints as well. A presence below 0.5 means
that there may be no hand. The distance of a hand is the mean distance of its measured pixels to the
nearest surface of a sphere; pixels of the forearm do not count. With --mesh glb (or ply, obj)
meshes/NAME.glb is the skin of the hand of spheres, after the fit if there is one.
Unreadable images are reported and left out, and the exit code is then 1.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from tqdm import tqdm

from handjax.data.cameras import HELP, PinholeImage, depth_range, read_camera
from handjax.data.formats.depth import DEPTH_FORMATS, ENDINGS, read_depth
from handjax.engine import cli
from handjax.engine.files import new_path, refuse_to_replace, write_atomic
from handjax.engine.warm_start import read_weights
from handjax.fitting import depth_cube, solver, sphere_network
from handjax.fitting.depth_cube import DepthCube
from handjax.fitting.depth_fitter import DepthFitter, SeenJoints
from handjax.fitting.frame_fitter import SKELETON, FittedFrame, FrameFitter, PlacedHand
from handjax.pose.cube import EXTENT_MM
from handjax.pose.skeleton import rgb
from handjax.prediction import common, meshes
from handjax.prediction.depth_predictors import VoxelPredictor
from handjax.prediction.hand_depth import HandDepthPredictor
from handjax.prediction.hand_search import (
    UNSURE,
    HandFound,
    Networks,
    included,
    is_hand_network,
)
from handjax.prediction.hand_voxels import HandVoxelPredictor
from handjax.prediction.predictor import predictor_of
from handjax.reports import page as report
from handjax.rigs import hand

OVERLAY_PX = 400  # side of an overlay, or of each of its two halves


def parser() -> cli.Parser:
    """The flags of `handjax predict depth`."""
    flags = cli.Parser(prog="handjax predict depth", description=__doc__)
    add = flags.add_argument
    add("input", metavar="INPUT", nargs="+", help="folders of depth images, or images")
    add("--camera", metavar="CAMERA", required=True, help=HELP)
    add("--unit", type=float, default=1.0, metavar="MM", help="mm per unit of the files (1)")
    add(
        "--format",
        choices=tuple(DEPTH_FORMATS),
        default="png16",
        help="format of the PNG files (default: png16)",
    )
    add("--range", metavar="NEAR,FAR", help="where hands are, mm from the camera (the network's)")
    add("--side", choices=("right", "left"), help="handedness (default: found by the hand network)")
    add(
        "--model",
        choices=("hand-depth", "spherehand"),
        help="included network (default: hand-depth)",
    )
    add("--workdir", metavar="RUN", help="run whose newest checkpoint is the network")
    add("--weights", metavar="NPZ", help="weights of the network, instead of a run")
    add(
        "--start",
        choices=("network", "rest"),
        default="network",
        help="where the fit starts (default: network)",
    )
    add(
        "--refine",
        type=int,
        metavar="STEPS",
        help="steps of the fit; 0: the network alone (default: 0, or 150 without the hand network)",
    )
    add(
        "--method",
        choices=("lm", *solver.METHODS),
        help="how it is fitted (default: lm with the hand network, else adam)",
    )
    add("--no_forearm", action="store_true", help="there is no forearm in the cube")
    add("--sequence", action="store_true", help="start each image from the one before")
    meshes.add_flag(flags)
    common.add_output_flags(flags)
    return flags


def main(argv: Sequence[str]) -> None:
    """Run the command; ValueError and OSError are invalid input."""
    flags = parser().parse_args(argv)
    folder = Path(flags.output)
    images = common.list_inputs(flags.input, ENDINGS, exclude=folder)
    source = common.inputs_in_words(flags.input)
    camera = read_camera(flags.camera)
    _check(flags)
    range_mm = depth_range("--range", flags.range) if flags.range else depth_cube.RANGE_MM
    refuse_to_replace(folder, (*common.OUTPUTS, meshes.FOLDER), flags.overwrite)
    finder, network = _networks(flags)
    method = flags.method or ("lm" if finder else "adam")
    if method == "lm" and finder is None:
        raise ValueError("--method lm weighs the hand network's joints: use it, or adam or lbfgs")
    steps = flags.refine if flags.refine is not None else 0 if finder else 150
    fit = _fit(method, network, steps, forearm=not flags.no_forearm, sequence=flags.sequence)
    if finder and flags.range:
        finder.range_mm = range_mm
    frames: list[DepthResult] = []

    def predict(name: str, path: Path) -> tuple[PinholeImage, DepthResult]:
        image = camera.pinhole(read_depth(path, form=flags.format, scale=flags.unit))
        if finder is None:
            cube = depth_cube.crop_cube(*image, range_mm, flags.side == "left")
            return image, DepthResult(fit(name, cube, image, None), None)
        found = finder.locate(*image, flags.side or "auto")
        left, center = bool(found.side < 0), np.asarray(found.center)
        cube = depth_cube.crop_cube(*image, left=left, center_xyz=center)
        return image, DepthResult(fit(name, cube, image, found), found)

    def draw(name: str, result: tuple[PinholeImage, DepthResult]) -> np.ndarray:
        image, frame = result
        frames.append(frame)
        if flags.mesh:
            meshes.write(folder, name, frame.fitted, flags.mesh)
        tqdm.write(_line(name, frame, bool(steps)))
        return overlay(*image, frame.fitted)

    results = common.one_by_one(images, predict)
    failed = common.process(source, len(images), results, folder / "overlays", draw)
    how = f"{flags.start}, {steps} steps of {method}" if steps else "network alone"
    write(folder, frames, failed, subtitle=f"{source}, from {how}")
    common.exit_if_incomplete(failed, len(images))


class DepthResult(NamedTuple):
    """The hand of one depth image; `found`: what the hand network says, if it was asked."""

    fitted: FittedFrame
    found: HandFound | None

    @property
    def side(self) -> str:
        return "left" if self.fitted.cube.left else "right"


def _check(flags: argparse.Namespace) -> None:
    """ValueError or FileNotFoundError for flags that do not go together."""
    if not 0 < flags.unit < 1e6:
        raise ValueError(f"--unit {flags.unit:g}: expected mm, above 0")
    rest = flags.start == "rest"
    if flags.refine is not None and (flags.refine < 0 or (rest and not flags.refine)):
        raise ValueError(
            f"--refine {flags.refine}: expected 0 steps or more, and with --start rest 1 or more"
        )
    named = [n for n in ("model", "workdir", "weights") if getattr(flags, n)]
    if rest and named:
        raise ValueError(f"--start rest uses no network: leave out --{' and --'.join(named)}")
    common.check_network(model=flags.model, workdir=flags.workdir, weights=flags.weights)
    meshes.check(flags.mesh)


def _networks(
    flags: argparse.Namespace,
) -> tuple[HandDepthPredictor | None, sphere_network.SphereNetwork | None]:
    """The hand network, or that of the sphere hand, or neither."""
    if flags.start == "rest":
        return None, None
    if flags.model == "spherehand":
        return None, sphere_network.load()
    path = flags.workdir or flags.weights
    if not path:
        return HandDepthPredictor.included(), None
    if flags.workdir and issubclass(predictor_of(Path(path)), (VoxelPredictor, HandVoxelPredictor)):
        raise ValueError(
            f"{path}: a run of v2v, which has no spheres to fit; use handjax predict video INPUT "
            f"--workdir {path}: it reads folders of depth images as well"
        )
    variables = read_weights(path)
    if is_hand_network(variables):
        return HandDepthPredictor(str(path), Networks(variables, included().finder)), None
    return None, sphere_network.load(path)


def _fit(
    method: str, network: sphere_network.SphereNetwork | None, steps: int, **how: bool
) -> Callable[[str, DepthCube, PinholeImage, HandFound | None], FittedFrame]:
    """The fit of an image's cube, from what the hand network found in it, if it was asked."""
    if method == "lm":
        weigh = DepthFitter(steps, **how)

        def fit(
            name: str, cube: DepthCube, image: PinholeImage, found: HandFound | None
        ) -> FittedFrame:
            assert found is not None  # without the hand network the method is refused
            seen = SeenJoints(np.asarray(found.joints), np.asarray(found.std), *image)
            return weigh(name, cube, seen)

        return fit
    track = FrameFitter(network, steps, method, **how)

    def fit_from(
        name: str, cube: DepthCube, image: PinholeImage, found: HandFound | None
    ) -> FittedFrame:
        return track(name, cube, found and cube.from_camera(np.asarray(found.joints)))

    return fit_from


def _line(name: str, frame: DepthResult, fitted: bool) -> str:
    """What the command prints of an image."""
    before, after = frame.fitted.before.distance_mm, frame.fitted.after.distance_mm
    distance = f"{before:.1f} → {after:.1f} mm" if fitted else f"{before:.1f} mm"
    sure = ""
    if frame.found is not None:
        presence = float(frame.found.presence)
        sure = f"{frame.side} hand, presence {presence:.2f}, "
        sure = ("no hand? " if presence < UNSURE else "") + sure
    return f"{name}: {sure}{distance} from the depth, {frame.fitted.seconds:.1f} s"


# ---------------------------------------------------------------- overlays


def overlay(
    depth: Float[np.ndarray, "h w"], k: Float[np.ndarray, "3 3"], frame: FittedFrame
) -> UInt8[np.ndarray, "s t 3"]:
    """The cube's part of the image with spheres and joints: the hand before the fit, and on its
    right the fitted one, if it was fitted."""
    grey, affine = common.depth_window(depth, k, frame.cube.center_xyz, EXTENT_MM, OVERLAY_PX)
    shown = [frame.before] if frame.after is frame.before else [frame.before, frame.after]
    return np.concatenate([_draw(grey.copy(), k, affine, placed) for placed in shown], axis=1)


def _draw(
    pixels: UInt8[np.ndarray, "s s 3"],
    k: Float[np.ndarray, "3 3"],
    affine: Float[np.ndarray, "2 3"],
    placed: PlacedHand,
) -> UInt8[np.ndarray, "s s 3"]:
    """Draw a hand into `pixels`, the nearest sphere last; `affine`: px of the image → `pixels`."""
    ahead, uv = common.to_window(placed.centers, k, affine)
    for s in np.argsort(-placed.centers[:, 2]):
        if ahead[s]:
            radius = int(affine[0, 0] * k[0, 0] * placed.radii[s] / placed.centers[s, 2] * 16)
            at, colour = common.sixteenths(uv[s]), rgb(hand.SPHERE_GROUPS[s])
            cv2.circle(pixels, at, radius, colour, 1, cv2.LINE_AA, 4)
    ahead, uv = common.to_window(placed.joints, k, affine)
    common.draw_bones(pixels, uv, SKELETON, 2, visible=ahead)
    return pixels


# ---------------------------------------------------------------- results


def write(
    folder: Path,
    frames: Sequence[DepthResult],
    failed: Mapping[str, str],
    subtitle: str,
) -> None:
    """predictions.json, predictions.npz and report.html."""
    common.clear(folder)
    fitted = [frame.fitted for frame in frames]
    columns = {
        "joints_xyz": [f.after.joints for f in fitted],
        "centers_xyz": [f.after.centers for f in fitted],
        "radii_mm": [f.after.radii for f in fitted],
        "cube_center_xyz": [f.cube.center_xyz for f in fitted],
        "pose": [f.fit.pose for f in fitted],
        "size": [np.exp(f.fit.log_size) for f in fitted],
        "fingers": [np.exp(f.fit.log_fingers) for f in fitted],
        "thickness": [np.exp(f.fit.log_flesh) for f in fitted],
        "distance_before_mm": [f.before.distance_mm for f in fitted],
        "distance_mm": [f.after.distance_mm for f in fitted],
    }
    if found := [frame.found for frame in frames if frame.found is not None]:
        columns["std_mm"] = [
            one.std if f.std is None else f.std for one, f in zip(found, fitted, strict=True)
        ]
        columns["presence"] = [one.presence for one in found]
    arrays = {name: np.asarray(values, np.float32) for name, values in columns.items()}
    names, sides = [frame.name for frame in fitted], [frame.side for frame in frames]
    texts = {"ids": names, "side": sides, "joint_names": SKELETON.joints}
    content: dict[str, Any] = {name: np.array(text) for name, text in texts.items()} | arrays
    if found and all(f.covariance is not None for f in fitted):
        content["covariance_mm2"] = np.array([f.covariance for f in fitted], np.float32)
    with new_path(folder / "predictions.npz") as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **content)
    _write_json(folder / "predictions.json", names, arrays, sides)
    both = _fitted(frames)
    shown = "the hand before and after the fit" if both else "the hand"
    overlays = {name: f"{name}: {shown}, over the depth" for name in names}
    summary = _summary(frames, failed, arrays)
    common.write_page(
        folder,
        "Hands in depth images",
        subtitle,
        summary,
        failed,
        "Before and after" if both else "Hands",
        overlays,
        SKELETON,
        {name: f.after.joints for name, f in zip(names, fitted, strict=True)},
    )


def _fitted(frames: Sequence[DepthResult]) -> bool:
    """Whether any hand was fitted, so that before and after differ."""
    return any(frame.fitted.after is not frame.fitted.before for frame in frames)


def _write_json(
    path: Path, names: Sequence[str], arrays: Mapping[str, np.ndarray], sides: Sequence[str]
) -> None:
    """The arrays again, one line per image, and what their entries are called."""
    hands = [
        {
            "img_name": name,
            "side": sides[i],
            **{key: values[i].astype(float).round(4).tolist() for key, values in arrays.items()},
        }
        for i, name in enumerate(names)
    ]
    head = {
        "joints": list(SKELETON.joints),
        "pose_names": list(hand.POSE_NAMES),
        "fingers": list(hand.FINGERS),
    }
    start = json.dumps(head, ensure_ascii=False)[:-1]
    lines = ",\n".join("  " + json.dumps(one, ensure_ascii=False, allow_nan=False) for one in hands)
    write_atomic(path, f'{start},\n "hands": [\n{lines}\n]}}\n')


def _summary(
    frames: Sequence[DepthResult], failed: Mapping[str, str], arrays: Mapping[str, np.ndarray]
) -> list[report.Block]:
    before, after = (float(arrays[f"distance{when}_mm"].mean()) for when in ("_before", ""))
    both = _fitted(frames)
    keys = (
        (
            report.Key("Distance before the fit", before, "mm"),
            report.Key("Distance after the fit", after, "mm"),
        )
        if both
        else (report.Key("Distance from the depth", after, "mm"),)
    )
    cards = report.keys(
        report.Key("Images", len(frames)), *keys, report.Key("Left out", len(failed))
    )
    rows = [
        (
            fitted.name,
            side if found is None else f"{side}, {float(found.presence):.2f}",
            *((fitted.before.distance_mm,) if both else ()),
            fitted.after.distance_mm,
            float(np.exp(fitted.fit.log_size)),
            fitted.forearm_share,
            fitted.seconds,
        )
        for (fitted, found), side in ((frame, frame.side) for frame in frames)
    ]
    distances = ("before, mm", "after, mm") if both else ("distance, mm",)
    table = report.table(
        ("image", "side, presence", *distances, "size", "forearm, share of the pixels", "seconds"),
        rows,
        caption="Mean distance of the hand's measured pixels to the nearest surface of a sphere",
    )
    return [cards, table]
