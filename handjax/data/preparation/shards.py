"""Examples of a data set → a prepared one, shard after shard, by several processes; a kill costs no shard that is whole.

TFDS's own `download_and_prepare` runs in one process and begins anew when it was stopped, so the door uses this instead; what
comes out is the same to every reader. One process goes through the labels and says which samples a shard is made of; the others,
or the workers of a Beam pipeline (beam.py), read the samples' files, examine and encode them and write the shard. They gather in
`DATA_DIR/unfinished/` until the set is whole and moves to its place in one step. An earlier, stopped run's whole splits are left
alone; of a split that is not whole the files are read again, and the shards that are whole and made of the same samples are kept.
What cannot be read is told and leaves its shard unwritten; all that can be is looked at nevertheless.

The records stand in the order of the raw files, not shuffled as TFDS leaves them: who trains shuffles them anyway
(data/records.py), and who predicts meets the frames in the order of the published files. A part of a split, "train[:1%]", is
therefore its first frames.

A folder of `unfinished`: plan.json, what it is made from; SPLIT.lot.json, how many samples a shard has; for each shard its records
and SPLIT.00000.json, what is in it; SPLIT.all.json, how many shards there are; SPLIT.split.json once they are whole.
"""

import base64
import contextlib
import functools
import hashlib
import importlib
import io
import json
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import chain, islice
from multiprocessing import get_context, parent_process

import numpy as np
from etils import epath

from handjax.data.preparation import lock, validate
from handjax.data.preparation.examples import Examples, LazyExamples, Read
from handjax.data.records import (  # with their environment, before they are imported anywhere
    tf,
    tfds,
)
from handjax.engine.files import write_atomic

Lot = list[tuple[str, Read]]
Progress = Callable[
    [str], contextlib.AbstractContextManager
]  # split → a bar of tqdm, or what has `update` and `set_postfix` too
_TRIED = 8  # samples that say how many go into a shard


@dataclass(frozen=True)
class Split:
    """What is known of a split that went through: its shards' frames, their bytes, what was found, and drawn samples (JPEG)."""

    shards: tuple[int, ...]
    size: int
    found: validate.Findings
    tiles: tuple[tuple[str, bytes], ...]

    def to_json(self) -> str:
        tiles = [(key, base64.b64encode(jpeg).decode()) for key, jpeg in self.tiles]
        return json.dumps(
            {"shards": self.shards, "size": self.size, "found": self.found.plain(), "tiles": tiles}
        )

    @classmethod
    def from_json(cls, text: str) -> "Split":
        told = json.loads(text)
        tiles = tuple((key, base64.b64decode(jpeg)) for key, jpeg in told["tiles"])
        return cls(
            tuple(told["shards"]), told["size"], validate.Findings.from_plain(told["found"]), tiles
        )


class Preparation:
    """One data set, one configuration, on its way from `manual_dir` to `data_dir`."""

    def __init__(
        self,
        name: str,
        config: str | None,
        manual_dir: os.PathLike,
        data_dir: os.PathLike,
        shard_bytes: int,
    ):
        tf.config.set_visible_devices([], "GPU")  # the accelerators are JAX's
        self.name, self.config, self.shard_bytes = name, config, shard_bytes
        self.manual_dir = epath.Path(manual_dir).resolve()
        self._root = epath.Path(data_dir).resolve() / "unfinished"
        self._builder = _builder(name, config, str(self._root))
        self._begun: dict[str, Examples] = {}
        self.unfinished = epath.Path(self._builder.data_dir)
        self.folder = self._root.parent / self.unfinished.relative_to(self._root)

    def __reduce__(self):
        return Preparation, (
            self.name,
            self.config,
            self.manual_dir,
            self._root.parent,
            self.shard_bytes,
        )

    @contextlib.contextmanager
    def claimed(self) -> Iterator[None]:
        """ValueError, one line, if another process prepares the same."""
        self.unfinished.parent.mkdir(parents=True, exist_ok=True)
        try:
            with lock.held(self.unfinished.with_name(f"{self.unfinished.name}.lock")):
                yield
        finally:
            empty = self.unfinished.parent
            while empty != self._root.parent and not any(empty.iterdir()):
                empty.rmdir()
                empty = empty.parent

    def begin(self) -> list[str]:
        """The splits. ValueError, one line, if something is missing."""
        self._begun = self.samples()
        splits = list(self._begun)
        self.unfinished.mkdir(exist_ok=True)
        plan, path = (
            {"manual_dir": str(self.manual_dir), "shard_bytes": self.shard_bytes},
            self.unfinished / "plan.json",
        )
        if path.exists() and json.loads(path.read_text()) != plan:
            raise ValueError(
                f"{self.unfinished}: begun with {path.read_text()}; give the same, or remove that folder"
            )
        write_atomic(path, json.dumps(plan))
        return splits

    def to_do(self, splits: list[str]) -> list[str]:
        """Those that are not whole yet."""
        return [split for split in splits if not self._done(split).exists()]

    def write(
        self, workers: "Workers", progress: Progress, skeleton: str | None
    ) -> dict[str, Split]:
        """All shards of all splits; what an earlier, stopped call has finished is kept."""
        splits = self.begin()
        for split in self.to_do(splits):
            with progress(split) as bar:
                for told in workers.each(write_shard, self.shards(split, skeleton)):
                    bar.update(told["frames"])
                    _count_unreadable(bar, told["found"])
        return {split: self.gathered(split) for split in splits}

    def shards(self, split: str, skeleton: str | None) -> Iterator[tuple]:
        """What `write_shard` needs, shard after shard; after the last what there is to say of all is in a file."""
        chosen, cut, shards = validate.Chosen(), None, 0
        try:
            samples = self._begun.pop(split, None) or self.samples()[split]
            entries = chosen.passing(_once(samples.lazy))
            for lot in _lots(entries, self.shard_bytes, self.unfinished / f"{split}.lot.json"):
                yield (
                    self.name,
                    self.config,
                    str(self._root),
                    str(self._file(split, shards)),
                    str(self._told(split, shards)),
                    lot,
                )
                shards += 1
        except (ValueError, OSError) as error:  # of the labels
            cut = " ".join(str(error).split())
        tiles = [(key, base64.b64encode(jpeg).decode()) for key, jpeg in tiles_of(chosen, skeleton)]
        write_atomic(
            self.unfinished / f"{split}.all.json",
            json.dumps({"shards": shards, "cut": cut, "tiles": tiles}),
        )

    def gathered(self, split: str) -> Split:
        """What the shards of a split have told."""
        if self._done(split).exists():
            return Split.from_json(self._done(split).read_text())
        of_all = json.loads((self.unfinished / f"{split}.all.json").read_text())
        told = [json.loads(self._told(split, n).read_text()) for n in range(of_all["shards"])]
        found = validate.Findings()
        for shard in told:
            found += validate.Findings.from_plain(shard["found"])
        if of_all["cut"]:
            found.not_read(ValueError(f"{of_all['cut']} (nothing after it was read)"))
        elif not told:
            found.not_read(ValueError(f"{self.manual_dir}: split {split!r} has no samples"))
        tiles = tuple((key, base64.b64decode(jpeg)) for key, jpeg in of_all["tiles"])
        gathered = Split(
            tuple(s["frames"] for s in told), sum(s["size"] for s in told), found, tiles
        )
        if not found.unreadable:
            shards = len(told)
            for n in range(shards):
                if self._file(split, n).exists():
                    self._file(split, n).replace(self._file(split, n, shards))
            whole = {self._file(split, n, shards) for n in range(shards)}
            for left in (
                set(self.unfinished.glob(f"{self.name}-{split}.*")) - whole
            ):  # by a run that met other files
                left.unlink()
            write_atomic(self._done(split), gathered.to_json())
        return gathered

    def finish(self, splits: dict[str, Split], overwrite: bool) -> None:
        """Puts the set in its place, with whatever else lies in `unfinished`."""
        info = self._builder.info
        info.as_proto.disable_shuffling = True  # in TFDS's words: records have an order
        info.set_splits(
            tfds.core.splits.SplitDict(
                [tfds.core.SplitInfo(n, list(s.shards), s.size) for n, s in splits.items()]
            )
        )
        info.write_to_directory(self.unfinished)
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        replaced = self.folder.with_name(f"{self.folder.name}.replaced")
        if overwrite and self.folder.exists():
            self.folder.rename(replaced)
        self.unfinished.rename(self.folder)
        for path in self.folder.iterdir():
            if path.name == "plan.json" or any(path.match(f"{split}.*.json") for split in splits):
                path.unlink()
        if overwrite and replaced.exists():
            replaced.rmtree()

    def samples(self) -> dict[str, Examples]:
        """Of every split. ValueError, one line, if something is missing."""
        return self._builder._split_generators(_There(self.manual_dir))

    def _done(self, split: str) -> epath.Path:
        return self.unfinished / f"{split}.split.json"

    def _told(self, split: str, n: int) -> epath.Path:
        return self.unfinished / f"{split}.{n:05d}.json"

    def _file(self, split: str, n: int, shards: int | None = None) -> epath.Path:
        end = f"{n:05d}" + (f"-of-{shards:05d}" if shards else "")
        return self.unfinished / f"{self.name}-{split}.tfrecord-{end}"


def write_shard(
    name: str, config: str | None, data_dir: str, file: str, told: str, lot: Lot
) -> dict:
    """A shard in `file`, and then, for now it is whole, what is in it in `told`; the same as a dict. If something cannot be read
    there is no shard, but what there is to say."""
    file, told = epath.Path(file), epath.Path(told)
    if file.exists() and told.exists():
        before = json.loads(told.read_text())
        digest = _Digest()
        for key, sample in validate.readable(lot, validate.Findings()):
            digest.add(key, sample)
        if before["digest"] == digest.hex():
            return before
    for path in (told, file):
        path.unlink(missing_ok=True)
    features, size, digest, found = (
        _features(name, config, data_dir),
        0,
        _Digest(),
        validate.Findings(),
    )
    half = file.with_name(f"{file.name}.writing")
    with tf.io.TFRecordWriter(str(half)) as writer:
        for key, sample in validate.examined(validate.readable(lot, found), found):
            digest.add(key, sample)
            try:
                record = features.serialize_example(sample)
            except Exception as error:  # TensorFlow's own, of many kinds
                raise ValueError(
                    f"{name}, {key}: {' '.join(str(error).split())[:300]}; cannot be encoded"
                ) from None
            writer.write(record)
            size += len(record)
    if found.unreadable:
        half.unlink()
    else:
        half.replace(file)
    made = {
        "frames": found.counts["frames"],
        "size": size,
        "digest": digest.hex(),
        "found": found.plain(),
    }
    write_atomic(told, json.dumps(made))
    return made


def check(
    entries: LazyExamples,
    workers: "Workers",
    bar: contextlib.AbstractContextManager,
    skeleton: str | None,
    shard_bytes: int,
) -> Split:
    """What there is to say of a split without writing it."""
    chosen, found, cut = validate.Chosen(), validate.Findings(), []

    def tasks():
        try:
            yield from ((lot,) for lot in _lots(chosen.passing(_once(entries)), shard_bytes))
        except (ValueError, OSError) as error:
            cut.append(ValueError(f"{error} (nothing after it was read)"))

    with bar:
        for part in workers.each(validate.examine, tasks()):
            found += part
            bar.update(part.counts["frames"])
            _count_unreadable(bar, part.plain())
    for error in cut:
        found.not_read(error)
    return Split((), 0, found, tiles_of(chosen, skeleton))


def _count_unreadable(bar, found: dict) -> None:
    bar.unreadable = getattr(bar, "unreadable", 0) + found["counts"].get("unreadable", 0)
    if bar.unreadable:
        bar.set_postfix(unreadable=bar.unreadable)


def tiles_of(chosen: validate.Chosen, skeleton: str | None) -> tuple[tuple[str, bytes], ...]:
    return tuple((key, validate.sheet([tile])) for key, tile in chosen.drawn(skeleton))


def _lots(entries: LazyExamples, size: int, kept: epath.Path | None = None) -> Iterator[Lot]:
    """Runs of as many entries as have about `size` bytes in memory, by the first of them; by `kept` if an earlier run wrote it."""
    entries = iter(entries)
    first = list(islice(entries, _TRIED))
    if kept and kept.exists():
        count = json.loads(kept.read_text())
    else:
        tried = [_size(sample) for _, sample in validate.readable(first, validate.Findings())]
        count = max(1, round(size * len(tried) / sum(tried))) if tried else _TRIED
        if kept and tried:
            write_atomic(kept, json.dumps(count))
    entries = chain(first, entries)
    while lot := list(islice(entries, count)):
        yield lot


def _size(sample: dict) -> int:
    return sum(
        v.getbuffer().nbytes if isinstance(v, io.BytesIO) else np.asarray(v).nbytes
        for v in sample.values()
    )


class Workers:
    """Several processes beside this one; `count` 1: this one alone."""

    def __init__(self, count: int):
        # Spawned: TensorFlow's threads do not survive a fork.
        context = get_context("spawn")
        self._pool = (
            ProcessPoolExecutor(count, mp_context=context, initializer=_go_with_parent)
            if count > 1
            else None
        )
        self._ahead = count + 1

    def each(self, work: Callable, tasks: Iterable[tuple]) -> Iterator:
        """Results of work(*task) in order. No more tasks are taken than the processes need to have work."""
        waiting: deque = deque()
        for task in tasks:
            if self._pool is None:
                waiting.append(functools.partial(work, *task))
            else:
                waiting.append(self._pool.submit(work, *task).result)
            while len(waiting) > (self._ahead if self._pool else 0):
                yield _result(waiting.popleft())
        while waiting:
            yield _result(waiting.popleft())

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_) -> None:
        if self._pool:
            self._pool.shutdown(cancel_futures=True)


def _result(get: Callable):
    try:
        return get()
    except BrokenProcessPool:
        raise OSError(
            "a worker process died, perhaps for want of memory: give fewer --workers; what is whole is kept"
        ) from None


def _go_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever."""

    def watch():
        parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is the parent who says so


class _Digest:
    """Of samples and their names."""

    def __init__(self):
        self._digest = hashlib.blake2b(digest_size=16)

    def add(self, key: str, sample: dict) -> None:
        self._digest.update(key.encode())
        for name, value in sample.items():
            self._digest.update(name.encode())
            self._digest.update(
                value.getbuffer() if isinstance(value, io.BytesIO) else np.asarray(value).tobytes()
            )

    def hex(self) -> str:
        return self._digest.hexdigest()


def _once(entries: LazyExamples) -> LazyExamples:
    seen = set()
    for key, read in entries:
        if key in seen:
            raise ValueError(f"two samples are called {key!r}; expected a name for each")
        seen.add(key)
        yield key, read


class _There(tfds.download.DownloadManager):
    """For builders whose files lie in a folder: it downloads nothing and, unlike TFDS's, makes no folder."""

    def __init__(self, manual_dir: epath.Path):
        self._folder = manual_dir

    @property
    def manual_dir(self) -> epath.Path:
        return self._folder


def _builder(name: str, config: str | None, data_dir: str):
    module = importlib.import_module(f"handjax.data.sets.{name}.{name}_dataset_builder")
    return module.Builder(data_dir=data_dir, config=config)


@functools.lru_cache(maxsize=1)
def _features(name: str, config: str | None, data_dir: str):
    return _builder(name, config, data_dir).info.features
