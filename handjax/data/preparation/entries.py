"""Samples of raw files that can be read one by one, in any process."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

Read = Callable[[], dict]
Entries = Iterable[tuple[str, Read]]


class Samples(Iterator[tuple[str, dict]]):
    """(key, sample) in the order of the files.

    `entries` gives (key, read) instead: `read()` makes the sample of its files, goes through pickle, and its errors, ValueError or
    OSError, are its own. An entry costs little, so one process can walk through millions and leave the reading to others.
    """

    def __init__(self, entries: Entries):
        self.entries = iter(entries)

    def __next__(self) -> tuple[str, dict]:
        key, read = next(self.entries)
        return key, read()


def unreadable(error: Exception) -> Read:
    """In place of what cannot be told apart further, such as all of a sequence whose labels are broken."""
    return partial(_raise, error)


def _raise(error: Exception) -> dict:
    raise error
