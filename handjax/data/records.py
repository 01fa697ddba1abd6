"""Prepared data sets by number: `Records(folder, split).rows(numbers)` → Batch, decoded in parallel by tf.data.

A TFRecord file is a row of records, each behind its own length, so one walk over the lengths (microseconds a record) finds
where every record begins, and tf.data starts to read there. With random access the order of the samples is engine/feed.py's
business, as for every other source: one true permutation an epoch from (seed, epoch), a restart anywhere without reading what
went before, and each process reads the rows of its own devices and nothing else. A stream of shuffled shards has none of the
three. Its price is a disk that can seek: keep prepared sets on an SSD.
"""

import functools
import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from etils import epath
from jaxtyping import Int

from handjax.data.batch import BATCH, HOST_ONLY

# TensorFlow's C++ writes pages to stderr, about oneDNN and about errors that are raised all the same.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import tensorflow as tf  # noqa: E402
import tensorflow_datasets as tfds  # noqa: E402

# What is done to one sample before it is batched: tensors of the prepared features → tensors, traced once.
Sample = Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]]
_FRAME = 12  # bytes before a record's data: its length, little endian, and the length's checksum; 4 more follow the data
_BLOCK = 1000  # positions of a mixture in which every part has exactly its share


class Records:
    """Random access to one split of a prepared data set; threads may share it.

    `folder` is the one with dataset_info.json in it; `split` any TFDS expression ("train", "train[:1%]"). `keys` are the
    features to read, by default those that a Batch knows; what is not read is not decoded. Frames of different sizes make
    no batch: `sample` brings them to one (`fit.fit`). `finish` is the last to see a batch, in numpy.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        split: str,
        *,
        keys: Sequence[str] = (),
        sample: Sample | None = None,
        finish: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]] = lambda batch: batch,
    ):
        self.folder, self.split = epath.Path(folder), split
        info = _opened(self.folder).info
        files = _files(info, self.folder, split)
        keys = tuple(keys) or tuple(
            key for key in BATCH if key in info.features and key not in HOST_ONLY
        )
        for key in keys:
            if key not in info.features:
                raise ValueError(
                    f"{self.folder}: no feature {key!r}; the set has {', '.join(sorted(info.features))}"
                )
        self.name, self._features, self._finish = info.name, info.features, finish
        self._paths = [file.filename for file in files]
        with ThreadPoolExecutor(16) as pool:
            starts = list(pool.map(_starts, files))
        self._starts = np.concatenate(starts)
        self._files = np.repeat(np.arange(len(files)), [len(of_file) for of_file in starts])
        self._read = _reader(self._paths, info.features, keys, sample)

    def __len__(self) -> int:
        return len(self._starts)

    def rows(self, numbers: Int[np.ndarray, " b"]) -> dict[str, np.ndarray]:
        """Batch of these records in this order, with `mask` (all True) and `index` (the numbers)."""
        batch = self._finish(self._get(self._read, numbers))
        return {
            **batch,
            "mask": np.ones(len(numbers), bool),
            "index": np.asarray(numbers, np.int32),
        }

    def names(self, numbers: Int[np.ndarray, " b"]) -> list[str]:
        """Each record's id, which is its key in the data set; its number where the set has none."""
        if self._read_id is None:
            return [str(number) for number in numbers]
        return [name.decode() for name in self._get(self._read_id, numbers)["id"].tolist()]

    @functools.cached_property
    def _read_id(self):
        return (
            _reader(self._paths, self._features, ("id",), None) if "id" in self._features else None
        )

    def _get(self, read, numbers) -> dict[str, np.ndarray]:
        numbers = np.asarray(numbers, np.int64)
        if numbers.size and not (0 <= numbers.min() and numbers.max() < len(self)):
            raise IndexError(
                f"{self.folder}: records {numbers.min()} to {numbers.max()} asked for; {self.split} has 0 to {len(self) - 1}"
            )
        try:
            tensors = read(self._files[numbers], self._starts[numbers])
        except tf.errors.OpError as error:
            raise ValueError(self._what_failed(read, numbers, error)) from None
        # `asarray` shares the tensor's memory, which `Tensor.numpy` copies.
        return {key: np.asarray(tensor) for key, tensor in tensors.items()}

    def _what_failed(self, read, numbers, error: tf.errors.OpError) -> str:
        """tf.data says what happened and not where: each record is read again for itself."""
        for number in numbers.tolist():
            try:
                read(self._files[[number]], self._starts[[number]])
            except tf.errors.OpError as own:
                where = f"{self._paths[self._files[number]]}: record {number} of {self.split!r} cannot be read"
                return f"{where} ({_reason(own)}); prepare the data set again"
        way = f"the frames of {self.split!r} differ in size: bring them to one, sample=fit(height, width)"
        return (
            f"{self.folder}: {way}"
            if "different shapes" in error.message
            else f"{self.folder}: {_reason(error)}"
        )


class Joined:
    """Several sets one behind the other, numbered through: what the originals mean by mixing RHD and STB."""

    def __init__(self, parts: Sequence[Records]):
        self.parts = tuple(parts)
        first, *others = (
            [(part.folder, _kinds(part)) for part in self.parts] if len(self.parts) > 1 else [None]
        )
        for folder, kinds in others:
            if differ := {
                key for key in {*first[1], *kinds} if first[1].get(key) != kinds.get(key)
            }:
                key = min(differ)
                had, has = (k.get(key, "nothing") for k in (first[1], kinds))
                raise ValueError(
                    f"{key!r} is {had} in {first[0]} and {has} in {folder}; sets that are joined give the same"
                )
        self._first = np.cumsum([0, *(len(part) for part in self.parts)])

    def __len__(self) -> int:
        return int(self._first[-1])

    def rows(self, numbers: Int[np.ndarray, " b"]) -> dict[str, np.ndarray]:
        """Batch of these records in this order, with `mask` and `index` as of `Records`."""
        numbers = np.asarray(numbers, np.int64)
        of = self.part(numbers)
        batch: dict[str, np.ndarray] = {}
        for i in np.unique(of):
            here = of == i
            for key, value in self.parts[i].rows(numbers[here] - self._first[i]).items():
                batch.setdefault(key, np.empty((len(of), *value.shape[1:]), value.dtype))[here] = (
                    value
                )
        return {**batch, "index": numbers.astype(np.int32)}

    def names(self, numbers: Int[np.ndarray, " b"]) -> list[str]:
        """Ids, each behind its set's name if there are several."""
        if len(self.parts) == 1:
            return self.parts[0].names(numbers)
        return [
            f"{self.parts[i].name}/{self.parts[i].names(np.array([number - self._first[i]]))[0]}"
            for i, number in zip(self.part(numbers), numbers, strict=True)
        ]

    def part(self, numbers: Int[np.ndarray, " b"]) -> Int[np.ndarray, " b"]:
        """Which of the sets a record is of."""
        if len(numbers) and not (0 <= np.min(numbers) and np.max(numbers) < len(self)):
            raise IndexError(
                f"records {np.min(numbers)} to {np.max(numbers)} asked for; the sets have 0 to {len(self) - 1}"
            )
        return np.searchsorted(self._first, numbers, side="right") - 1


def _kinds(records: Records) -> dict[str, str]:
    return {
        key: f"{value.dtype} {list(value.shape[1:])}"
        for key, value in records.rows(np.zeros(1, int)).items()
    }


class Mixture(Joined):
    """An endless stream of several sets, each with its share; every set is gone through in its own shuffled epochs.

    `rows(positions)` takes places in the stream, not records: which record stands at a place is a function of (seed, place),
    as in `order`. `index` counts through the sets in their order.
    """

    def __init__(self, parts: Sequence[Records], weights: Sequence[float | int], seed: int):
        super().__init__(parts)
        self.seed, self.shares = seed, shares(weights)
        if len(self.shares) != len(self.parts):
            raise ValueError(
                f"{len(self.parts)} sets and {len(self.shares)} weights; give a weight for each set"
            )

    def rows(self, positions: Int[np.ndarray, " b"]) -> dict[str, np.ndarray]:
        part, record = order(positions, tuple(len(p) for p in self.parts), self.shares, self.seed)
        return super().rows(self._first[part] + record)


def shares(weights: Sequence[float | int]) -> tuple[int, ...]:
    """Weights → how many of every thousand positions each part has (largest remainder), at least one."""
    weights = np.asarray(weights, np.float64)
    if not (weights.size and np.isfinite(weights).all() and (weights > 0).all()):
        raise ValueError(f"weights of a mixture are {weights.tolist()}; each must be a number > 0")
    exact = weights / weights.sum() * _BLOCK
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact, kind="stable")[: _BLOCK - counts.sum()]] += 1
    if counts.min() < 1:
        raise ValueError(
            f"weights of a mixture are {weights.tolist()}; the smallest must be at least 1/{_BLOCK} of their sum"
        )
    return tuple(counts.tolist())


def order(
    positions: Int[np.ndarray, " b"], sizes: tuple[int, ...], shares: tuple[int, ...], seed: int
) -> tuple[Int[np.ndarray, " b"], Int[np.ndarray, " b"]]:
    """Place in a mixture's stream → (part, record of that part), a function of the place alone.

    Every block of a thousand places holds each part's share, shuffled; the n-th place of a part is place n of its own epochs.
    """
    blocks, places = np.divmod(np.asarray(positions, np.int64), _BLOCK)
    part, nth = np.empty_like(places), np.empty_like(places)
    for block in np.unique(blocks).tolist():
        here = blocks == block
        parts, ranks = _pattern(block, shares, seed)
        part[here] = parts[places[here]]
        nth[here] = block * np.asarray(shares)[part[here]] + ranks[places[here]]
    record = np.empty_like(nth)
    for i in np.unique(part).tolist():
        for epoch in np.unique(nth[part == i] // sizes[i]).tolist():
            here = (part == i) & (nth // sizes[i] == epoch)
            record[here] = _epoch(i, epoch, sizes[i], seed)[nth[here] % sizes[i]]
    return part, record


@functools.lru_cache(maxsize=8)
def _pattern(block: int, shares: tuple[int, ...], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Part of each place of a block, and how many earlier places of the block are of that part."""
    parts = np.random.default_rng((seed, 0, block)).permutation(
        np.repeat(np.arange(len(shares)), shares)
    )
    ranks = np.empty_like(parts)
    for i, share in enumerate(shares):
        ranks[parts == i] = np.arange(share)
    return parts, ranks


@functools.lru_cache(maxsize=16)
def _epoch(part: int, epoch: int, size: int, seed: int) -> np.ndarray:
    return np.random.default_rng((seed, 1 + part, epoch)).permutation(size)


def describe(folder: str | os.PathLike) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Name of a prepared set, its splits and its features."""
    info = _opened(epath.Path(folder)).info
    return info.name, tuple(info.splits), tuple(info.features)


def _opened(folder: epath.Path):
    tf.config.set_visible_devices(
        [], "GPU"
    )  # before TensorFlow does anything: the accelerators are JAX's
    if not (folder / "dataset_info.json").exists():
        depths = ("*/", "*/*/", "*/*/*/")  # version, configuration, name
        below = sorted(
            str(path.parent)
            for depth in depths
            for path in folder.glob(f"{depth}dataset_info.json")
        )
        way = (
            f"give {' or '.join(below[:4])}"
            if below
            else "make one with `python -m handjax.prepare`"
        )
        raise FileNotFoundError(
            f"{folder}: no prepared data set there (no dataset_info.json); {way}"
        )
    try:
        builder = tfds.builder_from_directory(folder)
    except (
        Exception
    ) as error:  # whatever a damaged json, an unknown feature or a newer format raise
        raise ValueError(
            f"{folder}: not a data set that can be read ({_reason(error)}); prepare it again"
        ) from None
    if builder.info.file_format != tfds.core.FileFormat.TFRECORD:
        raise ValueError(
            f"{folder}: files are {builder.info.file_format.value}; expected tfrecord: prepare it again"
        )
    return builder


def _files(info, folder: epath.Path, split: str):
    try:
        files = info.splits[split].file_instructions
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"{folder}: no split {split!r} ({_reason(error)}); the set has {', '.join(info.splits)}"
        ) from None
    if not sum(file.take for file in files):
        raise ValueError(f"{folder}: split {split!r} has no samples")
    return files


def _starts(file) -> Int[np.ndarray, " n"]:
    """Where the records begin that a file instruction takes."""
    path = epath.Path(file.filename)
    if not path.exists():
        raise FileNotFoundError(f"{path}: missing; prepare the data set again")
    size, starts, start = path.stat().length, [], 0
    with path.open("rb") as stream:
        while start < size and len(starts) < file.skip + file.take:
            starts.append(start)
            stream.seek(start)
            start += _FRAME + int.from_bytes(stream.read(8), "little") + 4
    if start > size or len(starts) < file.skip + file.take:
        good = len(starts) - (start > size)
        raise ValueError(
            f"{path}: {good} whole records, expected {file.examples_in_shard}; prepare the data set again"
        )
    return np.asarray(starts[file.skip :], np.int64)


def _reader(paths: list[str], features, keys: Sequence[str], sample: Sample | None):
    """(files, starts) → batch of decoded samples, as one graph that is traced once."""
    wanted = tfds.features.FeaturesDict({key: features[key] for key in keys})

    def one(file, start):
        # One record: the reader of TFRecordDataset, checksums and all, set down where the record begins.
        string = dict(output_types=[tf.string], output_shapes=[[]])
        path = tf.gather(tf.constant(paths), file)
        record = tf.raw_ops.TFRecordDatasetV2(
            filenames=path[None], compression_type="", buffer_size=0, byte_offsets=start[None]
        )
        record = tf.raw_ops.TakeDataset(input_dataset=record, count=1, **string)
        (record,) = tf.raw_ops.DatasetToSingleElement(dataset=record, **string)
        made = {
            key: _as_batch(key, value) for key, value in wanted.deserialize_example(record).items()
        }
        return made if sample is None else sample(made)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64)] * 2, autograph=False)
    def read(files, starts):
        records = tf.data.Dataset.from_tensor_slices((files, starts))
        samples = records.map(one, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        return samples.batch(
            tf.shape(files, tf.int64)[0], num_parallel_calls=1
        ).get_single_element()

    return (
        read.get_concrete_function()
    )  # traced here: not by two threads at once, and TensorFlow does not count and warn


def _as_batch(key: str, value: tf.Tensor) -> tf.Tensor:
    """A feature as the Batch has it: a depth image of 16 bits and one channel becomes float32 [h, w]."""
    if key == "depth" and value.shape.rank == 3:
        value = value[..., 0]
    return tf.cast(value, BATCH[key][0]) if key in BATCH and key not in HOST_ONLY else value


def _reason(error: Exception) -> str:
    """What a library said, without tf.data's way there and its graph."""
    said = re.sub(
        r"^.*SingleElementIterator\S*: ", "", getattr(error, "message", str(error)), flags=re.DOTALL
    )
    return said.strip().split("\n")[0][:200] or type(error).__name__
