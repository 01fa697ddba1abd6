"""Turns raw files into what training reads: `python -m handjax.prepare NAME --help`.

NAME is a data set, prepared from its own files into TFRecords, or a file for another program: voxel_h5, tfrecord. A data set is
looked at on the way: what is found is in report.json and report.html beside it.
"""

import argparse
import base64
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
from etils import epath

from handjax.data.cameras import intrinsics
from handjax.data.formats.depth import DEPTH_FORMATS, read_centers, read_depth, read_joints
from handjax.data.formats.voxel_h5 import write_voxel_h5
from handjax.data.preparation import validate
from handjax.data.sets.coco_person import raw as coco_person
from handjax.data.sets.hpoes_voxels import raw as hpoes_voxels
from handjax.data.sets.human36m import raw as human36m
from handjax.data.sets.human36m_challenge import raw as human36m_challenge
from handjax.data.sets.icvl import raw as icvl
from handjax.data.sets.keypoint_list import raw as keypoint_list
from handjax.data.sets.mpii import raw as mpii
from handjax.data.sets.msra_hand import raw as msra_hand
from handjax.data.sets.nyu_hand import raw as nyu_hand
from handjax.data.sets.panoptic_hand import raw as panoptic_hand
from handjax.data.sets.rhd import raw as rhd
from handjax.data.sets.stb import raw as stb
from handjax.engine import cli, files
from handjax.reports import page as report


@dataclass(frozen=True)
class DataSet:
    """What reads its files, its configurations (the first is the default) and the skeleton that its joints are drawn with."""

    raw: ModuleType
    configs: tuple[str, ...] = ()
    skeleton: str | None = "hand21"
    alike: bool = True  # do the configurations need the same files?

    def missing(self, root: epath.Path, config: str | None) -> list[str]:
        return self.raw.missing(root) if self.alike else self.raw.missing(root, config)

    def published(self, split: str, config: str | None) -> int | None:
        return self.raw.COUNTS.get(config if config in self.raw.COUNTS else split)


SETS = {
    "rhd": DataSet(rhd),
    "stb": DataSet(stb, tuple(stb.CONFIGS), alike=False),
    "panoptic_hand": DataSet(panoptic_hand, tuple(panoptic_hand.CONFIGS), alike=False),
    "keypoint_list": DataSet(keypoint_list, keypoint_list.CONFIGS),
    "nyu_hand": DataSet(nyu_hand, tuple(nyu_hand.CONFIGS), skeleton="nyu36", alike=False),
    "icvl": DataSet(icvl, skeleton="icvl16"),
    "msra_hand": DataSet(msra_hand),
    "hpoes_voxels": DataSet(hpoes_voxels, skeleton=None),
    "human36m": DataSet(human36m, tuple(human36m.SUBSETS), skeleton="body18", alike=False),
    "human36m_challenge": DataSet(human36m_challenge, skeleton="body18"),
    "mpii": DataSet(mpii, skeleton=None),
    "coco_person": DataSet(coco_person, skeleton=None),
}


_LISTED = 50  # of what is missing
_REPORT = ("report.json", "report.html")


def positive(text: str) -> float:
    if not 0 < float(text) < float("inf"):
        raise ValueError
    return float(text)


def parser() -> cli.Parser:
    top = cli.Parser(prog="python -m handjax.prepare", description=__doc__)
    names = top.add_subparsers(dest="name", required=True, metavar="NAME")
    add = names.add_parser(
        "voxel_h5",
        help="depth frames, joints and centers -> HDF5 of voxels",
        description="Depth frames, joints and crop centers -> the HDF5 of hpoes_pytorch, one occupancy grid a frame.",
    )
    add.set_defaults(run=voxel_h5)
    add.add_argument(
        "--depth_dir",
        type=Path,
        required=True,
        help="folder the frame names of --labels are relative to",
    )
    add.add_argument(
        "--labels",
        type=Path,
        required=True,
        help="text, a line a frame: name and j * 3 mm, tab separated",
    )
    add.add_argument(
        "--centers",
        type=Path,
        required=True,
        help="text, a line a frame: 'x y z' in mm or 'invalid'",
    )
    add.add_argument(
        "--camera",
        type=intrinsics,
        required=True,
        metavar="FX,FY,CX,CY",
        help="NYU: 588.03,587.07,320,240",
    )
    add.add_argument(
        "--cube", type=positive, default=300.0, metavar="MM", help="edge of the crop (default 300)"
    )
    add.add_argument(
        "--size",
        type=int,
        default=88,
        choices=range(8, 257, 8),
        metavar="N",
        help="voxels a side (default 88)",
    )
    add.add_argument("--depth_format", choices=tuple(DEPTH_FORMATS), default="nyu")
    add.add_argument(
        "--depth_scale",
        type=positive,
        default=1.0,
        metavar="MM",
        help="mm of one unit of depth (default 1)",
    )
    add.add_argument(
        "--y_up",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="does y point up in the texts, as in NYU's",
    )
    add.add_argument("--out", type=Path, required=True, metavar="FILE.h5")
    add.add_argument("--overwrite", action="store_true", help="replace --out if it is there")
    add.add_argument("--limit", type=int, metavar="N", help="only the first N frames")
    add = names.add_parser(
        "tfrecord",
        help="prepared hands -> a TFRecord file of hand_pose_tensorflow",
        description="Prepared hands of 320 x 320 px (rhd; stb --config sk_320) -> TFRecords as hand_pose_tensorflow reads them.",
    )
    add.set_defaults(run=tfrecord)
    add.add_argument(
        "--set",
        type=Path,
        required=True,
        action="append",
        metavar="DIR",
        help="prepared set; again for one more behind it",
    )
    add.add_argument(
        "--split", required=True, metavar="NAME", help="train, test, or a part such as train[:10%%]"
    )
    add.add_argument("--out", type=Path, required=True, metavar="FILE.tfrecords")
    add.add_argument("--overwrite", action="store_true", help="replace --out if it is there")
    for name, known in SETS.items():
        _add_set(names, name, known)
    return top


def _add_set(names, name: str, known: DataSet) -> None:
    title = " ".join(known.raw.__doc__.split("\n\n")[0].split())
    add = names.add_parser(
        name,
        help=title.split("(")[0].strip().rstrip("."),
        description=f"{title}\n\nFiles:\n{known.raw.LAYOUT.strip()}",
    )
    add.set_defaults(run=partial(prepare_set, known), config=None)
    add.add_argument(
        "--manual_dir", type=Path, required=True, metavar="DIR", help="where the files above lie"
    )
    add.add_argument(
        "--data_dir",
        type=Path,
        metavar="OUT",
        help=f"the set goes to OUT/{name}/{'CONFIG/' * bool(known.configs)}VERSION; default $TFDS_DATA_DIR, "
        "else ~/tensorflow_datasets",
    )
    if known.configs:
        choices = dict(choices=known.configs, default=known.configs[0], metavar="NAME")
        add.add_argument(
            "--config", **choices, help=f"{', '.join(known.configs)}; default {known.configs[0]}"
        )
    add.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="processes that read and write; default: one a core",
    )
    add.add_argument(
        "--beam",
        nargs="?",
        const="",
        metavar="OPTIONS",
        help="on Apache Beam (pip install 'handjax[beam]'), in this process or by the runner that Beam's own options name, without "
        "dashes and with commas: --beam=runner=FlinkRunner,flink_master=HOST:8081; its workers need the same folders",
    )
    add.add_argument(
        "--shard_mb",
        type=positive,
        default=64.0,
        metavar="MB",
        help="of raw samples in a file; default 64",
    )
    add.add_argument(
        "--overwrite", action="store_true", help="replace the prepared set if it is there"
    )
    add.add_argument(
        "--check", action="store_true", help="only look at the files; writes nothing but the report"
    )
    add.add_argument(
        "--report",
        type=Path,
        metavar="DIR",
        help=f"for the report; default: beside the prepared set, ./{name}-check of --check",
    )


def voxel_h5(args: argparse.Namespace) -> str:
    """Checks all there is to check, then streams frame after frame through the device; the summary."""
    problems = [
        f"--{name} {path}: no such file"
        for name in ("labels", "centers")
        if not (path := getattr(args, name)).is_file()
    ]
    if not args.depth_dir.is_dir():
        problems.append(f"--depth_dir {args.depth_dir}: no such folder")
    if not args.out.parent.is_dir():
        problems.append(f"--out {args.out}: no such folder {args.out.parent}; make it")
    if args.out.exists() and not args.overwrite:
        problems.append(f"--out {args.out}: exists; give another name or --overwrite")
    if args.limit is not None and args.limit < 1:
        problems.append(f"--limit {args.limit}: expected at least 1")
    if problems:
        raise ValueError("; ".join(problems))
    names, joints_xyz = read_joints(args.labels, y_up=args.y_up)
    centers_xyz, valid = read_centers(args.centers, y_up=args.y_up)
    if len(names) != len(valid):
        raise ValueError(
            f"{args.labels} has {len(names)} lines, {args.centers} {len(valid)}; expected one line a frame in both"
        )
    total = len(names[: args.limit])
    rows = np.flatnonzero(valid[:total])
    missing = [names[i] for i in rows if not (args.depth_dir / names[i]).is_file()]
    if missing:
        some = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise ValueError(
            f"{len(missing)} of {len(rows)} depth frames are not in {args.depth_dir}: {some}"
        )
    if not len(rows):
        raise ValueError(f"{args.centers}: none of {total} centers is valid; nothing to write")
    read_depth(args.depth_dir / names[rows[0]], form=args.depth_format)  # of the right kind at all?

    import jax  # only now, so that a mistake in the command line is told at once
    import jax.numpy as jnp
    from tqdm import tqdm

    from handjax.pose.geometry import depth_to_points
    from handjax.targets.voxel import occupancy_hpoes, xyz_to_grid

    cube_mm = np.full(3, args.cube, np.float32)

    @jax.jit
    def voxelize(depth, center_xyz):
        points, seen = depth_to_points(depth, jnp.asarray(args.camera))
        return occupancy_hpoes(
            xyz_to_grid(points, center_xyz, jnp.asarray(cube_mm), args.size), seen, args.size
        )

    empty, reach = [], []

    def samples():
        for i in tqdm(rows, desc=args.out.name, unit="frame"):
            depth = read_depth(
                args.depth_dir / names[i], form=args.depth_format, scale=args.depth_scale
            )
            voxels = np.asarray(voxelize(depth, centers_xyz[i]))
            if not voxels.any():
                empty.append(names[i])
                continue
            reach.append(np.abs(joints_xyz[i] - centers_xyz[i][None]).max() / (args.cube / 2))
            yield voxels, joints_xyz[i], centers_xyz[i], cube_mm, names[i]
        if not reach:
            raise ValueError(
                f"no frame has depth inside its cube; check --camera, --depth_scale, --y_up and {args.centers}"
            )

    count = write_voxel_h5(
        args.out, samples(), k=args.camera, y_up=args.y_up, overwrite=args.overwrite
    )
    summary = (
        f"{args.out}: {count} of {total} frames written, {total - len(rows)} without a valid center"
    )
    summary += f", {len(empty)} without depth in the cube" + (
        f" ({', '.join(empty[:5])})" if empty else ""
    )
    outside = sum(r > 1 for r in reach)
    if outside:
        limit = np.ceil(max(reach) * 100) / 100
        summary += f"; {outside} with joints outside the cube: read them with config.data.max_label={limit:g} or make --cube larger"
    return summary


def tfrecord(args: argparse.Namespace) -> str:
    if not args.out.parent.is_dir():
        raise FileNotFoundError(f"--out {args.out}: no such folder {args.out.parent}; make it")
    _need_tensorflow()
    from handjax.data.formats import hand_pose_records

    return f"{args.out}: {hand_pose_records.write(args.out, args.set, args.split, args.overwrite):,} records"


def _need_tensorflow() -> None:
    try:
        import handjax.data.records  # noqa: F401 - takes ten seconds, so only now
    except ModuleNotFoundError as error:
        raise ValueError(f"{error.name} is not installed; pip install 'handjax[data]'") from None


def prepare_set(known: DataSet, args: argparse.Namespace) -> str:
    """Says all that is missing before it starts; then reads, examines, writes (not with --check), and reports. The summary."""
    root, config = epath.Path(args.manual_dir), args.config
    if args.workers is not None and args.workers < 1:
        raise ValueError(f"--workers {args.workers}: expected at least 1")
    if args.beam is not None and (args.check or args.workers):
        raise ValueError(
            "--beam prepares, with the runner's workers: give it without --check and without --workers"
        )
    if not root.is_dir():
        raise FileNotFoundError(
            f"--manual_dir {root}: no such folder; see handjax.prepare {args.name} --help for what it holds"
        )
    if lacking := known.missing(root, config):
        more = f"; and {len(lacking) - _LISTED} more" if len(lacking) > _LISTED else ""
        raise FileNotFoundError(
            f"--manual_dir {root}: {len(lacking)} missing: {'; '.join(lacking[:_LISTED])}{more}"
        )
    _need_tensorflow()
    from tqdm import tqdm

    from handjax.data.preparation import shards as parts

    data_dir = (
        args.data_dir or os.environ.get("TFDS_DATA_DIR") or Path.home() / "tensorflow_datasets"
    )
    size = round(args.shard_mb * 2**20)
    task = parts.Preparation(args.name, config, args.manual_dir, data_dir, size)
    workers = args.workers or os.cpu_count()

    def bar(split):
        return tqdm(desc=f"{args.name} {split}", total=known.published(split, config), unit="frame")

    if args.check:
        with parts.Workers(workers) as running:
            splits = {
                split: parts.check(samples.lazy, running, bar(split), known.skeleton, size)
                for split, samples in task.samples().items()
            }
        at = args.report or Path(f"{args.name}-check")
        _write_report(known, args, splits, at)
        where = f"report: {Path(at, 'report.html').resolve()}"
        if unreadable := _unreadable(splits):
            raise ValueError(f"{unreadable}; {where}")
        return where

    _refuse_to_replace(task.folder, args)
    with task.claimed():
        _refuse_to_replace(task.folder, args)  # another process may have made it just now
        if any(task.unfinished.glob("*.json")):
            print(f"going on in {task.unfinished}", flush=True)
        if args.beam is None:
            with parts.Workers(workers) as running:
                splits = task.write(running, bar, known.skeleton)
        else:
            from handjax.data.preparation import beam

            splits = beam.write(task, args.beam, known.skeleton)
        for name in (
            () if args.report else _REPORT
        ):  # of an earlier run that did not come to its end
            (task.unfinished / name).unlink(missing_ok=True)
        _write_report(known, args, splits, args.report or Path(task.unfinished))
        if unreadable := _unreadable(splits):
            at = Path(args.report or task.unfinished, "report.html").resolve()
            raise ValueError(
                f"{unreadable}; mend that and run again: what is whole is kept; report: {at}"
            )
        task.finish(splits, args.overwrite)
    frames = ", ".join(f"{split} {sum(done.shards):,}" for split, done in splits.items())
    return f"{task.folder}: {frames} frames\nreport: {Path(args.report or task.folder, 'report.html').resolve()}"


def _refuse_to_replace(folder: epath.Path, args: argparse.Namespace) -> None:
    if folder.exists() and not args.overwrite:
        raise FileExistsError(
            f"{folder}: is there already; --overwrite replaces it, another --data_dir leaves it alone"
        )


def _unreadable(splits: dict) -> str:
    """What could not be read, split by split, in one line; empty if all could."""
    told = []
    for split, done in splits.items():
        if lines := list(done.found.unreadable):
            count = done.found.counts["unreadable"]
            more = f" (and {len(lines) - 1} lines more in the report)" if len(lines) > 1 else ""
            told.append(f"{split}: {count} unreadable: {lines[0]}{more}")
    return "; ".join(told)


def _write_report(known: DataSet, args: argparse.Namespace, splits: dict, at: Path) -> None:
    """report.json and report.html in `at`; earlier ones keep their content under a numbered name."""
    numbers = {
        "set": args.name,
        "config": args.config,
        "manual_dir": str(args.manual_dir.resolve()),
        "splits": {
            split: done.found.numbers(known.published(split, args.config))
            for split, done in splits.items()
        },
    }
    text = json.dumps(numbers, indent=2, allow_nan=False) + "\n"
    at.mkdir(parents=True, exist_ok=True)
    for name in _REPORT:
        files.back_up(at / name)
    (at / "report.json").write_text(text, encoding="utf-8")
    title = args.name + (f" {args.config}" if args.config else "")
    subtitle = f"{numbers['manual_dir']}, " + ("looked at" if args.check else "as it was prepared")
    report.write_report(
        at / "report.html", title, subtitle, _pages(numbers["splits"], splits), footer="handjax"
    )


def _pages(numbers: dict[str, dict], splits: dict) -> list[report.Section]:
    def percent(share: float | None) -> float | None:
        return None if share is None else 100 * share

    rows = [
        (
            split,
            told["frames"],
            told["published_frames"],
            told["unreadable_frames"],
            sum(told["frames_with"].values()),
            told["visible_joints"],
            *(percent(share) for share in told["surface_share_within_mm"].values()),
            told["reprojection_mean_px"],
            told["reprojection_largest_px"],
        )
        for split, told in numbers.items()
    ]
    near = [f"% ≤ {mm} mm of depth" for mm in validate.SURFACE_MM]
    columns = (
        "split",
        "frames",
        "published",
        "unreadable",
        "faults",
        "visible joints",
        *near,
        "mean px off",
        "largest px off",
    )
    other = [row for row in rows if row[2] is not None and row[1] != row[2]]
    frames, unreadable, faults = (sum(row[i] for row in rows) for i in (1, 3, 4))
    pages = [
        report.section(
            "What there is",
            report.keys(
                report.Key("Frames", frames, "", f"of {', '.join(numbers)}", 0, "frames"),
                report.Key(
                    "Unreadable", unreadable, "", "frames that could not be read", 0, "unreadable"
                ),
                report.Key("Faults", faults, "", "a frame counts once for each", 0, "faults"),
            ),
            report.table(
                columns,
                rows,
                digits=(0, 0, 0, 0, 0, 0, 1, 1, 1, 3, 3),
                emphasis=[rows.index(row) for row in other],
            ),
            *(f"{row[0]}: {row[1]:,} frames, where {row[2]:,} are published." for row in other),
            "Of depth: how far the visible joints are from the depth at their pixel, where it has any. Joints lie within a hand "
            "or body, so they are some mm behind its surface, and further behind what hides them. Px off: between a visible "
            "joint's place in the picture and where its 3D is seen by the camera.",
        ),
        report.section(
            "Faults",
            report.table(
                ("split", "frames with", "frames", "such as"),
                [
                    (
                        split,
                        words,
                        told["frames_with"][fault],
                        ", ".join(told["named"].get(fault, [])),
                    )
                    for split, told in numbers.items()
                    for fault, words in validate.FAULTS.items()
                    if told["frames_with"][fault]
                ],
            )
            if faults
            else "None was found.",
        ),
    ]
    if unreadable:
        lines = [
            (split, line, times)
            for split, told in numbers.items()
            for line, times in told["unreadable"].items()
        ]
        pages.insert(
            1,
            report.section(
                "Not readable",
                report.table(("split", "what is wrong", "frames"), lines, digits=(0, 0, 0)),
            ),
        )
    each = [
        [(f"{split}, {key}", jpeg) for key, jpeg in done.tiles] for split, done in splits.items()
    ]
    turns = [
        tile for turn in range(validate.TILES) for tiles in each for tile in tiles[turn : turn + 1]
    ][: validate.TILES]
    if turns:
        jpeg = validate.sheet([validate.opened(jpeg) for _, jpeg in turns])
        uri = "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
        names = "; ".join(name for name, _ in turns)
        alt = f"{len(turns)} samples, each a square about its joints, which are drawn on it."
        caption = f"In rows: {names}."
        pages.append(
            report.section("Samples with their joints", report.Figure(uri, alt, caption, width=980))
        )
    return pages


def main(argv: Sequence[str]) -> None:
    args = parser().parse_args(argv)
    print(args.run(args))


if __name__ == "__main__":
    cli.run(main)
