"""What predictions on files share: listing images, the loop over them, overlays and the report."""

import base64
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from tqdm import tqdm

from handjax.data.formats import kinds
from handjax.engine import cli
from handjax.pose import crop2d
from handjax.pose.pinhole import project
from handjax.pose.skeleton import Skeleton
from handjax.prediction.drawing import png, sixteenths
from handjax.reports import page as report

OUTPUTS = ("predictions.json", "predictions.npz", "report.html", "overlays")
_COPIES = 500  # images that a report shows; it holds a copy of each
_TURNING = 50  # poses of its view in space
_COPY_PX = 360  # longer side of one
T = TypeVar("T")


class LeftOut(NamedTuple):
    """Why an image has no prediction."""

    reason: str


def add_output_flags(flags: cli.Parser, default: str | None = None) -> None:
    """--output, required unless there is a default, and --overwrite."""
    flags.add_argument(
        "--output",
        metavar="OUT",
        required=default is None,
        help="folder for the results" + (f" (default: {default})" if default else ""),
    )
    flags.add_argument(
        "--overwrite", action="store_true", help="replace the results of an earlier prediction"
    )


def check_network(**flags: str | None) -> None:
    """For the flags of a command that name its network, --model, --workdir, --weights: ValueError
    if there are several, FileNotFoundError if `workdir` is no folder."""
    named = [f"--{name}" for name, value in flags.items() if value]
    if len(named) > 1:
        raise ValueError(f"{' and '.join(named)} both name a network: give one")
    if (workdir := flags.get("workdir")) and not Path(workdir).is_dir():
        raise FileNotFoundError(f"--workdir {workdir}: no such folder; expected a trained run")


# ---------------------------------------------------------------- images and the loop over them


def list_images(path: Path, endings: Sequence[str], exclude: Path) -> dict[str, Path]:
    """A file, or the images of a folder and its subfolders, as name → file in natural order.

    Names are paths relative to the folder. Numbers count as numbers: 9.png comes before 10.png.
    Files below `exclude`, the results of an earlier prediction, are left out. Files of other kinds
    are counted and named on stderr.
    """
    if path.is_file():
        return {path.name: path}
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: no such file or folder")
    excluded = exclude.resolve()
    found = (file for file in path.rglob("*") if file.is_file())
    inside = [file for file in sorted(found) if not file.resolve().is_relative_to(excluded)]
    # Names that begin with ._ are companion files that macOS writes beside every file.
    files = [
        file for file in inside if file.suffix.lower() in endings and not file.name.startswith("._")
    ]
    chosen = set(files)
    others = {f.relative_to(path).as_posix(): f for f in inside if f not in chosen}
    told = kinds.counted(others)
    if not files:
        has = f"; it has {told}" if told else ""
        raise FileNotFoundError(
            f"{path}: no image in it; expected files ending in {_or(endings)}{has}"
        )
    if told:
        print(f"{path}: not read, as their names are not those of images: {told}", file=sys.stderr)
    names = {file.relative_to(path).as_posix(): file for file in files}
    return {name: names[name] for name in sorted(names, key=_natural)}


def list_inputs(paths: Sequence[str], endings: Sequence[str], exclude: Path) -> dict[str, Path]:
    """`list_images` of several files and folders: the images of a folder are FOLDER/NAME. Of one
    path they have their own names. ValueError for two of the same name."""
    if len(paths) == 1:
        return list_images(Path(paths[0]), endings, exclude)
    found: dict[str, Path] = {}
    for text in paths:
        path = Path(text)
        for name, file in list_images(path, endings, exclude).items():
            key = f"{path.resolve().name}/{name}" if path.is_dir() else name
            if key in found:
                raise ValueError(f"{file}: another image called {key}; predict them separately")
            found[key] = file
    return found


def inputs_in_words(paths: Sequence[str]) -> str:
    """The inputs of a command, for a subtitle."""
    return paths[0] if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """Sort key in which runs of digits come first and are ordered by their value."""
    runs = ("".join(run) for _, run in itertools.groupby(name, str.isdigit))
    return [(False, len(run), run) if run.isdigit() else (True, 0, run) for run in runs]


def _or(words: Sequence[str]) -> str:
    return " or ".join(words)


def one_by_one(
    images: Mapping[str, Path], predict: Callable[[str, Path], T]
) -> Iterator[tuple[str, T | LeftOut]]:
    """`predict(name, file)` for every image; ValueError and OSError leave an image out."""
    for name, path in images.items():
        try:
            result: T | LeftOut = predict(name, path)
        except (ValueError, OSError) as error:
            result = left_out(error)
        yield name, result


def left_out(error: Exception) -> LeftOut:
    """An error as a reason of one line."""
    return LeftOut(" ".join(str(error).split()))


def process(
    source: str,
    total: int,
    results: Iterable[tuple[str, T | LeftOut]],
    overlays: Path,
    draw: Callable[[str, T], UInt8[np.ndarray, "h w 3"]],
) -> dict[str, str]:
    """Consume the results with a progress bar; write the overlay that `draw` returns for each.

    Returns the reasons of the images left out by name. Raises ValueError if there was no other:
    `source`, the input as given, is named in the message.
    """
    failed: dict[str, str] = {}
    for name, result in tqdm(results, total=total, unit="image", leave=False):
        if isinstance(result, LeftOut):
            tqdm.write(f"left out: {name}: {result.reason}", file=sys.stderr)
            failed[name] = result.reason
        else:
            write_png(overlays / overlay_of(name), draw(name, result))
    if len(failed) == total:
        first = next(iter(failed.values()))
        raise ValueError(f"{source}: all {total} images were left out; the first: {first}")
    return failed


def exit_if_incomplete(failed: Mapping[str, str], total: int) -> None:
    """Exit with code 1 if images were left out."""
    if failed:
        print(f"{len(failed)} of {total} images were left out", file=sys.stderr)
        sys.exit(1)


# ---------------------------------------------------------------- overlays


def overlay_of(name: str) -> str:
    """File of an image's overlay, by the image's name: 50.png of 50.png, 50.jpg.png of 50.jpg."""
    return name if name.endswith(".png") else f"{name}.png"


def write_png(path: Path, pixels: UInt8[np.ndarray, "h w 3"]) -> None:
    """Write RGB pixels; folders are made as needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(pixels))


def depth_window(
    depth: Float[np.ndarray, "h w"],
    k: Float[np.ndarray, "3 3"],
    middle: Float[np.ndarray, "3"],
    extent_mm: float,
    size: int,
) -> tuple[UInt8[np.ndarray, "{size} {size} 3"], Float[np.ndarray, "2 3"]]:
    """The window of `extent_mm` around `middle` (camera mm) as a grey image, near surfaces lighter,
    and the affine map from px of the depth image (mm, 0 = missing) to px of the window."""
    near = extent_mm * k[0, 0] / middle[2]
    left, top = (k[i, i] * middle[i] / middle[2] + k[i, 2] - near / 2 for i in (0, 1))
    scale = size / near
    affine = np.array([[scale, 0, -scale * left], [0, scale, -scale * top]])
    seen = cv2.warpAffine(depth, affine, (size, size), flags=cv2.INTER_NEAREST)
    light = np.clip(215 - (seen - middle[2] + extent_mm / 2) * (170 / extent_mm), 45, 215)
    inside = (seen > 0) & (np.abs(seen - middle[2]) < extent_mm / 2)
    grey = np.where(inside, light, 20).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1), affine


def to_window(
    xyz: Float[np.ndarray, "n 3"], k: Float[np.ndarray, "3 3"], affine: Float[np.ndarray, "2 3"]
) -> tuple[Bool[np.ndarray, " n"], Float[np.ndarray, "n 2"]]:
    """Which points are in front of the camera, and where all of them are in the window, px."""
    ahead = xyz[:, 2] > 1
    safe = np.where(ahead[:, None], xyz, 1.0).astype(np.float64)
    return ahead, crop2d.apply(affine, project(safe, k))


def draw_bones(
    pixels: UInt8[np.ndarray, "h w 3"],
    uv: Float[np.ndarray, "j 2"],
    skeleton: Skeleton,
    width: int,
    visible: Bool[np.ndarray, " j"] | None = None,
) -> None:
    """Draw into `pixels` the bones whose two joints are visible (default: all)."""
    for a, b in skeleton.bones:
        if visible is None or (visible[a] and visible[b]):
            ends = sixteenths(uv[a]), sixteenths(uv[b])
            cv2.line(pixels, *ends, skeleton.rgb[b], width, cv2.LINE_AA, 4)


# ---------------------------------------------------------------- results


def clear(folder: Path) -> None:
    """Delete the result files of an earlier prediction; overlays stay until they are replaced."""
    for name in OUTPUTS[:3]:
        (folder / name).unlink(missing_ok=True)


def write_page(
    folder: Path,
    title: str,
    subtitle: str,
    summary: Sequence[report.Block],
    failed: Mapping[str, str],
    heading: str,
    overlays: Mapping[str, str],
    skeleton: Skeleton | None,
    in_space: Mapping[str, Float[np.ndarray, "_ 3"]] | None = None,
) -> None:
    """report.html: the summary, the images left out, and a gallery, of which the page holds small
    copies; they lead to the overlays.

    `overlays`: image name → what its overlay shows, for readers who cannot see it. `in_space`:
    joints of the skeleton in mm by what they are called, for the view that turns.
    """
    blocks = list(summary)
    if failed:
        blocks.append(report.table(("left out", "why"), tuple(failed.items())))
    items = [(f"overlays/{overlay_of(name)}", text, name) for name, text in overlays.items()]
    sections = [
        report.section("Summary", *blocks),
        report.section(heading, *_colours(skeleton), *gallery(folder, items)),
    ]
    if in_space and skeleton is not None:
        poses = [(name, xyz, None) for name, xyz in [*in_space.items()][:_TURNING]]
        alt = "Predicted joints in space. Drag them, or use the arrow keys."
        turning = report.turning(poses, skeleton, alt)
        sections.insert(1, report.section("In space", *_colours(skeleton), turning))
    page = report.write_report(folder / "report.html", title, subtitle, sections, footer="handjax")
    print(f"report: {page.resolve()}")


def _colours(skeleton: Skeleton | None) -> list[report.Block]:
    """What the colors of a skeleton mean, if it has any bones."""
    return [report.legend(skeleton)] if skeleton is not None and skeleton.bones else []


def gallery(folder: Path, items: Sequence[tuple[str, str, str]]) -> list[report.Block]:
    """The first pictures (path below `folder`, alt text, caption), of which the page holds small
    copies, and where the others are."""
    shown = items[:_COPIES]
    blocks: list[report.Block] = [report.gallery(shown, _copies(folder, shown))]
    if more := len(items) - len(shown):
        where = Path(items[0][0]).parts[0]
        blocks.append(f"{more:,} more are in the folder {where} beside this page.")
    return blocks


def _copies(folder: Path, items: Sequence[tuple[str, str, str]]) -> dict[str, str]:
    """Small copies of pictures, by their paths, as data URIs."""
    copies = {}
    for path, _, _ in items:
        pixels = cv2.imread(str(folder / path))
        assert pixels is not None  # just written
        scale = min(_COPY_PX / max(pixels.shape[:2]), 1.0)
        small = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
        copies[path] = "data:image/jpeg;base64," + base64.b64encode(data).decode()
    return copies
