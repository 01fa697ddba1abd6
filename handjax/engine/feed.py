"""Which samples a step sees, and reading them ahead of time."""

import collections
import functools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jax.sharding import Mesh

from handjax.engine import sharding
from handjax.engine.contracts import Batch, Source

AHEAD = 2  # batches read at once: one waits for the disk while another is decoded


def train_indices(step: int, batch_size: int, size: int | None, seed: int) -> np.ndarray:
    """Sample numbers of step `step`: a function of the step alone, so that a run can resume.

    Each epoch has its own shuffled order; an endless source (`size` None) just counts. A batch may
    span epochs, so no sample is dropped.
    """
    position = np.arange(step * batch_size, (step + 1) * batch_size)
    if size is None:
        return position
    epochs, places = np.divmod(position, size)
    return np.array(
        [
            _epoch_order(int(epoch), size, seed)[place]
            for epoch, place in zip(epochs, places, strict=True)
        ]
    )


@functools.lru_cache(maxsize=4)
def _epoch_order(epoch: int, size: int, seed: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(size)


def step_rows(source: Source, batch_size: int, seed: int, step: int) -> np.ndarray:
    """This process's sample numbers of step `step`."""
    return sharding.process_rows(train_indices(step, batch_size, source.train_size, seed))


def train_batches(
    source: Source,
    mesh: Mesh,
    batch_size: int,
    seed: int,
    start: int,
    steps: int,
    more: Callable[[int], Batch] = lambda rows: {},
) -> Iterator[Batch]:
    """Global batches of steps `start` to `steps`.

    Threads read the next ones while the device works on the current one. `more` gives further
    keys for a number of rows, at the time when the batch is used.
    """

    def read(step):
        return source.train_rows(step_rows(source, batch_size, seed, step))

    with ThreadPoolExecutor(AHEAD) as pool:
        ahead = collections.deque(
            pool.submit(read, step) for step in range(start, min(start + AHEAD, steps))
        )
        for step in range(start, steps):
            rows = ahead.popleft().result()
            if step + AHEAD < steps:
                ahead.append(pool.submit(read, step + AHEAD))
            yield sharding.put_batch({**rows, **more(len(next(iter(rows.values()))))}, mesh)
