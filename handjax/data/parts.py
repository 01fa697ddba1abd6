"""Samples of a data set → a prepared one, shard after shard, by several processes; a kill costs no shard that is whole.

TFDS's own `download_and_prepare` runs in one process and begins anew when it was stopped, so the door uses this instead; what
comes out is the same to every reader. One process goes through the raw files in their order and decodes each picture once, the
others examine the samples, encode them and write the shards. They gather in `DATA_DIR/unfinished/` until the set is whole and
moves to its place in one step. An earlier, stopped run's whole splits are left alone; of a split that is not whole the files are
read again, and the shards that are whole and made of the same samples are kept.

The records stand in the order of the raw files, not shuffled as TFDS leaves them: who trains shuffles them anyway
(data/pipeline.py), and who predicts meets the frames in the order of the published files. A part of a split, "train[:1%]", is
therefore its first frames.
"""

import base64
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
from multiprocessing import get_context, parent_process

import numpy as np
from etils import epath

from handjax.data import validate
from handjax.data.pipeline import tf, tfds  # with their environment, before they are imported anywhere

Samples = Iterator[tuple[str, dict]]
Progress = Callable[[str, Samples], Samples]  # (split, samples) → the same samples


@dataclass(frozen=True)
class Split:
    """What is known of a split that went through: its shards' frames, their bytes, what was found, and drawn samples (JPEG)."""

    shards: tuple[int, ...]
    size: int
    found: validate.Findings
    tiles: tuple[tuple[str, bytes], ...]

    def to_json(self) -> str:
        tiles = [(key, base64.b64encode(jpeg).decode()) for key, jpeg in self.tiles]
        return json.dumps({"shards": self.shards, "size": self.size, "found": self.found.plain(), "tiles": tiles})

    @classmethod
    def from_json(cls, text: str) -> "Split":
        told = json.loads(text)
        tiles = tuple((key, base64.b64decode(jpeg)) for key, jpeg in told["tiles"])
        return cls(tuple(told["shards"]), told["size"], validate.Findings.from_plain(told["found"]), tiles)


class Preparation:
    """One data set, one configuration, on its way from `manual_dir` to `data_dir`."""

    def __init__(self, name: str, config: str | None, manual_dir: os.PathLike, data_dir: os.PathLike, shard_bytes: int):
        tf.config.set_visible_devices([], "GPU")  # the accelerators are JAX's
        self.name, self.config, self.shard_bytes = name, config, shard_bytes
        self.manual_dir = epath.Path(manual_dir).resolve()
        self._root = epath.Path(data_dir).resolve() / "unfinished"
        self._builder = _builder(name, config, str(self._root))
        self.unfinished = epath.Path(self._builder.data_dir)
        self.folder = self._root.parent / self.unfinished.relative_to(self._root)

    def samples(self) -> dict[str, Samples]:
        """Of every split, read when they are asked for. ValueError, one line, if something is missing."""
        return self._builder._split_generators(_There(self.manual_dir))

    def write(self, workers: "Workers", progress: Progress, skeleton: str | None) -> dict[str, Split]:
        """All shards of all splits; what an earlier, stopped call has finished is kept."""
        self.unfinished.mkdir(parents=True, exist_ok=True)
        plan, path = {"manual_dir": str(self.manual_dir), "shard_bytes": self.shard_bytes}, self.unfinished / "plan.json"
        if path.exists() and json.loads(path.read_text()) != plan:
            raise ValueError(f"{self.unfinished}: begun with {path.read_text()}; give the same, or remove that folder")
        _write(path, json.dumps(plan))
        splits = {}
        for split, samples in self.samples().items():
            done = self.unfinished / f"{split}.split.json"
            if done.exists():
                samples.close()
                splits[split] = Split.from_json(done.read_text())
                continue
            chosen = validate.Chosen()
            shards = self._shards(split, chosen.passing(_once(progress(split, samples))), workers)
            told = [json.loads(self._told(split, n).read_text()) for n in range(shards)]
            if not told:
                raise ValueError(f"{self.manual_dir}: split {split!r} has no samples")
            found = validate.Findings()
            for shard in told:
                found += validate.Findings.from_plain(shard["found"])
            for n in range(shards):
                if self._file(split, n).exists():
                    self._file(split, n).replace(self._file(split, n, shards))
            whole = {self._file(split, n, shards) for n in range(shards)}
            for left in set(self.unfinished.glob(f"{self.name}-{split}.*")) - whole:  # by a run that met other files
                left.unlink()
            splits[split] = Split(tuple(s["frames"] for s in told), sum(s["size"] for s in told), found, tiles_of(chosen, skeleton))
            _write(done, splits[split].to_json())
        return splits

    def finish(self, splits: dict[str, Split], overwrite: bool) -> None:
        """Puts the set in its place, with whatever else lies in `unfinished`."""
        info = self._builder.info
        info.as_proto.disable_shuffling = True  # in TFDS's words: records have an order
        info.set_splits(tfds.core.splits.SplitDict([tfds.core.SplitInfo(n, list(s.shards), s.size) for n, s in splits.items()]))
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
        empty = self.unfinished.parent
        while empty != self._root.parent and not any(empty.iterdir()):
            empty.rmdir()
            empty = empty.parent

    def _shards(self, split: str, samples: Samples, workers: "Workers") -> int:
        """How many; each is written, unless it is whole already."""

        def tasks():
            for n, lot in enumerate(lots(samples, self.shard_bytes)):
                file, told, digest = self._file(split, n), self._told(split, n), _digest(lot)
                if file.exists() and told.exists() and json.loads(told.read_text())["digest"] == digest:
                    yield None
                else:
                    yield self.name, self.config, str(self._root), str(file), str(told), digest, lot

        return sum(1 for _ in workers.each(write_shard, tasks()))

    def _told(self, split: str, n: int) -> epath.Path:
        return self.unfinished / f"{split}.{n:05d}.json"

    def _file(self, split: str, n: int, shards: int | None = None) -> epath.Path:
        end = f"{n:05d}" + (f"-of-{shards:05d}" if shards else "")
        return self.unfinished / f"{self.name}-{split}.tfrecord-{end}"


def write_shard(
    name: str, config: str | None, data_dir: str, file: str, told: str, digest: str, lot: list[tuple[str, dict]]
) -> None:
    """A shard in `file`, and then, for now it is whole, what is in it in `told`."""
    epath.Path(told).unlink(missing_ok=True)
    features, size = _features(name, config, data_dir), 0
    found = validate.examine(lot)
    with tf.io.TFRecordWriter(f"{file}.writing") as writer:
        for key, sample in lot:
            try:
                record = features.serialize_example(sample)
            except Exception as error:  # TensorFlow's own, of many kinds
                raise ValueError(f"{name}, {key}: {' '.join(str(error).split())[:300]}; cannot be encoded") from None
            writer.write(record)
            size += len(record)
    epath.Path(f"{file}.writing").replace(file)
    _write(epath.Path(told), json.dumps({"frames": len(lot), "size": size, "digest": digest, "found": found.plain()}))


def check(samples: Samples, workers: "Workers", skeleton: str | None, shard_bytes: int) -> tuple[Split, str | None]:
    """What there is to say of a split without writing it, up to its end or to the line that says where it could not be read."""
    chosen, found, lines = validate.Chosen(), validate.Findings(), []

    def readable():
        try:
            yield from chosen.passing(_once(samples))
        except (ValueError, OSError) as error:
            lines.append(" ".join(str(error).split()))

    for part in workers.each(validate.examine, ((lot,) for lot in lots(readable(), shard_bytes))):
        found += part
    return Split((), 0, found, tiles_of(chosen, skeleton)), next(iter(lines), None)


def tiles_of(chosen: validate.Chosen, skeleton: str | None) -> tuple[tuple[str, bytes], ...]:
    return tuple((key, validate.sheet([tile])) for key, tile in chosen.drawn(skeleton))


def lots(samples: Samples, size: int) -> Iterator[list[tuple[str, dict]]]:
    """Runs of samples of about `size` bytes in memory."""
    lot, held = [], 0
    for key, sample in samples:
        lot.append((key, sample))
        held += sum(v.getbuffer().nbytes if isinstance(v, io.BytesIO) else np.asarray(v).nbytes for v in sample.values())
        if held >= size:
            yield lot
            lot, held = [], 0
    if lot:
        yield lot


class Workers:
    """Several processes beside this one; `count` 1: this one alone."""

    def __init__(self, count: int):
        # Spawned: TensorFlow's threads do not survive a fork.
        context = get_context("spawn")
        self._pool = ProcessPoolExecutor(count, mp_context=context, initializer=_go_with_parent) if count > 1 else None
        self._ahead = count + 1

    def each(self, work: Callable, tasks: Iterable[tuple | None]) -> Iterator:
        """Results of work(*task) in order; None for None. No more tasks are taken than the processes need to have work."""
        waiting: deque = deque()
        for task in tasks:
            if task is None or self._pool is None:
                waiting.append(lambda task=task: None if task is None else work(*task))
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
        raise OSError("a worker process died, perhaps for want of memory: give fewer --workers; what is whole is kept") from None


def _go_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever."""

    def watch():
        parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is the parent who says so


def _digest(lot: list[tuple[str, dict]]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for key, sample in lot:
        digest.update(key.encode())
        for name, value in sample.items():
            digest.update(name.encode())
            digest.update(value.getbuffer() if isinstance(value, io.BytesIO) else np.asarray(value).tobytes())
    return digest.hexdigest()


def _once(samples: Samples) -> Samples:
    seen = set()
    for key, sample in samples:
        if key in seen:
            raise ValueError(f"two samples are called {key!r}; expected a name for each")
        seen.add(key)
        yield key, sample


class _There(tfds.download.DownloadManager):
    """For builders whose files lie in a folder: it downloads nothing and, unlike TFDS's, makes no folder."""

    def __init__(self, manual_dir: epath.Path):
        self._folder = manual_dir

    @property
    def manual_dir(self) -> epath.Path:
        return self._folder


def _builder(name: str, config: str | None, data_dir: str):
    module = importlib.import_module(f"handjax.data.{name}.{name}_dataset_builder")
    return module.Builder(data_dir=data_dir, config=config)


@functools.lru_cache(maxsize=1)
def _features(name: str, config: str | None, data_dir: str):
    return _builder(name, config, data_dir).info.features


def _write(path: epath.Path, text: str) -> None:
    """In one step: a kill leaves the old content or the new."""
    half = path.with_name(f"{path.name}.writing")
    half.write_text(text)
    half.replace(path)
