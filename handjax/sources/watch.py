"""Watches the labels of a source as batches are read (data/plausible.py).

`prepare` refuses labels that no hand or person can have, but sets also come from elsewhere. In
training, single rows of that kind are masked; where they are the majority, nothing is read on.
"""

from collections.abc import Callable

import numpy as np

from handjax.data import plausible
from handjax.engine.contracts import Batch
from handjax.pose.skeleton import Skeleton

Rows = Callable[[np.ndarray], Batch]
_JUDGED_AFTER = 16  # rows


class Watch:
    """`rows` with the joints of every batch checked. Counts are shared by all threads that read.

    rows   this process's sample numbers → host arrays.
    where  the files, for the message.
    size   number of samples; None: endless.
    train  mask rows whose joints cannot be right; an evaluation keeps them.

    ValueError, one line, once more than half of the rows seen cannot be right.
    """

    def __init__(self, rows: Rows, skeleton: Skeleton, where: str, size: int | None, train: bool):
        self._rows, self._where, self._train = rows, where, train
        self._figure = plausible.figure(skeleton.name)
        self._enough = min(_JUDGED_AFTER, size or _JUDGED_AFTER)
        self._seen = self._wrong = 0

    def __call__(self, numbers: np.ndarray) -> Batch:
        batch = self._rows(numbers)
        faults = plausible.of_batch(batch, self._figure)
        wrong = np.array([plausible.joints_are_wrong(fault) for fault in faults], bool)
        self._seen += int(np.asarray(batch["mask"]).sum())
        self._wrong += int(wrong.sum())
        if self._seen >= self._enough and 2 * self._wrong > self._seen:
            named = [fault for fault in faults if plausible.joints_are_wrong(fault)]
            raise ValueError(
                f"{self._where}: {self._wrong} of {self._seen} frames read so far: "
                f"{plausible.FAULTS[named[0] or ''] if named else 'impossible joints'}; "
                "correct the labels and prepare the set again"
            )
        return {**batch, "mask": batch["mask"] & ~wrong} if self._train and wrong.any() else batch
