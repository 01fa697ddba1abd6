"""Examples of a raw data set, read one by one and in any process."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, NoReturn

Read = Callable[[], dict[str, Any]]  # reads one sample from its files
LazyExamples = Iterable[tuple[str, Read]]
# Key of a sample for the faults, of data/plausible.py, that its reader mended. It is not written.
NOTES = "notes"


class Examples(Iterator[tuple[str, dict[str, Any]]]):
    """Iterator over (key, sample), in the order of the files.

    `lazy` yields (key, read) instead. `read()` reads the sample from its files and can be pickled;
    it raises ValueError or OSError where the sample is unreadable. A lazy example is cheap, so one
    process can walk through millions of them and leave the reading to others.
    """

    def __init__(self, lazy: LazyExamples):
        self.lazy = iter(lazy)

    def __next__(self) -> tuple[str, dict[str, Any]]:
        key, read = next(self.lazy)
        sample = read()
        sample.pop(NOTES, None)
        return key, sample


def unreadable(error: Exception) -> Read:
    """A `read` that raises `error`: stands for samples that cannot be listed one by one, such as a
    whole sequence whose labels are broken."""
    return partial(_raise, error)


def _raise(error: Exception) -> NoReturn:
    raise error
