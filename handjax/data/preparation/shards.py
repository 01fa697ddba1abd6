"""Raw data set → prepared data set, shard by shard, in several processes. Resumable.

TFDS's own `download_and_prepare` runs in one process and starts over after a stop, so this module
replaces it; readers see no difference. One process walks through the labels and decides which
samples make a shard. Worker processes, or those of a Beam pipeline (beam.py), read the samples'
files, examine and encode them and write the shard.

Shards collect in `DATA_DIR/unfinished/`; a complete set moves to its place in one rename. When a
stopped run resumes, complete splits are left alone. Files of an incomplete split are read again,
and its complete shards are kept if they hold the same samples. Unreadable samples are reported and
their shard is not written; the remaining samples are still checked.

Records are in the order of the raw files, not shuffled as TFDS would: training shuffles anyway
(data/records.py), and predictions follow the order of the published files. A part of a split such
as "train[:1%]" is therefore its first frames.

The folder in `unfinished` holds plan.json (its inputs); SPLIT.chunk.json (samples per shard); per
shard its records and SPLIT.00000.json (its summary); SPLIT.all.json (number of shards); and
SPLIT.split.json once the split is complete.
"""

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from etils import epath
from tqdm import tqdm

from handjax.data import left_out
from handjax.data.left_out import Lacking
from handjax.data.plausible import Figure
from handjax.data.preparation import lock, plausibility, preview, validate
from handjax.data.preparation.examples import Examples, LazyExamples
from handjax.data.preparation.shard import ManualDir, chunks, tfds_builder, unique, write_shard
from handjax.data.preparation.split import Split, tiles_from_json, tiles_to_json
from handjax.data.preparation.workers import Workers
from handjax.data.records import tf, tfds
from handjax.engine.files import write_atomic
from handjax.pose.skeleton import Skeleton

Progress = Callable[[str], tqdm]  # split → its progress bar
_VERSION = 2  # of the files in `unfinished`


class Preparation:
    """Prepares one configuration of a data set from `manual_dir` into `data_dir`. Can be pickled.

    `folder` is the place of the prepared set, `unfinished` where its shards collect until then.
    `splits`: those that are wanted, None for all; `leave_out`: without the unreadable samples.
    """

    def __init__(
        self,
        name: str,
        config: str | None,
        manual_dir: str | os.PathLike,
        data_dir: str | os.PathLike,
        shard_bytes: int,
        splits: Sequence[str] | None = None,
        leave_out: bool = False,
    ):
        tf.config.set_visible_devices([], "GPU")  # leave the accelerators to JAX
        self.name, self.config, self.shard_bytes = name, config, shard_bytes
        self.splits, self.leave_out = splits, leave_out
        self.manual_dir = epath.Path(manual_dir).resolve()
        self._root = epath.Path(data_dir).resolve() / "unfinished"
        self._builder = tfds_builder(name, config, str(self._root))
        self._started: dict[str, Examples] = {}
        self.unfinished = epath.Path(self._builder.data_dir)
        self.folder = self._root.parent / self.unfinished.relative_to(self._root)

    def __reduce__(self) -> tuple[Any, ...]:
        data_dir = self._root.parent
        return Preparation, (
            *(self.name, self.config, self.manual_dir, data_dir),
            *(self.shard_bytes, self.splits, self.leave_out),
        )

    @contextlib.contextmanager
    def claimed(self) -> Iterator[None]:
        """Locks the preparation. ValueError, one line, if another process holds the lock."""
        self.unfinished.parent.mkdir(parents=True, exist_ok=True)
        try:
            with lock.held(self.unfinished.with_name(f"{self.unfinished.name}.lock")):
                yield
        finally:
            empty = self.unfinished.parent
            while empty != self._root.parent and not any(empty.iterdir()):
                empty.rmdir()
                empty = empty.parent

    def start(self) -> list[str]:
        """Creates `unfinished` and returns the splits. ValueError, one line, if files are missing
        or an earlier run used another `manual_dir` or shard size."""
        self._started = self.examples()
        self.unfinished.mkdir(exist_ok=True)
        path = self.unfinished / "plan.json"
        plan = {
            "version": _VERSION,
            "manual_dir": str(self.manual_dir),
            "shard_bytes": self.shard_bytes,
            # Of users' own joints: complete splits are left alone, so all need the same skeleton.
            **dict(self._builder.info.metadata or {}),
        }
        before = json.loads(path.read_text()) if path.exists() else plan
        for key in {**before, **plan}:
            if before.get(key) != plan.get(key):
                was, now = (json.dumps(one.get(key))[:100] for one in (before, plan))
                raise ValueError(
                    f"{self.unfinished}: started with {key} {was}, now {now}; use the same values, "
                    "or remove that folder"
                )
        write_atomic(path, json.dumps(plan))
        return list(self._started)

    def incomplete(self, splits: list[str]) -> list[str]:
        """The splits that are not complete yet."""
        return [split for split in splits if not self._is_complete(split)]

    def _is_complete(self, split: str) -> bool:
        """Whether all samples of a split are written. One that lacks unreadable samples is not:
        they may have been repaired."""
        path = self._split_path(split)
        return path.exists() and not Split.from_json(path.read_text()).findings.unreadable

    def write(
        self, workers: Workers, progress: Progress, skeleton: Skeleton | None
    ) -> dict[str, Split]:
        """Writes all shards of all splits; those that an earlier, stopped call completed are kept.

        `skeleton` is what joints are drawn with.
        """
        splits = self.start()
        for split in self.incomplete(splits):
            unreadable = 0
            with progress(split) as bar:
                for summary in workers.each(write_shard, self.shards(split, skeleton)):
                    bar.update(summary["frames"])
                    unreadable += summary["findings"]["counts"].get("unreadable", 0)
                    if unreadable:
                        bar.set_postfix(unreadable=unreadable)
        return {split: self.collect(split) for split in splits}

    def shards(self, split: str, skeleton: Skeleton | None) -> Iterator[tuple[Any, ...]]:
        """Arguments of `write_shard` per shard. Writes SPLIT.all.json after the last."""
        sampler, error, shards = preview.TileSampler(), None, 0
        try:
            examples = self._started.pop(split, None) or self.examples()[split]
            passing = sampler.passing(unique(examples.lazy))
            for chunk in chunks(passing, self.shard_bytes, self.unfinished / f"{split}.chunk.json"):
                yield (
                    self.name,
                    self.config,
                    str(self._root),
                    self.leave_out,
                    str(self._record_path(split, shards)),
                    str(self._summary_path(split, shards)),
                    chunk,
                )
                shards += 1
        except (ValueError, OSError) as label_error:
            error = " ".join(str(label_error).split())
        tiles = tiles_to_json(sampler.jpegs(skeleton))
        write_atomic(
            self.unfinished / f"{split}.all.json",
            json.dumps({"shards": shards, "error": error, "tiles": tiles}),
        )

    def collect(self, split: str) -> Split:
        """Adds up the summaries of a split's shards. Marks the split complete if all samples could
        be read and it is not refused (plausibility.py)."""
        if split not in self.incomplete([split]):
            return Split.from_json(self._split_path(split).read_text())
        total = json.loads((self.unfinished / f"{split}.all.json").read_text())
        shards = total["shards"]
        summaries = [json.loads(self._summary_path(split, n).read_text()) for n in range(shards)]
        findings = validate.Findings()
        for summary in summaries:
            findings += validate.Findings.from_dict(summary["findings"])
        if total["error"]:
            findings.add_unreadable(ValueError(f"{total['error']} (nothing after it was read)"))
        elif not any(summary["frames"] for summary in summaries):
            what = "none of its samples can be read" if summaries else "has no samples"
            findings.add_unreadable(ValueError(f"{self.manual_dir}: split {split!r}: {what}"))
        # Without the shards of which no sample can be read.
        written = [n for n, summary in enumerate(summaries) if summary["frames"]]
        result = Split(
            tuple(summaries[n]["frames"] for n in written),
            sum(s["size"] for s in summaries),
            findings,
            tiles_from_json(total["tiles"]),
        )
        if findings.complete(self.leave_out) and not plausibility.refusal(findings):
            for to, n in enumerate(written):
                if self._record_path(split, n).exists():
                    self._record_path(split, n).replace(self._record_path(split, to, len(written)))
            complete = {self._record_path(split, n, len(written)) for n in range(len(written))}
            # The others are of a run that found other files.
            for stale in set(self.unfinished.glob(f"{self.name}-{split}.*")) - complete:
                stale.unlink()
            write_atomic(self._split_path(split), result.to_json())
        return result

    def finish(
        self, splits: dict[str, Split], left: Mapping[str, Lacking], overwrite: bool
    ) -> None:
        """Moves the set to `folder`, with what it lacks and whatever else is in `unfinished`."""
        info = self._builder.info
        info.as_proto.disable_shuffling = True  # TFDS's way to say that records have an order
        info.set_splits(
            tfds.core.splits.SplitDict(
                [tfds.core.SplitInfo(n, list(s.shards), s.size) for n, s in splits.items()]
            )
        )
        info.write_to_directory(self.unfinished)
        (self.unfinished / left_out.FILE).unlink(missing_ok=True)
        left_out.write(self.unfinished, left)
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        replaced = self.folder.with_name(f"{self.folder.name}.replaced")
        if overwrite and self.folder.exists():
            self.folder.rename(replaced)
        self.unfinished.rename(self.folder)
        working_files = ["plan.json", ".*.part", *(f"{split}.*.json" for split in splits)]
        # Of an earlier, unfinished run that wanted other splits, too.
        others = set(self._builder_splits()) - set(splits)
        working_files += [f"{split}.*.json" for split in others]
        working_files += [f"{self.name}-{split}.tfrecord-*" for split in others]
        for path in self.folder.iterdir():
            if any(path.match(pattern) for pattern in working_files):
                path.unlink()
        if overwrite and replaced.exists():
            replaced.rmtree()

    def examples(self) -> dict[str, Examples]:
        """Examples per split. ValueError, one line, if files are missing."""
        wanted = ManualDir(self.manual_dir, self.splits, self.leave_out)
        return self._builder._split_generators(wanted)

    def _builder_splits(self) -> tuple[str, ...]:
        """All splits of the data set."""
        return self._builder.RAW.splits(self.manual_dir, self.config)

    def _split_path(self, split: str) -> epath.Path:
        return self.unfinished / f"{split}.split.json"

    def _summary_path(self, split: str, n: int) -> epath.Path:
        return self.unfinished / f"{split}.{n:05d}.json"

    def _record_path(self, split: str, n: int, shards: int | None = None) -> epath.Path:
        end = f"{n:05d}" + (f"-of-{shards:05d}" if shards else "")
        return self.unfinished / f"{self.name}-{split}.tfrecord-{end}"


def check(
    examples: LazyExamples,
    workers: Workers,
    bar: tqdm,
    skeleton: Skeleton | None,
    chunk_bytes: int,
    figure: Figure,
) -> Split:
    """Examines a split without writing it."""
    sampler, findings = preview.TileSampler(), validate.Findings()
    errors: list[Exception] = []

    def tasks() -> Iterator[tuple[Any, ...]]:
        try:
            yield from (
                (chunk, figure) for chunk in chunks(sampler.passing(unique(examples)), chunk_bytes)
            )
        except (ValueError, OSError) as error:
            errors.append(ValueError(f"{error} (nothing after it was read)"))

    with bar:
        for part in workers.each(validate.examine, tasks()):
            findings += part
            bar.update(part.counts["frames"])
            if findings.counts["unreadable"]:
                bar.set_postfix(unreadable=findings.counts["unreadable"])
    for error in errors:
        findings.add_unreadable(error)
    return Split((), 0, findings, sampler.jpegs(skeleton))
