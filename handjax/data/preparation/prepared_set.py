"""Prepares a data set: raw files → TFRecords with a report. The work behind `prepare NAME`."""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from etils import epath
from tqdm import tqdm

from handjax.data.left_out import Lacking
from handjax.data.preparation import plausibility, validate
from handjax.data.preparation.registry import (
    known_holes,
    published_frames,
    raw_files,
    skeleton_of,
)
from handjax.data.preparation.split import Split
from handjax.pose.skeleton import Skeleton
from handjax.pose.skeleton_file import NAME as OWN

REPORT_FILES = ("report.json", "report.html")
_MAX_LISTED = 50  # missing files in the error message


@dataclass(frozen=True)
class PrepareOptions:
    """The flags of `prepare NAME`; its help text describes them. `data_dir` None: $TFDS_DATA_DIR or
    ~/tensorflow_datasets. `beam` None: without Beam. `workers` None: one per core. `split` None:
    all."""

    name: str
    config: str | None
    manual_dir: Path
    data_dir: Path | None = None
    workers: int | None = None
    beam: str | None = None
    shard_mb: float = 64.0
    overwrite: bool = False
    check: bool = False
    report: Path | None = None
    split: Sequence[str] | None = None
    leave_out_unreadable: bool = False


WriteReport = Callable[[Path, PrepareOptions, dict[str, Split]], None]  # folder, options, splits


def prepare(options: PrepareOptions, write_report: WriteReport) -> str:
    """Prepares a data set, or with `options.check` only examines it. Returns a summary.

    All missing files are reported before the start. ValueError or OSError, one line, for invalid
    options and for unreadable samples; all others are examined and written nevertheless.
    """
    _validate(options)
    need_tensorflow()
    from handjax.data.preparation.shards import Preparation

    data_dir = options.data_dir or os.environ.get("TFDS_DATA_DIR")
    preparation = Preparation(
        options.name,
        options.config,
        options.manual_dir,
        data_dir or Path.home() / "tensorflow_datasets",
        round(options.shard_mb * 2**20),
        options.split,
        options.leave_out_unreadable,
    )
    work = _check if options.check else _write
    return work(preparation, options, write_report)


def _check(preparation: Any, options: PrepareOptions, write_report: WriteReport) -> str:
    from handjax.data.preparation.shards import check
    from handjax.data.preparation.workers import Workers

    skeleton = skeleton_of(options.name, options.manual_dir, options.config)
    splits = {}
    with Workers(options.workers or os.cpu_count() or 1) as pool:
        for split, examples in preparation.examples().items():
            bar = _progress(options, split)
            figure = plausibility.figure_of(options.name)
            size = preparation.shard_bytes
            splits[split] = check(examples.lazy, pool, bar, skeleton, size, figure)
    folder = options.report or Path(f"{options.name}-check")
    write_report(folder, options, splits)
    where = f"report: {Path(folder, 'report.html').resolve()}"
    if wrong := _unreadable(splits, options) or _refused(splits):
        raise ValueError(f"{wrong}; {where}")
    lines = [*_joints(skeleton), *_left_out_lines(options, splits), *_faults(splits), where]
    return "\n".join(lines)


def _write(preparation: Any, options: PrepareOptions, write_report: WriteReport) -> str:
    from handjax.data.preparation import beam
    from handjax.data.preparation.workers import Workers

    skeleton = skeleton_of(options.name, options.manual_dir, options.config)
    _refuse_to_replace(preparation.folder, options)
    with preparation.claimed():
        # Again, as another process may have finished it in the meantime.
        _refuse_to_replace(preparation.folder, options)
        if any(preparation.unfinished.glob("*.json")):
            print(f"resuming in {preparation.unfinished}", flush=True)
        if options.beam is None:
            with Workers(options.workers or os.cpu_count() or 1) as pool:
                splits = preparation.write(pool, partial(_progress, options), skeleton)
        else:
            splits = beam.write(preparation, options.beam, skeleton)
        folder = options.report or Path(preparation.unfinished)
        if not options.report:
            for name in REPORT_FILES:  # of an earlier run that did not finish
                (folder / name).unlink(missing_ok=True)
        write_report(folder, options, splits)
        if wrong := _unreadable(splits, options) or _refused(splits):
            report = Path(folder, "report.html").resolve()
            raise ValueError(
                f"{wrong}; fix that and run again: finished shards are kept{_way_out(splits)}; "
                f"report: {report}"
            )
        preparation.finish(splits, left_out_of(options, splits), options.overwrite)
    frames = ", ".join(f"{split} {sum(result.shards):,}" for split, result in splits.items())
    report = Path(options.report or preparation.folder, "report.html").resolve()
    return "\n".join(
        [
            f"{preparation.folder}: {frames} frames",
            *_joints(skeleton),
            *_left_out_lines(options, splits),
            *_faults(splits),
            f"report: {report}",
        ]
    )


def left_out_of(options: PrepareOptions, splits: dict[str, Split]) -> dict[str, Lacking]:
    """What each split lacks."""
    return {
        split: Lacking(
            data.findings.left_out if options.leave_out_unreadable else {},
            known_holes(options.name, options.manual_dir, split, options.config),
        )
        for split, data in splits.items()
    }


def _left_out_lines(options: PrepareOptions, splits: dict[str, Split]) -> list[str]:
    return [
        f"{split}: {line}"
        for split, left in left_out_of(options, splits).items()
        for line in left.lines()
    ]


def _joints(skeleton: Skeleton | None) -> list[str]:
    """A line about a user's own joints, and what a mirror image swaps, which may follow from their
    names alone."""
    if skeleton is None or skeleton.name != OWN:
        return []
    names = skeleton.joints
    pairs = [f"{names[a]} – {names[b]}" for a, b in skeleton.flip_pairs]
    return [
        f"joints: {', '.join(names)}; {len(skeleton.bones)} bones; mirrored pairs: "
        f"{', '.join(pairs) or 'none'}"
    ]


def _way_out(splits: dict[str, Split]) -> str:
    """The way to go on without the unreadable samples, if there is one."""
    found = [data.findings for data in splits.values() if data.findings.unreadable]
    if not found or not all(findings.complete(leave_out=True) for findings in found):
        return ""
    return ", or leave them out, by name and count, with --leave_out_unreadable"


def _progress(options: PrepareOptions, split: str) -> tqdm:
    total = published_frames(options.name, split, options.config)
    return tqdm(desc=f"{options.name} {split}", total=total, unit="frame")


def need_tensorflow() -> None:
    """ValueError, one line, if TensorFlow or TFDS is not installed."""
    try:
        import handjax.data.records  # noqa: F401 - takes ten seconds, so not at import
    except ModuleNotFoundError as error:
        raise ValueError(f"{error.name} is not installed; pip install 'handjax[data]'") from None


def _validate(options: PrepareOptions) -> None:
    root = epath.Path(options.manual_dir)
    if options.workers is not None and options.workers < 1:
        raise ValueError(f"--workers {options.workers}: expected at least 1")
    if options.beam is not None and (options.check or options.workers):
        raise ValueError(
            "--beam prepares with the runner's workers: use it without --check and --workers"
        )
    if not root.is_dir():
        raise FileNotFoundError(
            f"--manual_dir {root}: no such folder; "
            f"see handjax prepare {options.name} --help for its content"
        )
    raw = raw_files(options.name)
    known = raw.splits(root, options.config)
    if options.split and (unknown := [split for split in options.split if split not in known]):
        raise ValueError(
            f"--split {unknown[0]}: {options.name} has {', '.join(known) or 'no split there'}"
        )
    missing = raw.missing(root, options.config, options.split)
    if missing and options.leave_out_unreadable:
        print(f"{len(missing)} missing, left out: {'; '.join(missing[:3])}", file=sys.stderr)
    elif missing:
        more = f"; and {len(missing) - _MAX_LISTED} more" if len(missing) > _MAX_LISTED else ""
        raise FileNotFoundError(
            f"--manual_dir {root}: {len(missing)} missing: {'; '.join(missing[:_MAX_LISTED])}{more}"
            f"{_other_splits(options, root)}"
        )


def _other_splits(options: PrepareOptions, root: epath.Path) -> str:
    """The way to prepare those splits whose files are complete, if there are any."""
    raw = raw_files(options.name)
    splits = raw.splits(root, options.config)
    whole = [s for s in splits if len(splits) > 1 and not raw.missing(root, options.config, (s,))]
    if options.split or not whole:
        return ""
    return f"; {', '.join(whole)} alone: {' '.join(f'--split {split}' for split in whole)}"


def _refuse_to_replace(folder: epath.Path, options: PrepareOptions) -> None:
    if not folder.exists():
        return
    if not options.overwrite:
        raise FileExistsError(
            f"{folder}: exists already; --overwrite replaces it, another --data_dir keeps it"
        )
    if options.split and (folder / "dataset_info.json").exists():
        from handjax.data.records import describe

        if lost := set(describe(folder).splits) - set(options.split):
            raise FileExistsError(
                f"{folder}: holds {', '.join(sorted(lost))}, too, which --overwrite would delete; "
                "name all splits, or use another --data_dir"
            )


def _faults(splits: dict[str, Split]) -> list[str]:
    """One line per split and fault."""
    return [
        line
        for split, data in splits.items()
        for line in plausibility.lines(split, data.findings, validate.FAULTS)
    ]


def _refused(splits: dict[str, Split]) -> str:
    """One line about the splits whose labels cannot be right; empty if there are none."""
    reasons = {split: plausibility.refusal(data.findings) for split, data in splits.items()}
    return "; ".join(f"{split}: {reason}" for split, reason in reasons.items() if reason)


def _unreadable(splits: dict[str, Split], options: PrepareOptions) -> str:
    """One line about what each split lacks and must not; empty if there is nothing."""
    result = []
    for split, data in splits.items():
        if data.findings.complete(options.leave_out_unreadable):
            continue
        samples = set(data.findings.left_out.values())
        # First what cannot be left out.
        if lines := sorted(data.findings.unreadable, key=lambda line: line in samples):
            count = data.findings.counts["unreadable"]
            more = f" ({len(lines) - 1} more in the report)" if len(lines) > 1 else ""
            result.append(f"{split}: {count} unreadable: {lines[0]}{more}")
    return "; ".join(result)
