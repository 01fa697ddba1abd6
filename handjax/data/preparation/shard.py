"""One shard of a prepared data set: which samples it holds, and how it is written."""

import contextlib
import functools
import hashlib
import importlib
import io
import json
import os
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Any

import numpy as np
from etils import epath

from handjax.data.preparation import plausibility, validate
from handjax.data.preparation.examples import LazyExamples, Read

# records.py sets TensorFlow's environment, so TensorFlow is imported from there.
from handjax.data.records import tf, tfds
from handjax.engine.files import atomic_path, way_out, write_atomic

Chunk = list[tuple[str, Read]]  # the examples of one shard
_PROBED = 8  # samples whose size decides how many go into a shard


def write_shard(
    name: str,
    config: str | None,
    data_dir: str,
    leave_out: bool,
    file: str,
    summary: str,
    chunk: Chunk,
) -> dict[str, Any]:
    """Writes a shard to `file` and then its summary, as JSON, to `summary`. Returns the summary.

    A complete shard of the same samples is kept. If a sample is unreadable, only the summary is
    written, or with `leave_out` the shard without the sample. `name`, `config` and `data_dir` are
    those of the data set's TFDS builder.
    """
    record_path, summary_path = epath.Path(file), epath.Path(summary)
    if record_path.exists() and summary_path.exists():
        before = json.loads(summary_path.read_text())
        digest = _Digest()
        for key, sample in validate.readable(chunk, validate.Findings()):
            digest.add(key, sample)
        if before["digest"] == digest.hex():
            return before
    for path in (summary_path, record_path):
        path.unlink(missing_ok=True)
    features, size = _features(name, config, data_dir), 0
    figure = plausibility.figure_of(name)
    digest, findings = _Digest(), validate.Findings()
    with (
        _writing(record_path),
        atomic_path(record_path) as temporary,
        tf.io.TFRecordWriter(str(temporary)) as writer,
    ):
        readable = validate.readable(chunk, findings)
        for key, sample in validate.examined(readable, findings, figure):
            digest.add(key, sample)
            try:
                record = features.serialize_example(sample)
            except Exception as error:  # TensorFlow raises many kinds
                reason = " ".join(str(error).split())[:300]
                raise ValueError(f"{name}, {key}: {reason}; cannot be encoded") from None
            writer.write(record)
            size += len(record)
    if not findings.complete(leave_out):
        record_path.unlink()
    result = {
        "frames": findings.counts["frames"],
        "size": size,
        "digest": digest.hex(),
        "findings": findings.to_dict(),
    }
    write_atomic(summary_path, json.dumps(result))
    return result


@contextlib.contextmanager
def _writing(path: epath.Path) -> Iterator[None]:
    """TensorFlow's error of a disk, as of a full one, becomes an OSError of one line."""
    try:
        yield
    except tf.errors.OpError as error:
        raise OSError(f"{path}: cannot be written: {way_out(str(error))}") from None


def chunks(
    examples: LazyExamples, size: int, count_path: epath.Path | None = None
) -> Iterator[Chunk]:
    """Consecutive examples in chunks of about `size` bytes in memory.

    The first examples decide how many make a chunk. The number is stored in `count_path` and read
    from there when a stopped preparation resumes.
    """
    examples = iter(examples)
    first = list(islice(examples, _PROBED))
    if count_path and count_path.exists():
        count = json.loads(count_path.read_text())
    else:
        sizes = [_size(sample) for _, sample in validate.readable(first, validate.Findings())]
        count = max(1, round(size * len(sizes) / sum(sizes))) if sizes else _PROBED
        if count_path and sizes:
            write_atomic(count_path, json.dumps(count))
    examples = chain(first, examples)
    while chunk := list(islice(examples, count)):
        yield chunk


def unique(examples: LazyExamples) -> LazyExamples:
    """The same examples; ValueError at the first key that occurs twice."""
    seen = set()
    for key, read in examples:
        if key in seen:
            raise ValueError(f"two samples have the key {key!r}; expected one key per sample")
        seen.add(key)
        yield key, read


def tfds_builder(name: str, config: str | None, data_dir: str) -> tfds.core.DatasetBuilder:
    """The data set's TFDS builder."""
    module = importlib.import_module(f"handjax.data.sets.{name}.{name}_dataset_builder")
    return module.Builder(data_dir=data_dir, config=config)


class ManualDir(tfds.download.DownloadManager):
    """Gives a builder the folder of the raw files, the `splits` that are wanted (None: all) and
    whether files may be missing. Unlike TFDS's own, it creates no folder."""

    def __init__(
        self,
        manual_dir: str | os.PathLike,
        splits: Sequence[str] | None = None,
        may_lack: bool = False,
    ):
        self._manual_dir = epath.Path(manual_dir)
        self.splits, self.may_lack = splits, may_lack

    @property
    def manual_dir(self) -> epath.Path:
        """The folder of the raw files."""
        return self._manual_dir


@functools.lru_cache(maxsize=1)
def _features(name: str, config: str | None, data_dir: str) -> Any:
    return tfds_builder(name, config, data_dir).info.features


def _size(sample: dict[str, Any]) -> int:
    return sum(
        v.getbuffer().nbytes if isinstance(v, io.BytesIO) else np.asarray(v).nbytes
        for v in sample.values()
    )


class _Digest:
    """Digest of samples and their keys."""

    def __init__(self) -> None:
        self._digest = hashlib.blake2b(digest_size=16)

    def add(self, key: str, sample: dict[str, Any]) -> None:
        self._digest.update(key.encode())
        for name, value in sample.items():
            self._digest.update(name.encode())
            self._digest.update(
                value.getbuffer() if isinstance(value, io.BytesIO) else np.asarray(value).tobytes()
            )

    def hex(self) -> str:
        return self._digest.hexdigest()
