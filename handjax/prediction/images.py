"""python -m handjax.predict: what a trained run finds in pictures of one's own.

    python -m handjax.predict --workdir DIR --images FOLDER|FILE [--boxes FILE] [--output OUT] [--checkpoint best]
    python -m handjax.predict --depth FOLDER|FILE …     depth images, by the sphere hand: python -m handjax.prediction.depth --help

OUT (default: DIR/predictions) gets predictions.json, predictions.npz, overlays/NAME.png and report.html, a page that shows them
all. Joints are in px of the pictures. One that cannot be read is said and left out; the exit code is then 1.

Without --boxes the network is shown the whole picture, which should hold one hand and little else. A box is a square, x y of its
upper left corner and its side in px: a json file of {"NAME": [x, y, side]}, or of several such lists a picture. Or the boxes come
from joints that are known, as those of the frame before: predictions.json, a folder of json files with "hand_pts", or a .txt list
(python -m handjax.evaluate --help says more); they are cut by the run's own rule, as in its evaluation. Names may lack .png or
.jpg. python -m handjax.evaluate holds predictions.json against a truth.
"""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count, takewhile
from pathlib import Path
from typing import NamedTuple

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8
from tqdm import tqdm

from handjax import evaluate
from handjax.data.formats.image import read_image
from handjax.data.formats.predictions import write_predictions
from handjax.data.formats.predictions2d import Predictions2d, read_hands, write_hands_json
from handjax.engine import cli, sharding
from handjax.engine import config as configs
from handjax.engine.files import refuse_to_replace
from handjax.engine.step import eval_step
from handjax.pose import crop2d
from handjax.pose.skeleton import COLOURS, SKELETONS, Skeleton
from handjax.reports import page as report
from handjax.tasks import TASKS

# Task that reads colour pictures → the joints that it finds there.
PICTURES = {"keypoints2d": SKELETONS["hand21"]}
ENDINGS = (".png", ".jpg", ".jpeg")
OUTPUTS = ("predictions.json", "predictions.npz", "report.html", "overlays")
OUTSIDE = 128  # grey beside the picture, as in training
SHOWN_PX = (480, 1280)  # least and greatest side of an overlay

Boxes = Callable[
    [str, tuple[int, int]], list["Box"]
]  # a picture's name, its height and width → boxes


class Box(NamedTuple):
    """A square of a picture: its middle and its side, px."""

    u: float
    v: float
    side: float


class Hand(NamedTuple):
    """What was found in a box of a picture."""

    name: str
    box: Box
    joints_uv: Float[np.ndarray, "j 2"]
    confidence: Float[np.ndarray, " j"]


def parser() -> cli.Parser:
    flags = cli.Parser(prog="python -m handjax.predict", description=__doc__)
    flags.add_argument("--workdir", metavar="DIR", required=True, help="of the trained run")
    flags.add_argument(
        "--images",
        metavar="PATH",
        required=True,
        help="a folder of PNG and JPEG pictures, or one of them",
    )
    flags.add_argument(
        "--boxes",
        metavar="FILE",
        help="where the hands are: json, or known joints (default: the whole picture)",
    )
    flags.add_argument(
        "--dataset",
        choices=evaluate.ORDERS_2D,
        help="order of the joints in --boxes, where the file has no names",
    )
    flags.add_argument(
        "--side",
        choices=("left", "right"),
        help="which hands they are; for runs with config.task.mirror_left",
    )
    flags.add_argument(
        "--checkpoint", metavar="WHICH", default="last", help="last, best or a step (default: last)"
    )
    flags.add_argument(
        "--output", metavar="OUT", help="where the results go (default: DIR/predictions)"
    )
    flags.add_argument(
        "--overwrite",
        action="store_true",
        help="replace the results of an earlier prediction there",
    )
    return flags


def main(argv: Sequence[str]) -> None:
    if any(argument.partition("=")[0] == "--depth" for argument in argv):
        from handjax.prediction import depth

        return depth.main(argv)
    argv, overrides = cli.split_overrides(argv)
    flags = parser().parse_args(argv)
    workdir, folder = Path(flags.workdir), Path(flags.output or Path(flags.workdir) / "predictions")
    config, mesh, batch_size = evaluate.open_run(workdir, overrides)
    if config.task.name not in PICTURES:
        raise ValueError(
            f"{workdir}: config.task.name={config.task.name} does not read colour pictures, and predict reads nothing else yet; "
            f"it takes runs of {' or '.join(PICTURES)}"
        )
    if config.task.get("mirror_left") and not flags.side:
        raise ValueError(
            f"{workdir}: config.task.mirror_left: say which hands these are, by --side left or --side right"
        )
    skeleton = PICTURES[config.task.name]
    images = list_images(Path(flags.images), beside=folder)
    boxes = (
        read_boxes(flags.boxes, flags.dataset or "", config, skeleton) if flags.boxes else _whole
    )
    refuse_to_replace(folder, OUTPUTS, flags.overwrite)

    task = configs.choose(TASKS, config, "task.name")(config, skeleton)
    restored = list(evaluate.restored(workdir, flags.checkpoint, config, task, mesh))
    if len(restored) > 1:
        raise ValueError(
            f"--checkpoint {flags.checkpoint}: one at a time; use last, best or a step"
        )
    (step, state) = restored[0]
    rows_of = jax.jit(
        partial(eval_step, task=task, materialize=lambda batch: batch),
        out_shardings=sharding.whole(mesh),
    )
    print(f"checkpoint of step {step}, {len(images)} pictures of {flags.images}", flush=True)

    def find(
        crops: UInt8[np.ndarray, "n s s 3"], source_from_image: Float[np.ndarray, "n 2 3"]
    ) -> dict:
        """A batch of squares, filled up to its full size by the first."""
        rows = np.arange(batch_size) % len(crops)
        batch = {
            "image": crops[rows],
            "source_from_image": source_from_image[rows],
            "index": rows.astype(np.int32),
        }
        batch["mask"] = np.arange(batch_size) < len(crops)
        if flags.side:
            batch["left"] = np.full(batch_size, flags.side == "left")
        found, _ = jax.device_get(rows_of(state, sharding.put_batch(batch, mesh)))
        return {name: found[name][: len(crops)] for name in ("joints_uv", "confidence")}

    size = task.dummy_inputs(1)["x"].shape[1]
    hands, failed = [], {}
    for image, result in tqdm(
        predict(images, boxes, find, size, batch_size),
        total=len(images),
        unit="picture",
        leave=False,
    ):
        if isinstance(result, str):
            tqdm.write(f"left out: {result}", file=sys.stderr)
            failed[image] = result
            continue
        pixels, found = result
        hands += found
        write_png(folder / "overlays" / f"{image}.png", overlay(pixels, found, skeleton))
    if not hands:
        raise ValueError(
            f"--images {flags.images}: all {len(images)} pictures were left out; the first: {next(iter(failed.values()))}"
        )
    write(
        folder,
        hands,
        failed,
        skeleton,
        title=f"{task.title}, step {step}",
        subtitle=f"{flags.images}, {len(images)} pictures",
    )
    if failed:
        print(f"{len(failed)} of {len(images)} pictures were left out", file=sys.stderr)
        sys.exit(1)


def list_images(path: Path, beside: Path) -> dict[str, Path]:
    """Names and files of a folder's pictures, of folders in it too but not of the results' `beside`, or of one file."""
    if path.is_file():
        return {path.name: path}
    if not path.is_dir():
        raise FileNotFoundError(f"--images {path}: no such file or folder")
    found = (file for file in path.rglob("*") if file.suffix.lower() in ENDINGS and file.is_file())
    files = sorted(file for file in found if not file.resolve().is_relative_to(beside.resolve()))
    if not files:
        raise FileNotFoundError(
            f"--images {path}: no picture in it; expected files that end in {', '.join(ENDINGS)}"
        )
    return {file.relative_to(path).as_posix(): file for file in files}


def read_boxes(path: str, order: str, config, skeleton: Skeleton) -> Boxes:
    """Boxes by picture, from a file of boxes or of joints."""
    told = _boxes_json(Path(path))
    if told is None:
        own, joints = read_hands(path, order)
        if own != skeleton:
            raise ValueError(
                f"--boxes {path}: joints of {own.name}; the run finds those of {skeleton.name}"
            )
        rule = crop2d.Crop(**config.crop, center_joint=skeleton.joints.index("middle_base"))
    given = joints if told is None else told

    def around(hand, picture) -> Box:
        """As an evaluation cuts: about all joints that have a place, and where the rule asks for it about those that are seen."""
        uv, seen = jnp.asarray(hand[:, :2], jnp.float32), jnp.asarray(hand[:, 2] > 0)
        center, side = crop2d.square(rule, uv, (uv != 0).any(-1), picture, seen=seen | ~seen.any())
        return Box(*center.tolist(), float(side))

    def boxes(name: str, picture: tuple[int, int]) -> list[Box]:
        key = name if name in given else Path(name).with_suffix("").as_posix()
        if key not in given:
            raise ValueError(f"{name}: {path} has no box for it")
        if told is not None:
            return [Box(x + side / 2, y + side / 2, side) for x, y, side in told[key]]
        more = (f"{key}#{n}" for n in count(2))  # as `write` names a picture's further hands
        return [
            around(joints[hand], picture) for hand in (key, *takewhile(joints.__contains__, more))
        ]

    return boxes


def _boxes_json(path: Path) -> dict[str, list[list[float]]] | None:
    """{name: [[x, y, side], …]} of a json file of boxes; None where the file is of joints."""
    if path.suffix != ".json" or not path.is_file():
        return None
    try:
        told = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"--boxes {path}: not json ({' '.join(str(error).split())[:120]})"
        ) from None
    if not isinstance(told, dict) or "hands" in told or "hand_pts" in told:
        return None
    return {name: _squares(path, name, value) for name, value in told.items()}


def _squares(path: Path, name: str, value) -> list[list[float]]:
    try:
        squares = np.array(value, np.float64)
        squares = squares[None] if squares.ndim == 1 else squares
        good = (
            squares.shape[1:] == (3,)
            and len(squares)
            and (np.abs(squares) < 1e6).all()
            and (squares[:, 2] > 0).all()
        )
    except (TypeError, ValueError, OverflowError):
        good = False
    if not good:
        raise ValueError(
            f"--boxes {path}: {name!r} is {str(value)[:60]}; expected [x, y, side] in px, side above 0, or some"
        )
    return squares.tolist()


def _whole(name: str, picture: tuple[int, int]) -> list[Box]:
    height, width = picture
    return [Box((width - 1) / 2, (height - 1) / 2, max(picture))]


def predict(
    images: dict[str, Path], boxes: Boxes, find: Callable, size: int, batch_size: int
) -> Iterator[tuple[str, str | tuple[UInt8[np.ndarray, "h w 3"], list[Hand]]]]:
    """Of every picture its pixels and the hands in it, or the line that says why it was left out."""
    names = list(images)
    for start in range(0, len(names), batch_size):
        chunk, cuts = {}, []
        for name in names[start : start + batch_size]:
            try:
                pixels = _rgb(read_image(images[name])[1])
                squares = boxes(name, pixels.shape[:2])
                own = [(name, box, *cut(pixels, box, size, name)) for box in squares]
            except (ValueError, OSError) as error:
                chunk[name] = " ".join(str(error).split())
                continue
            cuts += own
            chunk[name] = (pixels, [])
        for first in range(0, len(cuts), batch_size):
            owners, squares, crops, affines = zip(*cuts[first : first + batch_size], strict=True)
            found = find(np.stack(crops), np.stack(affines))
            for name, box, uv, confidence in zip(
                owners, squares, found["joints_uv"], found["confidence"], strict=True
            ):
                chunk[name][1].append(Hand(name, box, uv, confidence))
        yield from chunk.items()


def cut(
    pixels: UInt8[np.ndarray, "h w 3"], box: Box, size: int, name: str
) -> tuple[UInt8[np.ndarray, "s s 3"], Float[np.ndarray, "2 3"]]:
    """The box, in whole pixels, at `size` px a side; and the map of its pixels to the picture's."""
    height, width = pixels.shape[:2]
    side = max(round(box.side), 1)
    left, top = round(box.u - side / 2 + 0.5), round(box.v - side / 2 + 0.5)
    if (
        side > 3 * max(height, width)
        or left >= width
        or top >= height
        or left + side <= 0
        or top + side <= 0
    ):
        raise ValueError(
            f"{name}: its box of {side} px at ({left}, {top}) does not fit its {width} x {height} pixels"
        )
    square = np.full((side, side, 3), OUTSIDE, np.uint8)
    u0, v0, u1, v1 = max(left, 0), max(top, 0), min(left + side, width), min(top + side, height)
    square[v0 - top : v1 - top, u0 - left : u1 - left] = pixels[v0:v1, u0:u1]
    step = side / size
    affine = np.array(
        [[step, 0, left + (step - 1) / 2], [0, step, top + (step - 1) / 2]], np.float32
    )
    return cv2.resize(
        square, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
    ), affine


def _rgb(pixels: UInt8[np.ndarray, "h w *c"]) -> UInt8[np.ndarray, "h w 3"]:
    """Grey becomes colour; what is transparent is shown as it is stored."""
    if pixels.ndim == 2:
        return np.repeat(pixels[..., None], 3, axis=-1)
    return np.ascontiguousarray(pixels if pixels.shape[2] == 3 else pixels[..., 2::-1])


def overlay(
    pixels: UInt8[np.ndarray, "h w 3"], hands: Sequence[Hand], skeleton: Skeleton
) -> UInt8[np.ndarray, "a b 3"]:
    """The picture with boxes and skeletons, a colour for each finger, at a size that can be looked at."""
    long = max(pixels.shape[:2])
    scale = min(max(long, SHOWN_PX[0]), SHOWN_PX[1]) / long
    drawn = cv2.resize(
        pixels,
        None,
        fx=scale,
        fy=scale,
        interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR,
    )
    width = max(round(long * scale / 320), 1)

    def at(point) -> tuple[int, int]:
        """Sixteenths of a pixel; what is far outside stays there."""
        u, v = np.clip((np.float64(point) + 0.5) * scale - 0.5, -1e4, 1e4) * 16
        return round(u), round(v)

    for hand in hands:
        half = hand.box.side / 2
        corners = (
            at((hand.box.u + du, hand.box.v + dv)) for du, dv in ((-half, -half), (half, half))
        )
        cv2.rectangle(drawn, *corners, (255, 255, 255), 1, cv2.LINE_AA, 4)
        for a, b in skeleton.bones:
            colour = tuple(bytes.fromhex(COLOURS[skeleton.groups[b]][1:]))
            cv2.line(
                drawn, at(hand.joints_uv[a]), at(hand.joints_uv[b]), colour, width, cv2.LINE_AA, 4
            )
        for point in hand.joints_uv:
            cv2.circle(drawn, at(point), 16 * width, (255, 255, 255), -1, cv2.LINE_AA, 4)
    return drawn


def write_png(path: Path, pixels: UInt8[np.ndarray, "h w 3"]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", pixels[..., ::-1])[1].tobytes())


def write(
    folder: Path,
    hands: Sequence[Hand],
    failed: dict[str, str],
    skeleton: Skeleton,
    title: str,
    subtitle: str,
) -> None:
    """predictions.json and .npz, and the page. A picture's second hand is NAME#2, and so on."""
    hands_of, ids = {}, []
    for hand in hands:
        hands_of[hand.name] = hands_of.get(hand.name, 0) + 1
        ids.append(hand.name + (f"#{hands_of[hand.name]}" if hands_of[hand.name] > 1 else ""))
    for name in OUTPUTS[:3]:
        (folder / name).unlink(missing_ok=True)
    told = [
        {
            "img_name": name,
            "hand_pts": np.column_stack([hand.joints_uv, hand.confidence]).round(4).tolist(),
            "box": [hand.box.u - hand.box.side / 2, hand.box.v - hand.box.side / 2, hand.box.side],
        }
        for name, hand in zip(ids, hands, strict=True)
    ]
    write_hands_json(folder / "predictions.json", skeleton.joints, told)
    joints, confidence = (
        np.stack([getattr(hand, name) for hand in hands]) for name in ("joints_uv", "confidence")
    )
    write_predictions(
        folder / "predictions.npz", Predictions2d(tuple(ids), joints, skeleton.joints, confidence)
    )
    blocks = [
        report.keys(
            report.Key("Pictures", len(hands_of)),
            report.Key("Hands", len(hands)),
            report.Key("Left out", len(failed)),
        )
    ]
    if failed:
        blocks.append(report.table(("left out", "why"), tuple(failed.items())))
    pictures = [
        (f"overlays/{name}.png", f"{name} with the predicted skeleton", name) for name in hands_of
    ]
    sections = [
        report.section("Summary", *blocks),
        report.section("Pictures", report.gallery(pictures)),
    ]
    page = report.write_report(folder / "report.html", title, subtitle, sections, footer="handjax")
    print(f"report: {page.resolve()}")


if __name__ == "__main__":
    cli.run(main)
