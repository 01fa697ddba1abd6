"""Prepares data for training: `handjax prepare NAME --help`.

NAME is a data set, which is prepared from its raw files into TFRecords, or a file for another
program: voxel_h5, tfrecord. The samples of a data set are checked on the way; the result is in
report.json and report.html next to it.
"""

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from handjax.data.cameras import HELP as CAMERA_HELP
from handjax.data.cameras import Camera, read_camera
from handjax.data.formats.depth import DEPTH_FORMATS
from handjax.data.preparation.registry import SETS, raw_files
from handjax.engine import cli


def positive(text: str) -> float:
    """A finite number above 0."""
    if not 0 < float(text) < float("inf"):
        raise ValueError
    return float(text)


def camera(text: str) -> Camera:
    """See `handjax.data.cameras.read_camera`."""
    try:
        return read_camera(text)
    except ValueError as error:  # argparse would drop the message
        raise argparse.ArgumentTypeError(str(error)) from None


def parser() -> cli.Parser:
    """The parser of the command, with one subcommand per NAME."""
    top = cli.Parser(prog="handjax prepare", description=__doc__)
    names = top.add_subparsers(dest="name", required=True, metavar="NAME")
    _add_voxel_h5(names)
    _add_tfrecord(names)
    for name in SETS:
        _add_set(names, name)
    return top


def _add_voxel_h5(names: Any) -> None:
    command = names.add_parser(
        "voxel_h5",
        help="depth frames, joints and centers → HDF5 of voxels",
        description="Depth frames, joints and crop centers → the HDF5 file of hpoes_pytorch, "
        "one occupancy grid per frame.",
    )
    command.set_defaults(run=_run_voxel_h5)
    add = command.add_argument
    folder = "folder that the frame names in --labels are relative to"
    add("--depth_dir", type=Path, required=True, help=folder)
    labels = "text, one line per frame: name and j * 3 mm, tab separated"
    add("--labels", type=Path, required=True, help=labels)
    centers = "text, one line per frame: 'x y z' in mm or 'invalid'"
    add("--centers", type=Path, required=True, help=centers)
    add("--camera", type=camera, required=True, metavar="CAMERA", help=CAMERA_HELP)
    cube = "edge of the crop (default 300)"
    add("--cube", type=positive, default=300.0, metavar="MM", help=cube)
    size = "voxels per side (default 88)"
    add("--size", type=int, default=88, choices=range(8, 257, 8), metavar="N", help=size)
    form = "of PNG files (default nyu)"
    add("--depth_format", choices=tuple(DEPTH_FORMATS), default="nyu", help=form)
    scale = "mm per unit of depth (default 1)"
    add("--depth_scale", type=positive, default=1.0, metavar="MM", help=scale)
    y_up = "whether y points up in the text files, as in NYU's"
    add("--y_up", action=argparse.BooleanOptionalAction, default=True, help=y_up)
    add("--output", type=Path, required=True, metavar="FILE.h5")
    add("--overwrite", action="store_true", help="replace --output if it exists")
    add("--limit", type=int, metavar="N", help="only the first N frames")


def _add_tfrecord(names: Any) -> None:
    command = names.add_parser(
        "tfrecord",
        help="prepared hands → a TFRecord file for hand_pose_tensorflow",
        description="Prepared hands of 320 x 320 px (rhd; stb --config sk_320) → a TFRecord file "
        "that hand_pose_tensorflow reads.",
    )
    command.set_defaults(run=_run_tfrecord)
    add = command.add_argument
    sets = "prepared set; repeat the flag to append another"
    add("--set", type=Path, required=True, action="append", metavar="DIR", help=sets)
    split = "train, test, or a part such as train[:10%%]"
    add("--split", required=True, metavar="NAME", help=split)
    add("--output", type=Path, required=True, metavar="FILE.tfrecords")
    add("--overwrite", action="store_true", help="replace --output if it exists")


def _add_set(names: Any, name: str) -> None:
    raw = raw_files(name)
    title = " ".join((raw.__doc__ or "").split("\n\n")[0].split())
    command = names.add_parser(
        name,
        help=title.split("(")[0].strip().rstrip("."),
        description=f"{title}\n\nFiles:\n{raw.LAYOUT.strip()}",
    )
    command.set_defaults(run=_run_set, config=None)
    add = command.add_argument
    add("--manual_dir", type=Path, required=True, metavar="DIR", help="folder of the files above")
    data_dir = (
        f"the set is written to OUT/{name}/{'CONFIG/' * bool(raw.CONFIGS)}VERSION; "
        "default $TFDS_DATA_DIR, else ~/tensorflow_datasets"
    )
    add("--data_dir", type=Path, metavar="OUT", help=data_dir)
    if raw.CONFIGS:
        configs = tuple(raw.CONFIGS)
        config = f"{', '.join(configs)}; default {configs[0]}"
        add("--config", choices=configs, default=configs[0], metavar="NAME", help=config)
    workers = "processes that read and write; default: one per core"
    add("--workers", type=int, metavar="N", help=workers)
    beam = (
        "run on Apache Beam (pip install 'handjax[beam]'), in this process or on the runner named "
        "by Beam's own options, without dashes and separated by commas: "
        "--beam=runner=FlinkRunner,flink_master=HOST:8081; its workers need the same folders"
    )
    add("--beam", nargs="?", const="", metavar="OPTIONS", help=beam)
    shard = "raw samples per file; default 64"
    add("--shard_mb", type=positive, default=64.0, metavar="MB", help=shard)
    add("--overwrite", action="store_true", help="replace the prepared set if it exists")
    split = "only this split; repeat the flag for several. Files of the others need not be there"
    add("--split", action="append", metavar="NAME", help=split)
    leave_out = (
        "leave out samples that are missing or cannot be read; they are counted and named here, in "
        "the report, in left_out.json next to it and in every report about the prepared set"
    )
    add("--leave_out_unreadable", action="store_true", help=leave_out)
    add("--check", action="store_true", help="only check the files; writes only the report")
    report = f"folder of the report; default: the prepared set's, or ./{name}-check with --check"
    add("--report", type=Path, metavar="DIR", help=report)


def _run_voxel_h5(flags: argparse.Namespace) -> str:
    from handjax.data.preparation import voxel_h5

    return voxel_h5.prepare(_options(voxel_h5.VoxelOptions, flags))


def _run_tfrecord(flags: argparse.Namespace) -> str:
    from handjax.data.preparation.prepared_set import need_tensorflow

    if not flags.output.parent.is_dir():
        raise FileNotFoundError(
            f"--output {flags.output}: no such folder {flags.output.parent}; create it"
        )
    need_tensorflow()
    from handjax.data.formats import hand_pose_records

    count = hand_pose_records.write(flags.output, flags.set, flags.split, flags.overwrite)
    return f"{flags.output}: {count:,} records"


def _run_set(flags: argparse.Namespace) -> str:
    from handjax.data.preparation import prepared_set
    from handjax.reports import preparation as report

    return prepared_set.prepare(_options(prepared_set.PrepareOptions, flags), report.write)


def _options(kind: type, flags: argparse.Namespace) -> Any:
    """The dataclass `kind` from the flags of the same names."""
    return kind(**{field.name: getattr(flags, field.name) for field in dataclasses.fields(kind)})


def main(argv: Sequence[str]) -> None:
    """Runs the command and prints its summary."""
    flags = parser().parse_args(argv)
    print(flags.run(flags))


if __name__ == "__main__":
    cli.run(main)
