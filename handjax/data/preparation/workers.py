"""Worker processes that run tasks and return the results in order."""

import functools
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from typing import Any


class Workers:
    """A pool of `count` processes; with `count` 1 the work runs in this process."""

    def __init__(self, count: int):
        # Spawned, because TensorFlow's threads do not survive a fork.
        context = get_context("spawn")
        self._pool = (
            ProcessPoolExecutor(count, mp_context=context, initializer=_exit_with_parent)
            if count > 1
            else None
        )
        self._ahead = count + 1 if count > 1 else 0

    def each(self, work: Callable[..., Any], tasks: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
        """Yields work(*task) in order. Takes only as many tasks ahead as keep the pool busy.

        OSError if a process dies.
        """
        waiting: deque[Callable[[], Any]] = deque()
        for task in tasks:
            if self._pool is None:
                waiting.append(functools.partial(work, *task))
            else:
                waiting.append(self._pool.submit(work, *task).result)
            while len(waiting) > self._ahead:
                yield _result(waiting.popleft())
        while waiting:
            yield _result(waiting.popleft())

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool:
            self._pool.shutdown(cancel_futures=True)


def _result(get: Callable[[], Any]) -> Any:
    try:
        return get()
    except BrokenProcessPool:
        raise OSError(
            "a worker process died, perhaps out of memory: use fewer --workers; "
            "finished shards are kept"
        ) from None


def _exit_with_parent() -> None:
    """Without this, a worker whose parent was killed would wait forever."""
    parent = parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
