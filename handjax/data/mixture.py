"""Several prepared data sets as one: concatenated, or mixed with a weight per set."""

import functools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from handjax.data.records import RecordDataset

_BLOCK = 1000  # positions of a mixture in which every set has exactly its share


class Concat:
    """Several sets as one, numbered consecutively; how the original work mixes RHD and STB.

    ValueError, one line, if their batches differ in keys, dtypes or shapes.
    """

    def __init__(self, parts: Sequence[RecordDataset]):
        self.parts = tuple(parts)
        if len(self.parts) > 1:
            _check_same_keys(self.parts)
        self._first = np.cumsum([0, *(len(part) for part in self.parts)])

    def __len__(self) -> int:
        return int(self._first[-1])

    def rows(self, numbers: Int[np.ndarray, " b"]) -> dict[str, np.ndarray]:
        """Batch of these records in this order, with `mask` and `index` as in `RecordDataset`."""
        numbers = np.asarray(numbers, np.int64)
        part_of = self.part_of(numbers)
        batch: dict[str, np.ndarray] = {}
        for i in np.unique(part_of):
            here = part_of == i
            for key, value in self.parts[i].rows(numbers[here] - self._first[i]).items():
                if key not in batch:
                    batch[key] = np.empty((len(numbers), *value.shape[1:]), value.dtype)
                batch[key][here] = value
        return {**batch, "index": numbers.astype(np.int32)}

    def names(self, numbers: Int[np.ndarray, " b"]) -> list[str]:
        """Ids of the records, with the name of the set in front if there are several sets."""
        if len(self.parts) == 1:
            return self.parts[0].names(numbers)
        return [
            f"{self.parts[i].name}/{self.parts[i].names(np.array([number - self._first[i]]))[0]}"
            for i, number in zip(self.part_of(numbers), numbers, strict=True)
        ]

    def part_of(self, numbers: Int[np.ndarray, " b"]) -> Int[np.ndarray, " b"]:
        """Index of the set that each record belongs to. IndexError if there is no such record."""
        if len(numbers) and not (0 <= np.min(numbers) and np.max(numbers) < len(self)):
            raise IndexError(
                f"records {np.min(numbers)} to {np.max(numbers)} requested; "
                f"the sets have 0 to {len(self) - 1}"
            )
        return np.searchsorted(self._first, numbers, side="right") - 1


class Mixture(Concat):
    """An endless stream of several sets, each with its share and in its own shuffled epochs.

    `rows` takes positions in the stream, not record numbers; `order` maps one to the other, as a
    function of (seed, position). `index` numbers the records as in `Concat`.
    """

    def __init__(self, parts: Sequence[RecordDataset], weights: Sequence[float | int], seed: int):
        super().__init__(parts)
        self.seed, self.shares = seed, shares(weights)
        if len(self.shares) != len(self.parts):
            raise ValueError(
                f"{len(self.parts)} sets and {len(self.shares)} weights; expected a weight per set"
            )

    def rows(self, positions: Int[np.ndarray, " b"]) -> dict[str, np.ndarray]:
        """Batch of the records at these positions of the stream."""
        part, record = order(positions, tuple(len(p) for p in self.parts), self.shares, self.seed)
        return super().rows(self._first[part] + record)


def shares(weights: Sequence[float | int]) -> tuple[int, ...]:
    """Weights → positions per set in every thousand (largest remainder). ValueError for weights
    that are not above 0 or give a set no position."""
    values = np.asarray(weights, np.float64)
    if not (values.size and np.isfinite(values).all() and (values > 0).all()):
        raise ValueError(f"weights of a mixture are {values.tolist()}; each must be a number > 0")
    exact = values / values.sum() * _BLOCK
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact, kind="stable")[: _BLOCK - counts.sum()]] += 1
    if counts.min() < 1:
        raise ValueError(
            f"weights of a mixture are {values.tolist()}; "
            f"the smallest must be at least 1/{_BLOCK} of their sum"
        )
    return tuple(counts.tolist())


def order(
    positions: Int[np.ndarray, " b"], sizes: tuple[int, ...], shares: tuple[int, ...], seed: int
) -> tuple[Int[np.ndarray, " b"], Int[np.ndarray, " b"]]:
    """Positions in a mixture's stream → (set, record of that set); depends on nothing else.

    Every block of a thousand positions holds each set's share, shuffled. The n-th position of a set
    is position n of that set's own epochs.
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
    """Set of each position of a block, and how many earlier positions of the block it has."""
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


def _check_same_keys(parts: tuple[RecordDataset, ...]) -> None:
    first = _arrays(parts[0])
    for part in parts[1:]:
        other = _arrays(part)
        differing = {key for key in {*first, *other} if first.get(key) != other.get(key)}
        if differing:
            key = min(differing)
            a, b = (arrays.get(key, "absent") for arrays in (first, other))
            raise ValueError(
                f"{key!r} is {a} in {parts[0].folder} and {b} in {part.folder}; "
                "sets that are combined must provide the same arrays"
            )


def _arrays(records: RecordDataset) -> dict[str, str]:
    """Key → dtype and shape of a row."""
    return {
        key: f"{value.dtype} {list(value.shape[1:])}"
        for key, value in records.rows(np.zeros(1, int)).items()
    }
