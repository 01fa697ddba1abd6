"""Asks a run for a checkpoint in time: a signal of the batch system, or the clock.

SIGTERM and SIGUSR1 ask it to save and to end; another one, some seconds later, ends it at once.
Several processes have to save at the same step, although a signal may reach one of them first. So
each sends what it was asked with its rows of a batch, and the step returns the maximum to all.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

NOTHING, SAVE, STOP = range(3)
REQUEUE = 75  # EX_TEMPFAIL: the exit code of a run that was asked to end and can be continued
KEY = "requests"  # among the batch and the terms of a step, where there are several processes
_EVERY = 16  # batches of an evaluation after which several processes ask each other
_AGAIN_SECONDS = 2.0  # a launcher and the batch system may both pass on the same signal
_SIGNALS = ("SIGTERM", "SIGUSR1")


class Interrupted(Exception):
    """A run that was asked to end, and what it has saved."""


class Interruption:
    """What this process was asked. As a context, it handles the signals."""

    def __init__(self, save_minutes: float = 0.0, clock: Callable[[], float] = time.monotonic):
        """`save_minutes` between checkpoints; 0: the clock asks for none."""
        self.signal = ""  # the one that came
        self._seconds, self._clock, self._since = 60 * save_minutes, clock, clock()
        self._before: dict[int, Any] = {}
        self._batches, self._first = 0, 0.0

    def __enter__(self) -> "Interruption":
        # Only the main thread may handle signals; a caller with another one keeps its own.
        if threading.current_thread() is threading.main_thread():
            for name in _SIGNALS:
                if number := getattr(signal, name, None):
                    self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _handle(self, number: int, _: object) -> None:
        now = self._clock()
        if not self.signal:
            self.signal, self._first = signal.Signals(number).name, now
        elif now - self._first > _AGAIN_SECONDS:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def saved(self) -> None:
        """Starts the interval of the clock anew."""
        self._since = self._clock()

    def asked(self) -> int:
        """NOTHING, SAVE or STOP, of this process alone."""
        if self.signal:
            return STOP
        due = self._seconds and self._clock() - self._since >= self._seconds
        return SAVE if due and _first() else NOTHING  # one clock for all processes

    def send(self, rows: int) -> dict[str, np.ndarray]:
        """What goes with this process's `rows` rows of a batch; {} if there is no other process."""
        if not _several():
            return {}
        return {KEY: np.full(rows, self.asked(), np.int32)}

    def received(self, terms: Mapping[str, float]) -> int:
        """What this process was asked; of several, what they were asked by the step with these
        terms."""
        return int(terms.get(KEY, NOTHING)) if _several() else self.asked()

    def end_evaluation(self) -> None:
        """Called between batches; raises Interrupted on all processes if one was asked to STOP."""
        asked, self._batches = self.asked(), self._batches + 1
        if _several():
            if self._batches % _EVERY:
                return
            from jax.experimental.multihost_utils import process_allgather

            asked = int(process_allgather(np.int32(asked)).max())
        if asked == STOP:
            raise Interrupted("asked to end during an evaluation")


def exchanging(step: Callable) -> Callable:
    """`step(state, batch) -> (state, terms)`, which also passes on what `Interruption.send` put
    into the batch."""

    def exchange(state, batch):
        batch = dict(batch)
        requests = batch.pop(KEY, None)
        state, terms = step(state, batch)
        return state, terms if requests is None else {**terms, KEY: requests.max()}

    exchange.__name__ = getattr(step, "func", step).__name__  # what is said to be compiled
    return exchange


def _several() -> bool:
    import jax

    return jax.process_count() > 1


def _first() -> bool:
    import jax

    return jax.process_index() == 0
