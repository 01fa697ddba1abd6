"""handjax predict depth: the hand in your own depth images.

    handjax predict depth INPUT --camera FX,FY,CX,CY --output OUT [--unit MM]
        [--side left] [--start rest | --workdir RUN | --weights NPZ] [--refine STEPS] [--sequence]

INPUT is a folder of depth images, or one image, in units of --unit mm; 0 is missing: 16-bit PNG,
TIFF or PGM files of one channel, float TIFF or PFM, .npy, or .npz of one array or one called
"depth". The hand is the nearest object within --range. The network of a run of
configs/spherehand.py sees a cube of 300 mm around it.

Its hand of 41 spheres is then fitted to the depth in --refine steps, starting from the network's
prediction or, with --start rest, from 24 hands in all directions. With --sequence the images are
frames in the order of their names, and each starts from the frame before.

OUT gets predictions.json, predictions.npz, overlays/NAME.png and report.html. Joints and sphere
centers are in camera mm: x right, y down, z forward. The distance of a hand is the mean distance of
its measured pixels to the nearest surface of a sphere; pixels of the forearm do not count.
Unreadable images are reported and left out, and the exit code is then 1.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from tqdm import tqdm

from handjax.data.cameras import HELP, PinholeImage, depth_range, read_camera
from handjax.data.formats.depth import DEPTH_FORMATS, ENDINGS, read_depth
from handjax.engine import cli
from handjax.engine.files import refuse_to_replace
from handjax.fitting import depth_cube, solver, sphere_network
from handjax.fitting.frame_fitter import SKELETON, FittedFrame, FrameFitter, PlacedHand
from handjax.pose.cube import EXTENT_MM
from handjax.pose.skeleton import rgb
from handjax.prediction import common
from handjax.reports import page as report
from handjax.rigs import hand

OVERLAY_PX = 400  # side of each of an overlay's two halves


def parser() -> cli.Parser:
    """The flags of `handjax predict depth`."""
    flags = cli.Parser(prog="handjax predict depth", description=__doc__)
    add = flags.add_argument
    add("input", metavar="INPUT", help="a folder of depth images, or one image")
    add("--camera", metavar="CAMERA", required=True, help=HELP)
    add("--unit", type=float, default=1.0, metavar="MM", help="mm per unit of the files (1)")
    add(
        "--format",
        choices=tuple(DEPTH_FORMATS),
        default="png16",
        help="format of the PNG files (default: png16)",
    )
    near, far = depth_cube.RANGE_MM
    add(
        "--range",
        default=f"{near:g},{far:g}",
        metavar="NEAR,FAR",
        help=f"where hands are, mm from the camera (default: {near:g},{far:g})",
    )
    add("--side", choices=("right", "left"), default="right", help="handedness (default: right)")
    add(
        "--start",
        choices=("network", "rest"),
        default="network",
        help="where the fit starts (default: network)",
    )
    add(
        "--workdir",
        metavar="RUN",
        help="run whose newest checkpoint is the network (default: the included network)",
    )
    add("--weights", metavar="NPZ", help="weights of the network, instead of a run")
    add(
        "--refine",
        type=int,
        metavar="STEPS",
        default=150,
        help="steps of the fit; 0: the network alone (default: 150)",
    )
    add(
        "--method",
        choices=solver.METHODS,
        default="adam",
        help="optimizer of the fit (default: adam)",
    )
    add("--no_forearm", action="store_true", help="there is no forearm in the cube")
    add("--sequence", action="store_true", help="start each image from the one before")
    common.add_output_flags(flags)
    return flags


def main(argv: Sequence[str]) -> None:
    """Run the command; ValueError and OSError are invalid input."""
    flags = parser().parse_args(argv)
    folder = Path(flags.output)
    images = common.list_images(Path(flags.input), ENDINGS, exclude=folder)
    camera, range_mm = read_camera(flags.camera), depth_range("--range", flags.range)
    if not 0 < flags.unit < 1e6:
        raise ValueError(f"--unit {flags.unit:g}: expected mm, above 0")
    if flags.refine < 0 or (flags.start == "rest" and not flags.refine):
        raise ValueError(
            f"--refine {flags.refine}: expected 0 steps or more, and with --start rest 1 or more"
        )
    if flags.start == "rest" and (flags.workdir or flags.weights):
        raise ValueError("--start rest uses no network: leave out --workdir and --weights")
    if flags.workdir and flags.weights:
        raise ValueError("--workdir and --weights both name a network: give one")
    if flags.workdir and not Path(flags.workdir).is_dir():
        raise FileNotFoundError(
            f"--workdir {flags.workdir}: no such folder; expected a trained run"
        )
    refuse_to_replace(folder, common.OUTPUTS, flags.overwrite)
    network = None if flags.start == "rest" else sphere_network.load(flags.workdir or flags.weights)
    fit = FrameFitter(network, flags.refine, flags.method, not flags.no_forearm, flags.sequence)

    frames: list[FittedFrame] = []

    def predict(name: str, path: Path) -> tuple[PinholeImage, FittedFrame]:
        image = camera.pinhole(read_depth(path, form=flags.format, scale=flags.unit))
        return image, fit(name, depth_cube.crop_cube(*image, range_mm, flags.side == "left"))

    def draw(name: str, result: tuple[PinholeImage, FittedFrame]) -> np.ndarray:
        image, frame = result
        frames.append(frame)
        before, after = frame.before.distance_mm, frame.after.distance_mm
        tqdm.write(f"{name}: {before:.1f} → {after:.1f} mm from the depth, {frame.seconds:.1f} s")
        return overlay(*image, frame)

    results = common.one_by_one(images, predict)
    failed = common.process(flags.input, len(images), results, folder / "overlays", draw)
    steps = f"{flags.start}, {flags.refine} steps of {flags.method}"
    how = steps if flags.refine else "network alone"
    write(folder, frames, failed, subtitle=f"{flags.input}, from {how}", side=flags.side)
    common.exit_if_incomplete(failed, len(images))


# ---------------------------------------------------------------- overlays


def overlay(
    depth: Float[np.ndarray, "h w"], k: Float[np.ndarray, "3 3"], frame: FittedFrame
) -> UInt8[np.ndarray, "s t 3"]:
    """The cube's part of the image with spheres and joints: on the left the hand before the fit,
    on the right the fitted hand."""
    grey, affine = common.depth_window(depth, k, frame.cube.center_xyz, EXTENT_MM, OVERLAY_PX)
    halves = [_draw(grey.copy(), k, affine, placed) for placed in (frame.before, frame.after)]
    return np.concatenate(halves, axis=1)


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
    frames: Sequence[FittedFrame],
    failed: Mapping[str, str],
    subtitle: str,
    side: str,
) -> None:
    """predictions.json, predictions.npz and report.html."""
    common.clear(folder)
    columns = {
        "joints_xyz": [f.after.joints for f in frames],
        "centers_xyz": [f.after.centers for f in frames],
        "radii_mm": [f.after.radii for f in frames],
        "cube_center_xyz": [f.cube.center_xyz for f in frames],
        "pose": [f.fit.pose for f in frames],
        "size": [np.exp(f.fit.log_size) for f in frames],
        "fingers": [np.exp(f.fit.log_fingers) for f in frames],
        "distance_before_mm": [f.before.distance_mm for f in frames],
        "distance_mm": [f.after.distance_mm for f in frames],
    }
    arrays = {name: np.asarray(values, np.float32) for name, values in columns.items()}
    names = [frame.name for frame in frames]
    texts = {"ids": names, "side": side, "joint_names": SKELETON.joints}
    content: dict[str, Any] = {name: np.array(text) for name, text in texts.items()} | arrays
    with (folder / "predictions.npz").open("xb") as file:
        np.savez_compressed(file, **content)
    _write_json(folder / "predictions.json", names, arrays, side)
    overlays = {
        name: f"{name}: the hand before and after the fit, over the depth" for name in names
    }
    summary = _summary(frames, failed, arrays)
    common.write_page(
        folder, "Sphere hand", subtitle, summary, failed, "Before and after", overlays
    )


def _write_json(
    path: Path, names: Sequence[str], arrays: Mapping[str, np.ndarray], side: str
) -> None:
    """The arrays again, one line per image, and what their entries are called."""
    hands = [
        {
            "img_name": name,
            **{key: values[i].astype(float).round(4).tolist() for key, values in arrays.items()},
        }
        for i, name in enumerate(names)
    ]
    head = {
        "side": side,
        "joints": list(SKELETON.joints),
        "pose_names": list(hand.POSE_NAMES),
        "fingers": list(hand.FINGERS),
    }
    start = json.dumps(head, ensure_ascii=False)[:-1]
    lines = ",\n".join("  " + json.dumps(one, ensure_ascii=False, allow_nan=False) for one in hands)
    path.write_text(f'{start},\n "hands": [\n{lines}\n]}}\n', encoding="utf-8")


def _summary(
    frames: Sequence[FittedFrame], failed: Mapping[str, str], arrays: Mapping[str, np.ndarray]
) -> list[report.Block]:
    before, after = (float(arrays[f"distance{when}_mm"].mean()) for when in ("_before", ""))
    cards = report.keys(
        report.Key("Images", len(frames)),
        report.Key("Distance before the fit", before, "mm"),
        report.Key("Distance after the fit", after, "mm"),
        report.Key("Left out", len(failed)),
    )
    rows = [
        (
            frame.name,
            frame.before.distance_mm,
            frame.after.distance_mm,
            float(np.exp(frame.fit.log_size)),
            frame.forearm_share,
            frame.seconds,
        )
        for frame in frames
    ]
    table = report.table(
        ("image", "before, mm", "after, mm", "size", "forearm, share of the pixels", "seconds"),
        rows,
        caption="Mean distance of the hand's measured pixels to the nearest surface of a sphere",
    )
    return [cards, table]
