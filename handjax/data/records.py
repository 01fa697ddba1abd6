"""Prepared data sets with random access: `RecordDataset(folder, split).rows(numbers)` → Batch.

A TFRecord file is a sequence of records, each preceded by its length, so one walk over the lengths
(microseconds per record) finds where every record starts, and tf.data starts to read there.

With random access the order of samples is up to engine/feed.py, as for every other source: a true
permutation per epoch from (seed, epoch), a restart anywhere without reading what came before, and
each process reads only the rows of its own devices. A stream of shuffled shards offers none of
these. The price is random reads: keep prepared sets on an SSD.
"""

import functools
import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from etils import epath
from jaxtyping import Int

from handjax.data.batch import BATCH, HOST_ONLY

# TensorFlow's C++ code logs pages to stderr, about oneDNN and about errors that it raises anyway.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import tensorflow as tf  # noqa: E402
import tensorflow_datasets as tfds  # noqa: E402

# Applied to each sample before batching: features → features. Traced once.
Transform = Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]]
_HEADER = 12  # bytes before a record's data: its length, little endian, and the length's checksum
_FOOTER = 4  # bytes after it: the data's checksum


class RecordDataset:
    """Random access to one split of a prepared data set. Safe to share between threads.

    folder       the folder that holds dataset_info.json
    split        any TFDS expression: "train", "train[:1%]"
    keys         features to read; default: those in `BATCH`. Other features are not decoded.
    transform    applied to each sample in tf.data. Frames of different sizes need one that resizes
                 them (`resize.resize_pad`).
    postprocess  applied to each batch, in NumPy

    ValueError or OSError, one line, for a missing or damaged set.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        split: str,
        *,
        keys: Sequence[str] = (),
        transform: Transform | None = None,
        postprocess: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]] | None = None,
    ):
        self.folder, self.split = epath.Path(folder), split
        info = _open(self.folder).info
        files = _files(info, self.folder, split)
        keys = tuple(keys) or tuple(
            key for key in BATCH if key in info.features and key not in HOST_ONLY
        )
        for key in keys:
            if key not in info.features:
                raise ValueError(
                    f"{self.folder}: no feature {key!r}; "
                    f"the set has {', '.join(sorted(info.features))}"
                )
        self.name, self._features, self._postprocess = info.name, info.features, postprocess
        self._paths = [file.filename for file in files]
        with ThreadPoolExecutor(16) as pool:
            starts = list(pool.map(_record_starts, files))
        self._starts = np.concatenate(starts)
        self._files = np.repeat(np.arange(len(files)), [len(of_file) for of_file in starts])
        self._read = _reader(self._paths, info.features, keys, transform)

    def __len__(self) -> int:
        return len(self._starts)

    def rows(self, numbers: Int[np.ndarray, " b"]) -> dict[str, np.ndarray]:
        """Batch of these records in this order, with `mask` (all True) and `index` (the numbers).

        IndexError if there is no such record, ValueError if it cannot be read.
        """
        batch = self._get(self._read, numbers)
        if self._postprocess is not None:
            batch = self._postprocess(batch)
        return {
            **batch,
            "mask": np.ones(len(numbers), bool),
            "index": np.asarray(numbers, np.int32),
        }

    def names(self, numbers: Int[np.ndarray, " b"]) -> list[str]:
        """Ids of the records, their keys in the data set; their numbers if the set has no ids."""
        if self._read_id is None:
            return [str(number) for number in numbers]
        return [name.decode() for name in self._get(self._read_id, numbers)["id"].tolist()]

    @functools.cached_property
    def _read_id(self) -> Any:
        if "id" not in self._features:
            return None
        return _reader(self._paths, self._features, ("id",), None)

    def _get(self, read: Any, numbers: Int[np.ndarray, " b"]) -> dict[str, np.ndarray]:
        numbers = np.asarray(numbers, np.int64)
        if numbers.size and not (0 <= numbers.min() and numbers.max() < len(self)):
            raise IndexError(
                f"{self.folder}: records {numbers.min()} to {numbers.max()} requested; "
                f"{self.split} has 0 to {len(self) - 1}"
            )
        try:
            tensors = read(self._files[numbers], self._starts[numbers])
        except tf.errors.OpError as error:
            raise ValueError(self._explain(read, numbers, error)) from None
        # `np.asarray` shares the tensor's memory; `Tensor.numpy` copies it.
        return {key: np.asarray(tensor) for key, tensor in tensors.items()}

    def _explain(self, read: Any, numbers: Int[np.ndarray, " b"], error: Exception) -> str:
        """tf.data does not report which record failed, so each record is read again by itself."""
        for number in numbers.tolist():
            try:
                read(self._files[[number]], self._starts[[number]])
            except tf.errors.OpError as own:
                path = self._paths[self._files[number]]
                return (
                    f"{path}: record {number} of {self.split!r} cannot be read ({_reason(own)}); "
                    "prepare the data set again"
                )
        if "different shapes" in str(error):
            return (
                f"{self.folder}: the frames of {self.split!r} differ in size: "
                "resize them with transform=resize_pad(height, width)"
            )
        return f"{self.folder}: {_reason(error)}"


class Described(NamedTuple):
    """What a prepared set holds. `config` is its configuration, None for a set without any."""

    name: str
    config: str | None
    splits: tuple[str, ...]
    features: tuple[str, ...]


def describe(folder: str | os.PathLike) -> Described:
    """What is in the prepared set in `folder`. Errors as `RecordDataset`."""
    info = _open(epath.Path(folder)).info
    return Described(info.name, info.config_name, tuple(info.splits), tuple(info.features))


def metadata(folder: str | os.PathLike) -> dict[str, Any]:
    """What a prepared set says of itself besides its features, as plain JSON values."""
    found = _open(epath.Path(folder)).info.metadata
    # It is read from its file when its keys are asked for.
    return {} if found is None else {key: found[key] for key in found.keys()}  # noqa: SIM118


def _open(folder: epath.Path) -> Any:
    """The set's TFDS builder."""
    # Before TensorFlow does anything: the accelerators are JAX's.
    tf.config.set_visible_devices([], "GPU")
    if not (folder / "dataset_info.json").exists():
        levels = ("*/", "*/*/", "*/*/*/")  # version, configuration, name
        below = sorted(
            str(path.parent)
            for level in levels
            for path in folder.glob(f"{level}dataset_info.json")
        )
        hint = " or ".join(below[:4])
        hint = f"use {hint}" if below else "create one with `handjax prepare`"
        raise FileNotFoundError(
            f"{folder}: no prepared data set there (no dataset_info.json); {hint}"
        )
    try:
        builder = tfds.builder_from_directory(folder)
    except Exception as error:  # damaged json, an unknown feature, a newer format
        raise ValueError(
            f"{folder}: not a readable data set ({_reason(error)}); prepare it again"
        ) from None
    if builder.info.file_format != tfds.core.FileFormat.TFRECORD:
        raise ValueError(
            f"{folder}: files are {builder.info.file_format.value}; "
            "expected tfrecord: prepare it again"
        )
    return builder


def _files(info: Any, folder: epath.Path, split: str) -> Any:
    """The file instructions of a split."""
    try:
        files = info.splits[split].file_instructions
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"{folder}: no split {split!r} ({_reason(error)}); the set has {', '.join(info.splits)}"
        ) from None
    if not sum(file.take for file in files):
        raise ValueError(f"{folder}: split {split!r} has no samples")
    return files


def _record_starts(file: Any) -> Int[np.ndarray, " n"]:
    """Byte offsets of the records that a file instruction takes."""
    path = epath.Path(file.filename)
    if not path.exists():
        raise FileNotFoundError(f"{path}: missing; prepare the data set again")
    size, start = path.stat().length, 0
    starts: list[int] = []
    with path.open("rb") as stream:
        while start < size and len(starts) < file.skip + file.take:
            starts.append(start)
            stream.seek(start)
            start += _HEADER + int.from_bytes(stream.read(8), "little") + _FOOTER
    if start > size or len(starts) < file.skip + file.take:
        complete = len(starts) - (start > size)
        raise ValueError(
            f"{path}: {complete} complete records, expected {file.examples_in_shard}; "
            "prepare the data set again"
        )
    return np.asarray(starts[file.skip :], np.int64)


def _reader(
    paths: list[str], features: Any, keys: Sequence[str], transform: Transform | None
) -> Any:
    """(files, starts) → batch of decoded samples, as one graph that is traced once."""
    wanted = tfds.features.FeaturesDict({key: features[key] for key in keys})

    def one(file, start):
        # TFRecordDataset's own reader, with its checksums, started at the record.
        string = dict(output_types=[tf.string], output_shapes=[[]])
        path = tf.gather(tf.constant(paths), file)
        record = tf.raw_ops.TFRecordDatasetV2(
            filenames=path[None], compression_type="", buffer_size=0, byte_offsets=start[None]
        )
        record = tf.raw_ops.TakeDataset(input_dataset=record, count=1, **string)
        (record,) = tf.raw_ops.DatasetToSingleElement(dataset=record, **string)
        sample = {
            key: _as_batch(key, value) for key, value in wanted.deserialize_example(record).items()
        }
        return sample if transform is None else transform(sample)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64)] * 2, autograph=False)
    def read(files, starts):
        records = tf.data.Dataset.from_tensor_slices((files, starts))
        samples = records.map(one, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        return samples.batch(
            tf.shape(files, tf.int64)[0], num_parallel_calls=1
        ).get_single_element()

    # Traced here, so that two threads do not trace it at once and TensorFlow does not warn.
    return read.get_concrete_function()


def _as_batch(key: str, value: tf.Tensor) -> tf.Tensor:
    """A feature in the Batch's dtype; depth images of one channel lose that axis."""
    if key == "depth" and value.shape.rank == 3:
        value = value[..., 0]
    return tf.cast(value, BATCH[key].dtype) if key in BATCH and key not in HOST_ONLY else value


def _reason(error: Exception) -> str:
    """The library's message without tf.data's call path and graph."""
    message = getattr(error, "message", str(error))
    message = re.sub(r"^.*SingleElementIterator\S*: ", "", message, flags=re.DOTALL)
    return message.strip().split("\n")[0][:200] or type(error).__name__
