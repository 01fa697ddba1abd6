"""python -m handjax.predict --depth: the hand in depth images of one's own, by a network, by fitting, or both.

    python -m handjax.predict --depth FILE|FOLDER --camera FX,FY,CX,CY [--unit MM] [--side left] --output OUT
                              [--start rest | --workdir RUN | --weights NPZ] [--refine STEPS] [--sequence]

The hand is the nearest thing within --range. What lies in a cube of 300 mm about it is shown to the network of a run of
configs/spherehand.py, and its hand of 41 spheres then goes --refine steps towards the depth: from what the network says or, with
--start rest, from 24 hands in all directions. With --sequence the images are frames in the order of their names, and each goes on
from the one before.

Images are 16-bit PNG files of one channel in units of --unit mm, or .npy files of one image each; 0 is missing. OUT gets
predictions.json, predictions.npz, overlays/NAME.png and report.html. Joints and centres are camera mm: x right, y down, z forward.
A hand's distance is the mean of its measured pixels' to the nearest surface of a sphere; what the fit takes for forearm is not its.
"""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from tqdm import tqdm

from handjax.data.formats.depth import DEPTH_FORMATS, MAX_PIXELS, read_depth
from handjax.engine import cli
from handjax.engine.files import refuse_to_replace
from handjax.fitting import solver as minimize
from handjax.fitting import tracker
from handjax.fitting.objective import Fit
from handjax.pose.cube import EXTENT_MM
from handjax.pose.skeleton import COLOURS, SKELETONS
from handjax.reports import page as report
from handjax.rigs import hand

SKELETON = SKELETONS["hand21"]
OUTPUTS = ("predictions.json", "predictions.npz", "report.html", "overlays")
CAMERAS = ("icvl", "msra", "nyu")  # data sets whose camera is known
ENDINGS = (".png", ".npy")
SHOWN_PX = 400  # side of one of an overlay's two pictures
# What a sphere is drawn in: the palm, then hand.FINGERS.
_SHADES = tuple(tuple(bytes.fromhex(COLOURS[group][1:])) for group in ("palm", *hand.FINGERS))


class Shape(NamedTuple):
    """A hand as it is drawn and written, camera mm."""

    centers: Float[np.ndarray, "41 3"]
    radii: Float[np.ndarray, "41"]
    joints: Float[np.ndarray, "21 3"]
    distance_mm: float


class Frame(NamedTuple):
    name: str
    view: tracker.View
    fit: Fit
    before: Shape
    after: Shape
    beside: float  # the part of the cube's pixels that is forearm
    seconds: float


def parser() -> cli.Parser:
    flags = cli.Parser(prog="python -m handjax.predict", description=__doc__)
    add = flags.add_argument
    add("--depth", metavar="PATH", required=True, help="a folder of depth images, or one of them")
    add(
        "--camera",
        metavar="FX,FY,CX,CY",
        help=f"its intrinsics, px; or the name of a data set: {', '.join(CAMERAS)}",
    )
    add(
        "--unit",
        type=float,
        default=1.0,
        metavar="MM",
        help="mm of one unit of the files (default: 1)",
    )
    add(
        "--format",
        choices=tuple(DEPTH_FORMATS),
        default="png16",
        help="of the PNG files (default: png16)",
    )
    add(
        "--range",
        default="{:g},{:g}".format(*tracker.RANGE_MM),
        metavar="NEAR,FAR",
        help="where hands are, mm (default: 200,900)",
    )
    add(
        "--side",
        choices=("right", "left"),
        default="right",
        help="which hands they are (default: right)",
    )
    add(
        "--start",
        choices=("network", "rest"),
        default="network",
        help="what a fit begins with (default: network)",
    )
    add(
        "--workdir",
        metavar="RUN",
        help="whose newest checkpoint is the network (default: the one that is shipped)",
    )
    add("--weights", metavar="NPZ", help="the network's weights, in place of a run")
    add(
        "--refine",
        type=int,
        metavar="STEPS",
        help="of the fit; 0: the network alone (default: 150)",
        default=150,
    )
    add(
        "--method",
        choices=minimize.METHODS,
        default="adam",
        help="how the fit steps (default: adam)",
    )
    add(
        "--no_forearm",
        action="store_true",
        help="the hand is alone: nothing in the cube is forearm",
    )
    add("--sequence", action="store_true", help="each image goes on from the one before")
    add("--output", metavar="OUT", required=True, help="where the results go")
    add(
        "--overwrite",
        action="store_true",
        help="replace the results of an earlier prediction there",
    )
    return flags


def main(argv: Sequence[str]) -> None:
    flags = parser().parse_args(argv)
    folder = Path(flags.output)
    images = list_images(Path(flags.depth), beside=folder)
    k, range_mm = camera(flags.camera), numbers("--range", flags.range, 2)
    if not 0 < range_mm[0] < range_mm[1]:
        raise ValueError(f"--range {flags.range}: expected two distances in mm, the nearer first")
    if not 0 < flags.unit < 1e6:
        raise ValueError(f"--unit {flags.unit:g}: expected mm, above 0")
    if flags.refine < 0 or (flags.start == "rest" and not flags.refine):
        raise ValueError(
            f"--refine {flags.refine}: expected steps, and with --start rest more than 0"
        )
    if flags.start == "rest" and (flags.workdir or flags.weights):
        raise ValueError("--start rest uses no network: leave --workdir and --weights out")
    if flags.workdir and flags.weights:
        raise ValueError("--workdir and --weights are both networks: give one")
    if flags.workdir and not Path(flags.workdir).is_dir():
        raise FileNotFoundError(
            f"--workdir {flags.workdir}: no such folder; it names a trained run"
        )
    refuse_to_replace(folder, OUTPUTS, flags.overwrite)
    network = None if flags.start == "rest" else tracker.network(flags.workdir or flags.weights)
    find = Finder(network, flags.refine, flags.method, not flags.no_forearm, flags.sequence)

    frames, failed = [], {}
    for name, path in tqdm(images.items(), unit="image", leave=False):
        try:
            depth = read_image(path, flags.format, flags.unit)
            frame = find(name, tracker.view(depth, k, range_mm, flags.side == "left"))
        except (ValueError, OSError) as error:
            failed[name] = " ".join(str(error).split())
            tqdm.write(f"left out: {name}: {failed[name]}", file=sys.stderr)
            continue
        frames.append(frame)
        tqdm.write(
            f"{name}: {frame.before.distance_mm:.1f} → {frame.after.distance_mm:.1f} mm off the depth, {frame.seconds:.1f} s"
        )
        picture = folder / "overlays" / f"{name}.png"
        picture.parent.mkdir(parents=True, exist_ok=True)
        picture.write_bytes(cv2.imencode(".png", overlay(depth, k, frame)[..., ::-1])[1].tobytes())
    if not frames:
        raise ValueError(
            f"--depth {flags.depth}: all {len(images)} images were left out; the first: {next(iter(failed.values()))}"
        )
    how = (
        f"{flags.start}, {flags.refine} steps of {flags.method}"
        if flags.refine
        else "network alone"
    )
    write(folder, frames, failed, subtitle=f"{flags.depth}, from {how}", side=flags.side)
    if failed:
        print(f"{len(failed)} of {len(images)} images were left out", file=sys.stderr)
        sys.exit(1)


class Finder:
    """View → Frame. With `sequence` it remembers the last."""

    def __init__(self, network, steps: int, method: str, forearm: bool, sequence: bool):
        self.network, self.steps, self.arm, self.sequence = network, steps, forearm, sequence
        self.tracker = tracker.Tracker(method, forearm, chunk=50)
        self.last: Frame | None = None

    def __call__(self, name: str, view: tracker.View) -> Frame:
        began, own = time.perf_counter(), self.tracker
        previous = start = centers = None
        if self.sequence and self.last is not None:
            moved = (self.last.view.center_xyz - view.center_xyz) * (-1 if view.left else 1, 1, 1)
            previous = start = own.shifted(self.last.fit, moved.astype(np.float32))
        elif self.network is not None:
            centers = self.network(view.cube_depth)
            start = own.from_centers(centers)
        if self.steps:
            steps = list(own.steps(view.cube_depth, self.steps, start, previous))
            first, fit = steps[0].fit, steps[-1].fit
        else:
            first = fit = start
        beyond = self._forearm(fit, view) if self.arm else np.zeros(len(view.points), bool)
        before, after = (self._shape(fit, view, ~beyond) for fit in (first, fit))
        if centers is not None:  # as the network has them, which need be no hand's
            before = self._shape(first, view, ~beyond, centers)
            after = after if self.steps else before
        frame = Frame(
            name, view, fit, before, after, float(beyond.mean()), time.perf_counter() - began
        )
        self.last = frame
        return frame

    def _forearm(self, fit, view) -> np.ndarray:
        """Which points are nearer to the forearm than to the hand."""
        own, arm = (
            off_surface(view.points, *shape(fit))
            for shape in (self.tracker.spheres, self.tracker.forearm)
        )
        beyond = arm < own
        return beyond if not beyond.all() else ~beyond

    def _shape(self, fit, view, counted, centers=None) -> Shape:
        own, radii = (np.asarray(part) for part in self.tracker.spheres(fit))
        if centers is None:
            centers, joints = own, np.asarray(self.tracker.joints21(fit))
        else:
            joints = centers[np.array(hand.JOINT_SPHERES[SKELETON.name])]
        distance = np.abs(off_surface(view.points[counted], centers, radii)).mean()
        return Shape(
            tracker.to_camera(centers, view),
            radii,
            tracker.to_camera(joints, view),
            float(distance),
        )


def off_surface(points, centers, radii) -> Float[np.ndarray, " p"]:
    """mm from the surface of the union of spheres, negative inside."""
    centers, radii = np.asarray(centers), np.asarray(radii)
    least = np.full(len(points), np.inf, np.float32)
    for center, radius in zip(centers, radii, strict=True):
        least = np.minimum(least, np.linalg.norm(points - center, axis=1) - radius)
    return least


def list_images(path: Path, beside: Path) -> dict[str, Path]:
    """Names and files of a folder's depth images, in order, those of the results `beside` apart; or of one file."""
    if path.is_file():
        return {path.name: path}
    if not path.is_dir():
        raise FileNotFoundError(f"--depth {path}: no such file or folder")
    found = sorted(
        file for file in path.rglob("*") if file.suffix.lower() in ENDINGS and file.is_file()
    )
    files = [file for file in found if not file.resolve().is_relative_to(beside.resolve())]
    if not files:
        raise FileNotFoundError(
            f"--depth {path}: no depth image in it; expected files that end in {' or '.join(ENDINGS)}"
        )
    # 9 before 10, as cameras number their frames.
    files.sort(
        key=lambda file: [
            (len(word), word) if word.isdigit() else (0, word) for word in _words(file.name)
        ]
    )
    return {file.relative_to(path).as_posix(): file for file in files}


def _words(name: str) -> Iterator[str]:
    """Runs of digits, and of what is between them."""
    start = 0
    for end in range(1, len(name) + 1):
        if end == len(name) or name[end].isdigit() != name[start].isdigit():
            yield name[start:end]
            start = end


def read_image(path: Path, form: str, unit_mm: float) -> Float[np.ndarray, "h w"]:
    """Depth in mm, 0 missing."""
    if path.suffix.lower() != ".npy":
        return read_depth(path, form=form, scale=unit_mm)
    with path.open("rb") as file:
        depth = np.lib.format.read_array(file, allow_pickle=False)
    if depth.ndim != 2 or depth.dtype.kind not in "fiu" or not 0 < depth.size <= MAX_PIXELS:
        raise ValueError(
            f"{path}: {depth.dtype} of shape {list(depth.shape)}; expected one depth image, [height, width]"
        )
    return np.where(np.isfinite(depth) & (depth > 0), depth, 0).astype(np.float32) * np.float32(
        unit_mm
    )


def camera(given: str | None) -> Float[np.ndarray, "3 3"]:
    """Intrinsics of FX,FY,CX,CY or of a data set."""
    if given in CAMERAS:
        from handjax.data.sets.icvl import raw as icvl
        from handjax.data.sets.msra_hand import raw as msra
        from handjax.data.sets.nyu_hand import raw as nyu

        return np.array({"icvl": icvl, "msra": msra, "nyu": nyu}[given].K, np.float32)
    if given is None:
        raise ValueError(
            f"--camera is missing: say FX,FY,CX,CY of the depth camera, px, or one of {', '.join(CAMERAS)}"
        )
    fx, fy, cx, cy = numbers("--camera", given, 4)
    if min(fx, fy) <= 0:
        raise ValueError(f"--camera {given}: expected FX and FY above 0")
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float32)


def numbers(flag: str, given: str, count: int) -> tuple[float, ...]:
    try:
        values = tuple(float(word) for word in given.split(","))
    except ValueError:
        values = ()
    if len(values) != count or not np.isfinite(values).all():
        raise ValueError(f"{flag} {given}: expected {count} numbers with commas between them")
    return values


def overlay(
    depth: Float[np.ndarray, "h w"], k: Float[np.ndarray, "3 3"], frame: Frame
) -> UInt8[np.ndarray, "s t 3"]:
    """The cube's part of the image twice: the hand that was begun with, and the one that was found, in spheres and joints."""
    middle, side = frame.view.center_xyz, EXTENT_MM
    near = side * k[0, 0] / middle[2]
    left, top = (k[i, i] * middle[i] / middle[2] + k[i, 2] - near / 2 for i in (0, 1))
    scale = SHOWN_PX / near
    affine = np.array([[scale, 0, -scale * left], [0, scale, -scale * top]])
    seen = cv2.warpAffine(depth, affine, (SHOWN_PX, SHOWN_PX), flags=cv2.INTER_NEAREST)
    light = np.clip(215 - (seen - middle[2] + side / 2) * (170 / side), 45, 215)
    grey = np.where((seen > 0) & (np.abs(seen - middle[2]) < side / 2), light, 20).astype(np.uint8)
    grey = np.repeat(grey[..., None], 3, axis=-1)
    return np.concatenate(
        [_drawn(grey.copy(), k, affine, shape) for shape in (frame.before, frame.after)], axis=1
    )


def _drawn(pixels, k, affine, shape: Shape):
    def at(point):
        """Sixteenths of a pixel; what is far outside stays there."""
        uv = np.array(
            [k[0, 0] * point[0] / point[2] + k[0, 2], k[1, 1] * point[1] / point[2] + k[1, 2], 1.0]
        )
        return tuple(int(n) for n in np.rint(np.clip(affine @ uv, -1e4, 1e4) * 16))

    fingers = np.array([0, *(np.repeat(np.arange(1, 6), 3))])
    for s in np.argsort(-shape.centers[:, 2]):  # the nearest last
        point, bone = shape.centers[s], hand.HAND.sphere_bones[s]
        if point[2] > 1:
            radius = int(affine[0, 0] * k[0, 0] * shape.radii[s] / point[2] * 16)
            colour = _SHADES[0 if bone < 2 else fingers[bone - 1]]
            cv2.circle(pixels, at(point), radius, colour, 1, cv2.LINE_AA, 4)
    for a, b in SKELETON.bones:
        if min(shape.joints[a, 2], shape.joints[b, 2]) > 1:
            colour = tuple(bytes.fromhex(COLOURS[SKELETON.groups[b]][1:]))
            cv2.line(pixels, at(shape.joints[a]), at(shape.joints[b]), colour, 2, cv2.LINE_AA, 4)
    return pixels


def write(
    folder: Path, frames: Sequence[Frame], failed: dict[str, str], subtitle: str, side: str
) -> None:
    """predictions.json and .npz, and the page."""
    for name in OUTPUTS[:3]:
        (folder / name).unlink(missing_ok=True)
    columns = {
        "joints_xyz": [f.after.joints for f in frames],
        "centers_xyz": [f.after.centers for f in frames],
        "radii_mm": [f.after.radii for f in frames],
        "cube_center_xyz": [f.view.center_xyz for f in frames],
        "pose": [f.fit.pose for f in frames],
        "size": [np.exp(f.fit.log_size) for f in frames],
        "fingers": [np.exp(f.fit.log_fingers) for f in frames],
        "distance_before_mm": [f.before.distance_mm for f in frames],
        "distance_mm": [f.after.distance_mm for f in frames],
    }
    arrays = {name: np.asarray(values, np.float32) for name, values in columns.items()}
    names = [frame.name for frame in frames]
    with (folder / "predictions.npz").open("xb") as file:
        np.savez_compressed(
            file,
            ids=np.array(names),
            side=np.array(side),
            joint_names=np.array(SKELETON.joints),
            **arrays,
        )
    hands = [
        {
            "img_name": name,
            **{key: values[i].astype(float).round(4).tolist() for key, values in arrays.items()},
        }
        for i, name in enumerate(names)
    ]
    told = {
        "side": side,
        "joints": list(SKELETON.joints),
        "pose_names": list(hand.POSE_NAMES),
        "fingers": list(hand.FINGERS),
    }
    head = json.dumps(told, ensure_ascii=False)[:-1]
    lines = ",\n".join("  " + json.dumps(one, ensure_ascii=False, allow_nan=False) for one in hands)
    (folder / "predictions.json").write_text(
        f'{head},\n "hands": [\n{lines}\n]}}\n', encoding="utf-8"
    )

    before, after = (arrays[name].mean() for name in ("distance_before_mm", "distance_mm"))
    blocks = [
        report.keys(
            report.Key("Images", len(frames)),
            report.Key("Off the depth, before", float(before), "mm"),
            report.Key("Off the depth, after", float(after), "mm"),
            report.Key("Left out", len(failed)),
        ),
        report.table(
            ("image", "before, mm", "after, mm", "size", "forearm, part of the pixels", "seconds"),
            [
                (
                    f.name,
                    f.before.distance_mm,
                    f.after.distance_mm,
                    float(np.exp(f.fit.log_size)),
                    f.beside,
                    f.seconds,
                )
                for f in frames
            ],
            caption="Mean distance of the hand's measured pixels to the nearest surface of a sphere",
        ),
    ]
    if failed:
        blocks.append(report.table(("left out", "why"), tuple(failed.items())))
    pictures = [
        (f"overlays/{name}.png", f"{name}: the hand before and after the fit, over the depth", name)
        for name in names
    ]
    sections = [
        report.section("Summary", *blocks),
        report.section("Before and after", report.gallery(pictures)),
    ]
    page = report.write_report(
        folder / "report.html", "sphere hand", subtitle, sections, footer="handjax"
    )
    print(f"report: {page.resolve()}")


if __name__ == "__main__":
    cli.run(main)
